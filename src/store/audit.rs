//! The trail on disk: appended in the transaction of the act, never changed.

use rusqlite::{Connection, OptionalExtension};

use super::error::StoreError;
use super::txn::Txn;
use crate::audit::Entry;
use crate::audit::chain::Head;
use crate::model::Stamp;

/// What the trail is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trail {
    /// Its name.
    pub(super) name: Vec<u8>,
    /// This run of the daemon.
    pub(super) boot: Vec<u8>,
}

pub(super) fn read_head(conn: &Connection, trail: &[u8]) -> Result<Head, StoreError> {
    let find = "SELECT seq, row_hash FROM audit ORDER BY seq DESC LIMIT 1";
    let base = "SELECT seq, hash FROM audit_base";
    let row =
        |row: &rusqlite::Row<'_>| Ok(Head { seq: row.get::<_, i64>(0)?.unsigned_abs(), hash: row.get(1)? });
    let newest = conn.query_row(find, [], row).optional()?;
    let newest = match newest {
        Some(head) => Some(head),
        None => conn.query_row(base, [], row).optional()?,
    };
    Ok(newest.unwrap_or_else(|| Head::genesis(trail)))
}

/// A position that a witness keeps is not on the trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fork;

/// Up to where the trail was trimmed.
fn read_base(conn: &Connection) -> Result<u64, StoreError> {
    let base: Option<i64> = conn.query_row("SELECT seq FROM audit_base", [], |row| row.get(0)).optional()?;
    Ok(base.unwrap_or(0).unsigned_abs())
}

impl Txn<'_> {
    /// Notes the newest position of the trail that a witness keeps; it never goes back. A position that was trimmed cannot
    /// be held against anything, and is not noted.
    ///
    /// # Errors
    /// [`StoreError`]; the inner error when the position is not on the trail.
    pub fn witnessed(
        &mut self,
        witness: &str,
        size: u64,
        head: &[u8; 32],
        now: Stamp,
    ) -> Result<Result<(), Fork>, StoreError> {
        let ours = "SELECT row_hash FROM audit WHERE seq = ?1 UNION ALL SELECT hash FROM audit_base WHERE seq = ?1";
        let at = i64::try_from(size).unwrap_or(i64::MAX);
        let ours: Option<[u8; 32]> = self.conn.prepare_cached(ours)?.query_row([at], |row| row.get(0)).optional()?;
        match ours {
            Some(ours) if ours == *head => {}
            None if size <= read_base(self.conn)? && size > 0 => return Ok(Ok(())),
            _ => return Ok(Err(Fork)),
        }
        self.conn
            .prepare_cached(
                "INSERT INTO audit_witness VALUES (?, ?, ?, ?) ON CONFLICT (witness) DO UPDATE
                 SET size = excluded.size, head = excluded.head, at_ms = excluded.at_ms WHERE excluded.size >= size",
            )?
            .execute((witness, at, head.as_slice(), now.wall_ms))?;
        Ok(Ok(()))
    }

    /// Appends a row to the trail and tells its number.
    ///
    /// # Errors
    /// [`StoreError`]: the act must not be committed then.
    pub fn audit(&mut self, entry: &Entry, now: Stamp) -> Result<u64, StoreError> {
        let head = self.next.audit.next(&self.trail.name, &self.trail.boot, now, entry);
        self.conn
            .prepare_cached("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?
            .execute(rusqlite::params![
                head.seq as i64,
                now.wall_ms,
                now.mono_ms as i64,
                self.trail.boot,
                entry.actor,
                entry.role,
                entry.action.as_str(),
                entry.object,
                entry.list,
                entry.purpose,
                entry.approval,
                entry.outcome.as_str(),
                entry.reason,
                entry.detail,
                self.next.audit.hash.as_slice(),
                head.hash.as_slice(),
            ])?;
        self.next.audit = head;
        Ok(head.seq)
    }

    /// The newest row, appended ones included.
    #[must_use]
    pub fn audit_head(&self) -> Head {
        self.next.audit
    }
}
