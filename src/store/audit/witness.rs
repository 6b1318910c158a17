//! What witnesses have of the trail.
//!
//! Guarantees: a confirmed position is on our chain, and none goes back. What a witness says is not evidence for a check
//! of the trail: this table is as easily changed as the rows. It says how far the evidence elsewhere reaches.

use rusqlite::OptionalExtension;

use super::hash_at;
use crate::audit::chain::Hash;
use crate::model::{Consumer, Stamp};
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::txn::Txn;

/// Why a witness's word is not taken: what it holds is not a part of this trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WitnessRefused {
    /// It has more than there is.
    #[error(
        "the witness holds {size} rows of the trail and the gateway {ours}: the store was cut, or is an older copy"
    )]
    Ahead {
        /** Its rows. */
        size: u64,
        /** Ours. */
        ours: u64,
    },
    /// It has something else.
    #[error("row {size} of the trail is not what the witness holds: one of them was changed")]
    Fork {
        /** The row. */
        size: u64,
    },
}

/// How far the trail is witnessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Witnessed {
    /// Rows there ever were.
    pub rows: u64,
    /// The highest position that any of the witnesses has confirmed.
    pub size: u64,
    /// Since when the oldest row behind it has been waiting, milliseconds since 1970 UTC; none when all are witnessed.
    pub since_ms: Option<i64>,
}

impl Witnessed {
    /// How long the oldest row that no witness holds has been waiting, milliseconds.
    #[must_use]
    pub fn lag_ms(&self, now_ms: i64) -> u64 {
        self.since_ms.map_or(0, |since_ms| u64::try_from(now_ms.saturating_sub(since_ms)).unwrap_or(0))
    }
}

impl Txn<'_> {
    /// Takes a witness's word that it holds the trail up to `size`, with this hash of the last row.
    ///
    /// # Errors
    /// [`StoreError`]; the inner error when it holds something else, and nothing is written.
    pub fn witnessed(
        &mut self,
        witness: &Consumer,
        size: u64,
        head: &Hash,
        now: Stamp,
    ) -> Result<Result<(), WitnessRefused>, StoreError> {
        let ours = self.next.audit;
        if size > ours.seq {
            return Ok(Err(WitnessRefused::Ahead { size, ours: ours.seq }));
        }
        let known = match size == ours.seq {
            true => Some(ours.hash),
            false => hash_at(self.conn, &self.trail.name, size)?,
        };
        match known {
            Some(hash) if hash != *head => return Ok(Err(WitnessRefused::Fork { size })),
            // So long ago that nobody can tell; a later word of it can be checked.
            None => return Ok(Ok(())),
            Some(_) => {}
        }
        self.conn
            .prepare_cached(
                "INSERT INTO audit_witness VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (witness) DO UPDATE SET size = ?2, head = ?3, at_ms = ?4 WHERE ?2 > size",
            )?
            .execute((witness.as_str(), size as i64, head.as_slice(), now.wall_ms))?;
        Ok(Ok(()))
    }
}

impl Store {
    /// How far these witnesses hold the trail.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn witnessed<'c>(
        &self,
        witnesses: impl Iterator<Item = &'c Consumer>,
    ) -> Result<Witnessed, StoreError> {
        let mut find = self.conn.prepare_cached("SELECT size FROM audit_witness WHERE witness = ?")?;
        let mut size = 0;
        for witness in witnesses {
            let theirs: Option<i64> = find.query_row([witness.as_str()], |row| row.get(0)).optional()?;
            size = size.max(theirs.unwrap_or(0).unsigned_abs());
        }
        let rows = self.position.audit.seq;
        let oldest = "SELECT ts_ms FROM audit WHERE seq > ? ORDER BY seq LIMIT 1";
        let since_ms = match size < rows {
            true => {
                self.conn.prepare_cached(oldest)?.query_row([size as i64], |row| row.get(0)).optional()?
            }
            false => None,
        };
        Ok(Witnessed { rows, size, since_ms })
    }
}

/// A witness may hold positions of what a restored copy has lost: its word begins anew.
pub(in crate::store) fn forget(conn: &rusqlite::Connection, rows: u64) -> Result<(), StoreError> {
    conn.execute("DELETE FROM audit_witness WHERE size > ?", [rows as i64])?;
    Ok(())
}
