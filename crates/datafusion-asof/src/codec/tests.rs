//! Bytes that no codec wrote.

use super::*;

#[test]
fn bytes_of_others_are_left_to_them() {
    for bytes in [&b""[..], b"asof", b"\0aso", b"\x0a\x03"] {
        assert!(read(bytes).expect("not ours").is_none());
    }
}

#[test]
fn other_formats_and_nodes_are_refused() {
    let same = "run the same version of datafusion-asof in client, scheduler and executors";
    let table: [(&[u8], &str); 4] = [
        (b"\0asof", "without a format"),
        (b"\0asof\x04", "in format 4, this process reads format 3"),
        (b"\0asof\x00", "in format 0, this process reads format 3"),
        (b"\0asof\x03", "a node of ASOF JOIN that is not known here"),
    ];
    for (bytes, message) in table {
        let error = read(bytes).expect_err(message).to_string();
        assert!(error.contains(message) && error.contains(same), "{error}");
    }
}
