//! One StreamingPull stream as a sans-IO machine: frames, pages, heads and time in; reads, acks and frames out.
//!
//! Guarantees: never more records or bytes than the consumer granted; every position told exactly once and in order;
//! a sealed alarm waits for at most the one batch that is on its way into the trail; a lane with credit and a backlog gets
//! at least one batch in sixteen; a batch leaves only after the trail has it; what the share list does not permit at the moment of a batch is withheld, and a lane in which
//! the consumer holds no line at that moment stands still, so that a renewed approval finds its records. At most one
//! read, one row of the trail, one ack and one witness are under way, and those that overtake each other are answered once:
//! nothing here grows.
//!
//! The next page is read while the row of a batch is written, so that a backlog flows as fast as the slower of the two. It is
//! cut into a batch, and so held against the share list, only when the batch before it has left.
//!
//! A caller feeds what happened and then calls [`Session::poll`] until it answers `None`. It does not look at a clock,
//! and it does not know who else pulls.

mod asked;

use super::batch::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX, Caller, InForce, Rights, Wanted, cut};
use super::refused::Refused;
use crate::approval::{self, ApprovalId};
use crate::audit::checkpoint::Checkpoint;
use crate::ingest::handout::Delivered;
use crate::ingest::{Ack, AckRefused, Acked, WitnessRefused};
use crate::model::{Epoch, Lane, Seq, Stamp};
use crate::store::{Heads, Page};
use crate::wire::{self, v1};
use v1::streaming_pull_request::Frame as Request;
use v1::streaming_pull_response::Frame as Response;

use asked::{duration, heartbeat_ms};
pub use asked::{parse_ack, parse_witness, position};

/// Silence before a heartbeat where the consumer names none, milliseconds.
const HEARTBEAT_MS: u64 = 20_000;
/// A consumer may ask for heartbeats between these, milliseconds.
const HEARTBEAT_RANGE_MS: (u64, u64) = (100, 300_000);
/// A lane passed over this often is next: five lanes that wait each get a batch in every sixteen.
const PASSED_OVER_MAX: u8 = 11;
/// A batch that took longer than this to leave halves the next reads, milliseconds.
const SLOW_MS: u64 = 500;
/// Reads never get smaller than this, bytes.
const READ_BYTES_MIN: usize = 16 * 1024;
/// When a consumer shall come back after a stop, milliseconds.
const RECONNECT_MS: u64 = 2_000;

/// Whether a lane waits when a consumer has used up its quota: windows, digests of the trail and readings do; alarms, events
/// and results do not.
#[must_use]
pub fn is_paced(lane: Lane) -> bool {
    matches!(lane, Lane::Aggregate | Lane::Audit | Lane::Bulk)
}

/// What the caller has to do.
#[derive(Debug)]
pub enum Action {
    /// Read a page, and hand it to [`Session::page`].
    Read {
        /** The lane. */
        lane: Lane,
        /** After this position. */
        after: Seq,
        /** At most so many records. */
        records_max: usize,
        /** About so many bytes of bodies. */
        bytes_max: usize,
    },
    /// Send a frame; only given when there was room for one.
    Send(v1::StreamingPullResponse),
    /// Write down what is about to leave, and say so with [`Session::delivered`].
    Deliver(Delivered),
    /// Store an ack, and hand the answer to [`Session::acked`].
    Ack(Ack),
    /// Note which position of the trail the consumer keeps, and hand the answer to [`Session::witnessed`].
    Witness {
        /** Rows. */
        size: u64,
        /** Hash of the last. */
        head: [u8; 32],
    },
    /// Begin a use of an approval, and hand the answer to [`Session::used`].
    Use(ApprovalId),
    /// The stream is over: politely, or for a reason. Nothing comes after it.
    End(Result<(), Refused>),
}

/// The stores' side when a stream opens.
#[derive(Clone, Copy, Debug)]
pub struct Stand {
    /// The store's epoch.
    pub epoch: Epoch,
    /// The newest positions.
    pub heads: Heads,
    /// What this consumer has acknowledged.
    pub acked: Heads,
}

#[derive(Debug, Default)]
struct Flow {
    cursor: Seq,
    head: Seq,
    messages: u64,
    bytes: u64,
    /// What the next record needs, where one did not fit.
    needs: u64,
    passed_over: u8,
    ack: Option<(Seq, Option<[u8; 32]>)>,
    confirm: Option<Acked>,
}

