//! The city's end of a line: connects (or is given one), gives credit, takes batches, acknowledges, and goes on after a break.
//!
//! Guarantees: every batch is held against the contract ([`Position::take`]) before its taker sees it; an ack leaves
//! only after the taker said that it has stored the batch; at most one window of records is in memory; a silent line
//! is given up after 30 s. A checkpoint of the audit trail is confirmed only after it was kept. It keeps no state on disk:
//! the taker stores the [`Position`] it is shown, the keeper the checkpoints.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status};

use super::line::{CALL, Line, Pulling};
use super::listen::chain;
use super::position::{Broken, Mark, Position, Taken};
use super::witness::{Book, Suspect};
use crate::audit::checkpoint::Checkpoint;
use crate::backoff::Backoff;
use crate::model::Lane;
use crate::wire::{self, v1};
use v1::streaming_pull_request::Frame as Ask;
use v1::streaming_pull_response::Frame as Told;

/// HTTP/2 flow control window, bytes.
const FLOW_WINDOW: u32 = 4 << 20;
/// How often the gateway shall say that it is there, and how long the line may be silent.
const SILENCE: (i64, Duration) = (10, Duration::from_secs(30));
/// Waits between attempts; a connection that lasted this long starts again at the floor.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
const LASTED: Duration = Duration::from_secs(10);

/// Where the gateway is, and who calls.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// `http://127.0.0.1:50051`, `unix:/path` or `https://gateway:50051`.
    pub gateway: String,
    /// PEM roots of the gateway's certificate.
    pub ca: Option<PathBuf>,
    /// PEM chain of the caller.
    pub certificate: Option<PathBuf>,
    /// PEM key of the caller.
    pub key: Option<PathBuf>,
}

/// What to pull.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Where from.
    pub target: Target,
    /// Tells two processes of one consumer apart.
    pub instance: String,
    /// Which lanes; empty means all that are granted.
    pub lanes: Vec<Lane>,
    /// Which lines of the share list; empty means all that are granted.
    pub share_items: Vec<String>,
    /// Whether to go on at the head and after a break; otherwise it ends at the heads of the start.
    pub follow: bool,
    /// Whether to acknowledge.
    pub ack: bool,
    /// At most this many records.
    pub limit: Option<u64>,
    /// How much may be on its way.
    pub window: Window,
}

/// How much may be on its way in each lane.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Records.
    pub records: u32,
    /// Bytes of their bodies.
    pub bytes: u64,
}

impl Default for Window {
    fn default() -> Self {
        Self { records: 40_000, bytes: 4 << 20 }
    }
}

/// Where batches go.
pub trait Taker: Send {
    /// Stores the batch and the position shown with it before it answers; then the ack goes.
    ///
    /// # Errors
    /// What kept it from being stored: pulling ends with it.
    fn take(
        &mut self,
        batch: &v1::RecordBatch,
        taken: Taken,
        position: &Position,
    ) -> impl Future<Output = io::Result<ControlFlow<()>>> + Send;
}

/// A taker that does not wait for anything.
pub fn each<F>(take: F) -> impl Taker
where
    F: FnMut(&v1::RecordBatch, Taken, &Position) -> io::Result<ControlFlow<()>> + Send,
{
    Each(take)
}

struct Each<F>(F);

impl<F> Taker for Each<F>
where
    F: FnMut(&v1::RecordBatch, Taken, &Position) -> io::Result<ControlFlow<()>> + Send,
{
    async fn take(
        &mut self,
        batch: &v1::RecordBatch,
        taken: Taken,
        position: &Position,
    ) -> io::Result<ControlFlow<()>> {
        (self.0)(batch, taken, position)
    }
}

