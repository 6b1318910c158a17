//! What people entered (主动录入): one row for each entry, with the values that the collection list let through.
//!
//! Guarantees: a number that was given is never given again; a request is one entry as long as its row is there; a value
//! gets into a row only from something cleared, so that what a row gives back was cleared before. Rows are bounded by
//! [`WAITING_MAX`], [`ENTRIES_MAX`] and the time readings are kept. What it does not do: decide what may follow what (the
//! spine does), or hide anything: names of persons and what they wrote lie here, and leave by the local socket alone.

use std::fmt;

use rusqlite::{Connection, OptionalExtension, Row};
use serde_json::json;

use super::error::StoreError;
use super::reader::{ReadError, Reader};
use super::txn::Txn;
use crate::model::{DeviceId, LineId, Metric, Quality, Reading, SeriesKey, Value};
use crate::normalise::{BEHIND_MAX_MS, HISTORY_MAX_MS};
use crate::privacy::{Cleared, intake};

/// Entries that wait for their second check at most.
pub const WAITING_MAX: u64 = 10_000;
/// The newest entries that are kept, whatever their age.
pub const ENTRIES_MAX: i64 = 100_000;
/// Rows of an answer at most.
pub const ROWS_MAX: usize = 1000;
/// Rows that go in one step.
const CHUNK: i64 = 256;

/// Where an entry stands. The name is the same on disk and on the socket, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// For another person to look at.
    Waiting,
    /// Its values are readings.
    Stored,
    /// Somebody looked at it and said no.
    Refused,
    /// Its values are readings, and a later entry says better.
    Corrected,
}

impl State {
    /// All of them.
    pub const ALL: [State; 4] = [State::Waiting, State::Stored, State::Refused, State::Corrected];

    /// The name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::Stored => "stored",
            State::Refused => "refused",
            State::Corrected => "corrected",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A field of an entry. Built from something cleared alone, or from a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    metric: Metric,
    how: Box<str>,
    value: Value,
    out_of_range: bool,
}

impl Field {
    /// Of a reading that the list let through, with the word of the treatment that it had.
    #[must_use]
    pub fn of(metric: Metric, how: &str, reading: &Cleared<Reading>) -> Self {
        let Reading { value, quality, .. } = reading.get();
        Self { metric, how: how.into(), value: value.clone(), out_of_range: *quality == Quality::OutOfRange }
    }

    /// Which.
    #[must_use]
    pub fn metric(&self) -> &Metric {
        &self.metric
    }

    /// What the list did to it, as the configuration says it: "keep".
    #[must_use]
    pub fn how(&self) -> &str {
        &self.how
    }

    /// What was let through.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.value
    }

    fn json(&self) -> serde_json::Value {
        let value = match &self.value {
            Value::Number(number) => json!({ "number": number.to_string() }),
            Value::Flag(flag) => json!({ "flag": flag }),
            Value::Text(text) => json!({ "text": text }),
        };
        json!({ "metric": self.metric.as_str(), "how": self.how, "value": value, "out_of_range": self.out_of_range })
    }

    fn parse(json: &serde_json::Value) -> Option<Self> {
        let value = json.get("value")?;
        let number = || value.get("number")?.as_str()?.parse().ok().map(Value::Number);
        let flag = || value.get("flag")?.as_bool().map(Value::Flag);
        let text = || value.get("text")?.as_str().map(|text| Value::Text(text.into()));
        Some(Self {
            metric: json.get("metric")?.as_str()?.parse().ok()?,
            how: json.get("how")?.as_str()?.into(),
            value: number().or_else(flag).or_else(text)?,
            out_of_range: json.get("out_of_range")?.as_bool()?,
        })
    }
}

/// The second look at an entry. Its `Debug` shows nothing of the person.
#[derive(Clone, PartialEq, Eq)]
pub struct Checked {
    /// Who.
    pub by: Box<str>,
    /// As what.
    pub role: Box<str>,
    /// When, milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// In words; of a refusal why.
    pub reason: Box<str>,
}

impl fmt::Debug for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Checked({})", self.at_ms)
    }
}

