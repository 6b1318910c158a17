//! The store.

pub mod reader;

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;

use crate::model::{Lane, LineId, Seq};

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
}

/// A sealed record as it lies on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    /// Its position.
    pub seq: Seq,
    /// The share line that let it out.
    pub share_item: LineId,
    /// What the body holds.
    pub schema: &'static str,
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
