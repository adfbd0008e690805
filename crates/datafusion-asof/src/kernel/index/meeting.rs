//! Right rows that came in no order, taken to the left rows that they are for.
//!
//! # Motivation
//!
//! A right row that is offered to a large index of the left ([`candidates`](super::candidates)) waits
//! for memory wherever its time happens to be, several times. Brought together with those that are for the
//! same few left rows it finds these in cache.
//!
//! # Algorithm
//!
//! The rows of a batch are *dealt* to the blocks of the left that they are for ([`routes`](super::routes)):
//! each becomes a record of words of 64 bits.
//!
//! ```text
//! record     | time | place | payload ...  | mask |
//! dealt      [ for block 0      | block 1 | block 2          ]   a batch; offsets tell where
//! bins       [ of the positions of block 0 | ...             ]   a record for each position
//! ```
//!
//! When many rows have been dealt they *meet* the left, block by block: each finds its bin by the
//! [`cells`](super::cells) of the block, and is written there if it is better than what the bin
//! has. So a bin has the whole row, and the others are forgotten, however many they are.
//! [`Choosing`](super::Choosing) does the rest.
//!
//! What the payload is, values or where they are kept, the driver knows. Records have the mask, which is a
//! payload too, only where it is needed: those without are as if all its bits were set.
//!
//! That rows are partitioned until what they are looked up in fits the cache is the radix join of Manegold,
//! Boncz and Kersten, "Optimizing main-memory join on modern hardware" (TKDE 2002).
//!
//! # Memory
//!
//! A record for each row that was dealt, and one for each left row.

use std::array;
use std::hint::select_unpredictable;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion::arrow::buffer::ScalarBuffer;
use datafusion::common::{Result, exec_err};

use super::SideIndex;
use super::candidates::{Best, NOTHING};
use super::cells::{Cells, WORTH};
use super::collect::Offered;
use super::line::LineTimes;
use super::routes::{NOWHERE, Routes, Way};
use super::timeline::{Timeline, read_through};
use crate::kernel::domain::TimeValues;
use crate::kernel::ordinals::is_known;
use crate::kernel::rows::RowId;
use crate::spec::MatchOp;

/// Positions of a block, at least: those whose bins and times stay in the second cache.
const LEAST_BLOCK_BITS: u32 = 14;
/// Blocks, at most: rows of a batch that are for one of them should be some.
const MOST_BLOCKS: usize = 1024;
/// Words of a record before its payload.
pub(crate) const HEAD: usize = 2;
const PLACE: usize = 1;
/// The place of a bin that has no row. (Ranks of partitions end long before.)
const NOBODY: u64 = u64::MAX;
/// Rows of which the bins are found together.
const GROUP: usize = 256;
/// As many cells as to the power of two for each position, so that most have one at most.
const FINER: u32 = 1;

/// A word of the payload of the rows of a batch.
pub(crate) enum Word {
    Each(ScalarBuffer<u64>),
    /// One after the other from the first.
    From(u64),
}

/// The payload of the rows of a batch.
pub(crate) struct Payload {
    pub words: Vec<Word>,
    pub mask: Option<ScalarBuffer<u64>>,
}

/// The rows of a batch by block.
pub(crate) struct Dealt {
    records: Records,
    /// By record the ordinal of the key, if there are several.
    keys: Vec<u32>,
    /// By block where its records begin, and after the last where they end.
    offsets: Vec<u32>,
}

/// Records, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Records {
    words: Vec<u64>,
    /// Words of one.
    width: usize,
    has_mask: bool,
}

/// The best right rows of all bins, while there may be better ones.
pub(crate) struct Bins {
    way: Way,
    routes: Routes,
    /// Words of a record without its mask.
    width: usize,
    positions: usize,
    block_bits: u32,
    keys: usize,
    blocks: Vec<Mutex<Records>>,
    /// By ordinal whether there was a row of the key.
    seen: Vec<AtomicBool>,
}

/// The best right rows of all bins.
pub(crate) struct Gathered {
    pub(super) blocks: Arc<[Records]>,
    block_bits: u32,
    seen: Vec<bool>,
}