/// Why pulling ended early.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The address or the certificates.
    #[error("gateway {0}: {1}")]
    Target(String, String),
    /// A certificate file.
    #[error("certificate file {0}: {1}")]
    File(PathBuf, io::Error),
    /// The gateway's answer.
    #[error("gateway: {} ({:?})", .0.message(), .0.code())]
    Refused(Box<Status>),
    /// Nothing is granted in the lanes that were asked for.
    #[error("no line of the share list gives this caller anything in the lanes asked for")]
    NothingGranted,
    /// The line was silent.
    #[error("the gateway was silent for {} s", SILENCE.1.as_secs())]
    Silent,
    /// The gateway goes down, or ended the stream.
    #[error("the gateway ended the stream; come back in {} ms", .0.as_millis())]
    Ended(Duration),
    /// The contract does not hold.
    #[error("contract broken: {0}")]
    Broken(#[from] Broken),
    /// The audit trail is not the one it was.
    #[error(
        "audit trail: {0}; keep what you have and ask for `smallbrain audit verify` on the gateway, with it as the witness"
    )]
    Suspect(#[from] Suspect),
    /// The taker could not store what came.
    #[error("output: {0}")]
    Taker(#[from] io::Error),
}

impl PullError {
    /// Whether the same attempt may succeed later.
    #[must_use]
    pub fn passes(&self) -> bool {
        match self {
            PullError::Target(..) | PullError::Silent | PullError::Ended(_) => true,
            PullError::Refused(status) => matches!(
                status.code(),
                Code::Unavailable
                    | Code::Unknown
                    | Code::Internal
                    | Code::Cancelled
                    | Code::DeadlineExceeded
                    | Code::ResourceExhausted
            ),
            _ => false,
        }
    }
}

impl From<Status> for PullError {
    fn from(status: Status) -> Self {
        PullError::Refused(Box::new(status))
    }
}

impl Target {
    /// Connects.
    ///
    /// # Errors
    /// [`PullError`] when the address is none, a file cannot be read, or nobody answers.
    pub async fn connect(&self) -> Result<Channel, PullError> {
        let wrong = |error: &dyn std::error::Error| PullError::Target(self.gateway.clone(), chain(error));
        let mut endpoint = Endpoint::from_shared(self.gateway.clone())
            .map_err(|error| wrong(&error))?
            .connect_timeout(CALL)
            .http2_keep_alive_interval(Duration::from_secs(60))
            .keep_alive_timeout(Duration::from_secs(20))
            .keep_alive_while_idle(true)
            .initial_stream_window_size(FLOW_WINDOW)
            .initial_connection_window_size(FLOW_WINDOW);
        if self.gateway.starts_with("https:") {
            let read = |path: &PathBuf| std::fs::read(path).map_err(|e| PullError::File(path.clone(), e));
            let mut tls = ClientTlsConfig::new();
            if let Some(ca) = &self.ca {
                tls = tls.ca_certificate(Certificate::from_pem(read(ca)?));
            }
            if let (Some(certificate), Some(key)) = (&self.certificate, &self.key) {
                tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
            }
            endpoint = endpoint.tls_config(tls).map_err(|error| wrong(&error))?;
        }
        endpoint.connect().await.map_err(|error| wrong(&error))
    }
}

/// Says something about an alarm, once. A call that got no answer is repeated as it was: the gateway keeps its request id.
///
/// # Errors
/// [`PullError`].
pub async fn feedback(
    target: &Target,
    request: v1::PushFeedbackRequest,
) -> Result<v1::PushFeedbackResponse, PullError> {
    Ok(target.connect().await?.feedback(request).await?)
}

/// Stores a checkpoint before it is done.
type Keep = dyn FnMut(Checkpoint) -> Pin<Box<dyn Future<Output = io::Result<()>> + Send>> + Send;

/// What is kept of the audit trail, and who keeps it.
struct Keeper {
    book: Book,
    keep: Box<Keep>,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.book.fmt(f)
    }
}

/// A consumer that pulls.
#[derive(Debug)]
pub struct Puller {
    settings: Settings,
    position: Position,
    taken: u64,
    keeper: Option<Keeper>,
    connected: Arc<AtomicBool>,
}

