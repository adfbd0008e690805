//! Columns that one as-of join makes for the next and that nobody wants.
//!
//! Of several joins in a chain only the last is below a projection: the keys and times of the
//! right sides before it, which nothing above the chain reads, would be fetched for every row and
//! handed on. So a join that takes in a projection asks for less from the join that is its left
//! input. DataFusion's `ProjectionPushdown`, which goes from the top down, has that one take in the
//! projection in its turn.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_expr::PhysicalExprRef;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};

use super::asof_join::AsOfJoinExec;
use super::matching::Matching;
use super::properties::join_schema;
use crate::spec::Side;

/// The left input and what is matched, over no more of the columns of a join below than are
/// wanted; `None` if the left input is no join or all that it makes is wanted.
pub(super) fn narrowed(
    left: &Arc<dyn ExecutionPlan>,
    matching: &Matching,
) -> Result<Option<(Arc<dyn ExecutionPlan>, Matching)>> {
    let (Some(projection), true) = (&matching.projection, left.is::<AsOfJoinExec>()) else {
        return Ok(None);
    };
    let columns = matching.left_schema.fields().len();
    let mut kept = projection.clone();
    for (side, expr) in matching.spec.expressions() {
        if matches!(side, Side::Left | Side::Both) {
            kept.extend(collect_columns(expr).iter().map(Column::index));
        }
    }
    kept.retain(|column| *column < columns);
    kept.sort_unstable();
    kept.dedup();
    if kept.len() == columns {
        return Ok(None);
    }
    let schema = left.schema();
    let wanted = kept.iter().map(|column| {
        let name = schema.field(*column).name();
        ProjectionExpr::new(Arc::new(Column::new(name, *column)), name.clone())
    });
    let left = Arc::new(ProjectionExec::try_new(wanted, Arc::clone(left))?);
    let narrow = Narrow { kept, columns };
    let spec = matching.spec.try_map(|side, expr| match side {
        Side::Left | Side::Both => narrow.expr(expr),
        Side::Right | Side::Neither => Ok(Arc::clone(expr)),
    })?;
    let projection = projection.iter().map(|column| narrow.column(*column));
    let (of_left, of_right) = (left.schema(), &matching.right_schema);
    let joined = join_schema(&of_left, of_right, spec.join_type);
    let narrowed = Matching::try_new(spec, &of_left, of_right, joined)?
        .with_carried(matching.carried.clone())?
        .with_projection(Some(projection.collect()))?;
    Ok(Some((left, narrowed)))
}

/// Left columns, followed by right columns, of which some of the left go.
struct Narrow {
    /// Those left columns that stay, ascending.
    kept: Vec<usize>,
    /// The left columns before.
    columns: usize,
}

impl Narrow {
    fn column(&self, column: usize) -> usize {
        match column.checked_sub(self.columns) {
            Some(right) => self.kept.len() + right,
            None => self.kept.partition_point(|kept| *kept < column),
        }
    }

    fn expr(&self, expr: &PhysicalExprRef) -> Result<PhysicalExprRef> {
        let narrower = Arc::clone(expr).transform(|expr| {
            let narrower = expr.downcast_ref::<Column>().map(|column| {
                let index = self.column(column.index());
                Arc::new(Column::new(column.name(), index)) as _
            });
            Ok(match narrower {
                Some(column) => Transformed::yes(column),
                None => Transformed::no(expr),
            })
        })?;
        Ok(narrower.data)
    }
}
