//! The one task that writes: takes what waits, commits once, answers all.
//!
//! Guarantees: an answer follows the commit; whoever's cursor moved, or whose record is there with other bytes, is answered
//! so and left out, and the rest is written all the same. After an error of the line everybody is told, and the next work
//! connects anew.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use prost::Message;
use prost_types::Timestamp;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_postgres::{Client, Error, Transaction};

use super::{Job, Place, Sheet, Work, away};
use crate::approval::bytes;
use crate::city::batch::body;
use crate::city::sink::SinkError;
use crate::model::Lane;
use crate::wire::v1;

/// Work in one transaction, at most.
const WORK_MAX: usize = 64;
/// How long a transaction may take before the line is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Writes until nobody brings anything any more.
pub(super) async fn run(place: Place, mut queue: mpsc::Receiver<Work>) {
    let mut client: Option<Client> = None;
    let mut works = Vec::with_capacity(WORK_MAX);
    while queue.recv_many(&mut works, WORK_MAX).await > 0 {
        if client.as_ref().is_none_or(Client::is_closed) {
            client = match place.connect().await {
                Ok(client) => Some(client),
                Err(error) => {
                    refuse(&mut works, &error.to_string());
                    continue;
                }
            };
        }
        let Some(open) = &mut client else { continue };
        match timeout(PATIENCE, write(open, &mut works)).await {
            Ok(Ok(())) => works.drain(..).for_each(|work| answer(work, Ok(()))),
            Ok(Err(error)) => {
                refuse(&mut works, &away(&error).to_string());
                client = None;
            }
            Err(_) => {
                refuse(&mut works, "no answer within a minute");
                client = None;
            }
        }
    }
}

fn answer(work: Work, result: Result<(), SinkError>) {
    // Whoever waited may be gone.
    let _ = work.done.send(result);
}

fn refuse(works: &mut Vec<Work>, why: &str) {
    for work in works.drain(..) {
        answer(work, Err(SinkError::Away("postgresql", why.to_owned())));
    }
}

/// What of a transaction cannot be.
enum Wrong {
    /// The cursors of these are elsewhere.
    Moved(BTreeSet<(String, String)>),
    /// These records are there with another hash.
    Conflict(BTreeSet<String>),
}

/// Writes all of it; what cannot be is answered and taken out, and the rest begun again.
async fn write(client: &mut Client, works: &mut Vec<Work>) -> Result<(), Error> {
    // Two collectors that lock rows in the same order do not wait for one another in a ring.
    works.sort_by(|one, other| one.job.gateway().cmp(other.job.gateway()));
    while !works.is_empty() {
        let txn = client.transaction().await?;
        match attempt(&txn, works).await? {
            None => return txn.commit().await,
            Some(wrong) => {
                txn.rollback().await?;
                take_out(works, &wrong);
            }
        }
    }
    Ok(())
}

fn take_out(works: &mut Vec<Work>, wrong: &Wrong) {
    for work in std::mem::take(works) {
        let told = match (&work.job, wrong) {
            (Job::Batch(sheet), Wrong::Moved(moved)) => moved
                .contains(&(sheet.gateway.clone(), sheet.lane.to_owned()))
                .then(|| SinkError::Moved(sheet.gateway.clone())),
            (Job::Batch(sheet), Wrong::Conflict(ids)) => {
                let own = sheet.records.iter().find(|record| ids.contains(&record.record_id));
                own.map(|record| SinkError::Conflict(record.record_id.clone()))
            }
            _ => None,
        };
        match told {
            Some(error) => answer(work, Err(error)),
            None => works.push(work),
        }
    }
}

async fn attempt(txn: &Transaction<'_>, works: &[Work]) -> Result<Option<Wrong>, Error> {
    let sheets: Vec<&Sheet> = works.iter().filter_map(|work| work.job.sheet()).collect();
    let conflicts = records(txn, &sheets).await?;
    if !conflicts.is_empty() {
        return Ok(Some(Wrong::Conflict(conflicts)));
    }
    gaps(txn, &sheets).await?;
    let moved = cursors(txn, &sheets).await?;
    if !moved.is_empty() {
        return Ok(Some(Wrong::Moved(moved)));
    }
    for work in works {
        single(txn, &work.job).await?;
    }
    Ok(None)
}

