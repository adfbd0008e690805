//! Random cases: small tables in which ties, NULLs and empty batches are common.

use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::DataType;
use datafusion_asof::AsOfJoinType;

use crate::case::{Case, Tolerance};
use crate::oracle::Op;
use crate::predicate::predicate;
use crate::table::{Column, Table};
use crate::types::{
    Dice, Family, extreme_times, family, key_type, key_values, near_times, time_types, tolerances,
};
use crate::value::Value;

/// The case of a seed; the same seed always gives the same case.
pub(crate) fn generate(seed: u64) -> Case {
    let dice = &mut Dice::new(seed);
    let (left_time, right_time) = time_types(dice);
    let keys: Vec<(DataType, Vec<Value>)> = (0..*dice.pick(&[0, 1, 1, 1, 2, 2, 3]))
        .map(|_| {
            let data_type = key_type(dice);
            let distinct = dice.below(5);
            let values = key_values(dice, &data_type, distinct);
            (data_type, values)
        })
        .collect();
    // In every fifth case nearly all rows are equal in time.
    let spread = if dice.percent(20) {
        1
    } else {
        1 + dice.below(8)
    };
    let with_extremes = dice.percent(35);
    let times = |dice: &mut Dice, own: &DataType, other: &DataType| {
        let mut times = near_times(dice, own, other, spread);
        if with_extremes {
            let extremes = extreme_times(own, other);
            times.extend((0..3).map(|_| dice.pick(&extremes).clone()));
        }
        times
    };
    let left_times = times(dice, &left_time, &right_time);
    let right_times = times(dice, &right_time, &left_time);
    let op = loop {
        let op = *dice.pick(&Op::ALL);
        if op != Op::Nearest || family(&left_time, &right_time) != Family::OrderOnly {
            break op;
        }
    };
    let order = declared_order(dice, op);
    let left = table(dice, &keys, (&left_time, &left_times), &order);
    let right = table(dice, &keys, (&right_time, &right_times), &order);
    let kind = *dice.pick(&KINDS);
    let comparable =
        left_time == right_time && matches!(left_time, DataType::Int64 | DataType::Timestamp(_, _));
    let predicates = dice.percent(40);
    Case {
        seed,
        kind,
        op,
        null_safe: keys.iter().map(|_| dice.percent(20)).collect(),
        tolerance: tolerance(dice, &left_time, &right_time),
        filter: predicates.then(|| predicate(dice, 2, comparable)),
        ties: ties(dice, &right),
        ignore_nulls: !kind.keeps_unmatched_right() && dice.percent(25),
        left,
        right,
    }
}

const KINDS: [AsOfJoinType; 8] = [
    AsOfJoinType::Left,
    AsOfJoinType::Left,
    AsOfJoinType::Inner,
    AsOfJoinType::Inner,
    AsOfJoinType::Right,
    AsOfJoinType::Full,
    AsOfJoinType::LeftSemi,
    AsOfJoinType::LeftAnti,
];

/// Some right columns, in any order.
fn ties(dice: &mut Dice, right: &Table) -> Vec<(usize, SortOptions)> {
    (0..*dice.pick(&[0, 0, 0, 1, 1, 2]))
        .map(|_| {
            let options = SortOptions::new(dice.percent(50), dice.percent(50));
            (dice.below(right.columns.len()), options)
        })
        .collect()
}

fn tolerance(dice: &mut Dice, left: &DataType, right: &DataType) -> Option<Tolerance> {
    let with_tolerance = dice.percent(60) && family(left, right) != Family::OrderOnly;
    with_tolerance.then(|| dice.pick(&tolerances(left, right)).clone())
}

/// An order that tables may declare, in terms of their roles.
struct Order {
    by_keys: bool,
    by_time: bool,
    options: SortOptions,
}

fn declared_order(dice: &mut Dice, op: Op) -> Option<Order> {
    // Mostly the order that a merge asks for, so that no sort is needed: time alone, and backwards for a forward join.
    dice.percent(50).then(|| {
        let descending = op.is_backward() == dice.percent(10);
        Order {
            by_keys: dice.percent(20),
            by_time: dice.percent(95),
            options: SortOptions {
                descending,
                nulls_first: descending != dice.percent(15),
            },
        }
    })
}

