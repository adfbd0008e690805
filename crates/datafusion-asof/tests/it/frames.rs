//! `join_asof`: what right columns are called, and what fills them.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Array, StringArray};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::error::Result;
use datafusion::prelude::{DataFrame, SessionContext, col, lit};
use datafusion::scalar::ScalarValue;
use datafusion_asof::{AsOfJoinOptions, AsOfJoinType, DataFrameAsOfExt, NullPolicy, WithAsOf};

/// Trades and quotes; B has no quote before its trade, and a quote of A has no size.
async fn frames() -> Result<(DataFrame, DataFrame)> {
    let ctx = SessionContext::new().with_asof();
    let frame =
        |name: &str, sym: &[&str], ts: &[i64], (third, values): (&str, Vec<Option<i64>>)| {
            let batch = RecordBatch::try_from_iter([
                ("sym", Arc::new(StringArray::from(sym.to_vec())) as ArrayRef),
                ("ts", Arc::new(Int64Array::from(ts.to_vec()))),
                (third, Arc::new(Int64Array::from(values))),
            ])?;
            ctx.register_batch(name, batch)?;
            Ok::<_, datafusion::error::DataFusionError>(())
        };
    frame(
        "t",
        &["A", "A", "B"],
        &[10, 20, 10],
        ("qty", vec![Some(1), Some(2), Some(3)]),
    )?;
    frame(
        "q",
        &["A", "A", "B"],
        &[9, 19, 11],
        ("size", vec![Some(7), None, Some(8)]),
    )?;
    Ok((ctx.table("t").await?, ctx.table("q").await?))
}

fn backward() -> AsOfJoinOptions {
    AsOfJoinOptions::new(col("t.ts").gt_eq(col("q.ts"))).on(vec![col("t.sym").eq(col("q.sym"))])
}

/// The join's rows in the order of the trades, as a table.
async fn table(options: AsOfJoinOptions) -> Result<String> {
    let (left, right) = frames().await?;
    let joined = left.join_asof(right, options)?;
    let first = joined
        .schema()
        .columns()
        .into_iter()
        .take(2)
        .map(|column| col(column).sort(true, false));
    let batches = joined.clone().sort(first.collect())?.collect().await?;
    Ok(pretty_format_batches(&batches)?.to_string())
}

async fn refusal(options: AsOfJoinOptions) -> Result<String> {
    let (left, right) = frames().await?;
    Ok(left
        .join_asof(right, options)
        .map(|_| ())
        .expect_err("a refusal")
        .to_string())
}

fn expect(table: &str, rows: &[&str]) {
    let lines: Vec<&str> = table.lines().filter(|line| line.starts_with('|')).collect();
    let squeezed: Vec<String> = lines
        .iter()
        .map(|line| {
            line.split('|')
                .map(str::trim)
                .filter(|cell| !cell.is_empty())
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    assert_eq!(squeezed, rows, "{table}");
}

#[tokio::test]
async fn names() -> Result<()> {
    expect(
        &table(backward().suffix("_q")).await?,
        &[
            "sym ts qty sym_q ts_q size",
            "A 10 1 A 9 7",
            "A 20 2 A 19",
            "B 10 3",
        ],
    );
    expect(
        &table(backward().prefix("q_")).await?,
        &[
            "sym ts qty q_sym q_ts size",
            "A 10 1 A 9 7",
            "A 20 2 A 19",
            "B 10 3",
        ],
    );
    expect(
        &table(backward().prefix("q_").suffix("_r")).await?[..],
        &[
            "sym ts qty q_sym_r q_ts_r size",
            "A 10 1 A 9 7",
            "A 20 2 A 19",
            "B 10 3",
        ],
    );
    Ok(())
}

#[tokio::test]
async fn fill_values() -> Result<()> {
    let none = ScalarValue::from("none");
    let filled = backward()
        .suffix("_q")
        .fill_null(ScalarValue::from(0i64), vec!["size".to_owned()])
        .fill_null(none, vec!["sym".to_owned()]);
    expect(
        &table(filled).await?,
        &[
            "sym ts qty sym_q ts_q size",
            "A 10 1 A 9 7",
            "A 20 2 A 19 0",
            "B 10 3 none 0",
        ],
    );
    // All columns that can hold it: a text cannot be a number.
    let everywhere = backward()
        .suffix("_q")
        .fill_null(ScalarValue::from("-"), vec![]);
    expect(
        &table(everywhere).await?,
        &[
            "sym ts qty sym_q ts_q size",
            "A 10 1 A 9 7",
            "A 20 2 A 19",
            "B 10 3 -",
        ],
    );
    let last_known = backward().suffix("_q").null_policy(NullPolicy::IgnoreNulls);
    expect(
        &table(last_known).await?,
        &[
            "sym ts qty sym_q ts_q size",
            "A 10 1 A 9 7",
            "A 20 2 A 19 7",
            "B 10 3",
        ],
    );
    Ok(())
}

#[tokio::test]
async fn columns_of_both() -> Result<()> {
    let on_time = AsOfJoinOptions::new(col("t.ts").gt_eq(col("q.ts")))
        .using(vec!["sym".to_owned()])
        .suffix("_q");
    expect(
        &table(on_time.clone()).await?,
        &["sym ts qty ts_q size", "A 10 1 9 7", "A 20 2 19", "B 10 3"],
    );
    // A quote that no trade took has its symbol too.
    let full = on_time
        .join_type(AsOfJoinType::Full)
        .tolerance(lit(1))
        .fill_null(ScalarValue::from(-1i64), vec![]);
    expect(
        &table(full).await?,
        &[
            "sym ts qty ts_q size",
            "A 10 1 9 7",
            "A 20 2 19 -1",
            "B 10 3 -1 -1",
            "B 11 8",
        ],
    );
    let semi = backward().join_type(AsOfJoinType::LeftSemi).suffix("_q");
    expect(&table(semi).await?, &["sym ts qty", "A 10 1", "A 20 2"]);
    Ok(())
}

#[tokio::test]
async fn refusals() -> Result<()> {
    let fill = |columns: &[&str]| {
        let columns = columns.iter().map(|name| (*name).to_owned()).collect();
        backward()
            .suffix("_q")
            .fill_null(ScalarValue::from("x"), columns)
    };
    assert!(
        refusal(fill(&["bid"]))
            .await?
            .contains("fill_null names bid, which is no right column: there are sym, ts, size")
    );
    assert!(
        refusal(fill(&["size"]))
            .await?
            .contains("fill_null cannot put x into column q.size of type Int64")
    );
    assert!(
        refusal(backward().using(vec!["qty".to_owned()]))
            .await?
            .contains("USING column qty is not a column of the right side")
    );
    assert!(
        refusal(backward().suffix(""))
            .await?
            .contains("cannot be named sym")
    );
    let both_ways =
        AsOfJoinOptions::nearest(col("t.ts"), col("q.ts")).on(vec![col("t.ts").gt(col("q.ts"))]);
    assert!(
        refusal(both_ways)
            .await?
            .contains("nearest takes the place of an inequality")
    );
    Ok(())
}
