//! One session of the library behind the `sqllogictest` interface.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use asof_ballista::Cluster;
use async_trait::async_trait;
use datafusion::dataframe::DataFrame;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_asof::{AsOfSql, WithAsOf, rewrite_sql};
use sqllogictest::{AsyncDB, DBOutput};

use crate::format::{Column, Scrubber, output};
use crate::profile::{CLUSTER, Profile};
use crate::tables;

/// A first line that sends the statement, as it is, through DataFusion's own `ctx.sql`.
const VIA_PLAIN_SQL: &str = "-- via ctx.sql\n";
/// A first line that sends the statement through `rewrite_sql`, then through `ctx.sql`.
const VIA_REWRITE: &str = "-- via rewrite_sql\n";

pub(crate) struct Engine {
    ctx: SessionContext,
    profile: Profile,
    scrubber: Scrubber,
    /// Tables that `tables::spread` has seen.
    known: HashSet<String>,
}

impl Engine {
    pub(crate) async fn connect(profile: Profile, scratch: &Path) -> Result<Self, EngineError> {
        let config = SessionConfig::new()
            .with_information_schema(true)
            .with_target_partitions(profile.partitions)
            .with_batch_size(profile.batch_size);
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_default_features()
            .with_asof()
            .build();
        let state = match std::env::var(CLUSTER) {
            Ok(url) if profile.on_cluster => Cluster::connect(&url).await?.session(state),
            _ => state,
        };
        let mut engine = Self {
            ctx: SessionContext::new_with_state(state),
            profile,
            scrubber: Scrubber::new(scratch),
            known: HashSet::new(),
        };
        for (option, value) in profile.settings() {
            engine.run(&format!("SET {option} = '{value}'")).await?;
        }
        Ok(engine)
    }

    async fn execute(&mut self, sql: &str) -> Result<DBOutput<Column>> {
        let df = self.plan(sql).await?;
        let schema = Arc::clone(df.schema().inner());
        let batches = df.collect().await?;
        tables::spread(&self.ctx, &mut self.known, self.profile).await?;
        output(&schema, &batches, &self.scrubber)
    }

    async fn plan(&self, sql: &str) -> Result<DataFrame> {
        if let Some(sql) = sql.strip_prefix(VIA_PLAIN_SQL) {
            self.ctx.sql(sql).await
        } else if let Some(sql) = sql.strip_prefix(VIA_REWRITE) {
            let dialect = self.ctx.copied_config().options().sql_parser.dialect;
            self.ctx.sql(&rewrite_sql(sql, dialect)?).await
        } else {
            self.ctx.asof_sql(sql).await
        }
    }
}

#[async_trait]
impl AsyncDB for Engine {
    type Error = EngineError;
    type ColumnType = Column;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<Column>, EngineError> {
        let sql = self.scrubber.fill_in(sql);
        self.execute(&sql)
            .await
            .map_err(|e| EngineError(self.scrubber.clean(&e.to_string())))
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &str {
        "datafusion-asof"
    }
}

/// The text of an error, free of this machine's paths.
pub(crate) struct EngineError(String);

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for EngineError {}

impl From<DataFusionError> for EngineError {
    fn from(error: DataFusionError) -> Self {
        Self(error.to_string())
    }
}
