//! Tests of the flags' values.

use clap::CommandFactory;

use super::*;

#[test]
fn the_flags_do_not_contradict_each_other() {
    Args::command().debug_assert();
}

#[test]
fn sizes() {
    assert_eq!(parse_size("5"), Ok(5));
    assert_eq!(parse_size("4k"), Ok(4096));
    assert_eq!(parse_size("20MB"), Ok(20 << 20));
    assert_eq!(parse_size("3t"), Ok(3 << 40));
    for wrong in ["", "g", "-1g", "1.5g", "1gib", "12k12k", "99999999t", "1 g"] {
        assert!(parse_size(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn formats_by_both_names() {
    assert_eq!(parse_format("ndjson"), Some(PrintFormat::NdJson));
    assert_eq!(parse_format("nd-json"), Some(PrintFormat::NdJson));
    assert_eq!(parse_format("CSV"), Some(PrintFormat::Csv));
    assert_eq!(parse_format("xml"), None);
    let args = Args::try_parse_from(["asof", "--format", "NDJSON"]).unwrap();
    assert_eq!(args.format, PrintFormat::NdJson);
}

#[test]
fn commands_repeat_and_exclude_the_shell() {
    let args = Args::try_parse_from(["asof", "-c", "a", "-c", "b", "c"]).unwrap();
    assert_eq!(args.command, ["a", "b", "c"]);
    assert!(!args.is_shell());
    assert!(Args::try_parse_from(["asof", "-c", ""]).is_err());
    assert!(Args::try_parse_from(["asof", "-c"]).is_err());
}
