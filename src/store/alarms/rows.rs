//! Incidents, events, notices, runs, maintenance and feedback as rows, and back.
//!
//! Guarantees: what was put is what is read; a row that makes no sense is [`StoreError::Damaged`] and names the table, the
//! column and never what stands there.

use rusqlite::types::FromSql;
use rusqlite::{Connection, Row};
use std::str::FromStr;

use super::Feedback;
use crate::model::{Actor, Consumer, Event, IncidentId, Life, Seq, Severity, Step, Value};
use crate::rules::command::{Arguments, Asked, Run, Stage};
use crate::rules::incident::Incident;
use crate::rules::maintenance::Maintenance;
use crate::rules::notice::{Fate, Notice};
use crate::store::StoreError;

const PUT_INCIDENT: &str = "INSERT OR REPLACE INTO incident VALUES (?,?,?,?,?,?,?,?,?,?,?,?)";
const PUT_EVENT: &str = "INSERT INTO history VALUES (NULL,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)";
const PUT_NOTICE: &str = "INSERT OR REPLACE INTO notice VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)";
const PUT_RUN: &str = "INSERT OR REPLACE INTO run VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)";
const PUT_MAINTENANCE: &str = "INSERT OR REPLACE INTO maintenance VALUES (?,?,?,?,?,?,?)";
const PUT_FEEDBACK: &str = "INSERT INTO feedback VALUES (NULL,?,?,?,?,?,?,?,?)";

/// All work, oldest first.
pub(super) const MAINTENANCES: &str =
    "SELECT id, devices, places, from_ms, until_ms, by_name, reason FROM maintenance ORDER BY id";

/// A question for incidents.
pub(super) fn incidents(which: &str) -> String {
    format!(
        "SELECT id, alarm, device, severity, life, active, began_ms, raised_ms, changed_ms, escalated, told_ms, returns
         FROM incident WHERE {which}"
    )
}

/// A question for events.
pub(super) fn events(which: &str) -> String {
    format!(
        "SELECT id, incident, alarm, step, life, active, severity, device, place, device_class, metric, value_kind,
         value, unit, by_kind, by_name, reason, at_ms FROM history WHERE {which}"
    )
}

/// A question for notices.
pub(super) fn notices(which: &str) -> String {
    format!(
        "SELECT id, incident, step, alarm, severity, place, recipient, made_ms, due_ms, seq, run, text, fate, tries,
         done_ms, proof FROM notice WHERE {which}"
    )
}

/// A question for runs.
pub(super) fn runs(which: &str) -> String {
    format!(
        "SELECT id, command, incident, stage, ordered_ms, expires_ms, changed_ms, approved, detail, consumer, request,
         share, arguments FROM run WHERE {which}"
    )
}

/// A question for feedback.
pub(super) fn feedbacks(which: &str) -> String {
    format!(
        "SELECT id, consumer, request, record, step, text, at_ms, incident, outcome FROM feedback WHERE {which}"
    )
}

pub(super) fn put_incident(conn: &Connection, incident: &Incident) -> Result<(), StoreError> {
    conn.prepare_cached(PUT_INCIDENT)?.execute((
        incident.id.0 as i64,
        incident.alarm.as_str(),
        incident.device.as_str(),
        incident.severity.as_str(),
        incident.life.as_str(),
        incident.active,
        incident.began_ms,
        incident.raised_ms,
        incident.changed_ms,
        incident.escalated,
        incident.told_ms,
        incident.returns,
    ))?;
    Ok(())
}

pub(super) fn put_event(conn: &Connection, event: &Event) -> Result<u64, StoreError> {
    let (kind, value) = match &event.value {
        None => (None, None),
        Some(Value::Number(number)) => (Some("number"), Some(number.to_string())),
        Some(Value::Flag(flag)) => (Some("flag"), Some(flag.to_string())),
        Some(Value::Text(text)) => (Some("text"), Some(text.to_string())),
    };
    conn.prepare_cached(PUT_EVENT)?.execute(rusqlite::params![
        event.incident.0 as i64,
        event.alarm.as_str(),
        event.step.as_str(),
        event.life.as_str(),
        event.active,
        event.severity.as_str(),
        event.device.as_ref().map(|device| device.as_str()),
        event.place.as_ref().map(|place| place.as_str()),
        event.device_class,
        event.metric.as_str(),
        kind,
        value,
        event.unit,
        event.by.kind(),
        event.by.name(),
        event.reason.as_ref(),
        event.at_ms,
    ])?;
    Ok(conn.last_insert_rowid().unsigned_abs())
}

