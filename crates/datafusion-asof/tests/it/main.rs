//! The integration tests of the library, in one binary.
//!
//! * [`oracle`] is the definition of the join, held against the engine by [`fuzz`] (random cases) and [`extremes`] (all the edges).
//!   A [`case`] is made of [`table`]s of plain [`value`]s and a [`predicate`], [`types`] and [`generate`] make them up, [`salt`] cuts their keys, [`engine`] and [`whole_path`]
//!   execute them, and [`shrink`] makes those small that fail.
//! * [`balance`]: what time-salted joins are for.
//! * [`codec`]: plans as bytes, and bytes that are no plans.
//! * [`frames`]: names and fill values of `join_asof`.
//! * [`filters`] above a join, which the optimizer moves, [`cuts`] of the files below one, and tables that come [`in_order`].
//! * [`parser_fuzz`]: texts that no one would write.
//! * [`faults`], [`limits`] and [`cancel`]: what happens when inputs break their word, memory runs out or nobody reads on.
//! * [`tidy`] holds the code to the invariants of ARCHITECTURE.md.

#![expect(clippy::panic, reason = "a test fails by panicking")]

mod balance;
mod cancel;
mod case;
mod codec;
mod cuts;
mod engine;
mod extremes;
mod faults;
mod filters;
mod frames;
mod fuzz;
mod gathered;
mod generate;
mod in_order;
mod large_blocks;
mod limits;
mod oracle;
mod parser_fuzz;
mod predicate;
mod salt;
mod shrink;
mod table;
mod tidy;
mod types;
mod value;
mod whole_path;
