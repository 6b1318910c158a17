//! What a profile for an emergency has brought in, and its deletion, a chunk at a time.
//!
//! Guarantees: nothing outside of the scope goes, and nothing from before the profile began or from after it ended; each
//! chunk and how far it came are one transaction, so a stop in the middle goes on there; a deleted record leaves a gap that
//! says "purged"; a position of the log is never given again. [`Progress::digest`] is over everything that went, in order:
//!
//! ```text
//! digest = SHA-256(digest || LP(kind) || LP(what identifies the row))      from 32 zero bytes on, LP a u32 length and bytes
//! reading  id, series, received, crc       record  lane, seq, hash       incident, entry  id
//! ```
//! What it does not do: decide when, or tell the trail. What MQTT keeps of messages (retained, queued) is not in it, and
//! what a consumer has pulled already is the consumer's.

mod rows;

use rusqlite::{Connection, OptionalExtension};

pub use self::rows::{Emergency, Marks, Progress, Scope, State};
use self::rows::{all, json, put};
use super::error::StoreError;
use super::{Store, Txn, outbox};
use crate::model::{Lane, LineId, Seq};

/// Rows of the log, or of any table, that are looked at in one step.
const CHUNK: i64 = 4096;
/// Sealed records are large.
const RECORDS: i64 = 256;
/// Purged profiles that are remembered, so that none of them begins again.
const DONE_MAX: i64 = 1000;
/// Where the position of the log is kept when its newest row may be gone.
const HEAD: &str = "reading_head";
/// The reason of the gap that a purged record leaves.
pub(super) const PURGED: &str = "purged";

/// What a step of the deletion came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Readings that went.
    pub readings: u64,
    /// Notices of incidents of the profile that wait for somebody: nobody is to be told any more.
    pub waiting: Vec<u64>,
    /// Whether nothing is left.
    pub done: bool,
}

impl Store {
    /// The profiles that are not purged to the end, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn emergencies(&self) -> Result<Vec<Emergency>, StoreError> {
        all(&self.conn, "state <> 'done'")
    }

    /// Whether a profile was in force, with this very file, and is over.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn emergency_is_over(&self, id: &LineId, digest: &[u8; 32]) -> Result<bool, StoreError> {
        let find =
            "SELECT EXISTS (SELECT 1 FROM emergency WHERE id = ? AND digest = ? AND state <> 'active')";
        Ok(self.conn.query_row(find, (id.as_str(), digest.as_slice()), |row| row.get(0))?)
    }

    /// Gives the write-ahead log back at once: what was deleted is not to lie there. Where somebody reads it stays for the
    /// next time.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn checkpoint_now(&mut self) -> Result<(), StoreError> {
        self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(())
    }
}

