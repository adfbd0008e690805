//! What follows the joined table: the condition and the trailing clauses.
//!
//! sqlparser's own parser finds the extent of each expression. Two words need care: an alias is
//! taken from `q TOLERANCE 5s`, and `f(x) IGNORE NULLS` reads as part of the call; both end the
//! join instead.

use std::ops::Range;

use datafusion::common::{DataFusionError, Result, plan_datafusion_err};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::duration::{duration_word, unit_name};
use super::{Syntax, is_word, location, next_significant, significant};
use crate::logical::builder::{Location, locate};

/// What follows the joined table, as ranges of tokens.
#[derive(Default)]
pub(super) struct Clauses {
    pub match_condition: Option<Range<usize>>,
    pub constraint: Option<Range<usize>>,
    pub tolerance: Option<Vec<TokenWithSpan>>,
    pub ties: Option<Range<usize>>,
    /// `IGNORE NULLS` if true, `RESPECT NULLS` if false.
    pub ignore_nulls: Option<bool>,
    pub end: usize,
}

impl Clauses {
    /// Whether there is anything that only an as-of join has.
    pub(super) fn are_of_asof(&self, tokens: &[TokenWithSpan]) -> bool {
        let names = |constraint: &Range<usize>| is_list_of_names(tokens, constraint.clone());
        self.match_condition.is_some()
            || self.tolerance.is_some()
            || self.ties.is_some()
            || self.ignore_nulls.is_some()
            || self.constraint.as_ref().is_some_and(names)
    }
}

/// Whether a constraint is `ON (a, b)`, columns of both sides by name.
fn is_list_of_names(tokens: &[TokenWithSpan], constraint: Range<usize>) -> bool {
    let tokens: Vec<&Token> = significant(tokens, constraint)
        .map(|at| &tokens[at].token)
        .collect();
    let [on, Token::LParen, names @ .., Token::RParen] = tokens.as_slice() else {
        return false;
    };
    let alternates = |(i, token): (usize, &&Token)| match i % 2 {
        0 => matches!(token, Token::Word(_)),
        _ => matches!(token, Token::Comma),
    };
    is_word(on, "ON") && names.len() % 2 == 1 && names.iter().enumerate().all(alternates)
}

