//! Everything the store knows about one record: for people who ask who got what, under which line, and on whose word.
//!
//! Guarantees: reads only, in one moment, also beside a running daemon. It tells what is there: what was trimmed is told
//! from the trail alone.

use std::path::Path;

use bytes::Bytes;
use prost::Message;
use rusqlite::{Connection, OptionalExtension, Params, Row};
use serde_json::Value;

use super::error::StoreError;
use super::{GapRow, outbox, read_epoch, schema};
use crate::audit::Action;
use crate::model::{Lane, Seq};
use crate::wire::{self, v1};

/// A record's name, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordId {
    /// The epoch, hex.
    pub epoch: String,
    /// The lane.
    pub lane: Lane,
    /// The position.
    pub seq: Seq,
}

/// What is known of a record.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// Whether the store is still in the record's epoch; otherwise nothing but feedback is known of it.
    pub is_this_epoch: bool,
    /// The newest position of its lane.
    pub head: Seq,
    /// The record itself, while it is kept.
    pub held: Option<Held>,
    /// The gap it is in, when it had to go.
    pub gap: Option<GapRow>,
    /// The share line at that time, where its versions are kept.
    pub line: Option<Line>,
    /// The collect lines of that time that its metrics came in by.
    pub collected: Vec<Collected>,
    /// The approvals it left under.
    pub approvals: Vec<Approval>,
    /// The incident it tells of.
    pub incident: Option<Incident>,
    /// Rows of the trail about it: deliveries, acknowledgements, refusals, its loss.
    pub uses: Vec<Use>,
    /// What consumers said about it.
    pub feedback: Vec<Said>,
}

/// A record on disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// When it was sealed, milliseconds since 1970 UTC.
    pub sealed_ms: i64,
    /// The share line.
    pub share_item: String,
    /// What the body holds.
    pub schema: String,
    /// The body; none when it cannot be read.
    pub body: Option<v1::RecordBody>,
    /// Whether it is what was sealed: the lane's chain holds around it; none where its predecessor is gone.
    pub is_whole: Option<bool>,
}

/// A version of a share line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Which version of the line.
    pub version: u32,
    /// Since which version of all lists.
    pub lists_version: u32,
    /// Since when, milliseconds since 1970 UTC.
    pub since_ms: i64,
    /// As it was read, JSON.
    pub body: String,
}

/// What a version of a collect line did to the metrics of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collected {
    /// The line.
    pub id: String,
    /// Which version of it.
    pub version: u32,
    /// Each metric, and what was done to it at the door.
    pub treatments: Vec<(String, String)>,
}

/// An approval.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Approval {
    /// Its id.
    pub id: String,
    /// Its tier; empty when nothing but the id is known.
    pub tier: String,
    /// Its state.
    pub state: String,
    /// Votes: the role, what it was, when.
    pub votes: Vec<(String, String, i64)>,
}

/// An incident, and what happened to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Incident {
    /// Its number.
    pub id: u64,
    /// The alarm.
    pub alarm: String,
    /// The device.
    pub device: String,
    /// How it stands.
    pub life: String,
    /// When, what, and by what kind of actor.
    pub history: Vec<(i64, String, String)>,
}

/// A row of the trail.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Use {
    /// Its number.
    pub row: u64,
    /// When, milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// Who: a consumer, or the gateway.
    pub actor: String,
    /// What.
    pub action: String,
    /// With what.
    pub object: String,
    /// What came of it.
    pub outcome: String,
    /// On whose approval.
    pub approval: Option<String>,
    /// Why not.
    pub reason: Option<String>,
}

/// What a consumer said; not its words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Said {
    /// When, milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// Who.
    pub consumer: String,
    /// What it is to lead to.
    pub step: String,
    /// What came of it.
    pub outcome: String,
}

impl RecordId {
    /// From `<epoch>-<lane>-<seq>`.
    #[must_use]
    pub fn parse(id: &str) -> Option<Self> {
        let mut parts = id.splitn(3, '-');
        let (epoch, lane, seq) = (parts.next()?, parts.next()?, parts.next()?);
        let is_epoch = epoch.len() == 32 && epoch.bytes().all(|byte| byte.is_ascii_hexdigit());
        let lane = Lane::ALL.into_iter().find(|known| known.as_str() == lane)?;
        is_epoch.then_some(Self { epoch: epoch.to_owned(), lane, seq: Seq(seq.parse().ok()?) })
    }
}

impl std::fmt::Display for RecordId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}-{}", self.epoch, self.lane, self.seq)
    }
}

