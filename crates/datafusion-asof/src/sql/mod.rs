//! `ASOF JOIN … TOLERANCE` in SQL.
//!
//! DataFusion's parser has no hook for joins, so a statement takes three steps:
//!
//! ```text
//! text ──tokens──► [tokens]   every spelling to the one form that sqlparser parses
//!      ──parse───► [lift]     ASOF joins to parenthesised joins: table factors
//!      ──plan────► [relation_planner]   table factors, offered by DataFusion, to AsOfJoinNode
//! ```
//!
//! Tokens keep their places in the text, so errors of every step point into it. A statement
//! without an as-of join takes DataFusion's own path from the first step on. The one form is
//! also what views and [`rewrite_sql`] are written in: plain `SessionContext::sql` of a
//! session with this extension understands it.

mod lift;
mod marker;
mod relation_planner;
mod tokens;

use std::borrow::Cow;

use async_trait::async_trait;
use datafusion::common::config::Dialect;
use datafusion::common::{DataFusionError, Result, not_impl_err, plan_datafusion_err, plan_err};
use datafusion::dataframe::DataFrame;
use datafusion::execution::SessionState;
use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::dialect::{Dialect as SqlDialect, dialect_from_str};
use datafusion::sql::sqlparser::tokenizer::{
    Location as SqlLocation, Token, TokenWithSpan, Tokenizer,
};

pub(crate) use relation_planner::AsOfRelationPlanner;

use crate::logical::builder::{Location, locate};

/// SQL with as-of joins on a session made with [`WithAsOf`](crate::WithAsOf).
#[async_trait]
pub trait AsOfSql {
    /// Plans one statement and, like [`SessionContext::sql`], runs it at once if it is DDL
    /// or sets an option.
    ///
    /// # Errors
    /// Those of [`SessionContext::sql`]; syntax and planning errors say where in `sql` they
    /// are, as in `at Line: 1, Column: 8`.
    ///
    /// ```
    /// # use datafusion::error::Result;
    /// use datafusion::prelude::SessionContext;
    /// use datafusion_asof::{AsOfSql, WithAsOf};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// let ctx = SessionContext::new().with_asof();
    /// let joined = ctx
    ///     .asof_sql(
    ///         "SELECT t.ts, q.bid
    ///          FROM (VALUES (3), (9)) AS t(ts)
    ///          ASOF JOIN (VALUES (1, 10), (2, 20)) AS q(ts, bid)
    ///          MATCH_CONDITION (t.ts >= q.ts) TOLERANCE 5",
    ///     )
    ///     .await?;
    /// assert_eq!(joined.count().await?, 2);
    /// # Ok(())
    /// # }
    /// ```
    async fn asof_sql(&self, sql: &str) -> Result<DataFrame>;

    /// [`Self::asof_sql`], refusing kinds of statements as
    /// [`SessionContext::sql_with_options`] does.
    ///
    /// # Errors
    /// Those of [`Self::asof_sql`], and a planning error for a statement not allowed.
    async fn asof_sql_with_options(&self, sql: &str, options: SQLOptions) -> Result<DataFrame>;

    /// The logical plan of one statement; nothing is run.
    ///
    /// # Errors
    /// Those of [`Self::asof_sql`].
    async fn asof_plan(&self, sql: &str) -> Result<LogicalPlan>;
}

#[async_trait]
impl AsOfSql for SessionContext {
    async fn asof_sql(&self, sql: &str) -> Result<DataFrame> {
        self.asof_sql_with_options(sql, SQLOptions::new()).await
    }

    async fn asof_sql_with_options(&self, sql: &str, options: SQLOptions) -> Result<DataFrame> {
        let plan = self.asof_plan(sql).await?;
        options.verify_plan(&plan)?;
        self.execute_logical_plan(plan).await
    }

    async fn asof_plan(&self, sql: &str) -> Result<LogicalPlan> {
        let mut state = self.state();
        // Columns remember where they were written, for errors.
        state.config_mut().options_mut().sql_parser.collect_spans = true;
        let statement = parse(sql, &state)?;
        let plan = state.statement_to_plan(statement).await;
        plan.map_err(with_diagnosed_place)
    }
}

/// SQL with as-of joins as SQL for [`SessionContext::sql`], for those who cannot call
/// [`AsOfSql::asof_sql`] instead. The session must have been made with
/// [`WithAsOf`](crate::WithAsOf).
///
/// Statements without as-of joins come back as they are; if there is no other, `sql` itself.
/// Statements are separated by `;`.
///
/// # Errors
/// Syntax errors, with their place in `sql`. Names and types are not looked at.
///
/// ```
/// use datafusion::config::Dialect;
/// use datafusion_asof::rewrite_sql;
///
/// # fn main() -> datafusion::error::Result<()> {
/// let plain = rewrite_sql(
///     "SELECT * FROM t ASOF JOIN q ON t.sym = q.sym AND t.ts >= q.ts",
///     Dialect::Generic,
/// )?;
/// assert!(plain.contains("FROM (t ASOF JOIN q "));
/// # Ok(())
/// # }
/// ```
pub fn rewrite_sql(sql: &str, dialect: Dialect) -> Result<Cow<'_, str>> {
    let parser = sql_dialect(dialect)?;
    let tokens = tokenize(sql, parser.as_ref(), Quoted::AsWritten)?;
    if !tokens::mention_asof(&tokens) {
        return Ok(Cow::Borrowed(sql));
    }
    let limit = datafusion::config::SqlParserOptions::default()
        .recursion_limit
        .get();
    let mut rewritten = String::new();
    let mut changed = false;
    let statements = tokens.split(|token| token.token == Token::SemiColon);
    for (i, statement) in statements.enumerate() {
        if i > 0 {
            rewritten.push(';');
        }
        match canonical(statement, parser.as_ref(), limit)? {
            Some(statement) => {
                changed = true;
                rewritten.push_str(&text_of_statement(statement)?);
            }
            None => rewritten.push_str(text_of(sql, statement)),
        }
    }
    Ok(if changed {
        Cow::Owned(rewritten)
    } else {
        Cow::Borrowed(sql)
    })
}

