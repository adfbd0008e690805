//! The logical side: the node, how it is built from conditions, and the data frame method.
//!
//! * [`node`]: [`AsOfJoinNode`], what DataFusion's logical optimizer sees;
//! * [`builder`]: conditions, as SQL or a caller wrote them, to a checked specification;
//! * [`align`]: bringing keys and as-of values of both sides to types that can be compared;
//! * [`dataframe`]: `join_asof` without SQL.

mod align;
pub(crate) mod builder;
mod dataframe;
mod node;

pub use dataframe::{AsOfJoinOptions, DataFrameAsOfExt};
pub use node::AsOfJoinNode;
