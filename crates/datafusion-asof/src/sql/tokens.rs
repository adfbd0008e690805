//! Every spelling of an as-of join to the one form that sqlparser parses.
//!
//! ```text
//! [kind] ASOF [kind] JOIN factor [MATCH_CONDITION (m)] [ON … | USING (…)] [TOLERANCE t]
//!        ──►  ASOF JOIN factor MATCH_CONDITION (…) [ON … | USING (…)]
//! ```
//!
//! where `…` is `m` itself if nothing else has to be said, and otherwise the marker call
//! `__asof('kind', m or NULL [, t])`, which the relation planner reads.
//!
//! Joins are taken from the right to the left, so that what follows a join is already in the
//! form that sqlparser's own parser, which finds the extent of each part, understands. Moved
//! tokens keep their places in the text; added ones get that of `ASOF`.
//!
//! `ASOF`, `TOLERANCE` and the like are words with a meaning only where a join can stand or
//! end; everywhere else they are names.

use std::ops::Range;

use datafusion::common::{
    DataFusionError, Result, not_impl_datafusion_err, plan_datafusion_err, plan_err,
};
use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan, Whitespace};

use crate::logical::builder::{Location, locate};

/// The function that carries what sqlparser's form has no room for.
pub(super) const MARKER: &str = "__asof";

/// Whether the word occurs at all: if not, nothing here concerns the text.
pub(super) fn mention_asof(tokens: &[TokenWithSpan]) -> bool {
    tokens.iter().any(|token| is_word(&token.token, "ASOF"))
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

/// The words around `ASOF` and the range from the first of them to `JOIN`.
struct Head {
    kind: &'static str,
    words: Range<usize>,
    asof: Span,
}

/// What follows the joined table, as ranges of tokens.
#[derive(Default)]
struct Clauses {
    match_condition: Option<Range<usize>>,
    constraint: Option<Range<usize>>,
    tolerance: Option<Vec<TokenWithSpan>>,
    end: usize,
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
            let start = head.words.end;
            let factor = start..start + self.factor(&tokens[start..])?;
            let clauses = self.clauses(&tokens, factor.end)?;
            let join = emit(&tokens, &head, factor, &clauses);
            tokens.splice(head.words.start..clauses.end, join);
            changed = true;
        }
        Ok(changed.then_some(tokens))
    }

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

    /// The extent of the joined table with its alias.
    fn factor(&self, tokens: &[TokenWithSpan]) -> Result<usize> {
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
            let joins_on = |token: &Token| {
                ["MATCH_CONDITION", "ON", "USING", "TOLERANCE"]
                    .iter()
                    .any(|word| is_word(token, word))
            };
            if next.is_some_and(|token| !joins_on(token) && !ends_join(token)) {
                return Ok(last);
            }
        }
        Ok(extent)
    }

    fn clauses(&self, tokens: &[TokenWithSpan], from: usize) -> Result<Clauses> {
        let mut clauses = Clauses {
            end: from,
            ..Clauses::default()
        };
        while let Some(at) = next_significant(tokens, clauses.end) {
            let word = &tokens[at].token;
            let here = location(tokens[at].span);
            let followed_by = |expected: &str| {
                next_significant(tokens, at + 1)
                    .is_some_and(|next| is_word(&tokens[next].token, expected))
            };
            if is_word(word, "MATCH_CONDITION") {
                if clauses.match_condition.is_some() {
                    return twice("MATCH_CONDITION", here);
                }
                let length = self.extent(&tokens[at + 1..], |parser| {
                    parser.expect_token(&Token::LParen)?;
                    parser.parse_expr()?;
                    parser.expect_token(&Token::RParen)
                })?;
                clauses.end = at + 1 + length;
                let open = next_significant(tokens, at + 1).unwrap_or(at);
                clauses.match_condition = Some(open + 1..clauses.end - 1);
            } else if is_word(word, "ON") || is_word(word, "USING") {
                if clauses.constraint.is_some() {
                    // It belongs to a join further out.
                    break;
                }
                let length = if is_word(word, "ON") {
                    1 + self.extent(&tokens[at + 1..], |parser| parser.parse_expr())?
                } else {
                    self.extent(&tokens[at..], |parser| parser.parse_join_constraint(false))?
                };
                clauses.end = at + length;
                clauses.constraint = Some(at..clauses.end);
            } else if is_word(word, "TOLERANCE") {
                if clauses.tolerance.is_some() {
                    return twice("TOLERANCE", here);
                }
                let (tolerance, end) = self.tolerance(tokens, at)?;
                clauses.tolerance = Some(tolerance);
                clauses.end = end;
            } else if (is_word(word, "IGNORE") || is_word(word, "RESPECT")) && followed_by("NULLS")
            {
                return not_yet("IGNORE NULLS and RESPECT NULLS", here);
            } else if is_word(word, "TIES") && followed_by("BY") {
                return not_yet("TIES BY", here);
            } else {
                break;
            }
        }
        Ok(clauses)
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
        if let Some((number, unit, length)) = duration_word(&tokens[first..]) {
            let span = tokens[first].span;
            let unit = unit_name(&unit).map_err(|e| locate(e, location(span)))?;
            let interval = [
                Token::make_keyword("INTERVAL"),
                Token::Whitespace(Whitespace::Space),
                Token::SingleQuotedString(format!("{number} {unit}")),
            ];
            let interval = interval.map(|token| TokenWithSpan::new(token, span));
            return Ok((interval.to_vec(), first + length));
        }
        let end = first + self.extent(&tokens[first..], |parser| parser.parse_expr())?;
        Ok((tokens[first..end].to_vec(), end))
    }
}

