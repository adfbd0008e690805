//! One join to be tried: two tables, what to ask of them, and what the definition answers.

use std::fmt::{self, Display, Formatter, Write};

use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{DataType, TimeUnit, i256};
use datafusion::scalar::ScalarValue;
use datafusion_asof::AsOfJoinType;

use crate::oracle::{Op, Question, Span, asof_join};
use crate::predicate::Predicate;
use crate::table::{Column, Table};
use crate::value::Value;

#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub seed: u64,
    pub left: Table,
    pub right: Table,
    pub kind: AsOfJoinType,
    pub op: Op,
    /// For each key whether it is written `IS NOT DISTINCT FROM`.
    pub null_safe: Vec<bool>,
    pub tolerance: Option<Tolerance>,
    pub filter: Option<Predicate>,
    /// Right columns.
    pub ties: Vec<(usize, SortOptions)>,
    pub ignore_nulls: bool,
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
    /// A left join on time and keys, and nothing else.
    pub(crate) fn plain(left: Table, right: Table, op: Op) -> Self {
        Self {
            seed: 0,
            null_safe: vec![false; left.keys.len()],
            left,
            right,
            kind: AsOfJoinType::Left,
            op,
            tolerance: None,
            filter: None,
            ties: vec![],
            ignore_nulls: false,
        }
    }

    /// Calls `ask` with the case as a question.
    pub(crate) fn ask<T>(&self, ask: impl FnOnce(&Question<'_>) -> T) -> T {
        let options: Vec<SortOptions> = self.ties.iter().map(|(_, options)| *options).collect();
        ask(&Question {
            op: self.op,
            tolerance: self.tolerance.as_ref().map(|tolerance| tolerance.span),
            null_safe: &self.null_safe,
            ties: &options,
            accepts: &|l, r| {
                let holds = |filter: &Predicate| filter.holds((&self.left, l), (&self.right, r));
                self.filter
                    .as_ref()
                    .is_none_or(|filter| holds(filter) == Some(true))
            },
        })
    }

    /// The right row that each left row chooses.
    pub(crate) fn chosen(&self) -> Vec<Option<usize>> {
        self.chosen_among(|_| true)
    }

    fn chosen_among(&self, counts: impl Fn(usize) -> bool) -> Vec<Option<usize>> {
        let ties: Vec<usize> = self.ties.iter().map(|(column, _)| *column).collect();
        let (left, right) = (self.left.oracle_rows(&[]), self.right.oracle_rows(&ties));
        self.ask(|question| asof_join(&left, &right, question, |row| counts(row.place)))
    }

    /// What the definition answers: left rows in their order, then right rows that come out alone.
    pub(crate) fn expected(&self) -> Answer {
        let chosen = self.chosen();
        let of_column = |column: &Column| {
            let is_null = |place: usize| column.values[place].is_null();
            match self.ignore_nulls {
                true => self.chosen_among(|place| !is_null(place)),
                false => chosen.clone(),
            }
        };
        let columns = &self.right.columns;
        let by_column: Vec<Vec<Option<usize>>> = columns.iter().map(of_column).collect();
        let mut answer = vec![];
        for (place, chosen) in chosen.iter().enumerate() {
            let comes_out = match self.kind {
                AsOfJoinType::Left | AsOfJoinType::Full => true,
                AsOfJoinType::LeftAnti => chosen.is_none(),
                _ => chosen.is_some(),
            };
            if !comes_out {
                continue;
            }
            let mut row = self.left.row(place);
            if self.kind.has_right_columns() {
                let value = |(column, by): (&Column, &Vec<Option<usize>>)| match by[place] {
                    Some(place) => column.values[place].clone(),
                    None => Value::Null,
                };
                row.extend(columns.iter().zip(&by_column).map(value));
            }
            answer.push(row);
        }
        if self.kind.keeps_unmatched_right() {
            for place in (0..self.right.rows()).filter(|place| !chosen.contains(&Some(*place))) {
                let nulls = vec![Value::Null; self.left.columns.len()];
                answer.push([nulls, self.right.row(place)].concat());
            }
        }
        answer
    }

    /// How many columns the answer has.
    pub(crate) fn width(&self) -> usize {
        let right = match self.kind.has_right_columns() {
            true => self.right.columns.len(),
            false => 0,
        };
        self.left.columns.len() + right
    }

    /// The condition on time in SQL.
    pub(crate) fn condition(&self) -> String {
        let time = |table: &Table| table.columns[table.time].name.clone();
        let (left, right) = (time(&self.left), time(&self.right));
        self.op.sql(&format!("l.{left}"), &format!("r.{right}"))
    }

    /// The join in SQL, over tables `l` and `r`.
    pub(crate) fn sql(&self) -> String {
        let kind = match self.kind {
            AsOfJoinType::Inner => "INNER",
            AsOfJoinType::Left => "LEFT",
            AsOfJoinType::Right => "RIGHT",
            AsOfJoinType::Full => "FULL OUTER",
            AsOfJoinType::LeftSemi => "SEMI",
            AsOfJoinType::LeftAnti => "LEFT ANTI",
        };
        let name = |table: &Table, index: usize| table.columns[index].name.clone();
        let keys = self.left.keys.iter().zip(&self.right.keys);
        let mut on: Vec<String> = (keys.zip(&self.null_safe))
            .map(|((&l, &r), null_safe)| {
                let equals = if *null_safe {
                    "IS NOT DISTINCT FROM"
                } else {
                    "="
                };
                format!(
                    "l.{} {equals} r.{}",
                    name(&self.left, l),
                    name(&self.right, r)
                )
            })
            .collect();
        if let Some(filter) = &self.filter {
            on.push(filter.sql(&self.left, &self.right));
        }
        let condition = self.condition();
        let mut sql = format!("SELECT * FROM l ASOF {kind} JOIN r MATCH_CONDITION ({condition})");
        if !on.is_empty() {
            let _ = write!(sql, " ON {}", on.join(" AND "));
        }
        if let Some(tolerance) = &self.tolerance {
            let _ = write!(sql, " TOLERANCE {}", tolerance.sql);
        }
        if self.ignore_nulls {
            sql += " IGNORE NULLS";
        }
        for (i, (column, options)) in self.ties.iter().enumerate() {
            let before = if i == 0 { " TIES BY" } else { "," };
            let column = name(&self.right, *column);
            let direction = if options.descending { "DESC" } else { "ASC" };
            let nulls = if options.nulls_first { "FIRST" } else { "LAST" };
            let _ = write!(sql, "{before} r.{column} {direction} NULLS {nulls}");
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
