//! Clusters of real processes on loopback.
//!
//! * [`process`] starts and stops them, [`data`] is what they join;
//! * [`strategies`]: the same rows as on one machine, and the work where it should be;
//! * [`faults`]: executors that are killed, schedulers that go away;
//! * [`stores`]: object stores, and the secrets that open them;
//! * [`versions`]: processes that were not built together, by [`through`], which pretends that.

#![expect(clippy::panic, reason = "a test fails by panicking")]

mod data;
mod faults;
mod process;
mod stores;
mod strategies;
mod through;
mod versions;
