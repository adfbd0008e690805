//! Random numbers and orders that depend on a seed and a place only.
//!
//! Nothing is drawn in sequence, so that a row is the same row wherever in the table it is written.

/// A random number for one place of one seed: the finalizer of `SplitMix64`.
pub fn hash(seed: u64, place: u64) -> u64 {
    let mut x = mix(seed).wrapping_add(place.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    x = mix(x);
    x
}

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// The number as a fraction, at least 0 and below 1.
pub fn fraction(hash: u64) -> f64 {
    (hash >> 11) as f64 / (1u64 << 53) as f64
}

/// A random order of the numbers below `len`, without a list of them: a Feistel network over the
/// next power of four, walked until it comes back below `len`.
#[derive(Debug, Clone)]
pub struct Shuffle {
    len: u64,
    half_bits: u32,
    seed: u64,
}

impl Shuffle {
    const ROUNDS: u64 = 4;

    /// The order of the numbers below `len` that belongs to the seed.
    pub fn new(len: u64, seed: u64) -> Self {
        let bits = u64::BITS - len.saturating_sub(1).leading_zeros();
        Self {
            len,
            half_bits: bits.div_ceil(2).max(1),
            seed,
        }
    }

    /// Which number stands at this place, which is below `len`.
    pub fn at(&self, place: u64) -> u64 {
        let mut number = self.permute(place);
        while number >= self.len {
            number = self.permute(number);
        }
        number
    }

    fn permute(&self, number: u64) -> u64 {
        let mask = (1 << self.half_bits) - 1;
        let (mut high, mut low) = (number >> self.half_bits, number & mask);
        for round in 0..Self::ROUNDS {
            let scrambled = hash(self.seed.wrapping_add(round), low) & mask;
            (high, low) = (low, high ^ scrambled);
        }
        (high << self.half_bits) | low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffle_has_every_number_once() {
        for len in [1, 2, 3, 5, 64, 1000, 1025] {
            let shuffle = Shuffle::new(len, 7);
            let mut numbers: Vec<u64> = (0..len).map(|place| shuffle.at(place)).collect();
            assert!(len < 10 || !numbers.is_sorted());
            numbers.sort_unstable();
            assert_eq!(numbers, (0..len).collect::<Vec<_>>());
        }
    }
}
