//! How the files of a left side are cut: row groups of equal size go to partitions of their own.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, common};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_asof::{AsOfJoinExec, AsOfSql, WithAsOf};

/// So many that the end of the file is small beside them.
const GROUP_ROWS: usize = 20_000;

#[tokio::test]
async fn each_partition_reads_a_row_group() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("left.parquet");
    let file = file.display();
    for groups in [2, 3, 4] {
        let config = SessionConfig::new()
            .with_target_partitions(groups)
            .with_repartition_file_min_size(1);
        let ctx = SessionContext::new_with_config(config).with_asof();
        let rows = groups * GROUP_ROWS;
        let copy = format!(
            "COPY (SELECT n AS ts, random() AS v FROM generate_series(1, {rows}) AS g(n) ORDER BY n)
             TO '{file}' STORED AS PARQUET OPTIONS (max_row_group_size {GROUP_ROWS})"
        );
        ctx.sql(&copy).await?.collect().await?;
        let create =
            format!("CREATE OR REPLACE EXTERNAL TABLE l STORED AS PARQUET LOCATION '{file}'");
        ctx.sql(&create).await?;
        for strategy in ["broadcast", "broadcast_left"] {
            ctx.sql(&format!("SET asof.strategy = {strategy}")).await?;
            let sql = "SELECT * FROM (SELECT * FROM l WHERE v >= 0) l
                       ASOF JOIN (SELECT column1 AS ts FROM VALUES (5)) r ON l.ts >= r.ts";
            let plan = ctx.asof_sql(sql).await?.create_physical_plan().await?;
            let left = left_of_join(&plan).expect("a join");
            let partitions = left.output_partitioning().partition_count();
            let mut read = vec![];
            for partition in 0..partitions {
                let batches = common::collect(left.execute(partition, ctx.task_ctx())?).await?;
                read.push(batches.iter().map(|batch| batch.num_rows()).sum::<usize>());
            }
            assert_eq!(read, vec![GROUP_ROWS; groups], "{strategy}");
        }
    }
    Ok(())
}

fn left_of_join(plan: &Arc<dyn ExecutionPlan>) -> Option<Arc<dyn ExecutionPlan>> {
    match plan.downcast_ref::<AsOfJoinExec>() {
        Some(join) => Some(Arc::clone(join.left())),
        None => plan.children().into_iter().find_map(left_of_join),
    }
}
