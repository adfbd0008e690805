//! Types of the two sides that can be compared.
//!
//! Keys coerce as they would in `WHERE l.k = r.k`. As-of values are left as they are where
//! the kernel compares them exactly (different units, integers against floats); otherwise
//! they coerce as in `WHERE l.ts >= r.ts`, unless that would round.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{DFSchema, Result, plan_err};
use datafusion::logical_expr::type_coercion::binary::BinaryTypeCoercer;
use datafusion::logical_expr::{Expr, ExprSchemable, Operator};

use crate::kernel::domain::{TimeDomain, is_orderable};

/// An expression, and the schema that it reads.
pub(super) struct Operand<'a> {
    pub expr: &'a mut Expr,
    pub schema: &'a DFSchema,
}

impl Operand<'_> {
    fn data_type(&self) -> Result<DataType> {
        self.expr.get_type(self.schema)
    }

    fn cast(self, to: &DataType) -> Result<()> {
        *self.expr = std::mem::take(self.expr).cast_to(to, self.schema)?;
        Ok(())
    }
}

/// Casts a pair of keys to a common type, if they have none.
///
/// Floats leave their dictionaries: DataFusion compares and hashes the values of those as they
/// are, which tells zeros, and NaNs, of different sign apart.
pub(super) fn align_keys(left: Operand<'_>, right: Operand<'_>) -> Result<()> {
    let types = (left.data_type()?, right.data_type()?);
    let common = match types.0 == types.1 {
        true => types.0,
        false => {
            match BinaryTypeCoercer::new(&types.0, &Operator::Eq, &types.1).get_input_types() {
                Ok((to_left, to_right)) if to_left == to_right => to_left,
                _ => {
                    return plan_err!(
                        "ASOF JOIN keys of type {} and {} cannot be compared: cast one of them",
                        types.0,
                        types.1
                    );
                }
            }
        }
    };
    let common = match plain(&common) {
        float if float.is_floating() => float,
        _ => &common,
    };
    left.cast(common)?;
    right.cast(common)
}

/// Casts as-of values of both sides to types that the kernel compares exactly, if theirs are none.
pub(super) fn align_times(left: Operand<'_>, right: Operand<'_>) -> Result<()> {
    let (to_left, to_right) = comparable(&left.data_type()?, &right.data_type()?)?;
    left.cast(&to_left)?;
    right.cast(&to_right)
}

fn comparable(left: &DataType, right: &DataType) -> Result<(DataType, DataType)> {
    let (plain_left, plain_right) = (plain(left), plain(right));
    if TimeDomain::try_new(plain_left, plain_right).is_ok() {
        return Ok((plain_left.clone(), plain_right.clone()));
    }
    let refused = || {
        plan_err!(
            "an ASOF JOIN cannot compare as-of values of type {left} with {right}: \
             cast one side to the type of the other"
        )
    };
    // A time without a zone is read in the zone of the other side.
    if let DataType::Timestamp(_, Some(zone)) = plain_left
        && let Some(zoned_right) = zoned(plain_right, zone)
    {
        return Ok((plain_left.clone(), zoned_right));
    }
    if let DataType::Timestamp(_, Some(zone)) = plain_right
        && let Some(zoned_left) = zoned(plain_left, zone)
    {
        return Ok((zoned_left, plain_right.clone()));
    }
    let rounds = |a: &DataType, b: &DataType| a.is_floating() && b.is_decimal();
    if rounds(plain_left, plain_right) || rounds(plain_right, plain_left) {
        return refused();
    }
    let coercer = BinaryTypeCoercer::new(plain_left, &Operator::GtEq, plain_right);
    let Ok((to_left, to_right)) = coercer.get_input_types() else {
        return refused();
    };
    // Seconds beside a text stay seconds: nanoseconds cannot hold as many years.
    let least_changed = [
        (plain_left, &to_right),
        (&to_left, plain_right),
        (&to_left, &to_right),
    ];
    let fits = |types: &(&DataType, &DataType)| {
        is_orderable(types.0) && TimeDomain::try_new(types.0, types.1).is_ok()
    };
    match least_changed.into_iter().find(fits) {
        Some((to_left, to_right)) => Ok((to_left.clone(), to_right.clone())),
        None => refused(),
    }
}

fn plain(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, value) => value,
        other => other,
    }
}

/// The zoned type of a type without zone, in its own unit so that nothing overflows.
fn zoned(data_type: &DataType, zone: &Arc<str>) -> Option<DataType> {
    let unit = match data_type {
        DataType::Timestamp(unit, None) => *unit,
        DataType::Date32 => TimeUnit::Second,
        DataType::Date64 => TimeUnit::Millisecond,
        _ => return None,
    };
    Some(DataType::Timestamp(unit, Some(Arc::clone(zone))))
}
