//! Plans as bytes: that a plan is the same afterwards, whoever executes which part of it, and that bytes
//! from anywhere do no harm.
//!
//! The fuzz sends every fifth plan too: see [`Setup::sent`](crate::engine::Setup).

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{MemTable, TableProvider};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{
    DataFusionError, Result, TableReference, exec_datafusion_err, not_impl_err,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Extension, LogicalPlan};
use datafusion::physical_expr::PartitioningSatisfaction;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::ensure_requirements::EnsureRequirements;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, displayable};
use datafusion::prelude::{DataFrame, SessionConfig, SessionContext};
use datafusion_asof::{AsOfLogicalCodec, AsOfPhysicalCodec, AsOfSql, AsOfStrategy, WithAsOf};
use datafusion_proto::bytes::{
    logical_plan_from_bytes_with_extension_codec, logical_plan_to_bytes_with_extension_codec,
    physical_plan_from_bytes_with_extension_codec, physical_plan_to_bytes_with_extension_codec,
};
use datafusion_proto::logical_plan::LogicalExtensionCodec;
use datafusion_proto::physical_plan::{DefaultPhysicalProtoConverter, PhysicalExtensionCodec};
use futures::TryStreamExt;

use crate::case::Answer;
use crate::engine::{STRATEGIES, compare, join, plan, rows};
use crate::fuzz::setting;
use crate::generate::generate;
use crate::types::Dice;

/// Where functions are found by their names.
static FUNCTIONS: LazyLock<Arc<TaskContext>> = LazyLock::new(|| SessionContext::new().task_ctx());

/// The plan that the bytes of a plan are decoded to.
///
/// # Errors
/// If there are no bytes, if they are no plan, or if it is another one.
pub(crate) fn sent(plan: &Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let codec = AsOfPhysicalCodec::default();
    let send = |plan: &Arc<dyn ExecutionPlan>| {
        let bytes = physical_plan_to_bytes_with_extension_codec(Arc::clone(plan), &codec)?;
        let decoded = physical_plan_from_bytes_with_extension_codec(&bytes, &FUNCTIONS, &codec)?;
        Ok::<_, DataFusionError>((bytes, decoded))
    };
    let shown =
        |plan: &Arc<dyn ExecutionPlan>| displayable(plan.as_ref()).indent(false).to_string();
    // A pin is not sent twice: whoever reads pins.
    let (_, decoded) = send(plan)?;
    let (bytes, again) = send(&decoded)?;
    let same = shown(plan) == shown(&decoded)
        && plan.schema() == decoded.schema()
        && bytes == send(&again)?.0;
    match same {
        true => Ok(decoded),
        false => Err(exec_datafusion_err!("it becomes\n{}", shown(&decoded))),
    }
}

/// The frame of the logical plan that the bytes of its logical plan are decoded to.
pub(crate) async fn sent_logical(frame: DataFrame, ctx: &SessionContext) -> Result<DataFrame> {
    let mut tables = HashMap::new();
    for catalog in ctx.catalog_names() {
        let catalog = ctx.catalog(&catalog).into_iter();
        let schemas = catalog.flat_map(|catalog| {
            let names = catalog.schema_names().into_iter();
            names.filter_map(move |name| catalog.schema(&name))
        });
        for schema in schemas.collect::<Vec<_>>() {
            for name in schema.table_names() {
                if let Some(table) = schema.table(&name).await? {
                    tables.insert(name, table);
                }
            }
        }
    }
    let codec = AsOfLogicalCodec::over(Arc::new(Tables(tables)));
    let (state, plan) = frame.into_parts();
    let bytes = logical_plan_to_bytes_with_extension_codec(&plan, &codec)?;
    let task = ctx.task_ctx();
    let decoded = logical_plan_from_bytes_with_extension_codec(&bytes, &task, &codec)?;
    let again = logical_plan_to_bytes_with_extension_codec(&decoded, &codec)?;
    match decoded.to_string() == plan.to_string() && again == bytes {
        true => Ok(DataFrame::new(state, decoded)),
        false => Err(exec_datafusion_err!("it becomes\n{decoded}")),
    }
}

/// A codec of someone else's, below ours: tables by name.
#[derive(Debug)]
struct Tables(HashMap<String, Arc<dyn TableProvider>>);

impl LogicalExtensionCodec for Tables {
    fn try_decode(&self, _: &[u8], _: &[LogicalPlan], _: &TaskContext) -> Result<Extension> {
        not_impl_err!("no node of ours")
    }

