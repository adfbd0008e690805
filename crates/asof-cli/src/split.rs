//! A script as statements and backslash commands, each with its place in the whole text.

use std::collections::VecDeque;

use datafusion::config::Dialect;
use datafusion::sql::sqlparser::dialect::{self, GenericDialect};
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

#[cfg(test)]
mod tests;

/// One thing to run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    /// SQL.
    Statement(Statement<'a>),
    /// A line that begins with a backslash, without the backslash.
    Command(&'a str),
}

/// A statement without its semicolon, from its first token on.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(crate) struct Statement<'a> {
    /// Its own text.
    pub(crate) text: &'a str,
    place: Place,
}

impl Statement<'_> {
    /// The statement at its own line and column, so that positions in errors point into the script.
    pub(crate) fn in_place(&self) -> String {
        let lines = self.place.line.saturating_sub(1);
        let columns = self.place.column.saturating_sub(1);
        format!("{}{}{}", "\n".repeat(lines), " ".repeat(columns), self.text)
    }
}

/// A position in the script: line and column as people and the SQL parser count them, from 1.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
struct Place {
    byte: usize,
    line: usize,
    column: usize,
}

/// The items of a script, one by one: running one may change how the rest is to be read.
pub(crate) struct Script<'a> {
    text: &'a str,
    /// Where the part that is not yet given out begins.
    rest: Place,
    /// The next items, and where the text goes on after each, as read in this dialect.
    read: VecDeque<(Item<'a>, Place)>,
    dialect: Option<Dialect>,
}

impl<'a> Script<'a> {
    /// `first_line` is the number of the text's first line.
    pub(crate) fn new(text: &'a str, first_line: usize) -> Self {
        let rest = Place {
            byte: 0,
            line: first_line,
            column: 1,
        };
        Self {
            text,
            rest,
            read: VecDeque::new(),
            dialect: None,
        }
    }

    /// The next item, read in this dialect.
    pub(crate) fn next(&mut self, dialect: Dialect) -> Option<Item<'a>> {
        if self.dialect != Some(dialect) {
            self.dialect = Some(dialect);
            self.read.clear();
        }
        if self.read.is_empty() {
            self.read_ahead(dialect);
        }
        let (item, rest) = self.read.pop_front()?;
        self.rest = rest;
        Some(item)
    }

    /// Reads up to the first backslash command, whose line is not SQL.
    fn read_ahead(&mut self, dialect: Dialect) {
        let tail = &self.text[self.rest.byte..];
        // Without the rest of an unterminated token: its statement then runs to the end of the
        // text, and the parser says what is wrong with it.
        let (tokens, _) = tokenize(tail, dialect);
        let mut walk = Walk::new(self.text, self.rest);
        let mut first = None;
        for token in &tokens {
            match &token.token {
                Token::Whitespace(_) => {}
                Token::SemiColon => {
                    let end = walk.to(token.span.start);
                    let after = walk.to(token.span.end);
                    if let Some(start) = first.take() {
                        self.read.push_back((self.statement(start, end), after));
                    }
                }
                Token::Backslash if first.is_none() => {
                    let start = walk.to(token.span.start);
                    self.read.push_back(self.command(start));
                    return;
                }
                _ if first.is_none() => first = Some(walk.to(token.span.start)),
                _ => {}
            }
        }
        let end = walk.finish();
        let start = match first {
            Some(start) => start,
            // The very first token of the statement is the unterminated one.
            None => {
                let unread = walk.after(&tokens);
                if self.text[unread.byte..].trim().is_empty() {
                    return;
                }
                unread
            }
        };
        self.read.push_back((self.statement(start, end), end));
    }

    fn statement(&self, start: Place, end: Place) -> Item<'a> {
        Item::Statement(Statement {
            text: &self.text[start.byte..end.byte],
            place: start,
        })
    }

    fn command(&self, start: Place) -> (Item<'a>, Place) {
        let line = self.text[start.byte..].lines().next().unwrap_or_default();
        let end = start.byte + line.len();
        let after = Place {
            byte: end,
            line: start.line,
            column: start.column + line.chars().count(),
        };
        (Item::Command(line[1..].trim()), after)
    }
}

/// Whether the text ends a statement, outside quotes and comments, or is a command or blank.
pub(crate) fn is_complete(text: &str, dialect: Dialect) -> bool {
    let trimmed = text.trim();
    if trimmed.is_empty() || trimmed.starts_with('\\') {
        return true;
    }
    let (tokens, whole) = tokenize(trimmed, dialect);
    let last = tokens
        .iter()
        .rev()
        .find(|token| !matches!(token.token, Token::Whitespace(_)));
    whole && last.is_none_or(|token| token.token == Token::SemiColon)
}

/// The tokens, and whether that is all of them (not when a quote or a comment is left open).
fn tokenize(text: &str, dialect: Dialect) -> (Vec<TokenWithSpan>, bool) {
    let dialect = dialect::dialect_from_str(dialect).unwrap_or_else(|| Box::new(GenericDialect {}));
    let mut tokens = Vec::new();
    let whole = Tokenizer::new(dialect.as_ref(), text)
        .tokenize_with_location_into_buf(&mut tokens)
        .is_ok();
    (tokens, whole)
}

/// Walks the text forward to the tokenizer's positions, which are relative to `origin`.
struct Walk<'a> {
    text: &'a str,
    origin: Place,
    here: Place,
}

impl<'a> Walk<'a> {
    fn new(text: &'a str, origin: Place) -> Self {
        Self {
            text,
            origin,
            here: origin,
        }
    }

    fn to(&mut self, location: Location) -> Place {
        let relative = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).saturating_sub(1);
        let (down, right) = (relative(location.line), relative(location.column));
        let line = self.origin.line + down;
        let column = if down == 0 {
            self.origin.column + right
        } else {
            1 + right
        };
        self.forward(|here| (here.line, here.column) < (line, column))
    }

    fn finish(&mut self) -> Place {
        self.forward(|_| true)
    }

    /// Where the tokens end.
    fn after(&self, tokens: &[TokenWithSpan]) -> Place {
        let mut walk = Walk::new(self.text, self.origin);
        match tokens.last() {
            Some(token) => walk.to(token.span.end),
            None => self.origin,
        }
    }

    fn forward(&mut self, go_on: impl Fn(Place) -> bool) -> Place {
        for character in self.text[self.here.byte..].chars() {
            if !go_on(self.here) {
                break;
            }
            self.here.byte += character.len_utf8();
            if character == '\n' {
                self.here.line += 1;
                self.here.column = 1;
            } else {
                self.here.column += 1;
            }
        }
        self.here
    }
}
