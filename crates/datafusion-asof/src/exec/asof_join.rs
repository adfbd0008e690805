//! [`AsOfJoinExec`]: properties, requirements and display of the physical as-of join.
//!
//! The operator only says what it needs:
//!
//! | strategy | distribution | order |
//! |---|---|---|
//! | broadcast | any: every partition of the right is read | none |
//! | broadcast of the left | any | none |
//! | broadcast of RIGHT and FULL | left in one partition | none |
//! | broadcast on a cluster | right in one partition, whole for each task | none |
//! | sort-merge with keys | both co-partitioned on the keys | left by time, right by (time, ties, place) |
//! | sort-merge without keys | both in one partition | the same |
//! | sort-merge of sides that come in time order | both in one partition | the same |
//! | sort-merge that orders in memory | as sort-merge | none |
//! | time-salted | both co-partitioned on the salt | as sort-merge, or none |
//!
//! A sort-merge orders in memory where one row per key is not all that a merge has to remember:
//! for `nearest`, and for predicates that have a say in which candidate is chosen. A time-salted
//! join is such a join over salted inputs ([`time_salt`](super::time_salt)); it orders in memory
//! wherever its right side fits.
//!
//! DataFusion's `EnsureRequirements` rule adds what is missing. Time ascends for a backward
//! join and descends for a forward one, with NULLs last and first, so that declared orders
//! and their reverses can be used. Left order is kept by every strategy and declared.

use std::fmt::{self, Formatter};
use std::sync::{Arc, OnceLock};

use datafusion::arrow::compute::SortOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, exec_err, plan_err};
use datafusion::config::ConfigOptions;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::DynamicFilterPhysicalExpr;
use datafusion::physical_expr::{
    OrderingRequirements, PhysicalExpr, PhysicalExprRef, PhysicalSortExpr,
};
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterDescription, FilterPushdownPhase, FilterPushdownPropagation,
};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::projection::{
    EmbeddedProjection, ProjectionExec, try_embed_projection,
};
use datafusion::physical_plan::{
    ChildStats, DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties,
    InputDistributionRequirements, PlanProperties, StatisticsArgs, apply_expression_roots,
};

use super::build_side::BuildSide;
use super::dynamic_filter::{filters_for_inputs, own_filter};
use super::indexed::{broadcast_stream, partitioned_stream};
use super::left_side::{LeftSide, left_indexed_stream, with_same_left};
use super::matching::Matching;
use super::metrics::with_balance;
use super::narrow_left::narrowed;
use super::properties::{join_schema, properties};
use super::row_place::{has_row_place, with_row_place};
use super::shared_build::{BuildFuture, SharedBuild};
use super::sort_merge::sort_merge_stream;
use super::strategy::AsOfStrategy;
use super::time_salt::{KnownSkew, carried, has_salt, salt};
use crate::spec::{AsOfJoinType, AsOfSpec, NullPolicy, Side};

/// The physical as-of join: left columns, then the right columns of each row's match.
///
/// Built by [`AsOfExtensionPlanner`](crate::AsOfExtensionPlanner). Its requirements must be
/// enforced, by DataFusion's `EnsureRequirements` rule, before it is executed.
#[derive(Debug)]
pub struct AsOfJoinExec {
    left: Arc<dyn ExecutionPlan>,
    /// The right input with the place column behind its own.
    right: Arc<dyn ExecutionPlan>,
    matching: Arc<Matching>,
    strategy: AsOfStrategy,
    reason: Arc<str>,
    memory_limit: Option<usize>,
    /// Whether partitions index their right rows even if these could be merged.
    pub(super) indexes_partitions: bool,
    /// Whether both sides come in time order, in one partition each, and are merged as they come.
    pub(super) streams: bool,
    /// Tasks with no memory in common execute some partitions each.
    distributed: bool,
    /// Known from planning on until the strategy is chosen.
    pub(super) skew: KnownSkew,
    build: SharedBuild<BuildFuture<BuildSide>>,
    left_side: SharedBuild<LeftSide>,
    /// Filters the scan of the side that is read last.
    dynamic_filter: Option<Arc<DynamicFilterPhysicalExpr>>,
    /// The inputs as they are read.
    pub(super) read: OnceLock<[Arc<dyn ExecutionPlan>; 2]>,
    metrics: ExecutionPlanMetricsSet,
    properties: Arc<PlanProperties>,
}