    fn try_encode(&self, _: &Extension, _: &mut Vec<u8>) -> Result<()> {
        not_impl_err!("no node of ours")
    }

    fn try_decode_table_provider(
        &self,
        _: &[u8],
        table: &TableReference,
        _: SchemaRef,
        _: &TaskContext,
    ) -> Result<Arc<dyn TableProvider>> {
        let found = self.0.get(table.table()).cloned();
        found.ok_or_else(|| exec_datafusion_err!("no table {table}"))
    }

    fn try_encode_table_provider(
        &self,
        _: &TableReference,
        _: Arc<dyn TableProvider>,
        _: &mut Vec<u8>,
    ) -> Result<()> {
        Ok(())
    }
}

fn context(target_partitions: usize) -> Arc<TaskContext> {
    let config = SessionConfig::new().with_target_partitions(target_partitions);
    Arc::new(TaskContext::default().with_session_config(config))
}

/// As on a cluster: every partition is executed alone, of a plan of its own, and some twice.
#[tokio::test]
async fn tasks_that_execute_one_partition() {
    for seed in 0..setting("ASOF_TASK_CASES", 40) {
        let case = generate(seed);
        let expected = case.expected();
        let context = context(3);
        for strategy in STRATEGIES {
            if strategy == AsOfStrategy::BroadcastLeft {
                continue;
            }
            let (left, right) = (case.left.source(), case.right.source());
            let whole = left
                .and_then(|left| join(&case, left, right?, strategy))
                .map(|join| Arc::new(join.with_distributed(true)) as Arc<dyn ExecutionPlan>)
                .and_then(|join| {
                    EnsureRequirements::new().optimize(join, context.session_config().options())
                })
                .expect("a plan");
            let mut answer: Answer = vec![];
            for partition in 0..whole.properties().partitioning.partition_count() {
                for attempt in 0..1 + partition % 2 {
                    let task = sent(&whole).expect("the same plan");
                    let batches: Vec<_> = (task.execute(partition, Arc::clone(&context)))
                        .expect("a stream")
                        .try_collect()
                        .await
                        .expect("rows");
                    if attempt == 0 {
                        answer.extend(rows(&batches));
                    }
                }
            }
            if let Err(problem) = compare(answer, &expected) {
                let plan = displayable(whole.as_ref()).indent(true);
                panic!("seed {seed}: {problem}\n{plan}\n{case}");
            }
        }
    }
}

/// A cluster looks once more whether a join that it was sent has the exchanges that it needs. Were it to add one,
/// that would run within tasks and deal rows out anew.
#[tokio::test]
async fn exchanges_are_those_that_a_sent_join_asks_for() -> Result<()> {
    let session = |partitions| {
        let config = SessionConfig::new().with_target_partitions(partitions);
        SessionContext::new_with_config(config).with_asof()
    };
    let (ctx, other) = (session(3), session(5).task_ctx());
    ctx.asof_sql("SET asof.strategy = 'sort_merge'").await?;
    let numbers = ctx
        .sql("SELECT * FROM generate_series(1, 9) AS t(n)")
        .await?;
    let (schema, batches) = (
        Arc::clone(numbers.schema().inner()),
        numbers.collect().await?,
    );
    let table = MemTable::try_new(schema, vec![batches; 3])?;
    ctx.register_table("t", Arc::new(table))?;
    let codec = AsOfPhysicalCodec::default();
    for key in [
        "Boolean", "Int8", "UInt64", "Float16", "Float32", "Float64", "Date32", "Utf8",
    ] {
        let side = format!("(SELECT arrow_cast(n % 2, '{key}') AS k, n AS ts FROM t)");
        for on in ["l.k = r.k", "l.k = r.k AND abs(l.ts) = abs(r.ts)"] {
            let sql = format!("SELECT 1 FROM {side} l ASOF JOIN {side} r ON {on} AND l.ts >= r.ts");
            let plan = ctx.asof_sql(&sql).await?.create_physical_plan().await?;
            let bytes = physical_plan_to_bytes_with_extension_codec(plan, &codec)?;
            let sent = physical_plan_from_bytes_with_extension_codec(&bytes, &other, &codec)?;
            let shown = displayable(sent.as_ref()).indent(false).to_string();
            let mut joins = 0;
            sent.apply(|node| {
                if node.name() == "AsOfJoinExec" {
                    joins += 1;
                    let needed = node.input_distribution_requirements();
                    let children = node.children().into_iter();
                    for (needed, child) in needed.per_child_distributions().zip(children) {
                        let (exchanged, orders) =
                            (child.output_partitioning(), child.equivalence_properties());
                        let satisfied = exchanged.satisfaction(needed, orders, false);
                        let exact = satisfied == PartitioningSatisfaction::Exact;
                        assert!(exact, "{key}: {needed:?} of\n{shown}");
                    }
                }
                Ok(TreeNodeRecursion::Continue)
            })?;
            assert_eq!(joins, 1, "{shown}");
        }
    }
    Ok(())
}

