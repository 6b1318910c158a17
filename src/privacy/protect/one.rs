//! One cell, or the cells of one parent, by the rules of release: threshold, complementary suppression, dominance.
//!
//! Guarantees: a cell about fewer than `k` subjects is not told, nor can it be worked out from its neighbours and their
//! total; a sum that is mostly one contributor's is not told. It looks at one window alone: what other windows tell is not
//! its business. Pure.

use rust_decimal::Decimal;

/// The count, if it is of nobody and that may be known, or of at least `k` different subjects.
#[must_use]
pub fn k_threshold(count_distinct_subjects: u64, k: u64, zero_public: bool) -> Option<u64> {
    let told = if count_distinct_subjects == 0 { zero_public } else { count_distinct_subjects >= k };
    told.then_some(count_distinct_subjects)
}

/// What of the cells of one parent, and of the parent, is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// By cell.
    pub cells: Vec<bool>,
    /// Of their parent.
    pub total: bool,
}

/// Hides the cells below `k`, and with them the smallest others until at least two are hidden that are about at least `k`
/// subjects together; the parent too where no other cell is left for that.
#[must_use]
pub fn complementary_1d(cells: &[u64], k: u64, zero_public: bool) -> Told {
    let mut told: Vec<bool> =
        cells.iter().map(|count| k_threshold(*count, k, zero_public).is_some()).collect();
    let mut total = true;
    loop {
        let hidden = || cells.iter().zip(&told).filter(|(_, told)| !**told).map(|(count, _)| *count);
        let (number, subjects) = (hidden().count(), hidden().fold(0, u64::saturating_add));
        if number == 0 || (number >= 2 && subjects >= k) {
            break;
        }
        let others = cells.iter().enumerate().filter(|(at, count)| told[*at] && **count > 0);
        match others.min_by_key(|(_, count)| **count) {
            Some((at, _)) => told[at] = false,
            None => {
                total = false;
                break;
            }
        }
    }
    Told { cells: told, total }
}

/// How much of a sum its largest contributors may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dominance {
    /// How many of the largest count together; at least one.
    pub largest: usize,
    /// The share that they may have, percent.
    pub percent: Decimal,
}

impl Dominance {
    /// Whether a sum may be told of which the largest contributors have `largest`. A sum of nothing may; one with negative
    /// parts may not, because shares of it mean nothing.
    #[must_use]
    pub fn permits(&self, largest: Decimal, total: Decimal) -> bool {
        if largest.is_zero() && total.is_zero() {
            return true;
        }
        if largest < Decimal::ZERO || total < largest {
            return false;
        }
        let parts = largest.checked_mul(Decimal::ONE_HUNDRED).zip(total.checked_mul(self.percent));
        parts.is_some_and(|(have, may)| have <= may)
    }

    /// The sum of the contributions, if none of them is most of it.
    #[must_use]
    pub fn sum(&self, contributions: &[Decimal]) -> Option<Decimal> {
        let sum =
            |parts: &[Decimal]| parts.iter().try_fold(Decimal::ZERO, |sum, part| sum.checked_add(*part));
        if contributions.iter().any(|part| *part < Decimal::ZERO) {
            return None;
        }
        let mut sorted = contributions.to_vec();
        sorted.sort_unstable_by(|one, other| other.cmp(one));
        let largest = sum(&sorted[..self.largest.min(sorted.len())])?;
        sum(&sorted).filter(|total| self.permits(largest, *total))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn thresholds() {
        for (count, zero_public, told) in
            [(0, true, Some(0)), (0, false, None), (1, true, None), (4, true, None), (5, false, Some(5))]
        {
            assert_eq!(k_threshold(count, 5, zero_public), told, "{count}");
        }
    }

    #[test]
    fn hidden_cells_hide_one_another() {
        for (cells, zero_public, hidden, total) in [
            (&[12, 8, 9][..], false, &[][..], true),
            (&[12, 3, 9], false, &[1, 2], true),
            // Two that are about fewer than k together need a third.
            (&[1, 3, 9, 20], false, &[0, 1, 2], true),
            (&[2, 3, 9, 20], false, &[0, 1], true),
            (&[0, 12, 9], true, &[], true),
            (&[0, 12, 9], false, &[0, 2], true),
            (&[0, 3, 9], true, &[1, 2], true),
            (&[0, 3], true, &[1], false),
            (&[3], false, &[0], false),
            (&[1, 2], false, &[0, 1], false),
            (&[], false, &[], true),
        ] {
            let told = complementary_1d(cells, 5, zero_public);
            let got: Vec<usize> = (0..cells.len()).filter(|at| !told.cells[*at]).collect();
            assert_eq!((got.as_slice(), told.total), (hidden, total), "{cells:?}");
        }
    }

    #[test]
    fn one_household_is_not_the_sum() {
        let decimals = |parts: &[i64]| parts.iter().copied().map(Decimal::from).collect::<Vec<_>>();
        for (largest, percent, parts, told) in [
            (1, 50, &[900, 60, 40][..], None),
            (1, 90, &[900, 60, 40], Some(1000)),
            (1, 89, &[900, 60, 40], None),
            (2, 95, &[900, 60, 40], None),
            (2, 96, &[900, 60, 40], Some(1000)),
            (1, 50, &[500, 500], Some(1000)),
            (1, 50, &[7], None),
            (1, 50, &[0, 0], Some(0)),
            (1, 50, &[], Some(0)),
            (1, 50, &[-900, 1000, 1000], None),
        ] {
            let rule = Dominance { largest, percent: percent.into() };
            assert_eq!(rule.sum(&decimals(parts)), told.map(Decimal::from), "{parts:?}");
        }
    }

    proptest! {
        /// Whatever the cells: none below k is told; if any is hidden, either the total is too, or what can be subtracted from
        /// it is of at least two cells and k subjects.
        #[test]
        fn nothing_can_be_subtracted(cells in prop::collection::vec(0_u64..15, 0..8), zero_public in any::<bool>(), k in 1_u64..10) {
            let told = complementary_1d(&cells, k, zero_public);
            let hidden: Vec<u64> = cells.iter().zip(&told.cells).filter(|(_, told)| !**told).map(|(count, _)| *count).collect();
            for (count, told) in cells.iter().zip(&told.cells) {
                prop_assert!(!told || *count >= k || (*count == 0 && zero_public));
            }
            let safe = hidden.len() >= 2 && hidden.iter().sum::<u64>() >= k;
            prop_assert!(hidden.is_empty() || safe || !told.total);
        }
    }
}
