//! The vocabulary of an as-of join: what it computes, independent of where and how.
//!
//! One generic value, [`AsOfSpec<E>`], travels from SQL to the kernel. `E` is a logical
//! expression in the logical plan and a physical expression in the physical plan;
//! [`AsOfSpec::try_map`] is the bridge between the two.

use std::fmt::{self, Display, Formatter};

use datafusion::arrow::compute::SortOptions;
use datafusion::common::JoinType;

/// Which rows of the two sides an as-of join returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AsOfJoinType {
    /// Left rows that have a match, with their match.
    Inner,
    /// Every left row once; the right columns of an unmatched row are NULL.
    Left,
    /// Left rows that have a match, with their match, and every right row that no left row
    /// chose, its left columns NULL.
    Right,
    /// Every left row once and every right row that no left row chose.
    Full,
    /// Left rows that have a match, without it.
    LeftSemi,
    /// Left rows that have no match.
    LeftAnti,
}

impl AsOfJoinType {
    /// Whether left rows without a match come out.
    pub fn keeps_unmatched_left(self) -> bool {
        matches!(self, Self::Left | Self::Full | Self::LeftAnti)
    }

    /// Whether right rows that no left row chose come out.
    pub fn keeps_unmatched_right(self) -> bool {
        matches!(self, Self::Right | Self::Full)
    }

    /// Whether right columns come out.
    pub fn has_right_columns(self) -> bool {
        !matches!(self, Self::LeftSemi | Self::LeftAnti)
    }
}

impl From<AsOfJoinType> for JoinType {
    fn from(join_type: AsOfJoinType) -> Self {
        match join_type {
            AsOfJoinType::Inner => Self::Inner,
            AsOfJoinType::Left => Self::Left,
            AsOfJoinType::Right => Self::Right,
            AsOfJoinType::Full => Self::Full,
            AsOfJoinType::LeftSemi => Self::LeftSemi,
            AsOfJoinType::LeftAnti => Self::LeftAnti,
        }
    }
}

impl Display for AsOfJoinType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        JoinType::from(*self).fmt(f)
    }
}

/// In which direction of time the match of a left row is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AsOfDirection {
    /// The latest right row at or before the left row.
    Backward,
    /// The earliest right row at or after the left row.
    Forward,
    /// The right row least far away, before or after; of two equally far the earlier.
    Nearest,
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
    /// `nearest(left, right)`: the right row least far away, whichever side it is on.
    Nearest,
}

impl MatchOp {
    /// The direction in which the nearest candidate lies.
    pub fn direction(self) -> AsOfDirection {
        match self {
            Self::GtEq | Self::Gt => AsOfDirection::Backward,
            Self::LtEq | Self::Lt => AsOfDirection::Forward,
            Self::Nearest => AsOfDirection::Nearest,
        }
    }

    /// Whether a right row at the very time of the left row is a candidate.
    pub fn allows_equal(self) -> bool {
        matches!(self, Self::GtEq | Self::LtEq | Self::Nearest)
    }

    /// The operator after its operands have changed places.
    pub fn swap(self) -> Self {
        match self {
            Self::GtEq => Self::LtEq,
            Self::Gt => Self::Lt,
            Self::LtEq => Self::GtEq,
            Self::Lt => Self::Gt,
            Self::Nearest => Self::Nearest,
        }
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

impl<E: Display> Display for MatchCondition<E> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { left, op, right } = self;
        match op {
            MatchOp::GtEq => write!(f, "{left} >= {right}"),
            MatchOp::Gt => write!(f, "{left} > {right}"),
            MatchOp::LtEq => write!(f, "{left} <= {right}"),
            MatchOp::Lt => write!(f, "{left} < {right}"),
            MatchOp::Nearest => write!(f, "nearest({left}, {right})"),
        }
    }
}

/// An equality key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd)]
pub struct AsOfKey<E> {
    /// The key of a left row.
    pub left: E,
    /// The key of a right row.
    pub right: E,
    /// Whether NULL equals NULL, as with `IS NOT DISTINCT FROM`; else NULL equals nothing.
    pub null_equals_null: bool,
}

impl<E> AsOfKey<E> {
    /// The key of a row of one side.
    pub(crate) fn of(&self, side: Side) -> &E {
        match side {
            Side::Right => &self.right,
            _ => &self.left,
        }
    }
}

impl<E: Display> Display for AsOfKey<E> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { left, right, .. } = self;
        match self.null_equals_null {
            true => write!(f, "{left} IS NOT DISTINCT FROM {right}"),
            false => write!(f, "{left} = {right}"),
        }
    }
}

/// One expression of `TIES BY`: among right rows equal in keys and time the first in this
/// order is chosen.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TieOrder<E> {
    /// Reads the right side.
    pub expr: E,
    /// Whether greater values come first, and where NULLs come.
    pub options: SortOptions,
}

impl<E: PartialOrd> PartialOrd for TieOrder<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        let key = |options: &SortOptions| (options.descending, options.nulls_first);
        let own = (&self.expr, key(&self.options));
        own.partial_cmp(&(&other.expr, key(&other.options)))
    }
}

impl<E: Display> Display for TieOrder<E> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.expr, self.options)
    }
}

