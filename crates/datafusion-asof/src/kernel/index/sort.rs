//! Rows of one list by time.
//!
//! # Algorithm
//!
//! Where times ascend already, nothing is done. Otherwise the rows are sorted as plain `u64`, the
//! time above the position, if both fit: few by comparisons, many by the digits of their times, the
//! lowest first, each pass keeping the order of the one before (the radix sort of punched cards;
//! Knuth, "The Art of Computer Programming" 3, 5.2.5). In a list that is in cache a pass costs less
//! than two nanoseconds a row, whatever the distribution, and positions need no pass: they ascend.
//! Only so many upper digits are sorted by as nearly tell all rows apart where times are spread evenly;
//! the few rows, or many, that agree in them are sorted by comparisons. Times too wide for all that are sorted
//! beside their positions.

use super::line::IndexTime;

/// Fewer rows are sorted by comparisons.
const MANY: usize = 2048;
/// A digit's counts, and the lines that are written to at a time, stay in the first cache.
const MOST_DIGIT_BITS: u32 = 11;
/// Bits by which rows are sorted beyond those that would number them: one in 32 agrees with another.
const SPARE_BITS: u32 = 5;

/// Sorts by time; equal times keep their order.
pub(super) fn sort_by_time<T: IndexTime>(times: &mut [T], rows: &mut [u32]) {
    if times.is_sorted() {
        return;
    }
    let unsorted = rows.to_vec();
    let Some(mut packed) = T::packed(times) else {
        let mut pairs: Vec<(T, usize)> = times.iter().copied().zip(0..).collect();
        pairs.sort_unstable();
        for (at, (time, position)) in pairs.into_iter().enumerate() {
            times[at] = time;
            rows[at] = unsorted[position];
        }
        return;
    };
    match times.len() < MANY {
        true => packed.numbers.sort_unstable(),
        false => sort_by_digits(&mut packed.numbers, packed.position_bits, packed.bits),
    }
    for (at, number) in packed.numbers.iter().enumerate() {
        let (time, position) = T::unpack(&packed, *number);
        times[at] = time;
        rows[at] = unsorted[position];
    }
}

/// Sorts numbers that ascend already by all but their upper bits: those above `low`, up to `high`.
pub(super) fn sort_by_upper_bits(numbers: &mut Vec<u64>, low: u32, high: u32) {
    if numbers.is_sorted() {
        return;
    }
    match numbers.len() < MANY {
        true => numbers.sort_unstable(),
        false => sort_by_digits(numbers, low, high),
    }
}

fn sort_by_digits(numbers: &mut Vec<u64>, low: u32, high: u32) {
    let bits = (high - low).max(1);
    let enough = numbers.len().ilog2() + SPARE_BITS;
    let passes = bits.min(enough).div_ceil(MOST_DIGIT_BITS);
    let digit_bits = bits.div_ceil(passes).min(MOST_DIGIT_BITS);
    let from = low + bits.saturating_sub(passes * digit_bits);
    let mut sorted = vec![0; numbers.len()];
    for pass in 0..passes {
        let shift = from + pass * digit_bits;
        let digit = |number: u64| (number >> shift) as usize & ((1 << digit_bits) - 1);
        let mut next = [0u32; 1 << MOST_DIGIT_BITS];
        for number in numbers.iter() {
            next[digit(*number)] += 1;
        }
        let mut start = 0;
        for slot in &mut next {
            start += std::mem::replace(slot, start);
        }
        for number in numbers.iter() {
            let slot = &mut next[digit(*number)];
            sorted[*slot as usize] = *number;
            *slot += 1;
        }
        std::mem::swap(numbers, &mut sorted);
    }
    if from > low {
        let alike = numbers.chunk_by_mut(|a, b| a >> from == b >> from);
        let several = alike.filter(|alike| alike.len() > 1);
        several.for_each(<[u64]>::sort_unstable);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every number of rows around the change of method, few and many distinct times, narrow and
    /// wide spans, beside the standard library's stable sort.
    #[test]
    fn sorts_like_a_stable_sort() {
        let mut state = 7u64;
        let mut random = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state >> 11
        };
        for len in [1, 2, 3, 100, MANY - 1, MANY, MANY + 1, 5000] {
            for span in [1, 2, 1000, 1 << 38, 1 << 50] {
                let times: Vec<i64> = (0..len)
                    .map(|_| (random() % span).cast_signed() - 500)
                    .collect();
                sorts(&times);
                sorts(&times.iter().map(|t| i128::from(*t)).collect::<Vec<_>>());
            }
            // But for one, no upper digit tells them apart.
            let near = (0..len).map(|row| match row {
                0 => 1 << 50,
                _ => (random() % 3000).cast_signed(),
            });
            sorts(&near.collect::<Vec<_>>());
            let wide = (0..len).map(|row| if row % 3 == 0 { i64::MIN } else { i64::MAX });
            sorts(&wide.collect::<Vec<_>>());
        }
    }

    fn sorts<T: IndexTime>(times: &[T]) {
        let (mut sorted, mut rows) = (times.to_vec(), (0..times.len() as u32).collect::<Vec<_>>());
        sort_by_time(&mut sorted, &mut rows);
        let mut expected: Vec<(T, u32)> = times.iter().copied().zip(0..).collect();
        expected.sort_by_key(|(time, _)| *time);
        let found: Vec<(T, u32)> = sorted.into_iter().zip(rows).collect();
        assert_eq!(found, expected);
    }
}
