//! Who is behind a cell of a window, as far as protection has to know it: how many, who gave how much, and in which parts
//! of the window.
//!
//! Guarantees: members are told apart by a digest, never by a name; `Debug` shows how many there are and nothing else.

use std::collections::BTreeMap;
use std::fmt;

use rust_decimal::Decimal;

/// Members of a cell that are told apart; at the bound there are at least so many.
pub const MEMBERS_MAX: usize = 4096;
/// Parts of a window that are told apart.
pub const PARTS_MAX: u32 = 128;

/// What tells two members apart: the first half of a SHA-256, behind a byte that says of what.
pub type MemberId = [u8; 17];

/// What one member gave to a cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// Readings.
    pub events: u64,
    /// What counts for dominance: the sum of its numbers, or what its counter grew by; none beyond a decimal.
    pub weight: Option<Decimal>,
    /// The parts of the window in which it gave something, a bit each.
    pub parts: u128,
}

impl Share {
    /// Nothing yet.
    pub const NONE: Self = Self { events: 0, weight: Some(Decimal::ZERO), parts: 0 };
}

/// Who is behind a cell.
#[derive(Clone, Default, PartialEq)]
pub struct Crowd {
    members: BTreeMap<MemberId, Share>,
    capped: bool,
}

impl fmt::Debug for Crowd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Crowd({}{})", self.members.len(), if self.capped { "+" } else { "" })
    }
}

impl Crowd {
    /// From its members; of more than [`MEMBERS_MAX`] the others are left out.
    #[must_use]
    pub fn new(members: impl IntoIterator<Item = (MemberId, Share)>, capped: bool) -> Self {
        let mut crowd = Self { members: BTreeMap::new(), capped };
        for (id, share) in members {
            match crowd.member(id) {
                Some(place) => *place = share,
                None => break,
            }
        }
        crowd
    }

    /// What a member gave so far; none of one more than [`MEMBERS_MAX`], which is remembered.
    pub fn member(&mut self, id: MemberId) -> Option<&mut Share> {
        if self.members.len() >= MEMBERS_MAX && !self.members.contains_key(&id) {
            self.capped = true;
            return None;
        }
        Some(self.members.entry(id).or_insert(Share::NONE))
    }

    /// All of them, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (&MemberId, &Share)> {
        self.members.iter()
    }

    /// How many; at least so many of a capped one.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.members.len() as u64
    }

    /// Whether there is nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether there are more than it knows of.
    #[must_use]
    pub fn is_capped(&self) -> bool {
        self.capped
    }

    /// How many gave something in one of these parts.
    #[must_use]
    pub fn in_parts(&self, parts: u128) -> u64 {
        self.members.values().filter(|share| share.parts & parts != 0).count() as u64
    }

    /// How many there are in several of them together, each once.
    #[must_use]
    pub fn union<'c>(crowds: impl IntoIterator<Item = &'c Crowd>) -> u64 {
        let ids: std::collections::BTreeSet<&MemberId> =
            crowds.into_iter().flat_map(|crowd| crowd.members.keys()).collect();
        ids.len() as u64
    }

    /// Whether the largest member of several crowds together has more than so many percent of their weight. What cannot
    /// be added up is dominated.
    #[must_use]
    pub fn dominated<'c>(crowds: impl IntoIterator<Item = &'c Crowd> + Clone, percent: Decimal) -> bool {
        if crowds.clone().into_iter().any(Crowd::is_capped) {
            return true;
        }
        let mut by_member: BTreeMap<&MemberId, Decimal> = BTreeMap::new();
        let mut total = Decimal::ZERO;
        for (id, share) in crowds.into_iter().flat_map(|crowd| &crowd.members) {
            let Some(weight) = share.weight.map(|weight| weight.abs()) else { return true };
            let own = by_member.entry(id).or_default();
            let (Some(more), Some(sum)) = (own.checked_add(weight), total.checked_add(weight)) else {
                return true;
            };
            (*own, total) = (more, sum);
        }
        let largest = by_member.values().max().copied().unwrap_or_default();
        match (largest.checked_mul(Decimal::ONE_HUNDRED), total.checked_mul(percent)) {
            (Some(part), Some(bound)) => part > bound,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> MemberId {
        let mut id = [0; 17];
        id[16] = number;
        id
    }

    fn crowd(members: &[(u8, i64, u128)]) -> Crowd {
        let share = |(number, weight, parts): &(u8, i64, u128)| {
            (id(*number), Share { events: 1, weight: Some(Decimal::from(*weight)), parts: *parts })
        };
        Crowd::new(members.iter().map(share), false)
    }

    #[test]
    fn counts_each_once() {
        let (one, other) = (crowd(&[(1, 5, 1), (2, 5, 2)]), crowd(&[(2, 5, 4), (3, 5, 4)]));
        assert_eq!((one.len(), Crowd::union([&one, &other]), one.in_parts(2)), (2, 3, 1));
        assert_eq!(format!("{one:?}"), "Crowd(2)");
    }

    #[test]
    fn dominance() {
        let flats = crowd(&[(1, 900, 0), (2, 60, 0), (3, 40, 0)]);
        let others = crowd(&[(4, 500, 0), (5, -400, 0)]);
        for (crowds, percent, expected) in [
            (vec![&flats], 50, true),
            (vec![&flats], 90, false),
            (vec![&flats], 89, true),
            (vec![&flats, &others], 50, false),
            (vec![], 50, false),
        ] {
            assert_eq!(
                Crowd::dominated(crowds.clone(), Decimal::from(percent)),
                expected,
                "{crowds:?} {percent}"
            );
        }
        let beyond = Crowd::new([(id(1), Share { weight: None, ..Share::NONE })], false);
        assert!(Crowd::dominated([&beyond], Decimal::from(99)));
    }

    #[test]
    fn is_bounded() {
        let mut crowd = Crowd::default();
        for number in 0..MEMBERS_MAX + 2 {
            let mut id = [0; 17];
            id[..8].copy_from_slice(&number.to_le_bytes());
            assert_eq!(crowd.member(id).is_some(), number < MEMBERS_MAX);
        }
        assert_eq!((crowd.len(), crowd.is_capped()), (MEMBERS_MAX as u64, true));
    }
}
