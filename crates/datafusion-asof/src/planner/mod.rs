//! From logical to physical.
//!
//! * [`extension`]: the one place where the two worlds meet;
//! * [`query_planner`]: plugs it into a session, beside a planner that is there already;
//! * [`skew`]: how unevenly keys hold the rows, known from a [`sample`],
//!   or as far as [`stated`] by statistics;
//! * [`asof_skew`]: shows it;
//! * [`selection`]: which strategy, and why.

mod asof_skew;
mod extension;
mod query_planner;
mod sample;
mod selection;
mod skew;
mod stated;

pub(crate) use asof_skew::{ASOF_SKEW, AsOfSkewFunction};
pub use extension::AsOfExtensionPlanner;
pub use query_planner::AsOfQueryPlanner;
pub use selection::AsOfJoinSelection;
