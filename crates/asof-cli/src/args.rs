//! The flags: those of `datafusion-cli`, with the same names and meaning.

use std::sync::{Arc, LazyLock};

use clap::Parser;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use datafusion_cli::DATAFUSION_CLI_VERSION;
use datafusion_cli::object_storage::instrumented::{
    InstrumentedObjectStoreMode, InstrumentedObjectStoreRegistry,
};
use datafusion_cli::object_storage::is_stdin_location;
use datafusion_cli::pool_type::PoolType;
use datafusion_cli::print_format::PrintFormat;
use datafusion_cli::print_options::{MaxRows, PrintOptions};

#[cfg(test)]
mod tests;

/// Our version, and that of the DataFusion inside.
pub(crate) static VERSION: LazyLock<String> = LazyLock::new(|| {
    format!(
        "{} (DataFusion {DATAFUSION_CLI_VERSION})",
        env!("CARGO_PKG_VERSION")
    )
});

/// SQL with as-of joins over files. A file is a table: FROM 'trades.parquet'.
///
/// Without -c and -f this is an interactive shell, or runs the SQL that is piped into it.
#[derive(Debug, Parser)]
#[command(
    name = "asof",
    version = VERSION.as_str(),
    after_help = "Exit codes: 0 done, 1 a statement failed, 2 wrong flags, 130 interrupted.\n\
                  In the shell, \\? lists the backslash commands."
)]
pub(crate) struct Args {
    /// Run this SQL, then exit; may be given several times, each with one or more statements
    #[arg(short, long, value_name = "SQL", num_args = 1.., value_parser = parse_command)]
    pub(crate) command: Vec<String>,

    /// Run the SQL in this file, then exit; may be given several times (/dev/stdin reads standard input)
    #[arg(short, long, num_args = 1..)]
    pub(crate) file: Vec<String>,

    /// How results are printed
    #[arg(long, ignore_case = true, default_value = "automatic", value_parser = formats())]
    pub(crate) format: PrintFormat,

    /// Print nothing but results
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// Memory that queries may use, such as 10g [default: no limit]
    #[arg(short, long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) memory_limit: Option<usize>,

    /// Disk space that queries may use to spill, such as 10g [default: 100g]
    #[arg(short, long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) disk_limit: Option<usize>,

    /// How the operators of a query share the memory: 'fair', or 'greedy', first come, first served
    // A sort-merge has two sorts at a time, and one that takes all leaves the other none to merge with.
    #[arg(long, value_name = "TYPE", default_value_t = PoolType::Fair)]
    pub(crate) mem_pool_type: PoolType,

    /// How many of the largest memory users an out-of-memory error names; 0 does not track them
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) top_memory_consumers: usize,

    /// Rows of a batch [default: 16384]
    #[arg(short, long, value_name = "ROWS", value_parser = parse_batch_size)]
    pub(crate) batch_size: Option<usize>,

    /// Rows that the table format shows: a number, or 'inf'
    #[arg(long, value_name = "ROWS", default_value = "40")]
    pub(crate) maxrows: MaxRows,

    /// Highlight SQL while typing
    #[arg(long)]
    pub(crate) color: bool,

    /// Directory that relative paths start from [default: the current one]
    #[arg(short = 'p', long, value_name = "DIRECTORY")]
    pub(crate) data_path: Option<String>,

    /// Run these files when the shell starts, instead of ~/.asofrc
    #[arg(short, long, value_name = "FILE", num_args = 0.., conflicts_with = "file")]
    pub(crate) rc: Option<Vec<String>>,

    /// Run queries on the cluster of this scheduler [default: here]
    #[arg(long, value_name = "df://HOST:PORT")]
    pub(crate) cluster: Option<String>,

    /// Report the requests made to object stores: 'disabled', 'summary' or 'trace'
    #[arg(long, value_name = "MODE", default_value_t = InstrumentedObjectStoreMode::Disabled)]
    pub(crate) object_store_profiling: InstrumentedObjectStoreMode,
}

impl Args {
    /// Whether SQL comes from the terminal or standard input, not from flags.
    pub(crate) fn is_shell(&self) -> bool {
        self.command.is_empty() && self.file.is_empty()
    }

    /// Whether standard input carries SQL, and so cannot carry a table too.
    pub(crate) fn reads_sql_from_stdin(&self) -> bool {
        self.is_shell() || self.file.iter().any(|file| is_stdin_location(file))
    }

    /// What `datafusion-cli`'s printing needs to know.
    pub(crate) fn print_options(&self) -> PrintOptions {
        PrintOptions {
            format: self.format,
            quiet: self.quiet,
            maxrows: self.maxrows,
            color: self.color,
            instrumented_registry: Arc::new(
                InstrumentedObjectStoreRegistry::new()
                    .with_profile_mode(self.object_store_profiling),
            ),
        }
    }
}

/// The printing format of this name.
pub(crate) fn parse_format(name: &str) -> Option<PrintFormat> {
    // The library spells it "nd-json", everyone else "ndjson".
    match name.to_ascii_lowercase().as_str() {
        "ndjson" => Some(PrintFormat::NdJson),
        name => name.parse().ok(),
    }
}

fn formats() -> impl TypedValueParser<Value = PrintFormat> {
    PossibleValuesParser::new([
        PossibleValue::new("automatic"),
        PossibleValue::new("table"),
        PossibleValue::new("csv"),
        PossibleValue::new("tsv"),
        PossibleValue::new("json"),
        PossibleValue::new("ndjson").alias("nd-json"),
    ])
    .try_map(|name| parse_format(&name).ok_or("unknown format"))
}

fn parse_command(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("expected some SQL".to_owned());
    }
    Ok(text.to_owned())
}

fn parse_batch_size(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(rows) if rows > 0 => Ok(rows),
        _ => Err("expected a whole number above 0".to_owned()),
    }
}

/// Bytes: a whole number and an optional unit, in powers of 1024.
fn parse_size(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" => 10,
        "m" | "mb" => 20,
        "g" | "gb" => 30,
        "t" | "tb" => 40,
        _ => return Err("expected a size such as 512m or 10g".to_owned()),
    };
    let number: usize = digits
        .parse()
        .map_err(|_| "expected a size such as 512m or 10g".to_owned())?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| "too large for this machine".to_owned())
}
