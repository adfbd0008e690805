//! As-of joins in SQL on an ordinary session: `with_asof` and `asof_sql`.

use datafusion::error::Result;
use datafusion::prelude::SessionContext;
use datafusion_asof::{AsOfSql, WithAsOf};

#[tokio::main]
async fn main() -> Result<()> {
    let ctx = SessionContext::new().with_asof();
    ctx.asof_sql(
        "CREATE TABLE trades AS SELECT * FROM (VALUES
            ('A', TIMESTAMP '2024-01-02 10:00:03', 100),
            ('A', TIMESTAMP '2024-01-02 10:00:09', 200),
            ('B', TIMESTAMP '2024-01-02 10:00:04', 300)) AS t(sym, ts, size)",
    )
    .await?;
    ctx.asof_sql(
        "CREATE TABLE quotes AS SELECT * FROM (VALUES
            ('A', TIMESTAMP '2024-01-02 10:00:01', 10.5),
            ('A', TIMESTAMP '2024-01-02 10:00:08', 11.0),
            ('B', TIMESTAMP '2024-01-02 09:59:00', 20.0)) AS q(sym, ts, bid)",
    )
    .await?;
    // The last quote at or before each trade, no older than five seconds.
    let joined = ctx
        .asof_sql(
            "SELECT t.sym, t.ts, t.size, q.ts AS quoted, q.bid
             FROM trades t ASOF LEFT JOIN quotes q
             ON t.sym = q.sym AND t.ts >= q.ts TOLERANCE 5s
             ORDER BY t.sym, t.ts",
        )
        .await?;
    joined.show().await
}
