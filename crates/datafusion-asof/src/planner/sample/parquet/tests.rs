//! What is read of row groups that have to be read whole.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::physical_expr::projection::{ProjectionExpr, ProjectionExprs};

use super::*;

#[test]
fn row_groups_without_an_index_are_read_within_the_budget() {
    let places: Vec<_> = (0..64)
        .map(|at| (f64::from(at), at as usize / 4, 0.0))
        .collect();
    let kept = |cost: i64| {
        let mut kept = places.clone();
        keep_within_budget(&mut kept, |_| cost);
        kept.len()
    };
    assert_eq!(kept(0), 64, "those that have one cost nothing");
    assert_eq!(kept(BUDGET / 16), 64);
    assert_eq!(kept(BUDGET / 4), 16, "four of sixteen row groups");
    assert_eq!(kept(10 * BUDGET), 4, "one at least");
}

#[test]
fn a_selection_is_as_long_as_its_row_group() {
    let spot = |rows| Spot {
        part: 0,
        rows,
        reach: [1.0; 2],
    };
    let selection = selection(&[spot(0..2), spot(5..7)], 10);
    let selectors: Vec<RowSelector> = selection.into();
    let expected = [
        RowSelector::select(2),
        RowSelector::skip(3),
        RowSelector::select(2),
        RowSelector::skip(3),
    ];
    assert_eq!(selectors, expected);
}

#[test]
fn columns_are_those_of_the_files_whatever_they_are_called_above() {
    let fields = ["k", "t", "v"].map(|name| Field::new(name, DataType::Int64, true));
    let source = ParquetSource::new(Arc::new(Schema::new(fields.to_vec())));
    assert_eq!(columns_read(&source), HashSet::from(["k", "t", "v"]));
    let named = [("k", 0), ("t", 1)].map(|(name, index)| ProjectionExpr {
        expr: Arc::new(Column::new(name, index)),
        alias: format!("c{index}"),
    });
    let source = source.try_pushdown_projection(&ProjectionExprs::new(named));
    let source = source.expect("a projection").expect("a source");
    let any: &dyn std::any::Any = source.as_ref();
    let source = any.downcast_ref().expect("a source of Parquet");
    assert_eq!(columns_read(source), HashSet::from(["k", "t"]));
}