/// The as-of join whose `ASOF` stands at `at`, if it is one.
fn head(tokens: &[TokenWithSpan], at: usize) -> Result<Option<Head>> {
    if !is_word(&tokens[at].token, "ASOF") {
        return Ok(None);
    }
    let mut words = at..at + 1;
    let mut kinds: Vec<(String, Span)> = vec![];
    let mut next = next_significant(tokens, at + 1);
    let mut after: Vec<usize> = vec![];
    while let Some(word) = next.filter(|next| is_kind_word(&tokens[*next].token)) {
        after.push(word);
        next = next_significant(tokens, word + 1);
    }
    match next {
        Some(join) if is_word(&tokens[join].token, "JOIN") => words.end = join + 1,
        _ => return Ok(None),
    }
    let mut before: Vec<usize> = vec![];
    let mut previous = previous_significant(tokens, at);
    while let Some(word) = previous.filter(|word| is_kind_word(&tokens[*word].token)) {
        before.push(word);
        previous = previous_significant(tokens, word);
    }
    before.reverse();
    // Where a table is expected, the word is the name of one.
    if !previous.is_some_and(|previous| ends_table(&tokens[previous].token)) {
        return Ok(None);
    }
    for group in [before, after] {
        if let (Some(first), Some(_)) = (group.first(), group.last()) {
            words.start = words.start.min(*first);
            let text: Vec<String> = group
                .iter()
                .map(|word| tokens[*word].token.to_string().to_ascii_uppercase())
                .collect();
            kinds.push((text.join(" "), tokens[*first].span));
        }
    }
    if let [_, (_, second)] = kinds.as_slice() {
        let twice =
            plan_datafusion_err!("the kind of an ASOF JOIN is written once, before or after ASOF");
        return Err(locate(twice, location(*second)));
    }
    let kind = match kinds.pop() {
        None => "",
        Some((kind, span)) => match kind.as_str() {
            "INNER" => "inner",
            "LEFT" | "LEFT OUTER" => "left",
            "RIGHT" | "RIGHT OUTER" | "FULL" | "FULL OUTER" | "SEMI" | "LEFT SEMI" | "ANTI"
            | "LEFT ANTI" => return not_yet(&format!("{kind} ASOF JOIN"), location(span)),
            _ => {
                let unknown =
                    plan_datafusion_err!("an ASOF JOIN is INNER or LEFT [OUTER], not {kind}");
                return Err(locate(unknown, location(span)));
            }
        },
    };
    Ok(Some(Head {
        kind,
        words,
        asof: tokens[at].span,
    }))
}

