//! The choice as a table.

use super::*;

const MB: usize = 1 << 20;

fn known() -> Known {
    let side = Size {
        rows: Some(10_000),
        bytes: Some(MB),
        row: 50,
        endless: false,
    };
    Known {
        strategy: StrategyOption::Auto,
        threshold: None,
        pool: None,
        distributed: false,
        joins: 1,
        left: side,
        right: side,
        partitions: 4,
        readers: 4,
        right_in_order: false,
        streams: false,
        allows_left: false,
        hinders_salt: None,
        skew: Ok(None),
        skew_threshold: 2.0,
    }
}

fn with_right(bytes: Option<usize>) -> Known {
    let mut known = known();
    known.right.bytes = bytes;
    known
}

fn distributed(right: usize) -> Known {
    Known {
        distributed: true,
        ..with_right(Some(right))
    }
}

fn with_rows(left: usize, right: usize) -> Known {
    let mut known = known();
    (known.left.rows, known.right.rows) = (Some(left), Some(right));
    (known.left.bytes, known.right.bytes) = (Some(60 * left), Some(60 * right));
    known.allows_left = true;
    known
}

fn endless(mut known: Known) -> Known {
    known.right.endless = true;
    known
}

#[test]
fn whether_a_side_fits() {
    use AsOfStrategy::{Broadcast, BroadcastLeft, SortMerge};
    let threshold = Some(2 * MB);
    let table = [
        (
            known(),
            Broadcast,
            "right side indexed about 1.0 MB, memory pool without limit",
        ),
        (
            with_right(None),
            Broadcast,
            "right side of unknown size, memory pool without limit",
        ),
        (endless(known()), SortMerge, "the right side has no end"),
        (
            endless(with_rows(10, 1_000_000)),
            SortMerge,
            "the right side has no end",
        ),
        (
            Known {
                pool: Some(2 * MB),
                ..known()
            },
            Broadcast,
            "right side indexed about 1.0 MB, within the 1.0 MB it may have of the memory pool",
        ),
        (
            Known {
                pool: Some(2 * MB - 1),
                ..known()
            },
            SortMerge,
            "right side indexed about 1.0 MB, above the 1024.0 KB it may have of the memory pool",
        ),
        (
            Known {
                pool: Some(4 * MB),
                joins: 4,
                ..known()
            },
            SortMerge,
            "right side indexed about 1.0 MB, above the 512.0 KB it may have of the memory pool",
        ),
        (
            Known {
                pool: Some(MB),
                ..with_right(None)
            },
            SortMerge,
            "the size of the right side is not known",
        ),
        (
            Known {
                pool: Some(1),
                threshold,
                ..known()
            },
            Broadcast,
            "right side indexed about 1.0 MB, within asof.broadcast_threshold = 2.0 MB",
        ),
        (
            Known {
                threshold,
                ..with_right(Some(2 * MB))
            },
            Broadcast,
            "right side indexed about 2.0 MB, within asof.broadcast_threshold = 2.0 MB",
        ),
        (
            Known {
                threshold,
                ..with_right(Some(2 * MB + 1))
            },
            SortMerge,
            "right side indexed about 2.0 MB, above asof.broadcast_threshold = 2.0 MB",
        ),
        (
            Known {
                threshold,
                allows_left: true,
                ..with_right(Some(2 * MB + 1))
            },
            BroadcastLeft,
            "left side indexed about 1.0 MB, within asof.broadcast_threshold = 2.0 MB",
        ),
        (
            Known {
                threshold,
                ..with_right(None)
            },
            SortMerge,
            "the size of the right side is not known",
        ),
        (
            distributed(100 * MB),
            Broadcast,
            "right side indexed about 100.0 MB, within the 100.0 MB that each task of a cluster \
             may be sent",
        ),
        (
            distributed(100 * MB + 1),
            SortMerge,
            "right side indexed about 100.0 MB, above the 100.0 MB that each task of a cluster \
             may be sent",
        ),
        (
            Known {
                threshold,
                ..distributed(2 * MB)
            },
            Broadcast,
            "right side indexed about 2.0 MB, within asof.broadcast_threshold = 2.0 MB",
        ),
        (
            Known {
                distributed: true,
                ..with_right(None)
            },
            SortMerge,
            "the size of the right side is not known",
        ),
    ];
    for (known, expected, reason) in table {
        assert_eq!(select(&known), (expected, reason.to_owned()), "{known:?}");
    }
}

