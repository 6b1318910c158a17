//! A profile and its deletion as a row, and back.
//!
//! Guarantees: what was put is what is read; a row that makes no sense is [`StoreError::Damaged`] and never shows what
//! stands there.

use std::collections::BTreeMap;

use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::model::{DeviceId, Lane, LineId};
use crate::store::StoreError;

/// What a profile has added, by name; series by their number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// Series that are collected by it alone.
    pub series: Vec<i64>,
    /// Devices.
    pub devices: Vec<DeviceId>,
    /// Lines of the collection list.
    pub collects: Vec<LineId>,
    /// Lines of the share list.
    pub shares: Vec<LineId>,
    /// Alarms.
    pub alarms: Vec<LineId>,
    /// Aggregates.
    pub aggregates: Vec<LineId>,
}

impl Scope {
    /// Adds another; true when there was anything new in it.
    pub fn merge(&mut self, other: Scope) -> bool {
        fn add<T: PartialEq>(all: &mut Vec<T>, more: Vec<T>) -> bool {
            let before = all.len();
            for one in more {
                if !all.contains(&one) {
                    all.push(one);
                }
            }
            all.len() > before
        }
        let Scope { series, devices, collects, shares, alarms, aggregates } = other;
        let grown = [
            add(&mut self.series, series),
            add(&mut self.devices, devices),
            add(&mut self.collects, collects),
            add(&mut self.shares, shares),
            add(&mut self.alarms, alarms),
            add(&mut self.aggregates, aggregates),
        ];
        grown.contains(&true)
    }
}

/// Where a profile stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It brings something in, or may again.
    Active,
    /// It is over, and what it brought in is being deleted.
    Purging,
    /// There is nothing left of it.
    Done,
}

impl State {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            State::Active => "active",
            State::Purging => "purging",
            State::Done => "done",
        }
    }

    fn named(name: &str) -> Result<Self, StoreError> {
        let all = [State::Active, State::Purging, State::Done];
        let unknown = || StoreError::Damaged("table emergency: unknown state".into());
        all.into_iter().find(|state| state.as_str() == name).ok_or_else(unknown)
    }
}

/// Positions in everything that grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    /// Of the log.
    pub reading: i64,
    /// Of the lanes, by [`Lane::index`].
    pub lanes: [i64; Lane::ALL.len()],
    /// The newest incident.
    pub incident: i64,
    /// The newest entry of a person.
    pub entry: i64,
}

/// How far the deletion is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// When the profile began, milliseconds since 1970 UTC.
    pub began_ms: i64,
    /// When the deletion began.
    pub ended_ms: i64,
    /// Up to here everything is looked at.
    pub at: Marks,
    /// Up to here it goes; as long as the profile is active, where it began.
    pub to: Marks,
    /// Rows that went, by kind: "readings", "records.<lane>", "incidents", "values", "entries".
    pub counts: BTreeMap<String, u64>,
    /// When the first and the last of the readings came.
    pub first_ms: Option<i64>,
    /// See `first_ms`.
    pub last_ms: Option<i64>,
    /// See the module.
    pub digest: [u8; 32],
}

impl Progress {
    pub(super) fn count(&mut self, kind: &str, count: u64) {
        if count > 0 {
            *self.counts.entry(kind.to_owned()).or_default() += count;
        }
    }

    pub(super) fn gone(&mut self, kind: &str, row: &[&[u8]]) {
        let mut hash = Sha256::new_with_prefix(self.digest);
        for part in [kind.as_bytes(), &row.concat()] {
            hash.update(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            hash.update(part);
        }
        self.digest = hash.finalize().into();
    }
}

/// A profile, as the store remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emergency {
    /// Given once.
    pub number: i64,
    /// Its id.
    pub id: LineId,
    /// SHA-256 of its file.
    pub digest: [u8; 32],
    /// Where it stands.
    pub state: State,
    /// When it ends, milliseconds since 1970 UTC.
    pub until_ms: i64,
    /// What it has added.
    pub scope: Scope,
    /// How far its deletion is.
    pub progress: Progress,
}

impl Scope {
    pub(super) fn has_incident(&self, alarm: &str, device: &str) -> bool {
        self.alarms.iter().any(|id| id.as_str() == alarm)
            || self.devices.iter().any(|id| id.as_str() == device)
    }
}

const SELECT: &str = "SELECT number, id, digest, state, until_ms, scope, progress FROM emergency";

pub(super) fn json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Internal(format!("table emergency: {error}")))
}

pub(super) fn put(conn: &Connection, emergency: &Emergency) -> Result<(), StoreError> {
    let update = "UPDATE emergency SET digest = ?2, state = ?3, until_ms = ?4, scope = ?5, progress = ?6
         WHERE number = ?1";
    conn.prepare_cached(update)?.execute((
        emergency.number,
        emergency.digest.as_slice(),
        emergency.state.as_str(),
        emergency.until_ms,
        json(&emergency.scope)?,
        json(&emergency.progress)?,
    ))?;
    Ok(())
}

pub(super) fn all(conn: &Connection, which: &str) -> Result<Vec<Emergency>, StoreError> {
    let mut statement = conn.prepare(&format!("{SELECT} WHERE {which} ORDER BY number"))?;
    let mut rows = statement.query([])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push(read(row)?);
    }
    Ok(all)
}

fn read(row: &rusqlite::Row<'_>) -> Result<Emergency, StoreError> {
    let damaged = |what: &str| StoreError::Damaged(format!("table emergency: {what}"));
    let [id, state, scope, progress] = [row.get::<_, String>(1)?, row.get(3)?, row.get(5)?, row.get(6)?];
    Ok(Emergency {
        number: row.get(0)?,
        id: id.parse().map_err(|_| damaged("the id is no name"))?,
        digest: row.get(2)?,
        state: State::named(&state)?,
        until_ms: row.get(4)?,
        scope: serde_json::from_str(&scope).map_err(|_| damaged("the scope cannot be read"))?,
        progress: serde_json::from_str(&progress).map_err(|_| damaged("the progress cannot be read"))?,
    })
}
