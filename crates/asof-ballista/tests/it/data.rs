//! Trades and quotes in several files, most of them of one symbol.

use std::path::Path;

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::dataframe::DataFrameWriteOptions;
use datafusion::error::Result;
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use datafusion_asof::AsOfSql;
use tempfile::TempDir;

/// In each of the files of a table.
const ROWS: usize = 5_000;
pub(crate) const FILES: usize = 4;
pub(crate) const ALL: usize = FILES * ROWS;

/// The files, as long as this lives.
pub(crate) struct Data(TempDir);

impl Data {
    /// Nine tenths are of the symbol `hot`; times are spread unevenly, some of them equal.
    pub(crate) async fn write() -> Result<Self> {
        let place = TempDir::new()?;
        let ctx = SessionContext::new();
        for (table, seed) in [("trades", 7919), ("quotes", 104_729)] {
            for file in 0..FILES {
                let from = file * ROWS;
                let to = from + ROWS;
                let rows = format!(
                    "SELECT value AS id,
                            CASE WHEN value % 10 = 3 THEN 's' || (value % 57) ELSE 'hot' END AS sym,
                            to_timestamp_millis((value * {seed}) % 100003 * ((value * {seed}) % 100003)) AS ts,
                            CASE WHEN value % 13 = 0 THEN NULL ELSE value % 1000 END AS x
                     FROM generate_series({from}, {to} - 1)"
                );
                let path = place.path().join(table).join(format!("{file}.parquet"));
                std::fs::create_dir_all(path.parent().expect("a folder"))?;
                let path = path.to_string_lossy().into_owned();
                let frame = ctx.sql(&rows).await?;
                let options = DataFrameWriteOptions::new().with_single_file_output(true);
                frame.write_parquet(&path, options, None).await?;
            }
        }
        Ok(Self(place))
    }

    /// Where the tables are, a folder for each.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Makes the tables known.
    pub(crate) async fn register(&self, ctx: &SessionContext) -> Result<()> {
        for table in ["trades", "quotes"] {
            let path = self.0.path().join(table);
            let path = path.to_string_lossy();
            ctx.register_parquet(table, path, ParquetReadOptions::default())
                .await?;
        }
        Ok(())
    }
}

pub(crate) async fn run(ctx: &SessionContext, sql: &str) -> Result<Vec<RecordBatch>> {
    ctx.asof_sql(sql).await?.collect().await
}

/// The rows as text.
pub(crate) async fn shown(ctx: &SessionContext, sql: &str) -> Result<String> {
    Ok(pretty_format_batches(&run(ctx, sql).await?)?.to_string())
}

/// A join of both, of which one number stands for all rows.
pub(crate) fn join(kind: &str, clauses: &str) -> String {
    format!(
        "SELECT count(*) AS n, count(q.id) AS matched, sum(q.id) AS ids, sum(q.x) AS xs,
                sum(t.id % 97 * (q.id % 89)) AS pairs
         FROM trades t ASOF {kind} JOIN quotes q
         MATCH_CONDITION (t.ts >= q.ts) ON t.sym = q.sym {clauses}"
    )
}
