//! Names and fill values of the right columns of a join.

use datafusion::common::{Column, ExprSchema, HashSet, Result, ScalarValue, plan_err};
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};

/// What to do with right columns behind a join.
#[derive(Debug, Clone, Default)]
pub(super) struct RightColumns {
    /// For names that the left has too.
    pub prefix: Option<String>,
    /// For names that the left has too.
    pub suffix: Option<String>,
    pub fill: Vec<FillNull>,
}

/// A value for NULL.
#[derive(Debug, Clone)]
pub(super) struct FillNull {
    pub value: ScalarValue,
    /// All columns it can be cast for if empty.
    pub columns: Vec<String>,
}

impl RightColumns {
    /// A projection of a join of which the first `left_columns` columns are the left's.
    ///
    /// # Errors
    /// Planning errors for a column to be filled that is none, a value that its type has not,
    /// and for names that clash still.
    pub(super) fn apply(&self, join: LogicalPlan, left_columns: usize) -> Result<LogicalPlan> {
        let renames = self.prefix.is_some() || self.suffix.is_some();
        if !renames && self.fill.is_empty() {
            return Ok(join);
        }
        let columns = join.schema().columns();
        let (left, right) = columns.split_at(left_columns.min(columns.len()));
        self.check_names(right)?;
        let left_names: HashSet<&str> = left.iter().map(|column| column.name.as_str()).collect();
        let mut taken: HashSet<String> = columns.iter().map(|c| c.name.clone()).collect();
        let mut exprs: Vec<Expr> = left.iter().cloned().map(Expr::Column).collect();
        for column in right {
            let filled = self.filled(column, &join)?;
            let clashes = renames && left_names.contains(column.name.as_str());
            exprs.push(match filled {
                filled if clashes => {
                    let name = self.renamed(&column.name);
                    if !taken.insert(name.clone()) {
                        return plan_err!(
                            "right column {column} cannot be named {name}: there is another of \
                             that name, choose another prefix or suffix"
                        );
                    }
                    filled.alias(name)
                }
                plain @ Expr::Column(_) => plain,
                filled => filled.alias_qualified(column.relation.clone(), column.name.clone()),
            });
        }
        LogicalPlanBuilder::from(join).project(exprs)?.build()
    }

    fn renamed(&self, name: &str) -> String {
        let affix = |text: &Option<String>| text.clone().unwrap_or_default();
        format!("{}{name}{}", affix(&self.prefix), affix(&self.suffix))
    }

    fn check_names(&self, right: &[Column]) -> Result<()> {
        let named = self.fill.iter().flat_map(|fill| &fill.columns);
        for name in named {
            if !right.iter().any(|column| column.name == *name) {
                let known: Vec<&str> = right.iter().map(|column| column.name.as_str()).collect();
                return plan_err!(
                    "fill_null names {name}, which is no right column: there are {}",
                    known.join(", ")
                );
            }
        }
        Ok(())
    }

    fn filled(&self, column: &Column, join: &LogicalPlan) -> Result<Expr> {
        let data_type = join.schema().data_type(column)?;
        let mut values = vec![Expr::Column(column.clone())];
        for FillNull { value, columns } in &self.fill {
            match value.cast_to(data_type) {
                Ok(value) if columns.is_empty() || columns.contains(&column.name) => {
                    values.push(Expr::Literal(value, None));
                }
                Err(_) if columns.contains(&column.name) => {
                    return plan_err!(
                        "fill_null cannot put {value} into column {column} of type {data_type}"
                    );
                }
                _ => {}
            }
        }
        Ok(match values.len() {
            1 => values.swap_remove(0),
            _ => coalesce(values),
        })
    }
}