/// One stream of one consumer.
#[derive(Debug)]
pub struct Session {
    wanted: Wanted,
    epoch: Epoch,
    flows: [Flow; Lane::ALL.len()],
    reading: Option<Lane>,
    /// How often the lane of the page was passed over before it was chosen.
    passed_over: u8,
    /// Read, and not yet cut.
    page: Option<Page>,
    /// On its way into the trail.
    recording: Option<v1::RecordBatch>,
    /// In the trail; leaves next.
    batch: Option<v1::RecordBatch>,
    acking: Option<Lane>,
    /// What the consumer keeps, to be noted.
    witness: Option<(u64, [u8; 32])>,
    witnessing: bool,
    checkpoint: Option<v1::AuditCheckpoint>,
    /// Whether the consumer was told of the newest checkpoint.
    told: bool,
    wants_use: Option<ApprovalId>,
    using: bool,
    /// The last one was refused.
    unused: bool,
    /// Until then the lanes that wait for the quota stand still; 0 is not at all.
    paced_until_ms: u64,
    read_bytes: usize,
    batch_sent_ms: Option<u64>,
    heartbeat_ms: u64,
    silent_since_ms: u64,
    leaving: Option<Leaving>,
    ending: Option<Result<(), Refused>>,
    ended: bool,
}

/// A polite end: no more reads, but the acks that came are answered first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    /// The consumer closes.
    Close,
    /// The gateway goes down and says so.
    Drain,
}

impl Session {
    /// Opens with the consumer's first frame.
    ///
    /// # Errors
    /// [`Refused`]: no line for this consumer, a cursor of another epoch or ahead of the head, a field that is none.
    pub fn open(
        caller: impl Into<Caller>,
        open: v1::PullOpen,
        stand: Stand,
        force: &InForce,
        now: Stamp,
    ) -> Result<Self, Refused> {
        let caller = caller.into();
        let wanted = Wanted { caller, share_items: open.share_items, schemas: open.accept_schemas };
        let rights = wanted.rights(force, now.wall_ms);
        if rights.is_empty() {
            return Err(rights.refusal());
        }
        let mut session = Self {
            wanted,
            epoch: stand.epoch,
            flows: Default::default(),
            reading: None,
            passed_over: 0,
            page: None,
            recording: None,
            batch: None,
            acking: None,
            witness: None,
            witnessing: false,
            checkpoint: None,
            told: true,
            wants_use: None,
            using: false,
            unused: false,
            paced_until_ms: 0,
            read_bytes: BATCH_BYTES_MAX,
            batch_sent_ms: None,
            heartbeat_ms: heartbeat_ms(open.idle_heartbeat)?,
            silent_since_ms: now.mono_ms,
            leaving: None,
            ending: None,
            ended: false,
        };
        for (index, flow) in session.flows.iter_mut().enumerate() {
            flow.cursor = stand.acked[index];
            flow.head = stand.heads[index];
        }
        let mut named = [false; Lane::ALL.len()];
        for cursor in &open.resume {
            let (lane, seq) = position(cursor, stand.epoch, &stand.heads)?;
            if std::mem::replace(&mut named[lane.index()], true) {
                return Err(Refused::Malformed("resume: one cursor a lane"));
            }
            session.flows[lane.index()].cursor = seq;
        }
        for credit in &open.initial_credit {
            session.grant(credit)?;
        }
        Ok(session)
    }

    /// Takes a frame of the consumer.
    pub fn frame(&mut self, frame: v1::StreamingPullRequest) {
        let taken = match frame.frame {
            Some(Request::Credit(credit)) => self.grant(&credit),
            Some(Request::Ack(ack)) => self.ack(&ack),
            Some(Request::Witness(witness)) => {
                asked::parse_witness(&witness).map(|witness| self.witness = Some(witness))
            }
            Some(Request::Close(_)) => return self.close(),
            Some(Request::Open(_)) => Err(Refused::Malformed("open comes first and once")),
            None => Err(Refused::Malformed("a frame that this gateway does not know")),
        };
        if let Err(refused) = taken {
            self.end(Err(refused));
        }
    }