/// Puts the records in; gives the ids of those that are there as something else.
async fn records(txn: &Transaction<'_>, sheets: &[&Sheet]) -> Result<BTreeSet<String>, Error> {
    let rows = || sheets.iter().flat_map(|sheet| sheet.records.iter().map(move |record| (sheet, record)));
    let bodies: Vec<v1::RecordBody> =
        rows().map(|(_, record)| v1::RecordBody::decode(record.body.clone()).unwrap_or_default()).collect();
    let ids: Vec<&str> = rows().map(|(_, record)| record.record_id.as_str()).collect();
    if ids.is_empty() {
        return Ok(BTreeSet::new());
    }
    let gateways: Vec<&str> = rows().map(|(sheet, _)| sheet.gateway.as_str()).collect();
    let epochs: Vec<&str> = rows().map(|(sheet, _)| sheet.epoch.as_str()).collect();
    let lanes: Vec<&str> = rows().map(|(sheet, _)| sheet.lane).collect();
    let seqs: Vec<i64> = rows().map(|(_, record)| whole(record.seq)).collect();
    let items: Vec<String> = rows().map(|(_, record)| text(&record.share_item)).collect();
    let schemas: Vec<String> = rows().map(|(_, record)| text(&record.schema)).collect();
    let time = |of: fn(&v1::RecordBody) -> Option<&Timestamp>| -> Vec<Option<SystemTime>> {
        bodies.iter().map(|body| moment(of(body))).collect()
    };
    let sealed = time(|body| body.sealed_at.as_ref());
    let starts = time(|body| body.window_start.as_ref());
    let ends = time(|body| body.window_end.as_ref());
    let observed = time(|body| body.observed_at.as_ref());
    let hashes: Vec<&[u8]> = rows().map(|(_, record)| &record.record_hash[..]).collect();
    let plain: Vec<&[u8]> = rows().map(|(_, record)| &record.body[..]).collect();
    let json: Vec<Option<String>> = rows().map(|(_, record)| json(record)).collect();
    let sql = "INSERT INTO smallbrain_record (record_id, gateway, epoch, lane, seq, share_item, schema,
            sealed_at, window_start, window_end, observed_at, record_hash, body, body_json)
        SELECT r.id, r.gateway, r.epoch, r.lane, r.seq, r.item, r.schema, r.sealed, r.begins, r.ends, r.observed,
            r.hash, r.body, r.json::jsonb
        FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[],
            $8::timestamptz[], $9::timestamptz[], $10::timestamptz[], $11::timestamptz[], $12::bytea[], $13::bytea[],
            $14::text[])
            AS r (id, gateway, epoch, lane, seq, item, schema, sealed, begins, ends, observed, hash, body, json)
        ON CONFLICT (record_id) DO NOTHING";
    let put = txn
        .execute(
            sql,
            &[
                &ids, &gateways, &epochs, &lanes, &seqs, &items, &schemas, &sealed, &starts, &ends,
                &observed, &hashes, &plain, &json,
            ],
        )
        .await?;
    if put == ids.len() as u64 {
        return Ok(BTreeSet::new());
    }
    let sql = "SELECT r.record_id FROM smallbrain_record r
        JOIN unnest($1::text[], $2::bytea[], $3::text[]) AS t (id, hash, gateway) ON r.record_id = t.id
        WHERE r.record_hash <> t.hash OR r.gateway <> t.gateway";
    let rows = txn.query(sql, &[&ids, &hashes, &gateways]).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

async fn gaps(txn: &Transaction<'_>, sheets: &[&Sheet]) -> Result<(), Error> {
    let sql = "INSERT INTO smallbrain_gap
            (gateway, epoch, lane, from_seq, to_seq, reason, lost, first_sealed, last_sealed)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING";
    for sheet in sheets {
        for gap in &sheet.gaps {
            let (first, last) = (moment(gap.first_sealed.as_ref()), moment(gap.last_sealed.as_ref()));
            let (from, to, lost) = (whole(gap.from_seq), whole(gap.to_seq), whole(gap.lost_records));
            txn.execute(
                sql,
                &[
                    &sheet.gateway,
                    &sheet.epoch,
                    &sheet.lane,
                    &from,
                    &to,
                    &text(&gap.reason),
                    &lost,
                    &first,
                    &last,
                ],
            )
            .await?;
        }
    }
    Ok(())
}

/// Moves the cursors; gives those that were elsewhere.
async fn cursors(txn: &Transaction<'_>, sheets: &[&Sheet]) -> Result<BTreeSet<(String, String)>, Error> {
    let gateways: Vec<&str> = sheets.iter().map(|sheet| sheet.gateway.as_str()).collect();
    let lanes: Vec<&str> = sheets.iter().map(|sheet| sheet.lane).collect();
    let epochs: Vec<&str> = sheets.iter().map(|sheet| sheet.epoch.as_str()).collect();
    let seqs: Vec<i64> = sheets.iter().map(|sheet| whole(sheet.seq)).collect();
    let hashes: Vec<Option<&[u8]>> = sheets.iter().map(|sheet| sheet.hash.as_deref()).collect();
    let from: Vec<i64> = sheets.iter().map(|sheet| sheet.expected.map_or(-1, whole)).collect();
    let sql = "INSERT INTO smallbrain_cursor AS c (gateway, lane, epoch, seq, hash, came_from)
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bytea[], $6::bigint[])
        ON CONFLICT (gateway, lane) DO UPDATE
            SET seq = excluded.seq, hash = excluded.hash, came_from = excluded.came_from
            WHERE c.epoch = excluded.epoch AND c.seq = excluded.came_from
        RETURNING gateway, lane";
    let mut wanted: BTreeSet<(String, String)> =
        sheets.iter().map(|sheet| (sheet.gateway.clone(), sheet.lane.to_owned())).collect();
    if wanted.is_empty() {
        return Ok(wanted);
    }
    for row in txn.query(sql, &[&gateways, &lanes, &epochs, &seqs, &hashes, &from]).await? {
        wanted.remove(&(row.try_get(0)?, row.try_get(1)?));
    }
    Ok(wanted)
}

