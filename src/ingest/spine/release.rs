//! Windows on their way out, where their cells are protected: decided once, stored, and the same for every line.
//!
//! Guarantees: what a protected line lets out was stored in the transaction that seals it, with what its noise cost; what was
//! decided before is never decided again; a window that began before its protection was as it is now is not let out.

use std::collections::HashMap;
use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::Spine;
use crate::aggregate::windows::Aggregate;
use crate::ingest::Plan;
use crate::model::{ClosedWindow, Lane, LineId, Rollup, Stamp};
use crate::privacy::protect::released::{Released, exact, noisy, nothing};
use crate::privacy::protect::{Dp, Protect, Reason};
use crate::store::released::Policy;
use crate::store::{Store, StoreError, Txn};
use crate::wire;

/// Where noise has its randomness from.
pub type Entropy = Box<dyn FnMut(&mut [u8]) + Send>;

/// How the windows of one aggregate go out.
pub(super) struct Guard {
    protect: Option<Protect>,
    /// The names of what is told.
    statistics: Vec<String>,
    /// The aggregate of the shorter windows in these, where they go out too: index into [`Plan::aggregates`].
    parts: Option<usize>,
    /// A window that began before is not let out.
    since_ms: i64,
}

/// The operating system's randomness. The daemon has asked it before it came here.
pub(super) fn system() -> Entropy {
    Box::new(|bytes| getrandom::fill(bytes).expect("the kernel gives random bytes after it has started"))
}

/// How an aggregate is protected: all lines that carry it say the same.
fn protect<'p>(plan: &'p Plan, aggregate: &LineId) -> Option<&'p Protect> {
    plan.shares
        .iter()
        .filter(|share| share.carries.contains(aggregate))
        .find_map(|share| share.protect.as_ref())
}

fn parts(plan: &Plan, aggregate: &Aggregate) -> Option<usize> {
    let crowds = aggregate.crowds.as_ref()?;
    let own = protect(plan, &aggregate.id)?;
    let is = |other: &Aggregate| {
        let theirs = other.crowds.as_ref();
        Some(other.size_ms) == crowds.part_ms
            && theirs.is_some_and(|theirs| theirs.cells == crowds.cells)
            && protect(plan, &other.id) == Some(own)
    };
    plan.aggregates.iter().position(is)
}

/// What makes the protection of two times the same; empty for none.
fn policy(plan: &Plan, aggregate: &Aggregate) -> String {
    let Some(protect) = protect(plan, &aggregate.id) else { return String::new() };
    let mut text = format!("{} {protect}", protect.mode());
    let mut shape = format!("{aggregate:?}");
    if let Some(parts) = parts(plan, aggregate) {
        let _ = write!(shape, " {:?}", plan.aggregates[parts]);
    }
    let digest = Sha256::digest(shape.as_bytes());
    let digest = digest[..8].iter().fold(0_u64, |digest, byte| digest << 8 | u64::from(*byte));
    let _ = write!(text, " {digest:016x}");
    text
}

/// Looks up since when each aggregate is protected as it is, and stores what is new.
pub(super) fn guards(plan: &Plan, store: &mut Store, now: Stamp) -> Result<Vec<Guard>, StoreError> {
    let known: HashMap<String, Policy> =
        store.release_policies()?.into_iter().map(|policy| (policy.aggregate.clone(), policy)).collect();
    let mut policies = Vec::new();
    let mut guards = Vec::new();
    for aggregate in &plan.aggregates {
        let policy = policy(plan, aggregate);
        let since_ms = match known.get(aggregate.id.as_str()) {
            Some(known) if known.policy == policy => known.since_ms,
            None if policy.is_empty() => i64::MIN,
            _ => now.wall_ms,
        };
        if since_ms > i64::MIN {
            policies.push(Policy { aggregate: aggregate.id.to_string(), policy, since_ms });
        }
        guards.push(Guard {
            protect: protect(plan, &aggregate.id).cloned(),
            statistics: aggregate.statistics.iter().map(|statistic| statistic.to_string()).collect(),
            parts: parts(plan, aggregate),
            since_ms,
        });
    }
    let is_new = policies.len() != known.len()
        || policies.iter().any(|policy| known.get(&policy.aggregate) != Some(policy));
    if is_new {
        store.set_release_policies(&policies)?;
    }
    Ok(guards)
}

