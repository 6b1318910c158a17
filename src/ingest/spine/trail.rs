//! Rows of the trail about what happens in the spine, in the transaction of what they are about.
//!
//! Guarantees: no row for a reading, one for each thing that somebody did. What a consumer is refused is a row at most
//! once a minute, so that nobody can fill the disk by asking.

use std::collections::HashMap;

use super::Spine;
use crate::audit::{Action, Entry, Outcome};
use crate::model::{Consumer, Lane, Stamp};
use crate::privacy::pseudonym::Turned;
use crate::rules::command::{Run, Stage};
use crate::store::{Ack, AckRefused, Acked, StoreError, Txn, WitnessRefused};

/// Between two rows about the same refusal, milliseconds.
const REFUSED_EVERY_MS: u64 = 60_000;
/// Refusals that are told apart.
const REFUSED_MAX: usize = 64;

/// When what was refused to whom, on the monotonic clock.
#[derive(Debug, Default)]
pub(super) struct Refusals(HashMap<(Consumer, Action), u64>);

impl Refusals {
    /// Whether this one is written down.
    pub(super) fn is_told(&mut self, whom: &Consumer, what: Action, now: Stamp) -> bool {
        self.0.retain(|_, told_ms| now.mono_ms.saturating_sub(*told_ms) < REFUSED_EVERY_MS);
        let key = (whom.clone(), what);
        if self.0.len() >= REFUSED_MAX || self.0.contains_key(&key) {
            return false;
        }
        self.0.insert(key, now.mono_ms);
        true
    }
}

fn consumer(whom: &Consumer, what: Action, object: String) -> Entry {
    Entry::by(whom.as_str(), "consumer", what, object)
}

impl Spine {
    /// Says in the trail that this plan is in force.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn loaded(&self, txn: &mut Txn<'_>, now: Stamp) -> Result<(), StoreError> {
        let digest: String = self.plan.lists_digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let entry = Entry::gateway(Action::ConfigLoad, format!("lists@{}", self.policy_version));
        let detail = serde_json::json!({ "digest": digest, "version": env!("CARGO_PKG_VERSION") });
        self.forget_digests(txn)?;
        txn.audit(&entry.with(detail), now).map(drop)
    }

    /// Everybody who may be a witness: who is on the share list.
    #[must_use]
    pub fn witnesses(&self) -> Vec<&Consumer> {
        let mut witnesses: Vec<_> = self.plan.shares.iter().flat_map(|share| &share.consumers).collect();
        witnesses.sort_unstable();
        witnesses.dedup();
        witnesses
    }

    /// Moves a consumer's cursor.
    ///
    /// # Errors
    /// [`StoreError`]; the spine must be opened anew then. The inner error when nothing moved.
    pub fn ack(
        &mut self,
        txn: &mut Txn<'_>,
        ack: &Ack,
        now: Stamp,
    ) -> Result<Result<Acked, AckRefused>, StoreError> {
        let before = txn.acked(&ack.consumer, ack.lane)?;
        let acked = txn.ack(ack)?;
        match &acked {
            Ok(Acked { upto, .. }) => {
                if *upto > before {
                    let object = format!("{}:{}-{upto}", ack.lane, before.next());
                    txn.audit(&consumer(&ack.consumer, Action::ShareAck, object), now)?;
                }
                if ack.lane == Lane::Alarm {
                    self.acknowledged(txn, &ack.consumer, *upto, now)?;
                }
            }
            Err(AckRefused::Hash { lane, upto }) => {
                if self.refusals.is_told(&ack.consumer, Action::ShareAck, now) {
                    let entry = consumer(&ack.consumer, Action::ShareAck, format!("{lane}:{upto}-{upto}"));
                    txn.audit(&entry.not(Outcome::Denied, "hash"), now)?;
                }
            }
            Err(_) => {}
        }
        Ok(acked)
    }

    /// Takes a witness's word of how much of the trail it holds.
    ///
    /// # Errors
    /// [`StoreError`]; the spine must be opened anew then. The inner error when it holds something else.
    pub fn witnessed(
        &mut self,
        txn: &mut Txn<'_>,
        witness: &Consumer,
        size: u64,
        head: &[u8; 32],
        now: Stamp,
    ) -> Result<Result<(), WitnessRefused>, StoreError> {
        let taken = txn.witnessed(witness, size, head, now)?;
        if let Err(refused) = &taken
            && self.refusals.is_told(witness, Action::StoreFork, now)
        {
            let reason = match refused {
                WitnessRefused::Ahead { .. } => "witness_ahead",
                WitnessRefused::Fork { .. } => "witness_differs",
            };
            let theirs: String = head.iter().map(|byte| format!("{byte:02x}")).collect();
            let entry = consumer(witness, Action::StoreFork, format!("row:{size}"));
            let entry = entry.not(Outcome::Denied, reason).with(serde_json::json!({ "hash": theirs }));
            txn.audit(&entry, now)?;
        }
        Ok(taken)
    }

    /// Keys of pseudonyms have come and gone.
    pub(super) fn keys_told(&self, txn: &mut Txn<'_>, turned: &Turned, now: Stamp) -> Result<(), StoreError> {
        let came = if turned.rotated { Action::KeyRotate } else { Action::KeyCreate };
        let came = turned.created.iter().map(|epoch| (came, epoch));
        let gone = turned.destroyed.iter().map(|epoch| (Action::KeyDestroy, epoch));
        for (action, epoch) in came.chain(gone) {
            txn.audit(&Entry::gateway(action, format!("pseudonym:{epoch}")), now)?;
        }
        Ok(())
    }

    /// A run of a command has another stage than before.
    pub(super) fn run_told(
        &self,
        txn: &mut Txn<'_>,
        before: Option<Stage>,
        run: &Run,
        now: Stamp,
    ) -> Result<(), StoreError> {
        if before == Some(run.stage) {
            return Ok(());
        }
        // Of an order every end is an end: who asked for it was told that it is taken.
        let was_sent = before == Some(Stage::Sent) || run.asked.is_some();
        let (action, outcome) = match run.stage {
            Stage::Waiting | Stage::Accepted => return Ok(()),
            // Its order has a row already; one to which people agreed has another.
            Stage::Sent if run.asked.is_some() && run.approved.is_empty() => return Ok(()),
            Stage::Sent => (Action::CommandAccept, Outcome::Ok),
            Stage::Done => (Action::CommandDone, Outcome::Ok),
            Stage::Failed | Stage::Expired if was_sent => (Action::CommandDone, Outcome::Error),
            Stage::Failed | Stage::Expired => (Action::CommandRefuse, Outcome::Denied),
        };
        let entry = match run.approved.last().filter(|_| action == Action::CommandAccept) {
            Some(person) => Entry::by(&**person, "person", action, format!("run:{}", run.id)),
            None => Entry::gateway(action, format!("run:{}", run.id)),
        };
        let incident = run.incident.map(|incident| incident.0);
        let detail = serde_json::json!({
            "command": run.command.as_str(), "incident": incident, "agreed": run.approved.len(),
        });
        let reason = (outcome != Outcome::Ok).then(|| run.stage.as_str().to_owned());
        txn.audit(&Entry { outcome, reason, ..entry.with(detail) }, now).map(drop)
    }
}
