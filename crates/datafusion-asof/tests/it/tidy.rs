//! Holds the code to the invariants that ARCHITECTURE.md states.
//!
//! Each rule is a function of one source file to what is wrong with it, tried below on samples that break it.

use std::fs;
use std::path::Path;

use self::source::{LIBRARY, Source, after, forbid, lines_with, sources};

mod source;

type Rule = fn(&Source) -> Vec<String>;

const RULES: [(&str, Rule); 9] = [
    ("every file begins with module docs", begins_with_docs),
    (
        "one concern per file: no drawer of odds and ends",
        is_named_for_a_concern,
    ),
    ("files can be read in one sitting", is_short),
    ("nothing unfinished, nothing unsafe", is_finished),
    ("what is left to do has an issue", remarks_name_an_issue),
    (
        "library code reports errors instead of panicking",
        does_not_panic,
    ),
    ("layers use only the layers below them", keeps_to_its_layer),
    (
        "the logical and the physical world meet in planner/ only",
        keeps_worlds_apart,
    ),
    (
        "only session.rs installs anything into a session",
        installs_only_in_session,
    ),
];

const LONGEST: usize = 600;

#[test]
fn the_workspace_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let sources = sources(&root);
    assert!(
        sources.len() > 20,
        "only {} files found below {}",
        sources.len(),
        root.display()
    );
    let mut problems = vec![];
    for source in &sources {
        for (rule, check) in RULES {
            problems.extend(
                check(source)
                    .iter()
                    .map(|p| format!("{}: {p} ({rule})", source.path)),
            );
        }
    }
    let manifest = root.join("crates/datafusion-asof/Cargo.toml");
    problems.extend(heavy_dependencies(
        &fs::read_to_string(manifest).expect("the manifest is there"),
    ));
    assert!(
        problems.is_empty(),
        "{} problems:\n{}",
        problems.len(),
        problems.join("\n")
    );
}

fn begins_with_docs(source: &Source) -> Vec<String> {
    match source.text.starts_with("//!") {
        true => vec![],
        false => vec!["begins without //!".to_string()],
    }
}

fn is_named_for_a_concern(source: &Source) -> Vec<String> {
    let drawers = ["util", "utils", "common", "helper", "helpers", "misc"];
    let parts = source.path.trim_end_matches(".rs").split('/');
    parts
        .filter(|part| drawers.contains(part))
        .map(|part| format!("is called {part}"))
        .collect()
}

fn is_short(source: &Source) -> Vec<String> {
    let end = source
        .code
        .find("#[cfg(test)]")
        .unwrap_or(source.code.len());
    match source.code[..end].lines().count() {
        lines if lines > LONGEST => vec![format!("has {lines} lines, {LONGEST} are enough")],
        _ => vec![],
    }
}

fn is_finished(source: &Source) -> Vec<String> {
    forbid(&source.code, &["todo!", "unimplemented!", "dbg!", "unsafe"])
}

fn remarks_name_an_issue(source: &Source) -> Vec<String> {
    let has_issue = |line: &str| {
        line.match_indices('#')
            .any(|(at, _)| line[at + 1..].starts_with(|c: char| c.is_ascii_digit()))
            || line.contains("/issues/")
    };
    let mut problems = vec![];
    for word in ["TODO", "FIXME"] {
        for n in lines_with(&source.comments, word) {
            if !source.comments.lines().nth(n - 1).is_some_and(has_issue) {
                problems.push(format!("line {n}: {word} without the number of an issue"));
            }
        }
    }
    problems
}

fn does_not_panic(source: &Source) -> Vec<String> {
    if !source.path.starts_with(LIBRARY) {
        return vec![];
    }
    forbid(source.shipped_code(), &["unwrap()", "panic!"])
}

/// Which parts of the library each layer may use, besides itself; none for those that may use all.
fn below(layer: &str) -> Option<&'static [&'static str]> {
    match layer {
        "spec" | "config" => Some(&[]),
        "kernel" => Some(&["spec"]),
        "exec" => Some(&["kernel", "spec"]),
        "logical" => Some(&["kernel", "spec"]),
        "optimizer" => Some(&["logical", "spec"]),
        "sql" => Some(&["logical", "spec", "config"]),
        "planner" => Some(&["logical", "exec", "spec", "config"]),
        "codec" => Some(&["logical", "exec", "spec"]),
        _ => None,
    }
}

