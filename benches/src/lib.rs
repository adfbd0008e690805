//! Generated workloads for the benchmarks: a left table and one or more right ones, of one day.
//!
//! * [`random`] is what a row is drawn from: numbers that depend on a seed and a place only.
//! * [`table`] makes the rows of one table, of any length, without holding them.
//! * [`workload`] names the pairs of tables that are compared, and the query over them.
//! * [`parquet`] writes a table to a file.
//! * [`skew`] measures joins of which one key is hot.
//! * [`memory`] loads files into tables of a session.

pub mod memory;
pub mod parquet;
pub mod random;
pub mod skew;
pub mod table;
pub mod workload;
