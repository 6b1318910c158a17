//! The lanes: sealing, acknowledging, reading a run, and the gaps of what had to go. SQL only; the rules are the
//! contract's (proto/): positions dense from 1, a hash chain over all of them.

use rusqlite::{Connection, OptionalExtension};

mod walk;

pub(super) use self::walk::{gap_row, page};
use super::error::StoreError;
use super::{alarms, purge, room};
use crate::model::{Consumer, Epoch, Lane, LineId, Loss, Seq};
use crate::wire::{self, Sealed};

/// The newest position of a lane and the hash there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) seq: Seq,
    pub(super) hash: [u8; 32],
}

/// "Everything up to and including this is mine."
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// Whose.
    pub consumer: Consumer,
    /// The epoch the position is of.
    pub epoch: Epoch,
    /// The lane.
    pub lane: Lane,
    /// The position.
    pub upto: Seq,
    /// The consumer's hash of the record there, if it sent one.
    pub head_hash: Option<[u8; 32]>,
}

/// The stored position after an ack; never lower than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acked {
    /// The position.
    pub upto: Seq,
    /// Whether a hash came and was the gateway's own.
    pub hash_matched: bool,
}

/// Why an ack moves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AckRefused {
    /// Another epoch.
    #[error(
        "the cursor is of epoch {theirs}, the store is in epoch {ours}: pull again from position 0 of {ours}"
    )]
    Epoch {
        /** Present epoch. */
        ours: Epoch,
        /** The cursor's. */
        theirs: Epoch,
    },
    /// Ahead of the lane's head.
    #[error("lane {lane}: ack of {upto} is ahead of the head {head}")]
    Ahead {
        /** Lane. */
        lane: Lane,
        /** Asked. */
        upto: Seq,
        /** Newest. */
        head: Seq,
    },
    /// Another hash.
    #[error("lane {lane}: the hash of record {upto} differs from the gateway's")]
    Hash {
        /** Lane. */
        lane: Lane,
        /** Asked. */
        upto: Seq,
    },
}

/// The statements of one lane; a lane is a table, so its name cannot be a parameter.
struct Sql {
    append: &'static str,
    page: &'static str,
    hash: &'static str,
    first: &'static str,
    after: &'static str,
    span: &'static str,
    sizes: &'static str,
    one: &'static str,
    trim: &'static str,
    delete: &'static str,
}

macro_rules! lane_sql {
    ($table:literal) => {
        Sql {
            append: concat!(
                "INSERT INTO ",
                $table,
                " (seq, item, sealed_ms, body, hash) VALUES (?, ?, ?, ?, ?)"
            ),
            page: concat!(
                "SELECT o.seq, i.share_item, i.schema, o.body, o.hash, o.sealed_ms FROM ",
                $table,
                " o JOIN item i ON i.id = o.item WHERE o.seq > ? ORDER BY o.seq LIMIT ?"
            ),
            hash: concat!("SELECT hash FROM ", $table, " WHERE seq = ?"),
            first: concat!("SELECT seq, sealed_ms FROM ", $table, " ORDER BY seq LIMIT 1"),
            after: concat!("SELECT sealed_ms FROM ", $table, " WHERE seq > ? ORDER BY seq LIMIT 1"),
            span: concat!(
                "SELECT coalesce(sum(length(body)), 0), count(*), min(sealed_ms), max(sealed_ms) FROM ",
                $table,
                " WHERE seq <= ?"
            ),
            sizes: concat!("SELECT seq, length(body) FROM ", $table, " WHERE seq >= ? ORDER BY seq LIMIT ?"),
            one: concat!("SELECT length(body), sealed_ms FROM ", $table, " WHERE seq = ?"),
            trim: concat!("DELETE FROM ", $table, " WHERE seq <= ?"),
            delete: concat!("DELETE FROM ", $table, " WHERE seq = ?"),
        }
    };
}

fn sql(lane: Lane) -> &'static Sql {
    const ALARM: Sql = lane_sql!("outbox_alarm");
    const EVENT: Sql = lane_sql!("outbox_event");
    const RESULT: Sql = lane_sql!("outbox_result");
    const AGGREGATE: Sql = lane_sql!("outbox_aggregate");
    const AUDIT: Sql = lane_sql!("outbox_audit");
    const BULK: Sql = lane_sql!("outbox_bulk");
    match lane {
        Lane::Alarm => &ALARM,
        Lane::Event => &EVENT,
        Lane::Result => &RESULT,
        Lane::Aggregate => &AGGREGATE,
        Lane::Audit => &AUDIT,
        Lane::Bulk => &BULK,
    }
}

/// The table of a lane.
pub(super) fn table(lane: Lane) -> String {
    format!("outbox_{lane}")
}

