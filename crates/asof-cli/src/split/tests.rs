//! Tests of cutting scripts.

use super::*;

/// The items as `line:column text`, commands as `\text`.
fn items(text: &str) -> Vec<String> {
    let mut script = Script::new(text, 1);
    std::iter::from_fn(|| script.next(Dialect::Generic))
        .map(|item| match item {
            Item::Statement(s) => format!("{}:{} {}", s.place.line, s.place.column, s.text),
            Item::Command(command) => format!("\\{command}"),
        })
        .collect()
}

#[test]
fn statements_keep_their_places() {
    assert_eq!(
        items("select 1; select 2;\n  select\n 3"),
        ["1:1 select 1", "1:11 select 2", "2:3 select\n 3"]
    );
    assert_eq!(
        items("-- a; b\n/* ; */ ;; select 'é;' ; x"),
        ["2:12 select 'é;' ", "2:26 x"]
    );
    assert_eq!(items(" ;\n;"), Vec::<String>::new());
    assert_eq!(items("select 1 -- last"), ["1:1 select 1 -- last"]);
}

#[test]
fn padding_restores_the_place() {
    let mut script = Script::new("a;\n  b", 3);
    script.next(Dialect::Generic);
    let Some(Item::Statement(b)) = script.next(Dialect::Generic) else {
        panic!("expected a statement");
    };
    assert_eq!(b.in_place(), "\n\n\n  b");
}

#[test]
fn commands_take_their_line() {
    assert_eq!(
        items("\\d it's\nselect 1;\\timing on\n select 2"),
        ["\\d it's", "2:1 select 1", "\\timing on", "3:2 select 2"]
    );
    assert_eq!(items("select '\n\\d\n'"), ["1:1 select '\n\\d\n'"]);
}

#[test]
fn an_open_quote_runs_to_the_end() {
    assert_eq!(
        items("select 1; select 'a; select 2"),
        ["1:1 select 1", "1:11 select 'a; select 2"]
    );
    assert_eq!(items("select 1;\n'a"), ["1:1 select 1", "2:1 'a"]);
    assert_eq!(items("'a"), ["1:1 'a"]);
}

#[test]
fn the_dialect_may_change_on_the_way() {
    let mut script = Script::new("set d; # it's\nselect 1;", 1);
    script.next(Dialect::Generic);
    let Some(Item::Statement(second)) = script.next(Dialect::MySQL) else {
        panic!("expected a statement");
    };
    assert_eq!(second.text, "select 1");
}

#[test]
fn completeness() {
    let complete = |text| is_complete(text, Dialect::Generic);
    for text in [
        "",
        " ",
        "select 1;",
        "select 1; -- done",
        "\\d",
        "select ';';",
        "-- note",
    ] {
        assert!(complete(text), "{text}");
    }
    for text in [
        "select 1",
        "select ';",
        "select 1 -- ;",
        "select 1 /* ;",
        "a; b",
    ] {
        assert!(!complete(text), "{text}");
    }
    assert!(complete(
        "t ASOF JOIN q ON t.s = q.s AND t.ts >= q.ts TOLERANCE 5s;"
    ));
}
