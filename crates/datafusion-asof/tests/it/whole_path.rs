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
    AsOfJoinOptions, AsOfSql, AsOfStrategy, DataFrameAsOfExt, NullPolicy, WithAsOf, rewrite_sql,
};

use crate::case::{Answer, Case};
use crate::codec::sent_logical;
use crate::engine::{Seen, Setup, compare, rows};
use crate::generate::generate;
use crate::oracle::Op;
use crate::predicate::Predicate;
use crate::table::Table;
use crate::types::Dice;
use crate::value::Value;

/// A case whose keys may also be of different types, or whose two tables are one.
pub(crate) fn generate_whole(seed: u64) -> Case {
    let mut case = generate(seed);
    if case.op == Op::Nearest && case.filter.as_ref().is_some_and(Predicate::compares_times) {
        case.filter = None;
    }
    let dice = &mut Dice::new(seed ^ 0x5_eed);
    if dice.percent(15) {
        let time = |table: &Table| table.columns[table.time].data_type.clone();
        if time(&case.left) != time(&case.right) {
            case.tolerance = None;
        }
        case.right = case.left.clone();
        for (column, _) in &mut case.ties {
            *column %= case.right.columns.len();
        }
        return case;
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
    placement: Placement,
    /// A second join behind it, with the right table once more.
    chain: Option<Op>,
    /// Conjuncts of `WHERE`.
    filters: Vec<Filter>,
    /// Columns of the answer to select; none for all.
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placement {
    Plain,
    Subquery,
    Cte,
    View,
}

#[derive(Clone, Copy, Debug)]
enum Filter {
    /// Of columns of the answer.
    From(usize, i128),
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
        let style = match *dice.pick(&styles) {
            // Two comparisons of the sides would not say which is the condition on time.
            Style::InOn
                if case
                    .filter
                    .as_ref()
                    .is_some_and(|filter| filter.compares_sides()) =>
            {
                Style::MatchCondition
            }
            style => style,
        };
        let in_sql = style != Style::DataFrame;
        let ops: Vec<Op> = Op::ALL
            .into_iter()
            .filter(|op| *op != Op::Nearest)
            .collect();
        let chain = (in_sql && dice.percent(15)).then(|| *dice.pick(&ops));
        let placements = [
            Placement::Plain,
            Placement::Plain,
            Placement::Subquery,
            Placement::Cte,
            Placement::View,
        ];
        let placement = match in_sql {
            true => *dice.pick(&placements),
            false => Placement::Plain,
        };
        let width = case.width() + chain.map_or(0, |_| case.right.columns.len());
        let right_id = case.left.columns.len() + case.right.id;
        let filters = (0..*dice.pick(&[0, 0, 1, 2]))
            .map(|_| match dice.below(4) {
                0 => Filter::From(case.left.id, 3),
                1 if case.kind.has_right_columns() => Filter::From(right_id, 3),
                2 => Filter::Null(dice.below(width)),
                _ => Filter::NotNull(dice.below(width)),
            })
            .collect();
        let projection = dice.percent(40).then(|| {
            let mut columns: Vec<usize> = (0..width).filter(|_| dice.percent(30)).collect();
            if columns.is_empty() {
                columns.push(dice.below(width));
            }
            columns
        });
        Self {
            style,
            placement,
            chain,
            filters,
            projection,
        }
    }

    /// What is left of the join's rows, and of their columns.
    fn apply(&self, case: &Case, answer: &Answer) -> Answer {
        let answer = match self.chain {
            Some(op) => chained(case, op, answer),
            None => answer.clone(),
        };
        let from = |value: &Value, from| matches!(value, Value::Int(id) if *id >= from);
        let passes = |row: &&Vec<Value>| {
            self.filters.iter().all(|filter| match *filter {
                Filter::From(column, n) => from(&row[column], n),
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

    /// The statements to run, of which the last is the query.
    fn sql(&self, case: &Case) -> Vec<String> {
        let mut join = case.sql();
        let condition = case.condition();
        match self.style {
            Style::Swapped => {
                let time = |table: &Table| table.columns[table.time].name.clone();
                let (left, right) = (time(&case.left), time(&case.right));
                let swapped = case.op.swapped();
                let swapped = swapped.sql(&format!("r.{right}"), &format!("l.{left}"));
                join = join.replacen(&condition, &swapped, 1);
            }
            Style::InOn if join.contains(" ON ") => {
                join = join
                    .replacen(&format!(" MATCH_CONDITION ({condition})"), "", 1)
                    .replacen(" ON ", &format!(" ON {condition} AND "), 1);
            }
            Style::InOn => {
                let in_match = format!("MATCH_CONDITION ({condition})");
                join = join.replacen(&in_match, &format!("ON {condition}"), 1);
            }
            Style::MatchCondition | Style::Rewritten | Style::DataFrame => {}
        }
        if self.is_self_join(case) {
            join = join.replacen(" JOIN r ", " JOIN l AS r ", 1);
        }
        if let Some(op) = self.chain {
            join += &chain_sql(case, op);
        }
        let width = case.width() + self.chain.map_or(0, |_| case.right.columns.len());
        let name = |column: usize| match self.placement {
            Placement::Plain => qualified(case, column),
            _ => format!("c{column}"),
        };
        let mut conjuncts = self.filters.iter().map(|filter| match *filter {
            Filter::From(column, n) => format!("{} >= {n}", name(column)),
            Filter::Null(column) => format!("{} IS NULL", name(column)),
            Filter::NotNull(column) => format!("{} IS NOT NULL", name(column)),
        });
        let mut filter = conjuncts
            .next()
            .map_or(String::new(), |first| format!(" WHERE {first}"));
        for conjunct in conjuncts {
            filter += &format!(" AND {conjunct}");
        }
        let selected = match &self.projection {
            None => "*".to_string(),
            Some(columns) => columns
                .iter()
                .map(|&c| name(c))
                .collect::<Vec<_>>()
                .join(", "),
        };
        if self.placement == Placement::Plain {
            return vec![join.replacen("SELECT *", &format!("SELECT {selected}"), 1) + &filter];
        }
        let aliased: Vec<String> = (0..width)
            .map(|column| format!("{} AS c{column}", qualified(case, column)))
            .collect();
        let inner = join.replacen("SELECT *", &format!("SELECT {}", aliased.join(", ")), 1);
        match self.placement {
            Placement::Subquery => vec![format!("SELECT {selected} FROM ({inner}) j{filter}")],
            Placement::Cte => vec![format!(
                "WITH j AS ({inner}) SELECT {selected} FROM j{filter}"
            )],
            _ => vec![
                format!("CREATE VIEW j AS {inner}"),
                format!("SELECT {selected} FROM j{filter}"),
            ],
        }
    }

    fn is_self_join(&self, case: &Case) -> bool {
        let names = |table: &Table| format!("{:?}", table.columns);
        names(&case.left) == names(&case.right)
    }

    async fn data_frame(&self, case: &Case, ctx: &SessionContext) -> Result<DataFrame> {
        let pair = |l: usize, r: usize| (column(case, l), right_column(case, r));
        let compare = |l: usize, op: Operator, r: usize| {
            let (left, right) = pair(l, r);
            binary_expr(left, op, right)
        };
        let keys = case
            .left
            .keys
            .iter()
            .zip(&case.right.keys)
            .zip(&case.null_safe);
        let mut on: Vec<Expr> = keys
            .map(|((&l, &r), null_safe)| match null_safe {
                true => compare(l, Operator::IsNotDistinctFrom, r),
                false => compare(l, Operator::Eq, r),
            })
            .collect();
        on.extend(
            case.filter
                .as_ref()
                .map(|f| f.logical(&case.left, &case.right)),
        );
        let on_time = |op| {
            let condition = compare(case.left.time, op, case.right.time);
            AsOfJoinOptions::new(condition)
        };
        let mut options = match case.op {
            Op::GtEq => on_time(Operator::GtEq),
            Op::Gt => on_time(Operator::Gt),
            Op::LtEq => on_time(Operator::LtEq),
            Op::Lt => on_time(Operator::Lt),
            Op::Nearest => {
                let (left, right) = pair(case.left.time, case.right.time);
                AsOfJoinOptions::nearest(left, right)
            }
        };
        options = options.on(on).join_type(case.kind);
        if let Some(tolerance) = &case.tolerance {
            options = options.tolerance(Expr::Literal(tolerance.scalar.clone(), None));
        }
        if case.ignore_nulls {
            options = options.null_policy(NullPolicy::IgnoreNulls);
        }
        let ties = case.ties.iter().map(|(tie, options)| {
            let tie = right_column(case, *tie);
            tie.sort(!options.descending, options.nulls_first)
        });
        options = options.ties_by(ties.collect());
        let mut joined = ctx
            .table("l")
            .await?
            .join_asof(ctx.table("r").await?, options)?;
        for filter in &self.filters {
            joined = joined.filter(match *filter {
                Filter::From(c, n) => column(case, c).gt_eq(lit(n as i64)),
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

/// The keys of the case that are plain equalities of the left and the right table.
fn chain_sql(case: &Case, op: Op) -> String {
    let name = |table: &Table, column: usize| table.columns[column].name.clone();
    let left_time = format!("l.{}", name(&case.left, case.left.time));
    let right_time = format!("r2.{}", name(&case.right, case.right.time));
    let keys = case.left.keys.iter().zip(&case.right.keys);
    let keys: Vec<String> = keys
        .map(|(&l, &r)| format!("l.{} = r2.{}", name(&case.left, l), name(&case.right, r)))
        .collect();
    let on = match keys.is_empty() {
        true => String::new(),
        false => format!(" ON {}", keys.join(" AND ")),
    };
    let condition = op.sql(&left_time, &right_time);
    format!(" ASOF LEFT JOIN r AS r2 MATCH_CONDITION ({condition}){on}")
}

/// The answer of the second join, over that of the first.
fn chained(case: &Case, op: Op, answer: &Answer) -> Answer {
    let second = Case::plain(case.left.clone(), case.right.clone(), op);
    let chosen = second.chosen();
    let ids = &case.left.columns[case.left.id].values;
    let row = |row: &Vec<Value>| {
        let id = &row[case.left.id];
        let place = ids.iter().position(|known| known.same(id));
        let values = match place.and_then(|place| chosen[place]) {
            Some(place) => case.right.row(place),
            None => vec![Value::Null; case.right.columns.len()],
        };
        [row.clone(), values].concat()
    };
    answer.iter().map(row).collect()
}

/// The name of a column of the answer.
fn qualified(case: &Case, column: usize) -> String {
    let left = case.left.columns.len();
    if column < left {
        format!("l.{}", case.left.columns[column].name)
    } else if column < case.width() {
        format!("r.{}", case.right.columns[column - left].name)
    } else {
        format!("r2.{}", case.right.columns[column - case.width()].name)
    }
}

fn right_column(case: &Case, column: usize) -> Expr {
    datafusion::prelude::col(format!("r.{}", case.right.columns[column].name))
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
    let mut statements = query.sql(case);
    let explain =
        |problem: String| format!("{problem}\nin {query:?}\n{}", query.sql(case).join(";\n"));
    let sql = statements.pop().unwrap_or_default();
    for statement in statements {
        ctx.asof_sql(&statement)
            .await
            .map_err(|error| explain(format!("planning: {error}")))?;
    }
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
    let mut frame = frame.map_err(|error| explain(format!("planning: {error}")))?;
    if setup.sent {
        frame = sent_logical(frame, &ctx)
            .await
            .map_err(|error| explain(format!("sending: {error}")))?;
    }
    let batches = frame
        .collect()
        .await
        .map_err(|error| explain(format!("executing: {error}")))?;
    let rows = rows(&batches);
    let seen = Seen {
        sorts: 0,
        rows: rows.len(),
    };
    compare(rows, &query.apply(case, expected)).map_err(explain)?;
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
        (_, AsOfStrategy::BroadcastLeft) => "broadcast_left",
        (_, AsOfStrategy::SortMerge) => "sort_merge",
        (_, AsOfStrategy::TimeSalted) => "time_salted",
    };
    ctx.sql(&format!("SET asof.strategy = '{strategy}'"))
        .await?;
    for (option, values) in [
        ("skew_threshold", ["0", "0", "1", "2"]),
        ("salt_ranges", ["auto", "1", "2", "9"]),
        ("skew_sample_rows", ["0", "1", "7", "8192"]),
    ] {
        if dice.percent(70) {
            let value = dice.pick(&values);
            ctx.sql(&format!("SET asof.{option} = '{value}'")).await?;
        }
    }
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