/// What comes seldom.
async fn single(txn: &Transaction<'_>, job: &Job) -> Result<(), Error> {
    match job {
        Job::Batch(_) => {}
        Job::Witness(gateway, kept) => {
            let head = bytes::<32>(&kept.head).unwrap_or_default();
            let signature = bytes::<64>(&kept.signature).map(|it| it.to_vec()).unwrap_or_default();
            let sql = "INSERT INTO smallbrain_checkpoint (gateway, origin, size, head, signature, at_ms)
                VALUES ($1, $2, $3, $4, $5, $6)
                ON CONFLICT (gateway, origin, size, head) DO UPDATE SET binding = true";
            txn.execute(
                sql,
                &[gateway, &text(&kept.origin), &whole(kept.size), &&head[..], &signature, &kept.at_ms],
            )
            .await?;
        }
        Job::Accept(gateway, word) => {
            let sql = "UPDATE smallbrain_checkpoint SET binding = false WHERE gateway = $1";
            txn.execute(sql, &[gateway]).await?;
            let sql = "INSERT INTO smallbrain_accepted (gateway, accepted) VALUES ($1, $2)
                ON CONFLICT (gateway) DO UPDATE SET accepted = excluded.accepted, at = now()";
            txn.execute(sql, &[gateway, word]).await?;
        }
        Job::Reset(gateway, from, to) => {
            let sql = "INSERT INTO smallbrain_reset (gateway, from_epoch, to_epoch) VALUES ($1, $2, $3)
                ON CONFLICT DO NOTHING";
            txn.execute(sql, &[gateway, from, to]).await?;
            let lanes: Vec<&str> = Lane::ALL.into_iter().map(Lane::as_str).collect();
            // Whoever comes second finds the new epoch there, and moves nothing back.
            let sql = "INSERT INTO smallbrain_cursor AS c (gateway, lane, epoch, seq, came_from)
                SELECT $1, lane, $3, 0, -1 FROM unnest($4::text[]) AS l (lane)
                ON CONFLICT (gateway, lane) DO UPDATE
                    SET epoch = excluded.epoch, seq = 0, hash = NULL, came_from = -1 WHERE c.epoch = $2";
            txn.execute(sql, &[gateway, from, to, &lanes]).await?;
        }
    }
    Ok(())
}

impl Job {
    fn gateway(&self) -> &str {
        match self {
            Job::Batch(sheet) => &sheet.gateway,
            Job::Witness(gateway, _) | Job::Accept(gateway, _) | Job::Reset(gateway, ..) => gateway,
        }
    }

    fn sheet(&self) -> Option<&Sheet> {
        match self {
            Job::Batch(sheet) => Some(sheet),
            _ => None,
        }
    }
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// PostgreSQL takes no NUL in a text.
fn text(text: &str) -> String {
    text.replace('\0', "")
}

/// The body as JSON; none where a text in it is one that jsonb does not take.
fn json(record: &v1::Record) -> Option<String> {
    Some(body(record).to_string()).filter(|json| !json.contains("\\u0000"))
}

/// A time between 1970 and 9999; another one is none, because the database might not take it.
fn moment(time: Option<&Timestamp>) -> Option<SystemTime> {
    let time = time.filter(|time| (0..253_402_300_800).contains(&time.seconds))?;
    SystemTime::try_from(*time).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_database_does_not_take_is_left_out() {
        let time = |seconds, nanos| moment(Some(&Timestamp { seconds, nanos }));
        assert!(time(0, 0).is_some() && time(253_402_300_799, 999_999_999).is_some());
        assert!(time(-1, 0).is_none() && time(253_402_300_800, 0).is_none() && time(i64::MAX, 0).is_none());
        assert!(moment(None).is_none());
        assert_eq!((whole(u64::MAX), text("a\0b")), (i64::MAX, "ab".to_owned()));
        let body = |purpose: &str| {
            let body = v1::RecordBody { purpose: purpose.into(), ..v1::RecordBody::default() };
            v1::Record { body: body.encode_to_vec().into(), ..v1::Record::default() }
        };
        assert!(json(&body("p")).is_some_and(|json| json.contains("\"p\"")));
        assert!(json(&body("p\0")).is_none());
    }
}