impl Records {
    #[cfg(test)]
    pub(crate) fn new(words: Vec<u64>, width: usize, has_mask: bool) -> Self {
        Self {
            words,
            width,
            has_mask,
        }
    }

    /// A record; the words of its payload come after [`HEAD`].
    #[inline]
    pub(crate) fn record(&self, at: usize) -> &[u64] {
        &self.words[at * self.width..(at + 1) * self.width]
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.words.len().checked_div(self.width).unwrap_or(0)
    }

    /// The mask of a record; all bits if it has none.
    pub(crate) fn mask(&self, at: usize) -> u64 {
        match self.has_mask {
            true => self.record(at).last().copied().unwrap_or(u64::MAX),
            false => u64::MAX,
        }
    }

    /// Whether any has a mask.
    pub(crate) fn has_mask(&self) -> bool {
        self.has_mask
    }

    pub(crate) fn size(&self) -> usize {
        self.words.capacity() * size_of::<u64>()
    }

    fn add_mask(&mut self) {
        let records = self.words.chunks_exact(self.width.max(1));
        let mut wider = Vec::with_capacity(records.len() * (self.width + 1));
        for record in records {
            wider.extend_from_slice(record);
            wider.push(u64::MAX);
        }
        self.words = wider;
        self.width += 1;
        self.has_mask = true;
    }
}

impl Bins {
    /// Of an index of the left; rows have so many words of payload, besides a mask.
    ///
    /// # Errors
    /// An execution error for an index whose times are not of 64 bits.
    pub(crate) fn try_new(index: &SideIndex, op: MatchOp, payload: usize) -> Result<Self> {
        let LineTimes::I64(line) = &index.all.times else {
            return exec_err!("as-of values of the sides are on different lines");
        };
        let (positions, keys) = (index.rows(), index.keys_len());
        let block_bits = block_bits(positions);
        let way = Way::new(op);
        let blocks = 0..positions.div_ceil(1 << block_bits);
        Ok(Self {
            way,
            routes: Routes::new(index, line, (way, block_bits)),
            width: HEAD + payload,
            positions,
            block_bits,
            keys,
            blocks: blocks.map(|_| Mutex::default()).collect(),
            seen: (0..keys).map(|_| AtomicBool::new(false)).collect(),
        })
    }

    /// Bytes that are held at most, and while so many tasks have rows meet the left, for the memory pool.
    pub(crate) fn size(&self, has_mask: bool, tasks: usize) -> usize {
        let width = self.width + usize::from(has_mask);
        let in_block = self.positions.min(1 << self.block_bits);
        let meeting = in_block * 2 * size_of::<u32>() + GROUP * size_of::<u32>();
        self.positions * width * size_of::<u64>()
            + self.routes.size()
            + self.seen.len()
            + tasks * meeting
    }

    /// Bytes that [`Self::deal`] takes for so many rows that have a key of the left.
    pub(crate) fn dealt_size(&self, rows: usize, has_mask: bool) -> usize {
        let width = self.width + usize::from(has_mask);
        let key = match self.keys {
            0 | 1 => 0,
            _ => size_of::<u32>(),
        };
        rows * (width * size_of::<u64>() + key) + (self.blocks.len() + 1) * size_of::<u32>()
    }

