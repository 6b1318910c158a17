//! Up to where the digests of the trail have come, by share line, and what rows there were since.
//!
//! Guarantees: where a digest stands is stored in the transaction that seals it, so a row is counted once, whenever the
//! daemon stops; rows that were trimmed before they were counted are told as "trimmed".

use std::collections::BTreeMap;

use rusqlite::OptionalExtension;

use crate::model::LineId;
use crate::store::{StoreError, Txn};

/// The key of rows that went before they were counted.
const TRIMMED: &str = "trimmed";

/// Where the digests of a line stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DigestMark {
    /// Rows of the trail that are told.
    pub size: u64,
    /// When, milliseconds since 1970 UTC.
    pub at_ms: i64,
}

impl Txn<'_> {
    /// Where the digests of a line stand; none before the first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn digest_mark(&self, share: &LineId) -> Result<Option<DigestMark>, StoreError> {
        let find = "SELECT size, at_ms FROM digest WHERE share = ?";
        let found = self.conn.prepare_cached(find)?.query_row([share.as_str()], |row| {
            Ok(DigestMark { size: row.get::<_, i64>(0)?.unsigned_abs(), at_ms: row.get(1)? })
        });
        Ok(found.optional()?)
    }

    /// Stores where the digests of a line stand.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_digest_mark(&mut self, share: &LineId, mark: DigestMark) -> Result<(), StoreError> {
        let put = "INSERT OR REPLACE INTO digest VALUES (?, ?, ?)";
        self.conn.prepare_cached(put)?.execute((share.as_str(), mark.size as i64, mark.at_ms))?;
        Ok(())
    }

    /// Forgets the lines that are not among these.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn keep_digest_marks(&mut self, shares: &[&LineId]) -> Result<(), StoreError> {
        let mut statement = self.conn.prepare_cached("SELECT share FROM digest")?;
        let known: Vec<String> =
            statement.query_map([], |row| row.get(0))?.collect::<Result<_, rusqlite::Error>>()?;
        for gone in known.iter().filter(|known| shares.iter().all(|share| share.as_str() != known.as_str())) {
            self.conn.prepare_cached("DELETE FROM digest WHERE share = ?")?.execute([gone])?;
        }
        Ok(())
    }

    /// Rows of the trail after one position up to another, by action. Together they are as many as there are positions.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn audit_counts(&self, after: u64, upto: u64) -> Result<BTreeMap<String, u64>, StoreError> {
        let find = "SELECT action, count(*) FROM audit WHERE seq > ? AND seq <= ? GROUP BY action";
        let mut statement = self.conn.prepare_cached(find)?;
        let rows = statement.query_map((after as i64, upto as i64), |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?.unsigned_abs()))
        })?;
        let mut counts: BTreeMap<String, u64> = rows.collect::<Result<_, _>>()?;
        let gone = upto.saturating_sub(after).saturating_sub(counts.values().sum());
        if gone > 0 {
            counts.insert(TRIMMED.into(), gone);
        }
        Ok(counts)
    }
}
