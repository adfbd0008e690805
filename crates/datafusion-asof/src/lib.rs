//! As-of joins for [DataFusion](datafusion): `ASOF JOIN … TOLERANCE` in SQL and `join_asof`
//! on data frames.
//!
//! An as-of join attaches to each row of one table the row of another that was in force at
//! that moment: the last quote before a trade, the latest reading before an alarm.
//!
//! ```
//! # use datafusion::error::Result;
//! use datafusion::prelude::SessionContext;
//! use datafusion_asof::{AsOfSql, WithAsOf};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<()> {
//! let ctx = SessionContext::new().with_asof();
//! let joined = ctx
//!     .asof_sql(
//!         "SELECT t.sym, t.ts, q.bid
//!          FROM (VALUES ('A', 3), ('A', 9)) AS t(sym, ts)
//!          ASOF JOIN (VALUES ('A', 1, 10.5), ('A', 5, 11.0)) AS q(sym, ts, bid)
//!          MATCH_CONDITION (t.ts >= q.ts) ON t.sym = q.sym TOLERANCE 3",
//!     )
//!     .await?;
//! assert_eq!(joined.count().await?, 2);
//! # Ok(())
//! # }
//! ```
//!
//! # Entry points
//!
//! * [`WithAsOf::with_asof`] installs the extension into a session;
//! * [`AsOfSql::asof_sql`] runs SQL on it, [`AsOfContext`] is a context whose `sql` does,
//!   and [`rewrite_sql`] is for those who can only call `SessionContext::sql`;
//! * [`DataFrameAsOfExt::join_asof`] joins data frames;
//! * [`AsOfOptions`] are the options that `SET asof.…` sets;
//! * [`AsOfExtensionPlanner`] and [`AsOfJoinSelection`] are for applications with planners
//!   and rule lists of their own;
//! * with the feature `proto`, `AsOfLogicalCodec` and `AsOfPhysicalCodec` make plans bytes, for
//!   engines that execute them elsewhere.
//!
//! The modules in reading order: `spec` (what an as-of join computes), `config`, `session`,
//! `sql`, `logical`, `optimizer`, `planner`, `exec`, `kernel` and `codec`.

mod spec;

mod config;
mod session;

mod sql;

mod logical;
mod optimizer;

mod planner;

mod exec;
mod kernel;

#[cfg(feature = "proto")]
mod codec;

#[cfg(feature = "proto")]
pub use codec::{AsOfLogicalCodec, AsOfPhysicalCodec};
pub use config::{AsOfOptions, BareJoin, StrategyOption};
pub use exec::{AsOfJoinExec, AsOfStrategy, HotKey, TimeSalt};
pub use logical::{AsOfJoinNode, AsOfJoinOptions, DataFrameAsOfExt};
pub use planner::{AsOfExtensionPlanner, AsOfJoinSelection, AsOfQueryPlanner};
pub use session::{AsOfContext, WithAsOf};
pub use spec::{
    AsOfDirection, AsOfJoinType, AsOfKey, AsOfSpec, MatchCondition, MatchOp, NullPolicy, Side,
    TieOrder,
};
pub use sql::{AsOfSql, rewrite_sql};
