//! The choice as a table.

use super::*;

#[test]
fn the_choice_and_its_reason() {
    use AsOfStrategy::{Broadcast, SortMerge};
    let mb = 1 << 20;
    let table = [
        (
            StrategyOption::Auto,
            Some(mb),
            Broadcast,
            "right side about 1.0 MB, within asof.broadcast_threshold = 2.0 MB",
        ),
        (
            StrategyOption::Auto,
            Some(2 * mb),
            Broadcast,
            "right side about 2.0 MB, within asof.broadcast_threshold = 2.0 MB",
        ),
        (
            StrategyOption::Auto,
            Some(2 * mb + 1),
            SortMerge,
            "right side about 2.0 MB, above asof.broadcast_threshold = 2.0 MB",
        ),
        (
            StrategyOption::Auto,
            None,
            SortMerge,
            "the size of the right side is not known",
        ),
        (
            StrategyOption::Broadcast,
            Some(9 * mb),
            Broadcast,
            "asof.strategy = broadcast",
        ),
        (
            StrategyOption::Broadcast,
            None,
            Broadcast,
            "asof.strategy = broadcast",
        ),
        (
            StrategyOption::SortMerge,
            Some(1),
            SortMerge,
            "asof.strategy = sort_merge",
        ),
    ];
    for (strategy, right_bytes, expected, reason) in table {
        let known = Known {
            strategy,
            threshold: 2 * mb,
            right_bytes,
        };
        assert_eq!(select(&known), (expected, reason.to_owned()), "{known:?}");
    }
}