fn keeps_to_its_layer(source: &Source) -> Vec<String> {
    let code = source.shipped_code();
    let Some((layer, below)) = source
        .layer()
        .and_then(|layer| Some((layer, below(layer)?)))
    else {
        return vec![];
    };
    let foreign = |used: &str| used != layer && !below.contains(&used);
    let mut problems: Vec<_> = after(code, "crate::")
        .into_iter()
        .filter(|used| foreign(used))
        .map(|used| format!("uses crate::{used}"))
        .collect();
    if layer == "kernel" {
        let arrow_and_errors = ["arrow", "common", "error"];
        let of_datafusion = after(code, "datafusion::");
        let foreign = of_datafusion
            .into_iter()
            .filter(|used| !arrow_and_errors.contains(&used.as_str()));
        problems.extend(foreign.map(|used| format!("uses datafusion::{used}")));
        let roots = ["std", "bytes", "datafusion", "crate", "super", "self"];
        let imports = after(code, "use ")
            .into_iter()
            .filter(|used| !roots.contains(&used.as_str()));
        problems.extend(imports.map(|used| format!("imports {used}")));
    }
    problems
}

fn keeps_worlds_apart(source: &Source) -> Vec<String> {
    match source.layer() {
        Some("exec") => forbid(source.shipped_code(), &["Expr", "LogicalPlan", "sqlparser"]),
        Some("sql" | "logical" | "optimizer") => forbid(source.shipped_code(), &["ExecutionPlan"]),
        _ => vec![],
    }
}

fn installs_only_in_session(source: &Source) -> Vec<String> {
    if source.path.ends_with("/src/session.rs") {
        return vec![];
    }
    let installers = [
        "with_optimizer_rule",
        "with_optimizer_rules",
        "add_optimizer_rule",
        "with_analyzer_rule",
        "with_analyzer_rules",
        "add_analyzer_rule",
        "with_physical_optimizer_rule",
        "with_physical_optimizer_rules",
        "with_query_planner",
        "with_relation_planners",
        "register_relation_planner",
        "relation_planners",
    ];
    forbid(source.shipped_code(), &installers)
}

