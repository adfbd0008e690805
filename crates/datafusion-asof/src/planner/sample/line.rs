//! Where on an input blocks are taken: all its parts one behind the other, as on a line.
//!
//! The line is cut into as many pieces of equal length as there are blocks, and each has its block at another
//! place in it: at equal distances rows that repeat themselves could be met at the same of them every time, and of files
//! that are each in time order the same times. The places are those of the golden ratio's multiples, which are
//! spread more evenly than by chance however many there are (Weyl's sequence; Knuth, "The Art of Computer
//! Programming" 3, 6.4). They are always the same, so a plan is too.

use std::ops::Range;

/// Which block of a line is where.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Spot {
    /// The part of the line.
    pub part: usize,
    /// From where to where in the part.
    pub rows: Range<usize>,
    /// How much of the line is nearer to it than to others, before and after its middle.
    pub reach: [f64; 2],
}

/// Places on a line of a length, one in each of so many equal pieces of it; of all lines that have numbers of their own
/// from `first` on they are different.
pub(super) fn draws(length: f64, pieces: usize, first: usize) -> Vec<f64> {
    let piece = length / pieces.max(1) as f64;
    let draw = |number: usize| (number as f64 + spread(first + number)) * piece;
    (0..pieces).map(draw).collect()
}

/// A number below one: those of many are spread evenly.
pub(super) fn spread(number: usize) -> f64 {
    const GOLDEN: f64 = 0.618_033_988_749_894_9;
    (0.5 + number as f64 * GOLDEN).fract()
}

/// For ascending places on a line of a length, how far each reaches before and after.
pub(super) fn reaches(places: &[f64], length: f64) -> Vec<[f64; 2]> {
    let before = |number: usize| match number.checked_sub(1) {
        Some(other) => (places[number] - places[other]) / 2.0,
        None => places[number],
    };
    let after = |number: usize| match places.get(number + 1) {
        Some(other) => (other - places[number]) / 2.0,
        None => length - places[number],
    };
    (0..places.len())
        .map(|number| [before(number), after(number)])
        .collect()
}

/// The part that a place on a line is in, and where in the part it is.
pub(super) fn part_at(lengths: &[f64], place: f64) -> (usize, f64) {
    let mut start = 0.0;
    for (part, length) in lengths.iter().enumerate() {
        if place < start + length {
            return (part, place - start);
        }
        start += length;
    }
    // All that is after the last part by rounding.
    let last = lengths
        .iter()
        .rposition(|length| *length > 0.0)
        .unwrap_or(0);
    (last, lengths.get(last).copied().unwrap_or(0.0))
}

/// Blocks of so many rows around places in parts, as far as the parts have them. Where two would have the same rows,
/// the second has those after the first, or nothing, and the first reaches as far as both.
pub(super) fn spots(parts: &[usize], places: &[(usize, f64, [f64; 2])], rows: usize) -> Vec<Spot> {
    let mut spots: Vec<Spot> = vec![];
    for (part, place, reach) in places {
        let of_part = parts[*part];
        let start = (*place as usize).saturating_sub(rows / 2);
        let start = start.min(of_part.saturating_sub(rows));
        let mut around = start..(start + rows).min(of_part);
        if let Some(before) = spots.last_mut().filter(|before| before.part == *part) {
            around.start = around.start.max(before.rows.end);
            if around.start >= around.end {
                before.reach[1] += reach[0] + reach[1];
                continue;
            }
        }
        spots.push(Spot {
            part: *part,
            rows: around,
            reach: *reach,
        });
    }
    spots
}

#[cfg(test)]
mod tests;