impl AsOfJoinExec {
    /// An as-of join of two plans.
    ///
    /// # Errors
    /// Planning errors for keys or as-of values whose types do not fit each other, and for a
    /// tolerance that is no constant, NULL, negative, of varying length or of a type that
    /// does not fit the as-of values.
    pub fn try_new(
        left: Arc<dyn ExecutionPlan>,
        right: Arc<dyn ExecutionPlan>,
        spec: AsOfSpec<PhysicalExprRef>,
        strategy: AsOfStrategy,
    ) -> Result<Self> {
        let schema = join_schema(&left.schema(), &right.schema(), spec.join_type);
        let matching = Matching::try_new(spec, &left.schema(), &right.schema(), schema)?;
        let right = with_row_place(right)?;
        Self::over(
            left,
            right,
            Arc::new(matching),
            strategy,
            "as constructed".into(),
        )
    }

    pub(super) fn over(
        left: Arc<dyn ExecutionPlan>,
        right: Arc<dyn ExecutionPlan>,
        matching: Arc<Matching>,
        strategy: AsOfStrategy,
        reason: Arc<str>,
    ) -> Result<Self> {
        if strategy == AsOfStrategy::BroadcastLeft && !matching.can_index_left() {
            return plan_err!("this ASOF JOIN cannot be executed as {strategy}");
        }
        if !has_row_place(&right) {
            return exec_err!("the right input of an ASOF JOIN lost its place column");
        }
        let is_salted = has_salt(&matching, Side::Left, left.as_ref())
            && has_salt(&matching, Side::Right, right.as_ref());
        if strategy == AsOfStrategy::TimeSalted && !is_salted {
            return plan_err!(
                "a time-salted ASOF JOIN has no salt: AsOfJoinExec::time_salted adds it"
            );
        }
        let properties = properties(&left, &right, &matching, strategy)?;
        Ok(Self {
            left,
            right,
            matching,
            strategy,
            reason,
            memory_limit: None,
            indexes_partitions: false,
            streams: false,
            distributed: false,
            skew: Ok(None),
            build: SharedBuild::default(),
            left_side: SharedBuild::default(),
            dynamic_filter: None,
            read: OnceLock::new(),
            metrics: ExecutionPlanMetricsSet::new(),
            properties: Arc::new(properties),
        })
    }

    pub(super) fn with_inputs(
        &self,
        left: Arc<dyn ExecutionPlan>,
        right: Arc<dyn ExecutionPlan>,
    ) -> Result<Self> {
        let (matching, reason) = (Arc::clone(&self.matching), Arc::clone(&self.reason));
        let join = Self::over(left, right, matching, self.strategy, reason)?;
        Ok(join.known_as(self))
    }

    /// The same join, executed another way; `reason` is what `EXPLAIN` gives for it.
    ///
    /// # Errors
    /// A planning error for a strategy that the join does not [allow](Self::allows), and for
    /// [`AsOfStrategy::TimeSalted`], which needs to know more: see [`Self::time_salted`].
    pub fn with_strategy(
        &self,
        strategy: AsOfStrategy,
        reason: impl Into<Arc<str>>,
    ) -> Result<Self> {
        self.executed_as(self.own_inputs()?, strategy, reason.into())
    }

    pub(super) fn executed_as(
        &self,
        (left, right): (Arc<dyn ExecutionPlan>, Arc<dyn ExecutionPlan>),
        strategy: AsOfStrategy,
        reason: Arc<str>,
    ) -> Result<Self> {
        let carried = match strategy {
            AsOfStrategy::TimeSalted => Some(carried(&self.matching)),
            _ => None,
        };
        let matching = Arc::new(self.matching.with_carried(carried)?);
        let join = Self::over(left, right, matching, strategy, reason)?;
        let join = join.with_memory_limit(self.memory_limit);
        Ok(join.with_distributed(self.distributed))
    }

