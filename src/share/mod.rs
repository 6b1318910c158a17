//! The gateway's gRPC side: what the city pulls, and the client that pulls it.
//!
//! [`session`] is one stream as a pure machine, [`batch`] the door to one consumer, [`server`] and [`local`] the shells
//! around them (what the city calls is in `calls`, what it says back in `feedback`, what it asks for in [`approvals`], what
//! there is in `catalog`, what was let out before in `query`);
//! connections come through `listen`, `tls` and `connections`, and [`quota`] says how much one consumer may have;
//! [`position`] is a consumer's side of the contract as a pure ledger, [`witness`] what it keeps of the audit trail,
//! [`client`] the shell around it, over any [`line`]. In push mode the gateway dials the city ([`dial`]), and the same goes
//! over a [`link`].
//! Nothing here writes to the store: progress goes through [`crate::ingest::Intake::ack`], feedback, approvals, deliveries
//! and denials through [`crate::ingest::Intake::act`], what a consumer witnesses through [`crate::ingest::Intake::witness`].

pub mod approvals;
pub mod batch;
mod calls;
mod catalog;
pub mod client;
mod command;
mod connections;
pub mod counters;
mod denials;
pub mod dial;
mod downlink;
mod feedback;
pub mod line;
pub mod link;
pub mod listen;
pub mod local;
pub mod orders;
pub mod position;
mod query;
pub mod quota;
pub mod refused;
pub mod server;
pub mod session;
mod shared;
mod tls;
pub mod witness;

#[cfg(test)]
mod fake;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::sync::watch;

use crate::approval::{Approval, ApprovalId};
use crate::model::{Consumer, Epoch, Lane, LineId, Seq};
use crate::privacy::protect::released::Released;
use crate::privacy::release::ShareLine;
use crate::rules::command::Run;
use crate::store::lists::Versions;
use crate::store::reader::{LaneState, Raised, ReadError, Reader};
use crate::store::released::Sought;
use crate::store::{Heads, Page};
use crate::wire::{self, Gateway, v1};

/// What the share server needs to know. `lines` are swapped live, the rest holds for the life of the daemon.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who and where the gateway is.
    pub gateway: Gateway,
    /// Where it listens.
    pub listeners: Vec<Listener>,
    /// The share list.
    pub lines: Vec<ShareLine>,
    /// What one consumer may have.
    pub limits: quota::Limits,
    /// Whether whoever may connect can ask for the contract itself.
    pub reflection: bool,
}

/// One listener of the city's side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listener {
    /// Plain text on a loopback address; whoever connects is this consumer.
    Loopback {
        /** Loopback only. */
        address: SocketAddr,
        /** Who it is. */
        consumer: Consumer,
    },
    /// Plain text on a Unix socket; whoever may open it is this consumer.
    Unix {
        /** The socket. */
        path: PathBuf,
        /** Who it is. */
        consumer: Consumer,
    },
    /// Mutual TLS; the client certificate's one URI SAN is the consumer.
    Tls {
        /** Any address. */
        address: SocketAddr,
        /** PEM chain. */
        certificate: PathBuf,
        /** PEM key. */
        key: PathBuf,
        /** PEM roots of clients. */
        client_ca: PathBuf,
        /** PEM revocation lists of those roots and of what is between them and clients. */
        client_crl: Option<PathBuf>,
    },
}

