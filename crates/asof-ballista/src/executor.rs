//! The executor: Ballista's, with our codecs.

use std::fmt::Display;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ballista_core::config::TaskSchedulingPolicy;
use ballista_core::error::{BallistaError, Result};
use ballista_core::registry::BallistaFunctionRegistry;
use ballista_executor::config::Config;
use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
use ballista_executor::health::spawn_health_server;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::prelude::SessionContext;
use tonic::transport::Endpoint;

use crate::codec::{codec_of_executor, logical_codec};
use crate::logging::{self, Logging};
use crate::options::producer;
use crate::stores::Stores;

/// How often a connection to the scheduler is tried that says nothing.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Runs an executor until the process is told to stop.
///
/// # Errors
/// Those of Ballista: a configuration that does not hold, an address that is taken, a scheduler that
/// cannot be reached.
pub fn run(options: Config) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(options))
}

async fn serve(options: Config) -> Result<()> {
    // Ballista's process ends without an error when it cannot listen.
    let health_address = listenable(&options)?;
    let config = with_asof(options.try_into()?)?;
    logging::start(Logging {
        level: &config.special_mod_log_level,
        threads: config.print_thread_info,
        directory: config.log_dir.as_deref(),
        rotation: config.log_rotation_policy,
        prefix: config.log_file_name_prefix(),
    });
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let health = spawn_health_server(health_address, config.health.clone(), stopped);
    let result = start_executor_process(Arc::new(config)).await;
    // It may have ended by itself.
    let _ = stop.send(());
    if let Err(error) = health.await {
        log::warn!("the health server ended with {error}");
    }
    result
}

/// Sees that the ports can be listened on now, all of them at the same time; the address of the health server.
fn listenable(options: &Config) -> Result<SocketAddr> {
    let listen = |flag: &str, port: u16| {
        let address = format!("{}:{port}", options.bind_host);
        let wrong = |why: &dyn Display| {
            BallistaError::Configuration(format!("cannot listen on {address} ({flag}): {why}"))
        };
        let parsed: SocketAddr = address.parse().map_err(|error| wrong(&error))?;
        let listener = TcpListener::bind(parsed).map_err(|error| wrong(&error))?;
        Ok::<_, BallistaError>((parsed, listener))
    };
    let _rows = listen("--bind-port", options.bind_port)?;
    let _tasks = match options.task_scheduling_policy {
        TaskSchedulingPolicy::PushStaged => {
            Some(listen("--bind-grpc-port", options.bind_grpc_port)?)
        }
        TaskSchedulingPolicy::PullStaged => None,
    };
    let (health, _) = listen("--bind-health-port", options.bind_health_port)?;
    Ok(health)
}

/// The configuration of an executor that knows as-of joins, and of which tasks end when their job is cancelled.
///
/// # Errors
/// If there is no directory for what tasks spill, or no scheduler can be at the address that is given.
pub fn with_asof(config: ExecutorProcessConfig) -> Result<ExecutorProcessConfig> {
    let spill = match &config.work_dir {
        Some(work) => {
            let spill = PathBuf::from(work).join("spill");
            fs::create_dir_all(&spill)?;
            Some(spill)
        }
        None => None,
    };
    let stores = Arc::new(Stores::default());
    let scheduler = format!("http://{}:{}", config.scheduler_host, config.scheduler_port);
    let scheduler = Endpoint::from_shared(scheduler)
        .map_err(|error| BallistaError::Configuration(format!("--scheduler-host: {error}")))?
        // So that a connection that has gone without a word is not asked for ever.
        .http2_keep_alive_interval(KEEP_ALIVE);
    Ok(ExecutorProcessConfig {
        override_function_registry: Some(Arc::new(functions())),
        override_config_producer: Some(producer()),
        override_runtime_producer: Some(Arc::new(move |_| runtime(&stores, spill.clone()))),
        override_logical_codec: Some(logical_codec()),
        override_physical_codec: Some(codec_of_executor(scheduler)),
        ..config
    })
}

/// What plans may call: all that sessions have by default. Ballista's own list lacks the functions of
/// lists, structs and maps.
fn functions() -> BallistaFunctionRegistry {
    BallistaFunctionRegistry::from(&SessionContext::new().state())
}

/// Object stores of this process, and what tasks spill in its work directory.
fn runtime(
    stores: &Arc<Stores>,
    spill: Option<PathBuf>,
) -> datafusion::error::Result<Arc<RuntimeEnv>> {
    let stores = Arc::clone(stores);
    let mut runtime = RuntimeEnvBuilder::new().with_object_store_registry(stores);
    if let Some(spill) = spill {
        runtime = runtime.with_temp_file_path(spill);
    }
    runtime.build_arc()
}
