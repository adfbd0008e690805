//! Holds the code to the invariants that ARCHITECTURE.md states.
//!
//! Each rule is a function of one source file to what is wrong with it, tried below on samples that break it.

use std::fs;
use std::path::{Path, PathBuf};

/// A source file, with its code told apart from its comments.
struct Source {
    /// From the root of the workspace, with forward slashes.
    path: String,
    text: String,
    /// The text with comments and the contents of strings blanked out.
    code: String,
    /// The text with all but comments blanked out.
    comments: String,
}

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

const LIBRARY: &str = "crates/datafusion-asof/src/";
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

fn sources(root: &Path) -> Vec<Source> {
    let mut files = vec![];
    for folder in ["crates", "sql-tests", "benches"] {
        collect(&root.join(folder), &mut files);
    }
    files.sort();
    let source = |file: PathBuf| {
        let path = file.strip_prefix(root).expect("found below the root");
        let path = path.to_string_lossy().replace('\\', "/");
        Source::new(
            &path,
            fs::read_to_string(&file).expect("source files are UTF-8"),
        )
    };
    files.into_iter().map(source).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

impl Source {
    fn new(path: &str, text: String) -> Self {
        let (code, comments) = split(&text);
        Self {
            path: path.to_string(),
            text,
            code,
            comments,
        }
    }

    fn is_test(&self) -> bool {
        self.path.contains("/tests/")
            || self.path.ends_with("/tests.rs")
            || self.path.starts_with("sql-tests/")
    }

    /// The code before the tests at the end of the file.
    fn shipped_code(&self) -> &str {
        match self.code.find("#[cfg(test)]") {
            _ if self.is_test() => "",
            Some(end) => &self.code[..end],
            None => &self.code,
        }
    }

    /// The first folder or file below the library's `src`.
    fn layer(&self) -> Option<&str> {
        let below = self.path.strip_prefix(LIBRARY)?;
        Some(
            below
                .split('/')
                .next()
                .unwrap_or(below)
                .trim_end_matches(".rs"),
        )
    }
}

/// The code and the comments of a text, each with the other blanked out.
fn split(text: &str) -> (String, String) {
    #[derive(Clone, Copy)]
    enum In {
        Code,
        LineComment,
        /// How deep.
        BlockComment(usize),
        Text,
        /// How many `#` close it.
        RawText(usize),
    }
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let (mut code, mut comments) = (String::new(), String::new());
    let mut place = In::Code;
    let mut i = 0;
    while i < chars.len() {
        let mut taken = 1;
        let mut to_code = matches!(place, In::Code);
        let mut to_comments = matches!(place, In::LineComment | In::BlockComment(_));
        match place {
            In::Code => match (at(i), at(i + 1)) {
                ('/', '/') => (place, to_code, to_comments) = (In::LineComment, false, true),
                ('/', '*') => {
                    (place, to_code, to_comments, taken) = (In::BlockComment(1), false, true, 2);
                }
                ('"', _) => place = In::Text,
                ('r', '"' | '#') if i == 0 || !is_word(at(i - 1)) || at(i - 1) == 'b' => {
                    let hashes = (i + 1..).take_while(|&j| at(j) == '#').count();
                    if at(i + 1 + hashes) == '"' {
                        (place, taken) = (In::RawText(hashes), hashes + 2);
                    }
                }
                ('\'', '\\') => {
                    taken = 2
                        + (i + 2..)
                            .take_while(|&j| at(j) != '\'' || j == i + 2)
                            .count()
                        + 1;
                }
                ('\'', _) if at(i + 2) == '\'' => taken = 3,
                _ => {}
            },
            In::LineComment if at(i) == '\n' => place = In::Code,
            In::LineComment => {}
            In::BlockComment(depth) => match (at(i), at(i + 1)) {
                ('*', '/') if depth == 1 => (place, taken) = (In::Code, 2),
                ('*', '/') => (place, taken) = (In::BlockComment(depth - 1), 2),
                ('/', '*') => (place, taken) = (In::BlockComment(depth + 1), 2),
                _ => {}
            },
            In::Text => match at(i) {
                '\\' => taken = 2,
                '"' => (place, to_code) = (In::Code, true),
                _ => {}
            },
            In::RawText(hashes) => {
                let closes = at(i) == '"' && (1..=hashes).all(|n| at(i + n) == '#');
                if closes {
                    (place, to_code, taken) = (In::Code, true, hashes + 1);
                }
            }
        }
        for &c in &chars[i..chars.len().min(i + taken)] {
            let blank = if c == '\n' { '\n' } else { ' ' };
            code.push(if to_code { c } else { blank });
            comments.push(if to_comments { c } else { blank });
        }
        i += taken;
    }
    (code, comments)
}

/// The lines, from 1, in which `word` stands alone.
fn lines_with(text: &str, word: &str) -> Vec<usize> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let stands_alone = |line: &str| {
        line.match_indices(word).any(|(start, _)| {
            !line[..start].ends_with(is_word) && !line[start + word.len()..].starts_with(is_word)
        })
    };
    text.lines()
        .enumerate()
        .filter(|(_, line)| stands_alone(line))
        .map(|(n, _)| n + 1)
        .collect()
}

