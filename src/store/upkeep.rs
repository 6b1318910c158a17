//! Keeping the store small, a chunk at a time so that no commit waits long: giving the log back, trimming what every
//! consumer has, expiring old readings, and shedding when the room runs out: history first, then what lanes have above their
//! promise, then the rest, alarms last and only above theirs ([`room`]). What is unsent never goes by age.

use std::path::PathBuf;

use rustix::fs::FallocateFlags;

use super::error::StoreError;
use super::identity::own_file;
use super::schema::PAGE_BYTES;
use super::{
    Page, Settings, Store, WAL_PAGES, alarms, audit, entries, outbox, released, replies, room, shared,
};
use crate::audit::{Action, Entry, chain};
use crate::model::{Lane, Loss, Seq, Stamp};

/// Pages in the write-ahead log at which it is given back: 8 MiB.
const WAL_PAGES_MAX: u64 = 2048;
/// Rows deleted per step.
const CHUNK: u64 = 4096;
/// Sealed records shed per step: they are large and the city was owed them, so no more go than must.
const SHED_RECORDS: u64 = 256;
/// Pages given back to the file system per step.
const VACUUM_PAGES: u64 = 256;

/// Steps of upkeep between two writings of the identity file: about a minute's worth, because it is a file of its own on
/// a card that wears out.
const IDENTITY_ROUNDS: u32 = 60;

/// What a step of upkeep needs to know.
#[derive(Clone, Copy, Debug)]
pub struct Upkeep {
    /// What every consumer of a lane has acknowledged; `None` for a lane without consumers.
    pub acked: [Option<Seq>; Lane::ALL.len()],
    /// Readings received before this are old, milliseconds since 1970 UTC: so long ago as [`Settings::retention`] says.
    pub expire_before_ms: i64,
}

#[derive(Debug)]
pub(super) struct State {
    ballast: PathBuf,
    soft_pages: u64,
    rounds: u32,
    /// When it was last told what time it is; what is shed is dated by it.
    now: Stamp,
}

impl State {
    /// Lays down the ballast.
    pub(super) fn open(settings: &Settings, now: Stamp) -> Result<Self, StoreError> {
        let state = Self {
            ballast: settings.dir.join("ballast"),
            rounds: 0,
            now,
            soft_pages: (settings.bytes_max.saturating_sub(settings.reserve_bytes) / PAGE_BYTES).max(16),
        };
        state.lay_ballast(settings.reserve_bytes)?;
        Ok(state)
    }

    fn lay_ballast(&self, bytes: u64) -> Result<(), StoreError> {
        let wrap = |error: std::io::Error| StoreError::File { path: self.ballast.clone(), error };
        if bytes == 0 || self.ballast.metadata().is_ok_and(|file| file.len() == bytes) {
            return Ok(());
        }
        let file = own_file(&self.ballast, true).map_err(wrap)?;
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes) {
            Ok(()) => Ok(()),
            // The file system cannot reserve, or has no room: go on without, the quota still holds.
            Err(error) => {
                drop(file);
                let _ = std::fs::remove_file(&self.ballast);
                tracing::warn!(%error, "no ballast could be laid: a full disk will be harder to tidy");
                Ok(())
            }
        }
    }
}

impl Store {
    /// Says what time it is, before what goes is written down.
    pub fn at(&mut self, now: Stamp) {
        self.upkeep.now = now;
    }

