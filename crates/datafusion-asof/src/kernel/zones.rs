//! Predicates that compare a right value with a left value, answered for many right rows at
//! once.
//!
//! A bitemporal join asks for the latest price that was also *known* at the time:
//! `… AND r.known_at <= l.ts`. Trying the candidates of a left row one by one, newest first, is
//! quadratic when the newest are refused. Instead the right values, in the order of the index,
//! are kept as a tree of minima with sixteen children a node: a node of which the minimum is
//! above the limit holds no row that passes, and is passed over as a whole. Finding the last
//! (or first) row of a range that passes takes a number of steps that grows with the logarithm
//! of the rows; several predicates share the walk, which then may look at more.
//!
//! ```text
//! level 1        3               1               8
//! level 0   9 3 5 .. 7      4 1 6 .. 2      8 9 8 .. 9      limit 2: only the middle one
//! ```
//!
//! All four comparisons are brought to `value <= limit`, negating both where the left bounds
//! the right from below. Values are places on an exact line ([`TimeDomain`]); floats and
//! strings are left to the expression.

use std::ops::Range;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;

use super::distance::Metric;
use super::domain::{TimeDomain, TimeValues};
use crate::spec::{AsOfDirection, MatchOp, Side};

const FAN_OUT_BITS: usize = 4;
/// Above every limit.
const NEVER: i128 = i128::MAX;

/// A predicate `left op right`.
#[derive(Debug, Clone)]
pub(crate) struct Bound {
    domain: TimeDomain,
    op: MatchOp,
}

impl Bound {
    /// `None` for types that this module does not compare.
    pub(crate) fn try_new(left: &DataType, op: MatchOp, right: &DataType) -> Option<Self> {
        let domain = TimeDomain::try_new(left, right).ok()?;
        let exact = Metric::of(&domain) == Metric::Steps && domain.has_distance();
        let same = left == right && op != MatchOp::Nearest;
        (exact && same).then_some(Self { domain, op })
    }

    fn bounds_from_above(&self) -> bool {
        self.op.direction() == AsOfDirection::Backward
    }

    /// What is compared of right rows; NULL passes no limit.
    pub(crate) fn values(&self, column: &ArrayRef) -> Result<Vec<i128>> {
        let sign = if self.bounds_from_above() { 1 } else { -1 };
        self.places(Side::Right, column, NEVER, |place| sign * place)
    }

    /// The limits of left rows; NULL lets nothing pass.
    pub(crate) fn limits(&self, column: &ArrayRef) -> Result<Vec<i128>> {
        let sign = if self.bounds_from_above() { 1 } else { -1 };
        let strict = i128::from(!self.op.allows_equal());
        self.places(Side::Left, column, -NEVER, |place| sign * place - strict)
    }

    fn places(
        &self,
        side: Side,
        column: &ArrayRef,
        invalid: i128,
        value: impl Fn(i128) -> i128,
    ) -> Result<Vec<i128>> {
        let times = self.domain.times(side, column)?;
        let place = |row: usize| match &times.values {
            _ if !times.is_valid(row) => invalid,
            TimeValues::I64(places) => value(i128::from(places[row])),
            TimeValues::I128(places) => value(places[row]),
            TimeValues::Rows(_) => invalid,
        };
        Ok((0..column.len()).map(place).collect())
    }
}

/// The right values of all bounds, in the order of an index.
#[derive(Debug, Default)]
pub(crate) struct Zones {
    trees: Vec<Tree>,
}

impl Zones {
    /// Room for so many rows of so many bounds.
    pub(crate) fn with_capacity(bounds: usize, rows: usize) -> Self {
        let tree = || Tree {
            levels: vec![Vec::with_capacity(rows)],
        };
        Self {
            trees: std::iter::repeat_with(tree).take(bounds).collect(),
        }
    }

    /// Bytes that so many rows of so many bounds take.
    pub(crate) fn size_of(bounds: usize, rows: usize) -> usize {
        bounds * (rows + rows / ((1 << FAN_OUT_BITS) - 1)) * size_of::<i128>()
    }

    /// Appends values of a bound; `last` says that there will be no others.
    pub(crate) fn extend(&mut self, bound: usize, values: impl Iterator<Item = i128>, last: bool) {
        self.trees[bound].extend(values, last);
    }

