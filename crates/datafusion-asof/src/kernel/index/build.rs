//! Grouping right rows by key and time.
//!
//! # Algorithm
//!
//! ```text
//! collect    batches as they are read: keys to ordinals, times            a thread for each partition
//! plan       how many rows each key has, so where each list begins        one thread, in pieces
//! scatter    some batches at a time: rows to shards                       any thread
//! shard      a shard: rows to lists, lists to time order                  any thread
//! finish     bounds and validity classes, if there are any                one thread, in pieces
//! ```
//!
//! A *shard* is what one thread orders in its cache: some ten thousand rows, of many rare
//! keys or of a range of times of one frequent key, so that neither many keys nor one hot key,
//! nor none at all, leaves a thread without work. The shards of a key follow each other in
//! time, so that their rows, one after the other, are the list of the key: equal times are
//! never parted.
//!
//! Rows come to their list in the order of their places, which [`sort`](super::sort) keeps among
//! equal times; what `TIES BY` or a right side that lost its order has to say is applied to runs
//! of equal times.
//!
//! # Memory
//!
//! 12 bytes a row for keys and times (times are those of the batches themselves where they
//! can be), 16 more while rows are in shards, then 12 for times and row numbers, and a
//! sixteenth of that for the [`timeline`](super::timeline). Wide lines take 16 bytes a time.
//!
//! Partitioning to what fits the cache before the actual work is from Manegold, Boncz and
//! Kersten, "Optimizing main-memory join on modern hardware" (TKDE 2002).

use std::cmp::Ordering;

use bytes::BytesMut;
use datafusion::arrow::buffer::{Buffer, ScalarBuffer};
use datafusion::arrow::datatypes::{ArrowNativeType, ToByteSlice};

use super::finish::Finishing;
use super::line::IndexTime;
use super::plan::{Equals, Layout, LinePlan, Scatter};
use super::planning::SHARD_ROWS;
use super::sort::sort_by_time;
use crate::kernel::ordinals::is_known;

/// Stands for the shard of a row that cannot match.
const NOWHERE: u32 = u32::MAX;

/// A row on its way to its list.
#[derive(Debug, Clone, Copy, Default)]
struct Entry<T> {
    time: T,
    key: u32,
    row: u32,
}

/// Rows by shard.
pub(crate) struct Scattered<T> {
    entries: Vec<Entry<T>>,
    /// By shard where its entries begin, and after the last where they end.
    offsets: Vec<u32>,
}

impl<T: IndexTime> LinePlan<T> {
    /// Bytes of the lists, which stay, for the memory pool.
    pub(crate) fn lists_size(&self) -> usize {
        let row = size_of::<T>() + size_of::<T>() / 15 + size_of::<u32>();
        self.rows() * row + self.layout.numbers.size()
    }

    /// Bytes needed until the lists are made, by so many tasks at a time.
    pub(crate) fn shards_size(&self, tasks: usize) -> usize {
        let offsets = self.layout.shards.len() * self.scatters.len() * size_of::<u32>();
        // Of the shards at work times and rows, numbers to be sorted and sorted, and the rows before.
        let row = size_of::<T>() + 2 * size_of::<u64>() + 2 * size_of::<u32>();
        let at_work = self.rows().min(tasks * 2 * SHARD_ROWS);
        self.rows() * size_of::<Entry<T>>() + offsets + at_work * row
    }

    fn rows(&self) -> usize {
        self.layout.offsets.last().copied().unwrap_or(0)
    }

    /// Where the batches of the index are among those collected, in its order: part and batch.
    pub(crate) fn batches(&self) -> &[(usize, usize)] {
        &self.order
    }

    /// What there is to do first: [`Layout::scatter`] each.
    pub(crate) fn into_jobs(self) -> (Layout<T>, Vec<Scatter<T>>) {
        (self.layout, self.scatters)
    }
}

impl<T: IndexTime> Layout<T> {
    /// Takes the rows of some batches to their shards.
    pub(crate) fn scatter(&self, batches: Scatter<T>) -> Scattered<T> {
        let mut shards = vec![];
        let mut offsets = vec![0u32; self.shards.len() + 1];
        for batch in &batches.batches {
            let keys = batch.keys.each();
            let rows = keys.iter().zip(batch.times.iter());
            shards.extend(rows.map(|(key, time)| {
                if !is_known(*key) {
                    return NOWHERE;
                }
                let route = self.routes[batch.ordinals[*key as usize] as usize];
                let cell = time.cell(self.least, route.shift).min(route.last_cell);
                offsets[(route.first + cell) as usize + 1] += 1;
                route.first + cell
            }));
        }
        let mut end = 0;
        for offset in &mut offsets {
            end += *offset;
            *offset = end;
        }
        let mut next = offsets.clone();
        let mut entries = vec![Entry::default(); end as usize];
        let mut shards = shards.into_iter();
        for batch in batches.batches {
            let keys = batch.keys.each();
            let rows = keys.iter().zip(batch.times.iter()).zip(batch.start..);
            for (((key, time), row), shard) in rows.zip(&mut shards) {
                if shard == NOWHERE {
                    continue;
                }
                let slot = &mut next[shard as usize];
                entries[*slot as usize] = Entry {
                    time: *time,
                    key: batch.ordinals[*key as usize],
                    row,
                };
                *slot += 1;
            }
        }
        Scattered { entries, offsets }
    }
}

/// All rows in shards.
pub(crate) struct Sharded<T: IndexTime> {
    pub(super) layout: Layout<T>,
    scattered: Vec<Scattered<T>>,
}