    /// Whether the join can be executed in a way; [`AsOfStrategy::Broadcast`] and
    /// [`AsOfStrategy::SortMerge`] are for every join.
    ///
    /// [`AsOfStrategy::BroadcastLeft`] is for those that take the one nearest right row, backward
    /// or forward, by a time of at most 64 bits and without `TIES BY`, `IGNORE NULLS` or a
    /// further predicate that compares the sides, and of which no right row comes out alone; not for
    /// [distributed](Self::with_distributed) joins, where no task sees all of the right.
    ///
    /// [`AsOfStrategy::TimeSalted`] is for those without a further predicate that compares the
    /// sides, and of which no right row comes out alone.
    pub fn allows(&self, strategy: AsOfStrategy) -> bool {
        match strategy {
            AsOfStrategy::Broadcast | AsOfStrategy::SortMerge => true,
            AsOfStrategy::BroadcastLeft => self.matching.can_index_left() && !self.distributed,
            AsOfStrategy::TimeSalted => self.hinders_salt().is_none(),
        }
    }

    /// Why the join does not allow [`AsOfStrategy::TimeSalted`], if it does not.
    pub(crate) fn hinders_salt(&self) -> Option<&'static str> {
        self.matching.hinders_salt()
    }

    /// Whether every partition of the right input comes in time order, so far as is known.
    pub(crate) fn right_in_time_order(&self) -> bool {
        let right = &self.matching.spec.match_condition.right;
        let orders = self.right.equivalence_properties();
        [
            SortOptions::new(false, false),
            SortOptions::new(false, true),
        ]
        .into_iter()
        .any(|options| {
            let order = PhysicalSortExpr::new(Arc::clone(right), options);
            orders.ordering_satisfy([order]).unwrap_or(false)
        })
    }

    /// The same join, planned for a memory pool of so many bytes; `None` if it has no limit.
    /// [`AsOfJoinSelection`](crate::AsOfJoinSelection) chooses by it.
    pub fn with_memory_limit(mut self, bytes: Option<usize>) -> Self {
        self.memory_limit = bytes;
        self
    }

    /// The same join, executed by tasks that have no memory in common and some of the partitions
    /// each: what is broadcast is then whole for every task, instead of shared by all.
    pub fn with_distributed(mut self, distributed: bool) -> Self {
        self.distributed = distributed;
        self
    }

    /// What [`Self::with_distributed`] said.
    pub fn is_distributed(&self) -> bool {
        self.distributed
    }

    /// The same join, of which as much is known as of another.
    fn known_as(self, other: &Self) -> Self {
        Self {
            memory_limit: other.memory_limit,
            indexes_partitions: other.indexes_partitions,
            streams: other.streams,
            distributed: other.distributed,
            skew: other.skew.clone(),
            dynamic_filter: other.dynamic_filter.clone(),
            ..self
        }
    }

    /// Whether both sides are merged in time order.
    pub(super) fn merges_in_order(&self) -> bool {
        self.matching.merges_in_order() && !self.indexes_partitions
    }

    /// Whether a sort-merge has one partition.
    fn is_one_partition(&self) -> bool {
        self.matching.spec.on.is_empty() || self.streams
    }

    /// What [`Self::with_memory_limit`] said.
    pub fn memory_limit(&self) -> Option<usize> {
        self.memory_limit
    }

    /// The left input.
    pub fn left(&self) -> &Arc<dyn ExecutionPlan> {
        &self.left
    }

    /// The right input, with a place column behind its own columns.
    pub fn right(&self) -> &Arc<dyn ExecutionPlan> {
        &self.right
    }

    /// What is joined.
    pub fn spec(&self) -> &AsOfSpec<PhysicalExprRef> {
        &self.matching.spec
    }

    /// How the join executes.
    pub fn strategy(&self) -> AsOfStrategy {
        self.strategy
    }

    #[cfg(feature = "proto")]
    pub(super) fn reason(&self) -> &Arc<str> {
        &self.reason
    }

    pub(super) fn matching(&self) -> &Arc<Matching> {
        &self.matching
    }

    pub(super) fn build(&self) -> &SharedBuild<BuildFuture<BuildSide>> {
        &self.build
    }

    pub(super) fn left_side(&self) -> &SharedBuild<LeftSide> {
        &self.left_side
    }

    pub(super) fn dynamic_filter(&self) -> Option<&Arc<DynamicFilterPhysicalExpr>> {
        self.dynamic_filter.as_ref()
    }

    pub(super) fn metrics_set(&self) -> &ExecutionPlanMetricsSet {
        &self.metrics
    }

    fn output_names(&self) -> String {
        let fields = self.matching.columns.schema.fields().iter();
        let names: Vec<&str> = fields.map(|field| field.name().as_str()).collect();
        names.join(", ")
    }
}