    /// Takes the newest positions.
    pub fn heads(&mut self, heads: &Heads) {
        for (flow, head) in self.flows.iter_mut().zip(heads) {
            flow.head = *head;
        }
    }

    /// Takes the newest checkpoint of the trail: a heartbeat tells it soon.
    pub fn checkpoint(&mut self, newest: Option<&Checkpoint>) {
        let newest = newest.map(wire::checkpoint);
        if newest != self.checkpoint {
            self.told = newest.is_none();
            self.checkpoint = newest;
        }
    }

    /// Takes the page that the last [`Action::Read`] asked for.
    pub fn page(&mut self, page: Page) {
        self.reading = None;
        let flow = &mut self.flows[page.lane.index()];
        if page.after != flow.cursor || page.through <= page.after {
            // Nothing there: wait for the next change of the heads instead of asking again.
            flow.head = flow.cursor;
            return;
        }
        self.page = Some(page);
    }

    /// The batch of the last [`Action::Deliver`] is in the trail.
    pub fn delivered(&mut self) {
        self.batch = self.recording.take();
    }

    /// Takes the answer to the last [`Action::Ack`].
    pub fn acked(&mut self, answer: Result<Acked, AckRefused>) {
        let Some(lane) = self.acking.take() else { return };
        match answer {
            Ok(acked) => self.flows[lane.index()].confirm = Some(acked),
            Err(refused) => self.end(Err(refused.into())),
        }
    }

    /// Takes the answer to the last [`Action::Witness`].
    pub fn witnessed(&mut self, answer: Result<(), WitnessRefused>) {
        self.witnessing = false;
        if let Err(refused) = answer {
            self.end(Err(refused.into()));
        }
    }

    /// Takes the answer to the last [`Action::Use`]. What holds then is looked at anew; a use that is refused twice running
    /// ends the stream.
    pub fn used(&mut self, answer: Result<(), approval::Refused>) {
        self.using = false;
        match answer {
            Ok(()) => self.unused = false,
            Err(refused) if std::mem::replace(&mut self.unused, true) => self.end(Err(refused.into())),
            Err(_) => {}
        }
    }

    /// The consumer has used up its quota until then, milliseconds of the monotonic clock: lanes that are paced wait.
    pub fn pace_until(&mut self, mono_ms: u64) {
        self.paced_until_ms = mono_ms;
    }

    /// The lanes that the share list permits, without those that wait for the quota.
    fn open_lanes(&self, rights: &Rights<'_>, now: Stamp) -> [bool; Lane::ALL.len()] {
        let is_over = now.mono_ms < self.paced_until_ms;
        Lane::ALL.map(|lane| !(is_over && is_paced(lane)) && rights.lane(lane))
    }

    /// Ends the stream at once for this reason; the first reason stays.
    pub fn end(&mut self, why: Result<(), Refused>) {
        self.ending.get_or_insert(why);
    }

    /// The consumer sends nothing more: answers its acks and ends.
    pub fn close(&mut self) {
        self.leaving.get_or_insert(Leaving::Close);
    }

    /// The gateway is going down: answers the acks that came, says goodbye and ends.
    pub fn drain(&mut self) {
        self.leaving = Some(Leaving::Drain);
    }

