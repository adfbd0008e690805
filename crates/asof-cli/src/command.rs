//! Backslash commands: `datafusion-cli`'s where they fit, and ours.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use datafusion::arrow::array::{ArrayRef, StringArray};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::{exec_datafusion_err, exec_err};
use datafusion::config::FormatOptions;
use datafusion::error::Result;
use datafusion_cli::command::Command;
use datafusion_cli::print_format::PrintFormat;

use crate::args;
use crate::run::{self, Flow, Shell, Stop};

/// Every command, as `\?` lists it.
pub(crate) const COMMANDS: [(&str, &str); 13] = [
    ("\\d", "list tables"),
    ("\\d NAME", "describe a table, or a file in quotes"),
    ("\\h", "list functions"),
    ("\\h FUNCTION", "describe a function"),
    ("\\i FILE", "run the statements in a file"),
    ("\\pset", "show the output format"),
    (
        "\\pset format FORMAT",
        "print results as automatic, table, csv, tsv, json or ndjson",
    ),
    (
        "\\quiet [on|off]",
        "print nothing but results; show the setting",
    ),
    (
        "\\timing [on|off]",
        "print what each statement took; without a word, switch",
    ),
    (
        "\\object_store_profiling [MODE]",
        "report requests to object stores: disabled, summary or trace",
    ),
    (
        "\\skew TABLE KEY [TIME]",
        "show how unevenly keys hold the rows of a table",
    ),
    ("\\?", "this list"),
    ("\\q", "quit asof (or Ctrl-D)"),
];

/// Files that include each other end here.
const MAX_DEPTH: usize = 16;

/// Runs one command, given without its backslash.
pub(crate) async fn run(shell: &mut Shell, text: &str) -> Result<Flow> {
    let text = text.trim_end_matches(|c: char| c == ';' || c.is_whitespace());
    let (name, argument) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let argument = argument.trim();
    match (name, argument) {
        ("q", "") => return Ok(Err(Stop::Quit)),
        ("?", "") => help(shell)?,
        ("i", "") => return exec_err!("\\i needs the name of a file"),
        ("i", file) => return include(shell, Path::new(unquoted(file))).await,
        ("timing", word) => timing(shell, word)?,
        ("pset", "") => say(&format!("Output format is {:?}.", shell.print.format))?,
        ("pset", option) => set_format(shell, option)?,
        ("skew", names) => skew(shell, names).await?,
        // DataFusion's own asks the information schema, which knows no files.
        ("d", file) if file.starts_with(['\'', '"']) => {
            shell.execute(format!("DESCRIBE {file}")).await?;
        }
        _ => {
            let normal = text.split_whitespace().collect::<Vec<_>>().join(" ");
            let command: Command = normal.parse().map_err(|()| {
                exec_datafusion_err!("'\\{text}' is not a command; \\? lists all commands")
            })?;
            command.execute(&shell.session, &mut shell.print).await?;
        }
    }
    Ok(Ok(()))
}

/// Runs `asof_skew`: a bar for each key, then what the planner makes of them.
async fn skew(shell: &mut Shell, names: &str) -> Result<()> {
    let names: Vec<String> = (words(names).into_iter())
        .map(|name| {
            // Double quotes are part of a name.
            let text = name
                .strip_prefix('\'')
                .and_then(|name| name.strip_suffix('\''));
            format!("'{}'", text.unwrap_or(&name).replace('\'', "''"))
        })
        .collect();
    if !(2..=3).contains(&names.len()) {
        return exec_err!(
            "\\skew takes a table, its key and, if you like, its as-of column: names of several \
             words in quotes, columns of a key with a comma between them and no blank"
        );
    }
    let skew = format!("asof_skew({})", names.join(", "));
    shell
        .execute(format!(
            "SELECT key, rows, round(100 * share, 1) AS percent, ranges, \
             repeat('█', CAST(ceil(40 * share) AS BIGINT)) AS bar FROM {skew} LIMIT 20"
        ))
        .await?;
    shell
        .execute(format!(
            "SELECT trunc(load + 1e-9, 1) AS load, round(100 * top_ten_share, 1) AS top_ten_percent, \
             strategy, reason FROM {skew} ORDER BY load DESC LIMIT 1"
        ))
        .await?;
    Ok(())
}

/// Words, of which those that begin with a quote may have blanks; quotes are kept.
fn words(text: &str) -> Vec<String> {
    let (mut quote, mut begins) = (None, true);
    let words = text.split(move |c: char| {
        match quote {
            Some(open) if c == open => quote = None,
            None if begins && (c == '\'' || c == '"') => quote = Some(c),
            _ => {}
        }
        begins = c.is_whitespace();
        quote.is_none() && begins
    });
    let words = words.filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

fn help(shell: &Shell) -> Result<()> {
    let (names, descriptions): (Vec<_>, Vec<_>) = COMMANDS.into_iter().unzip();
    let column = |texts: Vec<&str>| Arc::new(StringArray::from(texts)) as ArrayRef;
    let batch = RecordBatch::try_from_iter([
        ("Command", column(names)),
        ("Description", column(descriptions)),
    ])?;
    let mut print = shell.print.clone();
    print.quiet = true;
    if print.format == PrintFormat::Automatic {
        print.format = PrintFormat::Table;
    }
    let rows = batch.num_rows();
    print.print_batches(
        batch.schema(),
        &[batch],
        Instant::now(),
        rows,
        &FormatOptions::default(),
    )
}

async fn include(shell: &mut Shell, file: &Path) -> Result<Flow> {
    if shell.depth >= MAX_DEPTH {
        return exec_err!("\\i is nested more than {MAX_DEPTH} deep: does a file include itself?");
    }
    let text = match run::read_script(file) {
        Ok(text) => text,
        Err(stop) => return Ok(Err(stop)),
    };
    shell.depth += 1;
    let flow = Box::pin(shell.run_items(&text, 1, Some(file))).await;
    shell.depth -= 1;
    Ok(flow)
}

fn timing(shell: &mut Shell, word: &str) -> Result<()> {
    let on = match word.to_ascii_lowercase().as_str() {
        "" => !shell.timing.unwrap_or(!shell.print.quiet),
        "on" | "true" | "yes" => true,
        "off" | "false" | "no" => false,
        _ => return exec_err!("\\timing takes on or off, not '{word}'"),
    };
    shell.timing = Some(on);
    confirm(
        shell,
        if on {
            "Timing is on."
        } else {
            "Timing is off."
        },
    )
}

fn set_format(shell: &mut Shell, option: &str) -> Result<()> {
    let format = match option.split_once(char::is_whitespace) {
        Some(("format", name)) => args::parse_format(name.trim()),
        _ => None,
    };
    let Some(format) = format else {
        return exec_err!(
            "'\\pset {option}' is not an option; \
             use \\pset format automatic, table, csv, tsv, json or ndjson"
        );
    };
    shell.print.format = format;
    confirm(shell, &format!("Output format is {format:?}."))
}

/// A file's name without the quotes that protect its spaces.
fn unquoted(text: &str) -> &str {
    ['\'', '"']
        .into_iter()
        .find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(text)
}

/// Says what was done, unless only results are wanted.
fn confirm(shell: &Shell, text: &str) -> Result<()> {
    if shell.print.quiet {
        return Ok(());
    }
    say(text)
}

fn say(text: &str) -> Result<()> {
    Ok(writeln!(io::stdout(), "{text}")?)
}