/// What the store in `dir` knows about a record.
///
/// # Errors
/// [`StoreError`].
pub fn trace(dir: &Path, id: &RecordId) -> Result<Trace, StoreError> {
    let conn = schema::open_reader(&dir.join("smallbrain.db"))?;
    let moment = conn.unchecked_transaction()?;
    let epoch = read_epoch(&moment)?;
    let is_this_epoch = epoch.to_string() == id.epoch;
    let mut trace = Trace {
        is_this_epoch,
        head: outbox::read_heads(&moment)?[id.lane.index()].seq,
        held: None,
        gap: None,
        line: None,
        collected: Vec::new(),
        approvals: Vec::new(),
        incident: None,
        uses: Vec::new(),
        feedback: feedback(&moment, &id.to_string())?,
    };
    if !is_this_epoch {
        return Ok(trace);
    }
    trace.held = held(&moment, epoch, id)?;
    trace.gap = gap(&moment, id)?;
    trace.uses = uses(&moment, id)?;
    if id.lane == Lane::Alarm {
        trace.incident = incident(&moment, id.seq)?;
    }
    if let Some(Held { share_item, body: Some(body), .. }) = &trace.held {
        trace.line = line(&moment, share_item, body.policy_version)?;
        if let Some(line) = &trace.line {
            trace.collected = collected(&moment, &metrics(body, line), body.policy_version)?;
        }
        // What was granted after it was sealed is with its deliveries.
        let handed_out = trace.uses.iter().filter_map(|used| used.approval.as_ref());
        let mut ids: Vec<&String> = Vec::new();
        for id in body.approval_ids.iter().chain(handed_out) {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        let approvals = ids.into_iter().map(|id| approval(&moment, id));
        trace.approvals = approvals.collect::<Result<_, _>>()?;
    }
    Ok(trace)
}

fn all<T>(
    conn: &Connection,
    find: &str,
    with: impl Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = conn.prepare(find)?;
    Ok(statement.query_map(with, read)?.collect::<Result<_, _>>()?)
}

fn held(conn: &Connection, epoch: crate::model::Epoch, id: &RecordId) -> Result<Option<Held>, StoreError> {
    let find = format!(
        "SELECT o.sealed_ms, i.share_item, i.schema, o.body, o.hash,
           (SELECT p.hash FROM outbox_{0} p WHERE p.seq = o.seq - 1)
         FROM outbox_{0} o JOIN item i ON i.id = o.item WHERE o.seq = ?",
        id.lane
    );
    let found = conn.query_row(&find, [id.seq.0 as i64], |row| {
        let (body, hash): (Vec<u8>, [u8; 32]) = (row.get(3)?, row.get(4)?);
        let before: Option<[u8; 32]> = row.get(5)?;
        let before = before.or((id.seq.0 == 1).then_some([0; 32]));
        let name = wire::record_id(epoch, id.lane, id.seq);
        let is_whole = before.map(|before| wire::record_hash(&before, &name, &body) == hash);
        let body = v1::RecordBody::decode(Bytes::from(body)).ok();
        Ok(Held { sealed_ms: row.get(0)?, share_item: row.get(1)?, schema: row.get(2)?, body, is_whole })
    });
    Ok(found.optional()?)
}

fn gap(conn: &Connection, id: &RecordId) -> Result<Option<GapRow>, StoreError> {
    let find = "SELECT from_seq, to_seq, reason, first_ms, last_ms FROM gap
        WHERE lane = ?1 AND ?2 BETWEEN from_seq AND to_seq";
    let found = conn.query_row(find, (id.lane.as_str(), id.seq.0 as i64), outbox::gap_row);
    Ok(found.optional()?)
}

fn line(conn: &Connection, id: &str, lists_version: u32) -> Result<Option<Line>, StoreError> {
    let find = "SELECT version, lists_version, since_ms, body FROM list_item
        WHERE list = 'share' AND id = ? AND lists_version <= ? ORDER BY version DESC LIMIT 1";
    let found = conn.query_row(find, (id, lists_version), |row| {
        Ok(Line {
            version: row.get(0)?,
            lists_version: row.get(1)?,
            since_ms: row.get(2)?,
            body: row.get(3)?,
        })
    });
    Ok(found.optional()?)
}

/// The metrics that a record is about: that of its alarm, else all of its line.
fn metrics(body: &v1::RecordBody, line: &Line) -> Vec<String> {
    if let Some(v1::record_body::Content::Event(event)) = &body.content {
        return event.attributes.get("metric").cloned().into_iter().collect();
    }
    let line: Value = serde_json::from_str(&line.body).unwrap_or_default();
    let listed = line["metrics"].as_array().into_iter().flatten();
    listed.filter_map(|metric| metric.as_str().map(str::to_owned)).collect()
}

fn collected(
    conn: &Connection,
    metrics: &[String],
    lists_version: u32,
) -> Result<Vec<Collected>, StoreError> {
    let find = "SELECT id, max(version), body FROM list_item WHERE list = 'collect' AND lists_version <= ?
        GROUP BY id HAVING status = 'active' ORDER BY id";
    let lines = all(conn, find, [lists_version], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, u32>(1)?, row.get::<_, String>(2)?))
    })?;
    let treated = |(id, version, body): (String, u32, String)| {
        let body: Value = serde_json::from_str(&body).unwrap_or_default();
        let of = |metric: &String| {
            let treatment = body["fields"].get(metric)?;
            let word = treatment.as_str().or_else(|| treatment["do"].as_str())?;
            Some((metric.clone(), word.to_owned()))
        };
        Collected { id, version, treatments: metrics.iter().filter_map(of).collect() }
    };
    Ok(lines.into_iter().map(treated).filter(|line| !line.treatments.is_empty()).collect())
}

