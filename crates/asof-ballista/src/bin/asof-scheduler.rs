//! The scheduler of a cluster: Ballista's flags, and as-of joins.

use ballista_scheduler::config::Config;
use clap::{CommandFactory, FromArgMatches};

fn main() -> ballista_core::error::Result<()> {
    let command = Config::command()
        .name("asof-scheduler")
        .version(env!("CARGO_PKG_VERSION"));
    match Config::from_arg_matches(&command.get_matches()) {
        Ok(options) => asof_ballista::scheduler::run(options),
        Err(error) => error.exit(),
    }
}
