//! [`AsOfJoinNode`]: the as-of join in a logical plan.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use datafusion::common::{DFSchema, DFSchemaRef, Result, plan_err};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

use super::align::{Operand, align_keys, align_times};
use crate::spec::{AsOfJoinType, AsOfSpec};

/// The logical as-of join of two plans.
///
/// Its columns are those of the left input and, but for semi and anti joins, those of the
/// right; those of a side are nullable if a row of the other may come out alone. As-of values and
/// keys of the two sides have types that the physical join compares as they are. The casts that this
/// takes are part of the expressions; they are added whenever the node is made, because an input or an
/// expression may change its type when DataFusion's own coercion comes to it (`CASE`, for example).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AsOfJoinNode {
    left: Arc<LogicalPlan>,
    right: Arc<LogicalPlan>,
    spec: AsOfSpec<Expr>,
    schema: DFSchemaRef,
}

// The schema follows from the rest.
impl PartialOrd for AsOfJoinNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let own = (&self.left, &self.right, &self.spec);
        own.partial_cmp(&(&other.left, &other.right, &other.spec))
    }
}

impl AsOfJoinNode {
    /// A join of two plans; left expressions read the left plan, right ones the right.
    ///
    /// # Errors
    /// A planning error if the two plans have a column of the same qualified name, or if keys or
    /// as-of values cannot be compared.
    pub fn try_new(
        left: Arc<LogicalPlan>,
        right: Arc<LogicalPlan>,
        mut spec: AsOfSpec<Expr>,
    ) -> Result<Self> {
        for key in &mut spec.on {
            align_keys(
                Operand {
                    expr: &mut key.left,
                    schema: left.schema(),
                },
                Operand {
                    expr: &mut key.right,
                    schema: right.schema(),
                },
            )?;
        }
        let condition = &mut spec.match_condition;
        align_times(
            Operand {
                expr: &mut condition.left,
                schema: left.schema(),
            },
            Operand {
                expr: &mut condition.right,
                schema: right.schema(),
            },
        )?;
        let schema = schema(left.schema(), right.schema(), spec.join_type)?;
        Ok(Self {
            left,
            right,
            spec,
            schema: Arc::new(schema),
        })
    }

    /// The left input: the probe side.
    pub fn left(&self) -> &Arc<LogicalPlan> {
        &self.left
    }

    /// The right input: the build side.
    pub fn right(&self) -> &Arc<LogicalPlan> {
        &self.right
    }

    /// What is joined.
    pub fn spec(&self) -> &AsOfSpec<Expr> {
        &self.spec
    }
}

fn schema(left: &DFSchema, right: &DFSchema, join_type: AsOfJoinType) -> Result<DFSchema> {
    let side = |schema: &DFSchema, padded: bool| -> Vec<_> {
        let fields = schema.iter().map(|(qualifier, field)| {
            let field = match padded {
                true => Arc::new(field.as_ref().clone().with_nullable(true)),
                false => Arc::clone(field),
            };
            (qualifier.cloned(), field)
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
    let schema = DFSchema::new_with_metadata(fields, metadata)?;
    if join_type.keeps_unmatched_right() {
        return Ok(schema);
    }
    // A left row comes out at most once, so what identified it still does.
    schema.with_functional_dependencies(left.functional_dependencies().clone())
}

impl UserDefinedLogicalNodeCore for AsOfJoinNode {
    fn name(&self) -> &str {
        "AsOfJoin"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.left, &self.right]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        let expressions = self.spec.expressions();
        expressions.map(|(_, expr)| expr.clone()).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AsOfJoin: {}", self.spec)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let [left, right] = <[LogicalPlan; 2]>::try_from(inputs)
            .or_else(|inputs| plan_err!("AsOfJoin has two inputs, not {}", inputs.len()))?;
        // Rewritten expressions come aliased to the names they had.
        let mut exprs = exprs.into_iter().map(Expr::unalias);
        let spec = self.spec.try_map(|_, _| match exprs.next() {
            Some(expr) => Ok(expr),
            None => plan_err!("AsOfJoin is missing an expression"),
        })?;
        Self::try_new(Arc::new(left), Arc::new(right), spec)
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let left_columns = self.left.schema().fields().len();
        let (left, right): (Vec<_>, Vec<_>) = output_columns
            .iter()
            .partition(|column| **column < left_columns);
        let right = right.into_iter().map(|column| column - left_columns);
        Some(vec![left, right.collect()])
    }
}
