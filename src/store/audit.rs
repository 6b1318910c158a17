//! The trail on disk: appended in the transaction of the act, never changed; its signed positions, what witnesses have of
//! it, and how much of it is kept.
//!
//! Guarantees: a row and its act are committed together or not at all; a witness holds nothing that is not on the chain;
//! what is trimmed leaves the hash it ended with, and a row that says so.

mod digest;
mod keep;
#[cfg(test)]
mod tests;
mod witness;

use rusqlite::{Connection, OptionalExtension};

pub use self::digest::DigestMark;
pub use self::keep::{Keep, Trimmed};
pub(super) use self::witness::forget;
pub use self::witness::{WitnessRefused, Witnessed};
use super::error::StoreError;
use super::txn::Txn;
use super::{Store, outbox};
use crate::audit::chain::{Hash, Head};
use crate::audit::checkpoint::{self, Checkpoint};
use crate::audit::{Action, Entry};
use crate::model::{Consumer, Lane, Seq, Stamp};

/// Signed positions that are kept.
const CHECKPOINTS_MAX: i64 = 10_000;
/// The tally of what a row has said of expired readings: the last one's number.
const EXPIRED_TOLD: &str = "audit.expired_upto";

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
    let newest = conn.query_row(find, [], head_of).optional()?;
    let newest = match newest {
        Some(head) => Some(head),
        None => base(conn)?,
    };
    Ok(newest.unwrap_or_else(|| Head::genesis(trail)))
}

fn head_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Head> {
    Ok(Head { seq: row.get::<_, i64>(0)?.unsigned_abs(), hash: row.get(1)? })
}

/// Up to where it was trimmed.
fn base(conn: &Connection) -> Result<Option<Head>, StoreError> {
    Ok(conn.query_row("SELECT seq, hash FROM audit_base", [], head_of).optional()?)
}

/// The hash at a position, where it is still known.
pub(super) fn hash_at(conn: &Connection, trail: &[u8], seq: u64) -> Result<Option<Hash>, StoreError> {
    if seq == 0 {
        return Ok(Some(Head::genesis(trail).hash));
    }
    for find in [
        "SELECT row_hash FROM audit WHERE seq = ?",
        "SELECT hash FROM audit_base WHERE seq = ?",
        "SELECT head FROM audit_checkpoint WHERE size = ?",
    ] {
        let found = conn.prepare_cached(find)?.query_row([seq as i64], |row| row.get(0)).optional()?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Appends a row behind `head` and gives the new one.
pub(super) fn append(
    conn: &Connection,
    trail: &Trail,
    head: Head,
    entry: &Entry,
    now: Stamp,
) -> Result<Head, StoreError> {
    let next = head.next(&trail.name, &trail.boot, now, entry);
    conn.prepare_cached("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?
        .execute(rusqlite::params![
            next.seq as i64,
            now.wall_ms,
            now.mono_ms as i64,
            trail.boot,
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
            head.hash.as_slice(),
            next.hash.as_slice(),
        ])?;
    Ok(next)
}

impl Txn<'_> {
    /// Appends a row to the trail and tells its number.
    ///
    /// # Errors
    /// [`StoreError`]: the act must not be committed then.
    pub fn audit(&mut self, entry: &Entry, now: Stamp) -> Result<u64, StoreError> {
        self.next.audit = append(self.conn, self.trail, self.next.audit, entry, now)?;
        Ok(self.next.audit.seq)
    }

    /// The newest row, appended ones included.
    #[must_use]
    pub fn audit_head(&self) -> Head {
        self.next.audit
    }

    /// Keeps a signed position; the oldest ones go.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        let Checkpoint { head, at_ms, signature, .. } = checkpoint;
        self.conn
            .prepare_cached("INSERT OR REPLACE INTO audit_checkpoint VALUES (?, ?, ?, ?)")?
            .execute((head.seq as i64, head.hash.as_slice(), at_ms, signature))?;
        let trim = "DELETE FROM audit_checkpoint WHERE size <=
            (SELECT size FROM audit_checkpoint ORDER BY size DESC LIMIT 1 OFFSET ?)";
        self.conn.prepare_cached(trim)?.execute([CHECKPOINTS_MAX])?;
        Ok(())
    }

    /// What a consumer has acknowledged in a lane.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn acked(&self, consumer: &Consumer, lane: Lane) -> Result<Seq, StoreError> {
        outbox::acked(self.conn, consumer, lane)
    }

    /// Says in the trail which readings have gone since it last did, because their time was over or for want of room.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn tell_expired(&mut self, now: Stamp) -> Result<(), StoreError> {
        let first: Option<i64> =
            self.conn.prepare_cached("SELECT min(id) FROM reading")?.query_row([], |row| row.get(0))?;
        let told: Option<i64> = self
            .conn
            .prepare_cached("SELECT count FROM tally WHERE name = ?")?
            .query_row([EXPIRED_TOLD], |row| row.get(0))
            .optional()?;
        let (told, gone) = (told.unwrap_or(0), first.unwrap_or(1) - 1);
        if gone <= told {
            return Ok(());
        }
        let entry = Entry::gateway(Action::RetentionDelete, format!("reading:{}-{gone}", told + 1));
        self.audit(&entry, now)?;
        self.count(EXPIRED_TOLD, gone.abs_diff(told))
    }
}

impl Store {
    /// The trail's name, as in the origin of its checkpoints.
    #[must_use]
    pub fn trail(&self) -> &[u8] {
        &self.trail.name
    }

    /// The newest row of the trail.
    #[must_use]
    pub fn audit_head(&self) -> Head {
        self.position.audit
    }

    /// The newest signed position.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn checkpoint(&self) -> Result<Option<Checkpoint>, StoreError> {
        let find = "SELECT size, head, at_ms, signature FROM audit_checkpoint ORDER BY size DESC LIMIT 1";
        let found = self.conn.prepare_cached(find)?.query_row([], |row| {
            Ok(Checkpoint {
                origin: checkpoint::origin(&self.trail.name),
                head: head_of(row)?,
                at_ms: row.get(2)?,
                signature: row.get(3)?,
            })
        });
        Ok(found.optional()?)
    }
}
