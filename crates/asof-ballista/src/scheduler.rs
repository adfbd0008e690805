//! The scheduler: Ballista's, with our planner and codecs.
//!
//! Sessions that send logical plans are planned here, with as-of joins; sessions that send physical
//! plans only need the codec.

use std::sync::Arc;

use ballista_core::error::{BallistaError, Result};
use ballista_scheduler::cluster::BallistaCluster;
use ballista_scheduler::config::{Config, SchedulerConfig};
use ballista_scheduler::scheduler_process::start_server;
use datafusion::execution::SessionState;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::prelude::SessionConfig;
use datafusion_asof::WithAsOf;

use crate::codec::{logical_codec, physical_codec};
use crate::logging::{self, Logging};
use crate::options::{producer, warn_of_adaptive_planner};
use crate::stores::Stores;

/// Deep plans need more than the two megabytes that threads have by default.
const STACK: usize = 32 << 20;

/// Runs a scheduler until the process is told to stop.
///
/// # Errors
/// Those of Ballista: a configuration that does not hold, an address that is taken.
pub fn run(options: Config) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(STACK)
        .build()?;
    runtime.block_on(serve(options))
}

async fn serve(options: Config) -> Result<()> {
    logging::start(Logging {
        level: &options.log_level_setting,
        threads: options.print_thread_info,
        directory: options.log_dir.as_deref(),
        rotation: options.log_rotation_policy,
        prefix: format!(
            "scheduler_{}_{}_{}",
            options.namespace, options.external_host, options.bind_port
        ),
    });
    let address = format!("{}:{}", options.bind_host, options.bind_port);
    let address = address.parse().map_err(|error| {
        BallistaError::Configuration(format!("{address} is no address to listen on: {error}"))
    })?;
    let config = with_asof(options.try_into()?);
    let cluster = BallistaCluster::new_from_config(&config).await?;
    start_server(cluster, address, Arc::new(config)).await
}

/// The configuration of a scheduler that knows as-of joins.
pub fn with_asof(config: SchedulerConfig) -> SchedulerConfig {
    let stores = Arc::new(Stores::default());
    SchedulerConfig {
        override_config_producer: Some(producer()),
        override_session_builder: Some(Arc::new(move |config| session_state(config, &stores))),
        override_logical_codec: Some(logical_codec()),
        override_physical_codec: Some(physical_codec()),
        ..config
    }
}

fn session_state(
    config: SessionConfig,
    stores: &Arc<Stores>,
) -> datafusion::error::Result<SessionState> {
    warn_of_adaptive_planner(&config);
    let stores = Arc::clone(stores);
    let runtime = RuntimeEnvBuilder::new().with_object_store_registry(stores);
    Ok(SessionStateBuilder::new()
        .with_config(config)
        .with_default_features()
        .with_runtime_env(runtime.build_arc()?)
        .with_asof()
        .build())
}
