//! What `EXPLAIN ANALYZE` shows of an as-of join.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, Gauge, Metric, MetricBuilder, MetricCategory,
    MetricType, MetricValue, MetricsSet, RatioMetrics, Time,
};

use crate::kernel::rows::MatchCounts;
use crate::spec::Side;

fn rows(metrics: &ExecutionPlanMetricsSet, name: &'static str, partition: usize) -> Count {
    MetricBuilder::new(metrics)
        .with_type(MetricType::Summary)
        .with_category(MetricCategory::Rows)
        .counter(name, partition)
}

/// Metrics of matching left rows in one partition; DataFusion adds the partitions up.
#[derive(Debug)]
pub(super) struct ProbeMetrics {
    pub baseline: BaselineMetrics,
    left_rows: Count,
    matched: Count,
    null_key: Count,
    null_time: Count,
    no_key: Count,
    wrong_side: Count,
    beyond_tolerance: Count,
    filter: Count,
}

impl ProbeMetrics {
    pub(super) fn new(metrics: &ExecutionPlanMetricsSet, partition: usize) -> Self {
        let rows = |name| rows(metrics, name, partition);
        Self {
            baseline: BaselineMetrics::new(metrics, partition),
            left_rows: rows("left_rows"),
            matched: rows("matched_rows"),
            null_key: rows("unmatched_null_key"),
            null_time: rows("unmatched_null_time"),
            no_key: rows("unmatched_no_such_key"),
            wrong_side: rows("unmatched_wrong_side"),
            beyond_tolerance: rows("unmatched_beyond_tolerance"),
            filter: rows("unmatched_filter"),
        }
    }

    /// Counts left rows whose outcome is known.
    pub(super) fn record(&self, counts: MatchCounts) {
        self.left_rows.add(counts.total());
        self.matched.add(counts.matched);
        self.null_key.add(counts.null_key);
        self.null_time.add(counts.null_time);
        self.no_key.add(counts.no_key);
        self.wrong_side.add(counts.wrong_side);
        self.beyond_tolerance.add(counts.beyond_tolerance);
        self.filter.add(counts.refused);
    }
}

/// Left rows that a carried row gave their match, or with IGNORE NULLS a value of it.
pub(super) fn carry_matched_rows(metrics: &ExecutionPlanMetricsSet, partition: usize) -> Count {
    rows(metrics, "carry_matched_rows", partition)
}

/// Right rows that were gathered to be merged with an index of the left.
pub(super) fn gathered_rows(metrics: &ExecutionPlanMetricsSet) -> Count {
    rows(metrics, "gathered_rows", 0)
}

/// Metrics of reading and keeping right rows.
#[derive(Debug, Clone)]
pub(super) struct BuildMetrics {
    /// Reading keys and times and building what is searched, the input's time excluded.
    pub build_time: Time,
    pub right_rows: Count,
    /// The most bytes held for right rows at a time.
    pub peak_mem_used: Gauge,
}

impl BuildMetrics {
    pub(super) fn new(metrics: &ExecutionPlanMetricsSet, partition: usize) -> Self {
        Self {
            build_time: MetricBuilder::new(metrics).subset_time("build_time", partition),
            right_rows: rows(metrics, "right_rows", partition),
            peak_mem_used: MetricBuilder::new(metrics)
                .with_category(MetricCategory::Bytes)
                .gauge("peak_mem_used", partition),
        }
    }
}

/// Metrics of salting one partition of a side.
#[derive(Debug)]
pub(super) struct SaltMetrics {
    pub baseline: BaselineMetrics,
    /// Copies of right rows sent into other ranges.
    pub carry_rows: Option<Count>,
}

impl SaltMetrics {
    pub(super) fn new(metrics: &ExecutionPlanMetricsSet, partition: usize, side: Side) -> Self {
        Self {
            baseline: BaselineMetrics::new(metrics, partition),
            carry_rows: (side == Side::Right).then(|| rows(metrics, "carry_rows", partition)),
        }
    }
}

/// The metrics of a join, with what its largest partition reads over the mean of all. `119%` it is, and
/// not 1.19, because Ballista 55.0 fails for metrics of types of our own.
pub(super) fn with_balance(mut metrics: MetricsSet) -> MetricsSet {
    let mut rows_of: BTreeMap<usize, usize> = BTreeMap::new();
    for metric in metrics.iter() {
        if let Some(partition) = metric.partition()
            && ["left_rows", "right_rows"].contains(&metric.value().name())
        {
            *rows_of.entry(partition).or_default() += metric.value().as_usize();
        }
    }
    let largest = rows_of.values().max().copied().unwrap_or(0);
    let balance = RatioMetrics::new().with_display_raw_values(false);
    balance.set_part(largest * rows_of.len());
    balance.set_total(rows_of.values().sum());
    let balance = MetricValue::Ratio {
        name: "largest_partition_of_mean".into(),
        ratio_metrics: balance,
    };
    let balance = Metric::new(balance, None).with_type(MetricType::Summary);
    metrics.push(Arc::new(balance.with_category(MetricCategory::Rows)));
    metrics
}
