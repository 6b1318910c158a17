//! Profiles for emergencies (平战结合) in the spine: when one begins, that nothing of it is taken after its time, and that
//! all it has brought in is deleted at its end, with a certificate in the trail.
//!
//! Guarantees: a profile is in the store before its first reading is; its purge begins when its time is over and the plan
//! does not have it any more, also in a later process and when its file is gone; "emergency.purge" is written in the
//! transaction of the last chunk. One that was purged never begins again. A profile that is taken away early brings in
//! nothing more at once, and is purged when its time is over: it may come back until then.

#[cfg(test)]
mod tests;

use std::time::Duration;

use serde_json::json;

use super::Spine;
use crate::audit::{Action, Entry};
use crate::ingest;
use crate::model::Stamp;
use crate::rules::notice::Fate;
use crate::store::purge::{Emergency, Progress, State, Step};
use crate::store::{Store, StoreError, Txn};

/// Between two chunks of a purge: deliveries go first.
pub(super) const PAUSE: Duration = Duration::from_millis(10);

/// The profiles that are not purged to the end.
#[derive(Default)]
pub(super) struct Emergencies {
    open: Vec<Emergency>,
    /// One was purged to the end in this batch.
    ended: bool,
}

impl Emergencies {
    /// Whether there is something to be deleted now.
    pub(super) fn is_purging(&self) -> bool {
        self.open.iter().any(|emergency| emergency.state == State::Purging)
    }
}

impl Spine {
    /// Takes up what the store knows of profiles; those of the plan that it does not know begin now. Before the folds: what
    /// a profile may not do any more is not in them.
    pub(super) fn restore_emergencies(&mut self, store: &mut Store, now: Stamp) -> Result<(), StoreError> {
        self.emergencies = Emergencies { open: store.emergencies()?, ended: false };
        let mut fresh = Vec::new();
        for profile in self.plan.emergency.clone() {
            let is_over = store.emergency_is_over(&profile.id, &profile.digest)?;
            let until_ms = if is_over { i64::MIN } else { profile.until_ms };
            self.bound(&profile, until_ms);
            if is_over {
                tracing::error!(profile = %profile.id, "an emergency that is over does not begin again: nothing is taken for it");
            } else {
                fresh.push(profile);
            }
        }
        if fresh.is_empty() {
            return Ok(());
        }
        let mut txn = store.begin()?;
        for profile in fresh {
            self.begin(&mut txn, &profile, now)?;
        }
        txn.commit()
    }

    /// Holds a profile to its time, however long the plan has it.
    fn bound(&mut self, profile: &ingest::Emergency, until_ms: i64) {
        for series in &profile.series {
            if let Some(Some(slot)) = self.slots.get_mut(series.index()) {
                slot.until_ms = Some(until_ms);
            }
        }
        for line in self.plan.shares.iter_mut().filter(|line| profile.scope.shares.contains(&line.id)) {
            line.until_ms = Some(line.until_ms.map_or(until_ms, |own_ms| own_ms.min(until_ms)));
        }
    }

    fn begin(
        &mut self,
        txn: &mut Txn<'_>,
        profile: &ingest::Emergency,
        now: Stamp,
    ) -> Result<(), StoreError> {
        let mut scope = profile.scope.clone();
        let slots = profile.series.iter().filter_map(|series| self.slots.get(series.index())?.as_ref());
        scope.series = slots.map(|slot| slot.id.0).collect();
        let ingest::Emergency { id, digest, until_ms, .. } = profile;
        let open = &mut self.emergencies.open;
        let known = open.iter_mut().find(|known| known.id == *id && known.state == State::Active);
        match known {
            Some(known) => {
                let grown = known.scope.merge(scope);
                if known.digest == *digest && !grown {
                    return Ok(());
                }
                let is_other = known.digest != *digest;
                (known.digest, known.until_ms) = (*digest, *until_ms);
                txn.set_emergency(known)?;
                if !is_other {
                    return Ok(());
                }
            }
            None => {
                let marks = txn.marks()?;
                let mut emergency = Emergency {
                    number: 0,
                    id: id.clone(),
                    digest: *digest,
                    state: State::Active,
                    until_ms: *until_ms,
                    scope,
                    progress: Progress { began_ms: now.wall_ms, at: marks, to: marks, ..Progress::default() },
                };
                txn.add_emergency(&mut emergency)?;
                open.push(emergency);
            }
        }
        txn.audit(&begun(profile), now).map(drop)
    }

    /// Ends what is over, and deletes the next chunk of it.
    pub(super) fn emergencies_tick(&mut self, txn: &mut Txn<'_>, now: Stamp) -> Result<(), StoreError> {
        let plan = &self.plan.emergency;
        for emergency in &mut self.emergencies.open {
            let is_planned = plan.iter().any(|profile| profile.id == emergency.id);
            let is_over = emergency.state == State::Active && emergency.until_ms <= now.wall_ms;
            if is_over && !is_planned {
                emergency.state = State::Purging;
                emergency.progress.ended_ms = now.wall_ms;
                emergency.progress.to = txn.marks()?;
                txn.set_emergency(emergency)?;
            }
        }
        let open = &mut self.emergencies.open;
        let Some(at) = open.iter().position(|emergency| emergency.state == State::Purging) else {
            return Ok(());
        };
        let Step { readings, waiting, done } = txn.purge(&mut open[at])?;
        self.batch.purged += readings;
        for notice in waiting {
            if let Some(notice) = txn.notice(notice)? {
                self.fate(txn, notice, Fate::Dropped, "purged with its emergency".to_owned(), now)?;
            }
        }
        if done {
            let emergency = self.emergencies.open.remove(at);
            txn.audit(&certificate(&emergency), now)?;
            self.emergencies.ended = true;
        }
        Ok(())
    }

    /// Whether a purge has come to its end since the last call: the database's log is to be given back then.
    pub fn take_purged(&mut self) -> bool {
        std::mem::take(&mut self.emergencies.ended)
    }
}

fn begun(profile: &ingest::Emergency) -> Entry {
    let signers: Vec<&str> = profile.signers.iter().map(|name| name.as_str()).collect();
    let detail = json!({
        "digest": hex(&profile.digest),
        "from_ms": profile.from_ms,
        "until_ms": profile.until_ms,
        "signed_by": signers,
        "points": profile.series.len(),
        "devices": profile.scope.devices.len(),
        "collect": profile.scope.collects,
        "share": profile.scope.shares,
    });
    Entry { detail: Some(detail.to_string()), ..Entry::gateway(Action::EmergencyBegin, profile.id.as_str()) }
}

/// What was deleted, as the trail keeps it.
fn certificate(emergency: &Emergency) -> Entry {
    let progress = &emergency.progress;
    let detail = json!({
        "digest": hex(&emergency.digest),
        "began_ms": progress.began_ms,
        "ended_ms": progress.ended_ms,
        "counts": progress.counts,
        "first_ms": progress.first_ms,
        "last_ms": progress.last_ms,
        "sha256": hex(&progress.digest),
    });
    Entry {
        detail: Some(detail.to_string()),
        ..Entry::gateway(Action::EmergencyPurge, emergency.id.as_str())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
