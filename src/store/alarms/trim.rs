//! How long incidents and what belongs to them are kept.
//!
//! Guarantees: what is open, what waits and what runs stays; a closed incident goes whole. At most a chunk of each goes in
//! one step.

use rusqlite::Connection;

use crate::model::Lane;
use crate::store::StoreError;

/// A closed incident older than this goes: 400 days, so that last year's summer can be looked at, milliseconds.
const INCIDENT_MS_MAX: i64 = 400 * 86_400_000;
/// The newest incidents that are kept; an older one goes when it is closed.
const INCIDENTS_MAX: i64 = 100_000;
/// The newest rows that are kept of the history, the ledger, runs, feedback and links: ten of each incident.
const ROWS_MAX: i64 = 10 * INCIDENTS_MAX;
/// Incidents that go in one step.
const CHUNK: i64 = 256;
/// Other rows that go in one step.
const ROWS_CHUNK: i64 = 4096;

/// How much is kept. The one of this build is [`Bounds::default`]; tests take less.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Bounds {
    pub(in crate::store) incident_ms_max: i64,
    pub(in crate::store) incidents_max: i64,
    pub(in crate::store) rows_max: i64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { incident_ms_max: INCIDENT_MS_MAX, incidents_max: INCIDENTS_MAX, rows_max: ROWS_MAX }
    }
}

const OLD: &str =
    "SELECT id FROM incident WHERE life = 'closed' AND changed_ms < ?1 ORDER BY changed_ms LIMIT ?2";
const BEYOND: &str = "SELECT id FROM incident
    WHERE id <= (SELECT coalesce(max(id), 0) FROM incident) - ?1 AND life = 'closed' ORDER BY id LIMIT ?2";

/// A run that is not over is not forgotten, nor a notice that waits: the end of its incident may be what it tells.
const OF_INCIDENT: [&str; 6] = [
    "DELETE FROM history WHERE incident = ?",
    "DELETE FROM notice WHERE incident = ?",
    "DELETE FROM run WHERE incident = ?",
    "DELETE FROM record_incident WHERE incident = ?",
    "DELETE FROM feedback WHERE incident = ?",
    "DELETE FROM incident WHERE id = ?",
];
const BUSY: &str =
    "SELECT EXISTS (SELECT 1 FROM run WHERE incident = ?1 AND stage IN ('waiting', 'accepted', 'sent'))
    OR EXISTS (SELECT 1 FROM notice WHERE incident = ?1 AND fate = 'waiting')";

const ROWS_BEYOND: [&str; 5] = [
    "DELETE FROM history WHERE id IN (SELECT id FROM history
     WHERE id <= (SELECT max(id) FROM history) - ?1 ORDER BY id LIMIT ?2)",
    "DELETE FROM notice WHERE id IN (SELECT id FROM notice
     WHERE id <= (SELECT max(id) FROM notice) - ?1 AND fate <> 'waiting' ORDER BY id LIMIT ?2)",
    "DELETE FROM run WHERE id IN (SELECT id FROM run
     WHERE id <= (SELECT max(id) FROM run) - ?1 AND stage IN ('done', 'failed', 'expired') ORDER BY id LIMIT ?2)",
    "DELETE FROM feedback WHERE id IN (SELECT id FROM feedback
     WHERE id <= (SELECT max(id) FROM feedback) - ?1 ORDER BY id LIMIT ?2)",
    "DELETE FROM record_incident WHERE seq IN (SELECT seq FROM record_incident
     WHERE seq <= (SELECT max(seq) FROM record_incident) - ?1 ORDER BY seq LIMIT ?2)",
];

/// One step; tells how many rows went.
pub(in crate::store) fn step(conn: &Connection, now_ms: i64, bounds: Bounds) -> Result<u64, StoreError> {
    let mut gone = 0;
    let before_ms = now_ms.saturating_sub(bounds.incident_ms_max);
    for (sql, bound) in [(OLD, before_ms), (BEYOND, bounds.incidents_max)] {
        let ids: Vec<i64> = conn
            .prepare_cached(sql)?
            .query_map([bound, CHUNK], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for id in ids {
            if conn.prepare_cached(BUSY)?.query_row([id], |row| row.get(0))? {
                continue;
            }
            for delete in OF_INCIDENT {
                gone += conn.prepare_cached(delete)?.execute([id])? as u64;
            }
        }
    }
    for sql in ROWS_BEYOND {
        gone += conn.prepare_cached(sql)?.execute([bounds.rows_max, ROWS_CHUNK])? as u64;
    }
    Ok(gone)
}

/// Prepares for the lanes' new positions: what is of a record that is not on disk leads nowhere any more. Call before
/// records are numbered anew, and [`moved`] for each of lane alarm, oldest first.
pub(in crate::store) fn fork(conn: &Connection) -> Result<(), StoreError> {
    conn.execute_batch(
        "DELETE FROM record_incident WHERE seq NOT IN (SELECT seq FROM outbox_alarm);
         UPDATE notice SET seq = NULL WHERE seq IS NOT NULL AND seq NOT IN (SELECT seq FROM outbox_alarm);",
    )?;
    Ok(())
}

/// A record has another position now, no higher than before.
pub(in crate::store) fn moved(conn: &Connection, lane: Lane, old: i64, new: i64) -> Result<(), StoreError> {
    if lane == Lane::Alarm && old != new {
        conn.prepare_cached("UPDATE record_incident SET seq = ? WHERE seq = ?")?.execute([new, old])?;
        conn.prepare_cached("UPDATE notice SET seq = ? WHERE seq = ?")?.execute([new, old])?;
    }
    Ok(())
}
