//! Texts that no one would write, through the token pass and the planner: no panic, no hang, no stack overflow; and a text that has
//! no as-of join is planned exactly as DataFusion plans it.
//!
//! `ASOF_PARSER_FUZZ_CASES` sets how many texts are tried and `ASOF_FUZZ_SEED` the seed of the first.

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::config::Dialect;
use datafusion::datasource::empty::EmptyTable;
use datafusion::error::Result;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_asof::{AsOfSql, WithAsOf, rewrite_sql};
use futures::FutureExt;
use tokio::runtime::Runtime;

use crate::fuzz::{setting, watch};
use crate::types::Dice;

/// Statements to begin from: with as-of joins of every form, and without.
const STATEMENTS: [&str; 24] = [
    "SELECT 'a''''b', 'it''s', t.k AS \"a\"\"\"\"b\", - - t.v FROM t ASOF JOIN q ON t.ts >= - -q.ts AND q.v > - - - 3",
    "SELECT 'a\\\\b', '\\\\', 'x\\''y' FROM t ASOF JOIN q ON t.ts >= q.ts WHERE '' < ''''",
    "SELECT * FROM t ASOF JOIN q MATCH_CONDITION (t.ts >= q.ts) ON t.k = q.k TOLERANCE 5",
    "SELECT t.ts, q.v FROM t ASOF LEFT JOIN q USING (k, ts) WHERE q.v > 1 ORDER BY t.ts LIMIT 3",
    "SELECT * FROM t FULL ASOF JOIN q ON t.k IS NOT DISTINCT FROM q.k AND nearest(t.ts, q.ts) IGNORE NULLS",
    "SELECT * FROM t x LT JOIN q ON (k) TOLERANCE 5s TIES BY q.v DESC NULLS LAST, q.ts",
    "SELECT * FROM t LT JOIN q ON lt.k = q.k",
    "SELECT * FROM t ASOF JOIN (SELECT * FROM q ASOF JOIN t ON q.ts > t.ts) AS j(a, b, c, d, e, f) ON t.ts >= j.b",
    "WITH c AS (SELECT * FROM t ASOF ANTI JOIN q ON t.ts >= q.ts) SELECT * FROM c, t ASOF JOIN q ON t.k = q.k AND t.ts < q.ts",
    "SELECT (SELECT max(q.v) FROM t ASOF JOIN q ON t.ts >= q.ts TOLERANCE INTERVAL '3 days') AS asof",
    "EXPLAIN SELECT * FROM t ASOF JOIN q ON t.ts >= q.ts ASOF JOIN q r ON t.ts >= r.ts RESPECT NULLS",
    "CREATE VIEW w AS SELECT t.k FROM t SEMI ASOF JOIN q ON t.ts <= q.ts",
    "SELECT * FROM (t ASOF JOIN q MATCH_CONDITION (asof__('left lt', t.ts > q.ts, 5 ORDER BY q.v)) ON t.k = q.k)",
    "COPY (SELECT * FROM t ASOF JOIN q ON t.ts >= q.ts) TO 'x.csv'",
    "PREPARE p(INT) AS SELECT * FROM t ASOF JOIN q ON t.ts >= q.ts AND q.v > $1 TOLERANCE $1",
    "SELECT t.k, count(*) AS n FROM t JOIN q ON t.k = q.k AND t.ts >= q.ts GROUP BY t.k HAVING count(*) > 1",
    "SELECT asof.k, lt.v FROM t AS asof LEFT JOIN q lt ON asof.k = lt.k ORDER BY 1, 2 DESC NULLS FIRST",
    "SELECT tolerance, ties, nearest FROM (SELECT k AS tolerance, ts AS ties, v AS nearest FROM t) match_condition",
    "SELECT * FROM t CROSS JOIN q WHERE t.k IN (SELECT k FROM q) AND t.ts BETWEEN 1 AND 5",
    "SELECT k, sum(v) OVER (PARTITION BY k ORDER BY ts) FROM t UNION ALL SELECT k, v FROM q EXCEPT SELECT 1, 2",
    "SELECT * FROM (t JOIN q USING (k)) NATURAL JOIN (VALUES (1, 2)) AS r(k, v)",
    "SELECT CASE WHEN v IS NULL THEN 'ASOF JOIN' ELSE \"k\" || $$ LT JOIN $$ END FROM t -- ASOF JOIN",
    "INSERT INTO t SELECT * FROM q",
    "SELECT first_value(v) IGNORE NULLS OVER (ORDER BY ts) FROM t TABLESAMPLE SYSTEM (10)",
];