    /// The value of a row for a bound.
    pub(crate) fn value(&self, bound: usize, row: usize) -> i128 {
        self.trees[bound].levels[0][row]
    }

    pub(crate) fn size(&self) -> usize {
        self.trees.iter().map(Tree::size).sum()
    }

    /// The last row of a range that passes; `limits` has one for each bound.
    pub(crate) fn last_in(&self, range: Range<usize>, limits: &[i128]) -> Option<usize> {
        let mut end = range.end;
        while end > range.start {
            let row = end - 1;
            if self.may_pass(0, row, limits) {
                return Some(row);
            }
            end = row;
            let mut level = 1;
            while !self.may_pass(level, row, limits) {
                end = (row >> (FAN_OUT_BITS * level)) << (FAN_OUT_BITS * level);
                level += 1;
            }
        }
        None
    }

    /// The first row of a range that passes.
    pub(crate) fn first_in(&self, range: Range<usize>, limits: &[i128]) -> Option<usize> {
        let mut row = range.start;
        while row < range.end {
            if self.may_pass(0, row, limits) {
                return Some(row);
            }
            let (here, mut level) = (row, 1);
            row += 1;
            while !self.may_pass(level, here, limits) {
                row = ((here >> (FAN_OUT_BITS * level)) + 1) << (FAN_OUT_BITS * level);
                level += 1;
            }
        }
        None
    }

    /// Whether some row of the node over `row` may pass; of level 0, whether the row does.
    /// Above the root everything may, so that a climb ends.
    fn may_pass(&self, level: usize, row: usize, limits: &[i128]) -> bool {
        self.trees.iter().zip(limits).all(|(tree, limit)| {
            let level_minima = tree.levels.get(level);
            level_minima.is_none_or(|minima| minima[row >> (FAN_OUT_BITS * level)] <= *limit)
        })
    }
}

/// Minima of sixteen, of sixteen times sixteen, and so on; level 0 are the values.
#[derive(Debug)]
struct Tree {
    levels: Vec<Vec<i128>>,
}

impl Tree {
    fn extend(&mut self, values: impl Iterator<Item = i128>, last: bool) {
        self.levels[0].extend(values);
        let mut level = 0;
        while self.levels[level].len() > 1 {
            if self.levels.len() == level + 1 {
                self.levels.push(vec![]);
            }
            let (below, above) = self.levels.split_at_mut(level + 1);
            let (below, above) = (&below[level], &mut above[0]);
            let rest = &below[above.len() << FAN_OUT_BITS..];
            // A node is made when it is full, at last also of what is left.
            let nodes = match last {
                true => rest.len().div_ceil(1 << FAN_OUT_BITS),
                false => rest.len() >> FAN_OUT_BITS,
            };
            let minima = rest.chunks(1 << FAN_OUT_BITS).take(nodes);
            above.extend(minima.map(|chunk| chunk.iter().copied().min().unwrap_or(NEVER)));
            level += 1;
        }
    }

    fn size(&self) -> usize {
        self.levels
            .iter()
            .map(|level| level.capacity() * size_of::<i128>())
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_and_the_first_that_pass() {
        // Few values, so that most nodes must be passed over; two bounds at once.
        let values =
            |step: usize| -> Vec<i128> { (0..1000).map(|i| ((i * step) % 97) as i128).collect() };
        let mut zones = Zones::with_capacity(2, 1000);
        for (bound, step) in [31, 57].into_iter().enumerate() {
            // In pieces of any length.
            let mut values = values(step).into_iter();
            for piece in [1, 16, 300, 0, 7, 500] {
                zones.extend(bound, values.by_ref().take(piece), false);
            }
            zones.extend(bound, values, true);
        }
        for limits in [[0, 96], [3, 40], [96, 0], [1, 1], [-1, 96]] {
            for range in [0..1000, 5..900, 16..32, 17..17, 255..257, 999..1000] {
                let passes =
                    |row: &usize| values(31)[*row] <= limits[0] && values(57)[*row] <= limits[1];
                let expected: Vec<usize> = range.clone().filter(passes).collect();
                assert_eq!(
                    zones.last_in(range.clone(), &limits),
                    expected.last().copied()
                );
                assert_eq!(zones.first_in(range, &limits), expected.first().copied());
            }
        }
    }
}