/// What a NULL in a right column means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NullPolicy {
    /// A value like any other: all right columns come from the one chosen row.
    #[default]
    RespectNulls,
    /// No value: each right column takes its own nearest non-NULL value among the
    /// candidates.
    IgnoreNulls,
}

/// What an as-of join computes.
///
/// A right row is a *candidate* of a left row when every pair of `on` is equal, the match
/// condition and the filter hold, and the two as-of values are at most `tolerance` apart. Of
/// its candidates the one nearest in time is chosen; among equally near ones the first by
/// `ties`, and then the last in the right input's order looking backward or nearest, the
/// first looking forward.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd)]
pub struct AsOfSpec<E> {
    /// Which rows come out.
    pub join_type: AsOfJoinType,
    /// Equality keys, possibly none.
    pub on: Vec<AsOfKey<E>>,
    /// The condition on time.
    pub match_condition: MatchCondition<E>,
    /// The farthest distance in time, inclusive, at which a match still counts.
    /// A constant: an interval or duration for temporal as-of values, otherwise a number.
    pub tolerance: Option<E>,
    /// Any further condition on candidates; reads the left columns followed by the right.
    pub filter: Option<E>,
    /// What decides among right rows equal in keys and time.
    pub ties: Vec<TieOrder<E>>,
    /// What NULLs in right columns mean.
    pub null_policy: NullPolicy,
}

/// The input that an expression of an [`AsOfSpec`] reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The left input: the probe side.
    Left,
    /// The right input: the build side.
    Right,
    /// The left columns followed by the right columns.
    Both,
    /// No input: a constant.
    Neither,
}

impl<E> AsOfSpec<E> {
    /// A join on time alone, as `join_type` and `match_condition` say.
    pub fn new(join_type: AsOfJoinType, match_condition: MatchCondition<E>) -> Self {
        Self {
            join_type,
            on: vec![],
            match_condition,
            tolerance: None,
            filter: None,
            ties: vec![],
            null_policy: NullPolicy::default(),
        }
    }

    /// Every expression with the side it reads, in the order of [`Self::try_map`].
    pub fn expressions(&self) -> impl Iterator<Item = (Side, &E)> {
        let on = self
            .on
            .iter()
            .flat_map(|key| [(Side::Left, &key.left), (Side::Right, &key.right)]);
        let condition = [
            (Side::Left, &self.match_condition.left),
            (Side::Right, &self.match_condition.right),
        ];
        let tolerance = self.tolerance.iter().map(|e| (Side::Neither, e));
        let filter = self.filter.iter().map(|e| (Side::Both, e));
        let ties = self.ties.iter().map(|tie| (Side::Right, &tie.expr));
        on.chain(condition)
            .chain(tolerance)
            .chain(filter)
            .chain(ties)
    }

    /// The same specification over other expressions.
    ///
    /// # Errors
    /// Those of `f`.
    pub fn try_map<F, Error>(
        &self,
        mut f: impl FnMut(Side, &E) -> Result<F, Error>,
    ) -> Result<AsOfSpec<F>, Error> {
        let on = self.on.iter().map(|key| {
            Ok(AsOfKey {
                left: f(Side::Left, &key.left)?,
                right: f(Side::Right, &key.right)?,
                null_equals_null: key.null_equals_null,
            })
        });
        let on = on.collect::<Result<_, Error>>()?;
        let match_condition = MatchCondition {
            left: f(Side::Left, &self.match_condition.left)?,
            op: self.match_condition.op,
            right: f(Side::Right, &self.match_condition.right)?,
        };
        let mut optional =
            |side: Side, expr: &Option<E>| expr.as_ref().map(|expr| f(side, expr)).transpose();
        let tolerance = optional(Side::Neither, &self.tolerance)?;
        let filter = optional(Side::Both, &self.filter)?;
        let ties = self.ties.iter().map(|tie| {
            Ok(TieOrder {
                expr: f(Side::Right, &tie.expr)?,
                options: tie.options,
            })
        });
        Ok(AsOfSpec {
            join_type: self.join_type,
            on,
            match_condition,
            tolerance,
            filter,
            ties: ties.collect::<Result<_, Error>>()?,
            null_policy: self.null_policy,
        })
    }
}

impl<E: Display> Display for AsOfSpec<E> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let list = |f: &mut Formatter<'_>, name: &str, parts: &mut dyn Iterator<Item = String>| {
            write!(f, ", {name}=[{}]", parts.collect::<Vec<_>>().join(", "))
        };
        write!(f, "join_type={}", self.join_type)?;
        list(f, "on", &mut self.on.iter().map(ToString::to_string))?;
        write!(f, ", match={}", self.match_condition)?;
        if let Some(tolerance) = &self.tolerance {
            write!(f, ", tolerance={tolerance}")?;
        }
        if let Some(filter) = &self.filter {
            write!(f, ", filter={filter}")?;
        }
        if !self.ties.is_empty() {
            list(f, "ties", &mut self.ties.iter().map(ToString::to_string))?;
        }
        match self.null_policy {
            NullPolicy::RespectNulls => Ok(()),
            NullPolicy::IgnoreNulls => f.write_str(", nulls=ignore"),
        }
    }
}