    /// What to do next; `None` until something happens again. `room` says whether a frame can be sent now.
    pub fn poll(&mut self, room: bool, force: &InForce, now: Stamp) -> Option<Action> {
        if self.ended {
            return None;
        }
        if self.paced_until_ms <= now.mono_ms {
            self.paced_until_ms = 0;
        }
        if let Some(why) = self.ending.take() {
            self.ended = true;
            return Some(Action::End(why));
        }
        if room {
            self.pace(now);
            if let Some(frame) = self.next_frame(force, now) {
                self.silent_since_ms = now.mono_ms;
                return Some(Action::Send(v1::StreamingPullResponse { frame: Some(frame) }));
            }
        }
        if let Some(ack) = self.next_ack() {
            return Some(Action::Ack(ack));
        }
        if !self.witnessing
            && let Some((size, head)) = self.witness.take()
        {
            self.witnessing = true;
            return Some(Action::Witness { size, head });
        }
        let rights = self.wanted.rights(force, now.wall_ms);
        if rights.is_empty() {
            self.ended = true;
            return Some(Action::End(Err(rights.refusal())));
        }
        if self.leaving == Some(Leaving::Close) && self.quiet() {
            self.ended = true;
            return Some(Action::End(Ok(())));
        }
        if !room || self.batch.is_some() || self.leaving.is_some() || self.using {
            return None;
        }
        let permitted = self.open_lanes(&rights, now);
        if self.recording.is_none()
            && let Some(page) = self.page.take()
            && !self.overtaken(&page, permitted)
        {
            match self.cut(&page, force, now) {
                Some(delivered) => return Some(Action::Deliver(delivered)),
                // Nothing in it leaves: it needs no row and may be sent at once.
                None if self.batch.is_some() => return self.poll(room, force, now),
                None => {}
            }
        }
        if let Some(id) = self.wants_use.take() {
            self.using = true;
            return Some(Action::Use(id));
        }
        if self.reading.is_some() || self.page.is_some() {
            return None;
        }
        let lane = self.next_lane(permitted)?;
        let flow = &self.flows[lane.index()];
        self.reading = Some(lane);
        Some(Action::Read {
            lane,
            after: flow.cursor,
            records_max: usize::try_from(flow.messages).unwrap_or(usize::MAX).min(BATCH_RECORDS_MAX),
            bytes_max: usize::try_from(flow.bytes).unwrap_or(usize::MAX).min(self.read_bytes),
        })
    }

    /// When to poll again though nothing happened, milliseconds of the monotonic clock.
    #[must_use]
    pub fn wakeup_ms(&self) -> u64 {
        match self.paced_until_ms {
            0 => self.heartbeat_due_ms(),
            paced => self.heartbeat_due_ms().min(paced),
        }
    }

    fn heartbeat_due_ms(&self) -> u64 {
        self.silent_since_ms + self.heartbeat_ms
    }

    /// Makes a batch of the page as the share list is now. Tells what the trail has to have before it leaves.
    fn cut(&mut self, page: &Page, force: &InForce, now: Stamp) -> Option<Delivered> {
        let rights = self.wanted.rights(force, now.wall_ms);
        if !rights.lane(page.lane) {
            return None;
        }
        let flow = &mut self.flows[page.lane.index()];
        let records_max = usize::try_from(flow.messages).unwrap_or(usize::MAX).min(BATCH_RECORDS_MAX);
        // A record larger than any batch travels alone, once its credit is there.
        let bytes_max = flow.bytes.min(flow.needs.max(BATCH_BYTES_MAX as u64));
        let cut = cut(self.epoch, page, &rights, records_max, bytes_max);
        self.wants_use = cut.wants_use;
        flow.needs = if cut.batch.records.is_empty() { cut.next_bytes.unwrap_or(0) } else { 0 };
        let through = Seq(cut.batch.through_seq);
        if through <= flow.cursor {
            return None;
        }
        flow.cursor = through;
        flow.messages -= cut.batch.records.len() as u64;
        flow.bytes -= cut.bytes;
        let delivered = cut.delivered(&self.wanted.caller.consumer, page.lane);
        let slot = if delivered.is_some() { &mut self.recording } else { &mut self.batch };
        *slot = Some(cut.batch);
        delivered
    }

    /// Whether a page that was read ahead gives way to a more urgent lane. It is read again later, and its lane has been
    /// passed over once more.
    fn overtaken(&mut self, page: &Page, permitted: [bool; Lane::ALL.len()]) -> bool {
        let urgent = Lane::ALL.into_iter().take_while(|lane| *lane != page.lane);
        let is_starved = self.passed_over >= PASSED_OVER_MAX;
        // A lane that waits for the quota since its page was read keeps nobody behind it.
        let waits = !permitted[page.lane.index()];
        let overtaken = waits || !is_starved && urgent.into_iter().any(|lane| self.is_ready(lane, permitted));
        if overtaken {
            self.flows[page.lane.index()].passed_over = self.passed_over;
        }
        overtaken
    }

    fn is_ready(&self, lane: Lane, permitted: [bool; Lane::ALL.len()]) -> bool {
        let flow = &self.flows[lane.index()];
        permitted[lane.index()]
            && flow.cursor < flow.head
            && flow.messages > 0
            && flow.bytes >= flow.needs.max(1)
    }

