//! From one set of lists to the next: which lines have a new version, and which share lines that concerns.
//!
//! Guarantees: a line that says the same keeps its version; a line that is gone has a version that says so; versions of a
//! line only rise. Holds nothing of the lines but the hash of their text.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use super::{Item, Link};
use crate::model::{Alteration, LineId, List};

/// SHA-256 over a line's body.
pub type BodyHash = [u8; 32];

/// The newest version of a line, as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// From 1.
    pub version: u32,
    /// Whether the line is gone.
    pub retired: bool,
    /// Over its body.
    pub hash: BodyHash,
}

/// The newest versions of all lines there ever were.
pub type Newest = BTreeMap<(List, LineId), Known>;

/// A line has a new version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Of which list.
    pub list: List,
    /// Which line.
    pub id: LineId,
    /// The new version.
    pub version: u32,
    /// What happened.
    pub change: Alteration,
    /// What it says now; "{}" when it is gone.
    pub body: String,
    /// Over the body.
    pub hash: BodyHash,
}

/// The body of a line that is gone.
const GONE: &str = "{}";

/// The hash of a body.
#[must_use]
pub fn hash(body: &str) -> BodyHash {
    Sha256::digest(body).into()
}

/// What is different, in the order of lists and ids.
#[must_use]
pub fn changes(old: &Newest, new: &[Item]) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut there = BTreeSet::new();
    for item in new {
        let hash = hash(&item.body);
        let key = (item.list, item.id.clone());
        let known = old.get(&key);
        let change = match known {
            Some(known) if !known.retired && known.hash == hash => None,
            Some(known) if !known.retired => Some(Alteration::Changed),
            _ => Some(Alteration::Added),
        };
        if let Some(change) = change.filter(|_| !there.contains(&key)) {
            let version = known.map_or(1, |known| known.version.saturating_add(1));
            let body = item.body.clone();
            changes.push(Change { list: item.list, id: item.id.clone(), version, change, body, hash });
        }
        there.insert(key);
    }
    for ((list, id), known) in old.iter().filter(|(key, known)| !known.retired && !there.contains(*key)) {
        let (version, change) = (known.version.saturating_add(1), Alteration::Retired);
        let (body, hash) = (GONE.to_owned(), hash(GONE));
        changes.push(Change { list: *list, id: id.clone(), version, change, body, hash });
    }
    changes.sort_by(|a, b| (a.list, &a.id).cmp(&(b.list, &b.id)));
    changes
}

/// The share lines whose consumers a change concerns: the line itself; those that serve a demand; those that draw from a
/// collect line; those whose demand a governance line closes.
#[must_use]
pub fn concerned(links: &BTreeSet<Link>, list: List, id: &LineId) -> BTreeSet<LineId> {
    let key = (list, id.clone());
    // Whoever speaks of it, and whom it speaks of.
    let beside = |of: List| -> BTreeSet<LineId> {
        let from = links.iter().filter(|(_, to)| *to == key).map(|(from, _)| from);
        let to = links.iter().filter(|(from, _)| *from == key).map(|(_, to)| to);
        from.chain(to).filter(|(list, _)| *list == of).map(|(_, id)| id.clone()).collect()
    };
    match list {
        List::Share => BTreeSet::from([id.clone()]),
        List::Demand | List::Collect => beside(List::Share),
        List::Governance => {
            let demands = beside(List::Demand);
            demands.iter().flat_map(|demand| concerned(links, List::Demand, demand)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(name: &str) -> LineId {
        name.parse().expect("an id")
    }

    fn item(list: List, name: &str, body: &str) -> Item {
        Item { list, id: id(name), body: body.into() }
    }

    fn taken(newest: &mut Newest, changes: &[Change]) {
        for change in changes {
            let retired = change.change == Alteration::Retired;
            let known = Known { version: change.version, retired, hash: change.hash };
            newest.insert((change.list, change.id.clone()), known);
        }
    }

    #[test]
    fn versions_of_a_line_rise() {
        let mut newest = Newest::new();
        type Step<'s> = (&'s [Item], &'s [(&'s str, u32, Alteration)]);
        let steps: [Step<'_>; 6] = [
            (
                &[item(List::Share, "S-1", "a"), item(List::Demand, "D-1", "a")],
                &[("D-1", 1, Alteration::Added), ("S-1", 1, Alteration::Added)],
            ),
            (&[item(List::Share, "S-1", "a"), item(List::Demand, "D-1", "a")], &[]),
            (
                &[item(List::Share, "S-1", "b"), item(List::Demand, "D-1", "a")],
                &[("S-1", 2, Alteration::Changed)],
            ),
            (&[item(List::Share, "S-1", "b")], &[("D-1", 2, Alteration::Retired)]),
            (&[item(List::Share, "S-1", "b")], &[]),
            (
                &[item(List::Share, "S-1", "b"), item(List::Demand, "D-1", "a")],
                &[("D-1", 3, Alteration::Added)],
            ),
        ];
        for (number, (items, expected)) in steps.into_iter().enumerate() {
            let changes = changes(&newest, items);
            let got: Vec<_> =
                changes.iter().map(|change| (change.id.as_str(), change.version, change.change)).collect();
            assert_eq!(got, expected, "step {number}");
            taken(&mut newest, &changes);
        }
    }

    #[test]
    fn a_change_concerns_the_lines_that_hang_on_it() {
        let links: BTreeSet<Link> = [
            ((List::Demand, id("D-1")), (List::Share, id("S-1"))),
            ((List::Share, id("S-2")), (List::Demand, id("D-1"))),
            ((List::Share, id("S-3")), (List::Collect, id("C-1"))),
            ((List::Collect, id("C-1")), (List::Demand, id("D-1"))),
            ((List::Governance, id("G-1")), (List::Demand, id("D-1"))),
            ((List::Governance, id("G-1")), (List::Collect, id("C-1"))),
        ]
        .into();
        for (list, name, expected) in [
            (List::Share, "S-9", &["S-9"][..]),
            (List::Demand, "D-1", &["S-1", "S-2"]),
            (List::Collect, "C-1", &["S-3"]),
            (List::Governance, "G-1", &["S-1", "S-2"]),
            (List::Demand, "D-2", &[]),
        ] {
            let got = concerned(&links, list, &id(name));
            let got: Vec<&str> = got.iter().map(LineId::as_str).collect();
            assert_eq!(got, expected, "{list} {name}");
        }
    }

    proptest! {
        /// Taken once, the same lists change nothing; and whatever the history, a version is given once.
        #[test]
        fn the_same_lists_again_change_nothing(
            steps in prop::collection::vec(prop::collection::btree_map(0_u8..5, 0_u8..3, 0..5), 1..8),
        ) {
            let (mut newest, mut given) = (Newest::new(), BTreeSet::new());
            for step in steps {
                let items: Vec<Item> = step
                    .iter()
                    .map(|(name, body)| item(List::Share, &format!("S-{name}"), &body.to_string()))
                    .collect();
                let found = changes(&newest, &items);
                for change in &found {
                    prop_assert!(given.insert((change.id.clone(), change.version)));
                }
                taken(&mut newest, &found);
                prop_assert_eq!(changes(&newest, &items), vec![]);
            }
        }
    }
}