pub(super) fn put_notice(conn: &Connection, notice: &Notice) -> Result<(), StoreError> {
    conn.prepare_cached(PUT_NOTICE)?.execute((
        notice.id as i64,
        notice.incident.0 as i64,
        notice.step.as_str(),
        notice.alarm.as_str(),
        notice.severity.as_str(),
        notice.place.as_ref().map(|place| place.as_str()),
        notice.recipient.as_str(),
        notice.made_ms,
        notice.due_ms,
        notice.seq.map(|seq| seq.0 as i64),
        notice.run.map(|run| run as i64),
        &notice.text,
        notice.fate.as_str(),
        notice.tries,
        notice.done_ms,
        &notice.proof,
    ))?;
    Ok(())
}

pub(super) fn put_run(conn: &Connection, run: &Run) -> Result<(), StoreError> {
    let approved = serde_json::Value::from_iter(run.approved.iter().map(|name| name.to_string())).to_string();
    let asked = run.asked.as_ref();
    conn.prepare_cached(PUT_RUN)?.execute((
        run.id as i64,
        run.command.as_str(),
        run.incident.map(|id| id.0 as i64),
        run.stage.as_str(),
        run.ordered_ms,
        run.expires_ms,
        run.changed_ms,
        approved,
        &run.detail,
        asked.map(|asked| asked.consumer.as_str()),
        asked.map(|asked| &asked.request),
        asked.map(|asked| asked.share.as_str()),
        asked.map(|asked| serde_json::json!(asked.arguments).to_string()),
    ))?;
    Ok(())
}

pub(super) fn put_maintenance(conn: &Connection, maintenance: &Maintenance) -> Result<(), StoreError> {
    conn.prepare_cached(PUT_MAINTENANCE)?.execute((
        maintenance.id as i64,
        &maintenance.devices,
        &maintenance.places,
        maintenance.from_ms,
        maintenance.until_ms,
        maintenance.by.as_ref(),
        maintenance.reason.as_ref(),
    ))?;
    Ok(())
}

pub(super) fn put_feedback(conn: &Connection, feedback: &Feedback) -> Result<u64, StoreError> {
    conn.prepare_cached(PUT_FEEDBACK)?.execute((
        feedback.consumer.as_str(),
        &feedback.request,
        &feedback.record,
        feedback.step.as_str(),
        feedback.text.as_ref(),
        feedback.at_ms,
        feedback.incident.map(|id| id.0 as i64),
        &feedback.outcome,
    ))?;
    Ok(conn.last_insert_rowid().unsigned_abs())
}

pub(super) fn incident(row: &Row<'_>) -> Result<Incident, StoreError> {
    Ok(Incident {
        id: IncidentId(number(row, 0)?),
        alarm: name(row, 1, "incident.alarm")?,
        device: name(row, 2, "incident.device")?,
        severity: word(row, 3, "incident.severity", Severity::named)?,
        life: word(row, 4, "incident.life", Life::named)?,
        active: get(row, 5)?,
        began_ms: get(row, 6)?,
        raised_ms: get(row, 7)?,
        changed_ms: get(row, 8)?,
        escalated: get(row, 9)?,
        told_ms: get(row, 10)?,
        returns: get(row, 11)?,
    })
}

/// An event with its number.
pub(super) fn event(row: &Row<'_>) -> Result<(u64, Event), StoreError> {
    let by_name: Box<str> = get(row, 15)?;
    let by = match row.get_ref(14)?.as_str().unwrap_or("") {
        "gateway" => Actor::Gateway,
        "person" => Actor::Person(by_name),
        "consumer" => Actor::Consumer(by_name.parse().map_err(|_| damaged("history.by_name"))?),
        _ => return Err(damaged("history.by_kind")),
    };
    let value = get::<Option<Box<str>>>(row, 12)?;
    let event = Event {
        incident: IncidentId(number(row, 1)?),
        alarm: name(row, 2, "history.alarm")?,
        step: word(row, 3, "history.step", Step::named)?,
        life: word(row, 4, "history.life", Life::named)?,
        active: get(row, 5)?,
        severity: word(row, 6, "history.severity", Severity::named)?,
        device: name_or_none(row, 7, "history.device")?,
        place: name_or_none(row, 8, "history.place")?,
        device_class: get(row, 9)?,
        metric: name(row, 10, "history.metric")?,
        value: match (row.get_ref(11)?.as_str_or_null().unwrap_or(None), value) {
            (None, None) => None,
            (Some("number"), Some(text)) => {
                Some(Value::Number(text.parse().map_err(|_| damaged("history.value"))?))
            }
            (Some("flag"), Some(text)) => {
                Some(Value::Flag(text.parse().map_err(|_| damaged("history.value"))?))
            }
            (Some("text"), Some(text)) => Some(Value::Text(text)),
            _ => return Err(damaged("history.value_kind")),
        },
        unit: get(row, 13)?,
        by,
        reason: get(row, 16)?,
        at_ms: get(row, 17)?,
    };
    Ok((number(row, 0)?, event))
}

