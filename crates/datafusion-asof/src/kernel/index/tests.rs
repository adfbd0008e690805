//! Indexes of many rows against plain sorting and plain loops: hot keys and rare ones, many
//! parts, batches out of order.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, Int64Array, StringArray, StringViewArray, UInt64Array,
};
use datafusion::arrow::datatypes::DataType;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::kernel::domain::TimeDomain;
use crate::kernel::ordinals::KeyType;
use crate::kernel::pieces::Pieces;
use crate::kernel::rows::RowId;
use crate::spec::{MatchOp, Side};

/// A row as the tests see it; `place` is unique.
#[derive(Debug, Clone, Copy)]
struct Row {
    key: Option<usize>,
    time: Option<i64>,
    place: u64,
}

fn spec(side: Side, op: MatchOp) -> IndexSpec {
    IndexSpec {
        side,
        domain: TimeDomain::try_new(&DataType::Int64, &DataType::Int64).expect("one line"),
        keys: vec![KeyType {
            data_type: DataType::Utf8View,
            null_equals_null: false,
        }],
        ties: vec![],
        bounds: vec![],
        op,
    }
}

fn columns(rows: &[Row]) -> (ArrayRef, ArrayRef) {
    // Some keys are longer than a view holds itself.
    let name = |key: usize| match key % 3 {
        0 => format!("a key of many letters {key}"),
        _ => format!("k{key}"),
    };
    let keys = rows.iter().map(|row| row.key.map(name));
    let keys: StringViewArray = keys.collect();
    let times: Int64Array = rows.iter().map(|row| row.time).collect();
    (Arc::new(keys), Arc::new(times))
}

/// The index of parts of batches, and the rows of its batches in its own order.
fn index(spec: &IndexSpec, parts: &[Vec<Vec<Row>>]) -> (SideIndex, Vec<Vec<Row>>) {
    let collected = parts.iter().map(|batches| {
        let mut part = IndexPart::try_new(spec).expect("a part");
        for rows in batches {
            let (keys, time) = columns(rows);
            let places = rows.iter().map(|row| row.place).collect();
            let batch = IndexBatch {
                keys: &[keys],
                time: &time,
                places: Places::new(places),
                mask: None,
                ties: &[],
                bounds: &[],
                own_values: &[],
            };
            part.push(&batch).expect("a batch");
        }
        part
    });
    let (index, order) = build(collected.collect());
    let batches = order.iter();
    let batches = batches.map(|(part, batch)| parts[*part][*batch].clone());
    (index, batches.collect())
}

/// The index of parts, and which batch of which part its batches are.
fn build(parts: Vec<IndexPart>) -> (SideIndex, Vec<(usize, usize)>) {
    let mut planning = Planning::try_new(parts).expect("parts");
    while planning.piece().expect("a piece") {}
    match planning.finish().expect("a plan") {
        IndexPlan::I64(plan) => run(plan),
        IndexPlan::I128(plan) => run(plan),
    }
}

fn run<T: IndexTime>(plan: LinePlan<T>) -> (SideIndex, Vec<(usize, usize)>) {
    let order = plan.batches().to_vec();
    let (layout, jobs) = plan.into_jobs();
    let scattered = jobs.into_iter().map(|job| layout.scatter(job)).collect();
    let sharded = Sharded::new(layout, scattered);
    let shards = sharded.shards();
    let shards = shards
        .into_iter()
        .map(|shard| sharded.order(shard))
        .collect();
    let mut finishing = sharded.finish(shards);
    while finishing.piece().expect("a piece") {}
    (finishing.finish(), order)
}

/// `keys` of which the first is hot; a few rows have no key or no time.
fn rows(dice: &mut StdRng, (count, keys): (usize, usize), in_order: bool) -> Vec<Row> {
    let mut times: Vec<i64> = (0..count).map(|_| dice.random_range(0..100_000)).collect();
    if in_order {
        times.sort_unstable();
    }
    let row = |(time, place): (i64, u64)| Row {
        key: match dice.random_range(0..100) {
            0 => None,
            1..80 => Some(0),
            _ => Some(dice.random_range(0..keys)),
        },
        time: Some(time).filter(|_| dice.random_range(0..100) > 0),
        place,
    };
    times.into_iter().zip(0..).map(row).collect()
}