impl Txn<'_> {
    /// Where everything stands now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn marks(&self) -> Result<Marks, StoreError> {
        let newest = |table: &str| -> Result<i64, StoreError> {
            // The table of numbers knows also those whose row is gone.
            let find = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = ?), 0)";
            Ok(self.conn.prepare_cached(find)?.query_row([table], |row| row.get(0))?)
        };
        let mut lanes = [0; Lane::ALL.len()];
        for lane in Lane::ALL {
            lanes[lane.index()] = self.next.heads[lane.index()].seq.0 as i64;
        }
        Ok(Marks {
            reading: self.next.reading,
            lanes,
            incident: newest("incident")?,
            entry: newest("entry")?,
        })
    }

    /// Stores a new profile, whose number is given here.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn add_emergency(&mut self, emergency: &mut Emergency) -> Result<(), StoreError> {
        self.conn.execute(
            "INSERT INTO emergency (id, digest, state, until_ms, scope, progress) VALUES (?, ?, ?, ?, ?, ?)",
            (
                emergency.id.as_str(),
                emergency.digest.as_slice(),
                emergency.state.as_str(),
                emergency.until_ms,
                json(&emergency.scope)?,
                json(&emergency.progress)?,
            ),
        )?;
        emergency.number = self.conn.last_insert_rowid();
        Ok(())
    }

    /// Stores a profile as it is now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_emergency(&mut self, emergency: &Emergency) -> Result<(), StoreError> {
        put(self.conn, emergency)
    }

    /// Deletes the next chunk of what a profile has brought in, and stores how far it came.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn purge(&mut self, emergency: &mut Emergency) -> Result<Step, StoreError> {
        // What is deleted is to be overwritten here, not only where that costs nothing.
        self.conn.pragma_update(None, "secure_delete", "ON")?;
        let step = self.purge_step(emergency);
        self.conn.pragma_update(None, "secure_delete", "FAST")?;
        let step = step?;
        if step.done {
            emergency.state = State::Done;
        }
        self.set_emergency(emergency)?;
        Ok(step)
    }

    fn purge_step(&mut self, emergency: &mut Emergency) -> Result<Step, StoreError> {
        let Emergency { scope, progress, .. } = emergency;
        let Progress { at, to, .. } = *progress;
        let mut step = Step::default();
        if at.reading < to.reading {
            step.readings = self.readings(scope, progress)?;
        } else if let Some(lane) =
            Lane::ALL.into_iter().find(|lane| at.lanes[lane.index()] < to.lanes[lane.index()])
        {
            self.records(lane, scope, progress)?;
        } else if at.incident < to.incident {
            step.waiting = self.incidents(scope, progress)?;
        } else if at.entry < to.entry {
            self.entries(scope, progress)?;
        }
        step.done = progress.at == progress.to;
        if step.done {
            self.forget(scope)?;
        }
        Ok(step)
    }

    fn readings(&mut self, scope: &Scope, progress: &mut Progress) -> Result<u64, StoreError> {
        let find =
            "SELECT id, series, received, crc FROM reading WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3";
        let rows = looked_at::<(i64, i64, i64, u32)>(
            self.conn,
            find,
            (progress.at.reading, progress.to.reading, CHUNK),
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
        )?;
        progress.at.reading = reached(rows.len(), CHUNK, rows.last().map(|row| row.0), progress.to.reading);
        let mut gone = 0;
        let mut delete = self.conn.prepare_cached("DELETE FROM reading WHERE id = ?")?;
        for (id, series, received_ms, crc) in rows.into_iter().filter(|row| scope.series.contains(&row.1)) {
            delete.execute([id])?;
            progress.gone(
                "reading",
                &[&id.to_be_bytes(), &series.to_be_bytes(), &received_ms.to_be_bytes(), &crc.to_be_bytes()],
            );
            progress.first_ms = Some(progress.first_ms.map_or(received_ms, |first| first.min(received_ms)));
            progress.last_ms = Some(progress.last_ms.map_or(received_ms, |last| last.max(received_ms)));
            gone += 1;
        }
        progress.count("readings", gone);
        if gone > 0 {
            // The newest row may be among them, and a position is given once.
            self.conn
                .prepare_cached("INSERT OR REPLACE INTO meta VALUES (?, ?)")?
                .execute((HEAD, self.next.reading.to_be_bytes().as_slice()))?;
        }
        Ok(gone)
    }

    fn records(&mut self, lane: Lane, scope: &Scope, progress: &mut Progress) -> Result<(), StoreError> {
        let (at, to) = (progress.at.lanes[lane.index()], progress.to.lanes[lane.index()]);
        let table = outbox::table(lane);
        let find = format!(
            "SELECT o.seq, i.share_item, o.hash FROM {table} o JOIN item i ON i.id = o.item
             WHERE o.seq > ?1 AND o.seq <= ?2 ORDER BY o.seq LIMIT ?3"
        );
        let rows = looked_at::<(i64, String, [u8; 32])>(self.conn, &find, (at, to, RECORDS), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
        progress.at.lanes[lane.index()] = reached(rows.len(), RECORDS, rows.last().map(|row| row.0), to);
        let kind = format!("records.{lane}");
        for (seq, share, hash) in rows {
            let is_its = scope.shares.iter().any(|id| id.as_str() == share)
                || (lane == Lane::Alarm && self.is_of_incident(seq, scope)?);
            if !is_its {
                continue;
            }
            outbox::withdraw(self.conn, lane, Seq(seq.unsigned_abs()), &hash, PURGED)?;
            progress.gone(&kind, &[&seq.to_be_bytes(), &hash]);
            progress.count(&kind, 1);
        }
        Ok(())
    }

    fn is_of_incident(&self, seq: i64, scope: &Scope) -> Result<bool, StoreError> {
        let find = "SELECT i.alarm, i.device FROM record_incident r JOIN incident i ON i.id = r.incident WHERE r.seq = ?";
        let of: Option<(String, String)> = self
            .conn
            .prepare_cached(find)?
            .query_row([seq], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        Ok(of.is_some_and(|(alarm, device)| scope.has_incident(&alarm, &device)))
    }

    /// What happened stays to be seen; what was measured, and what anybody wrote about it, goes.
    fn incidents(&mut self, scope: &Scope, progress: &mut Progress) -> Result<Vec<u64>, StoreError> {
        let find = "SELECT id, alarm, device FROM incident WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3";
        let range = (progress.at.incident, progress.to.incident, CHUNK);
        let rows = looked_at::<(i64, String, String)>(self.conn, find, range, |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
        progress.at.incident = reached(rows.len(), CHUNK, rows.last().map(|row| row.0), progress.to.incident);
        let mut waiting = Vec::new();
        for (id, ..) in rows.into_iter().filter(|(_, alarm, device)| scope.has_incident(alarm, device)) {
            let find = "SELECT id FROM notice WHERE incident = ? AND fate = 'waiting'";
            let notices: Vec<i64> = self
                .conn
                .prepare_cached(find)?
                .query_map([id], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            waiting.extend(notices.into_iter().map(i64::unsigned_abs));
            let values = "SELECT count(*) FROM history WHERE incident = ? AND value IS NOT NULL";
            let values: i64 = self.conn.prepare_cached(values)?.query_row([id], |row| row.get(0))?;
            for blank in [
                "UPDATE history SET value_kind = NULL, value = NULL, reason = '' WHERE incident = ?",
                "UPDATE notice SET text = '' WHERE incident = ?",
                "UPDATE feedback SET text = '' WHERE incident = ?",
            ] {
                self.conn.prepare_cached(blank)?.execute([id])?;
            }
            progress.gone("incident", &[&id.to_be_bytes()]);
            progress.count("incidents", 1);
            progress.count("values", values.unsigned_abs());
        }
        Ok(waiting)
    }

    fn entries(&mut self, scope: &Scope, progress: &mut Progress) -> Result<(), StoreError> {
        let find = "SELECT id, collect FROM entry WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3";
        let range = (progress.at.entry, progress.to.entry, CHUNK);
        let rows = looked_at::<(i64, String)>(self.conn, find, range, |row| Ok((row.get(0)?, row.get(1)?)))?;
        progress.at.entry = reached(rows.len(), CHUNK, rows.last().map(|row| row.0), progress.to.entry);
        let is_its = |collect: &str| scope.collects.iter().any(|id| id.as_str() == collect);
        for (id, _) in rows.into_iter().filter(|(_, collect)| is_its(collect)) {
            self.conn.prepare_cached("DELETE FROM entry WHERE id = ?")?.execute([id])?;
            progress.gone("entry", &[&id.to_be_bytes()]);
            progress.count("entries", 1);
        }
        Ok(())
    }

    /// Where folds stood; they themselves went with the plan.
    fn forget(&mut self, scope: &Scope) -> Result<(), StoreError> {
        for id in &scope.aggregates {
            self.conn.execute("DELETE FROM watermark WHERE aggregate = ?", [id.as_str()])?;
            self.drop_fold(&format!("window:{id}"))?;
        }
        for id in &scope.shares {
            self.drop_fold(&format!("block:{id}"))?;
            self.drop_fold(&format!("thinned:{id}"))?;
        }
        self.conn.execute(
            "DELETE FROM emergency WHERE state = 'done' AND number <= (SELECT max(number) FROM emergency) - ?",
            [DONE_MAX],
        )?;
        Ok(())
    }
}

/// Prepares for the lanes' new positions: what is of a profile may stand at any of them.
pub(super) fn fork(conn: &Connection) -> Result<(), StoreError> {
    for mut emergency in all(conn, "state <> 'done'")? {
        let Progress { at, to, .. } = &mut emergency.progress;
        at.lanes = Default::default();
        to.lanes = [i64::MAX; Lane::ALL.len()];
        put(conn, &emergency)?;
    }
    Ok(())
}

/// The position of the log that is kept beside it; 0 where none is.
pub(super) fn head_kept(conn: &Connection) -> Result<i64, StoreError> {
    let kept: Option<Vec<u8>> =
        conn.query_row("SELECT value FROM meta WHERE key = ?", [HEAD], |row| row.get(0)).optional()?;
    let Some(kept) = kept else { return Ok(0) };
    let bytes =
        kept.try_into().map_err(|_| StoreError::Damaged("the log's position is not of 8 bytes".into()));
    Ok(i64::from_be_bytes(bytes?))
}

/// Up to where a chunk has looked.
fn reached(found: usize, chunk: i64, last: Option<i64>, to: i64) -> i64 {
    match last {
        Some(last) if i64::try_from(found).unwrap_or(i64::MAX) >= chunk => last,
        _ => to,
    }
}

fn looked_at<T>(
    conn: &Connection,
    sql: &str,
    range: (i64, i64, i64),
    read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreError> {
    Ok(conn.prepare_cached(sql)?.query_map(range, read)?.collect::<Result<_, _>>()?)
}
