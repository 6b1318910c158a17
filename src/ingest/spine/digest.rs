//! Digests of the trail into lane audit: the newest signed position, and how many rows of which kind since the one before.
//!
//! Guarantees: of each share line of lane audit one record in every interval, in the transaction that notes up to where it
//! tells, so that no row is told twice or left out, whenever the daemon stops. A line begins where the trail is signed when
//! it is new: its first digest comes one interval later. It does not sign anything.

use std::time::Duration;

use super::Spine;
use crate::audit::checkpoint::Checkpoint;
use crate::model::{Lane, LineId, Stamp, TrailDigest};
use crate::store::{DigestMark, StoreError, Txn};
use crate::wire;

impl Spine {
    /// Seals the digests that are due; `newest` is the newest signed position, none before the first.
    ///
    /// # Errors
    /// [`StoreError`]; the spine must be opened anew then.
    pub fn digest(
        &self,
        txn: &mut Txn<'_>,
        newest: Option<&Checkpoint>,
        every: Duration,
        now: Stamp,
    ) -> Result<(), StoreError> {
        let Some(newest) = newest else { return Ok(()) };
        let every_ms = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
        let next = DigestMark { size: newest.head.seq, at_ms: now.wall_ms };
        for share in self.plan.shares.iter().filter(|share| share.lane == Lane::Audit) {
            let Some(mark) = txn.digest_mark(&share.id)? else {
                txn.set_digest_mark(&share.id, next)?;
                continue;
            };
            // A clock that went back by more than an interval is no reason to wait until it is there again.
            if now.wall_ms.abs_diff(mark.at_ms) < every_ms {
                continue;
            }
            let digest = TrailDigest {
                origin: newest.origin.clone(),
                size: newest.head.seq,
                head: newest.head.hash,
                signature: newest.signature.clone(),
                at_ms: newest.at_ms,
                counts: txn.audit_counts(mark.size, newest.head.seq)?,
            };
            if let Some(cleared) = share.digest(&digest, now.wall_ms) {
                let gateway = &self.plan.gateway;
                let sealed = wire::digest(gateway, share, self.policy_version, &cleared, now.wall_ms);
                txn.seal(Lane::Audit, &sealed, now.wall_ms)?;
            }
            txn.set_digest_mark(&share.id, DigestMark { size: newest.head.seq.max(mark.size), ..next })?;
        }
        Ok(())
    }

    /// Forgets where the digests of lines stand that are no more.
    pub(super) fn forget_digests(&self, txn: &mut Txn<'_>) -> Result<(), StoreError> {
        let lines: Vec<&LineId> = self.plan.shares.iter().map(|share| &share.id).collect();
        txn.keep_digest_marks(&lines)
    }
}

#[cfg(test)]
mod tests;
