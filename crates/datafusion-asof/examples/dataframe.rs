//! As-of joins without SQL: `join_asof` on data frames.

use datafusion::error::Result;
use datafusion::prelude::{SessionContext, col, lit};
use datafusion_asof::{AsOfJoinOptions, AsOfJoinType, DataFrameAsOfExt, WithAsOf};

#[tokio::main]
async fn main() -> Result<()> {
    let ctx = SessionContext::new().with_asof();
    let alarms = ctx
        .sql("SELECT * FROM (VALUES ('pump', 12), ('pump', 40), ('fan', 13)) AS a(machine, ts)")
        .await?;
    let readings = ctx
        .sql(
            "SELECT * FROM (VALUES
                ('pump', 10, 81.5), ('pump', 11, 93.0), ('fan', 2, 40.0)) AS r(machine, ts, heat)",
        )
        .await?;
    // The latest reading of the machine before each alarm, at most ten ticks old.
    let options = AsOfJoinOptions::new(col("a.ts").gt(col("r.ts")))
        .on(vec![col("a.machine").eq(col("r.machine"))])
        .tolerance(lit(10))
        .join_type(AsOfJoinType::Inner);
    let joined = alarms.join_asof(readings, options)?;
    joined.show().await
}
