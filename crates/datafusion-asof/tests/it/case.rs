//! One join to be tried: two tables, what to ask of them, and what the definition answers.

use std::fmt::{self, Display, Formatter, Write};

use datafusion::arrow::datatypes::{DataType, TimeUnit, i256};
use datafusion::scalar::ScalarValue;

use crate::oracle::{Op, Span, asof_join};
use crate::table::{Column, Table};
use crate::value::Value;

#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub seed: u64,
    pub left: Table,
    pub right: Table,
    pub op: Op,
    pub keep_unmatched: bool,
    pub tolerance: Option<Tolerance>,
    /// `ON … AND r.id >= n`: only these right rows are candidates.
    pub right_from: Option<i128>,
}

/// The same distance as the engine, the oracle and SQL are told it.
#[derive(Clone, Debug)]
pub(crate) struct Tolerance {
    pub scalar: ScalarValue,
    pub span: Span,
    pub sql: String,
}

/// A row of the answer: the left columns, then the right ones.
pub(crate) type Answer = Vec<Vec<Value>>;

impl Case {
    /// What the definition answers, in the order of the left rows.
    pub(crate) fn expected(&self) -> Answer {
        let mut right = self.right.oracle_rows();
        if let Some(from) = self.right_from {
            let ids = &self.right.columns[self.right.id].values;
            right.retain(|row| matches!(ids[row.place], Value::Int(id) if id >= from));
        }
        let span = self.tolerance.as_ref().map(|tolerance| tolerance.span);
        let chosen = asof_join(&self.left.oracle_rows(), &right, self.op, span);
        let mut answer = vec![];
        for (place, chosen) in chosen.into_iter().enumerate() {
            let right_values = match chosen {
                Some(place) => self.right.row(place),
                None if self.keep_unmatched => vec![Value::Null; self.right.columns.len()],
                None => continue,
            };
            answer.push([self.left.row(place), right_values].concat());
        }
        answer
    }

    /// The join in SQL, over tables `l` and `r`.
    pub(crate) fn sql(&self) -> String {
        let kind = if self.keep_unmatched { "LEFT" } else { "INNER" };
        let name = |table: &Table, index: usize| table.columns[index].name.clone();
        let mut on: Vec<String> = (self.left.keys.iter().zip(&self.right.keys))
            .map(|(&l, &r)| format!("l.{} = r.{}", name(&self.left, l), name(&self.right, r)))
            .collect();
        if let Some(from) = self.right_from {
            on.push(format!("r.{} >= {from}", name(&self.right, self.right.id)));
        }
        let mut sql = format!(
            "SELECT * FROM l ASOF {kind} JOIN r MATCH_CONDITION (l.{} {} r.{})",
            name(&self.left, self.left.time),
            self.op.sql(),
            name(&self.right, self.right.time),
        );
        if !on.is_empty() {
            let _ = write!(sql, " ON {}", on.join(" AND "));
        }
        if let Some(tolerance) = &self.tolerance {
            let _ = write!(sql, " TOLERANCE {}", tolerance.sql);
        }
        sql
    }
}

/// As a script for the shell, which is nearly a file of the SQL corpus.
impl Display for Case {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (name, table) in [("l", &self.left), ("r", &self.right)] {
            writeln!(
                f,
                "-- {name}: cuts {:?}, declared order {:?}",
                table.cuts, table.order
            )?;
            write_table(f, name, table)?;
        }
        writeln!(f, "{};", self.sql())?;
        if let Some(tolerance) = &self.tolerance {
            writeln!(f, "-- tolerance {:?}", tolerance.scalar)?;
        }
        Ok(())
    }
}

fn write_table(f: &mut Formatter<'_>, name: &str, table: &Table) -> fmt::Result {
    let columns: Vec<String> = (table.columns.iter().enumerate())
        .map(|(i, column)| {
            let not_null = if column.nullable {
                ""
            } else {
                " /* NOT NULL */"
            };
            format!(
                "{} AS {}{not_null}",
                cast(&format!("column{}", i + 1), &column.data_type),
                column.name
            )
        })
        .collect();
    writeln!(
        f,
        "CREATE TABLE {name} AS SELECT {} FROM (VALUES",
        columns.join(", ")
    )?;
    let rows = table.rows();
    for place in 0..rows.max(1) {
        let cells: Vec<String> = (table.columns.iter())
            .map(|column| match rows {
                0 => "NULL".to_string(), // VALUES must have a row: it is filtered away below
                _ => literal(&column.values[place], column),
            })
            .collect();
        let comma = if place + 1 < rows { "," } else { "" };
        writeln!(f, "  ({}){comma}", cells.join(", "))?;
    }
    writeln!(f, "){};", if rows == 0 { " WHERE false" } else { "" })
}

