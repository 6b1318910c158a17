//! Chance that does not depend on who asked before: a function of the seed and of what it is about.

use std::hash::{DefaultHasher, Hash, Hasher};

/// See the module.
#[derive(Clone, Copy)]
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    /// A number below `bound`.
    pub(crate) fn below(self, bound: u64, about: impl Hash) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.0, about).hash(&mut hasher);
        hasher.finish() % bound
    }

    /// Whether it is one of `n`.
    pub(crate) fn one_in(self, n: u64, about: impl Hash) -> bool {
        self.below(n, about) == 0
    }
}