    /// Moves the write-ahead log into the database when it is long enough. Called between commits.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn checkpoint_if_due(&mut self) -> Result<(), StoreError> {
        if WAL_PAGES.get() < WAL_PAGES_MAX {
            return Ok(());
        }
        self.conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
        Ok(())
    }

    /// One step of tidying; true when there is more to do at once.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn tidy(&mut self, upkeep: &Upkeep) -> Result<bool, StoreError> {
        self.conn.execute_batch("BEGIN IMMEDIATE")?;
        let mut head = self.position.audit;
        let more = match self.tidy_step(upkeep, &mut head) {
            Ok(more) => more,
            Err(error) => {
                let _ = self.conn.execute_batch("ROLLBACK");
                return Err(error);
            }
        };
        self.conn.execute_batch("COMMIT")?;
        self.position.audit = head;
        if self.free_pages()? > self.used_pages()? {
            // Only stepping through its rows makes this pragma free more than one page.
            let mut statement =
                self.conn.prepare_cached(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
            let mut rows = statement.query([])?;
            while rows.next()?.is_some() {}
        }
        self.upkeep.rounds += 1;
        if self.upkeep.rounds.is_multiple_of(IDENTITY_ROUNDS) {
            self.remember();
        }
        Ok(more)
    }

    fn tidy_step(&self, upkeep: &Upkeep, head: &mut chain::Head) -> Result<bool, StoreError> {
        let mut gone = self.expire(upkeep.expire_before_ms)?;
        let retention_ms = i64::try_from(self.settings.retention.as_millis()).unwrap_or(i64::MAX);
        let now_ms = upkeep.expire_before_ms.saturating_add(retention_ms);
        gone += alarms::trim::step(&self.conn, now_ms, alarms::trim::Bounds::default())?;
        gone += entries::trim(&self.conn, upkeep.expire_before_ms, now_ms)?;
        gone += released::trim(&self.conn, now_ms, released::ROWS_MAX)?;
        gone += shared::trim(&self.conn, now_ms)?;
        gone += replies::trim(&self.conn, now_ms, replies::ROWS_MAX)?;
        for lane in Lane::ALL {
            if let Some(acked) = upkeep.acked[lane.index()] {
                gone += outbox::trim(&self.conn, lane, acked, CHUNK)?;
            }
        }
        let full = gone == 0 && self.used_pages()? > self.upkeep.soft_pages;
        Ok(gone >= CHUNK || (full && self.shed(head)? > 0))
    }

    /// Deletes readings received before a time that every fold has, oldest first; the newest one always stays, because
    /// the log's position is read from it.
    fn expire(&self, before_ms: i64) -> Result<u64, StoreError> {
        // What the folds resume from after a crash is what is committed, not what somebody remembers.
        let folded: i64 = self
            .conn
            .prepare_cached("SELECT coalesce(min(upto), 0) FROM fold")?
            .query_row([], |row| row.get(0))?;
        let last = folded.min(self.position.reading - 1);
        let delete = "DELETE FROM reading WHERE id IN
            (SELECT id FROM reading WHERE id <= ?1 ORDER BY id LIMIT ?3) AND received < ?2";
        let gone = self.conn.prepare_cached(delete)?.execute((last, before_ms, CHUNK as i64))? as u64;
        if gone > 0 {
            // A boot goes with the last of its readings.
            self.conn
                .prepare_cached(
                    "DELETE FROM boot WHERE first_reading < (SELECT max(first_reading) FROM boot
                     WHERE first_reading <= (SELECT min(id) FROM reading))",
                )?
                .execute([])?;
        }
        Ok(gone)
    }

    /// Makes room; what the city was owed goes with a row in the trail, behind `head`.
    fn shed(&self, head: &mut chain::Head) -> Result<u64, StoreError> {
        let history = self.expire(i64::MAX)?;
        if history > 0 {
            self.conn.execute(
                "INSERT INTO tally VALUES ('expired_early', ?1) ON CONFLICT (name) DO UPDATE SET count = count + ?1",
                [history as i64],
            )?;
            return Ok(history);
        }
        let used = room::used(&self.conn)?;
        let (mut shed, mut full) = (Vec::new(), None);
        for room::Want { lane, excess } in room::yielding(&used, &self.settings.promises) {
            shed.extend(outbox::shed(&self.conn, lane, SHED_RECORDS, excess)?);
            if shed.is_empty() {
                continue;
            }
            match self.tell_shed(&shed, *head) {
                Ok(told) => {
                    *head = told;
                    return Ok(shed.iter().map(|shed| shed.records).sum());
                }
                // A few small records may leave no room even for the rows about them: the next lane has to help.
                Err(error) if error.is_passing() => full = Some(error),
                Err(error) => return Err(error),
            }
        }
        full.map_or(Ok(0), Err)
    }

    /// Declares what was shed, and says so in the trail behind `head`: all of it or nothing.
    fn tell_shed(&self, shed: &[outbox::Shed], head: chain::Head) -> Result<chain::Head, StoreError> {
        self.conn.execute_batch("SAVEPOINT told")?;
        let told = shed.iter().try_fold(head, |head, shed| {
            shed.declare(&self.conn)?;
            let outbox::Shed { lane, from, to, .. } = shed;
            let entry = Entry::gateway(Action::GapDeclare, format!("{lane}:{from}-{to}"));
            let entry = Entry { reason: Some(Loss::Budget.as_str().into()), ..entry };
            audit::append(&self.conn, &self.trail, head, &entry, self.upkeep.now)
        });
        let end = if told.is_ok() { "RELEASE told" } else { "ROLLBACK TO told; RELEASE told" };
        self.conn.execute_batch(end)?;
        for outbox::Shed { lane, records, .. } in shed.iter().filter(|_| told.is_ok()) {
            tracing::warn!(%lane, records, reason = %Loss::Budget, "the disk budget is used up: the oldest records became a gap");
        }
        told
    }

    /// After [`StoreError::Full`]: gives up the ballast, then sheds; true when something became free.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn make_room(&mut self) -> Result<bool, StoreError> {
        let ballast = std::fs::remove_file(&self.upkeep.ballast).is_ok();
        self.conn.execute_batch("BEGIN IMMEDIATE")?;
        let mut head = self.position.audit;
        let gone = self.shed(&mut head).and_then(|gone| {
            self.conn.execute_batch("COMMIT")?;
            Ok(gone)
        });
        if gone.is_ok() {
            self.position.audit = head;
        }
        match gone {
            Ok(gone) => Ok(ballast || gone > 0),
            Err(error) => {
                let _ = self.conn.execute_batch("ROLLBACK");
                if ballast && error.is_passing() { Ok(true) } else { Err(error) }
            }
        }
    }

    /// Lays the ballast again, once there is room.
    ///
    /// # Errors
    /// [`StoreError::File`].
    pub fn restore_ballast(&self) -> Result<(), StoreError> {
        self.upkeep.lay_ballast(self.settings.reserve_bytes)
    }

    /// Writes the identity file. On a full disk the older memory stands: it notices an older copy all the same.
    pub(super) fn remember(&mut self) {
        let (heads, trail) =
            (self.position.heads.map(|head| head.seq), (&*self.trail.name, self.position.audit));
        if let Err(error) = self.identity.write(self.epoch, heads, trail) {
            tracing::warn!(%error, "the identity file keeps what it knew");
        }
    }

    /// Pages that hold something.
    fn used_pages(&self) -> Result<u64, StoreError> {
        let pages: i64 = self.conn.pragma_query_value(None, "page_count", |row| row.get(0))?;
        Ok(pages.unsigned_abs() - self.free_pages()?)
    }

    /// Pages that hold nothing; the next rows go there, so they are given back only when they are more than half.
    fn free_pages(&self) -> Result<u64, StoreError> {
        let free: i64 = self.conn.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
        Ok(free.unsigned_abs())
    }

    /// Bytes that hold something, and bytes the store may grow to.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn room(&self) -> Result<(u64, u64), StoreError> {
        Ok((self.used_pages()? * PAGE_BYTES, self.settings.bytes_max))
    }

    /// The run after a cursor, as [`super::reader::Reader::page`] gives it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn page(
        &self,
        lane: Lane,
        after: Seq,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Page, StoreError> {
        outbox::page(&self.conn, self.epoch, lane, after, records_max, bytes_max)
    }

    /// What a consumer has acknowledged in a lane.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn acked(&self, consumer: &crate::model::Consumer, lane: Lane) -> Result<Seq, StoreError> {
        outbox::acked(&self.conn, consumer, lane)
    }
}