/// What one stream has to reach, and what it still waits for.
#[derive(Debug, Default)]
struct Errand {
    heads: BTreeMap<Lane, u64>,
    unconfirmed: BTreeMap<Lane, u64>,
    enough: bool,
}

impl Errand {
    fn confirmed(&mut self, confirmed: v1::AckConfirmation) {
        let upto = confirmed.upto.unwrap_or_default();
        self.unconfirmed.retain(|lane, seq| wire::lane_number(*lane) != upto.lane || *seq > upto.seq);
    }
}

impl Puller {
    /// A consumer at this position; a lane without a mark resumes at the ack that the gateway has stored.
    #[must_use]
    pub fn new(settings: Settings, position: Position) -> Self {
        Self { settings, position, taken: 0, keeper: None, connected: Arc::default() }
    }

    /// The same, as a witness of the audit trail, going on from what the book has. `keep` stores each new checkpoint before
    /// it returns; then the gateway is told that it is kept.
    #[must_use]
    pub fn witness(
        self,
        book: Book,
        mut keep: impl FnMut(&Checkpoint) -> io::Result<()> + Send + 'static,
    ) -> Self {
        self.witness_elsewhere(book, move |made| std::future::ready(keep(&made)))
    }

    /// The same, where storing takes a while.
    #[must_use]
    pub fn witness_elsewhere<F>(
        self,
        book: Book,
        mut keep: impl FnMut(Checkpoint) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let keep: Box<Keep> = Box::new(move |made| Box::pin(keep(made)));
        Self { keeper: Some(Keeper { book, keep }), ..self }
    }

    /// Tells by this flag whether the line stands.
    #[must_use]
    pub fn telling(self, connected: Arc<AtomicBool>) -> Self {
        Self { connected, ..self }
    }

    /// Where it stands.
    #[must_use]
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Pulls until the heads of the start (or for ever, with `follow`), the limit, `stop`, or the taker's break.
    ///
    /// # Errors
    /// [`PullError`]; with `follow` only those that do not pass.
    pub async fn run(&mut self, stop: &CancellationToken, mut taker: impl Taker) -> Result<(), PullError> {
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        loop {
            let began = Instant::now();
            let end = tokio::select! {
                end = self.dial(&mut taker) => end,
                () = stop.cancelled() => Ok(()),
            };
            self.connected.store(false, Ordering::Relaxed);
            let error = match end {
                Ok(()) => return Ok(()),
                Err(error) if self.settings.follow && error.passes() => error,
                Err(error) => return Err(error),
            };
            if began.elapsed() > LASTED {
                backoff.reset();
            }
            // Without randomness the wait is only less even.
            let mut wait = backoff.wait(getrandom::u64().unwrap_or(0));
            if let PullError::Ended(after) = error {
                wait = wait.max(after);
            }
            tracing::info!(%error, wait_ms = wait.as_millis(), "the line to the gateway broke, it is tried again");
            tokio::select! {
                () = sleep(wait) => {}
                () = stop.cancelled() => return Ok(()),
            }
        }
    }

    /// Pulls over a line that is there, until the line or the stream ends, or as [`run`](Self::run) does. The settings' target
    /// is not used; whoever has the lines decides when to try the next one.
    ///
    /// # Errors
    /// [`PullError`].
    pub async fn over(
        &mut self,
        line: &impl Line,
        stop: &CancellationToken,
        mut taker: impl Taker,
    ) -> Result<(), PullError> {
        tokio::select! {
            end = self.stream(line, &mut taker) => end,
            () = stop.cancelled() => Ok(()),
        }
    }

    /// One connection from its start to its end.
    async fn dial(&mut self, taker: &mut impl Taker) -> Result<(), PullError> {
        let channel = self.settings.target.connect().await?;
        self.stream(&channel, taker).await
    }