impl EmbeddedProjection for AsOfJoinExec {
    fn with_projection(&self, projection: Option<Vec<usize>>) -> Result<Self> {
        let matching = self.matching.with_projection(projection)?;
        let (left, matching) = match narrowed(&self.left, &matching)? {
            Some(narrowed) if self.dynamic_filter.is_none() => narrowed,
            _ => (Arc::clone(&self.left), matching),
        };
        let (right, reason) = (Arc::clone(&self.right), Arc::clone(&self.reason));
        let join = Self::over(left, right, Arc::new(matching), self.strategy, reason)?;
        Ok(join.known_as(self))
    }
}

impl DisplayAs for AsOfJoinExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut Formatter<'_>) -> fmt::Result {
        let spec = &self.matching.shown;
        match t {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                let (strategy, reason) = (self.strategy, &self.reason);
                write!(f, "AsOfJoinExec: strategy={strategy} ({reason}), {spec}")?;
                if with_same_left(self).is_some() {
                    f.write_str(", left index of the join below")?;
                }
                match self.matching.projection {
                    Some(_) => write!(f, ", projection=[{}]", self.output_names()),
                    None => Ok(()),
                }
            }
            DisplayFormatType::TreeRender => {
                writeln!(f, "strategy={}", self.strategy)?;
                writeln!(f, "reason={}", self.reason)?;
                if with_same_left(self).is_some() {
                    writeln!(f, "left index=of the join below")?;
                }
                writeln!(f, "join_type={}", spec.join_type)?;
                for key in &spec.on {
                    writeln!(f, "on={key}")?;
                }
                writeln!(f, "match={}", spec.match_condition)?;
                if let Some(tolerance) = &spec.tolerance {
                    writeln!(f, "tolerance={tolerance}")?;
                }
                if let Some(filter) = &spec.filter {
                    writeln!(f, "filter={filter}")?;
                }
                for tie in &spec.ties {
                    writeln!(f, "ties={tie}")?;
                }
                match spec.null_policy {
                    NullPolicy::RespectNulls => {}
                    NullPolicy::IgnoreNulls => writeln!(f, "nulls=ignore")?,
                }
                match self.matching.projection {
                    Some(_) => writeln!(f, "projection={}", self.output_names()),
                    None => Ok(()),
                }
            }
        }
    }
}