    /// Deals the rows of a batch that have a key of the left.
    ///
    /// # Errors
    /// As [`Self::try_new`].
    pub(crate) fn deal(&self, offered: &Offered, payload: &Payload) -> Result<Dealt> {
        let TimeValues::I64(times) = &offered.times.values else {
            return exec_err!("as-of values of the sides are on different lines");
        };
        let mut offsets = vec![0u32; self.blocks.len() + 1];
        let rows = offered.keys.iter().zip(times.iter());
        let blocks: Vec<u32> = rows
            .map(|(key, time)| {
                let block = match is_known(*key) {
                    true => self.routes.block(*key, *time),
                    false => NOWHERE,
                };
                if block != NOWHERE {
                    offsets[block as usize + 1] += 1;
                }
                block
            })
            .collect();
        let mut end = 0;
        for offset in &mut offsets {
            end += *offset;
            *offset = end;
        }
        let mut next = offsets.clone();
        // By record its row.
        let mut rows = vec![0u32; end as usize];
        for (row, block) in (0..).zip(blocks).filter(|(_, block)| *block != NOWHERE) {
            let slot = &mut next[block as usize];
            rows[*slot as usize] = row;
            *slot += 1;
        }
        let width = self.width + usize::from(payload.mask.is_some());
        let word = |row: usize, word: usize| match word {
            0 => times[row].cast_unsigned(),
            PLACE => offered.places.at(row),
            _ => match payload.words.get(word - HEAD) {
                Some(Word::Each(values)) => values[row],
                Some(Word::From(first)) => first + row as u64,
                None => payload.mask.as_ref().map_or(u64::MAX, |mask| mask[row]),
            },
        };
        let words = match width {
            3 => records::<3>(&rows, word),
            4 => records::<4>(&rows, word),
            5 => records::<5>(&rows, word),
            6 => records::<6>(&rows, word),
            7 => records::<7>(&rows, word),
            8 => records::<8>(&rows, word),
            _ => {
                let mut words = Vec::with_capacity(rows.len() * width);
                for row in &rows {
                    words.extend((0..width).map(|at| word(*row as usize, at)));
                }
                words
            }
        };
        let keys = match self.keys {
            0 | 1 => vec![],
            _ => rows.iter().map(|row| offered.keys[*row as usize]).collect(),
        };
        Ok(Dealt {
            records: Records {
                words,
                width,
                has_mask: payload.mask.is_some(),
            },
            keys,
            offsets,
        })
    }

    /// Blocks whose rows can be visited on their own.
    pub(crate) fn blocks(&self) -> Range<usize> {
        0..self.blocks.len()
    }

    /// Has rows meet the left rows of a block.
    ///
    /// # Errors
    /// As [`Self::try_new`].
    pub(crate) fn meet(&self, index: &SideIndex, block: usize, dealt: &[Dealt]) -> Result<()> {
        let LineTimes::I64(line) = &index.all.times else {
            return exec_err!("as-of values of the sides are on different lines");
        };
        let slices = dealt.iter().map(|dealt| dealt.slice(block));
        let slices: Vec<Slice<'_>> = slices.filter(|slice| !slice.words.is_empty()).collect();
        if slices.is_empty() {
            return Ok(());
        }
        let mut lists = Lists::new(index, line, self.positions(block));
        let mut bins = self.lock(block);
        if bins.words.is_empty() {
            bins.width = self.width;
            bins.words = vec![NOBODY; lists.positions.len() * self.width];
        }
        // One after the other they come from memory faster than as they are wanted.
        read_through(&bins.words);
        let mut found = Vec::with_capacity(GROUP);
        for (number, slice) in slices.iter().enumerate() {
            // The next are on their way while these are at work.
            if let Some(next) = slices.get(number + 1) {
                read_through(next.words);
            }
            if slice.has_mask && !bins.has_mask {
                bins.add_mask();
            }
            let groups = slice.words.chunks(GROUP * slice.width);
            for (records, first) in groups.zip((0..).step_by(GROUP)) {
                found.clear();
                let records_of_group = records.chunks_exact(slice.width);
                found.extend(records_of_group.zip(first..).map(|(record, at)| {
                    let key = match slice.keys.get(at) {
                        Some(key) => *key as usize - lists.first_key,
                        None => 0,
                    };
                    lists.bin(key, record[0].cast_signed(), self.way)
                }));
                bins.settle(&found, (records, slice.width), self.way.backward);
            }
        }
        for key in lists.seen() {
            self.seen[key].store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// How many bins of a block have a row.
    pub(crate) fn count(&self, block: usize) -> usize {
        let bins = self.lock(block);
        let records = bins.words.chunks_exact(bins.width.max(1));
        records.filter(|record| record[PLACE] != NOBODY).count()
    }

    /// Visits the payload of the best rows of a block.
    pub(crate) fn each(&self, block: usize, mut visit: impl FnMut(&mut [u64])) {
        let mut bins = self.lock(block);
        let width = bins.width.max(1);
        let records = bins.words.chunks_exact_mut(width);
        for record in records.filter(|record| record[PLACE] != NOBODY) {
            visit(&mut record[HEAD..]);
        }
    }

    /// What has been gathered.
    pub(crate) fn finish(self) -> Gathered {
        let blocks = self.blocks.into_iter();
        let blocks = blocks.map(|block| block.into_inner().unwrap_or_else(PoisonError::into_inner));
        let seen = self.seen.into_iter().map(AtomicBool::into_inner);
        Gathered {
            blocks: blocks.collect(),
            block_bits: self.block_bits,
            seen: seen.collect(),
        }
    }

    fn positions(&self, block: usize) -> Range<usize> {
        let start = block << self.block_bits;
        start..self.positions.min(start + (1 << self.block_bits))
    }

    fn lock(&self, block: usize) -> MutexGuard<'_, Records> {
        (self.blocks[block].lock()).unwrap_or_else(PoisonError::into_inner)
    }
}

/// The words of the given rows.
#[inline]
fn records<const WIDTH: usize>(rows: &[u32], word: impl Fn(usize, usize) -> u64) -> Vec<u64> {
    let record = |row: &u32| array::from_fn(|at| word(*row as usize, at));
    let records: Vec<[u64; WIDTH]> = rows.iter().map(record).collect();
    records.into_flattened()
}

fn block_bits(positions: usize) -> u32 {
    let enough = positions.div_ceil(MOST_BLOCKS).next_power_of_two().ilog2();
    enough.max(LEAST_BLOCK_BITS)
}

impl Dealt {
    #[cfg(test)]
    pub(crate) fn size(&self) -> usize {
        self.records.size() + size_of_val(&*self.keys) + size_of_val(&*self.offsets)
    }

