//! Where records go. A sink has a drawer for each gateway; in it lie the records, and how far they go.
//!
//! Guarantees of every kind: [`Drawer::store`] returns after the batch is durable together with its position; a batch that
//! comes twice is there once; what was begun when the collector died is found by [`Sink::open`]. Two collectors that hold the
//! same drawer never both go on: the later one gets [`SinkError::Moved`].

mod jsonl;
mod nats;
mod postgres;

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use nats::Tenure as KeyTenure;
pub use postgres::Tenure as RowTenure;

use super::batch::hex;
use super::lease::Leases;
use super::settings::{Settings, SinkSettings};
use crate::approval::bytes;
use crate::audit::chain::Head;
use crate::audit::checkpoint::Checkpoint;
use crate::model::Lane;
use crate::share::position::{Mark, Position};
use crate::wire::v1;

/// Why something is not stored.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// A file.
    #[error("{0}: {1}")]
    File(PathBuf, std::io::Error),
    /// What lies there is not what was put there.
    #[error("{0}: {1}; put it back, or move it away to begin anew at the gateway's acknowledgement")]
    Spoilt(PathBuf, String),
    /// Another collector has the directory.
    #[error("{0} is in use by another collector: a directory has one")]
    InUse(PathBuf),
    /// The other side did not do it.
    #[error("{0}: {1}; it is tried again")]
    Away(&'static str, String),
    /// Somebody else went on.
    #[error("another collector went on with {0}: its cursor is read again")]
    Moved(String),
    /// The same id stands for something else.
    #[error(
        "record {0} is stored with other bytes under the same id: look at the gateway's trail, then at the sink"
    )]
    Conflict(String),
    /// A batch that is none.
    #[error("a batch of lane {0}, which is none")]
    Lane(i32),
}

/// What a drawer knew when it was opened.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// How far the records go.
    pub position: Position,
    /// The newest position of the audit trail that is kept.
    pub checkpoint: Option<Checkpoint>,
    /// The operator's last word on the trail, as it was taken.
    pub accepted: Option<String>,
}

/// Where records go.
#[derive(Debug)]
pub enum Sink {
    /// JSON lines.
    Jsonl(jsonl::Directory),
    /// NATS JetStream.
    Nats(Arc<nats::Bus>),
    /// PostgreSQL.
    Postgres(postgres::Database),
}

/// One gateway's place in a sink.
#[derive(Debug)]
pub enum Drawer {
    /// JSON lines.
    Jsonl(jsonl::Files),
    /// NATS JetStream.
    Nats(nats::Subjects),
    /// PostgreSQL.
    Postgres(postgres::Rows),
}

impl Sink {
    /// Makes what is missing, and the leases that belong to it.
    ///
    /// # Errors
    /// [`SinkError`].
    pub async fn start(settings: &Settings) -> Result<(Self, Leases), SinkError> {
        match &settings.sink {
            SinkSettings::Jsonl { dir } => {
                let directory = jsonl::Directory::open(dir)?;
                Ok((Sink::Jsonl(directory), Leases::Alone))
            }
            SinkSettings::Nats(nats) => {
                let bus = nats::Bus::open(nats).await?;
                let leases = Leases::Nats(Box::new(bus.leases(&settings.name).await?));
                Ok((Sink::Nats(Arc::new(bus)), leases))
            }
            SinkSettings::Postgres { url, ca } => {
                let database = postgres::Database::open(url, ca.as_deref()).await?;
                let leases = Leases::Postgres(database.leases(&settings.name));
                Ok((Sink::Postgres(database), leases))
            }
        }
    }

    /// Opens a gateway's drawer: brings in order what a crash left, and tells what is in it.
    ///
    /// # Errors
    /// [`SinkError`].
    pub async fn open(&self, gateway: &str) -> Result<(Drawer, State), SinkError> {
        Ok(match self {
            Sink::Jsonl(directory) => {
                let (files, state) = directory.drawer(gateway).await?;
                (Drawer::Jsonl(files), state)
            }
            Sink::Nats(bus) => {
                let (subjects, state) = bus.drawer(gateway).await?;
                (Drawer::Nats(subjects), state)
            }
            Sink::Postgres(database) => {
                let (rows, state) = database.drawer(gateway).await?;
                (Drawer::Postgres(rows), state)
            }
        })
    }
}

impl Drawer {
    /// Stores a batch, and the position after it.
    ///
    /// # Errors
    /// [`SinkError`]; then open the drawer again before anything else.
    pub async fn store(&mut self, batch: &v1::RecordBatch, position: &Position) -> Result<(), SinkError> {
        match self {
            Drawer::Jsonl(files) => files.store(batch, position).await,
            Drawer::Nats(subjects) => subjects.store(batch, position).await,
            Drawer::Postgres(rows) => rows.store(batch, position).await,
        }
    }

    /// Keeps a position of the audit trail.
    ///
    /// # Errors
    /// [`SinkError`].
    pub async fn witness(&mut self, made: &Checkpoint) -> Result<(), SinkError> {
        match self {
            Drawer::Jsonl(files) => files.witness(made).await,
            Drawer::Nats(subjects) => subjects.witness(made).await,
            Drawer::Postgres(rows) => rows.witness(made).await,
        }
    }

    /// Takes the operator's word: what was kept of the trail no longer binds.
    ///
    /// # Errors
    /// [`SinkError`].
    pub async fn accept(&mut self, word: &str) -> Result<(), SinkError> {
        match self {
            Drawer::Jsonl(files) => files.accept(word).await,
            Drawer::Nats(subjects) => subjects.accept(word).await,
            Drawer::Postgres(rows) => rows.accept(word).await,
        }
    }

    /// Notes that the gateway has another epoch, and where pulling goes on then: at the beginning of every lane.
    ///
    /// # Errors
    /// [`SinkError`].
    pub async fn reset(&mut self, from: &str, to: &str) -> Result<Position, SinkError> {
        match self {
            Drawer::Jsonl(files) => files.reset(from, to).await?,
            Drawer::Nats(subjects) => subjects.reset(from, to).await?,
            Drawer::Postgres(rows) => rows.reset(from, to).await?,
        }
        Ok(beginning(to))
    }
}

/// The beginning of every lane of an epoch.
fn beginning(epoch: &str) -> Position {
    let lanes = Lane::ALL.into_iter().map(|lane| (lane, Mark::default())).collect();
    Position { epoch: Some(epoch.to_owned()), lanes }
}

/// The lane of a name.
fn lane(name: &str) -> Option<Lane> {
    Lane::ALL.into_iter().find(|lane| lane.as_str() == name)
}

/// A checkpoint as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    origin: String,
    size: u64,
    head: String,
    signature: String,
    at_ms: i64,
}

impl From<&Checkpoint> for Kept {
    fn from(made: &Checkpoint) -> Self {
        Self {
            origin: made.origin.clone(),
            size: made.head.seq,
            head: hex(&made.head.hash),
            signature: hex(&made.signature),
            at_ms: made.at_ms,
        }
    }
}

impl Kept {
    /// The same, read; none when it is none.
    fn checkpoint(&self) -> Option<Checkpoint> {
        let signature = match self.signature.len() {
            0 => Vec::new(),
            _ => bytes::<64>(&self.signature)?.to_vec(),
        };
        Some(Checkpoint {
            origin: self.origin.clone(),
            head: Head { seq: self.size, hash: bytes(&self.head)? },
            at_ms: self.at_ms,
            signature,
        })
    }
}
