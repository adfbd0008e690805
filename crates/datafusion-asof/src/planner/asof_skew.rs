//! `asof_skew('table', 'key' [, 'ts'])`: what the planner sees of a table's skew, as a table.
//!
//! `'key'` may name several columns, with commas between them; names are written as in SQL. One row for
//! each key of a sample, the one that holds most first. Keys are compared by `=`: one with a NULL matches
//! nothing, and is listed because its rows are one partition's as those of others are.
//!
//! | column | |
//! |---|---|
//! | `key` | its values with commas between them |
//! | `rows` | about how many rows have it; of text files (CSV, JSON) by their size |
//! | `share` | of all rows |
//! | `load` | what it holds for certain, in partitions: 1 is what each would hold if all held the same |
//! | `ranges` | of time that it would be cut into, without `ts` if it has as many times; 1 if it would not be cut, as one with a NULL never is |
//! | `top_ten_share` | what the ten largest keys hold together |
//! | `strategy`, `reason` | how a join of the table with itself on `key` and `ts` would execute; NULL without `ts` |

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{Array, ArrayRef, Float64Array, StringArray, UInt64Array};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::utils::quote_identifier;
use datafusion::common::{Result, TableReference, plan_datafusion_err, plan_err};
use datafusion::config::ConfigOptions;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_expr::PhysicalExprRef;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion::scalar::ScalarValue;
use datafusion::sql::planner::IdentNormalizer;
use datafusion::sql::sqlparser::dialect::{GenericDialect, dialect_from_str};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::extension::memory_limit;
use super::selection::choice;
use super::skew::{limits, skew};
use crate::config::AsOfOptions;
use crate::exec::{AsOfJoinExec, AsOfStrategy, Skew, SkewLimits};
use crate::spec::{AsOfJoinType, AsOfKey, AsOfSpec, MatchCondition, MatchOp};

/// The name of the function.
pub(crate) const ASOF_SKEW: &str = "asof_skew";

/// The table function.
#[derive(Debug)]
pub(crate) struct AsOfSkewFunction;

impl TableFunctionImpl for AsOfSkewFunction {
    fn call_with_args(&self, args: TableFunctionArgs<'_, '_>) -> Result<Arc<dyn TableProvider>> {
        let name = |expr: &Expr| match expr {
            Expr::Literal(value, _) => value.try_as_str().flatten().map(str::to_owned),
            _ => None,
        };
        let names: Option<Vec<String>> = args.exprs().iter().map(name).collect();
        let mut names = names.unwrap_or_default().into_iter();
        match (names.next(), names.next(), names.next(), names.next()) {
            (Some(table), Some(key), time, None) => Ok(Arc::new(SkewOfTable {
                table,
                key,
                time,
                schema: schema(),
            })),
            _ => plan_err!(
                "asof_skew takes the names of a table, its key and its as-of column as texts: \
                 write asof_skew('trades', 'sym') or asof_skew('trades', 'sym', 'ts'), and \
                 'sym, venue' for a key of two columns"
            ),
        }
    }
}

fn schema() -> SchemaRef {
    let field = |name, data_type| Field::new(name, data_type, true);
    Arc::new(Schema::new(vec![
        field("key", DataType::Utf8),
        field("rows", DataType::UInt64),
        field("share", DataType::Float64),
        field("load", DataType::Float64),
        field("ranges", DataType::UInt64),
        field("top_ten_share", DataType::Float64),
        field("strategy", DataType::Utf8),
        field("reason", DataType::Utf8),
    ]))
}

/// The skew of one table, looked at when it is scanned.
#[derive(Debug)]
struct SkewOfTable {
    table: String,
    key: String,
    time: Option<String>,
    schema: SchemaRef,
}

#[async_trait]
impl TableProvider for SkewOfTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = self.rows(state).await?;
        let schema = Arc::clone(&self.schema);
        Ok(MemorySourceConfig::try_new_exec(
            &[vec![rows]],
            schema,
            projection.cloned(),
        )?)
    }
}

impl SkewOfTable {
    async fn rows(&self, session: &dyn Session) -> Result<RecordBatch> {
        let input = self.input(session).await?;
        let config = session.config_options();
        let keys = self.columns(&input, &self.key, config)?;
        let time = match &self.time {
            Some(time) => match self.columns(&input, time, config)?.as_slice() {
                [time] => Arc::clone(time),
                _ => return plan_err!("asof_skew takes one as-of column, not {time}"),
            },
            None => Arc::new(Literal::new(ScalarValue::Int64(Some(0)))),
        };
        let join = self_join(&input, &keys, time)?.with_memory_limit(memory_limit(session));
        let options = AsOfOptions::of(config);
        let limits = limits(config, &options);
        let inputs = [&input, &input];
        let skew = |limits| skew(&join, inputs, limits, &options, session);
        let every_key = SkewLimits {
            cut_from: 0.0,
            ..limits
        };
        let Some(every_key) = skew(every_key).await? else {
            let why = match options.skew_sample_rows {
                0 => "asof.skew_sample_rows is 0, and statistics do not tell its keys",
                _ if input.boundedness().is_unbounded() => "it has no end",
                _ => "it has to be computed first",
            };
            return plan_err!("asof_skew cannot look at {}: {why}", self.table);
        };
        let choice = match &self.time {
            Some(_) => {
                let skew = skew(limits).await?;
                Some(choice(&join.with_skew(Ok(skew)), config)?)
            }
            None => None,
        };
        self.describe(&every_key, limits, choice)
    }

