//! Draws, reaches and blocks that can be checked by hand.

use super::*;

#[test]
fn each_piece_has_its_draw() {
    let draws = draws(640.0, 64, 0);
    let pieces: Vec<usize> = draws.iter().map(|draw| (draw / 10.0) as usize).collect();
    assert_eq!(pieces, (0..64).collect::<Vec<_>>());
    let at: Vec<usize> = draws.iter().map(|draw| (draw % 10.0) as usize).collect();
    let of_tenth = |tenth| at.iter().filter(|at| **at == tenth).count();
    let fewest_and_most = [(0..10).map(of_tenth).min(), (0..10).map(of_tenth).max()];
    assert!(
        fewest_and_most[0] >= Some(1) && fewest_and_most[1] <= Some(16),
        "{at:?}"
    );
}

#[test]
fn two_sides_are_looked_at_in_different_places() {
    let of_side = |first| draws(64.0, 64, first).into_iter().map(f64::fract);
    let mut places: Vec<f64> = of_side(0).chain(of_side(64)).collect();
    places.sort_by(f64::total_cmp);
    let gaps = places.windows(2).map(|two| two[1] - two[0]);
    let (least, most) = gaps.fold((1.0f64, 0.0f64), |(least, most), gap| {
        (least.min(gap), most.max(gap))
    });
    assert!(least > 0.003 && most < 0.02, "{least} {most}");
}

#[test]
fn reaches_meet_halfway_and_cover_the_line() {
    assert_eq!(
        reaches(&[2.0, 4.0, 9.0], 10.0),
        [[2.0, 1.0], [1.0, 2.5], [2.5, 1.0]]
    );
    assert_eq!(reaches(&[], 10.0), Vec::<[f64; 2]>::new());
}

#[test]
fn places_are_found_in_their_parts() {
    let lengths = [3.0, 0.0, 2.0];
    let found = [0.0, 2.5, 3.0, 4.5, 5.0].map(|place| part_at(&lengths, place));
    assert_eq!(found, [(0, 0.0), (0, 2.5), (2, 0.0), (2, 1.5), (2, 2.0)]);
}

#[test]
fn blocks_stay_in_their_part_and_share_no_rows() {
    let place = |part, at| (part, at, [1.0, 2.0]);
    let blocks = |places: &[_]| -> Vec<_> {
        let spots = spots(&[100, 5], places, 10);
        spots
            .into_iter()
            .map(|spot| (spot.part, spot.rows, spot.reach[1]))
            .collect()
    };
    assert_eq!(
        blocks(&[place(0, 1.0), place(0, 50.0), place(0, 99.0), place(1, 2.0)]),
        [
            (0, 0..10, 2.0),
            (0, 45..55, 2.0),
            (0, 90..100, 2.0),
            (1, 0..5, 2.0)
        ]
    );
    assert_eq!(
        blocks(&[place(0, 50.0), place(0, 52.0), place(1, 1.0), place(1, 2.0)]),
        [(0, 45..55, 2.0), (0, 55..57, 2.0), (1, 0..5, 5.0)],
        "what follows, or nothing"
    );
}
