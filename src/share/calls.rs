//! What the city calls: the shell around [`Session`], long polls, acks and status, and who the caller is. What carries the
//! calls does not matter: each takes its caller and what was asked.
//!
//! Guarantees: a stream lives in its own response and dies with it; a consumer has one stream, the newest. Starts no
//! task of its own.

use std::collections::HashMap;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status, Streaming};

use super::Pages;
use super::batch::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX, Caller, InForce, Wanted, cut};
use super::denials::Denials;
use super::feedback::Said;
use super::quota::Quota;
use super::refused::Refused;
use super::server::City;
use super::session::{Action, Session, Stand, is_paced, parse_ack, parse_witness, position};
use crate::approval::{self, ApprovalId};
use crate::ingest::act::{self, Act};
use crate::ingest::handout::Delivered;
use crate::ingest::{Stopped, WitnessRefused};
use crate::model::{Consumer, Lane, Seq};
use crate::privacy::release::ShareLine;
use crate::store::Heads;
use crate::wire::{self, v1};
use v1::record_service_server::RecordService;
use v1::status_service_server::StatusService;
use v1::streaming_pull_request::Frame as Ask;
use v1::streaming_pull_response::Frame;

/// The longest that `Fetch` waits.
const FETCH_WAIT_MAX: Duration = Duration::from_secs(60);
/// Records of a `Fetch` that does not say how many.
const FETCH_RECORDS: usize = 1000;
/// How long a stream may take to say `open`.
const OPEN: Duration = Duration::from_secs(10);
/// How long the last word of a stream waits for a peer that does not read.
const GOODBYE: Duration = Duration::from_secs(5);

/// How a listener knows its callers.
#[derive(Clone, Debug)]
pub(super) enum Who {
    Fixed(Consumer),
    Certificate,
}

/// What every call of one listener works with.
pub(super) struct Shell<P> {
    pub(super) city: Arc<City<P>>,
    pub(super) streams: Arc<Streams>,
    pub(super) said: Arc<Said>,
    pub(super) quota: Arc<Quota>,
    pub(super) denials: Arc<Denials>,
    pub(super) who: Who,
    pub(super) stop: CancellationToken,
    pub(super) start_ms: u64,
}

impl<P> Clone for Shell<P> {
    fn clone(&self) -> Self {
        Self {
            city: self.city.clone(),
            streams: self.streams.clone(),
            said: self.said.clone(),
            quota: self.quota.clone(),
            denials: self.denials.clone(),
            who: self.who.clone(),
            stop: self.stop.clone(),
            start_ms: self.start_ms,
        }
    }
}

/// What a consumer says to its stream, whatever carries it.
pub(super) trait Inbound: Send {
    /// The next frame; none at the end.
    ///
    /// # Errors
    /// What the transport says of its end.
    fn message(&mut self) -> impl Future<Output = Result<Option<v1::StreamingPullRequest>, Status>> + Send;
}

impl Inbound for Streaming<v1::StreamingPullRequest> {
    async fn message(&mut self) -> Result<Option<v1::StreamingPullRequest>, Status> {
        Streaming::message(self).await
    }
}

impl Inbound for mpsc::Receiver<v1::StreamingPullRequest> {
    async fn message(&mut self) -> Result<Option<v1::StreamingPullRequest>, Status> {
        Ok(self.recv().await)
    }
}

/// The open stream of each consumer; bounded by the consumers of the share list.
#[derive(Debug, Default)]
pub(super) struct Streams(Mutex<HashMap<Consumer, CancellationToken>>);

impl Streams {
    /// Ends the older stream of this consumer; the answer is cancelled when a newer one comes.
    fn open(&self, consumer: &Consumer) -> CancellationToken {
        let mine = CancellationToken::new();
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(older) = open.insert(consumer.clone(), mine.clone()) {
            older.cancel();
        }
        mine
    }
}