    /// A lane with backlog, credit and rights: the most urgent one, or one that was passed over too often.
    fn next_lane(&mut self, permitted: [bool; Lane::ALL.len()]) -> Option<Lane> {
        let ready: Vec<Lane> = Lane::ALL.into_iter().filter(|lane| self.is_ready(*lane, permitted)).collect();
        let starved = ready.iter().find(|lane| self.flows[lane.index()].passed_over >= PASSED_OVER_MAX);
        let chosen = *starved.or(ready.first())?;
        self.passed_over = self.flows[chosen.index()].passed_over;
        for lane in ready {
            let flow = &mut self.flows[lane.index()];
            flow.passed_over = if lane == chosen { 0 } else { flow.passed_over.saturating_add(1) };
        }
        Some(chosen)
    }

    /// Confirmations first, then the batch, then signs of life.
    fn next_frame(&mut self, force: &InForce, now: Stamp) -> Option<Response> {
        for lane in Lane::ALL {
            if let Some(acked) = self.flows[lane.index()].confirm.take() {
                return Some(Response::AckConfirmation(v1::AckConfirmation {
                    upto: Some(wire::cursor(self.epoch, lane, acked.upto)),
                    hash_matched: acked.hash_matched,
                }));
            }
        }
        if let Some(batch) = self.batch.take() {
            self.batch_sent_ms = Some(now.mono_ms);
            return Some(Response::Batch(batch));
        }
        if self.leaving == Some(Leaving::Drain) && self.quiet() {
            self.end(Ok(()));
            return Some(Response::Draining(v1::Draining { reconnect_after: Some(duration(RECONNECT_MS)) }));
        }
        (now.mono_ms >= self.heartbeat_due_ms() || !self.told).then(|| {
            self.told = true;
            let rights = self.wanted.rights(force, now.wall_ms);
            let open = Lane::ALL.into_iter().filter(|lane| rights.lane(*lane));
            Response::Heartbeat(v1::Heartbeat {
                now: Some(wire::timestamp(now.wall_ms)),
                heads: open
                    .map(|lane| wire::cursor(self.epoch, lane, self.flows[lane.index()].head))
                    .collect(),
                audit: self.checkpoint.clone(),
            })
        })
    }

    /// Whether every ack and witness is answered, and what is in the trail has left.
    fn quiet(&self) -> bool {
        let witnessed = self.witness.is_none() && !self.witnessing;
        witnessed
            && self.recording.is_none()
            && self.acking.is_none()
            && self.flows.iter().all(|flow| flow.ack.is_none() && flow.confirm.is_none())
    }

    fn next_ack(&mut self) -> Option<Ack> {
        if self.acking.is_some() {
            return None;
        }
        let lane = Lane::ALL.into_iter().find(|lane| self.flows[lane.index()].ack.is_some())?;
        let (upto, head_hash) = self.flows[lane.index()].ack.take()?;
        self.acking = Some(lane);
        Some(Ack { consumer: self.wanted.caller.consumer.clone(), epoch: self.epoch, lane, upto, head_hash })
    }

    /// On a slow line reads get smaller, so that an alarm waits for little; on a fast one they grow again.
    fn pace(&mut self, now: Stamp) {
        let Some(sent_ms) = self.batch_sent_ms.take() else { return };
        let took = now.mono_ms.saturating_sub(sent_ms);
        self.read_bytes = if took > SLOW_MS {
            (self.read_bytes / 2).max(READ_BYTES_MIN)
        } else {
            (self.read_bytes * 2).min(BATCH_BYTES_MAX)
        };
    }

    fn grant(&mut self, credit: &v1::Credit) -> Result<(), Refused> {
        let lane = wire::lane(credit.lane).ok_or(Refused::Lane(credit.lane))?;
        let flow = &mut self.flows[lane.index()];
        flow.messages = flow.messages.saturating_add(u64::from(credit.messages));
        flow.bytes = flow.bytes.saturating_add(credit.bytes);
        Ok(())
    }

    fn ack(&mut self, ack: &v1::CumulativeAck) -> Result<(), Refused> {
        let asked = parse_ack(self.wanted.caller.consumer.clone(), ack, self.epoch)?;
        let flow = &mut self.flows[asked.lane.index()];
        if flow.ack.is_none_or(|(upto, _)| upto <= asked.upto) {
            flow.ack = Some((asked.upto, asked.head_hash));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