/// The rows in batches, dealt to parts; with `mixed` some batches are not in order.
fn dealt(dice: &mut StdRng, mut rows: Vec<Row>, mixed: bool) -> Vec<Vec<Vec<Row>>> {
    let mut parts = vec![vec![]; 3];
    if mixed {
        let at = rows.len() / 2;
        rows.swap(at, at + 1);
    }
    while !rows.is_empty() {
        let rest = rows.split_off(rows.len().min(dice.random_range(1..5_000)));
        parts[dice.random_range(0..3)].push(std::mem::replace(&mut rows, rest));
    }
    parts
}

/// For each left row the place of its match, by sorting.
fn expected(left: &[Row], right: &[Row], op: MatchOp) -> Vec<Option<u64>> {
    let mut lists: Vec<Vec<(i64, u64)>> = vec![];
    for row in right {
        if let (Some(key), Some(time)) = (row.key, row.time) {
            lists.resize(lists.len().max(key + 1), vec![]);
            lists[key].push((time, row.place));
        }
    }
    for list in &mut lists {
        list.sort_unstable();
    }
    let find = |row: &Row| {
        let (list, time) = (lists.get(row.key?)?, row.time?);
        let at = |keep: fn(&i64, &i64) -> bool| list.partition_point(|(t, _)| keep(t, &time));
        let found = match op {
            MatchOp::GtEq => at(|t, l| t <= l).checked_sub(1)?,
            MatchOp::Gt => at(|t, l| t < l).checked_sub(1)?,
            MatchOp::LtEq => at(|t, l| t < l),
            MatchOp::Lt => at(|t, l| t <= l),
            MatchOp::Nearest => return None,
        };
        list.get(found).map(|(_, place)| *place)
    };
    left.iter().map(find).collect()
}

fn place(batches: &[Vec<Row>], id: RowId) -> Option<u64> {
    let of = |id: RowId| batches[id.batch as usize][id.row as usize].place;
    id.is_some().then(|| of(id))
}

const OPS: [MatchOp; 4] = [MatchOp::GtEq, MatchOp::Gt, MatchOp::LtEq, MatchOp::Lt];

#[test]
fn an_index_of_the_right_finds_what_sorting_finds() {
    let dice = &mut StdRng::seed_from_u64(11);
    for (in_order, mixed) in [(true, false), (false, false), (false, true)] {
        let right = rows(dice, (300_000, 40), in_order);
        let left = rows(dice, (40_000, 50), false);
        let parts = dealt(dice, right.clone(), mixed);
        for op in OPS {
            let (index, batches_of_right) = index(&spec(Side::Right, op), &parts);
            let search = Search {
                op,
                tolerance: None,
            };
            let expected = expected(&left, &right, op);
            // Few at a time, and so many that they are put in order first.
            for rows in [5_000, left.len()] {
                let mut found = vec![];
                for left in left.chunks(rows) {
                    let batches: Vec<_> = left.chunks(999).map(columns).collect();
                    let batches = batches.iter().map(|(keys, time)| LeftBatch {
                        keys: std::slice::from_ref(keys),
                        time,
                        mask: None,
                        bounds: &[],
                    });
                    let batches: Vec<_> = batches.collect();
                    let mut probing = index.probe(&batches, search, None).expect("queries");
                    while probing.piece().expect("a piece") {}
                    let matches = probing.finish().expect("matches");
                    found.extend(matches.rows.iter().map(|id| place(&batches_of_right, *id)));
                    assert!(!matches.in_order);
                }
                assert_eq!(found, expected, "{op:?}, {in_order}, {mixed}, {rows}");
            }
        }
    }
}

/// Right rows as they are offered to an index of the left.
fn offered(index: &SideIndex, rows: &[Row]) -> Offered {
    let (keys, time) = columns(rows);
    let offer = Offer {
        keys: &[keys],
        time: &time,
        mask: None,
        places: Places::new(rows.iter().map(|row| row.place).collect()),
    };
    index.offered(offer).expect("right rows")
}

