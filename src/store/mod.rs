//! The store: one directory, one SQLite database in it, one connection that writes.
//!
//! What lies in it
//! - the **log**: every cleared reading, append-only on a dense integer key;
//! - the **outbox**: sealed records per lane, with dense positions and a hash chain;
//! - positions: consumers' cursors, the folds' resume points, watermarks, presence;
//! - **incidents**: what triggers remember, history, the ledger of notices, runs of commands, maintenance, feedback;
//! - **sessions** of MQTT: subscriptions, what is queued for them, retained messages;
//! - the **trail**: every use, in the transaction of the act, bound by a hash chain;
//! - the four **lists** by version, **approvals**, and what people entered;
//! - what protected lines **released**, cell by cell, and what its noise cost;
//! - tallies of everything that is not a row.
//!
//! What it guarantees
//! - [`Txn::commit`] returns after the log is on the medium (`synchronous=FULL`); rows, outbox, watermarks and cursors
//!   change together or not at all.
//! - A position of a lane is given once per epoch. A record that has to go leaves a gap that says why.
//! - Everything is bounded: the database by `Settings::bytes_max`, deletions by a chunk per call.
//!
//! What it does not do: no thread but the reader's, no clock, no retry. Of what devices measure it takes nothing but
//! cleared readings and sealed records; messages from one to another lie as they were published until they are delivered.

pub mod alarms;
pub mod approvals;
mod audit;
pub mod entries;
mod error;
mod identity;
pub mod lists;
pub mod loops;
mod outbox;
pub mod purge;
pub mod reader;
pub mod released;
pub mod replies;
pub mod room;
mod row;
mod schema;
pub mod sessions;
pub mod shared;
#[cfg(test)]
mod tests;
pub mod trace;
mod txn;
mod upkeep;

use std::cell::Cell;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension};

pub use self::audit::{DigestMark, Keep, Trimmed, WitnessRefused, Witnessed};
pub use self::error::StoreError;
pub use self::outbox::{Ack, AckRefused, Acked};
pub use self::row::Stored;
pub use self::txn::Txn;
pub use self::upkeep::Upkeep;
use crate::audit::{Action, Entry, Outcome, chain};
use crate::model::{Cause, Epoch, Lane, LineId, Loss, Seq, SeriesKey, Stamp, Tally};
use crate::rules::presence::Standing;

/// Pages that a store may have over its bound when it begins.
const BEGINNING_PAGES: u64 = 512;

/// What the store needs to know. Holds for the life of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The directory that belongs to it.
    pub dir: PathBuf,
    /// How large the database may grow, bytes.
    pub bytes_max: u64,
    /// Kept back on disk so that a full disk can still be tidied, bytes.
    pub reserve_bytes: u64,
    /// How long a commit waits for company.
    pub group_window: Duration,
    /// How long readings are kept.
    pub retention: Duration,
    /// What of the disk each lane is promised.
    pub promises: room::Promises,
}

/// A sealed record as it lies on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    /// Its position.
    pub seq: Seq,
    /// The share line that let it out.
    pub share_item: LineId,
    /// What the body holds.
    pub schema: Arc<str>,
    /// A serialised RecordBody.
    pub body: Bytes,
    /// Hash of the record before it.
    pub prev_hash: [u8; 32],
    /// Its own hash, verified when it was read.
    pub hash: [u8; 32],
}

/// A range of a lane that holds no record any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GapRow {
    /// First lost position.
    pub from: Seq,
    /// Last lost position.
    pub to: Seq,
    /// Why.
    pub reason: String,
    /// When the first of them was sealed, milliseconds since 1970 UTC, where that is known.
    pub first_ms: Option<i64>,
    /// When the last of them was sealed, where that is known.
    pub last_ms: Option<i64>,
}

/// A run of a lane: every position after the cursor up to `through` is one of its records or inside one of its gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The lane.
    pub lane: Lane,
    /// The cursor it answers.
    pub after: Seq,
    /// Ascending.
    pub records: Vec<StoredRecord>,
    /// Ascending.
    pub gaps: Vec<GapRow>,
    /// The last position it speaks for.
    pub through: Seq,
    /// The newest position of the lane.
    pub head: Seq,
}