    /// One stream from its start to its end.
    async fn stream(&mut self, line: &impl Line, taker: &mut impl Taker) -> Result<(), PullError> {
        let mut errand = self.errand(line).await?;
        // Ahead of a head there is nothing to reach: the gateway says what is wrong with it.
        let ahead = errand
            .heads
            .iter()
            .any(|(lane, head)| self.position.lanes.get(lane).is_some_and(|mark| mark.seq > *head));
        if !ahead && self.is_over(&errand) {
            return Ok(());
        }
        let mut told = line.pull(self.open(&errand)).await?;
        self.connected.store(true, Ordering::Relaxed);
        for lane in errand.unconfirmed.keys() {
            ask(&mut told, Ask::Ack(self.ack(*lane))).await?;
        }
        loop {
            let frame = timeout(SILENCE.1, told.message()).await.map_err(|_| PullError::Silent)??;
            match frame.ok_or(PullError::Ended(Duration::ZERO))?.frame {
                // What is still on its way when there is enough comes again to whoever goes on from here.
                Some(Told::Batch(_)) if errand.enough => {}
                Some(Told::Batch(mut batch)) => {
                    self.shorten(&mut batch);
                    let taken = self.position.take(&batch)?;
                    self.taken += taken.records;
                    let flow = taker.take(&batch, taken, &self.position).await?;
                    errand.enough = flow.is_break() || self.settings.limit.is_some_and(|n| self.taken >= n);
                    // The position was taken from this lane's batch: it is a known one.
                    let Some(lane) = wire::lane(batch.lane) else { continue };
                    if self.settings.ack {
                        errand.unconfirmed.insert(lane, batch.through_seq);
                        ask(&mut told, Ask::Ack(self.ack(lane))).await?;
                    }
                    if !errand.enough {
                        let messages = u32::try_from(taken.records).unwrap_or(u32::MAX);
                        let credit = v1::Credit { lane: batch.lane, messages, bytes: taken.bytes };
                        ask(&mut told, Ask::Credit(credit)).await?;
                    }
                }
                Some(Told::AckConfirmation(confirmed)) => errand.confirmed(confirmed),
                Some(Told::Draining(draining)) => {
                    let after = draining.reconnect_after.unwrap_or_default();
                    return Err(PullError::Ended(after.try_into().unwrap_or_default()));
                }
                Some(Told::Heartbeat(heartbeat)) => {
                    if let Some(witness) = self.kept(heartbeat.audit.as_ref()).await? {
                        ask(&mut told, Ask::Witness(witness)).await?;
                    }
                }
                None => {}
            }
            if self.is_over(&errand) {
                // The gateway ends the stream either way: it may be gone already.
                let _ = ask(&mut told, Ask::Close(v1::PullClose { reason: "done".into() })).await;
                return Ok(());
            }
        }
    }

    /// Asks for the gateway's state: the epoch, where to start, and how far to go.
    async fn errand(&mut self, line: &impl Line) -> Result<Errand, PullError> {
        let status = line.status().await?;
        self.confirm(line, status.audit.as_ref()).await?;
        self.position.meet(&status.stream_epoch)?;
        let mut errand = Errand::default();
        for told in &status.lanes {
            let Some(lane) = wire::lane(told.lane) else { continue };
            if self.settings.lanes.is_empty() || self.settings.lanes.contains(&lane) {
                errand.heads.insert(lane, told.head_seq);
                let mark =
                    self.position.lanes.entry(lane).or_insert(Mark { seq: told.acked_seq, hash: None });
                // What was taken before the line broke, and whose ack was lost with it.
                if self.settings.ack && (told.acked_seq + 1..=told.head_seq).contains(&mark.seq) {
                    errand.unconfirmed.insert(lane, mark.seq);
                }
            }
        }
        if errand.heads.is_empty() { Err(PullError::NothingGranted) } else { Ok(errand) }
    }