/// The candidates of a part of the right side, of which the rows that they are become batches.
fn streamed(index: &SideIndex, op: MatchOp, part: &[Vec<Row>]) -> (Candidates, Vec<Vec<Row>>) {
    let (mut candidates, mut batches) = (Candidates::new(op), vec![]);
    while candidates.fill(index) {}
    for rows in part {
        let number = batches.len() as u32;
        let won = candidates.offer(index, &offered(index, rows), number);
        let won = won.expect("an offer");
        batches.push(won.iter().map(|row| rows[*row as usize]).collect());
        candidates.kept_alone();
    }
    (candidates, batches)
}

/// The same of parts that are gathered, batches of one and another part at a time. Their rows have a word of payload
/// that is 1 off their place and, but for those of some batches, a mask that is 2 off.
fn gathered(index: &SideIndex, op: MatchOp, parts: &[Vec<Vec<Row>>]) -> (Gathered, Vec<Vec<Row>>) {
    let bins = Bins::try_new(index, op, 1).expect("numbers");
    let all: Vec<Vec<Row>> = parts.concat();
    // The last batches first, those without a mask.
    let (last, first) = all.split_at(all.len() / 4);
    for (number, chunk) in [first, last].into_iter().enumerate() {
        let dealt = chunk.iter().enumerate().map(|(batch, rows)| {
            let off = |by: u64| rows.iter().map(|row| row.place + by).collect();
            let payload = Payload {
                words: vec![Word::Each(off(1))],
                mask: (number > 0 && batch % 3 > 0).then(|| off(2)),
            };
            let offered = offered(index, rows);
            let dealt = bins.deal(&offered, &payload).expect("numbers");
            let most = bins.dealt_size(offered.known(), payload.mask.is_some());
            assert!(dealt.size() <= most);
            dealt
        });
        let dealt: Vec<Dealt> = dealt.collect();
        let portions = bins.portions(&dealt, 3);
        for portion in &portions {
            bins.meet(index, portion, &dealt).expect("numbers");
        }
        let mut best = 0;
        bins.blocks().for_each(|block| {
            bins.each(block, |payload| {
                best += 1;
                payload[0] += 1;
            });
            bins.each(block, |payload| payload[0] -= 1);
        });
        assert_eq!(
            best,
            bins.blocks().map(|block| bins.count(block)).sum::<usize>()
        );
    }
    let gathered = bins.finish();
    let rows = gathered.blocks().iter().map(|records| {
        let rows = (0..records.len()).map(|at| {
            let record = records.record(at);
            let place = record[1];
            if place != u64::MAX {
                assert_eq!(record[HEAD], place + 1);
                assert!([place + 2, u64::MAX].contains(&records.mask(at)));
            }
            Row {
                key: None,
                time: None,
                place,
            }
        });
        rows.collect()
    });
    let rows = rows.collect();
    (gathered, rows)
}

