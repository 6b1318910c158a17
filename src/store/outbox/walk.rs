//! A run of a lane: rows and gaps put together into a page that speaks for every position.

use std::sync::Arc;

use bytes::Bytes;
use rusqlite::Connection;

use super::{Span, hash_at, read_heads, sql};
use crate::model::{Epoch, Lane, LineId, Loss, Seq};
use crate::store::error::StoreError;
use crate::store::{GapRow, Page, StoredRecord};
use crate::wire;

/// The run after a cursor. The caller holds a read transaction, so that rows, gaps and head are of one moment.
pub(in crate::store) fn page(
    conn: &Connection,
    epoch: Epoch,
    lane: Lane,
    after: Seq,
    records_max: usize,
    bytes_max: usize,
) -> Result<Page, StoreError> {
    let head = read_heads(conn)?[lane.index()].seq;
    let mut walk = Walk {
        epoch,
        prev: hash_at(conn, lane, after)?,
        gaps: gaps(conn, lane, after)?,
        page: Page { lane, after, records: Vec::new(), gaps: Vec::new(), through: after, head },
        names: Vec::new(),
    };
    let mut statement = conn.prepare_cached(sql(lane).page)?;
    let mut rows = statement.query((after.0 as i64, i64::try_from(records_max).unwrap_or(i64::MAX)))?;
    let (mut bytes, mut read) = (0, 0);
    while let Some(row) = rows.next()? {
        let body = row.get_ref(3)?.as_blob().map_err(rusqlite::Error::from)?;
        bytes += body.len();
        if read > 0 && bytes > bytes_max {
            return Ok(walk.page);
        }
        read += 1;
        let seq = Seq(row.get::<_, i64>(0)?.unsigned_abs());
        let names = (row.get_ref(1)?.as_str(), row.get_ref(2)?.as_str());
        let (Ok(share_item), Ok(schema)) = names else {
            return Err(StoreError::Damaged(format!("lane {lane}: the item of record {seq} is no text")));
        };
        walk.record(seq, share_item, schema, body, (row.get(4)?, row.get(5)?))?;
    }
    if read < records_max {
        walk.hole(Seq(head.0 + 1));
    }
    Ok(walk.page)
}

/// The gaps that end behind a position, in their order, each with the hash behind it.
pub(super) fn gaps(conn: &Connection, lane: Lane, after: Seq) -> Result<Vec<(GapRow, [u8; 32])>, StoreError> {
    let find =
        "SELECT from_seq, to_seq, reason, first_ms, last_ms, last_hash FROM gap WHERE lane = ? AND to_seq > ?
         ORDER BY from_seq";
    let mut statement = conn.prepare_cached(find)?;
    let rows =
        statement.query_map((lane.as_str(), after.0 as i64), |row| Ok((gap_row(row)?, row.get(5)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Of from_seq, to_seq, reason, first_ms, last_ms.
pub(in crate::store) fn gap_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<GapRow> {
    let [from, to] = [row.get::<_, i64>(0)?, row.get::<_, i64>(1)?].map(|seq| Seq(seq.unsigned_abs()));
    Ok(GapRow { from, to, reason: row.get(2)?, first_ms: row.get(3)?, last_ms: row.get(4)? })
}

/// Puts rows and gaps together into a page that speaks for every position.
struct Walk {
    epoch: Epoch,
    /// Hash of position `page.through`, where it is known.
    prev: Option<[u8; 32]>,
    gaps: Vec<(GapRow, [u8; 32])>,
    page: Page,
    /// Share items and schemas seen in this page: a few, so that each record shares them.
    names: Vec<(LineId, Arc<str>)>,
}

impl Walk {
    fn record(
        &mut self,
        seq: Seq,
        share_item: &str,
        schema: &str,
        body: &[u8],
        (hash, sealed_ms): ([u8; 32], i64),
    ) -> Result<(), StoreError> {
        self.hole(seq);
        let id = wire::record_id(self.epoch, self.page.lane, seq);
        match self.prev {
            Some(prev) if wire::record_hash(&prev, &id, body) == hash => {
                let (share_item, schema) = self.name(share_item, schema)?;
                let body = Bytes::copy_from_slice(body);
                self.page.records.push(StoredRecord { seq, share_item, schema, body, prev_hash: prev, hash });
            }
            Some(_) => self.lost(seq, seq, Loss::Corrupt.as_str(), (Some(sealed_ms), Some(sealed_ms))),
            // The oldest one left has no predecessor to be checked against; everybody has acknowledged it.
            None => self.lost(seq, seq, TRIMMED, (None, None)),
        }
        self.prev = Some(hash);
        self.page.through = seq;
        Ok(())
    }

    /// Everything from the present position up to `next` is gone: by a declared gap, or because all consumers had it.
    fn hole(&mut self, next: Seq) {
        while self.page.through.next() < next {
            let from = self.page.through.next();
            let declared = self.gaps.iter().find(|(gap, _)| gap.from <= from && from <= gap.to);
            let (to, reason, hash, span) = match declared {
                // Of a gap that is told from its middle on, when it began there is not known.
                Some((gap, hash)) => {
                    let first_ms = gap.first_ms.filter(|_| gap.from == from);
                    (gap.to, gap.reason.clone(), Some(*hash), (first_ms, gap.last_ms))
                }
                None => {
                    let later = self.gaps.iter().map(|(gap, _)| gap.from).find(|start| *start > from);
                    (Seq(later.unwrap_or(next).0.min(next.0) - 1), TRIMMED.to_owned(), None, (None, None))
                }
            };
            self.lost(from, to, &reason, span);
            self.prev = hash;
            self.page.through = to;
        }
    }

    fn lost(&mut self, from: Seq, to: Seq, reason: &str, (first_ms, last_ms): Span) {
        match self.page.gaps.last_mut() {
            Some(last) if last.to.next() == from && last.reason == reason => {
                (last.to, last.last_ms) = (to, last_ms);
            }
            _ => self.page.gaps.push(GapRow { from, to, reason: reason.to_owned(), first_ms, last_ms }),
        }
    }

    fn name(&mut self, share_item: &str, schema: &str) -> Result<(LineId, Arc<str>), StoreError> {
        if let Some(known) =
            self.names.iter().find(|(item, known)| item.as_str() == share_item && **known == *schema)
        {
            return Ok(known.clone());
        }
        let item = share_item.parse().map_err(|error| StoreError::Damaged(format!("share item: {error}")))?;
        self.names.push((item, schema.into()));
        Ok(self.names[self.names.len() - 1].clone())
    }
}

/// The reason of positions that every consumer of their time has acknowledged.
const TRIMMED: &str = "trimmed";