    /// Keeps a checkpoint, if it is new: what is to be confirmed then.
    async fn kept(
        &mut self,
        told: Option<&v1::AuditCheckpoint>,
    ) -> Result<Option<v1::AuditWitness>, PullError> {
        let (Some(Keeper { book, keep }), Some(told)) = (&mut self.keeper, told) else { return Ok(None) };
        let Some(new) = book.look(told)? else { return Ok(None) };
        keep(new.clone()).await?;
        let witness = witness(&new);
        book.take(new)?;
        Ok(Some(witness))
    }

    /// Says what is kept, also when it is not new: the last word may have been lost with the line, and a gateway that has
    /// another trail by now learns it from here.
    async fn confirm(
        &mut self,
        line: &impl Line,
        told: Option<&v1::AuditCheckpoint>,
    ) -> Result<(), PullError> {
        self.kept(told).await?;
        let newest = self.keeper.as_ref().and_then(|keeper| keeper.book.newest());
        let Some(newest) = newest.map(witness) else { return Ok(()) };
        let request = v1::AckRequest { witness: Some(newest), ..v1::AckRequest::default() };
        line.ack(request).await?;
        Ok(())
    }

    fn is_over(&self, errand: &Errand) -> bool {
        let reached =
            |(lane, head): (&Lane, &u64)| self.position.lanes.get(lane).is_some_and(|mark| mark.seq >= *head);
        let there = errand.enough || (!self.settings.follow && errand.heads.iter().all(reached));
        there && errand.unconfirmed.is_empty()
    }

    fn open(&self, errand: &Errand) -> v1::PullOpen {
        let left = self.settings.limit.map_or(u64::MAX, |limit| limit.saturating_sub(self.taken));
        let messages = u32::try_from(left).unwrap_or(u32::MAX).min(self.settings.window.records);
        let grant = |lane: &Lane| v1::Credit {
            lane: wire::lane_number(*lane),
            messages,
            bytes: self.settings.window.bytes,
        };
        v1::PullOpen {
            client_instance: self.settings.instance.clone(),
            resume: errand.heads.keys().filter_map(|lane| self.position.cursor(*lane)).collect(),
            initial_credit: errand.heads.keys().map(grant).collect(),
            idle_heartbeat: Some(prost_types::Duration { seconds: SILENCE.0, nanos: 0 }),
            share_items: self.settings.share_items.clone(),
            accept_schemas: Vec::new(),
        }
    }

    fn ack(&self, lane: Lane) -> v1::CumulativeAck {
        let hash = self.position.lanes.get(&lane).and_then(Mark::hash_bytes);
        v1::CumulativeAck {
            upto: self.position.cursor(lane),
            head_hash: hash.map(|hash| hash.to_vec()).unwrap_or_default(),
        }
    }

    /// Cuts a batch down to what is left of the limit; it speaks for a shorter span then.
    fn shorten(&self, batch: &mut v1::RecordBatch) {
        let left = self.settings.limit.map_or(u64::MAX, |limit| limit.saturating_sub(self.taken));
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        if batch.records.len() <= left {
            return;
        }
        batch.records.truncate(left);
        let through = batch.records[left - 1].seq;
        batch.gaps.retain(|gap| gap.from_seq < through);
        let lost: u64 = batch.gaps.iter().map(|gap| gap.lost_records).sum();
        let span = through.saturating_add(1).saturating_sub(batch.first_seq);
        batch.withheld = span.saturating_sub(lost).saturating_sub(left as u64);
        batch.through_seq = through;
    }
}

async fn ask(told: &mut impl Pulling, frame: Ask) -> Result<(), PullError> {
    let frame = v1::StreamingPullRequest { frame: Some(frame) };
    told.ask(frame).await.map_err(|_| PullError::Ended(Duration::ZERO))
}

fn witness(kept: &Checkpoint) -> v1::AuditWitness {
    v1::AuditWitness { size: kept.head.seq, head: kept.head.hash.to_vec() }
}
