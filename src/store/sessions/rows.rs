//! Sessions, what is queued for them and retained messages as rows. SQL only: which change follows from what is the
//! exchange's to know.
//!
//! Guarantees: a change that says again what is there, or ends what is not there, is no error; nothing of a session stays
//! behind it. What it does not do: bound anything, or look at a clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, Row};

use super::{Change, Message, Options, Saved, SavedDelivery, SavedSession, SessionId};
use crate::store::StoreError;

const OPEN: &str = "INSERT INTO session VALUES (?1, ?2, ?3, NULL)
    ON CONFLICT (id) DO UPDATE SET client = ?2, expiry_s = ?3, left_ms = NULL";
const LEFT: &str = "UPDATE session SET left_ms = ?2, expiry_s = ?3 WHERE id = ?1";
const FORGET: [&str; 4] = [
    "DELETE FROM session WHERE id = ?",
    "DELETE FROM subscription WHERE session = ?",
    "DELETE FROM queued WHERE session = ?",
    "DELETE FROM received WHERE session = ?",
];
const SUBSCRIBE: &str = "INSERT OR REPLACE INTO subscription VALUES (?, ?, ?, ?)";
const UNSUBSCRIBE: &str = "DELETE FROM subscription WHERE session = ? AND filter = ?";
const QUEUE: &str = "INSERT OR REPLACE INTO queued VALUES (?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?)";
const RECORDED: &str = "UPDATE queued SET recorded = 1 WHERE session = ? AND seq = ?";
const DONE: &str = "DELETE FROM queued WHERE session = ? AND seq = ?";
/// Not for one that is over: its number is below that of one that came later. One that is not known yet is to come.
const RECEIVED: &str =
    "INSERT OR IGNORE INTO received SELECT ?1, ?2 WHERE EXISTS (SELECT 1 FROM session WHERE id = ?1)
    OR ?1 > (SELECT coalesce(max(id), 0) FROM session)";
const RELEASED: &str = "DELETE FROM received WHERE session = ? AND pkid = ?";
const RETAIN: &str = "INSERT OR REPLACE INTO retained VALUES (?, ?, ?, ?, ?, ?)";
const UNRETAIN: &str = "DELETE FROM retained WHERE topic = ?";

/// Applies one change.
pub(in crate::store) fn apply(conn: &Connection, change: &Change) -> Result<(), StoreError> {
    let run = |sql| conn.prepare_cached(sql);
    match change {
        Change::Open { session, client, expiry_s } => {
            run(OPEN)?.execute((id(*session), client.as_ref(), expiry_s))?;
        }
        Change::Left { session, at_ms, expiry_s } => {
            run(LEFT)?.execute((id(*session), at_ms, expiry_s))?;
        }
        Change::Forget { session } => {
            for sql in FORGET {
                run(sql)?.execute([id(*session)])?;
            }
        }
        Change::Subscribe { session, filter, options, identifier } => {
            run(SUBSCRIBE)?.execute((id(*session), filter.as_ref(), options.byte(), identifier))?;
        }
        Change::Unsubscribe { session, filter } => {
            run(UNSUBSCRIBE)?.execute((id(*session), filter.as_ref()))?;
        }
        Change::Queue { session, seq, message, qos, retain, identifiers } => {
            let identifiers: Vec<u8> = identifiers.iter().flat_map(|number| number.to_le_bytes()).collect();
            let Message { topic, payload, qos: published, retain: kept, properties, expires_ms } = &**message;
            run(QUEUE)?.execute((
                id(*session),
                *seq as i64,
                qos,
                retain,
                identifiers,
                topic.as_ref(),
                published,
                kept,
                properties.as_ref(),
                expires_ms,
                payload.as_ref(),
            ))?;
        }
        Change::Recorded { session, seq } => {
            run(RECORDED)?.execute((id(*session), *seq as i64))?;
        }
        Change::Done { session, seq } => {
            run(DONE)?.execute((id(*session), *seq as i64))?;
        }
        Change::Received { session, pkid } => {
            run(RECEIVED)?.execute((id(*session), pkid))?;
        }
        Change::Released { session, pkid } => {
            run(RELEASED)?.execute((id(*session), pkid))?;
        }
        Change::Retain(message) => {
            let Message { topic, payload, qos, retain, properties, expires_ms } = &**message;
            run(RETAIN)?.execute((
                topic.as_ref(),
                qos,
                retain,
                properties.as_ref(),
                expires_ms,
                payload.as_ref(),
            ))?;
        }
        Change::Unretain { topic } => {
            run(UNRETAIN)?.execute([topic.as_ref()])?;
        }
    }
    Ok(())
}