pub(super) fn read_heads(conn: &Connection) -> Result<[Head; Lane::ALL.len()], StoreError> {
    let mut heads = [Head { seq: Seq(0), hash: [0; 32] }; Lane::ALL.len()];
    for lane in Lane::ALL {
        heads[lane.index()] =
            conn.query_row("SELECT head, head_hash FROM lane WHERE lane = ?", [lane.as_str()], |row| {
                Ok(Head { seq: Seq(row.get::<_, i64>(0)?.unsigned_abs()), hash: row.get(1)? })
            })?;
    }
    Ok(heads)
}

pub(super) fn item(conn: &Connection, share_item: &LineId, schema: &str) -> Result<i64, StoreError> {
    conn.execute(
        "INSERT OR IGNORE INTO item (share_item, schema) VALUES (?, ?)",
        [share_item.as_str(), schema],
    )?;
    let find = "SELECT id FROM item WHERE share_item = ? AND schema = ?";
    Ok(conn.query_row(find, [share_item.as_str(), schema], |row| row.get(0))?)
}

pub(super) fn append(
    conn: &Connection,
    lane: Lane,
    epoch: Epoch,
    head: &mut Head,
    item: i64,
    sealed: &Sealed,
    now_ms: i64,
) -> Result<Seq, StoreError> {
    let seq = head.seq.next();
    let hash = wire::record_hash(&head.hash, &wire::record_id(epoch, lane, seq), sealed.body());
    conn.prepare_cached(sql(lane).append)?.execute((
        seq.0 as i64,
        item,
        now_ms,
        sealed.body().as_ref(),
        hash.as_slice(),
    ))?;
    *head = Head { seq, hash };
    Ok(seq)
}

/// Remembers the newest position of a lane and by how much it has grown, once a commit.
pub(super) fn set_head(conn: &Connection, lane: Lane, head: &Head, grown: u64) -> Result<(), StoreError> {
    let update = "UPDATE lane SET head = ?, head_hash = ?, bytes = bytes + ? WHERE lane = ?";
    conn.prepare_cached(update)?.execute((
        head.seq.0 as i64,
        head.hash.as_slice(),
        grown as i64,
        lane.as_str(),
    ))?;
    Ok(())
}

pub(super) fn acked(conn: &Connection, consumer: &Consumer, lane: Lane) -> Result<Seq, StoreError> {
    let find = "SELECT seq FROM cursor WHERE consumer = ? AND lane = ?";
    let seq: Option<i64> = conn
        .prepare_cached(find)?
        .query_row([consumer.as_str(), lane.as_str()], |row| row.get(0))
        .optional()?;
    Ok(Seq(seq.unwrap_or(0).unsigned_abs()))
}

pub(super) fn ack(
    conn: &Connection,
    epoch: Epoch,
    head: Seq,
    ack: &Ack,
) -> Result<Result<Acked, AckRefused>, StoreError> {
    if ack.epoch != epoch {
        return Ok(Err(AckRefused::Epoch { ours: epoch, theirs: ack.epoch }));
    }
    if ack.upto > head {
        return Ok(Err(AckRefused::Ahead { lane: ack.lane, upto: ack.upto, head }));
    }
    let ours = hash_at(conn, ack.lane, ack.upto)?;
    let hash_matched = ack.head_hash.is_some() && ack.head_hash == ours;
    if ack.head_hash.is_some() && ours.is_some() && !hash_matched {
        return Ok(Err(AckRefused::Hash { lane: ack.lane, upto: ack.upto }));
    }
    let before = acked(conn, &ack.consumer, ack.lane)?;
    if ack.upto > before {
        conn.prepare_cached("INSERT OR REPLACE INTO cursor VALUES (?, ?, ?)")?.execute((
            ack.consumer.as_str(),
            ack.lane.as_str(),
            ack.upto.0 as i64,
        ))?;
    }
    Ok(Ok(Acked { upto: before.max(ack.upto), hash_matched }))
}

/// The hash at a position, where it is still known: of a record on disk, or of the last one of a gap.
fn hash_at(conn: &Connection, lane: Lane, seq: Seq) -> Result<Option<[u8; 32]>, StoreError> {
    if seq == Seq(0) {
        return Ok(Some([0; 32]));
    }
    let found =
        conn.prepare_cached(sql(lane).hash)?.query_row([seq.0 as i64], |row| row.get(0)).optional()?;
    if found.is_some() {
        return Ok(found);
    }
    let find = "SELECT last_hash FROM gap WHERE lane = ? AND to_seq = ?";
    Ok(conn.prepare_cached(find)?.query_row((lane.as_str(), seq.0 as i64), |row| row.get(0)).optional()?)
}

