//! Ways to cut the keys of a case into ranges of time: any is right, so any is tried.

use datafusion::arrow::array::Array;
use datafusion::scalar::ScalarValue;
use datafusion_asof::{HotKey, TimeSalt};

use crate::case::Case;
use crate::table::Table;
use crate::types::Dice;
use crate::value::{Value, array};

/// Some keys of either side, cut at some of the times of either side, so that rows stand exactly
/// on a cut, ranges are empty and ranges hold one side only. The same case is cut the same way.
pub(crate) fn salt(case: &Case) -> TimeSalt {
    let dice = &mut Dice::new(case.seed ^ 0x5a17);
    let sides = [&case.left, &case.right];
    let hot_keys = (0..*dice.pick(&[0, 1, 2, 4, 8]))
        .map(|_| HotKey {
            key: key(dice, sides),
            cuts: (0..*dice.pick(&[0, 1, 3, 9]))
                .filter_map(|_| time(dice, sides))
                .collect(),
        })
        .collect();
    TimeSalt {
        partitions: *dice.pick(&[1, 2, 3, 8, 20]),
        hot_keys,
        indexed: dice.percent(50),
    }
}

fn key(dice: &mut Dice, sides: [&Table; 2]) -> Vec<ScalarValue> {
    let side = *dice.pick(&sides);
    let row = (side.rows() > 0).then(|| dice.below(side.rows()));
    (side.keys.iter())
        .map(|key| value(side, *key, row))
        .collect()
}

fn time(dice: &mut Dice, sides: [&Table; 2]) -> Option<ScalarValue> {
    let side = *dice.pick(&sides);
    let row = (side.rows() > 0).then(|| dice.below(side.rows()))?;
    Some(value(side, side.time, Some(row)))
}

fn value(side: &Table, column: usize, row: Option<usize>) -> ScalarValue {
    let column = &side.columns[column];
    let value = row.map_or(Value::Null, |row| column.values[row].clone());
    let one = array(&column.data_type, &[value]);
    assert_eq!(one.len(), 1);
    ScalarValue::try_from_array(&one, 0).expect("every type of the tests has scalars")
}