/// The newest position of each lane, by [`Lane::index`].
pub type Heads = [Seq; Lane::ALL.len()];

/// A series as the store numbers it, for good.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct SeriesId(pub i64);

/// The resume point of a fold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoldRow {
    /// "window:<aggregate>", "block:<share line>", or what is remembered of every series: "duplicates", "plausible",
    /// "deadband".
    pub name: String,
    /// The settings it was made with, as text.
    pub definition: String,
    /// The last reading that is in it.
    pub upto: i64,
    /// Its state.
    pub snapshot: Vec<u8>,
}

thread_local! {
    /// Pages in the write-ahead log after this thread's last commit; SQLite tells it through a plain function.
    static WAL_PAGES: Cell<u64> = const { Cell::new(0) };
}

/// What changes with a commit and is kept in memory.
#[derive(Clone, Copy, Debug)]
struct Position {
    reading: i64,
    heads: [outbox::Head; Lane::ALL.len()],
    audit: chain::Head,
}

/// The writing side. One per directory: a second one is refused.
#[derive(Debug)]
pub struct Store {
    conn: Connection,
    settings: Settings,
    epoch: Epoch,
    position: Position,
    items: HashMap<(LineId, &'static str), i64>,
    upkeep: upkeep::State,
    identity: identity::Identity,
    trail: audit::Trail,
}

impl Store {
    /// Opens or creates the store; `entropy` gives a new store its epoch and this run its boot id.
    ///
    /// # Errors
    /// [`StoreError`]: in use, damaged, newer, no permission.
    pub fn open(settings: Settings, entropy: [u8; 32], now: Stamp) -> Result<Self, StoreError> {
        let identity = identity::Identity::lock(&settings.dir)?;
        let conn = schema::open_writer(&settings.dir.join("smallbrain.db"), settings.bytes_max)?;
        conn.wal_hook(Some(|_, pages| {
            WAL_PAGES.set(u64::try_from(pages).unwrap_or(0));
            Ok(())
        }));
        let trail = audit::Trail { name: Vec::new(), boot: entropy[16..].to_vec() };
        let position = read_position(&conn, &trail.name)?;
        let upkeep = upkeep::State::open(&settings, now)?;
        let mut store = Self {
            conn,
            epoch: Epoch([0; 16]),
            position,
            items: HashMap::new(),
            upkeep,
            identity,
            settings,
            trail,
        };
        // The few pages of a beginning are not refused to a store that is full: nothing has to go for a boot, or for a fork,
        // which would forget the gap. Where the disk itself is full, what makes room for a reading makes room for this.
        let pages = store.settings.bytes_max / schema::PAGE_BYTES;
        store.conn.pragma_update(None, "max_page_count", (pages + BEGINNING_PAGES) as i64)?;
        while let Err(error) = store.enrol(entropy, now) {
            if !(error.is_passing() && store.make_room()?) {
                return Err(error);
            }
        }
        store.conn.pragma_update(None, "max_page_count", pages.max(256) as i64)?;
        store.restore_ballast()?;
        store.remember();
        Ok(store)
    }