/// An entry. Its `Debug` shows nothing of persons and of what they wrote.
#[derive(Clone, PartialEq)]
pub struct Entry {
    /// Its number; 0 before it has one.
    pub id: u64,
    /// Chosen by who entered it: the same one again is the same entry.
    pub request: Box<str>,
    /// The line of the collection list.
    pub collect: LineId,
    /// What it is about.
    pub device: DeviceId,
    /// When what it tells was so, milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// When it was entered, milliseconds since 1970 UTC.
    pub entered_ms: i64,
    /// Who entered it.
    pub author: Box<str>,
    /// As what.
    pub role: Box<str>,
    /// Why.
    pub reason: Box<str>,
    /// What the list let through.
    pub fields: Vec<Field>,
    /// Where it stands.
    pub state: State,
    /// The second look, once there was one.
    pub checked: Option<Checked>,
    /// The entry that it puts right.
    pub corrects: Option<u64>,
    /// First and last of its readings in the log.
    pub readings: Option<(i64, i64)>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("id", &self.id)
            .field("collect", &self.collect)
            .field("device", &self.device)
            .field("fields", &self.fields)
            .field("state", &self.state)
            .field("corrects", &self.corrects)
            .field("readings", &self.readings)
            .finish_non_exhaustive()
    }
}

impl Entry {
    /// Whether what it tells was so long ago that it says nothing of now.
    #[must_use]
    pub fn is_past(&self, now_ms: i64) -> bool {
        now_ms.saturating_sub(self.at_ms) > BEHIND_MAX_MS
    }

    /// What it holds, as readings received at `now_ms`; none when `series` does not know one of its fields any more.
    pub fn readings_at(
        &self,
        now_ms: i64,
        series: impl Fn(&Metric) -> Option<SeriesKey>,
    ) -> Option<Vec<Cleared<Reading>>> {
        let reading = |field: &Field| {
            Some(intake::restored(Reading {
                series: series(&field.metric)?,
                value: field.value.clone(),
                time_ms: self.at_ms,
                received_ms: now_ms,
                device_time: true,
                quality: match field.out_of_range {
                    true => Quality::OutOfRange,
                    false if self.is_past(now_ms) => Quality::Retained,
                    false => Quality::Good,
                },
            }))
        };
        self.fields.iter().map(reading).collect()
    }
}

const COLUMNS: &str = "id, request, collect, device, at_ms, entered_ms, author, role, reason, payload, state,
    checked_by, checked_role, checked_ms, check_reason, corrects, first_reading, last_reading";

fn select(rest: &str) -> String {
    format!("SELECT {COLUMNS} FROM entry WHERE {rest}")
}

impl Txn<'_> {
    /// Adds an entry and tells its number.
    ///
    /// # Errors
    /// [`StoreError`]; also when there is an entry of this request.
    pub fn add_entry(&mut self, entry: &Entry) -> Result<u64, StoreError> {
        let payload = serde_json::Value::Array(entry.fields.iter().map(Field::json).collect()).to_string();
        self.conn
            .prepare_cached(
                "INSERT INTO entry (request, collect, device, at_ms, entered_ms, author, role, reason, payload, state,
                 corrects, first_reading, last_reading) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute(rusqlite::params![
                entry.request,
                entry.collect.as_str(),
                entry.device.as_str(),
                entry.at_ms,
                entry.entered_ms,
                entry.author,
                entry.role,
                entry.reason,
                payload,
                entry.state.as_str(),
                entry.corrects.map(|id| id as i64),
                entry.readings.map(|(first, _)| first),
                entry.readings.map(|(_, last)| last),
            ])?;
        Ok(self.conn.last_insert_rowid().unsigned_abs())
    }

    /// Stores where an entry stands now, who looked at it, and its readings.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_entry(&mut self, entry: &Entry) -> Result<(), StoreError> {
        let checked = entry.checked.as_ref();
        self.conn
            .prepare_cached(
                "UPDATE entry SET state = ?2, checked_by = ?3, checked_role = ?4, checked_ms = ?5, check_reason = ?6,
                 first_reading = ?7, last_reading = ?8 WHERE id = ?1",
            )?
            .execute(rusqlite::params![
                entry.id as i64,
                entry.state.as_str(),
                checked.map(|checked| &checked.by),
                checked.map(|checked| &checked.role),
                checked.map(|checked| checked.at_ms),
                checked.map(|checked| &checked.reason),
                entry.readings.map(|(first, _)| first),
                entry.readings.map(|(_, last)| last),
            ])?;
        Ok(())
    }

    /// An entry by its number.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn entry(&self, id: u64) -> Result<Option<Entry>, StoreError> {
        one(self.conn, "id = ?1", [id as i64])
    }

    /// The entry of a request.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn entry_of(&self, request: &str) -> Result<Option<Entry>, StoreError> {
        one(self.conn, "request = ?1", [request])
    }

    /// How many entries wait.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn entries_waiting(&self) -> Result<u64, StoreError> {
        let count = "SELECT count(*) FROM entry WHERE state = 'waiting'";
        let waiting: i64 = self.conn.prepare_cached(count)?.query_row([], |row| row.get(0))?;
        Ok(waiting.unsigned_abs())
    }
}

