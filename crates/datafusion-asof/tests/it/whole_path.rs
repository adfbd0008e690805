//! The same cases from SQL or a `DataFrame` to rows: parser, planner, optimizer and operator together, under random settings.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::datasource::MemTable;
use datafusion::error::Result;
use datafusion::logical_expr::Operator;
use datafusion::logical_expr::binary_expr;
use datafusion::prelude::{DataFrame, Expr, SessionConfig, SessionContext, ident, lit};
use datafusion::scalar::ScalarValue;
use datafusion_asof::{
    AsOfJoinOptions, AsOfJoinType, AsOfSql, AsOfStrategy, DataFrameAsOfExt, WithAsOf, rewrite_sql,
};

use crate::case::{Answer, Case};
use crate::engine::{Seen, Setup, compare, rows};
use crate::generate::generate;
use crate::oracle::Op;
use crate::table::Table;
use crate::types::Dice;
use crate::value::Value;

/// A case whose keys may also be of different types, and whose `ON` may filter the right side.
pub(crate) fn generate_whole(seed: u64) -> Case {
    let mut case = generate(seed);
    let dice = &mut Dice::new(seed ^ 0x5_eed);
    if dice.percent(25) {
        case.right_from = Some(dice.below(case.right.rows() + 1) as i128);
    }
    for key in case.right.keys.clone() {
        let column = &mut case.right.columns[key];
        if case.right.order.is_none() && dice.percent(40) {
            column.data_type = match &column.data_type {
                DataType::Utf8 | DataType::Utf8View => dice
                    .pick(&[DataType::LargeUtf8, DataType::Utf8View, DataType::Utf8])
                    .clone(),
                signed if signed.is_signed_integer() => DataType::Int64,
                unsigned if unsigned.is_unsigned_integer() => {
                    dice.pick(&[DataType::UInt64, DataType::Int64]).clone()
                }
                DataType::Float32 => DataType::Float64,
                other => other.clone(),
            };
        }
    }
    case
}

/// What stands around the join in the query.
#[derive(Clone, Debug)]
struct Query {
    style: Style,
    /// Conjuncts of `WHERE`.
    filters: Vec<Filter>,
    /// Columns of the answer to select, the left id among them; none for all.
    projection: Option<Vec<usize>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    MatchCondition,
    /// The right operand written first.
    Swapped,
    /// The match condition among the equalities.
    InOn,
    /// Through `rewrite_sql` and the session's own `sql`.
    Rewritten,
    DataFrame,
}

#[derive(Clone, Copy, Debug)]
enum Filter {
    LeftIdFrom(i128),
    RightIdFrom(i128),
    /// A column of the answer.
    Null(usize),
    NotNull(usize),
}

impl Query {
    fn of(case: &Case) -> Self {
        let dice = &mut Dice::new(case.seed ^ 0xc0ffee);
        let styles = [
            Style::MatchCondition,
            Style::Swapped,
            Style::InOn,
            Style::Rewritten,
            Style::DataFrame,
        ];
        let style = *dice.pick(&styles);
        let width = case.left.columns.len() + case.right.columns.len();
        let filters = (0..*dice.pick(&[0, 0, 1, 2]))
            .map(|_| match dice.below(4) {
                0 => Filter::LeftIdFrom(3),
                1 => Filter::RightIdFrom(3),
                2 => Filter::Null(dice.below(width)),
                _ => Filter::NotNull(dice.below(width)),
            })
            .collect();
        let projection = dice.percent(40).then(|| {
            let mut columns = vec![case.left.id];
            columns.extend((0..width).filter(|&c| c != case.left.id && dice.percent(30)));
            columns
        });
        Self {
            style,
            filters,
            projection,
        }
    }

    /// What is left of the join's rows, and of their columns.
    fn apply(&self, case: &Case, answer: &Answer) -> Answer {
        let right_id = case.left.columns.len() + case.right.id;
        let from = |value: &Value, from| matches!(value, Value::Int(id) if *id >= from);
        let passes = |row: &&Vec<Value>| {
            self.filters.iter().all(|filter| match *filter {
                Filter::LeftIdFrom(n) => from(&row[case.left.id], n),
                Filter::RightIdFrom(n) => from(&row[right_id], n),
                Filter::Null(column) => row[column].is_null(),
                Filter::NotNull(column) => !row[column].is_null(),
            })
        };
        let select = |row: &Vec<Value>| match &self.projection {
            None => row.clone(),
            Some(columns) => columns.iter().map(|&column| row[column].clone()).collect(),
        };
        answer.iter().filter(passes).map(select).collect()
    }

