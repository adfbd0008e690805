//! The scheduler of a cluster: Ballista's flags, and as-of joins.

use ballista_scheduler::config::Config;
use clap::{CommandFactory, FromArgMatches};

fn main() -> ballista_core::error::Result<()> {
    // Whoever can reach a scheduler can run queries, so nobody can unless told; and a dead executor
    // is missed soon, as a query may wait for it.
    let command = Config::command()
        .name("asof-scheduler")
        .version(env!("CARGO_PKG_VERSION"))
        .mut_arg("bind_host", |host| host.default_value("127.0.0.1"))
        // As executors have it.
        .mut_arg("scheduler_policy", |policy| {
            policy.default_value("pull-staged")
        })
        .mut_arg("executor_timeout_seconds", |seconds| {
            seconds.default_value("20")
        })
        .mut_arg("expire_dead_executor_interval_seconds", |seconds| {
            seconds.default_value("5")
        });
    match Config::from_arg_matches(&command.get_matches()) {
        Ok(options) => asof_ballista::scheduler::run(options),
        Err(error) => error.exit(),
    }
}