/// Words and signs to put in their places.
const PIECES: [&str; 84] = [
    "ASOF",
    "LT",
    "JOIN",
    "LEFT",
    "RIGHT",
    "FULL",
    "OUTER",
    "INNER",
    "SEMI",
    "ANTI",
    "CROSS",
    "NATURAL",
    "ON",
    "USING",
    "MATCH_CONDITION",
    "TOLERANCE",
    "IGNORE",
    "RESPECT",
    "NULLS",
    "TIES",
    "BY",
    "ORDER",
    "nearest",
    "asof__",
    "SELECT",
    "FROM",
    "WHERE",
    "AS",
    "AND",
    "OR",
    "NOT",
    "NULL",
    "IS",
    "DISTINCT",
    "BETWEEN",
    "INTERVAL",
    "WITH",
    "UNION",
    "ALL",
    "LATERAL",
    "UNNEST",
    "VALUES",
    "LIMIT",
    "GROUP",
    "EXISTS",
    "CASE",
    "END",
    "t",
    "q",
    "k",
    "ts",
    "v",
    "t.ts",
    "q.ts",
    "t.k",
    "q.k",
    "*",
    "(",
    ")",
    "(",
    ")",
    ",",
    ".",
    ";",
    "=",
    ">=",
    "<",
    "+",
    "-",
    "::",
    "[",
    "]",
    "{",
    "5",
    "5s",
    "0.5e9",
    "'5 s'",
    "'",
    "\"",
    "$1",
    "/*",
    "--",
    "é",
    "\u{1F600}\u{0}",
];

const DIALECTS: [Dialect; 10] = [
    Dialect::Generic,
    Dialect::PostgreSQL,
    Dialect::MySQL,
    Dialect::BigQuery,
    Dialect::DuckDB,
    Dialect::Snowflake,
    Dialect::ClickHouse,
    Dialect::Hive,
    Dialect::MsSQL,
    Dialect::Ansi,
];

/// A text made of the pieces, or of a statement with a few of its tokens lost, doubled, moved or replaced.
fn text(dice: &mut Dice) -> String {
    let random = |dice: &mut Dice| (*dice.pick(&PIECES)).to_owned();
    if dice.percent(10) {
        let words: Vec<String> = (0..dice.below(40)).map(|_| random(dice)).collect();
        return words.join(" ");
    }
    let statement = |dice: &mut Dice| split(STATEMENTS[dice.below(STATEMENTS.len())]);
    let mut words = statement(dice);
    if dice.percent(10) {
        words.extend(statement(dice));
    }
    for _ in 0..dice.below(4) {
        let at = dice.below(words.len());
        match dice.below(5) {
            0 => drop(words.remove(at)),
            1 => words.insert(at, words[at].clone()),
            2 => words.insert(at, random(dice)),
            3 => words[at] = random(dice),
            _ => {
                let other = dice.below(words.len());
                words.swap(at, other);
            }
        }
        if words.is_empty() {
            break;
        }
    }
    words.join(if dice.percent(90) { " " } else { "\n" })
}

/// Words and signs; roughly, so that quotes and comments may come apart too.
fn split(statement: &str) -> Vec<String> {
    let mut words = vec![];
    for word in statement.split(' ') {
        for part in word.split_inclusive(['(', ')', ',', '=', '.', '\'']) {
            words.push(part.to_owned());
        }
    }
    words
}

fn session(ctx: SessionContext) -> Result<SessionContext> {
    let columns = ["k", "ts", "v"].map(|name| Field::new(name, DataType::Int32, true));
    let schema = Arc::new(Schema::new(columns.to_vec()));
    for name in ["t", "q"] {
        ctx.register_table(name, Arc::new(EmptyTable::new(Arc::clone(&schema))))?;
    }
    Ok(ctx)
}