impl ExecutionPlan for AsOfJoinExec {
    fn name(&self) -> &'static str {
        "AsOfJoinExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        match self.strategy {
            AsOfStrategy::Broadcast | AsOfStrategy::BroadcastLeft => {
                InputDistributionRequirements::new(vec![
                    match self.matching.spec.join_type.keeps_unmatched_right() {
                        true => Distribution::SinglePartition,
                        false => Distribution::UnspecifiedDistribution,
                    },
                    match self.distributed {
                        true => Distribution::SinglePartition,
                        false => Distribution::UnspecifiedDistribution,
                    },
                ])
            }
            AsOfStrategy::TimeSalted => {
                let salted = |side| Distribution::KeyPartitioned(vec![salt(&self.matching, side)]);
                InputDistributionRequirements::co_partitioned(vec![
                    salted(Side::Left),
                    salted(Side::Right),
                ])
            }
            AsOfStrategy::SortMerge if self.is_one_partition() => {
                InputDistributionRequirements::new(vec![Distribution::SinglePartition; 2])
            }
            AsOfStrategy::SortMerge => {
                let [left, right] = self.matching.partition_keys.clone();
                InputDistributionRequirements::co_partitioned(vec![
                    Distribution::KeyPartitioned(left),
                    Distribution::KeyPartitioned(right),
                ])
            }
        }
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        match self.strategy {
            AsOfStrategy::Broadcast | AsOfStrategy::BroadcastLeft => vec![None, None],
            _ if !self.merges_in_order() => vec![None, None],
            AsOfStrategy::SortMerge | AsOfStrategy::TimeSalted => match self.time_orders() {
                Ok(orders) => orders.map(|order| Some(order.into())).to_vec(),
                // Checked at construction; execution refuses what is left.
                Err(_) => vec![None, None],
            },
        }
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        // A parent's order is translated as if the columns of the inputs came out one behind the
        // other, and the salt does not. And DataFusion takes a node that maintains order for
        // one that keeps rows: the LIMIT of a sort that a merge of sorted partitions below makes
        // needless goes to that merge (`replace_with_order_preserving_variants`). Joins that
        // drop rows keep the left's order too, and declare it (`properties`).
        let keeps_order = self.matching.spec.join_type == AsOfJoinType::Left
            && self.strategy != AsOfStrategy::TimeSalted;
        vec![keeps_order, false]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        let keyed = !self.is_one_partition();
        match self.strategy {
            AsOfStrategy::Broadcast | AsOfStrategy::BroadcastLeft => {
                vec![
                    !self.matching.spec.join_type.keeps_unmatched_right(),
                    !self.distributed,
                ]
            }
            AsOfStrategy::SortMerge => vec![keyed, keyed],
            AsOfStrategy::TimeSalted => vec![true, true],
        }
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.left, &self.right]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        apply_expression_roots(self.matching.spec.expressions().map(|(_, expr)| expr), f)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let [left, right] = <[_; 2]>::try_from(children)
            .or_else(|children| exec_err!("AsOfJoinExec has two inputs, not {}", children.len()))?;
        Ok(Arc::new(self.with_inputs(left, right)?))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        match self.strategy {
            AsOfStrategy::Broadcast => broadcast_stream(self, partition, &context),
            AsOfStrategy::BroadcastLeft => left_indexed_stream(self, partition, &context),
            _ if !self.merges_in_order() => partitioned_stream(self, partition, &context),
            AsOfStrategy::SortMerge | AsOfStrategy::TimeSalted => {
                self.time_orders()?;
                sort_merge_stream(self, partition, &context)
            }
        }
    }

    fn gather_filters_for_pushdown(
        &self,
        phase: FilterPushdownPhase,
        parent_filters: Vec<PhysicalExprRef>,
        config: &ConfigOptions,
    ) -> Result<FilterDescription> {
        filters_for_inputs(self, phase, &parent_filters, config)
    }

    fn handle_child_pushdown_result(
        &self,
        _: FilterPushdownPhase,
        result: ChildPushdownResult,
        _: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        let own = own_filter(&result);
        let propagation = FilterPushdownPropagation::if_any(result);
        let Some(filter) = own else {
            return Ok(propagation);
        };
        let join = self.with_inputs(Arc::clone(&self.left), Arc::clone(&self.right))?;
        Ok(propagation.with_updated_node(Arc::new(Self {
            dynamic_filter: Some(filter),
            ..join
        })))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        let metrics = self.metrics.clone_inner();
        let is_partitioned = match self.strategy {
            AsOfStrategy::TimeSalted => true,
            AsOfStrategy::SortMerge => !self.is_one_partition(),
            AsOfStrategy::Broadcast | AsOfStrategy::BroadcastLeft => false,
        };
        Some(match is_partitioned {
            true => with_balance(metrics),
            false => metrics,
        })
    }

    fn try_swapping_with_projection(
        &self,
        projection: &ProjectionExec,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        match self.matching.projection {
            Some(_) => Ok(None),
            None => try_embed_projection(projection, self),
        }
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition), ChildStats::Skip]
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let mut statistics = match self.matching.spec.join_type {
            AsOfJoinType::Left => inputs[0].as_ref().clone(),
            AsOfJoinType::Right | AsOfJoinType::Full => {
                return Ok(Arc::new(Statistics::new_unknown(&self.schema())));
            }
            _ => inputs[0].as_ref().clone().to_inexact(),
        };
        statistics.total_byte_size = datafusion::common::stats::Precision::Absent;
        // Of the right columns nothing is known, and a salt does not come out.
        let columns = &mut statistics.column_statistics;
        columns.truncate(self.matching.left_schema.fields().len());
        columns.resize(self.matching.joined.fields().len(), Default::default());
        Ok(Arc::new(
            statistics.project(self.matching.projection.as_ref()),
        ))
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        match self.matching.spec.join_type {
            AsOfJoinType::Left => CardinalityEffect::Equal,
            AsOfJoinType::Right | AsOfJoinType::Full => CardinalityEffect::Unknown,
            _ => CardinalityEffect::LowerEqual,
        }
    }
}
