//! Which slot each range goes to, if it is known what ranges weigh.
//!
//! Ranges that weigh the same are dealt out in turn: what was cut a little wrong is next to what was cut
//! too large or too small for it, and both are in slots of their own. But all rows of one time are in
//! one range, and may weigh as much as several others. Such heavy ones come first, the heaviest
//! first and each to the slot that has least (Graham, "Bounds on multiprocessing timing anomalies",
//! 1969); then the others in turn, past the slots that have enough.

use super::in_turn;

/// A range is heavy that weighs so many times what ranges do on average.
const HEAVY: f64 = 1.5;

/// By range its slot.
pub(crate) fn dealt(weights: &[f64], slots: usize) -> Vec<u32> {
    let total: f64 = weights.iter().sum();
    let usual = total / weights.len().max(1) as f64;
    let enough = total / slots as f64 + usual / 2.0;
    let mut held = vec![0.0; slots];
    let mut slot_of = vec![0; weights.len()];
    let mut put = |range: usize, slot: usize, held: &mut [f64]| {
        held[slot] += weights[range];
        slot_of[range] = slot as u32;
    };
    let is_heavy = |range: &usize| weights[*range] > HEAVY * usual;
    let (mut heavy, others): (Vec<usize>, Vec<usize>) = (0..weights.len()).partition(is_heavy);
    heavy.sort_by(|a, b| weights[*b].total_cmp(&weights[*a]));
    for range in heavy {
        put(range, least(&held), &mut held);
    }
    let mut turn = 0;
    for range in others {
        let has_room = |slot: usize| held[slot] == 0.0 || held[slot] + weights[range] <= enough;
        // Every slot has a turn among twice as many.
        let mut turns = turn..turn + 2 * slots;
        let found = turns.find(|turn| has_room(in_turn(*turn, slots)));
        let slot = match found {
            Some(found) => {
                turn = found + 1;
                in_turn(found, slots)
            }
            None => least(&held),
        };
        put(range, slot, &mut held);
    }
    slot_of
}

fn least(held: &[f64]) -> usize {
    let slots = (0..held.len()).min_by(|a, b| held[*a].total_cmp(&held[*b]));
    slots.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(weights: &[f64], slots: usize) -> Vec<f64> {
        let mut held = vec![0.0; slots];
        for (weight, slot) in weights.iter().zip(dealt(weights, slots)) {
            held[slot as usize] += weight;
        }
        held
    }

    #[test]
    fn ranges_that_weigh_the_same_are_dealt_in_turn() {
        let turns: Vec<u32> = (0..64).map(|range| in_turn(range, 16) as u32).collect();
        assert_eq!(dealt(&[0.25; 64], 16), turns);
        // Cut a little wrong.
        let weights: Vec<f64> = (0..64)
            .map(|range| 1.0 + f64::from(range % 3) / 20.0)
            .collect();
        assert_eq!(dealt(&weights, 16), turns);
        assert_eq!(dealt(&[1.0, 1.1, 0.9], 16), [0, 1, 2]);
        assert_eq!(dealt(&[], 16), [0; 0]);
    }

    #[test]
    fn heavy_ranges_have_less_beside_them() {
        let mut weights = vec![1.0; 61];
        weights[40] = 4.0;
        assert_eq!(held(&weights, 16), [4.0; 16]);
        weights[10] = 3.0;
        weights[11] = 2.0;
        let most = held(&weights, 16).into_iter().fold(0.0, f64::max);
        assert!(most <= 5.0, "{most}");
        // More than a slot should have: that one has nothing else.
        weights[10] = 9.0;
        assert_eq!(held(&weights, 16).into_iter().fold(0.0, f64::max), 9.0);
    }

    #[test]
    fn of_few_slots_none_is_left_out() {
        assert_eq!(dealt(&[1.0, 5.0, 1.0, 1.0, 1.0, 1.0], 1), [0; 6]);
        assert_eq!(held(&[1.0, 5.0, 1.0, 1.0, 1.0, 1.0], 2), [5.0, 5.0]);
        assert_eq!(held(&[0.0; 4], 2), [0.0; 2]);
    }
}
