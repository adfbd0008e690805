//! Makes a failing case small: drops whatever can be dropped while it still fails.

use datafusion_asof::AsOfJoinType;
use futures::future::BoxFuture;

use crate::case::Case;
use crate::engine::Setup;
use crate::predicate::Predicate;
use crate::table::Table;

/// Something that is wrong with a case under a setup; none if all is well.
pub(crate) type Problem =
    Box<dyn Fn(Case, Setup) -> BoxFuture<'static, Option<String>> + Send + Sync>;

/// The smallest case and the plainest setup found to fail, and how they fail.
pub(crate) async fn shrink(case: Case, setup: Setup, problem: &Problem) -> (Case, Setup, String) {
    let message = problem(case.clone(), setup).await;
    let mut best = (
        case,
        setup,
        message.unwrap_or_else(|| "passes when run again".to_string()),
    );
    loop {
        let before = size(&best);
        for (case, setup) in simpler(&best.0, best.1) {
            if let Some(message) = problem(case.clone(), setup).await {
                best = (case, setup, message);
                break;
            }
        }
        if size(&best) == before {
            return best;
        }
    }
}

/// What the shrinker makes smaller.
fn size((case, setup, _): &(Case, Setup, String)) -> (usize, usize, usize, usize) {
    let of_table = |table: &Table| {
        let batches: usize = table.cuts.iter().map(|batches| batches.len() + 1).sum();
        (
            table.rows(),
            batches + usize::from(table.order.is_some()),
            table.columns.len() + table.keys.len(),
        )
    };
    let (left, right) = (of_table(&case.left), of_table(&case.right));
    let clauses = usize::from(case.tolerance.is_some())
        + case.filter.as_ref().map_or(0, Predicate::size)
        + case.ties.len()
        + usize::from(case.ignore_nulls)
        + case
            .null_safe
            .iter()
            .filter(|null_safe| **null_safe)
            .count()
        + usize::from(case.kind != AsOfJoinType::Left);
    let run = setup.target_partitions
        + usize::from(setup.batch_size != 8192)
        + usize::from(setup.twice)
        + usize::from(setup.sent)
        + usize::from(setup.keep_order);
    (
        left.0 + right.0,
        left.1 + right.1,
        left.2 + right.2,
        clauses + run,
    )
}

/// Every simpler variant of a case, the ones that save most first.
fn simpler(case: &Case, setup: Setup) -> Vec<(Case, Setup)> {
    let mut variants = vec![];
    let mut add = |case: Case| variants.push((case, setup));
    for is_left in [true, false] {
        let table = if is_left { &case.left } else { &case.right };
        let with = |table: Table| {
            let mut case = case.clone();
            *(if is_left {
                &mut case.left
            } else {
                &mut case.right
            }) = table;
            case
        };
        let rows = table.rows();
        let mut piece = rows.div_ceil(2);
        while piece > 0 {
            for start in (0..rows).step_by(piece) {
                add(with(
                    table.without(|place| (start..start + piece).contains(&place)),
                ));
            }
            piece /= 2;
        }
        if table.order.is_some() {
            add(with(Table {
                order: None,
                ..table.clone()
            }));
        }
        let whole_partitions: Vec<Vec<usize>> = table
            .cuts
            .iter()
            .map(|batches| vec![batches.iter().sum()])
            .collect();
        add(with(Table {
            cuts: whole_partitions,
            ..table.clone()
        }));
        if table.order.is_none() {
            add(with(Table {
                cuts: vec![vec![rows]],
                ..table.clone()
            }));
        }
        for column in 0..table.columns.len() {
            let used = [table.id, table.time, table.extra].contains(&column)
                || table.keys.contains(&column)
                || (!is_left && case.ties.iter().any(|(tie, _)| *tie >= column));
            let ordered = table
                .order
                .iter()
                .flatten()
                .any(|(ordered, _)| *ordered == column);
            if !used && !ordered {
                add(with(without_column(table, column)));
            }
        }
    }
    for key in 0..case.left.keys.len() {
        let mut case = case.clone();
        case.left.keys.remove(key);
        case.right.keys.remove(key);
        case.null_safe.remove(key);
        add(case);
    }
    if case.tolerance.is_some() {
        add(Case {
            tolerance: None,
            ..case.clone()
        });
    }
    let changed = |change: &dyn Fn(&mut Case)| {
        let mut case = case.clone();
        change(&mut case);
        case
    };
    if let Some(filter) = &case.filter {
        add(changed(&|case| case.filter = None));
        for part in filter.parts() {
            add(changed(&|case| case.filter = Some(part.clone())));
        }
    }
    for tie in 0..case.ties.len() {
        add(changed(&|case| {
            case.ties.remove(tie);
        }));
    }
    for key in 0..case.null_safe.len() {
        add(changed(&|case| case.null_safe[key] = false));
    }
    add(changed(&|case| case.ignore_nulls = false));
    add(changed(&|case| case.kind = AsOfJoinType::Left));
    let plainer = [
        Setup {
            keep_order: false,
            ..setup
        },
        Setup {
            twice: false,
            ..setup
        },
        Setup {
            sent: false,
            ..setup
        },
        Setup {
            target_partitions: 1,
            ..setup
        },
        Setup {
            batch_size: 8192,
            ..setup
        },
    ];
    variants.extend(plainer.map(|setup| (case.clone(), setup)));
    let before = size(&(case.clone(), setup, String::new()));
    variants.retain(|(case, setup)| size(&(case.clone(), *setup, String::new())) < before);
    variants
}

fn without_column(table: &Table, column: usize) -> Table {
    let mut table = table.clone();
    table.columns.remove(column);
    let shift = |index: &mut usize| *index -= usize::from(*index > column);
    shift(&mut table.id);
    shift(&mut table.time);
    shift(&mut table.extra);
    table.keys.iter_mut().for_each(shift);
    table
        .order
        .iter_mut()
        .flatten()
        .for_each(|(index, _)| shift(index));
    table
}
