//! Where an as-of join begins: `[kind] {ASOF|LT} [kind] JOIN`.
//!
//! `ASOF` and `LT` are joins only where a join can stand, behind a table. `t ASOF` can be
//! nothing else there. `t LT JOIN q` is also `t AS LT JOIN q`, an ordinary join, and is left to
//! be one ([`Head::may_be_alias`]) unless what follows can only belong to an as-of join.

use std::ops::Range;

use datafusion::common::{Result, plan_datafusion_err};
use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use super::{is_word, location, next_significant, previous_significant, significant};
use crate::logical::builder::locate;

/// The words around `ASOF` or `LT`, and the range from the first of them to `JOIN`.
pub(super) struct Head {
    pub kind: &'static str,
    pub words: Range<usize>,
    pub asof: Span,
    /// `LT JOIN`.
    pub strict: bool,
    /// Whether `LT` may be the alias of the table before it.
    pub may_be_alias: bool,
}

/// The as-of join whose `ASOF` or `LT` stands at `at`, if it is one.
pub(super) fn head(tokens: &[TokenWithSpan], at: usize) -> Result<Option<Head>> {
    let strict = is_word(&tokens[at].token, "LT");
    if !strict && !is_word(&tokens[at].token, "ASOF") {
        return Ok(None);
    }
    let after = kind_words(tokens, at, Way::After);
    let last = after.last().copied().unwrap_or(at);
    let join = match next_significant(tokens, last + 1) {
        Some(join) if is_word(&tokens[join].token, "JOIN") => join,
        _ => return Ok(None),
    };
    let mut before = kind_words(tokens, at, Way::Before);
    before.reverse();
    let start = before.first().copied().unwrap_or(at);
    let table = previous_significant(tokens, start);
    // Where a table is expected, the word is the name of one.
    let Some(table) = table.filter(|table| ends_table(&tokens[*table].token)) else {
        return Ok(None);
    };
    let may_be_alias =
        strict && before.is_empty() && !has_alias(tokens, table) && !in_clause(tokens, table);
    let kind = match (before.first(), after.first()) {
        (Some(_), Some(second)) if !may_be_alias => {
            let twice = plan_datafusion_err!(
                "the kind of an ASOF JOIN is written once, before or after ASOF"
            );
            return Err(locate(twice, location(tokens[*second].span)));
        }
        (Some(_), _) => kind(tokens, &before),
        _ => kind(tokens, &after),
    };
    Ok(Some(Head {
        kind: match kind {
            Err(_) if may_be_alias => return Ok(None),
            kind => kind?,
        },
        words: start..join + 1,
        asof: tokens[at].span,
        strict,
        may_be_alias,
    }))
}

#[derive(Clone, Copy)]
enum Way {
    Before,
    After,
}

/// The kind words next to `at`, the nearest first.
fn kind_words(tokens: &[TokenWithSpan], at: usize, way: Way) -> Vec<usize> {
    let next = |at: usize| match way {
        Way::Before => previous_significant(tokens, at),
        Way::After => next_significant(tokens, at + 1),
    };
    let is_kind = |word: &usize| is_kind_word(&tokens[*word].token);
    std::iter::successors(next(at).filter(is_kind), |word| next(*word).filter(is_kind)).collect()
}

fn kind(tokens: &[TokenWithSpan], words: &[usize]) -> Result<&'static str> {
    let Some(first) = words.first() else {
        return Ok("");
    };
    let text: Vec<String> = words
        .iter()
        .map(|word| tokens[*word].token.to_string().to_ascii_uppercase())
        .collect();
    let text = text.join(" ");
    Ok(match text.as_str() {
        "INNER" => "inner",
        "LEFT" | "LEFT OUTER" => "left",
        "RIGHT" | "RIGHT OUTER" => "right",
        "FULL" | "FULL OUTER" => "full",
        "SEMI" | "LEFT SEMI" => "semi",
        "ANTI" | "LEFT ANTI" => "anti",
        _ => {
            let unknown = plan_datafusion_err!(
                "an ASOF JOIN is INNER, LEFT, RIGHT, FULL, SEMI or ANTI, not {text}"
            );
            return Err(locate(unknown, location(tokens[*first].span)));
        }
    })
}

fn is_kind_word(token: &Token) -> bool {
    [
        "INNER", "LEFT", "RIGHT", "FULL", "OUTER", "SEMI", "ANTI", "CROSS",
    ]
    .iter()
    .any(|kind| is_word(token, kind))
}

/// Whether the word at `last`, the end of a table, is an alias: then no other can follow.
fn has_alias(tokens: &[TokenWithSpan], last: usize) -> bool {
    let Token::Word(_) = &tokens[last].token else {
        return false;
    };
    previous_significant(tokens, last).is_some_and(|before| match &tokens[before].token {
        Token::RParen => true,
        Token::Word(word) => {
            word.quote_style.is_some()
                || is_word(&tokens[before].token, "AS")
                || !BEFORE_TABLE
                    .iter()
                    .any(|start| is_word(&tokens[before].token, start))
        }
        Token::SingleQuotedString(_) => true,
        _ => false,
    })
}

/// Whether the token at `last` ends a clause of the join before, behind which no alias can stand.
fn in_clause(tokens: &[TokenWithSpan], last: usize) -> bool {
    let mut depth = 0usize;
    for at in significant(tokens, 0..last + 1).rev() {
        let token = &tokens[at].token;
        let any = |words: &[&str]| words.iter().any(|word| is_word(token, word));
        match token {
            Token::RParen => depth += 1,
            Token::LParen if depth == 0 => return false,
            Token::LParen => depth -= 1,
            _ if depth > 0 => {}
            Token::Comma => return false,
            _ if any(&["FROM", "JOIN"]) => return false,
            _ if any(&[
                "ON",
                "USING",
                "MATCH_CONDITION",
                "TOLERANCE",
                "TIES",
                "NULLS",
            ]) =>
            {
                return true;
            }
            _ => {}
        }
    }
    false
}

/// Words behind which a table or an expression begins, or goes on.
const BEFORE_TABLE: [&str; 29] = [
    "FROM", "JOIN", "AS", "LATERAL", "ONLY", "INTO", "UPDATE", "TABLE", "USING", "ON", "AND", "OR",
    "NOT", "SELECT", "IS", "LIKE", "ILIKE", "RLIKE", "REGEXP", "TO", "BETWEEN", "ESCAPE", "XOR",
    "DIV", "CASE", "WHEN", "THEN", "ELSE", "DISTINCT",
];

/// Whether a table, with or without alias, or the clauses of a join can end with the token.
fn ends_table(token: &Token) -> bool {
    match token {
        Token::Word(word) if word.quote_style.is_none() => {
            !BEFORE_TABLE.iter().any(|start| is_word(token, start))
        }
        // The last token of an expression that ends the join before.
        Token::Word(_)
        | Token::Number(_, _)
        | Token::Placeholder(_)
        | Token::SingleQuotedString(_)
        | Token::RParen
        | Token::RBracket => true,
        _ => false,
    }
}
