//! Reading beside the writer: one thread with a read-only connection, short transactions, bounded pages. No cursor of
//! the database is ever held while a consumer thinks, so the log can always be given back.

use std::path::Path;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use super::error::StoreError;
use super::{Heads, Page, outbox, schema};
use crate::model::{Consumer, Epoch, Lane, Seq};

/// Questions waiting for the thread; at the bound the asker waits.
const QUESTIONS_MAX: usize = 64;
/// Raised alarms told at most.
const RAISED_MAX: i64 = 1000;

/// What a lane looks like now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LaneState {
    /// The oldest position still on disk; head + 1 when there is none.
    pub first: Seq,
    /// The newest position ever given.
    pub head: Seq,
    /// Positions declared lost, ever.
    pub gap_records: u64,
}

/// An alarm that stands raised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raised {
    /// Its id.
    pub alarm: String,
    /// The device.
    pub device: String,
    /// Since when, milliseconds since 1970 UTC.
    pub since_ms: i64,
}

/// Reading failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("store: {0}")]
pub struct ReadError(pub String);

type Question = Box<dyn FnOnce(&Connection) + Send>;

/// The reading side of the store; clones share one thread, which ends with the last of them.
#[derive(Clone)]
pub struct Reader {
    epoch: Epoch,
    heads: watch::Receiver<Heads>,
    questions: mpsc::Sender<Question>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl Reader {
    /// Opens the database in `dir` beside its writer and starts the thread.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(dir: &Path, epoch: Epoch, heads: watch::Receiver<Heads>) -> Result<Self, StoreError> {
        let conn = schema::open_reader(&dir.join("smallbrain.db"))?;
        let (questions, mut inbox) = mpsc::channel::<Question>(QUESTIONS_MAX);
        std::thread::Builder::new()
            .name("store-reader".into())
            .spawn(move || {
                while let Some(question) = inbox.blocking_recv() {
                    question(&conn);
                }
            })
            .map_err(|error| StoreError::Internal(format!("thread store-reader: {error}")))?;
        Ok(Self { epoch, heads, questions })
    }

    /// The store's epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The newest positions; changes after every commit that sealed something.
    #[must_use]
    pub fn heads(&self) -> watch::Receiver<Heads> {
        self.heads.clone()
    }

    /// Asks one question in one read transaction.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let (reply, answer) = oneshot::channel();
        let question: Question = Box::new(move |conn| {
            let found = conn
                .unchecked_transaction()
                .map_err(StoreError::from)
                .and_then(|_moment| question(conn))
                .map_err(|error| ReadError(error.to_string()));
            // The asker may be gone; then nobody wants to know.
            let _ = reply.send(found);
        });
        let stopped = || ReadError("the reading thread has stopped".into());
        self.questions.send(question).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// The run after a cursor: at most `records_max` records and about `bytes_max` bytes of bodies, at least one
    /// record if there is one.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn page(
        &self,
        lane: Lane,
        after: Seq,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Page, ReadError> {
        let epoch = self.epoch;
        self.ask(move |conn| outbox::page(conn, epoch, lane, after, records_max, bytes_max)).await
    }

    /// The state of every lane, by [`Lane::index`].
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn lanes(&self) -> Result<[LaneState; Lane::ALL.len()], ReadError> {
        self.ask(|conn| {
            let heads = outbox::read_heads(conn)?;
            let mut states = [LaneState::default(); Lane::ALL.len()];
            for lane in Lane::ALL {
                let head = heads[lane.index()].seq;
                let first = outbox::first(conn, lane)?;
                states[lane.index()] = LaneState {
                    first: first.map_or(head.next(), |(seq, _)| seq),
                    head,
                    gap_records: outbox::gap_records(conn, lane)?,
                };
            }
            Ok(states)
        })
        .await
    }

    /// What a consumer has acknowledged, by [`Lane::index`].
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn acked(&self, consumer: &Consumer) -> Result<Heads, ReadError> {
        let consumer = consumer.clone();
        self.ask(move |conn| {
            let mut acked = Heads::default();
            for lane in Lane::ALL {
                acked[lane.index()] = outbox::acked(conn, &consumer, lane)?;
            }
            Ok(acked)
        })
        .await
    }

    /// When the first record after each of these positions was sealed, by [`Lane::index`], milliseconds since 1970 UTC; none
    /// where there is none on disk.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn sealed_after(&self, after: Heads) -> Result<[Option<i64>; Lane::ALL.len()], ReadError> {
        self.ask(move |conn| {
            let mut sealed_ms = [None; Lane::ALL.len()];
            for lane in Lane::ALL {
                sealed_ms[lane.index()] = outbox::sealed_after(conn, lane, after[lane.index()])?;
            }
            Ok(sealed_ms)
        })
        .await
    }

    /// Incidents that are an alarm and not closed, by the event time they began, oldest first, at most 1000.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn raised(&self) -> Result<Vec<Raised>, ReadError> {
        self.ask(|conn| {
            let find = "SELECT alarm, device, began_ms FROM incident
                WHERE life <> 'closed' AND life NOT IN ('pre_alarm', 'suppressed') ORDER BY began_ms LIMIT ?";
            let mut statement = conn.prepare_cached(find)?;
            let rows = statement.query_map([RAISED_MAX], |row| {
                Ok(Raised { alarm: row.get(0)?, device: row.get(1)?, since_ms: row.get(2)? })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}
