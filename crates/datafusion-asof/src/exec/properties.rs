//! The schema of an as-of join, and what a plan may rely on of its rows.

use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::{JoinType, Result};
use datafusion::physical_expr::equivalence::join_equivalence_properties;
use datafusion::physical_expr::projection::ProjectionMapping;
use datafusion::physical_expr::{EquivalenceProperties, Partitioning};
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, PlanProperties};

use super::matching::Matching;
use super::strategy::AsOfStrategy;
use crate::spec::AsOfJoinType;

/// Left columns, then right columns, nullable where rows of the other side come out alone.
pub(super) fn join_schema(left: &Schema, right: &Schema, join_type: AsOfJoinType) -> SchemaRef {
    let side = |schema: &Schema, padded: bool| -> Vec<_> {
        let fields = schema.fields().iter().map(|field| match padded {
            true => Arc::new(Field::clone(field).with_nullable(true)),
            false => Arc::clone(field),
        });
        fields.collect()
    };
    let mut fields = side(left, join_type.keeps_unmatched_right());
    let mut metadata = left.metadata().clone();
    if join_type.has_right_columns() {
        fields.extend(side(right, join_type.keeps_unmatched_left()));
        metadata = right.metadata().clone();
        metadata.extend(left.metadata().clone());
    }
    Arc::new(Schema::new_with_metadata(fields, metadata))
}

/// Order, equalities and partitions: those of the left, where all rows come with one of it.
pub(super) fn properties(
    left: &Arc<dyn ExecutionPlan>,
    right: &Arc<dyn ExecutionPlan>,
    matching: &Matching,
    strategy: AsOfStrategy,
) -> Result<PlanProperties> {
    let join_type = matching.spec.join_type;
    let keeps_order = !join_type.keeps_unmatched_right();
    // Nothing of the right's own order or equalities holds for the rows chosen from it, and
    // what is constant on the left is NULL in right rows that come out alone.
    let of_left = match (keeps_order, strategy) {
        (true, AsOfStrategy::TimeSalted) => {
            let own: Vec<usize> = (0..matching.left_schema.fields().len()).collect();
            let own = ProjectionMapping::from_indices(&own, &left.schema())?;
            let orders = left.equivalence_properties();
            orders.project(&own, Arc::clone(&matching.left_schema))
        }
        (true, _) => left.equivalence_properties().clone(),
        (false, _) => EquivalenceProperties::new(left.schema()),
    };
    let mut orders = join_equivalence_properties(
        of_left,
        EquivalenceProperties::new(right.schema()),
        &JoinType::from(join_type),
        Arc::clone(&matching.joined),
        &[keeps_order, false],
        None,
        &[],
    )?;
    let mut partitioning = left.output_partitioning().clone();
    // Right rows that come out alone have no left key to be partitioned by, and the salt does
    // not come out.
    if join_type.keeps_unmatched_right() || strategy == AsOfStrategy::TimeSalted {
        partitioning = Partitioning::UnknownPartitioning(partitioning.partition_count());
    }
    if let Some(projection) = &matching.projection {
        let mapping = ProjectionMapping::from_indices(projection, &matching.joined)?;
        partitioning = partitioning.project(&mapping, &orders);
        orders = orders.project(&mapping, Arc::clone(&matching.columns.schema));
    }
    Ok(PlanProperties::new(
        orders,
        partitioning,
        match (strategy, keeps_order) {
            (AsOfStrategy::BroadcastLeft, _) => EmissionType::Final,
            (_, true) => EmissionType::Incremental,
            // Right rows that come out alone may have to wait for the end.
            (_, false) => EmissionType::Both,
        },
        left.boundedness(),
    ))
}
