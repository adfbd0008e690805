//! The physical operator and its drivers.
//!
//! ```text
//! broadcast                          sort-merge
//!
//!    AsOfJoinExec                       AsOfJoinExec
//!    ├── left, as it comes              ├── left:  same keys together, in time order
//!    └── one partition                  └── right: same keys together, in time order
//!        └── RowPlaceExec                   └── RowPlaceExec
//!            └── right                          └── right
//! ```
//!
//! [`AsOfJoinExec`] states what it needs of its inputs and lets DataFusion add exchanges and
//! sorts. [`indexed`] and [`sort_merge`] are thin drivers: they read batches, evaluate keys
//! and times ([`matching`]) and further predicates ([`residual`]), let `kernel/` match row ids,
//! and have [`output`] fetch payload, of the [`columns`] that someone reads.
//! [`row_place`] gives right rows the number that decides between equal times.

mod asof_join;
mod build_side;
mod columns;
mod gather;
mod indexed;
mod left_side;
mod matching;
mod metrics;
mod output;
mod parallel;
mod pinned_source;
mod residual;
mod row_place;
mod shared_build;
mod sort_merge;

pub use asof_join::{AsOfJoinExec, AsOfStrategy};
pub(crate) use pinned_source::file_scan;
