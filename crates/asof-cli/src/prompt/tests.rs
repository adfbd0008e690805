//! Tests of completion.

use rustyline::history::DefaultHistory;

use super::*;

fn complete(line: &str) -> (usize, Vec<String>) {
    let mut prompt = Prompt::new(Dialect::Generic, false);
    prompt.refresh(
        Dialect::Generic,
        vec!["trades".to_owned(), "total".to_owned(), "élan".to_owned()],
    );
    let history = DefaultHistory::new();
    let context = Context::new(&history);
    let (start, pairs) = prompt.complete(line, line.len(), &context).unwrap();
    (
        start,
        pairs.into_iter().map(|pair| pair.replacement).collect(),
    )
}

#[test]
fn words_keep_their_case() {
    assert_eq!(
        complete("select * from t as"),
        (16, vec!["asc".to_owned(), "asof".to_owned()])
    );
    assert_eq!(complete("x MATCH").1, ["MATCH_CONDITION"]);
    assert_eq!(complete("from to").1, ["tolerance", "total"]);
    assert_eq!(complete("from é").1, ["élan"]);
    assert_eq!(complete("from ").1, Vec::<String>::new());
}

#[test]
fn commands_are_completed() {
    assert_eq!(complete("\\t"), (0, vec!["\\timing".to_owned()]));
    assert_eq!(complete("\\d").1, ["\\d"]);
}

#[test]
fn strings_are_files() {
    assert!(in_string("from 'a"));
    assert!(!in_string("from 'a'"));
    assert!(!in_string("from \"it's"));
    let (start, files) = complete("from 'Cargo.to");
    assert_eq!((start, files), (6, vec!["Cargo.toml".to_owned()]));
}