impl Syntax<'_> {
    /// The number of tokens that sqlparser's parser consumes.
    fn extent<T>(
        &self,
        tokens: &[TokenWithSpan],
        parse: impl FnOnce(&mut Parser<'_>) -> Result<T, ParserError>,
    ) -> Result<usize> {
        let mut parser = Parser::new(self.dialect)
            .with_recursion_limit(self.recursion_limit)
            .with_tokens_with_locations(tokens.to_vec());
        parse(&mut parser).map_err(DataFusionError::from)?;
        Ok(parser.index().min(tokens.len()))
    }

    /// The extent of expressions that may end the join.
    fn last_extent<T>(
        &self,
        tokens: &[TokenWithSpan],
        parse: impl FnOnce(&mut Parser<'_>) -> Result<T, ParserError>,
    ) -> Result<usize> {
        let extent = self.extent(tokens, parse)?;
        let mut words = significant(tokens, 0..extent).rev();
        Ok(match (words.next(), words.next()) {
            (Some(nulls), Some(treatment))
                if is_word(&tokens[nulls].token, "NULLS")
                    && is_treatment(&tokens[treatment].token) =>
            {
                treatment
            }
            _ => extent,
        })
    }

    /// The extent of the joined table with its alias.
    pub(super) fn factor(&self, tokens: &[TokenWithSpan]) -> Result<usize> {
        let extent = self.extent(tokens, |parser| parser.parse_table_factor())?;
        // `q TOLERANCE 5s`: the parser takes the word for an alias.
        let mut words = significant(tokens, 0..extent).rev();
        let (last, before) = (words.next(), words.next());
        if let (Some(last), Some(before)) = (last, before)
            && ["TOLERANCE", "IGNORE", "RESPECT", "TIES"]
                .iter()
                .any(|word| is_word(&tokens[last].token, word))
            && !is_word(&tokens[before].token, "AS")
            && tokens[before].token != Token::Period
        {
            let next = next_significant(tokens, extent).map(|next| &tokens[next].token);
            if next.is_some_and(|token| !goes_on(token) && !ends_join(token)) {
                return Ok(last);
            }
        }
        Ok(extent)
    }

    pub(super) fn clauses(&self, tokens: &[TokenWithSpan], from: usize) -> Result<Clauses> {
        let mut clauses = Clauses {
            end: from,
            ..Clauses::default()
        };
        while let Some(at) = next_significant(tokens, clauses.end) {
            let word = &tokens[at].token;
            let here = location(tokens[at].span);
            let second = next_significant(tokens, at + 1);
            let followed_by =
                |expected: &str| second.filter(|second| is_word(&tokens[*second].token, expected));
            if is_word(word, "MATCH_CONDITION") {
                once("MATCH_CONDITION", clauses.match_condition.is_some(), here)?;
                let length = self.extent(&tokens[at + 1..], |parser| {
                    parser.expect_token(&Token::LParen)?;
                    parser.parse_expr()?;
                    parser.expect_token(&Token::RParen)
                })?;
                clauses.end = at + 1 + length;
                let open = second.unwrap_or(at);
                clauses.match_condition = Some(open + 1..clauses.end - 1);
            } else if is_word(word, "ON") || is_word(word, "USING") {
                if clauses.constraint.is_some() {
                    // It belongs to a join further out.
                    break;
                }
                let length = if is_word(word, "ON") {
                    1 + self.last_extent(&tokens[at + 1..], |parser| parser.parse_expr())?
                } else {
                    self.extent(&tokens[at..], |parser| parser.parse_join_constraint(false))?
                };
                clauses.end = at + length;
                clauses.constraint = Some(at..clauses.end);
            } else if is_word(word, "TOLERANCE") {
                once("TOLERANCE", clauses.tolerance.is_some(), here)?;
                let (tolerance, end) = self.tolerance(tokens, at)?;
                clauses.tolerance = Some(tolerance);
                clauses.end = end;
            } else if is_treatment(word)
                && let Some(nulls) = followed_by("NULLS")
            {
                let written = clauses.ignore_nulls.is_some();
                once("IGNORE NULLS or RESPECT NULLS", written, here)?;
                clauses.ignore_nulls = Some(is_word(word, "IGNORE"));
                clauses.end = nulls + 1;
            } else if is_word(word, "TIES")
                && let Some(by) = followed_by("BY")
            {
                once("TIES BY", clauses.ties.is_some(), here)?;
                let length = self.last_extent(&tokens[by + 1..], |parser| {
                    parser.parse_comma_separated(Parser::parse_order_by_expr)
                })?;
                clauses.end = by + 1 + length;
                clauses.ties = Some(by + 1..clauses.end);
            } else {
                break;
            }
        }
        self.refuse_more_condition(tokens, &clauses)?;
        Ok(clauses)
    }

    /// What follows the last clause must not go on with the condition before it: once the
    /// clauses are taken out, `ON a > b TOLERANCE 5s OR c` would read as `ON a > b OR c`.
    fn refuse_more_condition(&self, tokens: &[TokenWithSpan], clauses: &Clauses) -> Result<()> {
        let Some(constraint) = &clauses.constraint else {
            return Ok(());
        };
        let Some(next) = next_significant(tokens, clauses.end) else {
            return Ok(());
        };
        if constraint.end == clauses.end || !is_word(&tokens[constraint.start].token, "ON") {
            return Ok(());
        }
        let condition = &tokens[constraint.start + 1..constraint.end];
        let joined = [condition, &tokens[clauses.end..]].concat();
        let extent = self.extent(&joined, |parser| parser.parse_expr());
        if extent.is_ok_and(|extent| extent <= condition.len()) {
            return Ok(());
        }
        let more = plan_datafusion_err!(
            "{} cannot follow the clauses behind an ASOF JOIN: write what belongs to the \
             condition before them",
            tokens[next].token
        );
        Err(locate(more, location(tokens[next].span)))
    }

    /// The expression of a tolerance, and where it ends.
    fn tolerance(
        &self,
        tokens: &[TokenWithSpan],
        at: usize,
    ) -> Result<(Vec<TokenWithSpan>, usize)> {
        let here = location(tokens[at].span);
        let Some(first) = next_significant(tokens, at + 1) else {
            let missing = plan_datafusion_err!(
                "TOLERANCE needs a value: write INTERVAL '5 seconds', 5s or a number"
            );
            return Err(locate(missing, here));
        };
        let span = tokens[first].span;
        let at_first = |e| locate(e, location(span));
        if tokens[first].token == Token::Minus
            && let Some(number) = next_significant(tokens, first + 1)
            && duration_word(&tokens[number..]).is_some()
        {
            return Err(at_first(plan_datafusion_err!(
                "TOLERANCE must not be negative"
            )));
        }
        if let Some((number, unit, length)) = duration_word(&tokens[first..]) {
            let unit = unit_name(&unit).map_err(at_first)?;
            if !number.bytes().all(|c| c.is_ascii_digit() || c == b'.') {
                return Err(at_first(plan_datafusion_err!(
                    "{number} is no number of {unit}: write digits, as in 250ms or 1.5h"
                )));
            }
            // A text, because how an INTERVAL is written depends on the dialect.
            let interval = Token::SingleQuotedString(format!("{number} {unit}"));
            let interval = TokenWithSpan::new(interval, span);
            return Ok((vec![interval], first + length));
        }
        let end = first + self.last_extent(&tokens[first..], |parser| parser.parse_expr())?;
        if let (Token::Number(number, _), Some(next)) =
            (&tokens[first].token, next_significant(tokens, end))
            && end == first + 1
            && let Token::Word(unit) = &tokens[next].token
            && unit_name(&unit.value).is_ok()
        {
            let apart = plan_datafusion_err!(
                "a unit stands right behind its number: write TOLERANCE {number}{}",
                unit.value
            );
            return Err(locate(apart, location(tokens[next].span)));
        }
        Ok((tokens[first..end].to_vec(), end))
    }
}

fn is_treatment(token: &Token) -> bool {
    is_word(token, "IGNORE") || is_word(token, "RESPECT")
}

/// Whether the token begins a clause of a join.
fn goes_on(token: &Token) -> bool {
    [
        "MATCH_CONDITION",
        "ON",
        "USING",
        "TOLERANCE",
        "IGNORE",
        "RESPECT",
        "TIES",
    ]
    .iter()
    .any(|word| is_word(token, word))
}

/// Whether the token can only follow a join that is complete.
fn ends_join(token: &Token) -> bool {
    const ENDS: [&str; 31] = [
        "NATURAL",
        "GLOBAL",
        "FETCH",
        "FOR",
        "WINDOW",
        "SORT",
        "CLUSTER",
        "DISTRIBUTE",
        "RETURNING",
        "MINUS",
        "LATERAL",
        "WHERE",
        "GROUP",
        "HAVING",
        "ORDER",
        "LIMIT",
        "OFFSET",
        "UNION",
        "EXCEPT",
        "INTERSECT",
        "JOIN",
        "INNER",
        "LEFT",
        "RIGHT",
        "FULL",
        "SEMI",
        "ANTI",
        "CROSS",
        "ASOF",
        "LT",
        "QUALIFY",
    ];
    match token {
        Token::RParen | Token::Comma | Token::EOF => true,
        _ => ENDS.iter().any(|end| is_word(token, end)),
    }
}

fn once(clause: &str, written: bool, at: Option<Location>) -> Result<()> {
    if !written {
        return Ok(());
    }
    let error = plan_datafusion_err!("{clause} is written twice for one ASOF JOIN");
    Err(locate(error, at))
}
