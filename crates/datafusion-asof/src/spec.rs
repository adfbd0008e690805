//! The vocabulary of an as-of join: what it computes, independent of where and how.
//!
//! One generic value, [`AsOfSpec<E>`], travels from SQL to the kernel. `E` is a logical
//! expression in the logical plan and a physical expression in the physical plan;
//! [`AsOfSpec::try_map`] is the bridge between the two.

use std::fmt::{self, Display, Formatter};

/// Which rows of the two sides an as-of join returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AsOfJoinType {
    /// Left rows that have a match, with their match.
    Inner,
    /// Every left row once; the right columns of an unmatched row are NULL.
    Left,
}

impl Display for AsOfJoinType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inner => "Inner",
            Self::Left => "Left",
        })
    }
}

/// In which direction of time the match of a left row is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AsOfDirection {
    /// The latest right row at or before the left row.
    Backward,
    /// The earliest right row at or after the left row.
    Forward,
}

/// The comparison of a match condition, read as `left op right`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MatchOp {
    /// `left >= right`: the latest right row not after the left row.
    GtEq,
    /// `left > right`: the latest right row before the left row.
    Gt,
    /// `left <= right`: the earliest right row not before the left row.
    LtEq,
    /// `left < right`: the earliest right row after the left row.
    Lt,
}

impl MatchOp {
    /// The direction in which the nearest candidate lies.
    pub fn direction(self) -> AsOfDirection {
        match self {
            Self::GtEq | Self::Gt => AsOfDirection::Backward,
            Self::LtEq | Self::Lt => AsOfDirection::Forward,
        }
    }

    /// Whether a right row at the very time of the left row is a candidate.
    pub fn allows_equal(self) -> bool {
        matches!(self, Self::GtEq | Self::LtEq)
    }

    /// The operator after its operands have changed places.
    pub fn swap(self) -> Self {
        match self {
            Self::GtEq => Self::LtEq,
            Self::Gt => Self::Lt,
            Self::LtEq => Self::GtEq,
            Self::Lt => Self::Gt,
        }
    }
}

impl Display for MatchOp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GtEq => ">=",
            Self::Gt => ">",
            Self::LtEq => "<=",
            Self::Lt => "<",
        })
    }
}

/// The condition on time: `left op right`, each operand reading its own side only.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd)]
pub struct MatchCondition<E> {
    /// The as-of value of a left row.
    pub left: E,
    /// How the two are compared.
    pub op: MatchOp,
    /// The as-of value of a right row.
    pub right: E,
}

/// What an as-of join computes.
///
/// A right row is a *candidate* of a left row when every pair of `on` is equal (NULL equals
/// nothing), the match condition holds and the two as-of values are at most `tolerance`
/// apart. Of its candidates the one nearest in time is chosen; among equally near ones the
/// last in the right input's order looking backward, the first looking forward.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd)]
pub struct AsOfSpec<E> {
    /// Which rows come out.
    pub join_type: AsOfJoinType,
    /// Equality keys as `(left, right)`, possibly none.
    pub on: Vec<(E, E)>,
    /// The condition on time.
    pub match_condition: MatchCondition<E>,
    /// The farthest distance in time, inclusive, at which a match still counts.
    /// A constant: an interval or duration for temporal as-of values, otherwise a number.
    pub tolerance: Option<E>,
}

/// The input that an expression of an [`AsOfSpec`] reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The left input: the probe side.
    Left,
    /// The right input: the build side.
    Right,
    /// No input: a constant.
    Neither,
}

impl<E> AsOfSpec<E> {
    /// Every expression with the side it reads, in the order of [`Self::try_map`].
    pub fn expressions(&self) -> impl Iterator<Item = (Side, &E)> {
        let on = self
            .on
            .iter()
            .flat_map(|(left, right)| [(Side::Left, left), (Side::Right, right)]);
        let condition = [
            (Side::Left, &self.match_condition.left),
            (Side::Right, &self.match_condition.right),
        ];
        let tolerance = self.tolerance.iter().map(|e| (Side::Neither, e));
        on.chain(condition).chain(tolerance)
    }

    /// The same specification over other expressions.
    ///
    /// # Errors
    /// Those of `f`.
    pub fn try_map<F, Error>(
        &self,
        mut f: impl FnMut(Side, &E) -> Result<F, Error>,
    ) -> Result<AsOfSpec<F>, Error> {
        let on = self
            .on
            .iter()
            .map(|(left, right)| Ok((f(Side::Left, left)?, f(Side::Right, right)?)))
            .collect::<Result<_, Error>>()?;
        let match_condition = MatchCondition {
            left: f(Side::Left, &self.match_condition.left)?,
            op: self.match_condition.op,
            right: f(Side::Right, &self.match_condition.right)?,
        };
        let tolerance = self
            .tolerance
            .as_ref()
            .map(|e| f(Side::Neither, e))
            .transpose()?;
        Ok(AsOfSpec {
            join_type: self.join_type,
            on,
            match_condition,
            tolerance,
        })
    }
}

impl<E: Display> Display for AsOfSpec<E> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "join_type={}, on=[", self.join_type)?;
        for (i, (left, right)) in self.on.iter().enumerate() {
            let separator = if i == 0 { "" } else { ", " };
            write!(f, "{separator}{left} = {right}")?;
        }
        let MatchCondition { left, op, right } = &self.match_condition;
        write!(f, "], match={left} {op} {right}")?;
        match &self.tolerance {
            Some(tolerance) => write!(f, ", tolerance={tolerance}"),
            None => Ok(()),
        }
    }
}
