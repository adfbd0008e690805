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
use super::records::{HEAD, Records, Slice};
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
/// Rows of which the bins are found together.
const GROUP: usize = 1024;
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

/// Rows that one task has meet the left: those that some of the batches have for a block.
pub(crate) struct Portion {
    block: usize,
    batches: Range<usize>,
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
            1 => offered.places.at(row),
            _ => match payload.words.get(word - HEAD) {
                Some(Word::Each(values)) => values[row],
                Some(Word::From(first)) => first + row as u64,
                None => payload.mask.as_ref().map_or(u64::MAX, |mask| mask[row]),
            },
        };
        let keys = match self.keys {
            0 | 1 => vec![],
            _ => rows.iter().map(|row| offered.keys[*row as usize]).collect(),
        };
        Ok(Dealt {
            records: Records::of_rows(&rows, (width, payload.mask.is_some()), word),
            keys,
            offsets,
        })
    }

    /// Blocks whose rows can be visited on their own.
    pub(crate) fn blocks(&self) -> Range<usize> {
        0..self.blocks.len()
    }

    /// What so many tasks have meet the left.
    pub(crate) fn portions(&self, dealt: &[Dealt], tasks: usize) -> Vec<Portion> {
        let all: usize = dealt
            .iter()
            .map(|dealt| dealt.offsets.last().map_or(0, |end| *end as usize))
            .sum();
        let portions = self.blocks().flat_map(|block| {
            let rows: usize = dealt.iter().map(|dealt| dealt.range(block).len()).sum();
            // No task is to have most of them while others have none.
            let parts = match rows {
                0 => 0,
                _ if rows * tasks > all => tasks,
                _ => 1,
            };
            let batches = dealt.len().div_ceil(parts.max(1));
            (0..parts).map(move |part| Portion {
                block,
                batches: dealt.len().min(part * batches)..dealt.len().min((part + 1) * batches),
            })
        });
        portions.collect()
    }

    /// Has rows meet the left rows of a block.
    ///
    /// # Errors
    /// As [`Self::try_new`].
    pub(crate) fn meet(&self, index: &SideIndex, portion: &Portion, dealt: &[Dealt]) -> Result<()> {
        let LineTimes::I64(line) = &index.all.times else {
            return exec_err!("as-of values of the sides are on different lines");
        };
        let block = portion.block;
        let batches = dealt[portion.batches.clone()].iter();
        let slices =
            batches.map(|dealt| (dealt.records.slice(dealt.range(block)), dealt.keys(block)));
        let slices: Vec<(Slice<'_>, &[u32])> =
            slices.filter(|(slice, _)| !slice.is_empty()).collect();
        if slices.is_empty() {
            return Ok(());
        }
        let mut lists = Lists::new(index, line, self.positions(block));
        {
            let mut bins = self.lock(block);
            bins.fill(lists.positions.len(), self.width);
            // One after the other they come from memory faster than as they are wanted.
            read_through(bins.words());
        }
        let mut found = Vec::with_capacity(GROUP);
        for (number, (slice, keys)) in slices.iter().enumerate() {
            // The next are on their way while these are at work.
            if let Some((next, _)) = slices.get(number + 1) {
                read_through(next.words());
            }
            for (group, first) in slice.groups(GROUP).zip((0..).step_by(GROUP)) {
                found.clear();
                found.extend(group.times().zip(first..).map(|(time, at)| {
                    let key = match keys.get(at) {
                        Some(key) => *key as usize - lists.first_key,
                        None => 0,
                    };
                    lists.bin(key, time, self.way)
                }));
                // Others may have rows of the same block.
                self.lock(block).settle(&found, group, self.way.backward);
            }
        }
        for key in lists.seen() {
            self.seen[key].store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// How many bins of a block have a row.
    pub(crate) fn count(&self, block: usize) -> usize {
        self.lock(block).taken()
    }

    /// Visits the payload of the best rows of a block.
    pub(crate) fn each(&self, block: usize, visit: impl FnMut(&mut [u64])) {
        self.lock(block).payloads().for_each(visit);
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

fn block_bits(positions: usize) -> u32 {
    let enough = positions.div_ceil(MOST_BLOCKS).next_power_of_two().ilog2();
    enough.max(LEAST_BLOCK_BITS)
}

impl Dealt {
    #[cfg(test)]
    pub(crate) fn size(&self) -> usize {
        self.records.size() + size_of_val(&*self.keys) + size_of_val(&*self.offsets)
    }

    /// Which records are for a block.
    fn range(&self, block: usize) -> Range<usize> {
        self.offsets[block] as usize..self.offsets[block + 1] as usize
    }

    /// The keys of the records that are for a block, if there are several.
    fn keys(&self, block: usize) -> &[u32] {
        self.keys.get(self.range(block)).unwrap_or_default()
    }
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

impl Gathered {
    /// The best row of a bin: its block, and where it is there.
    #[inline]
    pub(super) fn best(&self, position: usize) -> Best {
        let (block, row) = (
            position >> self.block_bits,
            position & ((1 << self.block_bits) - 1),
        );
        match self.blocks[block].time_and_place(row) {
            Some((time, place)) => Best {
                time,
                place,
                row: RowId {
                    batch: block as u32,
                    row: row as u32,
                },
            },
            None => NOTHING,
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