impl Spine {
    /// Takes noise from elsewhere than the operating system.
    pub fn draw_from(&mut self, entropy: Entropy) {
        self.entropy = entropy;
    }

    /// Seals a closed window for every line that permits something of it.
    pub(super) fn seal_window(
        &mut self,
        txn: &mut Txn<'_>,
        window: &ClosedWindow,
        now: Stamp,
    ) -> Result<(), StoreError> {
        let released = self.released(txn, window)?;
        for share in self.plan.shares.iter().filter(|share| share.lane == Lane::Aggregate) {
            let cleared = match &released {
                Some(released) => share.released(released, now.wall_ms),
                None => share.window(window, now.wall_ms),
            };
            let Some(cleared) = cleared else { continue };
            let manual = |cell: &Rollup| self.manual.cell(cell);
            let (gateway, version) = (&self.plan.gateway, self.policy_version);
            for sealed in wire::window(gateway, share, version, &cleared, manual, now.wall_ms) {
                txn.seal(Lane::Aggregate, &sealed, now.wall_ms)?;
            }
        }
        Ok(())
    }

    /// In which order windows of one moment are closed: the shorter ones in others before those.
    pub(super) fn closing(&self) -> Vec<usize> {
        let (parts, others): (Vec<usize>, Vec<usize>) =
            (0..self.windows.len()).partition(|at| self.guards[*at].parts.is_none());
        parts.into_iter().chain(others).collect()
    }

    /// Whether an aggregate's windows go out as they are.
    pub(super) fn is_plain(&self, aggregate: &LineId) -> bool {
        let at = self.plan.aggregates.iter().position(|other| other.id == *aggregate);
        at.is_none_or(|at| self.guards[at].protect.is_none())
    }

    /// What is let out of a window that is, or was, protected; none of one that goes out as it is.
    fn released(&mut self, txn: &mut Txn<'_>, window: &ClosedWindow) -> Result<Option<Released>, StoreError> {
        let Some(at) = self.plan.aggregates.iter().position(|other| other.id == window.aggregate) else {
            return Ok(None);
        };
        let guard = &self.guards[at];
        let is_before = window.start_ms < guard.since_ms;
        if guard.protect.is_none() && !is_before {
            return Ok(None);
        }
        if let Some(released) = txn.released(&window.aggregate, window.start_ms)? {
            return Ok(Some(released));
        }
        let released = match &guard.protect {
            Some(Protect::Sdc(rule)) if !is_before => {
                let parts = guard.parts.map(|parts| self.parts(txn, parts, window)).transpose()?;
                exact(rule, window, &guard.statistics, parts.as_deref())
            }
            Some(Protect::Dp(rule)) if !is_before => {
                let rule = rule.clone();
                self.noisy(txn, &rule, at, window)?
            }
            _ => nothing(window, &guard.statistics, Reason::Policy),
        };
        txn.release(&released)?;
        Ok(Some(released))
    }

    /// The shorter windows in a window, as they were let out; none of those that never were.
    fn parts(
        &self,
        txn: &Txn<'_>,
        parts: usize,
        window: &ClosedWindow,
    ) -> Result<Vec<Option<Released>>, StoreError> {
        let Aggregate { id, size_ms, .. } = &self.plan.aggregates[parts];
        let step = usize::try_from(*size_ms).unwrap_or(usize::MAX).max(1);
        (window.start_ms..window.end_ms).step_by(step).map(|start_ms| txn.released(id, start_ms)).collect()
    }

    fn noisy(
        &mut self,
        txn: &mut Txn<'_>,
        rule: &Dp,
        at: usize,
        window: &ClosedWindow,
    ) -> Result<Released, StoreError> {
        let statistics = &self.guards[at].statistics;
        let budget = self.plan.budgets.iter().find(|budget| budget.id == rule.budget);
        // Without a budget there is nothing to pay from.
        let Some(budget) = budget else { return Ok(nothing(window, statistics, Reason::Budget)) };
        let period_ms = budget.period_of(window.start_ms, self.plan.aggregates[at].zone_ms);
        if !budget.pays(&txn.spent(&budget.id, period_ms)?, rule.epsilon) {
            return Ok(nothing(window, statistics, Reason::Budget));
        }
        txn.spend(&budget.id, period_ms, (&window.aggregate, window.start_ms), rule.epsilon)?;
        Ok(noisy(rule, window, statistics, &mut self.entropy))
    }
}

#[cfg(test)]
mod tests;