    async fn input(&self, session: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        let state = session.as_any().downcast_ref::<SessionState>();
        let Some(state) = state else {
            return plan_err!("asof_skew looks tables up in DataFusion's own session only");
        };
        // As a name, or as it is: that of a file.
        let as_name = TableReference::parse_str(&self.table);
        for reference in [as_name, TableReference::bare(self.table.as_str())] {
            if let Ok(schema) = state.schema_for_ref(reference.clone())
                && let Some(table) = schema.table(reference.table()).await?
            {
                return table.scan(session, None, &[], None).await;
            }
        }
        plan_err!("asof_skew finds no table '{}'", self.table)
    }

    /// The columns that a text names.
    fn columns(
        &self,
        input: &Arc<dyn ExecutionPlan>,
        text: &str,
        config: &ConfigOptions,
    ) -> Result<Vec<PhysicalExprRef>> {
        let schema = input.schema();
        let column = |name: String| match schema.index_of(&name) {
            Ok(index) => Ok(Arc::new(Column::new(&name, index)) as PhysicalExprRef),
            Err(_) => {
                let columns = schema.fields().iter();
                let columns: Vec<_> = columns
                    .map(|field| quote_identifier(field.name()))
                    .collect();
                plan_err!(
                    "table {} has no column {}; its columns are {}",
                    self.table,
                    quote_identifier(&name),
                    columns.join(", ")
                )
            }
        };
        identifiers(text, config)?.into_iter().map(column).collect()
    }

    fn describe(
        &self,
        skew: &Skew,
        limits: SkewLimits,
        choice: Option<(AsOfStrategy, String)>,
    ) -> Result<RecordBatch> {
        // Those that hold most first, whatever of it is certain.
        let mut order: Vec<usize> = (0..skew.held.len()).collect();
        order.sort_by(|a, b| skew.held[*b].share.total_cmp(&skew.held[*a].share));
        let held = || order.iter().map(|key| &skew.held[*key]);
        let counts = held().map(|key| (key.share * skew.rows / 2.0).round() as u64);
        let is_cut = skew.load >= limits.cut_from;
        let ranges = held().map(|key| {
            let seems = key.share * limits.partitions as f64;
            match is_cut && seems >= limits.cut_from {
                true if self.time.is_some() => key.ranges_in_time as u64,
                true => key.ranges as u64,
                false => 1,
            }
        });
        let top_ten: f64 = held().take(10).map(|key| key.share).sum();
        let number = skew.held.len();
        let (strategy, reason) = match choice {
            Some((strategy, reason)) => (Some(strategy.to_string()), Some(reason)),
            None => (None, None),
        };
        let text = |text: Option<String>| {
            Arc::new(StringArray::from(vec![text.as_deref(); number])) as ArrayRef
        };
        let columns = vec![
            Arc::new(shown(&skew.keys, &order)?) as ArrayRef,
            Arc::new(UInt64Array::from_iter_values(counts)),
            Arc::new(Float64Array::from_iter_values(held().map(|key| key.share))),
            Arc::new(Float64Array::from_iter_values(held().map(|key| key.load))),
            Arc::new(UInt64Array::from_iter_values(ranges)),
            Arc::new(Float64Array::from(vec![top_ten; number])),
            text(strategy),
            text(reason),
        ];
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

/// Names with commas between them, as DataFusion reads them in a query.
fn identifiers(text: &str, config: &ConfigOptions) -> Result<Vec<String>> {
    let options = &config.sql_parser;
    let no_names = |_| {
        plan_datafusion_err!(
            "asof_skew takes names of columns as SQL has them, with commas between them, not '{text}'"
        )
    };
    let dialect = dialect_from_str(options.dialect);
    let dialect = dialect.unwrap_or_else(|| Box::new(GenericDialect));
    let parser = Parser::new(dialect.as_ref()).try_with_sql(text);
    let mut parser = parser.map_err(no_names)?;
    let names = parser.parse_comma_separated(Parser::parse_identifier);
    let names = names.map_err(no_names)?;
    parser.expect_token(&Token::EOF).map_err(no_names)?;
    let normalizer = IdentNormalizer::new(options.enable_ident_normalization);
    Ok(names
        .into_iter()
        .map(|name| normalizer.normalize(name))
        .collect())
}

/// Some keys, given column by column, as texts; a single NULL stays one.
fn shown(keys: &[ArrayRef], rows: &[usize]) -> Result<StringArray> {
    let options = FormatOptions::default().with_null("NULL");
    let columns = keys.iter();
    let columns = columns.map(|column| ArrayFormatter::try_new(column, &options));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let key = |row: usize| match keys {
        [key] if key.is_null(row) => Ok(None),
        _ => {
            let values = columns
                .iter()
                .map(|column| column.value(row).try_to_string());
            Ok(Some(values.collect::<Result<Vec<_>, _>>()?.join(", ")))
        }
    };
    rows.iter().map(|row| key(*row)).collect()
}

/// A join of an input with itself.
fn self_join(
    input: &Arc<dyn ExecutionPlan>,
    keys: &[PhysicalExprRef],
    time: PhysicalExprRef,
) -> Result<AsOfJoinExec> {
    let condition = MatchCondition {
        left: Arc::clone(&time),
        op: MatchOp::GtEq,
        right: time,
    };
    let mut spec = AsOfSpec::new(AsOfJoinType::Inner, condition);
    let key = |key: &PhysicalExprRef| AsOfKey {
        left: Arc::clone(key),
        right: Arc::clone(key),
        null_equals_null: false,
    };
    spec.on = keys.iter().map(key).collect();
    let inputs = (Arc::clone(input), Arc::clone(input));
    AsOfJoinExec::try_new(inputs.0, inputs.1, spec, AsOfStrategy::SortMerge)
}
