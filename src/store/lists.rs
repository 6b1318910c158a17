//! The four lists on disk: every version of every line, the links of the newest ones, and what the store knows about how
//! they are lived.
//!
//! Guarantees: a version is written once and never changed. What is looked up for [`Observed`] is bounded, and what did not
//! fit into the bound is left out, never guessed.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row};

use super::error::StoreError;
use super::reader::{ReadError, Reader};
use super::txn::Txn;
use super::{outbox, schema};
use crate::lists::changes::{Change, Known, Newest};
use crate::lists::drift::{Incident, Observed, SILENT_MS};
use crate::lists::{Link, Lists};
use crate::model::{Lane, LineId, List};

/// Readings that are looked through for those who are silent, newest first; that a series is not among them proves
/// something only where they go back far enough.
const READINGS_MAX: i64 = 500_000;
/// How much shorter than the time of silence the log may be: it is trimmed at about that age.
const SLACK_MS: i64 = 3_600_000;
/// Records of a lane that are looked through for one of a share line.
const RECORDS_MAX: i64 = 100_000;
/// Incidents that are looked at.
const INCIDENTS_MAX: i64 = 10_000;

/// The first record of a share line behind a position, within a bound.
macro_rules! waiting_sql {
    ($table:literal) => {
        concat!(
            "SELECT sealed_ms FROM (SELECT seq, item, sealed_ms FROM ",
            $table,
            " WHERE seq > ? ORDER BY seq LIMIT ?) WHERE item IN (SELECT id FROM item WHERE share_item = ?)
             ORDER BY seq LIMIT 1"
        )
    };
}

fn damaged(what: &str, text: &str) -> StoreError {
    StoreError::Damaged(format!("list_item: {what} {text:?}"))
}

/// The line of two columns from `at` on.
fn line(row: &Row<'_>, at: usize) -> Result<(List, LineId), StoreError> {
    let (list, id): (String, String) = (row.get(at)?, row.get(at + 1)?);
    let list = List::named(&list).ok_or_else(|| damaged("list", &list))?;
    Ok((list, id.parse().map_err(|_| damaged("id", &id))?))
}

impl Txn<'_> {
    /// The newest version of every line there ever was.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn newest_items(&self) -> Result<Newest, StoreError> {
        // Of a group SQLite gives the other columns of the row that has the maximum.
        let find = "SELECT list, id, max(version), status, body_hash FROM list_item GROUP BY list, id";
        let mut statement = self.conn.prepare_cached(find)?;
        let mut rows = statement.query([])?;
        let mut newest = Newest::new();
        while let Some(row) = rows.next()? {
            let key = line(row, 0)?;
            let retired = row.get::<_, String>(3)? == "retired";
            newest.insert(key, Known { version: row.get(2)?, retired, hash: row.get(4)? });
        }
        Ok(newest)
    }

    /// Stores a new version of a line.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_item(&mut self, change: &Change, lists_version: u32, now_ms: i64) -> Result<(), StoreError> {
        let status = match change.change {
            crate::model::Alteration::Retired => "retired",
            _ => "active",
        };
        self.conn.prepare_cached("INSERT INTO list_item VALUES (?, ?, ?, ?, ?, ?, ?, ?)")?.execute((
            change.list.as_str(),
            change.id.as_str(),
            change.version,
            status,
            &change.body,
            change.hash.as_slice(),
            lists_version,
            now_ms,
        ))?;
        Ok(())
    }

    /// The links of the lists before.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn links(&self) -> Result<BTreeSet<Link>, StoreError> {
        let mut statement = self.conn.prepare_cached("SELECT * FROM list_link")?;
        let mut rows = statement.query([])?;
        let mut links = BTreeSet::new();
        while let Some(row) = rows.next()? {
            links.insert((line(row, 0)?, line(row, 2)?));
        }
        Ok(links)
    }

    /// Puts these links in their place.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_links(&mut self, links: &BTreeSet<Link>) -> Result<(), StoreError> {
        self.conn.execute("DELETE FROM list_link", [])?;
        let mut insert = self.conn.prepare_cached("INSERT INTO list_link VALUES (?, ?, ?, ?)")?;
        for ((from, from_id), (to, to_id)) in links {
            insert.execute((from.as_str(), from_id.as_str(), to.as_str(), to_id.as_str()))?;
        }
        Ok(())
    }
}

/// Which versions there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    /// Of the lists in force; 0 while the writer has not taken them yet.
    pub lists: u32,
    /// Of every line there ever was, the newest.
    pub lines: BTreeMap<(List, LineId), u32>,
}

impl Reader {
    /// Which versions there are, the lists in force being those with this digest.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn versions(&self, digest: [u8; 32]) -> Result<Versions, ReadError> {
        self.ask(move |conn| versions(conn, &digest)).await
    }

    /// What the store knows about how the lists are lived. `now_ms` is milliseconds since 1970 UTC.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn observed(&self, lists: Arc<Lists>, now_ms: i64) -> Result<Observed, ReadError> {
        self.ask(move |conn| observed(conn, &lists, now_ms)).await
    }
}

fn versions(conn: &Connection, digest: &[u8; 32]) -> Result<Versions, StoreError> {
    let find = "SELECT version FROM list_version WHERE digest = ?";
    let lists = conn.prepare_cached(find)?.query_row([digest.as_slice()], |row| row.get(0)).optional()?;
    let find = "SELECT list, id, max(version) FROM list_item GROUP BY list, id";
    let mut statement = conn.prepare_cached(find)?;
    let mut rows = statement.query([])?;
    let mut lines = BTreeMap::new();
    while let Some(row) = rows.next()? {
        lines.insert(line(row, 0)?, row.get(2)?);
    }
    Ok(Versions { lists: lists.unwrap_or_default(), lines })
}