    fn sql(&self, case: &Case) -> String {
        let mut sql = case.sql();
        let time = |table: &Table| table.columns[table.time].name.clone();
        let (left, right) = (time(&case.left), time(&case.right));
        let condition = format!("l.{left} {} r.{right}", case.op.sql());
        match self.style {
            Style::Swapped => {
                let op = match case.op {
                    Op::GtEq => "<=",
                    Op::Gt => "<",
                    Op::LtEq => ">=",
                    Op::Lt => ">",
                };
                sql = sql.replace(&condition, &format!("r.{right} {op} l.{left}"));
            }
            Style::InOn if sql.contains(" ON ") => {
                sql = sql
                    .replace(&format!(" MATCH_CONDITION ({condition})"), "")
                    .replace(" ON ", &format!(" ON {condition} AND "));
            }
            Style::InOn => {
                sql = sql.replace(
                    &format!("MATCH_CONDITION ({condition})"),
                    &format!("ON {condition}"),
                );
            }
            Style::MatchCondition | Style::Rewritten | Style::DataFrame => {}
        }
        if let Some(columns) = &self.projection {
            let columns: Vec<String> = columns.iter().map(|&c| qualified(case, c)).collect();
            sql = sql.replace("SELECT *", &format!("SELECT {}", columns.join(", ")));
        }
        let right_id = case.left.columns.len() + case.right.id;
        let conjunct = |filter: &Filter| match *filter {
            Filter::LeftIdFrom(n) => format!("{} >= {n}", qualified(case, case.left.id)),
            Filter::RightIdFrom(n) => format!("{} >= {n}", qualified(case, right_id)),
            Filter::Null(column) => format!("{} IS NULL", qualified(case, column)),
            Filter::NotNull(column) => format!("{} IS NOT NULL", qualified(case, column)),
        };
        let conjuncts: Vec<String> = self.filters.iter().map(conjunct).collect();
        if !conjuncts.is_empty() {
            sql += &format!(" WHERE {}", conjuncts.join(" AND "));
        }
        sql
    }

    async fn data_frame(&self, case: &Case, ctx: &SessionContext) -> Result<DataFrame> {
        let compare = |l: usize, op: Operator, r: usize| {
            let (left, right) = (column(case, l), column(case, case.left.columns.len() + r));
            binary_expr(left, op, right)
        };
        let op = match case.op {
            Op::GtEq => Operator::GtEq,
            Op::Gt => Operator::Gt,
            Op::LtEq => Operator::LtEq,
            Op::Lt => Operator::Lt,
        };
        let keys = case.left.keys.iter().zip(&case.right.keys);
        let mut on: Vec<Expr> = keys.map(|(&l, &r)| compare(l, Operator::Eq, r)).collect();
        if let Some(from) = case.right_from {
            let id = column(case, case.left.columns.len() + case.right.id);
            on.push(id.gt_eq(lit(from as i64)));
        }
        let mut options = AsOfJoinOptions::new(compare(case.left.time, op, case.right.time)).on(on);
        if let Some(tolerance) = &case.tolerance {
            options = options.tolerance(Expr::Literal(tolerance.scalar.clone(), None));
        }
        if !case.keep_unmatched {
            options = options.join_type(AsOfJoinType::Inner);
        }
        let mut joined = ctx
            .table("l")
            .await?
            .join_asof(ctx.table("r").await?, options)?;
        let right_id = column(case, case.left.columns.len() + case.right.id);
        for filter in &self.filters {
            joined = joined.filter(match *filter {
                Filter::LeftIdFrom(n) => column(case, case.left.id).gt_eq(lit(n as i64)),
                Filter::RightIdFrom(n) => right_id.clone().gt_eq(lit(n as i64)),
                Filter::Null(c) => column(case, c).is_null(),
                Filter::NotNull(c) => column(case, c).is_not_null(),
            })?;
        }
        match &self.projection {
            None => Ok(joined),
            Some(columns) => {
                joined.select(columns.iter().map(|&c| column(case, c)).collect::<Vec<_>>())
            }
        }
    }
}