/// Right rows that are offered, that are gathered, and some of each.
#[test]
fn an_index_of_the_left_finds_the_same() {
    let dice = &mut StdRng::seed_from_u64(13);
    let orders = [(true, false), (false, false), (false, true)];
    let keys = [[50, 40], [1, 1]].into_iter();
    let cases = keys.flat_map(|keys| orders.map(|order| (keys, order)));
    for (case, ([right_keys, left_keys], (in_order, mixed))) in cases.enumerate() {
        let right = rows(dice, (300_000, right_keys), in_order);
        let left = rows(dice, (150_000, left_keys), in_order);
        let left_parts = dealt(dice, left, false);
        let right_parts = dealt(dice, right.clone(), mixed);
        for (number, op) in OPS.into_iter().enumerate() {
            let streams = [0, 1, 3][(case + number) % 3];
            let (index, left) = index(&spec(Side::Left, op), &left_parts);
            let (index, left) = (Arc::new(index), left.concat());
            let (gathered, mut batches) = gathered(&index, op, &right_parts[streams..]);
            let mut all = AllCandidates {
                gathered: Some(gathered).filter(|_| streams < right_parts.len()),
                streams: vec![],
            };
            for part in &right_parts[..streams] {
                let (candidates, of_part) = streamed(&index, op, part);
                let before = batches.len() as u32;
                all.streams.push(OfStream { candidates, before });
                batches.extend(of_part);
            }
            let pieces = Choices::pieces(left.len()).into_iter();
            let choices = Choices::new(pieces.map(Choices::piece).collect());
            let choosing = Choosing::new(index, (all, choices), (op, None));
            let stretches = choosing.stretches();
            assert!(stretches.len() > 1);
            let leaves = stretches.iter().map(|s| choosing.leaves(s.clone()));
            let carried = choosing.carried(leaves.collect());
            for (stretch, carried) in stretches.into_iter().zip(carried) {
                choosing.choose(stretch, carried).expect("numbers");
            }
            let choices = choosing.finish();
            let thirds = [0..left.len() / 3, left.len() / 3..left.len()];
            let found = thirds.into_iter().flat_map(|third| choices.of(third));
            let found: Vec<_> = found.map(|id| place(&batches, id)).collect();
            let expected = expected(&left, &right, op);
            // Not as an assertion of both: they are long.
            let wrong = found.iter().zip(&expected).position(|(a, b)| a != b);
            assert_eq!(wrong, None, "{op:?}, {in_order}, {mixed}, {streams}");
            assert_eq!(found.len(), expected.len());
        }
    }
}

/// One hot key and many more rows than a piece has, on every kind of line, with a column that
/// is NULL in some rows.
#[test]
fn work_of_many_pieces() {
    const ROWS: usize = 200_000;
    const BATCH: usize = 9_000;
    let dice = &mut StdRng::seed_from_u64(14);
    let times: Vec<u64> = (0..ROWS).map(|_| dice.random_range(0..60_000)).collect();
    let mut expected: Vec<u32> = (0..ROWS as u32).collect();
    expected.sort_by_key(|row| times[*row as usize]);
    let texts = times.iter().map(|time| format!("{time:0>6}"));
    // So far from each other that time and row take 64 bits, and that they do not fit in.
    let apart = [0, 32, 47].map(|bits| {
        let times = times.iter().map(|time| (*time as i64 - 30_000) << bits);
        Arc::new(Int64Array::from_iter_values(times)) as ArrayRef
    });
    let others: [ArrayRef; 2] = [
        Arc::new(UInt64Array::from(times.clone())),
        Arc::new(StringArray::from_iter_values(texts)),
    ];
    let values = (0..ROWS).map(|_| (dice.random_range(0..3) > 0).then_some(1));
    let values: ArrayRef = Arc::new(values.collect::<Int64Array>());
    for time in apart.into_iter().chain(others) {
        let spec = IndexSpec {
            domain: TimeDomain::try_new(time.data_type(), time.data_type()).expect("one line"),
            keys: vec![],
            ..spec(Side::Right, MatchOp::GtEq)
        };
        let mut parts = [(); 2].map(|()| IndexPart::try_new(&spec).expect("a part"));
        for (batch, start) in (0..ROWS).step_by(BATCH).enumerate() {
            let rows = BATCH.min(ROWS - start);
            let batch_of_part = IndexBatch {
                keys: &[],
                time: &time.slice(start, rows),
                places: Places::run(start as u64, rows),
                mask: None,
                ties: &[],
                bounds: &[],
                own_values: &[values.slice(start, rows)],
            };
            parts[batch % 2].push(&batch_of_part).expect("a batch");
        }
        let (index, _) = build(parts.into());
        assert_eq!(index.all.rows.to_vec(), expected, "{}", time.data_type());
        let valid = expected.iter().copied();
        let valid: Vec<u32> = valid.filter(|row| values.is_valid(*row as usize)).collect();
        assert_eq!(index.classes[0].rows.to_vec(), valid);
        assert_eq!(index.classes[0].offsets, [0, valid.len()]);
    }
}