    fn slice(&self, block: usize) -> Slice<'_> {
        let range = self.offsets[block] as usize..self.offsets[block + 1] as usize;
        let Records {
            words,
            width,
            has_mask,
        } = &self.records;
        Slice {
            words: &words[range.start * width..range.end * width],
            width: *width,
            has_mask: *has_mask,
            keys: self.keys.get(range).unwrap_or_default(),
        }
    }
}

/// The records of a batch that are for a block.
struct Slice<'a> {
    words: &'a [u64],
    width: usize,
    has_mask: bool,
    keys: &'a [u32],
}

/// The lists of keys, so far as they are in a block.
struct Lists<'a> {
    times: &'a [i64],
    positions: Range<usize>,
    first_key: usize,
    of_key: Vec<List>,
    cells: Option<Cells<i64>>,
}

struct List {
    start: u32,
    end: u32,
    seen: bool,
}

impl<'a> Lists<'a> {
    fn new(index: &SideIndex, line: &'a Timeline<i64>, positions: Range<usize>) -> Self {
        let (offsets, times) = (&index.all.offsets, line.stretch(0..index.rows()));
        let first_key = offsets.partition_point(|start| *start <= positions.start) - 1;
        let ends = offsets[first_key..].windows(2);
        let of_block = ends.take_while(|ends| ends[0] < positions.end);
        let list = |ends: &[usize]| List {
            start: ends[0].max(positions.start) as u32,
            end: ends[1].min(positions.end) as u32,
            seen: false,
        };
        let of_key: Vec<List> = of_block.map(list).collect();
        let pays = positions.len() >= WORTH * of_key.len();
        let cells = pays.then(|| {
            let mut cells =
                Cells::with_capacity(of_key.len(), 2 * positions.len() + 2 * of_key.len());
            for list in &of_key {
                cells.add(times, list.start as usize..list.end as usize, FINER);
            }
            cells
        });
        Self {
            times,
            positions,
            first_key,
            of_key,
            cells,
        }
    }

