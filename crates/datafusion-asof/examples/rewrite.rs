//! For code that can only call `SessionContext::sql`: as-of joins rewritten, text to text.

use datafusion::config::Dialect;
use datafusion::error::Result;
use datafusion::prelude::SessionContext;
use datafusion_asof::{WithAsOf, rewrite_sql};

#[tokio::main]
async fn main() -> Result<()> {
    let sql = "SELECT a.ts, b.v
               FROM (VALUES (3), (8)) AS a(ts)
               ASOF JOIN (VALUES (1, 'one'), (7, 'seven')) AS b(ts, v) ON a.ts >= b.ts
               ORDER BY a.ts";
    let plain = rewrite_sql(sql, Dialect::Generic)?;
    println!("{plain}");

    // The session needs the extension, the caller only `sql`.
    let ctx = SessionContext::new().with_asof();
    ctx.sql(&plain).await?.show().await
}