/// Drops what is of no session: what came for one that was over, and its number may be given again.
pub(in crate::store) fn purge(conn: &Connection) -> Result<(), StoreError> {
    conn.execute_batch(
        "DELETE FROM subscription WHERE session NOT IN (SELECT id FROM session);
         DELETE FROM queued WHERE session NOT IN (SELECT id FROM session);
         DELETE FROM received WHERE session NOT IN (SELECT id FROM session);",
    )?;
    Ok(())
}

/// Everything that is kept.
pub(in crate::store) fn read(conn: &Connection) -> Result<Saved, StoreError> {
    let mut sessions: BTreeMap<i64, SavedSession> = BTreeMap::new();
    each(conn, "SELECT id, client, expiry_s, left_ms FROM session", |row| {
        let (id, client, expiry_s, left_ms) = row.try_into()?;
        sessions.insert(
            id,
            SavedSession {
                id: SessionId(id as u64),
                client,
                expiry_s,
                left_ms,
                subscriptions: Vec::new(),
                queue: Vec::new(),
                received: Vec::new(),
            },
        );
        Ok(())
    })?;
    each(
        conn,
        "SELECT session, filter, options, identifier FROM subscription ORDER BY session, filter",
        |row| {
            let Some(session) = sessions.get_mut(&row.get(0)?) else { return Ok(()) };
            session.subscriptions.push((row.get(1)?, Options::of_byte(row.get(2)?), row.get(3)?));
            Ok(())
        },
    )?;
    let queued = "SELECT session, seq, delivery_qos, delivery_retain, identifiers, recorded,
        topic, qos, retain, properties, expires_ms, payload FROM queued ORDER BY session, seq";
    each(conn, queued, |row| {
        let Some(session) = sessions.get_mut(&row.get(0)?) else { return Ok(()) };
        let (identifiers, _) = row.get_ref(4)?.as_blob()?.as_chunks();
        session.queue.push(SavedDelivery {
            seq: row.get::<_, i64>(1)? as u64,
            qos: row.get(2)?,
            retain: row.get(3)?,
            identifiers: identifiers.iter().map(|number| u32::from_le_bytes(*number)).collect(),
            recorded: row.get(5)?,
            message: message(row, 6)?,
        });
        Ok(())
    })?;
    each(conn, "SELECT session, pkid FROM received ORDER BY session, pkid", |row| {
        let Some(session) = sessions.get_mut(&row.get(0)?) else { return Ok(()) };
        session.received.push(row.get(1)?);
        Ok(())
    })?;
    let mut retained = Vec::new();
    let kept = "SELECT topic, qos, retain, properties, expires_ms, payload FROM retained ORDER BY topic";
    each(conn, kept, |row| {
        retained.push(message(row, 0)?);
        Ok(())
    })?;
    Ok(Saved { sessions: sessions.into_values().collect(), retained })
}

fn each(
    conn: &Connection,
    sql: &str,
    mut take: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
) -> Result<(), StoreError> {
    let mut statement = conn.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        take(row)?;
    }
    Ok(())
}

/// The six columns of a message.
fn message(row: &Row<'_>, first: usize) -> rusqlite::Result<Arc<Message>> {
    Ok(Arc::new(Message {
        topic: row.get(first)?,
        qos: row.get(first + 1)?,
        retain: row.get(first + 2)?,
        properties: row.get_ref(first + 3)?.as_blob()?.into(),
        expires_ms: row.get(first + 4)?,
        payload: row.get_ref(first + 5)?.as_blob()?.into(),
    }))
}

fn id(session: SessionId) -> i64 {
    session.0 as i64
}
