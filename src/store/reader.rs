//! Reading beside the writer: one thread with a read-only connection, short transactions, bounded pages.

use crate::model::{Consumer, Epoch, Lane, Seq};

use super::{Heads, Page};

/// What a lane looks like now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LaneState {
    /// The oldest position still on disk; head + 1 when there is none.
    pub first: Seq,
    /// The newest position ever given.
    pub head: Seq,
    /// When the oldest record on disk was sealed, milliseconds since 1970 UTC.
    pub oldest_sealed_ms: Option<i64>,
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

/// The reading side of the store; clones share one thread.
#[derive(Clone, Debug)]
pub struct Reader {}

impl Reader {
    /// The store's epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        todo!()
    }

    /// The newest positions; changes after every commit that sealed something.
    #[must_use]
    pub fn heads(&self) -> tokio::sync::watch::Receiver<Heads> {
        todo!()
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
        let _ = (lane, after, records_max, bytes_max);
        todo!()
    }

    /// The state of every lane, by [`Lane::index`].
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn lanes(&self) -> Result<[LaneState; Lane::ALL.len()], ReadError> {
        todo!()
    }

    /// What a consumer has acknowledged, by [`Lane::index`].
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn acked(&self, consumer: &Consumer) -> Result<Heads, ReadError> {
        let _ = consumer;
        todo!()
    }

    /// Alarms that stand raised, oldest first, at most 1000.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn raised(&self) -> Result<Vec<Raised>, ReadError> {
        todo!()
    }
}