/// The caller of a client certificate: the consumer is its one URI SAN.
fn certified<T>(request: &Request<T>) -> Result<Caller, Refused> {
    let chain = request.peer_certs().ok_or(Refused::Identity("none came"))?;
    let leaf = chain.first().ok_or(Refused::Identity("none came"))?;
    let certificate = Some(Sha256::digest(leaf.as_ref()).into());
    let consumer = one_name(leaf).map_err(Refused::Identity)?;
    Ok(Caller { consumer, certificate })
}

/// The one URI SAN of a certificate (X.509-SVID §2).
///
/// # Errors
/// What is wrong with it.
pub(super) fn one_name(leaf: &CertificateDer<'_>) -> Result<Consumer, &'static str> {
    let leaf = webpki::EndEntityCert::try_from(leaf).map_err(|_| "it cannot be read")?;
    let mut names = leaf.valid_uri_names();
    match (names.next(), names.next()) {
        (Some(name), None) => name.parse().map_err(|_| "its URI SAN is no consumer's name"),
        (None, _) => Err("it has no URI SAN, and needs exactly one"),
        _ => Err("it has more than one URI SAN, and needs exactly one"),
    }
}

impl<P: Pages> Shell<P> {
    pub(super) fn lines(&self) -> Arc<[ShareLine]> {
        self.city.lines.borrow().clone()
    }

    /// What is in force now.
    pub(super) fn force(&self) -> InForce {
        InForce { lines: self.lines(), grants: self.city.grants.borrow().clone() }
    }

    /// Who calls, whatever they may have, and no more often than they may.
    pub(super) fn known<T>(&self, request: &Request<T>) -> Result<Caller, Refused> {
        let caller = match &self.who {
            Who::Fixed(consumer) => consumer.clone().into(),
            Who::Certificate => certified(request)?,
        };
        self.called(&caller)?;
        Ok(caller)
    }

    /// One more call, if it is within the caller's rate.
    ///
    /// # Errors
    /// [`Refused::Rate`].
    pub(super) fn called(&self, caller: &Caller) -> Result<(), Refused> {
        self.quota.call(&caller.consumer, &self.lines(), self.city.clock.now().mono_ms)
    }

    /// Whether an answer with bytes of a lane may go to a consumer now. Lanes that are never paced always may.
    ///
    /// # Errors
    /// [`Refused::Quota`].
    pub(super) fn within_quota(&self, consumer: &Consumer, lane: Lane) -> Result<(), Refused> {
        if !is_paced(lane) {
            return Ok(());
        }
        self.quota.bytes(consumer, &self.lines(), self.city.clock.now().mono_ms)
    }

    /// Pays for bytes that leave; how long those after them have to wait, milliseconds.
    pub(super) fn spend(&self, consumer: &Consumer, bytes: u64) -> u64 {
        self.quota.spend(consumer, &self.lines(), bytes, self.city.clock.now().mono_ms)
    }

    /// Who calls, if there is anything for it now.
    pub(super) fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Refused> {
        self.admit(self.known(request)?)
    }

    /// The same caller, if there is anything for it now.
    pub(super) fn admit(&self, caller: Caller) -> Result<Caller, Refused> {
        let wanted = Wanted::everything(caller);
        let force = self.force();
        let rights = wanted.rights(&force, self.city.clock.now().wall_ms);
        if rights.is_empty() {
            return Err(rights.refusal());
        }
        Ok(wanted.caller)
    }

    /// Begins a use of an approval, unless one goes on; what is in force says so when this is answered.
    pub(super) async fn begin_use(&self, id: ApprovalId) -> Result<Result<(), approval::Refused>, Stopped> {
        match self.city.intake.act(Act::Approval(approval::Order::Use(id))).await? {
            Ok(_) => Ok(Ok(())),
            Err(act::Refused::Approval(refused)) => Ok(Err(refused)),
            Err(_) => Err(Stopped),
        }
    }

    pub(super) fn refuse(&self, refused: Refused) -> Status {
        self.city.counters.refused(&refused);
        let is_written = match self.denials.row(&refused, self.city.clock.now().mono_ms) {
            Ok(None) => true,
            Ok(Some(denied)) => self.city.intake.note(Act::Denied(denied)),
            Err(()) => false,
        };
        if !is_written {
            self.city.counters.denial_unwritten();
        }
        refused.into()
    }

    /// The newest checkpoint of the trail, once there is one.
    fn checkpoint(&self) -> Option<v1::AuditCheckpoint> {
        self.city.checkpoints.borrow().as_ref().map(wire::checkpoint)
    }

    /// Comes when the trail has it: only then may the batch leave.
    async fn delivered(&self, delivered: Delivered) -> Result<(), Stopped> {
        // A delivery is noted or the store has stopped; there is no third.
        self.city.intake.act(Act::Delivered(delivered)).await?.map(drop).map_err(|_| Stopped)
    }

    async fn witness(
        &self,
        consumer: Consumer,
        size: u64,
        head: [u8; 32],
    ) -> Result<Result<(), WitnessRefused>, Stopped> {
        let answer = self.city.intake.witness(consumer, size, head).await?;
        if answer.is_ok() {
            self.city.counters.witnessed();
        }
        Ok(answer)
    }

    /// A long poll.
    pub(super) async fn fetch(
        &self,
        caller: Caller,
        request: v1::FetchRequest,
    ) -> Result<v1::FetchResponse, Refused> {
        let pages = &self.city.pages;
        let or = |asked: u32, default, most| if asked == 0 { default } else { (asked as usize).min(most) };
        let records_max = or(request.max_records, FETCH_RECORDS, BATCH_RECORDS_MAX);
        let bytes_max = or(request.max_bytes, BATCH_BYTES_MAX, BATCH_BYTES_MAX);
        let wait = Duration::try_from(request.max_wait.unwrap_or_default())
            .map_err(|_| Refused::Malformed("max_wait is negative"))?;
        let deadline = Instant::now() + wait.min(FETCH_WAIT_MAX);
        let wanted = Wanted { caller, share_items: request.share_items, schemas: Vec::new() };
        let after = request.after.ok_or(Refused::Malformed("after is needed: a lane and a position"))?;
        let mut heads = pages.heads();
        let (lane, start) = position(&after, pages.epoch(), &heads.borrow())?;
        self.within_quota(&wanted.caller.consumer, lane)?;
        let (mut at, mut withheld) = (start, 0);
        loop {
            heads.mark_unchanged();
            let page = pages.page(lane, at, records_max, bytes_max).await?;
            let (force, now) = (self.force(), self.city.clock.now());
            let rights = wanted.rights(&force, now.wall_ms);
            if !rights.lane(lane) {
                return Err(rights.refusal());
            }
            let mut part = cut(pages.epoch(), &page, &rights, records_max, bytes_max as u64);
            if let (true, Some(first)) = (part.batch.records.is_empty(), part.next_bytes) {
                part = cut(pages.epoch(), &page, &rights, 1, first);
            }
            withheld += part.batch.withheld;
            at = Seq(part.batch.through_seq);
            if let (true, Some(id)) = (part.batch.records.is_empty(), part.wants_use) {
                self.begin_use(id).await??;
                continue;
            }
            let found = !part.batch.records.is_empty() || !part.batch.gaps.is_empty();
            if found || Instant::now() >= deadline || self.stop.is_cancelled() {
                if let Some(delivered) = part.delivered(&wanted.caller.consumer, lane) {
                    self.delivered(delivered).await?;
                }
                self.city.counters.batch(part.batch.records.len(), part.bytes, withheld);
                self.spend(&wanted.caller.consumer, part.bytes);
                let batch = v1::RecordBatch { first_seq: start.next().0, withheld, ..part.batch };
                let more = batch.through_seq < batch.head_seq;
                return Ok(v1::FetchResponse { batch: Some(batch), audit: self.checkpoint(), more });
            }
            if at < page.head {
                continue;
            }
            tokio::select! {
                () = changed(&mut heads) => {}
                () = sleep_until(deadline) => {}
                () = self.stop.cancelled() => {}
            }
        }
    }

    /// Takes acks, and what the consumer keeps of the trail.
    pub(super) async fn ack(
        &self,
        caller: Caller,
        request: v1::AckRequest,
    ) -> Result<v1::AckResponse, Refused> {
        let consumer = caller.consumer;
        if request.acks.len() > Lane::ALL.len() {
            return Err(Refused::Malformed("one ack a lane"));
        }
        if let Some(witness) = &request.witness {
            let (size, head) = parse_witness(witness)?;
            self.witness(consumer.clone(), size, head).await??;
        }
        let epoch = self.city.pages.epoch();
        let mut confirmations = Vec::new();
        for ack in &request.acks {
            let ack = parse_ack(consumer.clone(), ack, epoch)?;
            let lane = ack.lane;
            let acked = self.city.intake.ack(ack).await??;
            self.city.counters.ack();
            confirmations.push(v1::AckConfirmation {
                upto: Some(wire::cursor(epoch, lane, acked.upto)),
                hash_matched: acked.hash_matched,
            });
        }
        Ok(v1::AckResponse { confirmations, audit: self.checkpoint() })
    }

    /// The lanes in which the caller holds a line now.
    pub(super) async fn status(
        &self,
        caller: Caller,
        _: v1::GetStatusRequest,
    ) -> Result<v1::GetStatusResponse, Refused> {
        let pages = &self.city.pages;
        let (states, acked) = (pages.lanes().await?, pages.acked(&caller.consumer).await?);
        let oldest = pages.sealed_after(acked).await?;
        let now = self.city.clock.now();
        let wanted = Wanted::everything(caller);
        let force = self.force();
        let rights = wanted.rights(&force, now.wall_ms);
        let mine = Lane::ALL.into_iter().filter(|lane| rights.lane(*lane));
        Ok(v1::GetStatusResponse {
            gateway_id: self.city.gateway.id.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            stream_epoch: pages.epoch().0.to_vec(),
            lanes: mine
                .map(|lane| {
                    let at = lane.index();
                    super::lane_status(lane, &states[at], acked[at], oldest[at], now.wall_ms)
                })
                .collect(),
            audit: self.checkpoint(),
            uptime_seconds: now.mono_ms.saturating_sub(self.start_ms) / 1000,
            ..v1::GetStatusResponse::default()
        })
    }

    /// One stream from its first frame to its end.
    async fn pump(
        self,
        caller: Caller,
        mut inbound: impl Inbound,
        out: mpsc::Sender<Result<v1::StreamingPullResponse, Status>>,
    ) {
        let _open = self.city.counters.stream();
        let consumer = caller.consumer.clone();
        if let Err(refused) = self.stream(caller, &mut inbound, &out, Ok).await {
            tracing::info!(%consumer, reason = refused.reason(), "stream refused");
            // A consumer that does not read is not told.
            let _ = timeout(GOODBYE, out.send(Err(self.refuse(refused)))).await;
        }
    }

    /// A session of the stream's first frame.
    async fn opened(
        &self,
        caller: Caller,
        inbound: &mut impl Inbound,
        heads: &mut watch::Receiver<Heads>,
    ) -> Result<Session, Refused> {
        let pages = &self.city.pages;
        let first = timeout(OPEN, inbound.message());
        let first = first.await.map_err(|_| Refused::Malformed("open did not come within 10 s"))?;
        let Some(Ask::Open(open)) = first.ok().flatten().and_then(|first| first.frame) else {
            return Err(Refused::Malformed("the first frame has to be open"));
        };
        let acked = pages.acked(&caller.consumer).await?;
        let stand = Stand { epoch: pages.epoch(), heads: *heads.borrow_and_update(), acked };
        Session::open(caller, open, stand, &self.force(), self.city.clock.now())
    }

    /// A session from its first frame to its end, over anything that carries frames both ways; `wrap` makes of a frame what
    /// `out` takes.
    ///
    /// # Errors
    /// Why it ended, where that was not politely.
    pub(super) async fn stream<T: Send>(
        &self,
        caller: Caller,
        inbound: &mut impl Inbound,
        out: &mpsc::Sender<T>,
        wrap: impl Fn(v1::StreamingPullResponse) -> T,
    ) -> Result<(), Refused> {
        let pages = &self.city.pages;
        let now = || self.city.clock.now();
        let consumer = caller.consumer.clone();
        let (mut heads, mut checkpoints) = (pages.heads(), self.city.checkpoints.clone());
        let (mut line_changes, mut grant_changes) = (self.city.lines.clone(), self.city.grants.clone());
        let mut session = self.opened(caller, inbound, &mut heads).await?;
        session.checkpoint(checkpoints.borrow_and_update().as_ref());
        let replaced = self.streams.open(&consumer);
        let (mut reading, mut acking, mut permit) = (None, None, None);
        let (mut recording, mut witnessing, mut using) = (None, None, None);
        let (mut open_in, mut draining) = (true, false);
        loop {
            let force = self.force();
            while let Some(action) = session.poll(permit.is_some(), &force, now()) {
                match action {
                    Action::Read { lane, after, records_max, bytes_max } => {
                        reading = Some(Box::pin(pages.page(lane, after, records_max, bytes_max)));
                    }
                    Action::Ack(ack) => acking = Some(Box::pin(self.city.intake.ack(ack))),
                    Action::Deliver(delivered) => recording = Some(Box::pin(self.delivered(delivered))),
                    Action::Witness { size, head } => {
                        witnessing = Some(Box::pin(self.witness(consumer.clone(), size, head)));
                    }
                    Action::Use(id) => using = Some(Box::pin(self.begin_use(id))),
                    Action::End(end) => return end,
                    Action::Send(frame) => {
                        if let Some(wait_ms) = self.count(&consumer, &frame) {
                            session.pace_until(now().mono_ms.saturating_add(wait_ms));
                        }
                        let permit: mpsc::Permit<'_, _> =
                            permit.take().expect("a frame comes where there is room");
                        permit.send(wrap(frame));
                    }
                }
            }
            let idle_ms = session.wakeup_ms().saturating_sub(now().mono_ms);
            tokio::select! {
                biased;
                () = replaced.cancelled() => session.end(Err(Refused::Replaced)),
                () = self.stop.cancelled(), if !draining => {
                    draining = true;
                    session.drain();
                }
                room = out.reserve(), if permit.is_none() => match room {
                    Ok(room) => permit = Some(room),
                    Err(_) => return Ok(()),
                },
                written = done(&mut recording) => take(&mut session, written, |session, ()| session.delivered()),
                page = done(&mut reading) => take(&mut session, page, Session::page),
                answer = done(&mut acking) => take(&mut session, answer, Session::acked),
                answer = done(&mut witnessing) => take(&mut session, answer, Session::witnessed),
                answer = done(&mut using) => take(&mut session, answer, Session::used),
                frame = inbound.message(), if open_in => match frame {
                    Ok(Some(frame)) => session.frame(frame),
                    Ok(None) => {
                        open_in = false;
                        session.close();
                    }
                    Err(status) => match status.code() {
                        Code::OutOfRange | Code::ResourceExhausted => session.end(Err(Refused::TooLarge)),
                        Code::Internal | Code::InvalidArgument => {
                            session.end(Err(Refused::Malformed("a frame that cannot be read")));
                        }
                        // The peer is gone.
                        _ => return Ok(()),
                    },
                },
                () = changed(&mut heads) => session.heads(&heads.borrow_and_update()),
                () = changed(&mut line_changes) => {}
                () = changed(&mut checkpoints) => session.checkpoint(checkpoints.borrow_and_update().as_ref()),
                () = changed(&mut grant_changes) => {}
                () = sleep(Duration::from_millis(idle_ms)), if permit.is_some() => {}
            }
        }
    }

    /// Counts a frame that leaves, and pays for it. How long the lanes that wait for the quota have to, milliseconds.
    fn count(&self, consumer: &Consumer, frame: &v1::StreamingPullResponse) -> Option<u64> {
        match &frame.frame {
            Some(Frame::Batch(batch)) => {
                let bytes = batch.records.iter().map(|record| record.body.len() as u64).sum();
                self.city.counters.batch(batch.records.len(), bytes, batch.withheld);
                let wait_ms = Some(self.spend(consumer, bytes)).filter(|wait_ms| *wait_ms > 0)?;
                self.city.counters.paced(bytes, wait_ms);
                return Some(wait_ms);
            }
            Some(Frame::AckConfirmation(_)) => self.city.counters.ack(),
            _ => {}
        }
        None
    }
}

/// Hands an answer to the session, or ends it with what kept the answer from coming.
fn take<T, E: Into<Refused>>(
    session: &mut Session,
    answer: Result<T, E>,
    then: impl FnOnce(&mut Session, T),
) {
    match answer {
        Ok(answer) => then(session, answer),
        Err(error) => session.end(Err(error.into())),
    }
}

/// The future's answer, once; waits for ever where there is none.
async fn done<F: Future + Unpin>(future: &mut Option<F>) -> F::Output {
    match future {
        Some(running) => {
            let answer = running.await;
            *future = None;
            answer
        }
        None => pending().await,
    }
}

/// Comes at the next change; never when its sender is gone.
async fn changed<T>(watched: &mut watch::Receiver<T>) {
    if watched.changed().await.is_err() {
        pending::<()>().await;
    }
}

/// A response that carries its own pump: it runs when the transport asks for the next frame, and ends with the call.
pub(super) struct Driven {
    pump: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    frames: mpsc::Receiver<Result<v1::StreamingPullResponse, Status>>,
}

impl Driven {
    fn drive(&mut self, context: &mut Context<'_>) {
        if self.pump.as_mut().is_some_and(|pump| pump.as_mut().poll(context).is_ready()) {
            self.pump = None;
        }
    }
}

impl Stream for Driven {
    type Item = Result<v1::StreamingPullResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.drive(context);
        let frame = ready!(self.frames.poll_recv(context));
        // The next page is read while this one is encoded.
        self.drive(context);
        Poll::Ready(frame)
    }
}