#[test]
fn what_is_asked_for_is_done() {
    use AsOfStrategy::{Broadcast, BroadcastLeft, SortMerge};
    let table = [
        (StrategyOption::Broadcast, true, Broadcast),
        (StrategyOption::BroadcastLeft, true, BroadcastLeft),
        (StrategyOption::BroadcastLeft, false, Broadcast),
        (StrategyOption::SortMerge, true, SortMerge),
    ];
    for (strategy, allows_left, expected) in table {
        let known = Known {
            strategy,
            allows_left,
            ..known()
        };
        assert_eq!(select(&known).0, expected, "{known:?}");
    }
}

#[test]
fn the_cheaper_side_is_indexed() {
    use AsOfStrategy::{Broadcast, BroadcastLeft};
    let million = 1_000_000;
    let in_order = |known: Known| Known {
        right_in_order: true,
        ..known
    };
    let table = [
        (with_rows(10_000, 40 * million), BroadcastLeft),
        (in_order(with_rows(10_000, 40 * million)), BroadcastLeft),
        (with_rows(5 * million, 20 * million), BroadcastLeft),
        (with_rows(million, 20 * million), BroadcastLeft),
        (with_rows(5 * million, 5 * million), Broadcast),
        (with_rows(20 * million, 5 * million), Broadcast),
        (in_order(with_rows(million, 20 * million)), BroadcastLeft),
        (
            in_order(with_rows(5 * million, 20 * million)),
            BroadcastLeft,
        ),
        (in_order(with_rows(20 * million, 20 * million)), Broadcast),
        (with_rows(20 * million, 100_000), Broadcast),
        (in_order(with_rows(20 * million, million)), Broadcast),
        (
            Known {
                allows_left: false,
                ..with_rows(10, million)
            },
            Broadcast,
        ),
    ];
    for (known, expected) in table {
        assert_eq!(select(&known).0, expected, "{known:?}");
    }
}

#[test]
fn an_index_of_the_left_under_a_limit_counts_all_that_it_takes() {
    use AsOfStrategy::{Broadcast, BroadcastLeft, SortMerge};
    // 6,000,000 bytes of index, 4 x 33 + 8 a row for candidates and choices, and for 400,000
    // right rows of 50 bytes twice that.
    let known = Known {
        pool: Some(128 * MB),
        ..with_rows(100_000, 40_000_000)
    };
    let within = "left side indexed about 5.7 MB, its candidates 55.7 MB, within the 64.0 MB it \
                  may have of the memory pool";
    let above = "right side indexed about 2.2 GB, above the 57.0 MB it may have of the memory \
                 pool; left side indexed about 5.7 MB, its candidates 55.7 MB, above it too";
    let joins = |joins: usize, known: Known| Known { joins, ..known };
    let table = [
        (known.clone(), BroadcastLeft, within),
        (
            Known {
                pool: Some(114 * MB),
                ..known.clone()
            },
            SortMerge,
            above,
        ),
        (
            joins(2, known.clone()),
            SortMerge,
            "right side indexed about 2.2 GB, above the 32.0 MB it may have of the memory pool; \
             left side indexed about 5.7 MB, its candidates 55.7 MB, above it too",
        ),
        (
            Known {
                readers: 16,
                ..known.clone()
            },
            SortMerge,
            "right side indexed about 2.2 GB, above the 64.0 MB it may have of the memory pool; \
             left side indexed about 5.7 MB, its candidates 220.5 MB, above it too",
        ),
        (
            Known {
                threshold: Some(MB),
                ..known.clone()
            },
            SortMerge,
            "right side indexed about 2.2 GB, above asof.broadcast_threshold = 1.0 MB; left side \
             indexed about 5.7 MB, above it too",
        ),
        (
            Known {
                threshold: Some(8 * MB),
                pool: Some(100 * MB),
                ..known
            },
            SortMerge,
            "right side indexed about 2.2 GB, above asof.broadcast_threshold = 8.0 MB; left side \
             indexed about 5.7 MB, its candidates 55.7 MB, above the 50.0 MB it may have of the \
             memory pool",
        ),
        (
            Known {
                pool: Some(52 * MB),
                ..with_rows(100_000, 300_000)
            },
            Broadcast,
            "right side indexed about 17.2 MB, within the 26.0 MB it may have of the memory pool",
        ),
    ];
    for (known, expected, reason) in table {
        assert_eq!(select(&known), (expected, reason.to_owned()), "{known:?}");
    }
}

