//! The session: DataFusion with as-of joins, set up as `datafusion-cli` sets up its own.

use std::num::NonZeroUsize;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::common::config::ConfigOptions;
use datafusion::dataframe::DataFrame;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::execution::context::SessionState;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{
    FairSpillPool, GreedyMemoryPool, MemoryPool, TrackConsumersPool,
};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::{ExplainFormat, LogicalPlan};
use datafusion::object_store::ObjectStore;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_asof::WithAsOf;
use datafusion_cli::catalog::DynamicObjectStoreCatalog;
use datafusion_cli::cli_context::CliSessionContext;
use datafusion_cli::functions::{
    ListFilesCacheFunc, MetadataCacheFunc, ParquetMetadataFunc, StatisticsCacheFunc,
};
use datafusion_cli::object_storage::StdinCarriesCommands;
use datafusion_cli::object_storage::instrumented::InstrumentedObjectStoreRegistry;
use datafusion_cli::pool_type::PoolType;
use url::Url;

use crate::args::Args;
use crate::cluster;
use crate::progress;
use crate::publish;
use crate::rows_read::ToldQueryPlanner;

/// Rows of a batch: twice DataFusion's default.
const BATCH_ROWS: usize = 16_384;

/// A session that `datafusion-cli`'s functions run statements in.
pub(crate) struct Session {
    /// The DataFusion session itself.
    pub(crate) ctx: SessionContext,
}

/// Builds the session that the flags and the environment ask for.
pub(crate) async fn build(
    args: &Args,
    registry: Arc<InstrumentedObjectStoreRegistry>,
) -> Result<Session> {
    let state = SessionStateBuilder::new()
        .with_default_features()
        .with_config(config(args)?)
        .with_runtime_env(runtime(args, registry)?)
        .with_asof()
        .build();
    // Before there are tables: how they are read depends on where.
    let state = match &args.cluster {
        Some(url) => cluster::session(url, state, args.quiet).await?,
        None if args.quiet || !progress::is_seen() => state,
        None => {
            let planner = ToldQueryPlanner::new(Arc::clone(state.query_planner()));
            SessionStateBuilder::new_from_existing(state)
                .with_query_planner(Arc::new(planner))
                .build()
        }
    };
    let ctx = SessionContext::new_with_state(state).enable_url_table();
    ctx.refresh_catalogs().await?;
    // Registers the object store that a table's URL needs, on first use.
    ctx.register_catalog_list(Arc::new(DynamicObjectStoreCatalog::new(
        Arc::clone(ctx.state().catalog_list()),
        ctx.state_weak_ref(),
    )));
    let caches = Arc::clone(&ctx.runtime_env().cache_manager);
    ctx.register_udtf("parquet_metadata", Arc::new(ParquetMetadataFunc {}));
    ctx.register_udtf(
        "metadata_cache",
        Arc::new(MetadataCacheFunc::new(Arc::clone(&caches))),
    );
    ctx.register_udtf(
        "statistics_cache",
        Arc::new(StatisticsCacheFunc::new(Arc::clone(&caches))),
    );
    ctx.register_udtf(
        "list_files_cache",
        Arc::new(ListFilesCacheFunc::new(caches)),
    );
    Ok(Session { ctx })
}

fn config(args: &Args) -> Result<SessionConfig> {
    let mut options = ConfigOptions::from_env()?;
    // What suits a terminal, unless the environment says otherwise.
    if std::env::var_os("DATAFUSION_EXPLAIN_FORMAT").is_none() {
        options.explain.format = ExplainFormat::Tree;
    }
    if std::env::var_os("DATAFUSION_FORMAT_NULL").is_none() {
        "NULL".clone_into(&mut options.format.null);
    }
    // A shell works for one query at a time, which has the memory for larger batches.
    let of_environment = std::env::var_os("DATAFUSION_EXECUTION_BATCH_SIZE").is_some();
    let of_shell = (!of_environment).then_some(BATCH_ROWS);
    let mut config = SessionConfig::from(options).with_information_schema(true);
    if let Some(rows) = args.batch_size.or(of_shell) {
        config = config.with_batch_size(rows);
    }
    if args.reads_sql_from_stdin() {
        config = config.with_extension(Arc::new(StdinCarriesCommands));
    }
    Ok(config)
}

fn runtime(args: &Args, registry: Arc<InstrumentedObjectStoreRegistry>) -> Result<Arc<RuntimeEnv>> {
    let mut builder = RuntimeEnvBuilder::new().with_object_store_registry(registry);
    if let Some(limit) = args.memory_limit {
        builder = builder.with_memory_pool(memory_pool(args, limit));
    }
    if let Some(limit) = args.disk_limit {
        builder = builder.with_disk_manager_builder(
            DiskManagerBuilder::default()
                .with_mode(DiskManagerMode::OsTmpDirectory)
                .with_max_temp_directory_size(limit as u64),
        );
    }
    builder.build_arc()
}

fn memory_pool(args: &Args, limit: usize) -> Arc<dyn MemoryPool> {
    let top = NonZeroUsize::new(args.top_memory_consumers);
    match (&args.mem_pool_type, top) {
        (PoolType::Greedy, None) => Arc::new(GreedyMemoryPool::new(limit)),
        (PoolType::Fair, None) => Arc::new(FairSpillPool::new(limit)),
        (PoolType::Greedy, Some(top)) => {
            Arc::new(TrackConsumersPool::new(GreedyMemoryPool::new(limit), top))
        }
        (PoolType::Fair, Some(top)) => {
            Arc::new(TrackConsumersPool::new(FairSpillPool::new(limit), top))
        }
    }
}

#[async_trait]
impl CliSessionContext for Session {
    fn task_ctx(&self) -> Arc<TaskContext> {
        self.ctx.task_ctx()
    }

    fn session_state(&self) -> SessionState {
        self.ctx.state()
    }

    fn register_object_store(
        &self,
        url: &Url,
        object_store: Arc<dyn ObjectStore>,
    ) -> Option<Arc<dyn ObjectStore>> {
        self.ctx.register_object_store(url, object_store)
    }

    fn register_table_options_extension_from_scheme(&self, scheme: &str) {
        CliSessionContext::register_table_options_extension_from_scheme(&self.ctx, scheme);
    }

    async fn execute_logical_plan(&self, plan: LogicalPlan) -> Result<DataFrame> {
        let result = self.ctx.execute_logical_plan(plan).await?;
        if publish::writes(result.logical_plan()) {
            publish::write(&self.ctx, result).await
        } else {
            Ok(result)
        }
    }
}