/// The name of a column of the answer.
fn qualified(case: &Case, column: usize) -> String {
    let left = case.left.columns.len();
    if column < left {
        format!("l.{}", case.left.columns[column].name)
    } else {
        format!("r.{}", case.right.columns[column - left].name)
    }
}

fn column(case: &Case, column: usize) -> Expr {
    datafusion::prelude::col(qualified(case, column))
}

/// Like [`crate::engine::check`], from the text of a query.
///
/// # Errors
/// A description of the first thing that is not as it should be.
pub(crate) async fn check_whole(
    case: &Case,
    expected: &Answer,
    setup: Setup,
) -> Result<Seen, String> {
    let query = Query::of(case);
    let ctx = session(case, setup)
        .await
        .map_err(|error| format!("session: {error}"))?;
    let sql = query.sql(case);
    let frame = match query.style {
        Style::DataFrame => query.data_frame(case, &ctx).await,
        Style::Rewritten => {
            let dialect = ctx.state().config().options().sql_parser.dialect;
            match rewrite_sql(&sql, dialect) {
                Ok(sql) => ctx.sql(&sql).await,
                Err(error) => Err(error),
            }
        }
        _ => ctx.asof_sql(&sql).await,
    };
    let explain = |problem: String| format!("{problem}\nin {query:?}\n{sql}");
    let frame = frame.map_err(|error| explain(format!("planning: {error}")))?;
    let batches = frame
        .collect()
        .await
        .map_err(|error| explain(format!("executing: {error}")))?;
    let rows = rows(&batches);
    let seen = Seen {
        sorts: 0,
        rows: rows.len(),
    };
    // `compare` looks for the left id where the projection has put it.
    let mut shape = case.clone();
    if query.projection.is_some() {
        shape.left.id = 0;
    }
    compare(&shape, rows, &query.apply(case, expected)).map_err(explain)?;
    Ok(seen)
}

async fn session(case: &Case, setup: Setup) -> Result<SessionContext> {
    let dice = &mut Dice::new(case.seed ^ 0xc0de);
    let mut config = SessionConfig::new()
        .with_target_partitions(setup.target_partitions)
        .with_batch_size(setup.batch_size);
    for switch in [
        "datafusion.optimizer.enable_round_robin_repartition",
        "datafusion.optimizer.repartition_joins",
        "datafusion.optimizer.repartition_sorts",
        "datafusion.optimizer.prefer_existing_sort",
        "datafusion.optimizer.prefer_hash_join",
        "datafusion.execution.collect_statistics",
    ] {
        if dice.percent(40) {
            config = config.set(switch, &ScalarValue::Boolean(Some(dice.percent(50))));
        }
    }
    let ctx = SessionContext::new_with_config(config).with_asof();
    let strategy = match (dice.below(3), setup.strategy) {
        (0, _) => "auto",
        (_, AsOfStrategy::Broadcast) => "broadcast",
        (_, AsOfStrategy::SortMerge) => "sort_merge",
    };
    ctx.sql(&format!("SET asof.strategy = '{strategy}'"))
        .await?;
    if dice.percent(50) {
        let threshold = dice.pick(&["0", "1", "1000", "64 MB"]);
        ctx.sql(&format!("SET asof.broadcast_threshold = '{threshold}'"))
            .await?;
    }
    for (name, table) in [("l", &case.left), ("r", &case.right)] {
        ctx.register_table(name, Arc::new(mem_table(table)?))?;
    }
    Ok(ctx)
}

fn mem_table(table: &Table) -> Result<MemTable> {
    let mem_table = MemTable::try_new(table.schema(), table.partitions())?;
    let sort = |&(column, options): &(usize, datafusion::arrow::compute::SortOptions)| {
        ident(&table.columns[column].name).sort(!options.descending, options.nulls_first)
    };
    let order = table
        .order
        .iter()
        .map(|order| order.iter().map(sort).collect())
        .collect();
    Ok(mem_table.with_sort_order(order))
}
