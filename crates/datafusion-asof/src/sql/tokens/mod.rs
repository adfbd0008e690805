//! Every spelling of an as-of join to the one form that sqlparser parses.
//!
//! ```text
//! [kind] {ASOF|LT} [kind] JOIN factor [MATCH_CONDITION (m)] [ON … | USING (…)]
//!                                     [TOLERANCE t] [IGNORE NULLS] [TIES BY s, …]
//!        ──►  ASOF JOIN factor MATCH_CONDITION (…) [ON … | USING (…)]
//! ```
//!
//! where `…` is `m` itself if nothing else has to be said, and otherwise the marker call
//! `__asof('words', m or NULL [, t] [ORDER BY s, …])`, which the relation planner reads. Its
//! words are the kind, `lt` and `ignore`.
//!
//! Joins are taken from the right to the left, so that what follows a join is already in the
//! form that sqlparser's own parser, which finds the extent of each part, understands. Moved
//! tokens keep their places in the text; added ones get that of `ASOF`.
//!
//! `ASOF`, `TOLERANCE` and the like are words with a meaning only where a join can stand or
//! end; everywhere else they are names.

mod clauses;
mod duration;
mod head;

use std::ops::Range;

use datafusion::common::Result;
use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan, Whitespace};

use crate::logical::builder::Location;
use clauses::Clauses;
use head::{Head, head};

/// The function that carries what sqlparser's form has no room for.
pub(super) const MARKER: &str = "__asof";

/// Whether a word of as-of joins occurs at all: if not, nothing here concerns the text.
pub(super) fn mention_asof(tokens: &[TokenWithSpan]) -> bool {
    let mention = |token: &Token| is_word(token, "ASOF") || is_word(token, "LT");
    tokens.iter().any(|token| mention(&token.token))
}

fn is_word(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
}

pub(super) fn location(span: Span) -> Option<Location> {
    (span.start.line > 0).then_some(Location {
        line: span.start.line,
        column: span.start.column,
    })
}

/// How to read the text.
pub(super) struct Syntax<'a> {
    pub dialect: &'a dyn Dialect,
    pub recursion_limit: usize,
}

impl Syntax<'_> {
    /// The statement in canonical form; `None` if it has no as-of join.
    ///
    /// # Errors
    /// Syntax errors and refusals, with their place in the text.
    pub(super) fn canonical(
        &self,
        statement: &[TokenWithSpan],
    ) -> Result<Option<Vec<TokenWithSpan>>> {
        let mut tokens = statement.to_vec();
        let mut changed = false;
        for at in (0..tokens.len()).rev() {
            let Some(head) = head(&tokens, at)? else {
                continue;
            };
            let parts = self.parts(&tokens, head.words.end);
            let (factor, clauses) = match parts {
                Err(_) if head.may_be_alias => continue,
                Ok((_, clauses)) if head.may_be_alias && !clauses.are_of_asof(&tokens) => continue,
                parts => parts?,
            };
            let join = emit(&tokens, &head, factor, &clauses);
            tokens.splice(head.words.start..clauses.end, join);
            changed = true;
        }
        Ok(changed.then_some(tokens))
    }

    /// The joined table and what follows it.
    fn parts(&self, tokens: &[TokenWithSpan], start: usize) -> Result<(Range<usize>, Clauses)> {
        let factor = start..start + self.factor(&tokens[start..])?;
        let clauses = self.clauses(tokens, factor.end)?;
        Ok((factor, clauses))
    }
}

/// The join in its one form.
fn emit(
    tokens: &[TokenWithSpan],
    head: &Head,
    factor: Range<usize>,
    clauses: &Clauses,
) -> Vec<TokenWithSpan> {
    let added = |token: Token| TokenWithSpan::new(token, head.asof);
    let space = || added(Token::Whitespace(Whitespace::Space));
    let keyword = |word: &str| added(Token::make_keyword(word));
    let mut join = vec![keyword("ASOF"), space(), keyword("JOIN"), space()];
    join.extend_from_slice(&tokens[factor]);
    join.extend([space(), keyword("MATCH_CONDITION"), added(Token::LParen)]);
    let words: Vec<&str> = [
        head.kind,
        if head.strict { "lt" } else { "" },
        if clauses.ignore_nulls == Some(true) {
            "ignore"
        } else {
            ""
        },
    ]
    .into_iter()
    .filter(|word| !word.is_empty())
    .collect();
    let says_more = !words.is_empty() || clauses.tolerance.is_some() || clauses.ties.is_some();
    match &clauses.match_condition {
        Some(condition) if !says_more => join.extend_from_slice(&tokens[condition.clone()]),
        condition => {
            join.extend([added(Token::make_word(MARKER, None)), added(Token::LParen)]);
            join.push(added(Token::SingleQuotedString(words.join(" "))));
            join.push(added(Token::Comma));
            match condition {
                Some(condition) => join.extend_from_slice(&tokens[condition.clone()]),
                None => join.push(keyword("NULL")),
            }
            if let Some(tolerance) = &clauses.tolerance {
                join.push(added(Token::Comma));
                join.extend_from_slice(tolerance);
            }
            if let Some(ties) = &clauses.ties {
                join.extend([space(), keyword("ORDER"), space(), keyword("BY"), space()]);
                join.extend_from_slice(&tokens[ties.clone()]);
            }
            join.push(added(Token::RParen));
        }
    }
    join.push(added(Token::RParen));
    if let Some(constraint) = &clauses.constraint {
        join.push(space());
        join.extend_from_slice(&tokens[constraint.clone()]);
    }
    join
}

fn significant(
    tokens: &[TokenWithSpan],
    range: Range<usize>,
) -> impl DoubleEndedIterator<Item = usize> {
    range.filter(|at| !matches!(tokens[*at].token, Token::Whitespace(_)))
}

fn next_significant(tokens: &[TokenWithSpan], from: usize) -> Option<usize> {
    significant(tokens, from.min(tokens.len())..tokens.len()).next()
}

fn previous_significant(tokens: &[TokenWithSpan], before: usize) -> Option<usize> {
    significant(tokens, 0..before).next_back()
}
