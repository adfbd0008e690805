//! A table of plain values, cut into partitions and batches, and what it becomes for the engine.

use std::cmp::Ordering;
use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::physical_expr::expressions::Column as ColumnExpr;
use datafusion::physical_expr::{LexOrdering, PhysicalExprRef, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;

use crate::oracle::{Row, moment};
use crate::value::{Value, array};

#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub name: String,
    pub data_type: DataType,
    pub nullable: bool,
    pub values: Vec<Value>,
}

/// One side of a join. Row order is partition order, then row order.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub columns: Vec<Column>,
    /// The column that is unique, to tell rows apart.
    pub id: usize,
    pub keys: Vec<usize>,
    pub time: usize,
    /// A column of small integers and NULLs, for predicates.
    pub extra: usize,
    /// For each partition the lengths of its batches.
    pub cuts: Vec<Vec<usize>>,
    /// The order in which each partition is, when the table says so.
    pub order: Option<Vec<(usize, SortOptions)>>,
}

impl Table {
    pub(crate) fn rows(&self) -> usize {
        self.columns[self.id].values.len()
    }

    pub(crate) fn row(&self, place: usize) -> Vec<Value> {
        self.columns
            .iter()
            .map(|column| column.values[place].clone())
            .collect()
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        let field = |c: &Column| Field::new(&c.name, c.data_type.clone(), c.nullable);
        Arc::new(Schema::new(
            self.columns.iter().map(field).collect::<Vec<_>>(),
        ))
    }

    /// The rows as the definition sees them.
    pub(crate) fn oracle_rows(&self, ties: &[usize]) -> Vec<Row> {
        let time = &self.columns[self.time];
        (0..self.rows())
            .map(|place| Row {
                place,
                keys: self
                    .keys
                    .iter()
                    .map(|&k| self.columns[k].values[place].clone())
                    .collect(),
                time: moment(&time.values[place], &time.data_type),
                ties: ties
                    .iter()
                    .map(|&tie| self.columns[tie].values[place].clone())
                    .collect(),
            })
            .collect()
    }

    pub(crate) fn partitions(&self) -> Vec<Vec<RecordBatch>> {
        let schema = self.schema();
        let mut start = 0;
        let mut next_batch = |rows: usize| {
            let range = start..start + rows;
            start += rows;
            let arrays = self
                .columns
                .iter()
                .map(|c| array(&c.data_type, &c.values[range.clone()]))
                .collect();
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            RecordBatch::try_new_with_options(Arc::clone(&schema), arrays, &options)
                .expect("the generator keeps to its schema")
        };
        self.cuts
            .iter()
            .map(|batches| batches.iter().map(|&rows| next_batch(rows)).collect())
            .collect()
    }

    pub(crate) fn source(&self) -> Result<Arc<dyn ExecutionPlan>> {
        let mut source = MemorySourceConfig::try_new(&self.partitions(), self.schema(), None)?;
        if let Some(order) = self.ordering() {
            source = source.try_with_sort_information(vec![order])?;
        }
        Ok(DataSourceExec::from_data_source(source))
    }

    pub(crate) fn column(&self, index: usize) -> PhysicalExprRef {
        Arc::new(ColumnExpr::new(&self.columns[index].name, index))
    }

    fn ordering(&self) -> Option<LexOrdering> {
        let order = self.order.as_ref()?;
        LexOrdering::new(
            order
                .iter()
                .map(|&(index, options)| PhysicalSortExpr::new(self.column(index), options)),
        )
    }

    /// Puts the rows of each partition in the declared order.
    pub(crate) fn sort_partitions(&mut self) {
        let Some(order) = &self.order else { return };
        let mut places: Vec<usize> = (0..self.rows()).collect();
        let mut start = 0;
        for batches in &self.cuts {
            let end = start + batches.iter().sum::<usize>();
            places[start..end].sort_by(|&a, &b| {
                order
                    .iter()
                    .fold(Ordering::Equal, |so_far, &(index, options)| {
                        let values = &self.columns[index].values;
                        so_far.then_with(|| sort_order(&values[a], &values[b], options))
                    })
            });
            start = end;
        }
        for column in &mut self.columns {
            column.values = places
                .iter()
                .map(|&place| column.values[place].clone())
                .collect();
        }
    }

    /// The table without some of its rows.
    pub(crate) fn without(&self, dropped: impl Fn(usize) -> bool) -> Table {
        let mut table = self.clone();
        let mut place = 0;
        for rows in table.cuts.iter_mut().flatten() {
            let kept = (place..place + *rows)
                .filter(|&place| !dropped(place))
                .count();
            place += *rows;
            *rows = kept;
        }
        for column in &mut table.columns {
            let mut place = 0;
            column.values.retain(|_| {
                place += 1;
                !dropped(place - 1)
            });
        }
        table
    }
}

/// The order of `ORDER BY` in arrow: `-0.0` before `0.0`, NaN last.
pub(crate) fn sort_order(a: &Value, b: &Value, options: SortOptions) -> Ordering {
    let nulls = if options.nulls_first {
        Ordering::Less
    } else {
        Ordering::Greater
    };
    let ascending = match (a, b) {
        (Value::Null, Value::Null) => return Ordering::Equal,
        (Value::Null, _) => return nulls,
        (_, Value::Null) => return nulls.reverse(),
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Float(a), Value::Float(b)) => a.total_cmp(b),
        (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
        (a, b) => panic!("{a:?} and {b:?} stand in one column"),
    };
    if options.descending {
        ascending.reverse()
    } else {
        ascending
    }
}
