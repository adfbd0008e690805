//! How a cell, a plan and an error are written in the corpus.

use std::path::Path;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::error::Result;
use sqllogictest::{ColumnType, DBOutput};

/// Stands for the scratch folder of a run, in statements and in output.
const SCRATCH: &str = "__SCRATCH__";

/// The one-letter column types of `query IRT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    Boolean,
    Day,
    Integer,
    Number,
    Point,
    Text,
    Other,
}

impl Column {
    fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Boolean => Self::Boolean,
            DataType::Date32
            | DataType::Date64
            | DataType::Time32(_)
            | DataType::Time64(_)
            | DataType::Duration(_)
            | DataType::Interval(_) => Self::Day,
            t if t.is_integer() => Self::Integer,
            t if t.is_numeric() => Self::Number,
            DataType::Timestamp(..) => Self::Point,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::Text,
            DataType::Dictionary(_, values) => Self::of(values),
            _ => Self::Other,
        }
    }
}

impl ColumnType for Column {
    fn from_char(value: char) -> Option<Self> {
        Some(match value {
            'B' => Self::Boolean,
            'D' => Self::Day,
            'I' => Self::Integer,
            'R' => Self::Number,
            'P' => Self::Point,
            'T' => Self::Text,
            '?' => Self::Other,
            _ => return None,
        })
    }

    fn to_char(&self) -> char {
        match self {
            Self::Boolean => 'B',
            Self::Day => 'D',
            Self::Integer => 'I',
            Self::Number => 'R',
            Self::Point => 'P',
            Self::Text => 'T',
            Self::Other => '?',
        }
    }
}

/// NULL is `NULL`, the empty text `(empty)`, everything else what arrow displays.
pub(crate) fn output(
    schema: &Schema,
    batches: &[RecordBatch],
    scrubber: &Scrubber,
) -> Result<DBOutput<Column>> {
    if schema.fields().is_empty() {
        return Ok(DBOutput::StatementComplete(0));
    }
    let is_plan = schema.fields().len() == 2 && schema.field(0).name() == "plan_type";
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        let columns = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options))
            .collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let cells = columns
                .iter()
                .map(|column| Ok(column.value(row).try_to_string()?))
                .collect::<Result<Vec<_>>>()?;
            if is_plan {
                rows.extend(plan_rows(&cells[0], &cells[1], scrubber));
            } else {
                rows.push(cells.into_iter().map(|c| cell(&c, scrubber)).collect());
            }
        }
    }
    Ok(DBOutput::Rows {
        types: schema
            .fields()
            .iter()
            .map(|field| Column::of(field.data_type()))
            .collect(),
        rows,
    })
}

fn cell(text: &str, scrubber: &Scrubber) -> String {
    if text.is_empty() {
        "(empty)".to_string()
    } else {
        scrubber.clean(text).replace('\n', "\\n")
    }
}

/// A line of the corpus per line of the plan, numbered; dashes keep the shape of the tree where
/// comparing would squeeze spaces.
fn plan_rows(name: &str, plan: &str, scrubber: &Scrubber) -> Vec<Vec<String>> {
    let mut rows = vec![vec![name.to_string()]];
    for (number, line) in scrubber.clean(plan).lines().enumerate() {
        let text = line.trim_start_matches(' ');
        let dashes = "-".repeat(line.len() - text.len());
        rows.push(vec![format!("{:02}){dashes}{text}", number + 1)]);
    }
    rows
}

/// Puts the scratch folder into statements, and takes paths of this machine out of output.
pub(crate) struct Scrubber {
    scratch: String,
    here: String,
}

impl Scrubber {
    pub(crate) fn new(scratch: &Path) -> Self {
        Self {
            scratch: scratch.to_string_lossy().into_owned(),
            here: std::env::current_dir()
                .map(|path| path.to_string_lossy().into_owned())
                .unwrap_or_default(),
        }
    }

    pub(crate) fn fill_in(&self, sql: &str) -> String {
        sql.replace(SCRATCH, &self.scratch)
    }

    pub(crate) fn clean(&self, text: &str) -> String {
        let mut text = text.to_string();
        for (path, name) in [(&self.scratch, SCRATCH), (&self.here, ".")] {
            // Object stores show a path without its first slash.
            for path in [path.as_str(), path.trim_start_matches('/')] {
                if !path.is_empty() {
                    text = text.replace(path, name);
                }
            }
        }
        text
    }
}
