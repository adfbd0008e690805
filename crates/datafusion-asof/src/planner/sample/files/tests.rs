//! Files that other plans cut.

use super::*;

fn piece(path: &str, range: Option<(i64, i64)>) -> PartitionedFile {
    let mut file = PartitionedFile::new(path, 100);
    file.range = range.map(|(start, end)| FileRange { start, end });
    file
}

#[test]
fn files_that_were_cut_are_whole_again() {
    let pieces = [
        ("a", Some((0, 40))),
        ("a", Some((40, 100))),
        ("b", None),
        ("c", Some((0, 30))),
        ("c", Some((60, 100))),
        ("d", Some((0, 50))),
        ("d", Some((0, 50))),
    ];
    let pieces = pieces.map(|(path, range)| piece(path, range));
    let files = whole_again(pieces.to_vec());
    let files: Vec<_> = files
        .iter()
        .map(|file| {
            let range = file.range.as_ref();
            (
                file.path().as_ref(),
                range.map(|range| (range.start, range.end)),
            )
        })
        .collect();
    let some = [
        ("a", None),
        ("b", None),
        ("c", Some((0, 30))),
        ("c", Some((60, 100))),
        ("d", Some((0, 50))),
        ("d", Some((0, 50))),
    ];
    assert_eq!(files, some);
}
