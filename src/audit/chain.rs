//! The hash chain of the trail.
//!
//! ```text
//! row_hash = SHA-256(0x01 || LP(trail) || prev_hash || LP(each column in the order of the table))
//! genesis  = SHA-256(0x00 || trail)
//! ```
//! LP is 0x01, a big-endian u32 length and the bytes; a column that is NULL is one byte 0x00, so nothing can slide from
//! one column into the next. Numbers are eight bytes, big endian.

use sha2::{Digest, Sha256};

use super::Entry;
use crate::model::Stamp;

/// A hash of the chain.
pub type Hash = [u8; 32];

/// The newest row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its number: how many rows there ever were.
    pub seq: u64,
    /// Its hash.
    pub hash: Hash,
}

impl Head {
    /// Of a trail without rows.
    #[must_use]
    pub fn genesis(trail: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update([0]);
        hash.update(trail);
        Self { seq: 0, hash: hash.finalize().into() }
    }

    /// The head after one more row, written at `at` under the boot `boot`.
    #[must_use]
    pub fn next(&self, trail: &[u8], boot: &[u8], at: Stamp, entry: &Entry) -> Self {
        let seq = self.seq + 1;
        let mut hash = Sha256::new();
        hash.update([1]);
        column(&mut hash, Some(trail));
        hash.update(self.hash);
        for number in [seq as i64, at.wall_ms, at.mono_ms as i64] {
            column(&mut hash, Some(&number.to_be_bytes()));
        }
        column(&mut hash, Some(boot));
        for text in [&entry.actor, &entry.role] {
            column(&mut hash, Some(text.as_bytes()));
        }
        column(&mut hash, Some(entry.action.as_str().as_bytes()));
        column(&mut hash, Some(entry.object.as_bytes()));
        for text in [&entry.list, &entry.purpose, &entry.approval] {
            column(&mut hash, text.as_deref().map(str::as_bytes));
        }
        column(&mut hash, Some(entry.outcome.as_str().as_bytes()));
        for text in [&entry.reason, &entry.detail] {
            column(&mut hash, text.as_deref().map(str::as_bytes));
        }
        Self { seq, hash: hash.finalize().into() }
    }
}

fn column(hash: &mut Sha256, bytes: Option<&[u8]>) {
    match bytes {
        None => hash.update([0]),
        Some(bytes) => {
            hash.update([1]);
            hash.update(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
            hash.update(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Action;

    #[test]
    fn every_column_counts_and_none_slides_into_the_next() {
        let at = Stamp { wall_ms: 1, mono_ms: 2 };
        let head = Head::genesis(b"trail");
        let entry = Entry::gateway(Action::ConfigLoad, "v1");
        let plain = head.next(b"trail", b"boot", at, &entry);
        assert_eq!(plain.seq, 1);
        let some = |text: &str| Some(text.to_owned());
        let others = [
            Entry { actor: "gatewa".into(), role: "ygateway".into(), ..entry.clone() },
            Entry { object: "v2".into(), ..entry.clone() },
            Entry { action: Action::ListChange, ..entry.clone() },
            Entry { list: some(""), ..entry.clone() },
            Entry { purpose: some(""), ..entry.clone() },
            Entry { list: some("a"), ..entry.clone() },
            Entry { purpose: some("a"), ..entry.clone() },
            Entry { approval: some("a"), ..entry.clone() },
            Entry { reason: some("a"), ..entry.clone() },
            Entry { detail: some("a"), ..entry.clone() },
            entry.clone().not(crate::audit::Outcome::Denied, ""),
        ];
        let mut hashes: Vec<Hash> =
            others.iter().map(|other| head.next(b"trail", b"boot", at, other).hash).collect();
        hashes.push(plain.hash);
        hashes.push(head.next(b"other", b"boot", at, &entry).hash);
        hashes.push(head.next(b"trail", b"bott", at, &entry).hash);
        hashes.push(plain.next(b"trail", b"boot", at, &entry).hash);
        let count = hashes.len();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), count);
    }
}
