//! Who subscribes to what: a tree over the levels of the filters. Pure.
//!
//! Guarantees: finds exactly those whose filter [`topic::covers`](super::super::topic::covers) a topic, one member of each
//! shared group (MQTT 5.0 §4.8.2), and visits only the levels that lead there; a subscription that ends leaves nothing
//! behind. It does not check filters, and knows nothing of sessions but their number.

use crate::store::sessions::{Options, SessionId};

/// Levels of a filter; the tree is walked and dropped by recursion.
pub(super) const LEVELS_MAX: usize = 128;

/// Of a member of a group that nothing keeps from taking a message.
pub(super) const BEST: u8 = 2;

/// One subscription at its filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) session: SessionId,
    pub(super) options: Options,
    pub(super) identifier: Option<u32>,
}

/// What a topic finds.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    /// Of their own, in no order.
    pub(super) own: Vec<Entry>,
    /// One of each group.
    pub(super) shared: Vec<Entry>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Tree {
    root: Node,
}

/// What follows a level. Wildcards are levels like others.
#[derive(Default)]
struct Node {
    /// By text.
    below: Vec<(Box<str>, Node)>,
    groups: Vec<Group>,
}

/// Those who share a filter, or without a name those who have it for themselves.
struct Group {
    name: Option<Box<str>>,
    /// By session.
    members: Vec<Entry>,
    /// Whose turn it is.
    next: usize,
}

impl Tree {
    /// Adds a subscription, or gives it other options. True when it is new.
    pub(super) fn insert(&mut self, group: Option<&str>, filter: &str, entry: Entry) -> bool {
        let node = filter.split('/').fold(&mut self.root, Node::grow);
        if let Some(at) = node.group(group) {
            return node.groups[at].put(entry);
        }
        node.groups.reserve_exact(1);
        node.groups.push(Group { name: group.map(Into::into), members: vec![entry], next: 0 });
        true
    }

    /// Takes a subscription away. False when there was none.
    pub(super) fn remove(&mut self, group: Option<&str>, filter: &str, session: SessionId) -> bool {
        self.root.remove(Some(filter), group, session)
    }

    /// Finds who is to get a topic. `rank` says how well a member of a group could take it, up to [`BEST`]; the best one
    /// does, and among equals the one whose turn it is.
    pub(super) fn find(&mut self, topic: &str, rank: impl Fn(&Entry) -> u8) -> Found {
        let mut found = Found::default();
        self.root.find(Some(topic), topic.starts_with('$'), &rank, &mut found);
        found
    }

    /// Every subscription: group, filter, entry.
    #[cfg(test)]
    pub(super) fn entries(&self) -> Vec<(Option<String>, String, Entry)> {
        let mut all = Vec::new();
        self.root.entries(&mut Vec::new(), &mut all);
        all
    }
}

impl Node {
    fn at(&self, level: &str) -> Result<usize, usize> {
        self.below.binary_search_by(|(text, _)| (**text).cmp(level))
    }

    fn child(&mut self, level: &str) -> Option<&mut Node> {
        self.at(level).ok().map(|at| &mut self.below[at].1)
    }

    /// The node of a level, made if need be.
    fn grow<'n>(self: &'n mut Node, level: &str) -> &'n mut Node {
        let at = self.at(level).unwrap_or_else(|at| {
            // Most nodes lead to one other, for the filters of one device.
            if self.below.is_empty() {
                self.below.reserve_exact(1);
            }
            self.below.insert(at, (level.into(), Node::default()));
            at
        });
        &mut self.below[at].1
    }

    fn is_empty(&self) -> bool {
        self.below.is_empty() && self.groups.is_empty()
    }

    fn remove(&mut self, rest: Option<&str>, group: Option<&str>, session: SessionId) -> bool {
        let Some(rest) = rest else { return self.leave(group, session) };
        let (level, rest) = split(rest);
        let Ok(at) = self.at(level) else { return false };
        let removed = self.below[at].1.remove(rest, group, session);
        if self.below[at].1.is_empty() {
            self.below.remove(at);
        }
        removed
    }

    fn group(&self, name: Option<&str>) -> Option<usize> {
        self.groups.iter().position(|group| group.name.as_deref() == name)
    }

    fn leave(&mut self, group: Option<&str>, session: SessionId) -> bool {
        let Some(at) = self.group(group) else { return false };
        let members = &mut self.groups[at].members;
        let Ok(place) = members.binary_search_by_key(&session, |known| known.session) else { return false };
        members.remove(place);
        if members.is_empty() {
            self.groups.remove(at);
        }
        true
    }

    /// `reserved`: the topic begins with `$` and this is the root, where wildcards do not cover it ([MQTT-4.7.2-1]).
    fn find(&mut self, rest: Option<&str>, reserved: bool, rank: &impl Fn(&Entry) -> u8, found: &mut Found) {
        if !reserved && let Some(all) = self.child("#") {
            all.collect(rank, found);
        }
        let Some(rest) = rest else { return self.collect(rank, found) };
        let (level, rest) = split(rest);
        if !reserved && let Some(any) = self.child("+") {
            any.find(rest, false, rank, found);
        }
        if let Some(same) = self.child(level) {
            same.find(rest, false, rank, found);
        }
    }

    fn collect(&mut self, rank: &impl Fn(&Entry) -> u8, found: &mut Found) {
        for group in &mut self.groups {
            match group.name {
                None => found.own.extend_from_slice(&group.members),
                Some(_) => found.shared.extend(group.choose(rank)),
            }
        }
    }

    #[cfg(test)]
    fn entries<'n>(&'n self, path: &mut Vec<&'n str>, all: &mut Vec<(Option<String>, String, Entry)>) {
        for group in &self.groups {
            let name = group.name.as_deref().map(str::to_owned);
            all.extend(group.members.iter().map(|entry| (name.clone(), path.join("/"), *entry)));
        }
        for (level, node) in &self.below {
            path.push(level);
            node.entries(path, all);
            path.pop();
        }
    }
}