    /// The bin of a right row in the block; [`NOWHERE`] if it has none.
    #[inline]
    fn bin(&mut self, key: usize, time: i64, way: Way) -> u32 {
        let list = &mut self.of_key[key];
        list.seen = true;
        let (start, end) = (list.start as usize, list.end as usize);
        let precedes = |left| way.precedes(left, time);
        let point = match &self.cells {
            Some(cells) => cells.point(self.times, (key, time), precedes),
            None => start + self.times[start..end].partition_point(|left| precedes(*left)),
        };
        let (has_bin, bin) = match way.backward {
            true => (point < end, point),
            false => (point > start, point.wrapping_sub(1)),
        };
        let bin = bin.wrapping_sub(self.positions.start) as u32;
        if has_bin { bin } else { NOWHERE }
    }

    fn seen(&self) -> impl Iterator<Item = usize> {
        let keys = (self.first_key..).zip(&self.of_key);
        keys.filter(|(_, list)| list.seen).map(|(key, _)| key)
    }
}

impl Records {
    /// Writes each of some records into its bin of these, where it is better.
    fn settle(&mut self, bins: &[u32], (records, width): (&[u64], usize), backward: bool) {
        let words = self.words.as_mut_slice();
        match (self.width, width) {
            (3, 3) => settle::<3>(words, bins, records, backward),
            (4, 4) => settle::<4>(words, bins, records, backward),
            (5, 5) => settle::<5>(words, bins, records, backward),
            (6, 6) => settle::<6>(words, bins, records, backward),
            (7, 7) => settle::<7>(words, bins, records, backward),
            (8, 8) => settle::<8>(words, bins, records, backward),
            (own, width) => {
                let records = bins.iter().zip(records.chunks_exact(width));
                for (bin, record) in records.filter(|(bin, _)| **bin != NOWHERE) {
                    let start = *bin as usize * own;
                    let best = &mut words[start..start + own];
                    if is_better(record, best, backward) {
                        let (same, mask) = best.split_at_mut(width);
                        same.copy_from_slice(record);
                        mask.fill(u64::MAX);
                    }
                }
            }
        }
    }
}

#[inline]
fn settle<const WIDTH: usize>(words: &mut [u64], bins: &[u32], records: &[u64], backward: bool) {
    let of_bins = words.as_chunks_mut::<WIDTH>().0;
    for (bin, record) in bins.iter().zip(records.as_chunks::<WIDTH>().0) {
        let Some(best) = of_bins.get_mut(*bin as usize) else {
            continue;
        };
        // Which of them it is nobody can guess.
        let own = is_better(record, best, backward);
        for (best, word) in best.iter_mut().zip(record) {
            *best = select_unpredictable(own, *word, *best);
        }
    }
}

#[inline]
fn is_better(record: &[u64], best: &[u64], backward: bool) -> bool {
    let order = |record: &[u64]| (record[0].cast_signed(), record[PLACE]);
    let (own, best) = (order(record), order(best));
    let is_further = match backward {
        true => own.0 > best.0,
        false => own.0 < best.0,
    };
    let is_other = match backward {
        true => own.1 > best.1,
        false => own.1 < best.1,
    };
    is_further | ((own.0 == best.0) & is_other) | (best.1 == NOBODY)
}

impl Gathered {
    /// The best row of a bin: its block, and where it is there.
    #[inline]
    pub(super) fn best(&self, position: usize) -> Best {
        let (block, row) = (
            position >> self.block_bits,
            position & ((1 << self.block_bits) - 1),
        );
        let records = &self.blocks[block];
        match records
            .words
            .get(row * records.width..)
            .and_then(<[u64]>::first_chunk)
        {
            Some([time, place]) if *place != NOBODY => Best {
                time: time.cast_signed(),
                place: *place,
                row: RowId {
                    batch: block as u32,
                    row: row as u32,
                },
            },
            _ => NOTHING,
        }
    }

    /// The rows of all bins, by block.
    pub(crate) fn blocks(&self) -> &Arc<[Records]> {
        &self.blocks
    }

    /// Whether a row of a key was gathered.
    pub(super) fn has_seen(&self, key: usize) -> bool {
        self.seen[key]
    }
}