/// A statement, its quoted parts as they were written, as text that is read back as the same.
fn text_of_statement(mut statement: Statement) -> Result<String> {
    lift::separate_signs(&mut statement)?;
    let mut inner = &mut statement;
    while let Statement::Explain(explain) = inner {
        inner = &mut explain.statement;
    }
    if let Statement::CopyTo(copy) = inner {
        // DataFusion prints the target without its quotes.
        copy.target = format!("'{}'", copy.target);
    }
    Ok(statement.to_string())
}

/// The one statement of `sql`.
fn parse(sql: &str, state: &SessionState) -> Result<Statement> {
    let options = &state.config().options().sql_parser;
    let dialect = sql_dialect(options.dialect)?;
    let tokens = tokenize(sql, dialect.as_ref(), Quoted::AsMeant)?;
    if tokens::mention_asof(&tokens) {
        let is_text = |token: &&TokenWithSpan| !matches!(token.token, Token::Whitespace(_));
        let mut statements = tokens
            .split(|token| token.token == Token::SemiColon)
            .filter(|statement| statement.iter().any(|token| is_text(&token)));
        if let (Some(statement), None) = (statements.next(), statements.next())
            && let Some(statement) =
                canonical(statement, dialect.as_ref(), options.recursion_limit.get())?
        {
            return Ok(statement);
        }
    }
    state.sql_to_statement(sql, &options.dialect)
}

/// A statement with its as-of joins as parenthesised joins; `None` if it has none.
fn canonical(
    statement: &[TokenWithSpan],
    dialect: &dyn SqlDialect,
    recursion_limit: usize,
) -> Result<Option<Statement>> {
    let syntax = tokens::Syntax {
        dialect,
        recursion_limit,
    };
    let Some(tokens) = syntax.canonical(statement)? else {
        return Ok(None);
    };
    let mut parser = DFParserBuilder::new(tokens)
        .with_dialect(dialect)
        .with_recursion_limit(recursion_limit)
        .build()?;
    let mut statements = parser.parse_statements()?;
    match (statements.pop_front(), statements.pop_front()) {
        (Some(mut statement), None) => {
            lift::lift(&mut statement)?;
            Ok(Some(statement))
        }
        (Some(_), Some(_)) => {
            not_impl_err!("The context currently only supports a single SQL statement")
        }
        (None, _) => plan_err!("No SQL statements were provided in the query string"),
    }
}

fn sql_dialect(dialect: Dialect) -> Result<Box<dyn SqlDialect>> {
    dialect_from_str(dialect).ok_or_else(|| {
        plan_datafusion_err!(
            "Unsupported SQL dialect: {dialect}. Available dialects: {}.",
            Dialect::available()
        )
    })
}

/// What quoted tokens hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quoted {
    /// What they stand for.
    AsMeant,
    /// What stands between the quotes: sqlparser prints that as it was, but not all else.
    AsWritten,
}

fn tokenize(sql: &str, dialect: &dyn SqlDialect, quoted: Quoted) -> Result<Vec<TokenWithSpan>> {
    let tokens = Tokenizer::new(dialect, sql)
        .with_unescape(quoted == Quoted::AsMeant)
        .tokenize_with_location();
    tokens.map_err(|e| {
        DataFusionError::from(datafusion::sql::sqlparser::parser::ParserError::from(e))
    })
}

/// The part of `sql` that a run of tokens was read from.
fn text_of<'a>(sql: &'a str, tokens: &[TokenWithSpan]) -> &'a str {
    let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else {
        return "";
    };
    &sql[offset(sql, first.span.start)..offset(sql, last.span.end)]
}

/// Where a place, lines and columns counted in characters from 1, is in the text.
fn offset(sql: &str, place: SqlLocation) -> usize {
    let line = usize::try_from(place.line).unwrap_or(usize::MAX).max(1) - 1;
    let column = usize::try_from(place.column).unwrap_or(usize::MAX).max(1) - 1;
    let start = match line {
        0 => 0,
        _ => sql
            .match_indices('\n')
            .nth(line - 1)
            .map_or(sql.len(), |(newline, _)| newline + 1),
    };
    let mut characters = sql[start..].char_indices();
    start
        + characters
            .nth(column)
            .map_or(sql.len() - start, |(at, _)| at)
}

/// DataFusion keeps the place of an error beside its message; users read the message.
fn with_diagnosed_place(error: DataFusionError) -> DataFusionError {
    let span = error.diagnostic().and_then(|diagnostic| diagnostic.span);
    let Some(span) = span.filter(|span| span.start.line > 0) else {
        return error;
    };
    let at = Location {
        line: span.start.line,
        column: span.start.column,
    };
    match error {
        DataFusionError::Diagnostic(diagnostic, inner) if is_text(&inner) => {
            DataFusionError::Diagnostic(diagnostic, Box::new(locate(*inner, Some(at))))
        }
        error => error.context(at.to_string().trim_start()),
    }
}

/// Whether the error is a message of its own, to which a place can be added.
fn is_text(error: &DataFusionError) -> bool {
    matches!(
        error,
        DataFusionError::Plan(_) | DataFusionError::NotImplemented(_)
    )
}

#[cfg(test)]
mod tests;