    /// Gives a new store its epoch, an older copy of itself another one, and this run its boot id; drops what was left of
    /// sessions that are over. What became of the store is the trail's first row of this run.
    fn enrol(&mut self, entropy: [u8; 32], now: Stamp) -> Result<(), StoreError> {
        let [epoch_seed, boot_id] = [&entropy[..16], &entropy[16..]];
        let transaction = self.conn.transaction()?;
        let created =
            transaction.execute("INSERT OR IGNORE INTO meta VALUES ('epoch', ?)", [epoch_seed])? == 1;
        transaction.execute("INSERT OR IGNORE INTO meta VALUES ('trail', ?)", [epoch_seed])?;
        let trail: Vec<u8> =
            transaction.query_row("SELECT value FROM meta WHERE key = 'trail'", [], |row| row.get(0))?;
        let trail = audit::Trail { name: trail, boot: boot_id.to_vec() };
        let mut position = read_position(&transaction, &trail.name)?;
        let is_cut = self
            .identity
            .is_cut(position.audit, &trail.name, |seq| audit::hash_at(&transaction, &trail.name, seq))?;
        let is_older = self.identity.is_ahead_of(&position.heads, &read_epoch(&transaction)?);
        let fork = match (is_cut, is_older) {
            (_, true) => Some("older_copy"),
            (true, false) => Some("trail_cut"),
            _ if created && self.identity.existed() => Some("database_gone"),
            _ => None,
        };
        if is_cut || is_older {
            outbox::fork(&transaction, Epoch(epoch_seed.try_into().unwrap_or_default()))?;
            audit::forget(&transaction, position.audit.seq)?;
            position = read_position(&transaction, &trail.name)?;
        }
        if let Some(reason) = fork {
            tracing::error!(
                reason,
                "the database is not what the identity file beside it knows: a new epoch begins and what is unsent \
                 keeps its order"
            );
            let entry = Entry::gateway(Action::StoreFork, format!("row:{}", position.audit.seq));
            let entry = entry.not(Outcome::Error, reason).with(self.identity.known_trail());
            position.audit = audit::append(&transaction, &trail, position.audit, &entry, now)?;
        }
        let epoch = read_epoch(&transaction)?;
        transaction.execute(
            "INSERT OR REPLACE INTO boot VALUES (?, ?, ?, ?)",
            (position.reading + 1, boot_id, now.wall_ms, now.mono_ms as i64),
        )?;
        sessions::rows::purge(&transaction)?;
        transaction.commit()?;
        (self.epoch, self.position, self.trail) = (epoch, position, trail);
        Ok(())
    }

    /// The epoch all positions are of.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The newest position of each lane.
    #[must_use]
    pub fn heads(&self) -> Heads {
        self.position.heads.map(|head| head.seq)
    }

    /// How many readings were ever stored; also the id of the newest.
    #[must_use]
    pub fn reading_head(&self) -> i64 {
        self.position.reading
    }

    /// The settings it was opened with.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Begins a transaction; dropped without [`Txn::commit`] it leaves no trace.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn begin(&mut self) -> Result<Txn<'_>, StoreError> {
        self.conn.execute_batch("BEGIN IMMEDIATE")?;
        let next = self.position;
        let insert = match self.conn.prepare_cached(row::INSERT) {
            Ok(insert) => insert,
            Err(error) => {
                let _ = self.conn.execute_batch("ROLLBACK");
                return Err(error.into());
            }
        };
        Ok(Txn {
            conn: &self.conn,
            insert: Some(insert),
            epoch: self.epoch,
            trail: &self.trail,
            next,
            position: &mut self.position,
            items: &mut self.items,
            new_items: Vec::new(),
            grown: [0; Lane::ALL.len()],
            open: true,
        })
    }

