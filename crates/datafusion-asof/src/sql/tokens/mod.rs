//! Every spelling of an as-of join to the one form that sqlparser parses.
//!
//! ```text
//! [kind] {ASOF|LT} [kind] JOIN factor [MATCH_CONDITION (m)] [ON … | USING (…)]
//!                                     [TOLERANCE t] [IGNORE NULLS] [TIES BY s, …]
//!        ──►  ASOF JOIN factor MATCH_CONDITION (…) [ON … | USING (…)]
//! ```
//!
//! where `…` is `m` itself if nothing else has to be said, and otherwise the marker call
//! `asof__('words', m or NULL [, t] [ORDER BY s, …])`, which the relation planner reads. Its
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

use std::collections::VecDeque;
use std::ops::Range;

use datafusion::common::Result;
use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan, Whitespace};

use crate::logical::builder::Location;
use clauses::Clauses;
use head::{Head, head};

/// The function that carries what sqlparser's form has no room for.
pub(super) const MARKER: &str = "asof__";

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
        // What is to the right of the place being looked at, in canonical form.
        let mut tail: VecDeque<TokenWithSpan> = VecDeque::with_capacity(statement.len());
        let mut changed = false;
        let mut at = statement.len();
        while at > 0 {
            at -= 1;
            if let Some(head) = head(statement, at)? {
                let skipped = head.words.end - (at + 1);
                if let Some((join, taken)) = self.join(&head, &tail, skipped)? {
                    tail.drain(..skipped + taken);
                    prepend(&mut tail, join);
                    changed = true;
                    at = head.words.start;
                    continue;
                }
            }
            tail.push_front(statement[at].clone());
        }
        Ok(changed.then(|| tail.into()))
    }

    /// The join in its one form, and how many tokens of `tail` behind the `skipped` ones it
    /// takes; `None` if `LT` is an alias.
    fn join(
        &self,
        head: &Head,
        tail: &VecDeque<TokenWithSpan>,
        skipped: usize,
    ) -> Result<Option<(Vec<TokenWithSpan>, usize)>> {
        let near = reach(tail, skipped);
        let tokens: Vec<TokenWithSpan> = tail.range(skipped..near).cloned().collect();
        let all = near == tail.len();
        let (tokens, (factor, clauses)) = match self.parts(&tokens, 0) {
            Ok(parts) if all || parts.1.end < tokens.len() => (tokens, parts),
            Err(_) if head.may_be_alias => return Ok(None),
            Err(e) if all => return Err(e),
            // A column may be named `join`.
            _ => {
                let tokens: Vec<TokenWithSpan> = tail.range(skipped..).cloned().collect();
                let parts = self.parts(&tokens, 0)?;
                (tokens, parts)
            }
        };
        if head.may_be_alias && !clauses.are_of_asof(&tokens) {
            return Ok(None);
        }
        let join = emit(&tokens, head, factor, &clauses);
        Ok(Some((join, clauses.end)))
    }

    /// The joined table and what follows it.
    fn parts(&self, tokens: &[TokenWithSpan], start: usize) -> Result<(Range<usize>, Clauses)> {
        let factor = start..start + self.factor(&tokens[start..])?;
        let clauses = self.clauses(tokens, factor.end)?;
        Ok((factor, clauses))
    }
}

/// Up to where a join that begins at `from` can reach: through the next `JOIN`, or the end of the
/// brackets around it. So that a chain of joins is not read to its end for each of them.
fn reach(tokens: &VecDeque<TokenWithSpan>, from: usize) -> usize {
    let mut depth = 0usize;
    let mut after_period = false;
    for (at, token) in tokens.range(from..).enumerate() {
        let here = from + at + 1;
        match &token.token {
            Token::LParen | Token::LBracket | Token::LBrace => depth += 1,
            Token::RParen | Token::RBracket | Token::RBrace if depth == 0 => return here,
            Token::RParen | Token::RBracket | Token::RBrace => depth -= 1,
            word if depth == 0 && !after_period && is_word(word, "JOIN") => return here,
            _ => {}
        }
        after_period = token.token == Token::Period;
    }
    tokens.len()
}

fn prepend(tail: &mut VecDeque<TokenWithSpan>, tokens: Vec<TokenWithSpan>) {
    for token in tokens.into_iter().rev() {
        tail.push_front(token);
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