/// What planning comes to: the plan, or the message.
fn outcome(planned: Result<LogicalPlan>) -> Result<String, String> {
    match planned {
        Ok(plan) => Ok(plan.display_indent_schema().to_string()),
        Err(e) => Err(e.to_string()),
    }
}

fn mentions(text: &str) -> bool {
    let upper = text.to_ascii_uppercase();
    upper.contains("ASOF") || upper.contains("LT")
}

/// Plans the text both ways; whether it was planned, and whether as an as-of join.
async fn attempt(
    text: &str,
    dialect: Dialect,
    ours: &SessionContext,
    plain: &SessionContext,
) -> Result<(bool, bool), String> {
    let rewritten = match rewrite_sql(text, dialect) {
        Ok(Cow::Owned(rewritten)) => Some(rewritten),
        Ok(Cow::Borrowed(_)) => None,
        Err(_) if mentions(text) => return Ok((false, false)),
        Err(e) => {
            // The tokenizer's refusal.
            let theirs = outcome(plain.state().create_logical_plan(text).await);
            return theirs.map_or(Ok((false, false)), |plan| {
                Err(format!("{e}, but planned:\n{plan}"))
            });
        }
    };
    let planned = outcome(ours.asof_plan(text).await);
    if let Some(rewritten) = rewritten {
        match rewrite_sql(&rewritten, dialect) {
            Ok(again) if again == rewritten => {}
            // sqlparser does not read back everything that it prints.
            _ if planned.is_err() => {}
            again => return Err(format!("rewritten to\n{rewritten}\nand that to\n{again:?}")),
        }
        // As text it is the same statement.
        let as_text = outcome(ours.state().create_logical_plan(&rewritten).await);
        if planned.is_ok() && as_text != planned {
            return Err(format!(
                "is planned as\n{planned:?}\nand rewritten to\n{rewritten}\nas\n{as_text:?}"
            ));
        }
        return Ok((planned.is_ok(), true));
    }
    let theirs = outcome(plain.state().create_logical_plan(text).await);
    match (&planned, &theirs) {
        (Ok(ours), Ok(theirs)) if ours == theirs => Ok((true, false)),
        // A place may be added.
        (Err(ours), Err(theirs)) if same_error(ours, theirs) => Ok((false, false)),
        _ => Err(format!(
            "is planned as\n{planned:?}\nand by DataFusion as\n{theirs:?}"
        )),
    }
}

fn same_error(ours: &str, theirs: &str) -> bool {
    let bare = |message: &str| {
        // Of several likely names DataFusion suggests any.
        let ends = ["at Line: ", "Did you mean"].map(|end| message.find(end));
        let end = ends.into_iter().flatten().min().unwrap_or(message.len());
        message[..end].trim_end_matches(['\n', '.', ' ']).to_owned()
    };
    let (ours, theirs) = (bare(ours), bare(theirs));
    ours.contains(&theirs) || theirs.contains(&ours)
}

#[tokio::test]
async fn parser_fuzz() -> Result<()> {
    let cases = setting("ASOF_PARSER_FUZZ_CASES", 10_000);
    let first = setting("ASOF_FUZZ_SEED", 1);
    let mut sessions = vec![];
    for dialect in DIALECTS {
        let mut config = SessionConfig::new();
        config.options_mut().sql_parser.dialect = dialect;
        let plain = session(SessionContext::new_with_config(config.clone()))?;
        let ours = session(SessionContext::new_with_config(config).with_asof())?;
        sessions.push((dialect, ours, plain));
    }
    let busy = Arc::new(vec![Mutex::new(None)]);
    let watching = watch(Arc::clone(&busy));
    let (mut planned, mut joined, mut failures) = (0, 0, vec![]);
    for seed in first..first + cases {
        *busy[0].lock().expect("no panic while held") = Some((seed, Instant::now()));
        let dice = &mut Dice::new(seed);
        let (text, (dialect, ours, plain)) = (text(dice), dice.pick(&sessions));
        let run = AssertUnwindSafe(attempt(&text, *dialect, ours, plain)).catch_unwind();
        match run.await.unwrap_or_else(|_| Err("panics".to_owned())) {
            Ok((ok, asof)) => {
                planned += u64::from(ok);
                joined += u64::from(ok && asof);
            }
            Err(problem) => failures.push(format!("seed {seed}, {dialect}: {text:?}\n{problem}")),
        }
    }
    watching.store(false, std::sync::atomic::Ordering::Relaxed);
    println!("{cases} texts from seed {first}: {planned} planned, {joined} of them as-of joins");
    assert!(
        failures.is_empty(),
        "{} of {cases} texts:\n{}",
        failures.len(),
        failures[..failures.len().min(5)].join("\n\n")
    );
    assert!(
        cases < 500 || (planned > cases / 20 && joined > cases / 40),
        "hardly any text is a statement"
    );
    Ok(())
}

