//! As-of joins on a cluster: [Apache Ballista](https://datafusion.apache.org/ballista/) with
//! `datafusion-asof`.
//!
//! Ballista plans stages, runs tasks, exchanges rows between them and runs again what failed.
//! This crate teaches it our nodes and adds nothing else:
//!
//! ```text
//! client                      scheduler                       executors
//!   SQL → physical plan  ──►    stages of tasks         ──►     tasks
//!   result               ◄──────────────────────────────────    partitions of the result
//! ```
//!
//! * [`Cluster`] is the client's side: [`Cluster::connect`], and [`Cluster::session`] for a session
//!   of which queries run there;
//! * `scheduler` and `executor` (feature `server`, on by default) are Ballista's processes with our
//!   planner and [`codec`], the binaries `asof-scheduler` and `asof-executor`;
//! * [`options`] are the settings that all three agree on.
//!
//! # Why the client plans
//!
//! Ballista takes logical plans and physical ones; this client sends physical ones. So strategies
//! are chosen where the options, the statistics and the tables are, `EXPLAIN` shows what will run, tables
//! in memory can be sent along, and Ballista's adaptive planner, which takes logical plans, keeps out
//! of it (see [`options`] for why it must). The scheduler knows our logical nodes too, for clients
//! that send them.

pub mod codec;
#[cfg(feature = "server")]
pub mod executor;
pub mod options;
#[cfg(feature = "server")]
pub mod scheduler;

mod analyze;
mod cluster;
mod even_tasks;
mod job;
mod limits;
#[cfg(feature = "server")]
mod logging;
mod made_rows;
mod one_task;
mod planner;
mod progress;
mod query;
mod rest;
mod result;
mod session;
#[cfg(feature = "server")]
mod stoppable;
#[cfg(feature = "server")]
mod stopping;
#[cfg(feature = "server")]
mod stores;

pub use cluster::Cluster;
pub use job::{is_settled, settled};
pub use progress::Progress;
