//! Strings as dictionaries.

use std::fmt::{self, Formatter};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::{Array, ArrayData, ArrayRef, AsArray, DictionaryArray, Int32Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int32Type, Schema};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::expressions::CastExpr;
use datafusion::physical_expr::{PhysicalExpr, PhysicalExprRef};

/// Strings as a dictionary: that which they were cast from, or one of all of them.
#[derive(Debug)]
pub(super) struct AsDictionary {
    strings: PhysicalExprRef,
    /// The last dictionary, and its values in the type of the strings.
    last: Mutex<Option<(ArrayData, ArrayRef)>>,
}

impl AsDictionary {
    pub(super) fn new(strings: PhysicalExprRef) -> Self {
        Self {
            strings,
            last: Mutex::default(),
        }
    }

    /// Values of a dictionary in the type of the strings: the same ones for all batches of it.
    fn values(&self, values: &ArrayRef, as_type: &DataType) -> Result<ArrayRef> {
        if values.data_type() == as_type {
            return Ok(Arc::clone(values));
        }
        let data = values.to_data();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, values)) = &*last
            && of.ptr_eq(&data)
        {
            return Ok(Arc::clone(values));
        }
        let values = cast(values, as_type)?;
        *last = Some((data, Arc::clone(&values)));
        Ok(values)
    }
}

impl fmt::Display for AsDictionary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "as_dictionary({})", self.strings)
    }
}

impl PartialEq for AsDictionary {
    fn eq(&self, other: &Self) -> bool {
        self.strings.eq(&other.strings)
    }
}

impl Eq for AsDictionary {}

impl Hash for AsDictionary {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.strings.hash(state);
    }
}

impl PhysicalExpr for AsDictionary {
    fn data_type(&self, input: &Schema) -> Result<DataType> {
        let values = self.strings.data_type(input)?;
        Ok(DataType::Dictionary(
            Box::new(DataType::Int32),
            Box::new(values),
        ))
    }

    fn nullable(&self, input: &Schema) -> Result<bool> {
        self.strings.nullable(input)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let rows = batch.num_rows();
        if let Some(cast) = self.strings.downcast_ref::<CastExpr>() {
            let read = cast.expr().evaluate(batch)?.into_array(rows)?;
            if let Some(read) = read.as_dictionary_opt::<Int32Type>() {
                let values = self.values(read.values(), cast.cast_type())?;
                return Ok(ColumnarValue::Array(Arc::new(read.with_values(values))));
            }
        }
        let strings = self.strings.evaluate(batch)?.into_array(rows)?;
        let codes = Int32Array::from_iter_values(0..rows as i32);
        let each = DictionaryArray::<Int32Type>::try_new(codes, strings)?;
        Ok(ColumnarValue::Array(Arc::new(each)))
    }

    fn children(&self) -> Vec<&PhysicalExprRef> {
        vec![&self.strings]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<PhysicalExprRef>,
    ) -> Result<PhysicalExprRef> {
        let [strings] = <[_; 1]>::try_from(children).or_else(|children| {
            exec_err!("a dictionary is made of one column, not {}", children.len())
        })?;
        Ok(Arc::new(Self::new(strings)))
    }

    fn fmt_sql(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
