//! The logical side: the node, how it is built from conditions, and the data frame method.
//!
//! * [`node`]: [`AsOfJoinNode`], what DataFusion's logical optimizer sees;
//! * [`builder`]: what SQL or a caller wrote to a checked specification, by way of
//!   [`conditions`], which sorts conjuncts out, [`declared_time`], [`align`], which brings keys
//!   and as-of values to types that can be compared, and [`distance`], for tolerances;
//! * [`implied`]: what a filter on left rows says of right rows;
//! * [`dataframe`]: `join_asof` without SQL, with [`right_columns`], their names and fill values.

mod align;
pub(crate) mod builder;
mod conditions;
mod dataframe;
mod declared_time;
mod distance;
mod implied;
mod node;
mod right_columns;

pub use dataframe::{AsOfJoinOptions, DataFrameAsOfExt};
pub use node::AsOfJoinNode;