/// Texts so deep or so long that a recursion without a limit, or a pass that is not linear, shows.
///
/// On a stack like that of a main thread: in a debug build sqlparser's own fifty levels take more than the two megabytes of others.
#[test]
fn deep_texts() {
    let thread = thread::Builder::new().stack_size(8 << 20);
    let running = thread.spawn(|| Runtime::new()?.block_on(try_deep_texts()));
    let ended = running.expect("a thread").join();
    ended.expect("no panic").expect("a long chain is planned");
}

async fn try_deep_texts() -> Result<()> {
    let ctx = session(SessionContext::new().with_asof())?;
    let n = 10_000;
    let join = "ASOF JOIN q ON t.ts >= q.ts ";
    let texts = [
        format!("SELECT * FROM {}t {join}{}", "(".repeat(n), ")".repeat(n)),
        format!("SELECT * FROM {}t {join}", "(".repeat(n)),
        format!("SELECT * FROM t {join}{}", ")".repeat(n)),
        format!(
            "SELECT * FROM {}t{}",
            "(".repeat(n),
            format!(" {join})").repeat(n)
        ),
        format!(
            "SELECT * FROM {}t{}",
            "(SELECT * FROM ".repeat(n),
            format!(" {join})").repeat(n)
        ),
        format!(
            "SELECT * FROM t ASOF JOIN q ON t.ts >= {}q.ts{}",
            "(".repeat(n),
            ")".repeat(n)
        ),
        format!(
            "SELECT * FROM t ASOF JOIN q ON t.ts >= q.ts TOLERANCE {}5{}",
            "(".repeat(n),
            ")".repeat(n)
        ),
        format!(
            "SELECT * FROM t ASOF JOIN q ON t.ts >= q.ts TIES BY {}q.v",
            "-".repeat(n)
        ),
        format!(
            "SELECT * FROM t ASOF JOIN q ON {}t.ts >= q.ts",
            "NOT ".repeat(n)
        ),
        format!(
            "SELECT * FROM t ASOF JOIN q MATCH_CONDITION ({}nearest(t.ts, q.ts){})",
            "(".repeat(n),
            ")".repeat(n)
        ),
        format!("SELECT * FROM t {}", "ASOF ".repeat(n)),
        format!("SELECT * FROM t {}", "LT JOIN ".repeat(n)),
        format!("SELECT * FROM t {} JOIN q", "LEFT ASOF ".repeat(n)),
        format!(
            "SELECT * FROM t ASOF JOIN q ON t.ts >= q.ts {}",
            "TOLERANCE 5 ".repeat(n)
        ),
        format!("SELECT {} FROM t {join}", vec!["t.k"; n].join(", ")),
    ];
    for text in texts {
        let short: String = text.chars().take(60).collect();
        let planned = ctx.asof_plan(&text).await.map(|_| ());
        if let Err(e) = &planned {
            assert!(!e.to_string().is_empty(), "{short}");
        }
        // The token pass alone.
        drop(rewrite_sql(&text, Dialect::Generic));
    }
    // A long condition is a good query, and so is a long chain.
    let condition: String = (0..300).map(|i| format!(" AND q.v <> {i}")).collect();
    let sql = format!("SELECT * FROM t ASOF JOIN q ON t.ts >= q.ts{condition}");
    ctx.asof_plan(&sql).await?;
    let chain: String = (0..200)
        .map(|i| format!("ASOF JOIN q q{i} ON t.k = q{i}.k AND t.ts >= q{i}.ts "))
        .collect();
    rewrite_sql(&format!("SELECT t.k FROM t {chain}"), Dialect::Generic)?;
    Ok(())
}
