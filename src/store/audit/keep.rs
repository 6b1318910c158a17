//! How much of the trail is kept: by age and by size, from its start, and never what no witness has seen.

use rusqlite::OptionalExtension;

use super::{append, head_of, read_head};
use crate::audit::chain::Head;
use crate::audit::{Action, Entry};
use crate::model::Stamp;
use crate::store::Store;
use crate::store::error::StoreError;

/// Rows that go in one step.
const CHUNK: u64 = 4096;
/// Rows that are older than they need be before the first of them goes: one row about it in a day, not one for each.
const SLACK_MS: i64 = 86_400_000;
/// The size of a row is the mean of so many of them.
const SAMPLE: i64 = 64;

/// What is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Rows younger than this many milliseconds.
    pub age_ms: i64,
    /// About so many bytes.
    pub bytes_max: u64,
    /// Up to which row a witness holds the trail; none when there is nobody who could.
    pub witnessed: Option<u64>,
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Trimmed {
    /// Rows that went.
    pub gone: u64,
    /// More should go, but no witness has it.
    pub held: bool,
}

impl Store {
    /// Trims the trail by one step, with a row that says so.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn trim_audit(&mut self, keep: &Keep, now: Stamp) -> Result<Trimmed, StoreError> {
        let Some(wanted) = self.superfluous(keep, now)? else { return Ok(Trimmed::default()) };
        let upto = wanted.min(keep.witnessed.unwrap_or(u64::MAX));
        let held = upto < wanted;
        let transaction = self.conn.unchecked_transaction()?;
        let find = "SELECT seq, row_hash FROM audit WHERE seq = ?";
        let last: Option<Head> = transaction.query_row(find, [upto as i64], head_of).optional()?;
        let Some(last) = last else { return Ok(Trimmed { gone: 0, held }) };
        transaction.execute(
            "INSERT OR REPLACE INTO audit_base VALUES (1, ?, ?)",
            (last.seq as i64, last.hash.as_slice()),
        )?;
        let first: i64 = transaction.query_row("SELECT min(seq) FROM audit", [], |row| row.get(0))?;
        let gone = transaction.execute("DELETE FROM audit WHERE seq <= ?", [last.seq as i64])? as u64;
        let entry = Entry::gateway(Action::RetentionDelete, format!("audit:{first}-{}", last.seq));
        let hash: String = last.hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let head = read_head(&transaction, &self.trail.name)?;
        let entry = entry.with(serde_json::json!({ "hash": hash }));
        let head = append(&transaction, &self.trail, head, &entry, now)?;
        transaction.commit()?;
        self.position.audit = head;
        Ok(Trimmed { gone, held })
    }

    /// Up to which row the trail is too old or too long, at most a step; the newest row never.
    fn superfluous(&self, keep: &Keep, now: Stamp) -> Result<Option<u64>, StoreError> {
        let mut oldest = self.conn.prepare_cached("SELECT seq, ts_ms FROM audit ORDER BY seq LIMIT 1")?;
        let oldest = oldest.query_row([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)));
        let Some((first, ts_ms)) = oldest.optional()? else { return Ok(None) };
        let (first, head) = (first.unsigned_abs(), self.position.audit.seq);
        let most = (first + CHUNK - 1).min(head - 1);
        if most < first {
            return Ok(None);
        }
        let rows = head - first + 1;
        let rows_max = (keep.bytes_max / self.row_bytes(first, head)?).max(1);
        if rows > rows_max {
            // Down to fifteen sixteenths, so that not every further row is one too many.
            return Ok(Some(most.min(first + rows - (rows_max - rows_max / 16))));
        }
        let before_ms = now.wall_ms.saturating_sub(keep.age_ms);
        if ts_ms >= before_ms.saturating_sub(SLACK_MS) {
            return Ok(None);
        }
        let young =
            "SELECT min(seq) FROM (SELECT seq FROM audit WHERE seq BETWEEN ? AND ? AND ts_ms >= ? LIMIT 1)";
        let young: Option<i64> = self
            .conn
            .prepare_cached(young)?
            .query_row((first as i64, most as i64, before_ms), |row| row.get(0))?;
        Ok(Some(young.map_or(most, |seq| seq.unsigned_abs() - 1)))
    }

    /// What a row takes, about: the mean of some of them, spread over the trail.
    fn row_bytes(&self, first: u64, head: u64) -> Result<u64, StoreError> {
        let step = ((head - first) as i64 / SAMPLE).max(1);
        let mut find = self.conn.prepare_cached(
            "SELECT length(actor) + length(actor_role) + length(action) + length(object)
               + coalesce(length(list_ref), 0) + coalesce(length(purpose), 0) + coalesce(length(approval_id), 0)
               + coalesce(length(reason), 0) + coalesce(length(detail_json), 0) + 128
             FROM audit WHERE seq = ?",
        )?;
        let (mut bytes, mut rows) = (0_u64, 0);
        for at in 0..SAMPLE.min((head - first + 1) as i64) {
            let row: i64 = find.query_row([first as i64 + at * step], |row| row.get(0))?;
            (bytes, rows) = (bytes + row.unsigned_abs(), rows + 1);
        }
        Ok((bytes / rows.max(1)).max(1))
    }
}
