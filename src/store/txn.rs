//! A transaction of the writer: readings, sealed records, cursors, watermarks, resume points, sessions and tallies change
//! together or not at all.

use std::collections::HashMap;

use rusqlite::{CachedStatement, Connection};

use super::audit::Trail;
use super::error::StoreError;
use super::sessions::{self, Change};
use super::{Ack, AckRefused, Acked, FoldRow, Position, SeriesId, outbox, room, row};
use crate::model::{DeviceId, Epoch, Lane, LineId, Reading, Seq, Tally};
use crate::privacy::Cleared;
use crate::rules::presence::Standing;
use crate::wire::{self, Sealed};

/// A transaction: everything in it becomes durable with [`Txn::commit`], or nothing does.
pub struct Txn<'s> {
    pub(super) conn: &'s Connection,
    pub(super) insert: Option<CachedStatement<'s>>,
    pub(super) epoch: Epoch,
    pub(super) trail: &'s Trail,
    pub(super) next: Position,
    pub(super) position: &'s mut Position,
    pub(super) items: &'s mut HashMap<(LineId, &'static str), i64>,
    pub(super) new_items: Vec<((LineId, &'static str), i64)>,
    /// Bytes that each lane takes more, by [`Lane::index`].
    pub(super) grown: [u64; Lane::ALL.len()],
    pub(super) open: bool,
}

impl Txn<'_> {
    /// Appends a reading to the log and tells its position.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn append(&mut self, series: SeriesId, reading: &Cleared<Reading>) -> Result<i64, StoreError> {
        self.append_row(series, reading, false)
    }

    /// The same of a reading that tells nothing of now, which a replay has to know.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn append_past(&mut self, series: SeriesId, reading: &Cleared<Reading>) -> Result<i64, StoreError> {
        self.append_row(series, reading, true)
    }

    fn append_row(
        &mut self,
        series: SeriesId,
        reading: &Cleared<Reading>,
        past: bool,
    ) -> Result<i64, StoreError> {
        let id = self.next.reading + 1;
        let insert =
            self.insert.as_mut().ok_or_else(|| StoreError::Internal("the transaction has ended".into()))?;
        row::insert(insert, id, series, reading.get(), past)?;
        self.next.reading = id;
        Ok(id)
    }

    /// The position of the newest reading, appended ones included.
    #[must_use]
    pub fn reading_head(&self) -> i64 {
        self.next.reading
    }

    /// Seals a record into a lane and tells its position.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn seal(&mut self, lane: Lane, sealed: &Sealed, now_ms: i64) -> Result<Seq, StoreError> {
        let item = self.item(sealed)?;
        self.grown[lane.index()] += room::cost(sealed.body());
        outbox::append(self.conn, lane, self.epoch, &mut self.next.heads[lane.index()], item, sealed, now_ms)
    }

    fn item(&mut self, sealed: &Sealed) -> Result<i64, StoreError> {
        let key = (sealed.share_item().clone(), sealed.schema());
        let known = self.items.get(&key).copied();
        let fresh = || self.new_items.iter().find(|(other, _)| *other == key).map(|(_, id)| *id);
        if let Some(id) = known.or_else(fresh) {
            return Ok(id);
        }
        let id = outbox::item(self.conn, &key.0, key.1)?;
        self.new_items.push((key, id));
        Ok(id)
    }

    /// Moves a consumer's cursor forward.
    ///
    /// # Errors
    /// [`StoreError`]; the inner error when the ack is refused and nothing moved.
    pub fn ack(&mut self, ack: &Ack) -> Result<Result<Acked, AckRefused>, StoreError> {
        outbox::ack(self.conn, self.epoch, self.next.heads[ack.lane.index()].seq, ack)
    }

    /// Counts losses.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn lose(&mut self, lost: &Tally) -> Result<(), StoreError> {
        for (loss, count) in lost.iter() {
            self.count(&format!("lost.{loss}"), count)?;
        }
        Ok(())
    }

    /// Adds to a tally by name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn count(&mut self, name: &str, count: u64) -> Result<(), StoreError> {
        self.conn
            .prepare_cached(
                "INSERT INTO tally VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET count = count + ?2",
            )?
            .execute((name, count as i64))?;
        Ok(())
    }

    /// Says until when the windows of an aggregate are closed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_watermark(&mut self, aggregate: &LineId, closed_ms: i64) -> Result<(), StoreError> {
        self.conn
            .prepare_cached("INSERT OR REPLACE INTO watermark VALUES (?, ?)")?
            .execute((aggregate.as_str(), closed_ms))?;
        Ok(())
    }

    /// Stores the resume point of a fold.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_fold(&mut self, fold: &FoldRow) -> Result<(), StoreError> {
        self.conn.prepare_cached("INSERT OR REPLACE INTO fold VALUES (?, ?, ?, ?)")?.execute((
            &fold.name,
            &fold.definition,
            fold.upto,
            &fold.snapshot,
        ))?;
        Ok(())
    }

    /// Forgets a fold.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn drop_fold(&mut self, name: &str) -> Result<(), StoreError> {
        self.conn.prepare_cached("DELETE FROM fold WHERE name = ?")?.execute([name])?;
        Ok(())
    }

    /// The position that a record's id names, where it is of this epoch and lane.
    #[must_use]
    pub fn seq_of(&self, lane: Lane, record: &str) -> Option<Seq> {
        let (_, seq) = record.rsplit_once('-')?;
        let seq = Seq(seq.parse().ok()?);
        let is_here = seq <= self.next.heads[lane.index()].seq;
        (is_here && wire::record_id(self.epoch, lane, seq) == record).then_some(seq)
    }

    /// Stores what is known of a device's being there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_presence(&mut self, device: &DeviceId, standing: Standing) -> Result<(), StoreError> {
        let Standing { online, since_ms, cause } = standing;
        self.conn.prepare_cached("INSERT OR REPLACE INTO presence VALUES (?, ?, ?, ?)")?.execute((
            device.as_str(),
            online,
            since_ms,
            cause as u8,
        ))?;
        Ok(())
    }

    /// Forgets a device.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn drop_presence(&mut self, device: &str) -> Result<(), StoreError> {
        self.conn.prepare_cached("DELETE FROM presence WHERE device = ?")?.execute([device])?;
        Ok(())
    }

    /// Applies what changed of MQTT sessions, in this order.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn sessions(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        changes.iter().try_for_each(|change| sessions::rows::apply(self.conn, change))
    }

    /// Makes everything durable: returns after the medium has it.
    ///
    /// # Errors
    /// [`StoreError`]; nothing of the transaction holds then.
    pub fn commit(mut self) -> Result<(), StoreError> {
        self.insert = None;
        for lane in Lane::ALL {
            let head = &self.next.heads[lane.index()];
            if *head != self.position.heads[lane.index()] {
                outbox::set_head(self.conn, lane, head, self.grown[lane.index()])?;
            }
        }
        self.conn.execute_batch("COMMIT")?;
        self.open = false;
        *self.position = self.next;
        self.items.extend(self.new_items.drain(..));
        Ok(())
    }
}

impl Drop for Txn<'_> {
    fn drop(&mut self) {
        if self.open {
            self.insert = None;
            // SQLite may have rolled back already; then there is nothing to do.
            let _ = self.conn.execute_batch("ROLLBACK");
        }
    }
}
