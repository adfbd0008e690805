//! The physical operator and its drivers.
//!
//! ```text
//! broadcast, of either side          sort-merge
//!
//!    AsOfJoinExec                       AsOfJoinExec
//!    ├── left, as it comes              ├── left:  same keys together, in time order
//!    └── RowPlaceExec                   └── right: same keys together, in time order
//!        └── right, as it comes             └── RowPlaceExec
//!                                               └── right
//! ```
//!
//! [`AsOfJoinExec`] states what it needs of its inputs and lets DataFusion add exchanges and
//! sorts. [`indexed`], [`left_side`] and [`sort_merge`] are thin drivers: they read batches,
//! evaluate keys and times ([`matching`]) and further predicates ([`residual`]), let `kernel/`
//! match row ids, and have [`output`] fetch payload ([`gather`]), of the [`columns`] that
//! someone reads, laid [`side_by_side`] where they are fetched in no order. [`build_side`] reads and indexes the right side, with its jobs shared out to
//! tasks ([`parallel`]), once for all partitions ([`shared_build`]). What the side read first
//! tells of the other goes down as a [`dynamic_filter`], where [`filter_names`] lets it.
//! [`copies`] counts what kept rows hold, and copies those still needed out of batches of others.
//! What an execution reads of a node besides its inputs are its `parts`.
//! Sides in time order are read [`in_order`] by all tasks, one stream each ([`read_in_order`]).
//! [`reading`] says how inputs are cut for the tasks that read them, and keys of Parquet files are read as
//! the dictionaries that they are (`dictionary_keys`); [`row_place`] gives right rows
//! the number that decides between equal times, [`time_salt`] spreads hot keys over partitions by
//! time.

mod asof_join;
mod build_side;
mod by_batch;
mod columns;
mod copies;
#[cfg(feature = "parquet")]
mod dictionary_keys;
mod dynamic_filter;
mod filter_names;
mod gather;
mod in_order;
mod indexed;
mod left_block;
mod left_side;
mod matching;
mod metrics;
mod narrow_left;
mod output;
mod parallel;
#[cfg(feature = "proto")]
mod parts;
mod pinned_source;
mod properties;
mod read_in_order;
mod reading;
mod residual;
mod row_place;
mod shared_build;
mod side_by_side;
mod sort_merge;
mod strategy;
mod table_in_order;
mod time_order;
mod time_salt;

pub use asof_join::AsOfJoinExec;
pub(crate) use parallel::joined;
#[cfg(feature = "proto")]
pub(crate) use parts::{JoinParts, Place, PlaceParts, TimeSaltParts};
pub(crate) use pinned_source::{file_scan, pinned, unpinned};
#[cfg(feature = "proto")]
pub(crate) use read_in_order::ReadInOrderExec;
#[cfg(feature = "proto")]
pub(crate) use row_place::RowPlaceExec;
pub use strategy::AsOfStrategy;
pub use time_salt::{HotKey, TimeSalt};
pub(crate) use time_salt::{
    KnownSkew, NEARLY, SampledBlock, SampledSide, Skew, SkewLimits, shown_load, whole_blocks,
};
#[cfg(feature = "proto")]
pub(crate) use time_salt::{SaltParts, TimeSaltExec};
