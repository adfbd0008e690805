//! Tables in memory whose partitions follow each other in time are merged as they stream.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::datasource::MemTable;
use datafusion::error::Result;
use datafusion::physical_plan::displayable;
use datafusion::prelude::{SessionConfig, SessionContext, col};
use datafusion_asof::{AsOfSql, WithAsOf};

const SQL: &str = "SELECT l.ts, l.k, r.ts FROM l ASOF LEFT JOIN r ON l.k = r.k AND l.ts > r.ts
                   ORDER BY l.ts, l.k";

/// Rows of these times, in batches of three: the time is declared to be their order.
fn table(partitions: &[Range<i64>]) -> Result<MemTable> {
    let batch = |times: &[i64]| {
        let keys = times.iter().map(|ts| ts * ts % 7);
        let columns: [(&str, ArrayRef); 2] = [
            ("ts", Arc::new(Int64Array::from(times.to_vec()))),
            ("k", Arc::new(Int64Array::from_iter_values(keys))),
        ];
        RecordBatch::try_from_iter(columns)
    };
    let partition = |times: &Range<i64>| {
        let times: Vec<i64> = times.clone().map(|time| time / 2).collect();
        let batches = times.chunks(3).map(batch);
        batches.collect::<Result<Vec<_>, _>>()
    };
    let partitions = partitions.iter().map(partition);
    let partitions: Vec<Vec<RecordBatch>> = partitions.collect::<Result<_, _>>()?;
    let schema = partitions[0][0].schema();
    let order = vec![vec![col("ts").sort(true, false)]];
    Ok(MemTable::try_new(schema, partitions)?.with_sort_order(order))
}

/// The plan and the answer.
async fn joined(
    partitions: &[Range<i64>],
    strategy: &str,
    target_partitions: usize,
) -> Result<(String, String)> {
    let config = SessionConfig::new().with_target_partitions(target_partitions);
    let ctx = SessionContext::new_with_config(config).with_asof();
    ctx.register_table("l", Arc::new(table(partitions)?))?;
    ctx.register_table("r", Arc::new(table(partitions)?))?;
    ctx.sql(&format!("SET asof.strategy = {strategy}")).await?;
    let frame = ctx.asof_sql(SQL).await?;
    let plan = frame.clone().create_physical_plan().await?;
    let plan = displayable(plan.as_ref()).indent(false).to_string();
    let answer = pretty_format_batches(&frame.collect().await?)?.to_string();
    Ok((plan, answer))
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_follow_each_other_are_one_stream() -> Result<()> {
    // Equal times at the edges of partitions, and one without rows.
    let partitions = [0..101, 101..333, 333..333, 333..700];
    let (_, expected) = joined(&partitions, "broadcast", 1).await?;
    for target_partitions in [1, 2, 5] {
        let (plan, answer) = joined(&partitions, "auto", target_partitions).await?;
        assert!(plan.contains("both sides come in time order"), "{plan}");
        let is_cut = plan.contains("ReadInOrderExec");
        assert_eq!(is_cut, target_partitions > 1, "{plan}");
        assert_eq!(answer, expected, "{target_partitions}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_do_not_are_none() -> Result<()> {
    let partitions = [100..300, 0..100];
    let (_, expected) = joined(&partitions, "broadcast", 1).await?;
    for strategy in ["auto", "sort_merge"] {
        let (plan, answer) = joined(&partitions, strategy, 3).await?;
        assert!(!plan.contains("both sides come in time order"), "{plan}");
        assert_eq!(answer, expected, "{strategy}");
    }
    Ok(())
}