fn emit(
    tokens: &[TokenWithSpan],
    head: &Head,
    factor: Range<usize>,
    clauses: &Clauses,
) -> Vec<TokenWithSpan> {
    let added = |token: Token| TokenWithSpan::new(token, head.asof);
    let space = || added(Token::Whitespace(Whitespace::Space));
    let mut join = vec![
        added(Token::make_keyword("ASOF")),
        space(),
        added(Token::make_keyword("JOIN")),
        space(),
    ];
    join.extend_from_slice(&tokens[factor]);
    join.push(space());
    join.push(added(Token::make_keyword("MATCH_CONDITION")));
    join.push(added(Token::LParen));
    match (&clauses.match_condition, &clauses.tolerance) {
        (Some(condition), None) if head.kind.is_empty() => {
            join.extend_from_slice(&tokens[condition.clone()]);
        }
        (condition, tolerance) => {
            join.push(added(Token::make_word(MARKER, None)));
            join.push(added(Token::LParen));
            join.push(added(Token::SingleQuotedString(head.kind.to_owned())));
            join.push(added(Token::Comma));
            match condition {
                Some(condition) => join.extend_from_slice(&tokens[condition.clone()]),
                None => join.push(added(Token::make_keyword("NULL"))),
            }
            if let Some(tolerance) = tolerance {
                join.push(added(Token::Comma));
                join.extend_from_slice(tolerance);
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

fn is_kind_word(token: &Token) -> bool {
    [
        "INNER", "LEFT", "RIGHT", "FULL", "OUTER", "SEMI", "ANTI", "CROSS",
    ]
    .iter()
    .any(|kind| is_word(token, kind))
}

/// Whether a table, with or without alias, or the clauses of a join can end with the token.
fn ends_table(token: &Token) -> bool {
    const STARTS: [&str; 14] = [
        "FROM", "JOIN", "AS", "LATERAL", "ONLY", "INTO", "UPDATE", "TABLE", "USING", "ON", "AND",
        "OR", "NOT", "SELECT",
    ];
    match token {
        Token::Word(word) if word.quote_style.is_none() => {
            !STARTS.iter().any(|start| is_word(token, start))
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

/// Whether the token can only follow a join that is complete.
fn ends_join(token: &Token) -> bool {
    const ENDS: [&str; 16] = [
        "WHERE",
        "GROUP",
        "HAVING",
        "ORDER",
        "LIMIT",
        "UNION",
        "EXCEPT",
        "INTERSECT",
        "JOIN",
        "INNER",
        "LEFT",
        "RIGHT",
        "FULL",
        "CROSS",
        "ASOF",
        "QUALIFY",
    ];
    match token {
        Token::RParen | Token::Comma | Token::EOF => true,
        _ => ENDS.iter().any(|end| is_word(token, end)),
    }
}

fn twice<T>(clause: &str, at: Option<Location>) -> Result<T> {
    let error = plan_datafusion_err!("{clause} is written twice for one ASOF JOIN");
    Err(locate(error, at))
}

fn not_yet<T>(what: &str, at: Option<Location>) -> Result<T> {
    let error = not_impl_datafusion_err!("{what} is not supported yet");
    Err(locate(error, at))
}

/// A number with a unit right behind it, as in `250ms`: both, and the tokens they take.
fn duration_word(tokens: &[TokenWithSpan]) -> Option<(String, String, usize)> {
    match (
        &tokens.first()?.token,
        tokens.get(1).map(|token| &token.token),
    ) {
        (Token::Number(number, false), Some(Token::Word(unit))) if unit.quote_style.is_none() => {
            Some((number.clone(), unit.value.clone(), 2))
        }
        // Some dialects read `5s` as a name.
        (Token::Word(word), _) if word.quote_style.is_none() => {
            let digits = word.value.len()
                - word
                    .value
                    .trim_start_matches(|c: char| c.is_ascii_digit())
                    .len();
            let (number, unit) = word.value.split_at(digits);
            (digits > 0 && !unit.is_empty()).then(|| (number.to_owned(), unit.to_owned(), 1))
        }
        _ => None,
    }
}

/// QuestDB's units, which are case-sensitive, and the usual abbreviations.
fn unit_name(unit: &str) -> Result<&'static str> {
    Ok(match unit {
        "n" | "ns" => "nanoseconds",
        "U" | "us" => "microseconds",
        "T" | "ms" => "milliseconds",
        "s" => "seconds",
        "m" => "minutes",
        "h" => "hours",
        "d" => "days",
        "w" => "weeks",
        "M" | "mo" | "y" | "Y" => {
            return plan_err!(
                "TOLERANCE must have a fixed length: months and years have none, \
                 write days, as in 30d"
            );
        }
        _ => {
            return plan_err!(
                "'{unit}' is no unit of TOLERANCE: write ns, us, ms, s, m, h, d or w"
            );
        }
    })
}
