//! Approvals in the words of the contract, both ways.

use super::{millis, timestamp, v1};
use crate::approval::{Approval, Asked};

/// An approval with everything, for people on the spot.
#[must_use]
pub fn approval(approval: &Approval) -> v1::Approval {
    let votes = approval.votes.iter().map(|vote| v1::ApprovalVote {
        approver: vote.approver.to_string(),
        role: vote.role.to_string(),
        yes: vote.yes,
        at: Some(timestamp(vote.at_ms)),
        reason: vote.reason.to_string(),
        signature: vote.signature.clone(),
    });
    v1::Approval {
        reason: approval.asked.reason.to_string(),
        requester: approval.asked.requester.to_string(),
        votes: votes.collect(),
        revoked_by: approval.revoked.by.to_string(),
        revoked_reason: approval.revoked.reason.to_string(),
        ..approval_nameless(approval)
    }
}

/// The same without names and words of people, for the consumer it is about.
#[must_use]
pub fn approval_nameless(approval: &Approval) -> v1::Approval {
    let asked = &approval.asked;
    let own = &*asked.requester == asked.consumer.as_str();
    v1::Approval {
        id: approval.id.to_string(),
        share_item: asked.share.to_string(),
        consumer: asked.consumer.to_string(),
        certificate_sha256: asked.certificate.map(Vec::from).unwrap_or_default(),
        requester: if own { asked.requester.to_string() } else { String::new() },
        purpose: asked.purpose.clone(),
        tier: asked.tier.to_string(),
        state: approval.state.as_str().into(),
        asked: Some(timestamp(asked.asked_ms)),
        not_before: Some(timestamp(asked.not_before_ms)),
        not_after: Some(timestamp(asked.not_after_ms)),
        max_uses: asked.max_uses.unwrap_or(0),
        uses: approval.uses,
        changed: Some(timestamp(approval.changed_ms)),
        ..v1::Approval::default()
    }
}

/// What was asked for, for a voter to sign; `None` when the answer is not whole.
#[must_use]
pub fn asked(told: &v1::Approval) -> Option<Asked> {
    let certificate = match told.certificate_sha256.len() {
        0 => None,
        _ => Some(told.certificate_sha256.as_slice().try_into().ok()?),
    };
    Some(Asked {
        share: told.share_item.parse().ok()?,
        consumer: told.consumer.parse().ok()?,
        certificate,
        requester: told.requester.as_str().into(),
        purpose: told.purpose.clone(),
        tier: told.tier.parse().ok()?,
        asked_ms: millis(told.asked.as_ref()?),
        not_before_ms: millis(told.not_before.as_ref()?),
        not_after_ms: millis(told.not_after.as_ref()?),
        max_uses: Some(told.max_uses).filter(|most| *most > 0),
        reason: told.reason.as_str().into(),
    })
}