/// The oldest record of a lane and when it was sealed.
pub(super) fn first(conn: &Connection, lane: Lane) -> Result<Option<(Seq, i64)>, StoreError> {
    let row = conn
        .prepare_cached(sql(lane).first)?
        .query_row([], |row| Ok((Seq(row.get::<_, i64>(0)?.unsigned_abs()), row.get(1)?)))
        .optional()?;
    Ok(row)
}

/// When the first record after a position was sealed, milliseconds since 1970 UTC.
pub(super) fn sealed_after(conn: &Connection, lane: Lane, after: Seq) -> Result<Option<i64>, StoreError> {
    let find = conn.prepare_cached(sql(lane).after)?.query_row([after.0 as i64], |row| row.get(0));
    Ok(find.optional()?)
}

/// Positions declared lost.
pub(super) fn gap_records(conn: &Connection, lane: Lane) -> Result<u64, StoreError> {
    let sum = "SELECT coalesce(sum(to_seq - from_seq + 1), 0) FROM gap WHERE lane = ?";
    let count: i64 = conn.prepare_cached(sum)?.query_row([lane.as_str()], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

/// Deletes what every consumer has, up to but without `acked`: that one stays as the predecessor in the chain.
/// At most `chunk` rows; tells how many went.
pub(super) fn trim(conn: &Connection, lane: Lane, acked: Seq, chunk: u64) -> Result<u64, StoreError> {
    let Some((first, _)) = first(conn, lane)? else { return Ok(0) };
    let last = Seq(acked.0.saturating_sub(1).min(first.0 + chunk - 1));
    if last < first {
        return Ok(0);
    }
    Ok(remove(conn, lane, last)?.records)
}

/// What went.
struct Gone {
    records: u64,
    /// When the first and the last of them were sealed.
    span: Span,
}

/// When the first and the last record of a gap were sealed, milliseconds since 1970 UTC, where that is known.
type Span = (Option<i64>, Option<i64>);

/// Deletes the records of a lane up to a position.
fn remove(conn: &Connection, lane: Lane, last: Seq) -> Result<Gone, StoreError> {
    let last = last.0 as i64;
    let (bytes, records, span) = conn.prepare_cached(sql(lane).span)?.query_row([last], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, (row.get(2)?, row.get(3)?)))
    })?;
    conn.prepare_cached(sql(lane).trim)?.execute([last])?;
    room::change(conn, lane, -(bytes + records * room::RECORD_BYTES as i64))?;
    Ok(Gone { records: records.unsigned_abs(), span })
}

/// Records that were deleted and have to be declared lost.
pub(super) struct Shed {
    pub(super) lane: Lane,
    pub(super) from: Seq,
    pub(super) to: Seq,
    pub(super) records: u64,
    /// Between the gaps that were there: from, to, the hash at its end, when it was sealed.
    runs: Vec<(Seq, Seq, [u8; 32], Span)>,
}

/// Deletes the oldest records of a lane, at most `chunk` and no more than it takes to free `excess` bytes; whoever asks has them
/// declared in the same transaction. Gaps on the way are stepped over: between two of them there may be too little to make
/// any room.
pub(super) fn shed(
    conn: &Connection,
    lane: Lane,
    chunk: u64,
    excess: u64,
) -> Result<Option<Shed>, StoreError> {
    let Some((from, last)) = enough(conn, lane, chunk, excess)? else { return Ok(None) };
    // What is in a gap already is declared once.
    let (mut between, mut next) = (Vec::new(), from);
    for (gap, _) in walk::gaps(conn, lane, from)?.iter().take_while(|(gap, _)| gap.from <= last) {
        between.push((next, Seq(gap.from.0 - 1)));
        next = gap.to.next();
    }
    between.push((next, last));
    let mut shed = Shed { lane, from, to: last, records: 0, runs: Vec::new() };
    for (from, to) in between.into_iter().filter(|(from, to)| from <= to) {
        let hash = hash_at(conn, lane, to)?.ok_or_else(|| {
            StoreError::Damaged(format!("lane {lane}: position {to} is neither a record nor a gap"))
        })?;
        let gone = remove(conn, lane, to)?;
        shed.records += gone.records;
        shed.runs.push((from, to, hash, gone.span));
    }
    Ok((shed.records > 0).then_some(shed))
}

impl Shed {
    /// Says that they are lost.
    pub(super) fn declare(&self, conn: &Connection) -> Result<(), StoreError> {
        for (from, to, hash, span) in &self.runs {
            declare(conn, self.lane, (*from, *to), Loss::Budget.as_str(), hash, *span)?;
        }
        Ok(())
    }
}