/// The reading side of the store, as far as the city's side needs it.
pub trait Pages: Clone + Send + Sync + 'static {
    /// The store's epoch.
    fn epoch(&self) -> Epoch;
    /// The newest positions; changes after every commit that sealed something.
    fn heads(&self) -> watch::Receiver<Heads>;
    /// The run after a cursor, as [`Reader::page`].
    fn page(
        &self,
        lane: Lane,
        after: Seq,
        records_max: usize,
        bytes_max: usize,
    ) -> impl Future<Output = Result<Page, ReadError>> + Send;
    /// The state of every lane.
    fn lanes(&self) -> impl Future<Output = Result<[LaneState; Lane::ALL.len()], ReadError>> + Send;
    /// What a consumer has acknowledged.
    fn acked(&self, consumer: &Consumer) -> impl Future<Output = Result<Heads, ReadError>> + Send;
    /// When the first record after each of these positions was sealed, milliseconds since 1970 UTC.
    fn sealed_after(
        &self,
        after: Heads,
    ) -> impl Future<Output = Result<[Option<i64>; Lane::ALL.len()], ReadError>> + Send;
    /// Alarms that stand raised.
    fn raised(&self) -> impl Future<Output = Result<Vec<Raised>, ReadError>> + Send;
    /// An approval, over or not.
    fn approval(&self, id: ApprovalId) -> impl Future<Output = Result<Option<Approval>, ReadError>> + Send;
    /// A run of a command, over or not.
    fn run(&self, id: u64) -> impl Future<Output = Result<Option<Run>, ReadError>> + Send;
    /// Which versions of the lists there are, as [`Reader::versions`].
    fn versions(&self, digest: [u8; 32]) -> impl Future<Output = Result<Versions, ReadError>> + Send;
    /// Cells that were let out, as [`Reader::released`].
    fn released(
        &self,
        sought: Sought,
    ) -> impl Future<Output = Result<Option<Vec<Released>>, ReadError>> + Send;
    /// What a period of a budget has spent, as [`Reader::spent`].
    fn spent(
        &self,
        budget: LineId,
        period_ms: i64,
    ) -> impl Future<Output = Result<Vec<(u64, u64)>, ReadError>> + Send;
}

impl Pages for Reader {
    fn epoch(&self) -> Epoch {
        Reader::epoch(self)
    }
    fn heads(&self) -> watch::Receiver<Heads> {
        Reader::heads(self)
    }
    async fn page(
        &self,
        lane: Lane,
        after: Seq,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Page, ReadError> {
        Reader::page(self, lane, after, records_max, bytes_max).await
    }
    async fn lanes(&self) -> Result<[LaneState; Lane::ALL.len()], ReadError> {
        Reader::lanes(self).await
    }
    async fn acked(&self, consumer: &Consumer) -> Result<Heads, ReadError> {
        Reader::acked(self, consumer).await
    }
    async fn sealed_after(&self, after: Heads) -> Result<[Option<i64>; Lane::ALL.len()], ReadError> {
        Reader::sealed_after(self, after).await
    }
    async fn raised(&self) -> Result<Vec<Raised>, ReadError> {
        Reader::raised(self).await
    }
    async fn approval(&self, id: ApprovalId) -> Result<Option<Approval>, ReadError> {
        Reader::approval(self, id).await
    }
    async fn run(&self, id: u64) -> Result<Option<Run>, ReadError> {
        Reader::run(self, id).await
    }
    async fn versions(&self, digest: [u8; 32]) -> Result<Versions, ReadError> {
        Reader::versions(self, digest).await
    }
    async fn released(&self, sought: Sought) -> Result<Option<Vec<Released>>, ReadError> {
        Reader::released(self, sought).await
    }
    async fn spent(&self, budget: LineId, period_ms: i64) -> Result<Vec<(u64, u64)>, ReadError> {
        Reader::spent(self, budget, period_ms).await
    }
}

/// A lane's state as the contract tells it; `oldest_ms` is when the first record after `acked` was sealed.
fn lane_status(
    lane: Lane,
    state: &LaneState,
    acked: Seq,
    oldest_ms: Option<i64>,
    now_ms: i64,
) -> v1::LaneStatus {
    let age_ms = oldest_ms.map(|sealed_ms| now_ms.saturating_sub(sealed_ms).max(0));
    v1::LaneStatus {
        lane: wire::lane_number(lane),
        first_seq: state.first.0,
        head_seq: state.head.0,
        acked_seq: acked.0,
        oldest_unacked_age: age_ms.map(|ms| prost_types::Duration { seconds: ms / 1000, nanos: 0 }),
        gap_records: state.gap_records,
    }
}
