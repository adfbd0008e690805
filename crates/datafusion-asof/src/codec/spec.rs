//! [`AsOfSpec`] as a message, whatever its expressions are.

use std::fmt::Debug;

use datafusion::arrow::compute::SortOptions;
use datafusion::common::{Result, exec_err};
use prost::Message;

use super::message::{Key, Projection, Spec, Tie};
use super::missing;
use crate::exec::AsOfStrategy;
use crate::spec::{AsOfJoinType, AsOfKey, AsOfSpec, MatchCondition, MatchOp, NullPolicy, TieOrder};

/// The numbers of words.
macro_rules! numbered {
    ($to:ident, $from:ident, $type:ident, $($number:literal => $value:ident),+) => {
        pub(super) fn $to(value: $type) -> u32 {
            match value { $($type::$value => $number),+ }
        }

        pub(super) fn $from(number: u32) -> Result<$type> {
            match number {
                $($number => Ok($type::$value),)+
                _ => exec_err!(
                    "an ASOF JOIN cannot be decoded: {number} is no {}",
                    stringify!($type)
                ),
            }
        }
    };
}

numbered!(join_type_number, join_type, AsOfJoinType, 1 => Inner, 2 => Left, 3 => Right, 4 => Full, 5 => LeftSemi, 6 => LeftAnti);
numbered!(op_number, op, MatchOp, 1 => GtEq, 2 => Gt, 3 => LtEq, 4 => Lt, 5 => Nearest);
numbered!(null_policy_number, null_policy, NullPolicy, 1 => RespectNulls, 2 => IgnoreNulls);
numbered!(strategy_number, strategy, AsOfStrategy, 1 => Broadcast, 2 => BroadcastLeft, 3 => SortMerge, 4 => TimeSalted);

impl<E: Debug + Default + Message> From<AsOfSpec<E>> for Spec<E> {
    fn from(spec: AsOfSpec<E>) -> Self {
        let key = |key: AsOfKey<E>| Key {
            left: Some(key.left),
            right: Some(key.right),
            null_equals_null: key.null_equals_null,
        };
        let tie = |tie: TieOrder<E>| Tie {
            expr: Some(tie.expr),
            descending: tie.options.descending,
            nulls_first: tie.options.nulls_first,
        };
        Self {
            join_type: join_type_number(spec.join_type),
            on: spec.on.into_iter().map(key).collect(),
            left_time: Some(spec.match_condition.left),
            op: op_number(spec.match_condition.op),
            right_time: Some(spec.match_condition.right),
            tolerance: spec.tolerance,
            filter: spec.filter,
            ties: spec.ties.into_iter().map(tie).collect(),
            null_policy: null_policy_number(spec.null_policy),
        }
    }
}

impl<E: Debug + Default + Message> Spec<E> {
    pub(super) fn into_spec(self) -> Result<AsOfSpec<E>> {
        let key = |key: Key<E>| {
            Ok(AsOfKey {
                left: present(key.left, "left key")?,
                right: present(key.right, "right key")?,
                null_equals_null: key.null_equals_null,
            })
        };
        let tie = |tie: Tie<E>| {
            Ok(TieOrder {
                expr: present(tie.expr, "tie order")?,
                options: SortOptions::new(tie.descending, tie.nulls_first),
            })
        };
        Ok(AsOfSpec {
            join_type: join_type(self.join_type)?,
            on: self.on.into_iter().map(key).collect::<Result<_>>()?,
            match_condition: MatchCondition {
                left: present(self.left_time, "left time")?,
                op: op(self.op)?,
                right: present(self.right_time, "right time")?,
            },
            tolerance: self.tolerance,
            filter: self.filter,
            ties: self.ties.into_iter().map(tie).collect::<Result<_>>()?,
            null_policy: null_policy(self.null_policy)?,
        })
    }
}

pub(super) fn present<T>(part: Option<T>, name: &str) -> Result<T> {
    part.map_or_else(|| missing(name), Ok)
}

pub(super) fn projection_message(projection: Option<Vec<usize>>) -> Option<Projection> {
    let columns = projection?.into_iter().map(|column| column as u64);
    Some(Projection {
        columns: columns.collect(),
    })
}

/// Columns that there are not are found where the columns are known.
pub(super) fn projection(message: Option<Projection>) -> Option<Vec<usize>> {
    let columns = message?.columns.into_iter();
    let column = |column| usize::try_from(column).unwrap_or(usize::MAX);
    Some(columns.map(column).collect())
}
