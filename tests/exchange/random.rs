//! Randomness of one seed: splitmix64. The same seed gives the same run.

/// The generator.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of them; none of an empty list.
    pub(crate) fn one_of<T>(&mut self, all: impl ExactSizeIterator<Item = T>) -> Option<T> {
        let count = all.len() as u64;
        if count == 0 { None } else { all.into_iter().nth(self.below(count) as usize) }
    }
}
