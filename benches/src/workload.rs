//! The workloads that engines are compared on, by name.

use std::fmt::Write;

use crate::table::{Frequency, Keys, Table};

/// A left table and the right ones that are joined to it, one after the other.
#[derive(Debug, Clone)]
pub struct Workload {
    /// The left table.
    pub left: Table,
    /// The right tables.
    pub rights: Vec<Table>,
}

/// All that two tables of a workload have in common or not, by default.
struct Shape {
    left_rows: u64,
    right_rows: u64,
    keys: Option<Keys>,
    in_time_order: bool,
    left_floats: usize,
    right_floats: usize,
    right_half_null: bool,
    rights: usize,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            left_rows: 5_000_000,
            right_rows: 20_000_000,
            keys: Some(zipf(3_000)),
            in_time_order: true,
            left_floats: 2,
            right_floats: 2,
            right_half_null: false,
            rights: 1,
        }
    }
}

fn zipf(count: usize) -> Keys {
    Keys {
        count,
        frequency: Frequency::Zipf(1.0),
    }
}

impl Workload {
    /// The workload of this name, with so many times its rows.
    pub fn named(name: &str, scale: f64) -> Result<Self, String> {
        let shape = shape(name).ok_or_else(|| format!("no workload is called '{name}'"))?;
        if !(scale > 0.0 && scale <= 100.0) {
            return Err(format!("a scale is above 0 and at most 100, not {scale}"));
        }
        let rows = |rows: u64| ((rows as f64 * scale).round() as u64).max(1);
        let floats = |prefix: &str, count: usize| {
            (0..count)
                .map(|column| format!("{prefix}_{column}"))
                .collect()
        };
        let left = Table {
            name: "left".into(),
            rows: rows(shape.left_rows),
            keys: shape.keys,
            in_time_order: shape.in_time_order,
            floats: floats("l", shape.left_floats),
            half_null: false,
            seed: 1,
        };
        let right = |number: usize| Table {
            name: format!("right{number}"),
            rows: rows(shape.right_rows),
            floats: floats(&format!("r{number}"), shape.right_floats),
            half_null: shape.right_half_null,
            seed: 2 + number as u64,
            ..left.clone()
        };
        Ok(Self {
            rights: (0..shape.rights).map(right).collect(),
            left,
        })
    }

    /// All tables.
    pub fn tables(&self) -> impl Iterator<Item = &Table> {
        [&self.left].into_iter().chain(&self.rights)
    }

    /// The question that every engine answers: how many rows there are, how many of them have a
    /// match in each right table, and the sum of every float column.
    pub fn query(&self) -> String {
        let mut select = "SELECT count(*)".to_owned();
        let mut from = "FROM left l".to_owned();
        let on_key = match self.left.keys {
            Some(_) => |right: &str| format!("l.sym = {right}.sym AND "),
            None => |_: &str| String::new(),
        };
        for Table { name, .. } in &self.rights {
            // Writing to a string cannot fail.
            let _ = write!(select, ", count({name}.ts)");
            let key = on_key(name);
            let _ = write!(from, " ASOF LEFT JOIN {name} ON {key}l.ts >= {name}.ts");
        }
        for float in self.tables().flat_map(|table| &table.floats) {
            let _ = write!(select, ", sum({float})");
        }
        format!("{select} {from}")
    }
}

fn shape(name: &str) -> Option<Shape> {
    let usual = Shape::default();
    let shuffled = Shape {
        in_time_order: false,
        ..Shape::default()
    };
    Some(match name {
        "sorted" => usual,
        "shuffled" => shuffled,
        "small_right" => Shape {
            left_rows: 20_000_000,
            right_rows: 100_000,
            keys: Some(zipf(1_000)),
            ..shuffled
        },
        "small_left" => Shape {
            left_rows: 10_000,
            right_rows: 40_000_000,
            ..usual
        },
        "hot_key" => Shape {
            keys: Some(Keys {
                count: 3_000,
                frequency: Frequency::OneHot(0.9),
            }),
            ..shuffled
        },
        "no_key" => Shape {
            keys: None,
            ..shuffled
        },
        "wide" => Shape {
            left_rows: 2_000_000,
            right_rows: 8_000_000,
            left_floats: 6,
            right_floats: 20,
            ..usual
        },
        "nulls" => Shape {
            left_rows: 2_000_000,
            right_rows: 8_000_000,
            right_half_null: true,
            ..usual
        },
        "many" => Shape {
            left_rows: 1_000_000,
            right_rows: 5_000_000,
            rights: 10,
            ..usual
        },
        _ if name.starts_with("skew_") => {
            let percent: u32 = name.strip_prefix("skew_")?.parse().ok()?;
            Shape {
                keys: Some(Keys {
                    count: 3_000,
                    frequency: Frequency::OneHot(f64::from(percent.min(100)) / 100.0),
                }),
                ..shuffled
            }
        }
        _ => {
            let (millions, order) = name.strip_prefix("curve_")?.split_once("m_")?;
            let right_rows = millions.parse::<u64>().ok()?.checked_mul(1_000_000)?;
            Shape {
                left_rows: right_rows / 4,
                right_rows,
                in_time_order: match order {
                    "sorted" => true,
                    "shuffled" => false,
                    _ => return None,
                },
                ..usual
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_scales() {
        let rows = |name, scale| {
            Workload::named(name, scale).map(|w| (w.left.rows, w.rights[0].rows, w.rights.len()))
        };
        assert_eq!(rows("many", 1.0), Ok((1_000_000, 5_000_000, 10)));
        assert_eq!(rows("curve_10m_shuffled", 0.1), Ok((250_000, 1_000_000, 1)));
        assert_eq!(rows("skew_99", 0.01), Ok((50_000, 200_000, 1)));
        for name in [
            "",
            "skew_",
            "skew_many",
            "curve_m_sorted",
            "curve_1m",
            "curve_1m_random",
        ] {
            assert!(rows(name, 1.0).is_err());
        }
        assert!(rows("sorted", 0.0).is_err() && rows("sorted", f64::NAN).is_err());
    }

    #[test]
    fn the_query_reads_every_float() {
        let workload = Workload::named("no_key", 1.0).expect("there is one");
        assert_eq!(
            workload.query(),
            "SELECT count(*), count(right0.ts), sum(l_0), sum(l_1), sum(r0_0), sum(r0_1) \
             FROM left l ASOF LEFT JOIN right0 ON l.ts >= right0.ts"
        );
    }
}
