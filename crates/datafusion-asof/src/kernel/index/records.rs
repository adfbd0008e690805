//! Right rows as words of 64 bits, one after the other.
//!
//! A record has the time and the place of a row, then its payload, and last a mask where there is one.

use std::array;
use std::hint::select_unpredictable;
use std::ops::Range;

use super::routes::NOWHERE;

/// Words of a record before its payload.
pub(crate) const HEAD: usize = 2;
const PLACE: usize = 1;
/// The place of a bin that has no row. (Ranks of partitions end long before.)
const NOBODY: u64 = u64::MAX;

/// Records, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Records {
    words: Vec<u64>,
    /// Words of one.
    width: usize,
    has_mask: bool,
}

/// Some of them.
#[derive(Clone, Copy)]
pub(super) struct Slice<'a> {
    words: &'a [u64],
    width: usize,
    has_mask: bool,
}

impl<'a> Slice<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// All, to be read through.
    pub(super) fn words(&self) -> &'a [u64] {
        self.words
    }

    /// So many at a time.
    pub(super) fn groups(self, records: usize) -> impl Iterator<Item = Slice<'a>> {
        let groups = self.words.chunks(records * self.width);
        groups.map(move |words| Slice { words, ..self })
    }

    pub(super) fn times(&self) -> impl Iterator<Item = i64> {
        let records = self.words.chunks_exact(self.width);
        records.map(|record| record[0].cast_signed())
    }
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

    /// Of the given rows; `word` gives a word of a row.
    pub(super) fn of_rows(
        rows: &[u32],
        (width, has_mask): (usize, bool),
        word: impl Fn(usize, usize) -> u64,
    ) -> Self {
        let words = match width {
            3 => words::<3>(rows, word),
            4 => words::<4>(rows, word),
            5 => words::<5>(rows, word),
            6 => words::<6>(rows, word),
            7 => words::<7>(rows, word),
            8 => words::<8>(rows, word),
            _ => {
                let mut words = Vec::with_capacity(rows.len() * width);
                for row in rows {
                    words.extend((0..width).map(|at| word(*row as usize, at)));
                }
                words
            }
        };
        Self {
            words,
            width,
            has_mask,
        }
    }

    /// So many that are nobody's, without a mask, unless there are some already.
    pub(super) fn fill(&mut self, records: usize, width: usize) {
        if self.words.is_empty() {
            self.width = width;
            self.words = vec![NOBODY; records * width];
        }
    }

    pub(super) fn slice(&self, range: Range<usize>) -> Slice<'_> {
        Slice {
            words: &self.words[range.start * self.width..range.end * self.width],
            width: self.width,
            has_mask: self.has_mask,
        }
    }

    /// All, to be read through.
    pub(super) fn words(&self) -> &[u64] {
        &self.words
    }

    /// Time and place of a record, unless it is nobody's.
    #[inline]
    pub(super) fn time_and_place(&self, at: usize) -> Option<(i64, u64)> {
        let [time, place] = self.words.get(at * self.width..)?.first_chunk()?;
        (*place != NOBODY).then_some((time.cast_signed(), *place))
    }

    /// The payloads of those that are somebody's.
    pub(super) fn payloads(&mut self) -> impl Iterator<Item = &mut [u64]> {
        let records = self.words.chunks_exact_mut(self.width.max(1));
        let taken = records.filter(|record| record[PLACE] != NOBODY);
        taken.map(|record| &mut record[HEAD..])
    }

    /// How many are somebody's.
    pub(super) fn taken(&self) -> usize {
        let records = self.words.chunks_exact(self.width.max(1));
        records.filter(|record| record[PLACE] != NOBODY).count()
    }

    /// Writes each of some records into its bin of these, where it is better.
    pub(super) fn settle(&mut self, bins: &[u32], slice: Slice<'_>, backward: bool) {
        if slice.has_mask && !self.has_mask {
            self.add_mask();
        }
        let Slice {
            words: records,
            width,
            ..
        } = slice;
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

/// The words of the given rows.
#[inline]
fn words<const WIDTH: usize>(rows: &[u32], word: impl Fn(usize, usize) -> u64) -> Vec<u64> {
    let record = |row: &u32| array::from_fn(|at| word(*row as usize, at));
    let records: Vec<[u64; WIDTH]> = rows.iter().map(record).collect();
    records.into_flattened()
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
