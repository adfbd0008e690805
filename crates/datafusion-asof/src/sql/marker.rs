//! The marker call in a match condition: what sqlparser's form has no room for.
//!
//! `asof__('words', m or NULL [, tolerance] [ORDER BY ties])`, as [`tokens`](super::tokens)
//! writes it. The words are a kind, `lt` for `LT JOIN` and `ignore` for IGNORE NULLS.

use datafusion::common::{Result, plan_datafusion_err};
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArguments, OrderByExpr,
    Spanned, Value,
};

use super::tokens::{MARKER, location};
use crate::logical::builder::{Location, locate};
use crate::spec::{AsOfJoinType, NullPolicy};

/// The match condition as written, and what the marker adds to it.
#[derive(Default)]
pub(super) struct Written {
    pub kind: Option<AsOfJoinType>,
    pub strict: bool,
    pub null_policy: NullPolicy,
    pub match_condition: Option<Expr>,
    pub tolerance: Option<Expr>,
    pub ties: Vec<OrderByExpr>,
    pub at: Option<Location>,
}

/// Takes a match condition apart.
///
/// # Errors
/// A planning error for a marker that nobody but a person can have written.
pub(super) fn read(match_condition: Expr) -> Result<Written> {
    let at = location(match_condition.span());
    match marked(&match_condition) {
        Marked::Not => Ok(Written {
            match_condition: Some(match_condition),
            at,
            ..Written::default()
        }),
        Marked::Well(written) => Ok(Written { at, ..*written }),
        Marked::Badly => {
            let malformed = plan_datafusion_err!("malformed {MARKER}: {match_condition}");
            Err(locate(malformed, at))
        }
    }
}

enum Marked {
    Not,
    Well(Box<Written>),
    Badly,
}

fn marked(match_condition: &Expr) -> Marked {
    let Expr::Function(call) = match_condition else {
        return Marked::Not;
    };
    let FunctionArguments::List(list) = &call.args else {
        return Marked::Not;
    };
    if call.name.to_string() != MARKER {
        return Marked::Not;
    }
    let arguments: Option<Vec<&Expr>> = list.args.iter().map(argument).collect();
    let Some([Expr::Value(words), condition, tolerance @ ..]) = arguments.as_deref() else {
        return Marked::Badly;
    };
    let Value::SingleQuotedString(words) = &words.value else {
        return Marked::Badly;
    };
    let mut written = Written {
        match_condition: match condition {
            Expr::Value(none) if none.value == Value::Null => None,
            condition => Some((*condition).clone()),
        },
        tolerance: tolerance.first().map(|tolerance| (*tolerance).clone()),
        ..Written::default()
    };
    for word in words.split(' ').filter(|word| !word.is_empty()) {
        match word {
            "inner" => written.kind = Some(AsOfJoinType::Inner),
            "left" => written.kind = Some(AsOfJoinType::Left),
            "right" => written.kind = Some(AsOfJoinType::Right),
            "full" => written.kind = Some(AsOfJoinType::Full),
            "semi" => written.kind = Some(AsOfJoinType::LeftSemi),
            "anti" => written.kind = Some(AsOfJoinType::LeftAnti),
            "lt" => written.strict = true,
            "ignore" => written.null_policy = NullPolicy::IgnoreNulls,
            _ => return Marked::Badly,
        }
    }
    for clause in &list.clauses {
        match clause {
            FunctionArgumentClause::OrderBy(ties) => written.ties.clone_from(ties),
            _ => return Marked::Badly,
        }
    }
    Marked::Well(Box::new(written))
}

fn argument(argument: &FunctionArg) -> Option<&Expr> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    }
}