fn table(
    dice: &mut Dice,
    keys: &[(DataType, Vec<Value>)],
    (time_type, times): (&DataType, &[Value]),
    order: &Option<Order>,
) -> Table {
    let rows = match dice.below(100) {
        0..7 => 0,
        7..60 => 1 + dice.below(10),
        60..92 => dice.below(40),
        _ => dice.below(201),
    };
    let mut columns = vec![(Role::Id, ids(dice, rows))];
    for (n, (data_type, values)) in keys.iter().enumerate() {
        let name = format!("k{n}");
        columns.push((Role::Key(n), column(dice, &name, data_type, values, rows)));
    }
    columns.push((Role::Time, column(dice, "t", time_type, times, rows)));
    let few: Vec<Value> = (0..5).map(Value::Int).collect();
    columns.push((Role::Extra, column(dice, "x", &DataType::Int64, &few, rows)));
    for payload in payload(dice, rows) {
        columns.push((Role::Payload, payload));
    }
    // A join that takes columns by habit rather than by index is caught when the order is anything.
    for last in (1..columns.len()).rev() {
        let other = dice.below(last + 1);
        columns.swap(last, other);
    }
    let place = |role: Role| {
        columns
            .iter()
            .position(|(r, _)| *r == role)
            .expect("every role is there")
    };
    let (id, time, extra) = (place(Role::Id), place(Role::Time), place(Role::Extra));
    let keys: Vec<usize> = (0..keys.len()).map(|n| place(Role::Key(n))).collect();
    let mut table = Table {
        columns: columns.into_iter().map(|(_, column)| column).collect(),
        id,
        keys,
        time,
        extra,
        cuts: cuts(dice, rows),
        order: None,
    };
    if let Some(order) = order
        && dice.percent(85)
    {
        let keys = table.keys.iter().filter(|_| order.by_keys);
        let time = order.by_time.then_some(&table.time);
        let columns: Vec<_> = keys
            .chain(time)
            .map(|&column| (column, order.options))
            .collect();
        if !columns.is_empty() {
            table.order = Some(columns);
            table.sort_partitions();
        }
    }
    table
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Id,
    Key(usize),
    Time,
    Extra,
    Payload,
}

fn ids(dice: &mut Dice, rows: usize) -> Column {
    Column {
        name: "id".to_string(),
        data_type: dice.pick(&[DataType::Int32, DataType::Int64]).clone(),
        nullable: dice.percent(50),
        values: (0..rows).map(|row| Value::Int(row as i128)).collect(),
    }
}

/// A column with the values in random places, and NULLs among them if it is nullable.
fn column(
    dice: &mut Dice,
    name: &str,
    data_type: &DataType,
    values: &[Value],
    rows: usize,
) -> Column {
    let nullable = values.is_empty() || dice.percent(65);
    let null_percent = if nullable {
        *dice.pick(&[0, 10, 10, 40, 80])
    } else {
        0
    };
    let cell = |_| {
        if values.is_empty() || dice.percent(null_percent) {
            Value::Null
        } else {
            dice.pick(values).clone()
        }
    };
    Column {
        name: name.to_string(),
        data_type: data_type.clone(),
        nullable,
        values: (0..rows).map(cell).collect(),
    }
}

fn payload(dice: &mut Dice, rows: usize) -> Vec<Column> {
    let mut columns = vec![];
    if dice.percent(60) {
        let data_type = dice
            .pick(&[
                DataType::Utf8,
                DataType::Utf8View,
                DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
            ])
            .clone();
        let words = ["", "x", "a payload longer than a view holds"].map(Value::text);
        columns.push(column(dice, "s", &data_type, &words, rows));
    }
    if dice.percent(60) {
        let floats = [0.0, -0.0, f64::NAN, 2.5].map(Value::Float);
        columns.push(column(dice, "f", &DataType::Float64, &floats, rows));
    }
    if dice.percent(20) {
        columns.push(column(
            dice,
            "b",
            &DataType::Boolean,
            &[0, 1].map(Value::Int),
            rows,
        ));
    }
    columns
}

/// One to three partitions, each of batches of any length, none included.
fn cuts(dice: &mut Dice, rows: usize) -> Vec<Vec<usize>> {
    let partitions = *dice.pick(&[1, 1, 2, 3]);
    let mut left = rows;
    (0..partitions)
        .map(|partition| {
            let last = partition + 1 == partitions;
            let mut share = if last { left } else { dice.below(left + 1) };
            left -= share;
            let mut batches = vec![];
            while share > 0 || dice.percent(20) {
                let rows = match dice.below(5) {
                    0 => 0,
                    1 => share,
                    _ => dice.below(share.min(12) + 1),
                };
                batches.push(rows);
                share -= rows;
            }
            batches
        })
        .collect()
}