/// What a terminal or a cluster needs must not reach those who embed the library.
fn heavy_dependencies(manifest: &str) -> Vec<String> {
    let name = |line: &str| line.split(['.', '=', ' ']).next().unwrap_or("").to_string();
    let heavy =
        |name: &String| name == "rustyline" || name == "clap" || name.starts_with("ballista");
    let problem = |name| format!("crates/datafusion-asof/Cargo.toml depends on {name}");
    manifest
        .lines()
        .map(str::trim)
        .map(name)
        .filter(heavy)
        .map(problem)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(rule: Rule, path: &str, text: &str) -> usize {
        rule(&Source::new(path, text.to_string())).len()
    }

    fn in_library(path: &str) -> String {
        format!("{LIBRARY}{path}")
    }

    #[test]
    fn docs_names_and_length() {
        assert_eq!(problems(begins_with_docs, "a.rs", "use std;"), 1);
        assert_eq!(problems(begins_with_docs, "a.rs", ""), 1);
        assert_eq!(problems(begins_with_docs, "a.rs", "//! A file."), 0);
        assert_eq!(
            problems(is_named_for_a_concern, "crates/x/src/utils.rs", ""),
            1
        );
        assert_eq!(
            problems(is_named_for_a_concern, "crates/x/src/common/mod.rs", ""),
            1
        );
        assert_eq!(
            problems(is_named_for_a_concern, "crates/x/src/commonest.rs", ""),
            0
        );
        assert_eq!(problems(is_short, "a.rs", &"x\n".repeat(LONGEST + 1)), 1);
        assert_eq!(
            problems(
                is_short,
                "a.rs",
                &format!("#[cfg(test)]\n{}", "x\n".repeat(LONGEST))
            ),
            0
        );
    }

    #[test]
    fn unfinished_code() {
        assert_eq!(problems(is_finished, "a.rs", "fn f() { todo!() }"), 1);
        assert_eq!(problems(is_finished, "a.rs", "unsafe { dbg!(1) }"), 2);
        assert_eq!(
            problems(is_finished, "a.rs", "#![forbid(unsafe_code)] // unsafe"),
            0
        );
        assert_eq!(problems(remarks_name_an_issue, "a.rs", "// TODO: later"), 1);
        assert_eq!(problems(remarks_name_an_issue, "a.rs", "/* FIXME */"), 1);
        assert_eq!(
            problems(remarks_name_an_issue, "a.rs", "// TODO(#3): later"),
            0
        );
        assert_eq!(problems(remarks_name_an_issue, "a.rs", "let TODO = 1;"), 0);
    }

    #[test]
    fn panics_in_the_library() {
        assert_eq!(
            problems(does_not_panic, &in_library("a.rs"), "x.unwrap(); panic!()"),
            2
        );
        assert_eq!(
            problems(
                does_not_panic,
                &in_library("a.rs"),
                "x.unwrap_or(1)\n#[cfg(test)] y.unwrap()"
            ),
            0
        );
        assert_eq!(
            problems(does_not_panic, &in_library("a/tests.rs"), "x.unwrap()"),
            0
        );
        assert_eq!(
            problems(does_not_panic, "crates/asof-cli/src/main.rs", "x.unwrap()"),
            0
        );
    }

    #[test]
    fn layers() {
        let kernel = in_library("kernel/rows.rs");
        assert_eq!(
            problems(keeps_to_its_layer, &kernel, "use crate::exec::X;"),
            1
        );
        assert_eq!(
            problems(
                keeps_to_its_layer,
                &kernel,
                "use crate::{spec::A, planner::{B, C}};"
            ),
            1
        );
        assert_eq!(
            problems(
                keeps_to_its_layer,
                &kernel,
                "use datafusion::physical_plan::X;"
            ),
            1
        );
        assert_eq!(
            problems(
                keeps_to_its_layer,
                &kernel,
                "use datafusion::{arrow::A, logical_expr::Expr};"
            ),
            1
        );
        assert_eq!(
            problems(keeps_to_its_layer, &kernel, "use tokio::sync::Mutex;"),
            1
        );
        assert_eq!(
            problems(keeps_to_its_layer, &kernel, "fn f() { crate::sql::g() }"),
            1
        );
        let allowed = "use std::fmt; use datafusion::arrow::array::Array; use datafusion::common::Result;\n\
                       use crate::spec::Side; use super::domain; // use tokio\n";
        assert_eq!(problems(keeps_to_its_layer, &kernel, allowed), 0);
        assert_eq!(
            problems(
                keeps_to_its_layer,
                &in_library("exec/a.rs"),
                "use crate::config::X;"
            ),
            1
        );
        assert_eq!(
            problems(
                keeps_to_its_layer,
                &in_library("session.rs"),
                "use crate::planner::X;"
            ),
            0
        );
    }

    #[test]
    fn worlds() {
        let exec = in_library("exec/asof_join.rs");
        assert_eq!(
            problems(
                keeps_worlds_apart,
                &exec,
                "use datafusion::logical_expr::{Expr, LogicalPlan};"
            ),
            2
        );
        assert_eq!(
            problems(
                keeps_worlds_apart,
                &exec,
                "use datafusion::sql::sqlparser::ast;"
            ),
            1
        );
        assert_eq!(
            problems(keeps_worlds_apart, &exec, "PhysicalExpr // an Expr"),
            0
        );
        for path in ["sql/lift.rs", "logical/node.rs", "optimizer/push_down.rs"] {
            assert_eq!(
                problems(keeps_worlds_apart, &in_library(path), "dyn ExecutionPlan"),
                1
            );
        }
        assert_eq!(
            problems(
                keeps_worlds_apart,
                &in_library("planner/a.rs"),
                "ExecutionPlan, Expr"
            ),
            0
        );
    }

    #[test]
    fn installers() {
        let text = "builder.with_query_planner(p)";
        assert_eq!(
            problems(
                installs_only_in_session,
                &in_library("planner/mod.rs"),
                text
            ),
            1
        );
        assert_eq!(
            problems(
                installs_only_in_session,
                "crates/asof-cli/src/main.rs",
                text
            ),
            1
        );
        assert_eq!(
            problems(installs_only_in_session, &in_library("session.rs"), text),
            0
        );
        assert_eq!(
            problems(
                installs_only_in_session,
                &in_library("sql/a.rs"),
                "// with_query_planner"
            ),
            0
        );
    }

    #[test]
    fn dependencies() {
        assert_eq!(
            heavy_dependencies("clap.workspace = true\nrustyline = \"18\"\nballista-core = {}")
                .len(),
            3
        );
        assert!(heavy_dependencies("[dependencies]\nfutures.workspace = true").is_empty());
    }
}