/// A node as bytes, and its inputs.
type Encoded = (Vec<u8>, Vec<Arc<dyn ExecutionPlan>>);

/// Our nodes of a plan, as bytes; but for scans, of which all that is said DataFusion says.
fn nodes(plan: &Arc<dyn ExecutionPlan>, found: &mut Vec<Encoded>) {
    let mut bytes = vec![];
    let codec = AsOfPhysicalCodec::default();
    let converter = DefaultPhysicalProtoConverter {};
    let children: Vec<_> = plan.children().into_iter().cloned().collect();
    if !plan.is::<DataSourceExec>()
        && codec
            .try_encode(Arc::clone(plan), &mut bytes, &converter)
            .is_ok()
    {
        found.push((bytes, children.clone()));
    }
    for child in &children {
        nodes(child, found);
    }
}

/// Bytes that were changed on the way are refused or say something else, and harm nobody.
#[test]
fn changed_bytes_do_no_harm() {
    let codec = AsOfPhysicalCodec::default();
    let converter = DefaultPhysicalProtoConverter {};
    let context = context(3);
    let (mut refused, mut taken) = (0, 0);
    for seed in 0..setting("ASOF_CODEC_CASES", 200) {
        let case = generate(seed);
        let dice = &mut Dice::new(seed);
        for strategy in STRATEGIES {
            let plan = plan(&case, strategy, &context).expect("a plan");
            let mut found = vec![];
            nodes(&plan, &mut found);
            assert!(!found.is_empty(), "the plan has nodes of ours");
            for (bytes, inputs) in found {
                for _ in 0..20 {
                    let mut changed = bytes.clone();
                    for _ in 0..1 + dice.below(3) {
                        // Most of what is said is said behind the format.
                        let at = dice.below(changed.len());
                        match dice.below(4) {
                            0 => changed.truncate(at.max(1)),
                            1 => changed.insert(at, dice.below(256) as u8),
                            2 => drop(changed.remove(at.min(changed.len() - 1))),
                            _ => changed[at] = dice.below(256) as u8,
                        }
                        if changed.len() < 2 {
                            break;
                        }
                    }
                    match codec.try_decode(&changed, &inputs, &context, &converter) {
                        Ok(_) => taken += 1,
                        Err(_) => refused += 1,
                    }
                }
            }
        }
    }
    println!("{refused} refused, {taken} taken");
    assert!(refused > taken, "{refused} refused, {taken} taken");
}

/// Bytes of which only the beginning is ours.
#[test]
fn random_bytes_do_no_harm() {
    let codec = AsOfPhysicalCodec::default();
    let logical = AsOfLogicalCodec::default();
    let converter = DefaultPhysicalProtoConverter {};
    let context = context(3);
    let dice = &mut Dice::new(7);
    for _ in 0..setting("ASOF_CODEC_CASES", 200) * 100 {
        let mut bytes = b"\0asof\x03".to_vec();
        bytes.extend((0..dice.below(64)).map(|_| dice.below(256) as u8));
        let refused = codec.try_decode(&bytes, &[], &context, &converter);
        let error = refused.expect_err("no node without inputs").to_string();
        assert!(!error.contains("reads format"), "{error}: {bytes:?}");
        assert!(
            logical.try_decode(&bytes, &[], &context).is_err(),
            "{bytes:?}"
        );
    }
}

#[test]
fn what_is_not_ours_is_left_to_the_codec_below() {
    let codec = AsOfPhysicalCodec::default();
    let converter = DefaultPhysicalProtoConverter {};
    let error = codec.try_decode(b"theirs", &[], &context(1), &converter);
    let error = error
        .expect_err("the default codec knows no node")
        .to_string();
    assert!(
        error.contains("PhysicalExtensionCodec is not provided"),
        "{error}"
    );
}
