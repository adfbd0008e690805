//! Runs the `.slt` corpus: every file under every [`Profile`], one expected answer.
//!
//! A profile is a *configuration* of the same truth (strategy, partitions, batch size), so a
//! file never says which one it is for; see the crate's README for how to run and add cases.

mod corpus;
mod engine;
mod format;
mod profile;
mod tables;

pub use corpus::{complete, files_named_in_readme, run, test_files};
pub use profile::{CLUSTER, Profile, cluster_profiles_of, profiles_of};
