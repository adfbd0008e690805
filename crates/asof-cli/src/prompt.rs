//! What the line editor knows of SQL: when a statement ends, and how words go on.

use std::borrow::Cow;

use datafusion::config::Dialect;
use datafusion_cli::helper::CliHelper;
use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper, Result};

use crate::command::COMMANDS;
use crate::split;

#[cfg(test)]
mod tests;

/// The words worth completing: those of queries, and the as-of join's own.
const KEYWORDS: &[&str] = &[
    "ALL",
    "ANALYZE",
    "AND",
    "ASC",
    "ASOF",
    "BETWEEN",
    "BY",
    "CASE",
    "CAST",
    "COPY",
    "CREATE",
    "CROSS",
    "DELETE",
    "DESC",
    "DESCRIBE",
    "DISTINCT",
    "DROP",
    "ELSE",
    "END",
    "EXCEPT",
    "EXECUTE",
    "EXISTS",
    "EXPLAIN",
    "EXTERNAL",
    "FALSE",
    "FROM",
    "FULL",
    "GROUP",
    "HAVING",
    "INNER",
    "INSERT",
    "INTERSECT",
    "INTERVAL",
    "INTO",
    "JOIN",
    "LEFT",
    "LIKE",
    "LIMIT",
    "LOCATION",
    "MATCH_CONDITION",
    "NOT",
    "NULL",
    "OFFSET",
    "ORDER",
    "OUTER",
    "OVER",
    "PARTITION",
    "PREPARE",
    "RIGHT",
    "SELECT",
    "SET",
    "SHOW",
    "STORED",
    "TABLE",
    "TABLES",
    "THEN",
    "TIMESTAMP",
    "TOLERANCE",
    "TRUE",
    "UNION",
    "USING",
    "VALUES",
    "VIEW",
    "WHEN",
    "WHERE",
    "WITH",
];

/// Validates, completes, hints and highlights.
pub(crate) struct Prompt {
    /// Highlighting and hints are `datafusion-cli`'s.
    cli: CliHelper,
    files: FilenameCompleter,
    dialect: Dialect,
    names: Vec<String>,
}

impl Prompt {
    pub(crate) fn new(dialect: Dialect, color: bool) -> Self {
        Self {
            cli: CliHelper::new(&dialect, color),
            files: FilenameCompleter::new(),
            dialect,
            names: Vec::new(),
        }
    }

    /// Takes over what the session knows now: its dialect, and the names of what is in it.
    pub(crate) fn refresh(&mut self, dialect: Dialect, names: Vec<String>) {
        self.cli.set_dialect(&dialect);
        self.dialect = dialect;
        self.names = names;
    }

    /// The hint of an empty line may show again.
    pub(crate) fn reset_hint(&self) {
        self.cli.reset_hint();
    }

    /// How the word before the cursor may go on, and where that word begins.
    fn words(&self, before: &str) -> (usize, Vec<Pair>) {
        let start = before
            .rfind(|c: char| !c.is_alphanumeric() && c != '_')
            .map_or(0, |at| {
                at + before[at..].chars().next().map_or(1, char::len_utf8)
            });
        let word = &before[start..];
        if word.is_empty() {
            return (start, Vec::new());
        }
        let lower = !word.chars().any(char::is_uppercase);
        let keywords = KEYWORDS.iter().map(|keyword| {
            if lower {
                keyword.to_ascii_lowercase()
            } else {
                (*keyword).to_owned()
            }
        });
        let mut words: Vec<_> = keywords
            .chain(self.names.iter().cloned())
            .filter(|candidate| {
                candidate
                    .get(..word.len())
                    .is_some_and(|head| head.eq_ignore_ascii_case(word))
            })
            .collect();
        words.sort_unstable();
        words.dedup();
        (start, words.into_iter().map(pair).collect())
    }
}

fn pair(text: String) -> Pair {
    Pair {
        display: text.clone(),
        replacement: text,
    }
}

/// Whether the text ends inside a string, where the names of files are wanted.
fn in_string(text: &str) -> bool {
    let mut open = None;
    for c in text.chars() {
        match (open, c) {
            (None, '\'' | '"') => open = Some(c),
            (Some(quote), c) if c == quote => open = None,
            _ => {}
        }
    }
    open == Some('\'')
}

impl Completer for Prompt {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> Result<(usize, Vec<Pair>)> {
        let before = &line[..pos];
        if before.starts_with('\\') && !before.contains(' ') {
            let mut commands: Vec<_> = COMMANDS
                .iter()
                .filter_map(|(usage, _)| usage.split(' ').next())
                .filter(|name| name.starts_with(before))
                .map(str::to_owned)
                .collect();
            commands.dedup();
            return Ok((0, commands.into_iter().map(pair).collect()));
        }
        if in_string(before) || before.starts_with("\\i ") {
            return self.files.complete_path(line, pos);
        }
        Ok(self.words(before))
    }
}

impl Validator for Prompt {
    fn validate(&self, ctx: &mut ValidationContext<'_>) -> Result<ValidationResult> {
        self.reset_hint();
        Ok(if split::is_complete(ctx.input(), self.dialect) {
            ValidationResult::Valid(None)
        } else {
            ValidationResult::Incomplete
        })
    }
}

impl Hinter for Prompt {
    type Hint = String;

    fn hint(&self, line: &str, pos: usize, ctx: &Context<'_>) -> Option<String> {
        self.cli.hint(line, pos, ctx)
    }
}

impl Highlighter for Prompt {
    fn highlight<'l>(&self, line: &'l str, pos: usize) -> Cow<'l, str> {
        self.cli.highlight(line, pos)
    }

    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        self.cli.highlight_hint(hint)
    }

    fn highlight_char(&self, line: &str, pos: usize, kind: CmdKind) -> bool {
        self.cli.highlight_char(line, pos, kind)
    }
}

impl Helper for Prompt {}