impl Reader {
    /// Entries, the newest first, at most `most` and [`ROWS_MAX`]; only those that wait, or all.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn entries(&self, waiting: bool, most: usize) -> Result<Vec<Entry>, ReadError> {
        self.ask(move |conn| {
            let which = if waiting { "state = 'waiting'" } else { "true" };
            let sql = select(&format!("{which} ORDER BY id DESC LIMIT ?1"));
            let mut statement = conn.prepare_cached(&sql)?;
            let mut found = statement.query([most.min(ROWS_MAX) as i64])?;
            let mut entries = Vec::new();
            while let Some(row) = found.next()? {
                entries.push(decode(row)?);
            }
            Ok(entries)
        })
        .await
    }
}

fn one(conn: &Connection, which: &str, params: impl rusqlite::Params) -> Result<Option<Entry>, StoreError> {
    let mut statement = conn.prepare_cached(&select(which))?;
    statement.query_row(params, |row| Ok(decode(row))).optional()?.transpose()
}

fn decode(row: &Row<'_>) -> Result<Entry, StoreError> {
    let damaged = |column: &str| StoreError::Damaged(format!("entry: {column} is not one"));
    let (collect, device): (String, String) = (row.get(2)?, row.get(3)?);
    let (payload, state): (String, String) = (row.get(9)?, row.get(10)?);
    let fields: Option<Vec<Field>> = serde_json::from_str::<serde_json::Value>(&payload)
        .ok()
        .and_then(|json| json.as_array()?.iter().map(Field::parse).collect());
    let checked = match row.get::<_, Option<Box<str>>>(11)? {
        Some(by) => Some(Checked { by, role: row.get(12)?, at_ms: row.get(13)?, reason: row.get(14)? }),
        None => None,
    };
    let (first, last): (Option<i64>, Option<i64>) = (row.get(16)?, row.get(17)?);
    Ok(Entry {
        id: row.get::<_, i64>(0)?.unsigned_abs(),
        request: row.get(1)?,
        collect: collect.parse().map_err(|_| damaged("collect"))?,
        device: device.parse().map_err(|_| damaged("device"))?,
        at_ms: row.get(4)?,
        entered_ms: row.get(5)?,
        author: row.get(6)?,
        role: row.get(7)?,
        reason: row.get(8)?,
        fields: fields.ok_or_else(|| damaged("payload"))?,
        state: State::ALL
            .into_iter()
            .find(|known| known.as_str() == state)
            .ok_or_else(|| damaged("state"))?,
        checked,
        corrects: row.get::<_, Option<i64>>(15)?.map(i64::unsigned_abs),
        readings: first.zip(last),
    })
}

/// One step: entries go with the readings of their time, or when there are too many; one that waits goes when nobody may
/// confirm it any more, and is counted. Tells how many went.
pub(super) fn trim(conn: &Connection, expire_before_ms: i64, now_ms: i64) -> Result<u64, StoreError> {
    let old = "DELETE FROM entry WHERE id IN
        (SELECT id FROM entry WHERE state <> 'waiting' ORDER BY id LIMIT ?2) AND entered_ms < ?1";
    let beyond = "DELETE FROM entry WHERE id IN
        (SELECT id FROM entry WHERE state <> 'waiting' ORDER BY id LIMIT ?2)
        AND id <= (SELECT max(id) FROM entry) - ?1";
    let forgotten = "DELETE FROM entry WHERE id IN
        (SELECT id FROM entry WHERE state = 'waiting' ORDER BY id LIMIT ?2) AND entered_ms < ?1";
    let mut gone = conn.prepare_cached(old)?.execute([expire_before_ms, CHUNK])? as u64;
    gone += conn.prepare_cached(beyond)?.execute([ENTRIES_MAX, CHUNK])? as u64;
    let last_ms = expire_before_ms.min(now_ms.saturating_sub(HISTORY_MAX_MS));
    let expired = conn.prepare_cached(forgotten)?.execute([last_ms, CHUNK])? as u64;
    if expired > 0 {
        conn.prepare_cached(
            "INSERT INTO tally VALUES ('entries_expired', ?1) ON CONFLICT (name) DO UPDATE SET count = count + ?1",
        )?
        .execute([expired as i64])?;
    }
    Ok(gone + expired)
}

#[cfg(test)]
mod tests;
