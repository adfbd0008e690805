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
//! can be), 16 more while rows are in shards, 8 where no keys share one and a number of 64 bits tells row
//! and time in the range of the shard, then 12 for times and row numbers, and a
//! sixteenth of that for the [`timeline`](super::timeline). Wide lines take 16 bytes a time.
//!
//! Partitioning to what fits the cache before the actual work is from Manegold, Boncz and
//! Kersten, "Optimizing main-memory join on modern hardware" (TKDE 2002).

use std::cmp::Ordering;
use std::iter;

use bytes::BytesMut;
use datafusion::arrow::buffer::{Buffer, ScalarBuffer};
use datafusion::arrow::datatypes::{ArrowNativeType, ToByteSlice};

use super::cells::Cells;
use super::collect::RowKeys;
use super::finish::Finishing;
use super::line::IndexTime;
use super::plan::{Equals, Layout, LinePlan, Route, Scatter};
use super::planning::SHARD_ROWS;
use super::sort::{sort_by_time, sort_by_upper_bits};
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
    entries: Entries<T>,
    /// By shard where its entries begin, and after the last where they end.
    offsets: Vec<u32>,
}

enum Entries<T> {
    Each(Vec<Entry<T>>),
    /// The time in the range of the shard above the number of the row.
    Packed(Vec<u64>),
}

impl<T: IndexTime> LinePlan<T> {
    /// Bytes of the lists, which stay, for the memory pool.
    pub(crate) fn lists_size(&self) -> usize {
        let row = size_of::<T>() + size_of::<T>() / 15 + size_of::<u32>();
        let cells = Cells::<T>::size_of(self.rows(), self.layout.offsets.len().saturating_sub(1));
        self.rows() * row + cells + self.layout.numbers.size()
    }

    /// Bytes needed until the lists are made, by so many tasks at a time.
    pub(crate) fn shards_size(&self, tasks: usize) -> usize {
        let offsets = self.layout.shards.len() * self.scatters.len() * size_of::<u32>();
        // Of the shards at work times and rows, numbers to be sorted and sorted, and the rows before.
        let row = size_of::<T>() + 2 * size_of::<u64>() + 2 * size_of::<u32>();
        let at_work = self.rows().min(tasks * 2 * SHARD_ROWS);
        let entry = match self.layout.packed_below {
            Some(_) => size_of::<u64>(),
            None => size_of::<Entry<T>>(),
        };
        self.rows() * entry + offsets + at_work * row
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
            let mut add = |route: Route, time: T| {
                let cell = time.cell(self.least, route.shift).min(route.last_cell);
                offsets[(route.first + cell) as usize + 1] += 1;
                route.first + cell
            };
            match &batch.keys {
                RowKeys::Same { key, rows } if !is_known(*key) => {
                    shards.extend(iter::repeat_n(NOWHERE, *rows));
                }
                RowKeys::Same { key, .. } => {
                    let route = self.routes[batch.ordinals[*key as usize] as usize];
                    shards.extend(batch.times.iter().map(|time| add(route, *time)));
                }
                RowKeys::Each(keys) => {
                    let rows = keys.iter().zip(batch.times.iter());
                    shards.extend(rows.map(|(key, time)| match is_known(*key) {
                        true => add(self.routes[batch.ordinals[*key as usize] as usize], *time),
                        false => NOWHERE,
                    }));
                }
            }
        }
        let mut end = 0;
        for offset in &mut offsets {
            end += *offset;
            *offset = end;
        }
        let next = offsets.clone();
        let entries = match self.packed_below {
            Some(row_bits) => Entries::Packed(placed(batches, (&shards, next), |of_row| {
                let shift = self.routes[of_row.key as usize].shift;
                let within = of_row.time.within_cell(self.least, shift);
                (within << row_bits) | u64::from(of_row.row)
            })),
            None => Entries::Each(placed(batches, (&shards, next), |of_row| of_row)),
        };
        Scattered { entries, offsets }
    }
}

