//! What holds at this moment, as the share server asks it: a snapshot, published after each commit that changed it.
//!
//! Guarantees: an approval counts only for its line, its tier, its consumer, its certificate and its time, which is looked
//! at at every question; also between two snapshots nothing holds longer than it may.

use std::collections::HashMap;

use super::{Approval, ApprovalId, State, is_in_use};
use crate::model::{Consumer, LineId};

/// An approval that was granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its handle.
    pub id: ApprovalId,
    /// The tier it was granted in: of a line that has moved to another one it says nothing.
    pub tier: LineId,
    /// For whom.
    pub consumer: Consumer,
    /// SHA-256 of the certificate it is bound to.
    pub certificate: Option<[u8; 32]>,
    /// From when, milliseconds since 1970 UTC.
    pub not_before_ms: i64,
    /// Until when, exclusive.
    pub not_after_ms: i64,
    /// Whether another use may begin.
    pub uses_left: bool,
    /// When a use last began.
    pub used_ms: Option<i64>,
}

impl Grant {
    fn is_in_use(&self, now_ms: i64) -> bool {
        is_in_use(self.used_ms, now_ms)
    }
}

/// What a consumer may make use of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The approval.
    pub id: ApprovalId,
    /// Whether a use goes on; otherwise one has to begin before anything is handed out.
    pub in_use: bool,
}

/// Why nothing holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Missing {
    /// There is none that is granted.
    None,
    /// Its time is over.
    Expired,
    /// It was taken back.
    Revoked,
    /// It was made use of as often as it may.
    UsedUp,
}

/// Everything that is granted, by line, and how the last one of each line and consumer ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    granted: HashMap<LineId, Vec<Grant>>,
    ended: HashMap<LineId, HashMap<Consumer, Missing>>,
}

impl Grants {
    /// Of approvals, and of how the last of each line and consumer ended.
    pub fn of<'a>(
        approvals: impl IntoIterator<Item = &'a Approval>,
        ended: impl IntoIterator<Item = (&'a (LineId, Consumer), &'a State)>,
    ) -> Self {
        let mut grants = Self::default();
        for approval in approvals.into_iter().filter(|approval| approval.state == State::Granted) {
            let asked = &approval.asked;
            grants.granted.entry(asked.share.clone()).or_default().push(Grant {
                id: approval.id,
                tier: asked.tier.clone(),
                consumer: asked.consumer.clone(),
                certificate: asked.certificate,
                not_before_ms: asked.not_before_ms,
                not_after_ms: asked.not_after_ms,
                uses_left: approval.has_uses_left(),
                used_ms: approval.used_ms,
            });
        }
        for ((share, consumer), state) in ended {
            let missing = match state {
                State::Expired => Missing::Expired,
                State::Revoked => Missing::Revoked,
                State::UsedUp => Missing::UsedUp,
                State::Pending | State::Granted | State::Refused => continue,
            };
            grants.ended.entry(share.clone()).or_default().insert(consumer.clone(), missing);
        }
        grants
    }

    /// What a consumer with this certificate holds of a line in a tier; of several the one that is in use.
    ///
    /// # Errors
    /// Why there is nothing.
    pub fn find(
        &self,
        share: &LineId,
        tier: &LineId,
        consumer: &Consumer,
        certificate: Option<&[u8; 32]>,
        now_ms: i64,
    ) -> Result<Held, Missing> {
        self.find_named(share, tier, consumer, certificate, None, now_ms)
    }

    /// The same of one approval, where its id is given.
    ///
    /// # Errors
    /// Why there is nothing.
    pub fn find_named(
        &self,
        share: &LineId,
        tier: &LineId,
        consumer: &Consumer,
        certificate: Option<&[u8; 32]>,
        named: Option<ApprovalId>,
        now_ms: i64,
    ) -> Result<Held, Missing> {
        let theirs = || {
            let all = self.granted.get(share).map_or(&[][..], Vec::as_slice);
            all.iter().filter(|grant| {
                grant.consumer == *consumer
                    && grant.tier == *tier
                    && named.is_none_or(|id| grant.id == id)
                    && grant.certificate.as_ref().is_none_or(|bound| certificate == Some(bound))
            })
        };
        let holds = |grant: &&Grant| (grant.not_before_ms..grant.not_after_ms).contains(&now_ms);
        if let Some(grant) = theirs().filter(holds).find(|grant| grant.is_in_use(now_ms)) {
            return Ok(Held { id: grant.id, in_use: true });
        }
        if let Some(grant) = theirs().filter(holds).find(|grant| grant.uses_left) {
            return Ok(Held { id: grant.id, in_use: false });
        }
        if theirs().any(|grant| now_ms >= grant.not_after_ms) {
            return Err(Missing::Expired);
        }
        if theirs().any(|grant| holds(&grant)) {
            return Err(Missing::UsedUp);
        }
        let ended = self.ended.get(share).and_then(|ended| ended.get(consumer));
        Err(ended.copied().unwrap_or(Missing::None))
    }
}