pub(super) fn notice(row: &Row<'_>) -> Result<Notice, StoreError> {
    Ok(Notice {
        id: number(row, 0)?,
        incident: IncidentId(number(row, 1)?),
        step: word(row, 2, "notice.step", Step::named)?,
        alarm: name(row, 3, "notice.alarm")?,
        severity: word(row, 4, "notice.severity", Severity::named)?,
        place: name_or_none(row, 5, "notice.place")?,
        recipient: name(row, 6, "notice.recipient")?,
        made_ms: get(row, 7)?,
        due_ms: get(row, 8)?,
        seq: get::<Option<i64>>(row, 9)?.map(|seq| Seq(seq.unsigned_abs())),
        run: get::<Option<i64>>(row, 10)?.map(i64::unsigned_abs),
        text: get(row, 11)?,
        fate: word(row, 12, "notice.fate", Fate::named)?,
        tries: get(row, 13)?,
        done_ms: get(row, 14)?,
        proof: get(row, 15)?,
    })
}

pub(super) fn run(row: &Row<'_>) -> Result<Run, StoreError> {
    let approved: Vec<Box<str>> =
        serde_json::from_str(&get::<String>(row, 7)?).map_err(|_| damaged("run.approved"))?;
    Ok(Run {
        id: number(row, 0)?,
        command: name(row, 1, "run.command")?,
        incident: get::<Option<i64>>(row, 2)?.map(|id| IncidentId(id.unsigned_abs())),
        stage: word(row, 3, "run.stage", Stage::named)?,
        ordered_ms: get(row, 4)?,
        expires_ms: get(row, 5)?,
        changed_ms: get(row, 6)?,
        approved,
        detail: get(row, 8)?,
        asked: asked(row)?.map(Box::new),
    })
}

/// Who of the city asked for a run.
fn asked(row: &Row<'_>) -> Result<Option<Asked>, StoreError> {
    if name_or_none::<Consumer>(row, 9, "run.consumer")?.is_none() {
        return Ok(None);
    }
    let arguments: Arguments =
        serde_json::from_str(&get::<String>(row, 12)?).map_err(|_| damaged("run.arguments"))?;
    Ok(Some(Asked {
        consumer: name(row, 9, "run.consumer")?,
        request: get(row, 10)?,
        share: name(row, 11, "run.share")?,
        arguments,
    }))
}

pub(super) fn maintenance(row: &Row<'_>) -> Result<Maintenance, StoreError> {
    Ok(Maintenance {
        id: number(row, 0)?,
        devices: get(row, 1)?,
        places: get(row, 2)?,
        from_ms: get(row, 3)?,
        until_ms: get(row, 4)?,
        by: get(row, 5)?,
        reason: get(row, 6)?,
    })
}

/// What a consumer said, with its number.
pub(super) fn feedback(row: &Row<'_>) -> Result<(u64, Feedback), StoreError> {
    let feedback = Feedback {
        consumer: name(row, 1, "feedback.consumer")?,
        request: get(row, 2)?,
        record: get(row, 3)?,
        step: word(row, 4, "feedback.step", Step::named)?,
        text: get(row, 5)?,
        at_ms: get(row, 6)?,
        incident: get::<Option<i64>>(row, 7)?.map(|id| IncidentId(id.unsigned_abs())),
        outcome: get(row, 8)?,
    };
    Ok((number(row, 0)?, feedback))
}

fn get<T: FromSql>(row: &Row<'_>, at: usize) -> Result<T, StoreError> {
    Ok(row.get(at)?)
}

fn number(row: &Row<'_>, at: usize) -> Result<u64, StoreError> {
    Ok(row.get::<_, i64>(at)?.unsigned_abs())
}

/// A name of the model.
pub(super) fn name<T: FromStr>(row: &Row<'_>, at: usize, what: &str) -> Result<T, StoreError> {
    row.get_ref(at)?.as_str().ok().and_then(|text| text.parse().ok()).ok_or_else(|| damaged(what))
}

fn name_or_none<T: FromStr>(row: &Row<'_>, at: usize, what: &str) -> Result<Option<T>, StoreError> {
    let text = row.get_ref(at)?.as_str_or_null().map_err(|_| damaged(what))?;
    text.map(|text| text.parse().map_err(|_| damaged(what))).transpose()
}

/// One of a fixed set of words.
fn word<T>(row: &Row<'_>, at: usize, what: &str, named: fn(&str) -> Option<T>) -> Result<T, StoreError> {
    row.get_ref(at)?.as_str().ok().and_then(named).ok_or_else(|| damaged(what))
}

fn damaged(what: &str) -> StoreError {
    StoreError::Damaged(format!("{what} holds what this build does not know"))
}
