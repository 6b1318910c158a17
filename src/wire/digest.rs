//! A digest of the trail into a body.

use super::seal::{head, sealed};
use super::{AUDIT, Gateway, Sealed, timestamp, v1};
use crate::model::TrailDigest;
use crate::privacy::Cleared;
use crate::privacy::release::ShareLine;
use v1::record_body::Content;

/// What the trail has come to, as one record.
#[must_use]
pub fn digest(
    gateway: &Gateway,
    line: &ShareLine,
    policy_version: u32,
    digest: &Cleared<TrailDigest>,
    sealed_ms: i64,
) -> Sealed {
    let TrailDigest { origin, size, head: hash, signature, at_ms, counts } = digest.get();
    let content = v1::AuditDigest {
        checkpoint: Some(v1::AuditCheckpoint {
            origin: origin.clone(),
            size: *size,
            head: hash.to_vec(),
            signature: signature.clone(),
            at: Some(timestamp(*at_ms)),
        }),
        counts: counts.iter().map(|(action, count)| (action.clone(), *count)).collect(),
    };
    let head = head(gateway, line, policy_version, sealed_ms);
    // Nothing of a device is in it.
    let body = v1::RecordBody { treatments: Vec::new(), content: Some(Content::Audit(content)), ..head };
    sealed(line, AUDIT, &body)
}