#[test]
fn an_endless_side_is_not_indexed() {
    use AsOfStrategy::{Broadcast, BroadcastLeft, SortMerge};
    let forced = Known {
        strategy: StrategyOption::BroadcastLeft,
        ..with_rows(10, 10)
    };
    let mut endless_left = forced.clone();
    endless_left.left.endless = true;
    let not_allowed = Known {
        allows_left: false,
        ..forced.clone()
    };
    let table = [
        (
            forced.clone(),
            BroadcastLeft,
            "asof.strategy = broadcast_left",
        ),
        (
            endless_left,
            Broadcast,
            "not asof.strategy = broadcast_left: the left side has no end",
        ),
        (
            endless(forced),
            SortMerge,
            "not asof.strategy = broadcast_left: the right side has no end",
        ),
        (
            not_allowed,
            Broadcast,
            "not asof.strategy = broadcast_left: this join does not allow it",
        ),
    ];
    for (known, expected, reason) in table {
        assert_eq!(select(&known), (expected, reason.to_owned()), "{known:?}");
    }
}

/// Neither side fits, and of the keys so much is known.
fn skewed(load: f64, rest: f64) -> Known {
    Known {
        threshold: Some(1),
        partitions: 16,
        skew: Ok(Some(SkewOfKeys {
            load,
            rest,
            can_be_cut: rest < load,
            shown: format!("one key holds {load:.1}"),
        })),
        ..known()
    }
}

#[test]
fn what_is_skewed_is_salted_if_that_helps() {
    use AsOfStrategy::{SortMerge, TimeSalted};
    let few_partitions = |partitions, load| Known {
        partitions,
        ..skewed(load, 0.2)
    };
    let hindered = Known {
        hinders_salt: Some("it is hindered"),
        ..skewed(8.0, 0.5)
    };
    let not_skewed = Known {
        skew: Ok(None),
        ..skewed(0.0, 0.0)
    };
    let not_known = Known {
        skew: Err("of no use".into()),
        ..skewed(0.0, 0.0)
    };
    let table = [
        (not_skewed, SortMerge, ""),
        (
            not_known,
            SortMerge,
            "; no sample could be taken: of no use",
        ),
        (skewed(0.0, 0.0), SortMerge, "; one key holds 0.0"),
        (skewed(1.9, 0.2), SortMerge, "; one key holds 1.9"),
        (skewed(2.0, 0.2), TimeSalted, "; one key holds 2.0"),
        (skewed(8.0, 6.0), TimeSalted, "; one key holds 8.0"),
        (
            skewed(8.0, 6.1),
            SortMerge,
            "; one key holds 8.0, 6.1 of them would stay together",
        ),
        (
            skewed(8.0, 8.0),
            SortMerge,
            "; one key holds 8.0, 8.0 of them would stay together",
        ),
        (few_partitions(2, 1.4), SortMerge, "; one key holds 1.4"),
        (few_partitions(2, 1.5), TimeSalted, "; one key holds 1.5"),
        (hindered, SortMerge, "; one key holds 8.0"),
    ];
    for (known, expected, of_skew) in table {
        let (strategy, reason) = select(&known);
        let too_large = "right side indexed about 1.0 MB, above asof.broadcast_threshold = 1 B";
        assert_eq!(
            (strategy, reason),
            (expected, format!("{too_large}{of_skew}")),
            "{known:?}"
        );
    }
}

#[test]
fn what_cannot_be_salted_is_not_even_if_asked_for() {
    use AsOfStrategy::{SortMerge, TimeSalted};
    let asked = |known: Known| Known {
        strategy: StrategyOption::TimeSalted,
        ..known
    };
    let table = [
        (
            asked(skewed(0.1, 0.05)),
            TimeSalted,
            "asof.strategy = time_salted; one key holds 0.1",
        ),
        (
            asked(skewed(0.1, 0.1)),
            SortMerge,
            "asof.strategy = time_salted finds nothing to cut: one key holds 0.1",
        ),
        (
            asked(known()),
            SortMerge,
            "asof.strategy = time_salted finds nothing known of keys and times",
        ),
        (
            endless(asked(skewed(8.0, 0.5))),
            SortMerge,
            "not asof.strategy = time_salted: the right side has no end",
        ),
    ];
    for (known, expected, reason) in table {
        assert_eq!(select(&known), (expected, reason.to_owned()), "{known:?}");
    }
}

#[test]
fn what_partitions_hold_indexed() {
    let fits = |bytes, threshold, pool| {
        let known = Known {
            threshold,
            pool,
            ..with_right(bytes)
        };
        known.partitions_fit()
    };
    // Of four partitions each holds a quarter; of the pool all of them have a half.
    assert!(fits(Some(4 * MB), Some(MB), None));
    assert!(!fits(Some(4 * MB + 1), Some(MB), None));
    assert!(fits(Some(4 * MB), Some(MB), Some(8 * MB)));
    assert!(!fits(Some(4 * MB), Some(MB), Some(8 * MB - 1)));
    assert!(fits(None, None, None));
    assert!(!fits(None, Some(MB), None) && !fits(None, None, Some(MB)));
}