/// A string cast to the type, by way of the number that arrow keeps for it.
fn cast(cell: &str, data_type: &DataType) -> String {
    let by_way_of = match data_type {
        DataType::Date32 | DataType::Time32(_) => Some("Int32"),
        DataType::Date64
        | DataType::Time64(_)
        | DataType::Timestamp(_, _)
        | DataType::Duration(_) => Some("Int64"),
        DataType::FixedSizeBinary(_) | DataType::LargeBinary | DataType::BinaryView => {
            Some("Binary")
        }
        _ => None,
    };
    match by_way_of {
        Some(number) => format!("arrow_cast(arrow_cast({cell}, '{number}'), '{data_type}')"),
        None => format!("arrow_cast({cell}, '{data_type}')"),
    }
}

fn literal(value: &Value, column: &Column) -> String {
    match (value, &column.data_type) {
        (Value::Null, _) => "NULL".to_string(),
        (Value::Int(int), DataType::Decimal128(_, scale)) => {
            format!("'{}'", decimal_text(*int, *scale))
        }
        (Value::Int(int), DataType::Boolean) => format!("'{}'", *int != 0),
        (Value::Int(int), _) => format!("'{int}'"),
        (Value::Float(float), _) => format!("'{float:?}'"),
        (Value::Bytes(bytes), _) => match std::str::from_utf8(bytes) {
            Ok(text) => format!("'{text}'"),
            Err(_) => {
                format!(
                    "X'{}'",
                    bytes.iter().map(|b| format!("{b:02x}")).collect::<String>()
                )
            }
        },
    }
}

/// The digits of a decimal: arrow does not read every exponent.
fn decimal_text(unscaled: i128, scale: i8) -> String {
    let sign = if unscaled < 0 { "-" } else { "" };
    let scale = usize::try_from(scale).expect("the tests use no negative scale");
    let digits = format!("{:0>1$}", unscaled.unsigned_abs(), scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let point = if scale > 0 { "." } else { "" };
    format!("{sign}{whole}{point}{fraction}")
}

impl Tolerance {
    /// `count` units of time as a Duration.
    pub(crate) fn duration(count: i64, unit: TimeUnit) -> Self {
        let scalar = match unit {
            TimeUnit::Second => ScalarValue::DurationSecond(Some(count)),
            TimeUnit::Millisecond => ScalarValue::DurationMillisecond(Some(count)),
            TimeUnit::Microsecond => ScalarValue::DurationMicrosecond(Some(count)),
            TimeUnit::Nanosecond => ScalarValue::DurationNanosecond(Some(count)),
        };
        let data_type = DataType::Duration(unit);
        Self {
            scalar,
            span: Span::Exact(crate::oracle::on_scale(count.into(), &data_type)),
            sql: format!("arrow_cast({count}, '{data_type}')"),
        }
    }

    /// An interval of days and nanoseconds, each not negative.
    pub(crate) fn interval(days: i32, nanoseconds: i64) -> Self {
        let total = i128::from(days) * 86_400_000_000_000 + i128::from(nanoseconds);
        let sql = match nanoseconds {
            0 => format!("INTERVAL '{days} days'"),
            _ if days == 0 => format!("INTERVAL '{nanoseconds} nanoseconds'"),
            _ => format!("INTERVAL '{days} days {nanoseconds} nanoseconds'"),
        };
        Self {
            scalar: ScalarValue::new_interval_mdn(0, days, nanoseconds),
            span: Span::Exact(i256::from_i128(total)),
            sql,
        }
    }

    /// A number of the as-of column's own unit.
    pub(crate) fn count(count: i64, of: &DataType) -> Self {
        Self {
            scalar: ScalarValue::Int64(Some(count)),
            span: Span::Exact(crate::oracle::on_scale(count.into(), of)),
            sql: count.to_string(),
        }
    }

    /// A decimal number: `unscaled` times 10^-scale.
    pub(crate) fn decimal(unscaled: i128, precision: u8, scale: i8) -> Self {
        let data_type = DataType::Decimal128(precision, scale);
        Self {
            scalar: ScalarValue::Decimal128(Some(unscaled), precision, scale),
            span: Span::Exact(crate::oracle::on_scale(unscaled, &data_type)),
            sql: decimal_text(unscaled, scale),
        }
    }

    /// An integer where the as-of columns are floats.
    pub(crate) fn whole_float(count: i64) -> Self {
        Self {
            scalar: ScalarValue::Int64(Some(count)),
            span: Span::Float(count as f64),
            sql: count.to_string(),
        }
    }

    pub(crate) fn float(distance: f64) -> Self {
        Self {
            scalar: ScalarValue::Float64(Some(distance)),
            span: Span::Float(distance),
            sql: format!("{distance:?}"),
        }
    }
}