fn approval(conn: &Connection, id: &str) -> Result<Approval, StoreError> {
    let find = "SELECT tier, state FROM approval WHERE lower(hex(id)) = ?";
    let found = conn.query_row(find, [id], |row| Ok((row.get(0)?, row.get(1)?)));
    let (tier, state): (String, String) = found.optional()?.unwrap_or_default();
    let find = "SELECT role, vote, at_ms FROM approval_vote WHERE lower(hex(approval)) = ? ORDER BY place";
    let votes = all(conn, find, [id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(Approval { id: id.to_owned(), tier, state, votes })
}

fn incident(conn: &Connection, seq: Seq) -> Result<Option<Incident>, StoreError> {
    let find =
        "SELECT i.id, i.alarm, i.device, i.life FROM record_incident r JOIN incident i ON i.id = r.incident
        WHERE r.seq = ?";
    let found = conn.query_row(find, [seq.0 as i64], |row| {
        let id = row.get::<_, i64>(0)?.unsigned_abs();
        Ok(Incident { id, alarm: row.get(1)?, device: row.get(2)?, life: row.get(3)?, history: Vec::new() })
    });
    let Some(incident) = found.optional()? else { return Ok(None) };
    let find = "SELECT at_ms, step, by_kind FROM history WHERE incident = ? ORDER BY id";
    let history = all(conn, find, [incident.id as i64], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(Some(Incident { history, ..incident }))
}

/// Rows of the trail whose range holds the record.
fn uses(conn: &Connection, id: &RecordId) -> Result<Vec<Use>, StoreError> {
    let find = "SELECT seq, ts_ms, actor, action, object, outcome, approval_id, reason FROM audit
        WHERE (action IN (?1, ?2, ?3, ?4) AND object LIKE ?5 OR object = ?7) AND seq >
          (SELECT coalesce(max(seq), 0) FROM audit WHERE action = ?6 AND outcome = 'error') ORDER BY seq";
    let [deliver, ack, deny, gap, fork] =
        [Action::ShareDeliver, Action::ShareAck, Action::ShareDeny, Action::GapDeclare, Action::StoreFork]
            .map(Action::as_str);
    let with = (deliver, ack, deny, gap, format!("{}:%", id.lane), fork, id.to_string());
    let rows = all(conn, find, with, |row| {
        Ok(Use {
            row: row.get::<_, i64>(0)?.unsigned_abs(),
            at_ms: row.get(1)?,
            actor: row.get(2)?,
            action: row.get(3)?,
            object: row.get(4)?,
            outcome: row.get(5)?,
            approval: row.get(6)?,
            reason: row.get(7)?,
        })
    })?;
    let holds = |used: &Use| {
        if used.object == id.to_string() {
            return true;
        }
        let range = used.object.split_once(':').and_then(|(_, range)| range.split_once('-'));
        let range = range.and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
        range.is_some_and(|(from, to): (u64, u64)| (from..=to).contains(&id.seq.0))
    };
    Ok(rows.into_iter().filter(holds).collect())
}

fn feedback(conn: &Connection, record: &str) -> Result<Vec<Said>, StoreError> {
    let find = "SELECT at_ms, consumer, step, outcome FROM feedback WHERE record = ? ORDER BY id";
    all(conn, find, [record], |row| {
        Ok(Said { at_ms: row.get(0)?, consumer: row.get(1)?, step: row.get(2)?, outcome: row.get(3)? })
    })
}