/// An entry for each row that has a shard, at the `next` place of that.
#[inline]
fn placed<T: IndexTime, E: Copy + Default>(
    batches: Scatter<T>,
    (shards, mut next): (&[u32], Vec<u32>),
    entry: impl Fn(Entry<T>) -> E,
) -> Vec<E> {
    let end = next.last().copied().unwrap_or_default();
    let mut entries = vec![E::default(); end as usize];
    let mut shards = shards.iter();
    for batch in batches.batches {
        let mut put = |shard: u32, entry: E| {
            let slot = &mut next[shard as usize];
            entries[*slot as usize] = entry;
            *slot += 1;
        };
        let rows = batch.times.iter().zip(batch.start..).zip(&mut shards);
        let rows = rows.map(|((time, row), shard)| (*time, row, *shard));
        match &batch.keys {
            RowKeys::Same { key, .. } => {
                let key = match is_known(*key) {
                    true => batch.ordinals[*key as usize],
                    false => 0,
                };
                for (time, row, shard) in rows.filter(|(.., shard)| *shard != NOWHERE) {
                    put(shard, entry(Entry { time, key, row }));
                }
            }
            RowKeys::Each(keys) => {
                let rows = rows.zip(keys).filter(|((.., shard), _)| *shard != NOWHERE);
                for ((time, row, shard), key) in rows {
                    let key = batch.ordinals[*key as usize];
                    put(shard, entry(Entry { time, key, row }));
                }
            }
        }
    }
    entries
}

/// All rows in shards.
pub(crate) struct Sharded<T: IndexTime> {
    layout: Layout<T>,
    scattered: Vec<Scattered<T>>,
}

/// The rows of a shard: the list of each of its keys, one after the other.
struct Ordered<T> {
    times: Vec<T>,
    rows: Vec<u32>,
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
    fn ordered(&self, shard: usize) -> Ordered<T> {
        match self.layout.packed_below {
            Some(row_bits) => self.ordered_packed(shard, row_bits),
            None => self.ordered_by_key(shard),
        }
    }

    /// The same, of a shard of one key whose rows are packed.
    fn ordered_packed(&self, shard: usize, row_bits: u32) -> Ordered<T> {
        let layout = &self.layout;
        let route = layout.routes[layout.shards[shard].start as usize];
        let mut packed = Vec::with_capacity(self.rows_of(shard));
        for scattered in &self.scattered {
            if let Entries::Packed(numbers) = &scattered.entries {
                packed.extend_from_slice(&numbers[scattered.range(shard)]);
            }
        }
        sort_by_upper_bits(&mut packed, row_bits, route.shift + row_bits);
        let (least, shift, cell) = (layout.least, route.shift, shard as u32 - route.first);
        let times = packed.iter();
        let times = times.map(|number| T::of_cell(least, shift, cell, number >> row_bits));
        let times: Vec<T> = times.collect();
        let row = |number: &u64| (number & ((1 << row_bits) - 1)) as u32;
        let mut rows: Vec<u32> = packed.iter().map(row).collect();
        self.order_equals(&times, &mut rows);
        Ordered { times, rows }
    }

    fn ordered_by_key(&self, shard: usize) -> Ordered<T> {
        let keys = self.layout.shards[shard];
        let (start, end) = (keys.start as usize, keys.end as usize);
        let rows = self.rows_of(shard);
        let mut times = vec![T::default(); rows];
        let mut numbers = vec![0; rows];
        // Of a key with several shards this one has but a part of the list.
        let ends = &self.layout.offsets[start..=end];
        let mut next: Vec<usize> = ends.iter().map(|end| end - ends[0]).collect();
        for scattered in &self.scattered {
            let Entries::Each(entries) = &scattered.entries else {
                continue;
            };
            for entry in &entries[scattered.range(shard)] {
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
            let (times, rows) = (&mut times[list.clone()], &mut numbers[list]);
            sort_by_time(times, rows);
            self.order_equals(times, rows);
            list_start = *list_end;
        }
        Ordered {
            times,
            rows: numbers,
        }
    }

    /// Orders those of equal times in a list by what comes first of `TIES BY`, place and number.
    fn order_equals(&self, times: &[T], rows: &mut [u32]) {
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