    /// The numbers of series by (device, metric), given for good on first use.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn series<'n>(
        &mut self,
        names: impl Iterator<Item = (&'n str, &'n str)>,
    ) -> Result<Vec<SeriesId>, StoreError> {
        let transaction = self.conn.transaction()?;
        let mut ids = Vec::new();
        {
            let mut insert =
                transaction.prepare_cached("INSERT OR IGNORE INTO series (device, metric) VALUES (?, ?)")?;
            let mut find =
                transaction.prepare_cached("SELECT id FROM series WHERE device = ? AND metric = ?")?;
            for (device, metric) in names {
                insert.execute([device, metric])?;
                ids.push(SeriesId(find.query_row([device, metric], |row| row.get(0))?));
            }
        }
        transaction.commit()?;
        Ok(ids)
    }

    /// The version of lists with this digest; a digest never seen before is the next version.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn list_version(&self, digest: &[u8; 32], now_ms: i64) -> Result<u32, StoreError> {
        self.conn.execute(
            "INSERT OR IGNORE INTO list_version (digest, since_ms) VALUES (?, ?)",
            (digest.as_slice(), now_ms),
        )?;
        Ok(self.conn.query_row(
            "SELECT version FROM list_version WHERE digest = ?",
            [digest.as_slice()],
            |row| row.get(0),
        )?)
    }

    /// The losses counted so far.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn lost(&self) -> Result<Tally, StoreError> {
        let mut tally = Tally::default();
        for loss in Loss::ALL {
            tally.add(loss, self.tally(&format!("lost.{loss}"))?);
        }
        Ok(tally)
    }

    /// One tally by name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn tally(&self, name: &str) -> Result<u64, StoreError> {
        let count: Option<i64> = self
            .conn
            .query_row("SELECT count FROM tally WHERE name = ?", [name], |row| row.get(0))
            .optional()?;
        Ok(count.unwrap_or(0).unsigned_abs())
    }

    /// The resume points of all folds.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn folds(&self) -> Result<Vec<FoldRow>, StoreError> {
        let mut statement =
            self.conn.prepare("SELECT name, definition, upto, snapshot FROM fold ORDER BY name")?;
        let rows = statement.query_map([], |row| {
            Ok(FoldRow {
                name: row.get(0)?,
                definition: row.get(1)?,
                upto: row.get(2)?,
                snapshot: row.get(3)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Until when the windows of an aggregate are closed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn watermark(&self, aggregate: &LineId) -> Result<Option<i64>, StoreError> {
        let find = "SELECT closed_ms FROM watermark WHERE aggregate = ?";
        Ok(self.conn.query_row(find, [aggregate.as_str()], |row| row.get(0)).optional()?)
    }

    /// What is known of devices being there, by name; none where a later build told what this one does not know.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn presence(&self) -> Result<Vec<(String, Option<Standing>)>, StoreError> {
        let mut statement = self.conn.prepare("SELECT device, online, since_ms, cause FROM presence")?;
        let rows = statement.query_map([], |row| {
            let (online, since_ms) = (row.get(1)?, row.get(2)?);
            let cause = Cause::from_code(row.get(3)?);
            Ok((row.get(0)?, cause.map(|cause| Standing { online, since_ms, cause })))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// What was kept of MQTT when the store was opened or last committed to: for a start.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn sessions(&self) -> Result<sessions::Saved, StoreError> {
        sessions::rows::read(&self.conn)
    }

    /// Gives every row of the log after `after` to `each`, oldest first.
    ///
    /// # Errors
    /// [`StoreError`]; whatever `each` answers ends the walk.
    pub fn replay(
        &self,
        after: i64,
        key: impl Fn(SeriesId) -> Option<SeriesKey>,
        mut each: impl FnMut(Stored),
    ) -> Result<(), StoreError> {
        let mut statement = self.conn.prepare(row::SELECT)?;
        let mut rows = statement.query((after, -1))?;
        while let Some(row) = rows.next()? {
            each(row::decode(row, &key)?);
        }
        Ok(())
    }

    /// Writes the identity file and gives the log back to the file system.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn close(mut self) -> Result<(), StoreError> {
        self.remember();
        self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(())
    }
}

fn read_epoch(conn: &Connection) -> Result<Epoch, StoreError> {
    let bytes: Vec<u8> =
        conn.query_row("SELECT value FROM meta WHERE key = 'epoch'", [], |row| row.get(0))?;
    bytes.try_into().map(Epoch).map_err(|_| StoreError::Damaged("the epoch is not of 16 bytes".into()))
}

fn read_position(conn: &Connection, trail: &[u8]) -> Result<Position, StoreError> {
    let reading: i64 = conn.query_row("SELECT coalesce(max(id), 0) FROM reading", [], |row| row.get(0))?;
    let reading = reading.max(purge::head_kept(conn)?);
    Ok(Position { reading, heads: outbox::read_heads(conn)?, audit: audit::read_head(conn, trail)? })
}