/// The same of a store in `dir`, beside a daemon or without one; none where there is no store yet. Writes nothing.
///
/// # Errors
/// [`StoreError`].
pub fn observed_in(dir: &Path, lists: &Lists, now_ms: i64) -> Result<Option<Observed>, StoreError> {
    let path = dir.join("smallbrain.db");
    if !path.exists() {
        return Ok(None);
    }
    let conn = schema::open_reader(&path)?;
    let has = "SELECT 1 FROM sqlite_schema WHERE name = 'list_item'";
    let is_known = conn.query_row(has, [], |_| Ok(())).optional()?.is_some();
    // A store of an earlier build knows nothing of lists.
    is_known.then(|| observed(&conn, lists, now_ms)).transpose()
}

fn observed(conn: &Connection, lists: &Lists, now_ms: i64) -> Result<Observed, StoreError> {
    Ok(Observed {
        since_ms: since(conn)?,
        waiting_ms: waiting(conn, lists)?,
        silent: silent(conn, lists, now_ms.saturating_sub(SILENT_MS))?,
        incidents: incidents(conn)?,
    })
}

/// Since when lines stand there without a break.
fn since(conn: &Connection) -> Result<BTreeMap<(List, LineId), i64>, StoreError> {
    let find = "SELECT list, id, min(since_ms) FROM list_item AS item WHERE version > (
        SELECT coalesce(max(version), 0) FROM list_item AS gone
        WHERE gone.list = item.list AND gone.id = item.id AND gone.status = 'retired') GROUP BY list, id";
    let mut statement = conn.prepare_cached(find)?;
    let mut rows = statement.query([])?;
    let mut since = BTreeMap::new();
    while let Some(row) = rows.next()? {
        since.insert(line(row, 0)?, row.get(2)?);
    }
    Ok(since)
}

/// The oldest record of each share line that lies behind every cursor of its consumers.
fn waiting(conn: &Connection, lists: &Lists) -> Result<BTreeMap<LineId, i64>, StoreError> {
    let mut waiting = BTreeMap::new();
    for share in &lists.shares {
        let Some(lane) = share.lane else { continue };
        let mut taken = crate::model::Seq(0);
        for consumer in &share.consumers {
            taken = taken.max(outbox::acked(conn, consumer, lane)?);
        }
        let find = match lane {
            Lane::Alarm => waiting_sql!("outbox_alarm"),
            Lane::Event => waiting_sql!("outbox_event"),
            Lane::Result => waiting_sql!("outbox_result"),
            Lane::Aggregate => waiting_sql!("outbox_aggregate"),
            Lane::Audit => waiting_sql!("outbox_audit"),
            Lane::Bulk => waiting_sql!("outbox_bulk"),
        };
        let row = conn
            .prepare_cached(find)?
            .query_row((taken.0 as i64, RECORDS_MAX, share.id.as_str()), |row| row.get(0))
            .optional()?;
        waiting.extend(row.map(|sealed_ms| (share.id.clone(), sealed_ms)));
    }
    Ok(waiting)
}

/// Points that are taken and have no reading since `cutoff_ms`, as far as that can be proven.
fn silent(
    conn: &Connection,
    lists: &Lists,
    cutoff_ms: i64,
) -> Result<BTreeSet<(String, String)>, StoreError> {
    let mut names = conn.prepare_cached("SELECT id, device, metric FROM series")?;
    let names = names.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?;
    let ids: BTreeMap<i64, (String, String)> = names.collect::<Result<_, _>>()?;
    let mut sought: BTreeSet<(String, String)> = BTreeSet::new();
    for point in lists.points.iter().filter(|point| point.is_taken()) {
        let of = |device: &String| (device.clone(), point.metric.to_string());
        sought.extend(point.devices.iter().map(of));
    }
    let find = "SELECT id, series, received FROM reading ORDER BY id DESC LIMIT ?";
    let mut statement = conn.prepare_cached(find)?;
    let mut rows = statement.query([READINGS_MAX])?;
    // A log that never held anything goes back to its beginning.
    let (mut oldest, mut heard) = ((1, i64::MAX), HashSet::new());
    while let Some(row) = rows.next()?.filter(|_| !sought.is_empty()) {
        let (id, series, received): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        oldest = (id, received);
        if received < cutoff_ms {
            break;
        }
        if heard.insert(series)
            && let Some(name) = ids.get(&series)
        {
            sought.remove(name);
        }
    }
    // Of what lies deeper, or was given up, nothing is known.
    let is_proven = oldest.0 == 1 || oldest.1 < cutoff_ms.saturating_add(SLACK_MS);
    Ok(if is_proven { sought } else { BTreeSet::new() })
}

fn incidents(conn: &Connection) -> Result<Vec<Incident>, StoreError> {
    let find = "SELECT id, alarm, raised_ms, life <> 'raised'
            OR EXISTS (SELECT 1 FROM feedback WHERE feedback.incident = incident.id)
        FROM incident WHERE life <> 'closed' AND life NOT IN ('pre_alarm', 'suppressed') AND raised_ms IS NOT NULL
        ORDER BY id LIMIT ?";
    let mut statement = conn.prepare_cached(find)?;
    let rows = statement.query_map([INCIDENTS_MAX], |row| {
        let id: i64 = row.get(0)?;
        let (alarm, raised_ms, accepted) = (row.get(1)?, row.get(2)?, row.get(3)?);
        Ok(Incident { id: id.unsigned_abs(), alarm, raised_ms, accepted })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests;
