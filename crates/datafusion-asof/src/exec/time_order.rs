//! The time order that a merge asks of its inputs.

use std::sync::Arc;

use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::Schema;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Literal};
use datafusion::physical_expr::{LexOrdering, PhysicalExprRef, PhysicalSortExpr};
use datafusion::scalar::ScalarValue;

use super::asof_join::AsOfJoinExec;
use super::row_place::row_place;
use crate::kernel::ties::chosen_last;
use crate::spec::AsOfDirection;

impl AsOfJoinExec {
    /// The orders of the left and of the right.
    pub(super) fn time_orders(&self) -> Result<[LexOrdering; 2]> {
        let condition = &self.spec().match_condition;
        // Where NULLs come matters only inside of lists and structs, which compare with them
        // first; elsewhere it is as in DataFusion's default order, so that it is found declared.
        let nested = condition.left.data_type(&self.left().schema())?.is_nested();
        let options = match condition.op.direction() {
            AsOfDirection::Backward => SortOptions::new(false, nested),
            AsOfDirection::Forward => SortOptions::new(true, !nested),
            AsOfDirection::Nearest => return exec_err!("nearest merges in no order"),
        };
        let place_options = SortOptions::new(options.descending, false);
        let left = sortable(&condition.left, &self.left().schema())?;
        let right = sortable(&condition.right, &self.right().schema())?;
        let place = PhysicalSortExpr::new(row_place(self.right()), place_options);
        // The last row seen is the one that is chosen.
        let ties = self.spec().ties.iter();
        let ties =
            ties.map(|tie| PhysicalSortExpr::new(Arc::clone(&tie.expr), chosen_last(tie.options)));
        let right = std::iter::once(PhysicalSortExpr::new(right, options));
        let orders = [
            LexOrdering::new([PhysicalSortExpr::new(left, options)]),
            LexOrdering::new(right.chain(ties).chain([place])),
        ];
        match orders {
            [Some(left), Some(right)] => Ok([left, right]),
            _ => exec_err!("an ASOF JOIN has no time to order by"),
        }
    }
}

/// The expression to sort as-of values by: DataFusion sorts `-0.0` before `0.0`, here they
/// are equal, and adding zero makes them one.
fn sortable(time: &PhysicalExprRef, schema: &Schema) -> Result<PhysicalExprRef> {
    let data_type = time.data_type(schema)?;
    if !data_type.is_floating() {
        return Ok(Arc::clone(time));
    }
    let zero = ScalarValue::new_zero(&data_type)?;
    Ok(Arc::new(BinaryExpr::new(
        Arc::clone(time),
        Operator::Plus,
        Arc::new(Literal::new(zero)),
    )))
}
