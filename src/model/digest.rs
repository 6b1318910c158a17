//! What the audit trail has come to since a digest before: a signed position, and how many rows of which kind.

use std::collections::BTreeMap;

/// A digest of the trail. Ids, counts and hashes; nothing of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrailDigest {
    /// The trail's name.
    pub origin: String,
    /// Rows that there ever were at the signed position.
    pub size: u64,
    /// Hash of the last of them.
    pub head: [u8; 32],
    /// The signature of that.
    pub signature: Vec<u8>,
    /// When it was signed, milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// Rows since the position of the digest before, by action; "trimmed" are those that went before they were counted.
    pub counts: BTreeMap<String, u64>,
}
