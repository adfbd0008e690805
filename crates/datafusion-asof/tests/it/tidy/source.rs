//! A source file, its code told apart from its comments, and what can be found in either.

use std::fs;
use std::path::{Path, PathBuf};

/// Where the library's sources are, from the root of the workspace.
pub(super) const LIBRARY: &str = "crates/datafusion-asof/src/";

/// A source file, with its code told apart from its comments.
pub(super) struct Source {
    /// From the root of the workspace, with forward slashes.
    pub(super) path: String,
    pub(super) text: String,
    /// The text with comments and the contents of strings blanked out.
    pub(super) code: String,
    /// The text with all but comments blanked out.
    pub(super) comments: String,
}

pub(super) fn sources(root: &Path) -> Vec<Source> {
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
    pub(super) fn new(path: &str, text: String) -> Self {
        let (code, comments) = split(&text);
        Self {
            path: path.to_string(),
            text,
            code,
            comments,
        }
    }

    pub(super) fn is_test(&self) -> bool {
        self.path.contains("/tests/")
            || self.path.ends_with("/tests.rs")
            || self.path.starts_with("sql-tests/")
    }

    /// The code before the tests at the end of the file.
    pub(super) fn shipped_code(&self) -> &str {
        match self.code.find("#[cfg(test)]") {
            _ if self.is_test() => "",
            Some(end) => &self.code[..end],
            None => &self.code,
        }
    }

    /// The first folder or file below the library's `src`.
    pub(super) fn layer(&self) -> Option<&str> {
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
pub(super) fn lines_with(text: &str, word: &str) -> Vec<usize> {
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
pub(super) fn forbid(code: &str, words: &[&str]) -> Vec<String> {
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

/// The words that follow `path` in the code, `{a, b::c}` counting as `a` and `b`.
pub(super) fn after(code: &str, path: &str) -> Vec<String> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
