//! An executor of a cluster: Ballista's flags, and as-of joins.

use ballista_executor::config::Config;
use clap::{CommandFactory, FromArgMatches};

fn main() -> ballista_core::error::Result<()> {
    // Whoever can reach an executor can have it read what it can read, so nobody can unless told.
    let command = Config::command()
        .name("asof-executor")
        .version(env!("CARGO_PKG_VERSION"))
        .mut_arg("bind_host", |host| host.default_value("127.0.0.1"))
        // Pushed tasks may panic where they sort the rows of a UNION ALL (Ballista 55.0).
        .mut_arg("task_scheduling_policy", |policy| {
            policy.default_value("pull-staged")
        })
        // Several of them within the time after which asof-scheduler takes an executor for dead.
        .mut_arg("executor_heartbeat_interval_seconds", |seconds| {
            seconds.default_value("5")
        });
    match Config::from_arg_matches(&command.get_matches()) {
        Ok(options) => asof_ballista::executor::run(options),
        Err(error) => error.exit(),
    }
}
