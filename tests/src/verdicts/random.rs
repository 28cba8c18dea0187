//! A random sequence that is the same on every machine for the same seed.

/// SplitMix64 (Steele, Lea, Flood 2014): fast and good enough to choose test packets.
#[derive(Clone, Debug)]
pub struct Random(u64);

/// The odd number closest to 2^64 divided by the golden ratio.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Random {
    /// The sequence of a seed and the number of a frame.
    #[must_use]
    pub const fn new(seed: u64, number: u64) -> Self {
        // Neighbouring numbers would otherwise give sequences that overlap.
        Self(mix(seed.wrapping_add(STEP)) ^ mix(number))
    }

    /// Any number.
    pub const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// A number below `end`; 0 if `end` is 0.
    pub const fn below(&mut self, end: usize) -> usize {
        // The product's upper half: uniform but for a bias below 2^-32 at the sizes of packets.
        ((self.bits() as u128 * end as u128) >> 64) as usize
    }

    /// True once in `times`, on average.
    pub const fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One element of a slice, which must not be empty.
    pub const fn pick<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        &among[self.below(among.len())]
    }

    /// A sequence of `length` bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend(self.bits().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

const fn mix(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
