//! Which collector pulls from which gateway, as a pure function of what all of them can see.
//!
//! Guarantees: nobody claims what is leased; nobody holds more than the fair share `ceil(gateways / collectors)` for longer
//! than a round; what the registry no longer has is given up. Two collectors that claim at once want different gateways
//! first, so that they rarely collide; where they do, the lease decides.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

/// What a collector should do in this round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Try to lease these, in this order.
    pub claim: Vec<String>,
    /// Stop pulling from these, then give their leases back.
    pub give_up: Vec<String>,
}

/// What a collector sees.
#[derive(Clone, Copy, Debug)]
pub struct View<'v> {
    /// Every gateway of the registry.
    pub registered: &'v BTreeSet<String>,
    /// What this collector holds.
    pub held: &'v BTreeSet<String>,
    /// What is leased to anybody.
    pub leased: &'v BTreeSet<String>,
    /// Collectors that are there, this one among them.
    pub live: usize,
}

/// The fair share of one collector.
#[must_use]
pub fn fair(gateways: usize, live: usize) -> usize {
    gateways.div_ceil(live.max(1))
}

/// What `name` should do.
#[must_use]
pub fn plan(name: &str, view: View<'_>) -> Plan {
    let fair = fair(view.registered.len(), view.live);
    let (mut keep, mut give_up): (Vec<&String>, Vec<&String>) =
        view.held.iter().partition(|id| view.registered.contains(*id));
    // What is wanted last goes first.
    keep.sort_by_key(|id| rank(name, id));
    if keep.len() > fair {
        give_up.extend(keep.split_off(fair));
    }
    let free = view.registered.iter().filter(|id| !view.leased.contains(*id) && !view.held.contains(*id));
    let mut claim: Vec<&String> = free.collect();
    claim.sort_by_key(|id| rank(name, id));
    claim.truncate(fair.saturating_sub(keep.len()));
    Plan { claim: claim.into_iter().cloned().collect(), give_up: give_up.into_iter().cloned().collect() }
}

/// How much a collector wants a gateway, the least first: another order for each collector.
fn rank(name: &str, id: &str) -> u64 {
    mixed(&[name, id])
}

/// A number that is the same for the same texts in every process.
#[must_use]
pub fn mixed(texts: &[&str]) -> u64 {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    let digest: [u8; 32] = hash.finalize().into();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(ids: &[&str]) -> BTreeSet<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn a_collector_takes_its_share_and_no_more() {
        let all = set(&["a", "b", "c", "d", "e"]);
        type Ids = &'static [&'static str];
        let cases: [(&str, Ids, Ids, usize, usize, usize); 6] = [
            ("alone it takes everything", &[], &[], 1, 5, 0),
            ("one of two takes three", &[], &[], 2, 3, 0),
            ("only what is free", &[], &["a", "b", "c", "d"], 2, 1, 0),
            ("a newcomer gets the excess", &["a", "b", "c", "d", "e"], &["a", "b", "c", "d", "e"], 2, 0, 2),
            ("what is gone is given up", &["a", "x"], &["a", "x"], 5, 0, 1),
            ("full", &["a", "b", "c"], &["a", "b", "c", "d", "e"], 2, 0, 0),
        ];
        for (what, held, leased, live, claims, gives) in cases {
            let (held, leased) = (set(held), set(leased));
            let plan = plan("me", View { registered: &all, held: &held, leased: &leased, live });
            assert_eq!((plan.claim.len(), plan.give_up.len()), (claims, gives), "{what}: {plan:?}");
        }
    }

    proptest! {
        /// Collectors come and go; rounds later every gateway has exactly one, and none has more than its share.
        #[test]
        fn rounds_end_with_everything_shared_out(gateways in 0usize..40, first in 1usize..5, then in 1usize..5) {
            let registered: BTreeSet<String> = (0..gateways).map(|n| format!("g{n}")).collect();
            let mut held = vec![BTreeSet::new(); first];
            for count in [first, then] {
                held.resize(count, BTreeSet::new());
                for _ in 0..3 {
                    for me in 0..count {
                        let leased: BTreeSet<String> = held.iter().flatten().cloned().collect();
                        let view = View { registered: &registered, held: &held[me], leased: &leased, live: count };
                        let plan = plan(&format!("c{me}"), view);
                        for id in plan.give_up {
                            held[me].remove(&id);
                        }
                        held[me].extend(plan.claim);
                    }
                }
                let all: Vec<&String> = held.iter().flatten().collect();
                prop_assert_eq!(all.len(), gateways, "each once");
                prop_assert!(held.iter().all(|ids| ids.len() <= fair(gateways, count)));
            }
        }
    }
}