/// The oldest record of a lane, and the last one that has to go to free `excess` bytes.
fn enough(conn: &Connection, lane: Lane, chunk: u64, excess: u64) -> Result<Option<(Seq, Seq)>, StoreError> {
    let mut statement = conn.prepare_cached(sql(lane).sizes)?;
    let mut rows = statement.query((0, chunk as i64))?;
    let (mut found, mut freed) = (None, 0);
    while let Some(row) = rows.next()? {
        let seq = Seq(row.get::<_, i64>(0)?.unsigned_abs());
        freed += row.get::<_, i64>(1)?.unsigned_abs() + room::RECORD_BYTES;
        found = Some((found.map_or(seq, |(from, _)| from), seq));
        if freed >= excess {
            break;
        }
    }
    Ok(found)
}

/// Deletes one record and declares it lost.
pub(super) fn withdraw(
    conn: &Connection,
    lane: Lane,
    seq: Seq,
    hash: &[u8; 32],
    reason: &str,
) -> Result<(), StoreError> {
    let find = conn
        .prepare_cached(sql(lane).one)?
        .query_row([seq.0 as i64], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)));
    let Some((bytes, sealed_ms)) = find.optional()? else { return Ok(()) };
    conn.prepare_cached(sql(lane).delete)?.execute([seq.0 as i64])?;
    room::change(conn, lane, -(bytes + room::RECORD_BYTES as i64))?;
    declare(conn, lane, (seq, seq), reason, hash, (Some(sealed_ms), Some(sealed_ms)))
}

/// Says that a run of positions holds no record any more, and counts them; goes on with the gap before it if that is of the
/// same reason. Of a gap that was made before spans were kept its beginning stays unknown.
fn declare(
    conn: &Connection,
    lane: Lane,
    (from, to): (Seq, Seq),
    reason: &str,
    last_hash: &[u8; 32],
    (first_ms, last_ms): Span,
) -> Result<(), StoreError> {
    let grown = conn
        .prepare_cached(
            "UPDATE gap SET to_seq = ?1, last_hash = ?2, first_ms = min(first_ms, coalesce(?6, first_ms)),
               last_ms = max(coalesce(last_ms, ?7), coalesce(?7, last_ms))
             WHERE lane = ?3 AND to_seq = ?4 AND reason = ?5",
        )?
        .execute((
            to.0 as i64,
            last_hash.as_slice(),
            lane.as_str(),
            from.0 as i64 - 1,
            reason,
            first_ms,
            last_ms,
        ))?;
    if grown == 0 {
        let insert = "INSERT INTO gap (lane, from_seq, to_seq, reason, last_hash, first_ms, last_ms)
            VALUES (?, ?, ?, ?, ?, ?, ?)";
        conn.prepare_cached(insert)?.execute((
            lane.as_str(),
            from.0 as i64,
            to.0 as i64,
            reason,
            last_hash.as_slice(),
            first_ms,
            last_ms,
        ))?;
    }
    let count = "INSERT INTO tally VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET count = count + ?2";
    conn.prepare_cached(count)?.execute((room::tally(lane, reason), (to.0 + 1 - from.0) as i64))?;
    Ok(())
}

/// A new epoch for a database that turned out to be an older copy: what is unsent keeps its order and starts anew from
/// position 1, because a position of the old epoch may already stand for other bytes at the city.
pub(super) fn fork(conn: &Connection, epoch: Epoch) -> Result<(), StoreError> {
    conn.execute("UPDATE meta SET value = ? WHERE key = 'epoch'", [epoch.0.as_slice()])?;
    conn.execute("DELETE FROM cursor", [])?;
    conn.execute("DELETE FROM gap", [])?;
    alarms::trim::fork(conn)?;
    purge::fork(conn)?;
    for lane in Lane::ALL {
        let mut head = Head { seq: Seq(0), hash: [0; 32] };
        let table = table(lane);
        let mut select =
            conn.prepare(&format!("SELECT seq, body FROM {table} WHERE seq > ? ORDER BY seq LIMIT 1"))?;
        let mut update = conn.prepare(&format!("UPDATE {table} SET seq = ?, hash = ? WHERE seq = ?"))?;
        let mut old = 0_i64;
        while let Some((seq, body)) = select
            .query_row([old], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?)))
            .optional()?
        {
            let new = head.seq.next();
            let hash = wire::record_hash(&head.hash, &wire::record_id(epoch, lane, new), &body);
            update.execute((new.0 as i64, hash.as_slice(), seq))?;
            alarms::trim::moved(conn, lane, seq, new.0 as i64)?;
            head = Head { seq: new, hash };
            old = seq;
        }
        conn.execute(
            "UPDATE lane SET head = ?, head_hash = ? WHERE lane = ?",
            (head.seq.0 as i64, head.hash.as_slice(), lane.as_str()),
        )?;
    }
    Ok(())
}