/// The rows of a shard: the list of each of its keys, one after the other.
pub(super) struct Ordered<T> {
    pub times: Vec<T>,
    pub rows: Vec<u32>,
    /// Where the list of each key ends.
    pub ends: Vec<usize>,
}

/// One shard of the lists.
#[derive(Debug)]
pub(crate) struct Shard {
    number: usize,
    times: BytesMut,
    rows: BytesMut,
}

impl<T: IndexTime> Sharded<T> {
    /// `scattered` in the order of the jobs.
    pub(crate) fn new(layout: Layout<T>, scattered: Vec<Scattered<T>>) -> Self {
        Self { layout, scattered }
    }

    /// Room for the lists of all shards, and what there is to do next: [`Self::order`] each.
    pub(crate) fn shards(&self) -> Vec<Shard> {
        let rows = self.layout.offsets.last().copied().unwrap_or(0);
        // Zeroed pages that whoever writes a shard is the first to touch.
        let mut times = BytesMut::zeroed(rows * size_of::<T>());
        let mut numbers = BytesMut::zeroed(rows * size_of::<u32>());
        let shards = (0..self.layout.shards.len()).map(|number| {
            let rows = self.rows_of(number);
            Shard {
                number,
                times: times.split_to(rows * size_of::<T>()),
                rows: numbers.split_to(rows * size_of::<u32>()),
            }
        });
        shards.collect()
    }

    /// Puts the rows of a shard into lists in time order.
    pub(crate) fn order(&self, mut shard: Shard) -> Shard {
        let ordered = self.ordered(shard.number);
        shard.times.copy_from_slice(ordered.times.to_byte_slice());
        shard.rows.copy_from_slice(ordered.rows.to_byte_slice());
        shard
    }

    fn rows_of(&self, shard: usize) -> usize {
        self.scattered.iter().map(|s| s.range(shard).len()).sum()
    }

    /// The rows of a shard in lists in time order.
    pub(super) fn ordered(&self, shard: usize) -> Ordered<T> {
        let keys = self.layout.shards[shard];
        let (start, end) = (keys.start as usize, keys.end as usize);
        let rows = self.rows_of(shard);
        let mut times = vec![T::default(); rows];
        let mut numbers = vec![0; rows];
        // Of a key with several shards this one has but a part of the list.
        let ends = &self.layout.offsets[start..=end];
        let mut next: Vec<usize> = ends.iter().map(|end| end - ends[0]).collect();
        for scattered in &self.scattered {
            for entry in &scattered.entries[scattered.range(shard)] {
                let slot = &mut next[entry.key as usize - start];
                times[*slot] = entry.time;
                numbers[*slot] = entry.row;
                *slot += 1;
            }
        }
        next.truncate(end - start);
        let mut list_start = 0;
        for list_end in &next {
            let list = list_start..*list_end;
            self.order_list(&mut times[list.clone()], &mut numbers[list]);
            list_start = *list_end;
        }
        Ordered {
            times,
            rows: numbers,
            ends: next,
        }
    }

    /// Orders a list by time, equal times by what comes first of `TIES BY`, place and number.
    fn order_list(&self, times: &mut [T], rows: &mut [u32]) {
        sort_by_time(times, rows);
        let equals = &self.layout.equals;
        if equals.ties.is_empty() && equals.places_ascend {
            return;
        }
        let mut start = 0;
        for run in times.chunk_by(|a, b| a == b) {
            let end = start + run.len();
            if run.len() > 1 {
                rows[start..end].sort_unstable_by(|a, b| self.compare_equals(*a, *b));
            }
            start = end;
        }
    }

    fn compare_equals(&self, a: u32, b: u32) -> Ordering {
        let Equals { ties, places, .. } = &self.layout.equals;
        let id = |number| {
            let id = self.layout.numbers.id(number);
            (id.batch as usize, id.row as usize)
        };
        let ((batch_a, row_a), (batch_b, row_b)) = (id(a), id(b));
        let by_ties = match ties.is_empty() {
            true => Ordering::Equal,
            false => ties[batch_a].row(row_a).cmp(&ties[batch_b].row(row_b)),
        };
        by_ties.then_with(|| match self.layout.equals.places_ascend {
            true => a.cmp(&b),
            false => places[batch_a].at(row_a).cmp(&places[batch_b].at(row_b)),
        })
    }

    /// What is left to do; `shards` in the order of the jobs.
    pub(crate) fn finish(self, shards: Vec<Shard>) -> Finishing<T> {
        let (mut times, mut rows) = (BytesMut::new(), BytesMut::new());
        for shard in shards {
            times.unsplit(shard.times);
            rows.unsplit(shard.rows);
        }
        Finishing::new(self.layout, buffer(times), buffer(rows))
    }
}

impl<T> Scattered<T> {
    fn range(&self, shard: usize) -> std::ops::Range<usize> {
        self.offsets[shard] as usize..self.offsets[shard + 1] as usize
    }
}

/// Numbers from bytes that were written as such.
fn buffer<T: ArrowNativeType>(bytes: BytesMut) -> ScalarBuffer<T> {
    let bytes = bytes.freeze();
    // Allocators align large blocks more than bytes ask for; none has to.
    match bytes.as_ptr().align_offset(align_of::<T>()) {
        0 => Buffer::from(bytes).into(),
        _ => Buffer::from_slice_ref(&*bytes).into(),
    }
}