/// A remark for each line of the code in which one of the words stands.
fn forbid(code: &str, words: &[&str]) -> Vec<String> {
    let remark = |word: &str, line| format!("line {line} names {word}");
    words
        .iter()
        .flat_map(|word| {
            lines_with(code, word)
                .into_iter()
                .map(move |l| remark(word, l))
        })
        .collect()
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

/// The words that follow `path` in the code, `{a, b::c}` counting as `a` and `b`.
fn after(code: &str, path: &str) -> Vec<String> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let word = |text: &str| {
        text.trim_start()
            .chars()
            .take_while(|c| is_word(*c))
            .collect::<String>()
    };
    let mut words = vec![];
    for (at, _) in code.match_indices(path) {
        if code[..at].ends_with(|c| is_word(c) || c == ':') {
            continue;
        }
        let rest = code[at + path.len()..].trim_start_matches("::");
        let Some(group) = rest.strip_prefix('{') else {
            words.push(word(rest));
            continue;
        };
        let mut depth = 0;
        let mut item = 0;
        for (i, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                ',' | '}' if depth == 0 => {
                    words.push(word(&group[item..i]));
                    item = i + 1;
                    if c == '}' {
                        break;
                    }
                }
                _ => {}
            }
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn keeps_worlds_apart(source: &Source) -> Vec<String> {
    match source.layer() {
        Some("exec") => forbid(source.shipped_code(), &["Expr", "LogicalPlan", "sqlparser"]),
        Some("sql" | "logical" | "optimizer") => forbid(source.shipped_code(), &["ExecutionPlan"]),
        _ => vec![],
    }
}

fn installs_only_in_session(source: &Source) -> Vec<String> {
    if source.layer() == Some("session") {
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
    fn code_and_comments_are_told_apart() {
        let (code, comments) =
            split("let a = \"// no\"; // yes \"x\n/* b /* c */ d */ let e = '\"'; r#\"f\"g\"#;'h'");
        assert!(
            !code.contains("no") && code.contains("let a = \""),
            "{code}"
        );
        assert!(
            comments.contains("// yes \"x") && comments.contains("/* b /* c */ d */"),
            "{comments}"
        );
        assert!(
            code.contains("let e = '\"';") && !code.contains('f') && !code.contains('g'),
            "{code}"
        );
        assert!(code.ends_with("'h'"), "{code}");
        let (code, _) =
            split(r"fn f<'a>(x: &'a str) { let q = '\''; let u = '\u{1F600}'; todo!() }");
        assert!(
            code.contains("todo!()") && code.contains("&'a str"),
            "{code}"
        );
    }

    #[test]
    fn words_stand_alone() {
        assert_eq!(lines_with("a PhysicalExpr\nan Expr\nExprs", "Expr"), [2]);
        assert!(lines_with("unsafe_code", "unsafe").is_empty());
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
