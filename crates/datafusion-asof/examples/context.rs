//! A context of which `sql` itself takes as-of joins: change the constructor, nothing else.

use datafusion::error::Result;
use datafusion_asof::AsOfContext;

#[tokio::main]
async fn main() -> Result<()> {
    let ctx = AsOfContext::new();
    ctx.sql(
        "CREATE TABLE readings AS SELECT * FROM (VALUES
            (1, 20.1), (4, 20.7), (9, 22.3)) AS r(ts, celsius)",
    )
    .await?;
    // Each reading beside the one before it.
    let steps = ctx
        .sql(
            "SELECT r.ts, r.celsius, p.ts AS before, r.celsius - p.celsius AS change
             FROM readings r ASOF LEFT JOIN readings p ON r.ts > p.ts
             ORDER BY r.ts",
        )
        .await?;
    steps.show().await
}