impl Group {
    /// True when it is new.
    fn put(&mut self, entry: Entry) -> bool {
        let known = self.members.binary_search_by_key(&entry.session, |known| known.session);
        match known {
            Ok(at) => self.members[at] = entry,
            Err(at) => self.members.insert(at, entry),
        }
        known.is_err()
    }

    fn choose(&mut self, rank: &impl Fn(&Entry) -> u8) -> Option<Entry> {
        let len = self.members.len();
        let turns = (0..len).map(|step| (self.next + step) % len);
        let ready = turns.clone().find(|at| rank(&self.members[*at]) >= BEST);
        // Of several equals `max_by_key` gives the last.
        let chosen = ready.or_else(|| turns.rev().max_by_key(|at| rank(&self.members[*at])))?;
        self.next = chosen + 1;
        Some(self.members[chosen])
    }
}

/// The first level, and the others if there are any.
fn split(text: &str) -> (&str, Option<&str>) {
    text.split_once('/').map_or((text, None), |(level, rest)| (level, Some(rest)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::super::topic;
    use super::*;

    fn entry(session: u64, qos: u8) -> Entry {
        let options = Options { qos, ..Options::default() };
        Entry { session: SessionId(session), options, identifier: None }
    }

    #[test]
    fn members_of_a_group_take_turns_and_the_best_one_goes_first() {
        let mut tree = Tree::default();
        for session in [1, 2, 3] {
            assert!(tree.insert(Some("g"), "a/+", entry(session, 1)));
        }
        assert!(!tree.insert(Some("g"), "a/+", entry(2, 0)), "other options");
        let mut turn = |rank: fn(&Entry) -> u8| {
            tree.find("a/b", rank).shared.iter().map(|entry| entry.session.0).collect::<Vec<_>>()
        };
        let turns: Vec<_> = (0..4).flat_map(|_| turn(|_| 1)).collect();
        assert_eq!(turns, [1, 2, 3, 1]);
        let able: fn(&Entry) -> u8 = |entry| u8::from(entry.session.0 != 2);
        assert_eq!([turn(able), turn(able), turn(able)], [[3], [1], [3]]);
        assert!(tree.remove(Some("g"), "a/+", SessionId(3)));
        assert_eq!(tree.find("a/b", |_| 0).shared.len(), 1);
        assert!(!tree.remove(Some("h"), "a/+", SessionId(1)) && !tree.remove(None, "a/+", SessionId(1)));
        assert!(tree.remove(Some("g"), "a/+", SessionId(1)) && tree.remove(Some("g"), "a/+", SessionId(2)));
        assert!(tree.root.is_empty(), "nothing stays behind");
    }

    fn text(levels: &'static [&'static str]) -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(levels), 1..5).prop_map(|levels| levels.join("/"))
    }

    fn filter() -> impl Strategy<Value = String> {
        (text(&["a", "b", "", "+", "$x"]), prop::option::of(Just("/#"))).prop_map(|(front, end)| match end {
            Some(_) if front == "+" => "#".to_owned(),
            Some(end) => front + end,
            None => front,
        })
    }

    proptest! {
        #[test]
        fn the_tree_finds_what_a_scan_finds(
            steps in prop::collection::vec((filter(), prop::option::of("[gh]"), 0..4u64, any::<bool>()), 0..40),
            topics in prop::collection::vec(text(&["a", "b", "", "$x"]), 1..10),
        ) {
            let mut tree = Tree::default();
            let mut scan: BTreeMap<(Option<String>, String, u64), ()> = BTreeMap::new();
            for (filter, group, session, remove) in steps {
                let key = (group.clone(), filter.clone(), session);
                if remove {
                    let was = tree.remove(group.as_deref(), &filter, SessionId(session));
                    prop_assert_eq!(was, scan.remove(&key).is_some());
                } else {
                    let new = tree.insert(group.as_deref(), &filter, entry(session, 0));
                    prop_assert_eq!(new, scan.insert(key, ()).is_none());
                }
            }
            for topic in &topics {
                let covering = scan.keys().filter(|(_, filter, _)| topic::covers(filter, topic));
                let mut own: Vec<u64> =
                    covering.clone().filter(|key| key.0.is_none()).map(|key| key.2).collect();
                let mut groups: Vec<_> =
                    covering.filter_map(|(group, filter, _)| group.as_ref().map(|group| (group, filter))).collect();
                groups.dedup();
                let found = tree.find(topic, |_| 0);
                let mut ids: Vec<u64> = found.own.iter().map(|entry| entry.session.0).collect();
                own.sort_unstable();
                ids.sort_unstable();
                prop_assert_eq!(ids, own);
                prop_assert_eq!(found.shared.len(), groups.len());
            }
            prop_assert_eq!(tree.entries().len(), scan.len());
            for ((group, filter, session), ()) in scan {
                prop_assert!(tree.remove(group.as_deref(), &filter, SessionId(session)));
            }
            prop_assert!(tree.root.is_empty());
        }
    }
}