#[tonic::async_trait]
impl<P: Pages> RecordService for Shell<P> {
    type StreamingPullStream = Driven;

    async fn streaming_pull(
        &self,
        request: Request<Streaming<v1::StreamingPullRequest>>,
    ) -> Result<Response<Driven>, Status> {
        let caller = self.caller(&request).map_err(|refused| self.refuse(refused))?;
        let (out, frames) = mpsc::channel(1);
        let pump = self.clone().pump(caller, request.into_inner(), out);
        Ok(Response::new(Driven { pump: Some(Box::pin(pump)), frames }))
    }

    async fn fetch(&self, request: Request<v1::FetchRequest>) -> Result<Response<v1::FetchResponse>, Status> {
        let caller = self.caller(&request).map_err(|refused| self.refuse(refused))?;
        let answer = self.fetch(caller, request.into_inner()).await;
        answer.map(Response::new).map_err(|refused| self.refuse(refused))
    }

    async fn ack(&self, request: Request<v1::AckRequest>) -> Result<Response<v1::AckResponse>, Status> {
        let caller = self.caller(&request).map_err(|refused| self.refuse(refused))?;
        let answer = self.ack(caller, request.into_inner()).await;
        answer.map(Response::new).map_err(|refused| self.refuse(refused))
    }
}

#[tonic::async_trait]
impl<P: Pages> StatusService for Shell<P> {
    async fn get_status(
        &self,
        request: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        let caller = self.caller(&request).map_err(|refused| self.refuse(refused))?;
        let answer = self.status(caller, request.into_inner()).await;
        answer.map(Response::new).map_err(|refused| self.refuse(refused))
    }
}
