//! The one thread that writes: takes what is queued, commits once, answers all. It never drops a request: what cannot
//! be stored waits, and so do the queue, the sockets and the devices behind it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{timeout, timeout_at};

mod counters;

pub use self::counters::Counters;
use self::counters::{LaneCounts, LaneOwed, TrailState};
use super::Witness;
use super::act::{Act, Done, Errand, Refused};
use super::spine::{After, AlarmChange, Ledger, PresenceChange, Spine};
use super::trail::{self, Trail, WITNESS_LAG_MAX};
use super::{AckRefused, Acked, Delivery, Kept, Plan, Request, WitnessRefused};
use crate::approval::Grants;
use crate::audit::checkpoint::Checkpoint;
use crate::clock::Clock;
use crate::model::Stamp;
use crate::rules::listed::Lists;
use crate::rules::presence::Standing;
use crate::store::room::Owed;
use crate::store::sessions::Change;
use crate::store::{Heads, Store, StoreError, Upkeep};

/// Rows of one commit (samples, presence, changes of sessions); a batch is closed when it has more.
const BATCH_ROWS_MAX: usize = 4096;
/// Rows with which a batch waits for no more: the pages that a commit writes at least are shared by enough of them.
const COMPANY_ROWS: usize = 512;
/// Bytes of a message that count as a row: a batch writes about as much, whatever it is of.
const ROW_BYTES: usize = 256;
/// Requests of one commit.
const BATCH_REQUESTS_MAX: usize = 1024;
/// Between two tries of a batch that found no room.
const ROOM_PAUSE: Duration = Duration::from_millis(500);
/// Steps of tidying between two commits: more goes than a batch can bring, and no batch waits long.
const TIDY_STEPS_MAX: u32 = 4;
/// A full store is told once in so long.
const FULL_TOLD_EVERY: Duration = Duration::from_secs(60);
/// Between two rounds of upkeep.
const UPKEEP_EVERY: Duration = Duration::from_secs(1);
/// Between two looks at what lanes take and owe.
const LANES_EVERY: Duration = Duration::from_secs(5);
/// Between two looks at how long the trail is.
const TRIM_EVERY: Duration = Duration::from_secs(60);
/// Between two resume points of the folds when readings are few: how long the log keeps what could go.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(3600);

/// The thread's inside.
pub struct Writer {
    store: Store,
    spine: Spine,
    requests: mpsc::Receiver<Request>,
    heads: watch::Sender<Heads>,
    grants: watch::Sender<Arc<Grants>>,
    shared: watch::Sender<Lists>,
    /// What happened to incidents, for whoever tells of it.
    steps: mpsc::Sender<AlarmChange>,
    /// Goes up when the ledger of notices has changed.
    news: watch::Sender<u64>,
    errands: mpsc::Sender<Errand>,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
    trail: Trail,
    batch: Vec<Request>,
    upkeep_at: Instant,
    trim_at: Instant,
    lanes_at: Instant,
    snapshot_at: Instant,
    /// When it was last told that the store is full; none once the ballast lies again.
    full_told: Option<Instant>,
}

/// A running writer.
pub type Handle = oneshot::Receiver<Result<(), StoreError>>;

impl Writer {
    /// Opens the spine on the store.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(
        mut store: Store,
        plan: Plan,
        requests: mpsc::Receiver<Request>,
        clock: Arc<dyn Clock>,
        counters: Arc<Counters>,
    ) -> Result<Self, StoreError> {
        // A store may be full from the start.
        let mut full_told = None;
        let mut spine = loop {
            match trail::opened(&plan, &mut store, clock.now()) {
                Err(error) if error.is_passing() && store.make_room()? => {
                    if full_told.replace(Instant::now()).is_none() {
                        tracing::error!(%error, "nothing begins until there is room");
                    }
                }
                opened => break opened?,
            }
        };
        counters.add(&Ledger::of(&store)?);
        counters.lists_version.store(u64::from(spine.policy_version()), Ordering::Relaxed);
        // From the start: a store of which nothing is known would look like a full one.
        let (used, max) = store.room()?;
        counters.bytes_used.store(used, Ordering::Relaxed);
        counters.bytes_max.store(max, Ordering::Relaxed);
        *counters.devices.lock().unwrap_or_else(PoisonError::into_inner) = spine.devices();
        let heads = watch::Sender::new(store.heads());
        let trail = Trail::new(&store)?;
        let grants = watch::Sender::new(Arc::new(spine.take_grants().unwrap_or_default()));
        // Nobody takes what is sent until the shell does ([`Writer::errands`]).
        let (errands, _) = mpsc::channel(1);
        let (steps, _) = mpsc::channel(1);
        let shared = watch::Sender::new(spine.take_shared().unwrap_or_default());
        let now = Instant::now();
        Ok(Self {
            store,
            spine,
            requests,
            heads,
            grants,
            shared,
            steps,
            news: watch::Sender::new(0),
            errands,
            clock,
            counters,
            trail,
            batch: Vec::new(),
            upkeep_at: now,
            trim_at: now,
            lanes_at: now,
            snapshot_at: now + SNAPSHOT_EVERY,
            full_told,
        })
    }

    /// The newest positions; changes after every commit that sealed something.
    #[must_use]
    pub fn heads(&self) -> watch::Receiver<Heads> {
        self.heads.subscribe()
    }

    /// The approvals that are granted; changes after every commit that changed them, before who asked is answered.
    #[must_use]
    pub fn grants(&self) -> watch::Receiver<Arc<Grants>> {
        self.grants.subscribe()
    }

    /// The lists that the city shares and that hold; changes after the commit that changed them.
    #[must_use]
    pub fn shared(&self) -> watch::Receiver<Lists> {
        self.shared.subscribe()
    }

    /// What happens to incidents, once it is committed; at most `capacity` wait, and what comes then is counted. One
    /// receiver: the last one asked for.
    #[must_use]
    pub fn steps(&mut self, capacity: usize) -> mpsc::Receiver<AlarmChange> {
        let (steps, receiver) = mpsc::channel(capacity);
        self.steps = steps;
        receiver
    }

    /// Goes up with every commit that changed the ledger of notices.
    #[must_use]
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// From now on positions of the trail are signed with this key, and so much of it is kept.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn sign(&mut self, settings: &trail::Settings, key: trail::Key) -> Result<(), StoreError> {
        self.trail.set(settings, key, &mut self.store, self.clock.now())
    }

    /// The newest signed position of the trail; changes after the commit that holds it.
    #[must_use]
    pub fn checkpoints(&self) -> watch::Receiver<Option<Checkpoint>> {
        self.trail.checkpoints()
    }

    /// The runs of commands that are to be sent, once they are committed; at most `capacity` wait. One receiver: the last
    /// one asked for.
    #[must_use]
    pub fn errands(&mut self, capacity: usize) -> mpsc::Receiver<Errand> {
        let (errands, receiver) = mpsc::channel(capacity);
        self.errands = errands;
        receiver
    }

    /// Starts the thread. It ends with an error, or when the last [`super::Intake`] is gone and everything is stored.
    ///
    /// # Errors
    /// [`StoreError::Internal`] when there is no thread to be had.
    pub fn spawn(self) -> Result<Handle, StoreError> {
        let internal = |error: std::io::Error| StoreError::Internal(format!("thread store-writer: {error}"));
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(internal)?;
        let (done, handle) = oneshot::channel();
        std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || {
                // Nobody may be left to hear it; the error is in the log then.
                let _ = done.send(runtime.block_on(self.run()));
            })
            .map_err(internal)?;
        Ok(handle)
    }

    async fn run(mut self) -> Result<(), StoreError> {
        while self.collect().await {
            self.commit()?;
            self.upkeep()?;
            self.counters.turns.fetch_add(1, Ordering::Relaxed);
        }
        self.commit()?;
        match self.try_snapshot() {
            // Without resume points of now the next start replays more of the log.
            Err(error) if error.is_passing() => tracing::warn!(%error, "stopped without fresh resume points"),
            end => end?,
        }
        match self.sign_rest() {
            // The next start signs it.
            Err(error) if error.is_passing() => tracing::warn!(%error, "stopped without a signed trail"),
            end => end?,
        }
        self.store.close()
    }

    /// Fills the batch; false when nobody is left to send.
    async fn collect(&mut self) -> bool {
        let rest = self.spine.rest(self.clock.now());
        let first = match timeout(rest, self.requests.recv()).await {
            Ok(Some(first)) => first,
            Ok(None) => return false,
            Err(_) => return true,
        };
        let company = tokio::time::Instant::now() + self.store.settings().group_window;
        let (mut next, mut rows, mut hurries) = (Some(first), 0, false);
        while let Some(request) = next {
            rows += rows_of(&request);
            hurries |= is_hurried(&request);
            self.batch.push(request);
            if rows >= BATCH_ROWS_MAX || self.batch.len() >= BATCH_REQUESTS_MAX {
                break;
            }
            next = match self.requests.try_recv() {
                Ok(request) => Some(request),
                Err(_) if hurries || rows >= COMPANY_ROWS => None,
                Err(_) => timeout_at(company, self.requests.recv()).await.ok().flatten(),
            };
        }
        true
    }

    /// Commits the batch, however long it takes to find room, then answers.
    fn commit(&mut self) -> Result<(), StoreError> {
        let Attempt { now, ledger, acks, kept, done, witnessed, signed } = loop {
            let began = Instant::now();
            match self.attempt() {
                Ok(done) => {
                    self.counters.commits.fetch_add(1, Ordering::Relaxed);
                    self.counters
                        .commit_micros
                        .fetch_add(began.elapsed().as_micros() as u64, Ordering::Relaxed);
                    break done;
                }
                Err(error) if error.is_passing() => self.recover(&error)?,
                Err(error) => return Err(error),
            }
        };
        self.counters.add(&ledger);
        self.trail.committed(now, signed);
        self.counters.trail().forks += witnessed.iter().filter(|taken| taken.is_err()).count() as u64;
        self.publish_grants();
        self.follow_up();
        for PresenceChange { device, standing: Standing { online, cause, .. } } in self.spine.take_presence()
        {
            tracing::info!(%device, online, %cause, "presence changed");
        }
        self.heads
            .send_if_modified(|heads| std::mem::replace(heads, self.store.heads()) != self.store.heads());
        if self.spine.take_purged() {
            // Certified: now it is not to lie in the database's log either. Where somebody reads, the next round has it.
            match self.store.checkpoint_now() {
                Err(error) if error.is_passing() => {}
                end => end?,
            }
            tracing::warn!(
                "an emergency is over and what it brought in is deleted; `audit` has the certificate"
            );
        }
        let (mut acks, mut kept, mut done) = (acks.into_iter(), kept.into_iter(), done.into_iter());
        let mut witnessed = witnessed.into_iter();
        for request in std::mem::take(&mut self.batch) {
            // Whoever asked may be gone; what was stored stays stored.
            match request {
                Request::Deliver(_, reply) => drop(reply.send(())),
                Request::Post(_, reply) => drop(kept.next().map(|kept| reply.send(kept))),
                Request::Ack(_, reply) => drop(acks.next().map(|ack| reply.send(ack))),
                Request::Act(_, reply) => {
                    if let Some(done) = done.next() {
                        let _ = reply.send(done);
                    }
                }
                Request::Witness(_, reply) => drop(witnessed.next().map(|taken| reply.send(taken))),
                Request::Apply(plan, reply) => {
                    self.apply(*plan)?;
                    let _ = reply.send(());
                }
            }
        }
        Ok(())
    }

    /// After a commit, or with a spine that was opened anew: what is granted now.
    fn publish_grants(&mut self) {
        if let Some(grants) = self.spine.take_grants() {
            self.grants.send_replace(Arc::new(grants));
        }
        if let Some(shared) = self.spine.take_shared() {
            self.shared.send_replace(shared);
        }
    }

    /// After the commit: tells of alarms, and hands out what is to be sent.
    fn follow_up(&mut self) {
        let After { changes, errands, notices } = self.spine.take_after();
        for change in changes {
            let AlarmChange { incident, alarm, device, step, is_late, .. } = &change;
            if !is_late {
                tracing::warn!(%incident, %alarm, %device, %step, "alarm changed");
            }
            if let Err(mpsc::error::TrySendError::Full(_)) = self.steps.try_send(change) {
                self.counters.steps_dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
        for errand in errands {
            // Full or gone: the run stays sent until its time is over, and says so then.
            if let Err(error) = self.errands.try_send(errand) {
                tracing::error!(%error, "a run of a command is not handed out");
            }
        }
        if notices {
            self.news.send_modify(|news| *news += 1);
        }
    }

    fn attempt(&mut self) -> Result<Attempt, StoreError> {
        let now = self.clock.now();
        let (mut acks, mut kept, mut done) = (Vec::new(), Vec::new(), Vec::new());
        let (mut witnessed, trail) = (Vec::new(), self.store.trail().to_vec());
        let mut txn = self.store.begin()?;
        self.trail.clock(&mut txn, now)?;
        // First, so that a hold time that is over counts before a reading that would break it.
        self.spine.tick(&mut txn, now)?;
        for request in &self.batch {
            match request {
                Request::Deliver(delivery, _) => {
                    self.spine.take(&mut txn, delivery, now)?;
                    txn.sessions(&delivery.changes)?;
                }
                Request::Post(delivery, _) => {
                    kept.push(self.spine.take(&mut txn, delivery, now)?);
                    txn.sessions(&delivery.changes)?;
                }
                Request::Ack(ack, _) => acks.push(self.spine.ack(&mut txn, ack, now)?),
                Request::Witness(Witness { consumer, size, head }, _) => {
                    witnessed.push(self.spine.witnessed(&mut txn, consumer, *size, head, now)?);
                }
                Request::Act(act, _) => done.push(self.spine.act(&mut txn, act, now)?),
                Request::Apply(..) => {}
            }
        }
        let ledger = self.spine.finish(&mut txn)?;
        let signed = self.trail.sign(&mut txn, &trail, now, false)?;
        let newest = self.trail.newest(signed.as_ref());
        self.spine.digest(&mut txn, newest.as_ref(), self.trail.digest_every(), now)?;
        txn.commit()?;
        Ok(Attempt { now, ledger, acks, kept, done, witnessed, signed })
    }

    /// After a batch that found no room: makes some, and opens the spine anew, because its memory ran ahead.
    fn recover(&mut self, error: &StoreError) -> Result<(), StoreError> {
        if self.full_told.is_none_or(|told| told.elapsed() >= FULL_TOLD_EVERY) {
            self.full_told = Some(Instant::now());
            tracing::error!(%error, "nothing is acknowledged until there is room");
        }
        self.counters.retries.fetch_add(1, Ordering::Relaxed);
        loop {
            let now = self.clock.now();
            self.store.at(now);
            match self.store.make_room() {
                Ok(true) => {}
                Ok(false) => std::thread::sleep(ROOM_PAUSE),
                Err(error) if error.is_passing() => std::thread::sleep(ROOM_PAUSE),
                Err(error) => return Err(error),
            }
            self.counters.turns.fetch_add(1, Ordering::Relaxed);
            match Spine::reopen(self.spine.plan().clone(), &mut self.store, now) {
                Ok(spine) => {
                    let before = std::mem::replace(&mut self.spine, spine);
                    self.spine.remember_devices(&before);
                    return Ok(());
                }
                Err(error) if error.is_passing() => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn apply(&mut self, plan: Plan) -> Result<(), StoreError> {
        self.snapshot()?;
        let mut spine = loop {
            match trail::reopened(&plan, &mut self.store, self.clock.now()) {
                Ok(spine) => break spine,
                Err(error) if error.is_passing() => self.recover(&error)?,
                Err(error) => return Err(error),
            }
        };
        spine.remember_devices(&self.spine);
        spine.remember_silence(&self.spine);
        self.counters.lists_version.store(u64::from(spine.policy_version()), Ordering::Relaxed);
        self.spine = spine;
        self.publish_grants();
        Ok(())
    }

    /// Stores the resume points, however long it takes to find room.
    fn snapshot(&mut self) -> Result<(), StoreError> {
        loop {
            match self.try_snapshot() {
                Err(error) if error.is_passing() => self.recover(&error)?,
                end => return end,
            }
        }
    }

    fn try_snapshot(&mut self) -> Result<(), StoreError> {
        let mut txn = self.store.begin()?;
        self.spine.snapshot(&mut txn)?;
        txn.tell_expired(self.clock.now())?;
        txn.commit()
    }

    /// Signs what is not signed yet.
    fn sign_rest(&mut self) -> Result<(), StoreError> {
        let (now, trail) = (self.clock.now(), self.store.trail().to_vec());
        let mut txn = self.store.begin()?;
        let signed = self.trail.sign(&mut txn, &trail, now, true)?;
        txn.commit()?;
        self.trail.committed(now, signed);
        Ok(())
    }

    fn upkeep_of(&self, now: Stamp) -> Result<Upkeep, StoreError> {
        let retention = i64::try_from(self.store.settings().retention.as_millis()).unwrap_or(i64::MAX);
        Ok(Upkeep {
            acked: self.spine.acked_by_all(&self.store)?,
            expire_before_ms: now.wall_ms.saturating_sub(retention),
        })
    }

    /// Looks how far witnesses are, and trims the trail once in a while.
    fn tend_trail(&mut self, at: Instant) -> Result<(), StoreError> {
        let (now, witnesses) = (self.clock.now(), self.spine.witnesses());
        let has_witnesses = !witnesses.is_empty();
        let witnessed = self.store.witnessed(witnesses.into_iter())?;
        let lag_ms = if has_witnesses { witnessed.lag_ms(now.wall_ms) } else { 0 };
        let lag = Duration::from_millis(lag_ms);
        self.trail.witnessed(lag > WITNESS_LAG_MAX, lag_ms);
        if at >= self.trim_at {
            match self.trail.trim(&mut self.store, has_witnesses.then_some(witnessed), now) {
                Ok(true) => {}
                Ok(false) => self.trim_at = at + TRIM_EVERY,
                // It goes when there is room for the row that says so.
                Err(error) if error.is_passing() => self.trim_at = at + TRIM_EVERY,
                Err(error) => return Err(error),
            }
        }
        let mut state = self.counters.trail();
        *state = TrailState { witnessed, lag, has_witnesses, is_held: self.trail.is_held(), ..*state };
        Ok(())
    }

    /// Between commits: gives the log back, and once in a while tidies one chunk.
    fn upkeep(&mut self) -> Result<(), StoreError> {
        match self.store.checkpoint_if_due() {
            // The log waits where it is, durable, for the next time.
            Err(error) if error.is_passing() => {}
            end => end?,
        }
        let now = Instant::now();
        if now < self.upkeep_at {
            return Ok(());
        }
        if now >= self.snapshot_at {
            self.snapshot_at = now + SNAPSHOT_EVERY;
            self.snapshot()?;
        }
        self.store.at(self.clock.now());
        self.tend_trail(now)?;
        let upkeep = self.upkeep_of(self.clock.now())?;
        for step in 1.. {
            match self.store.tidy(&upkeep) {
                Ok(true) if step < TIDY_STEPS_MAX => continue,
                Ok(true) => {}
                Ok(false) => self.upkeep_at = now + UPKEEP_EVERY,
                Err(error) if error.is_passing() => self.upkeep_at = now + UPKEEP_EVERY,
                Err(error) => return Err(error),
            }
            break;
        }
        if self.full_told.take_if(|told| told.elapsed() >= FULL_TOLD_EVERY).is_some()
            && let Err(error) = self.store.restore_ballast()
        {
            tracing::warn!(%error, "the ballast is not laid again");
        }
        *self.counters.devices.lock().unwrap_or_else(PoisonError::into_inner) = self.spine.devices();
        let (used, max) = self.store.room()?;
        self.counters.bytes_used.store(used, Ordering::Relaxed);
        self.counters.bytes_max.store(max, Ordering::Relaxed);
        if now >= self.lanes_at {
            self.lanes_at = now + LANES_EVERY;
            self.tell_lanes()?;
        }
        Ok(())
    }

    /// What lanes take, lost and owe, for metrics.
    fn tell_lanes(&mut self) -> Result<(), StoreError> {
        let now_ms = self.clock.now().wall_ms;
        let mut owed = Vec::new();
        for (lane, consumer) in self.spine.owing() {
            let Owed { acked, positions, oldest_ms } = self.store.owed(consumer, lane)?;
            let oldest_s = oldest_ms.map_or(0, |ms| now_ms.saturating_sub(ms).max(0).unsigned_abs() / 1000);
            owed.push(LaneOwed { lane, consumer: consumer.clone(), acked: acked.0, positions, oldest_s });
        }
        let (bytes, dropped) = (self.store.lane_bytes()?, self.store.dropped()?);
        *self.counters.lanes() = LaneCounts { bytes, dropped, owed };
        Ok(())
    }
}

/// What a batch came to.
struct Attempt {
    now: Stamp,
    ledger: Ledger,
    /// Of each acknowledgement, in order.
    acks: Vec<Result<Acked, AckRefused>>,
    /// Of each post, in order.
    kept: Vec<Kept>,
    /// Of each act, in order.
    done: Vec<Result<Done, Refused>>,
    /// Of each word of a witness, in order.
    witnessed: Vec<Result<(), WitnessRefused>>,
    /// A position of the trail that was signed with it.
    signed: Option<Checkpoint>,
}

fn rows_of(request: &Request) -> usize {
    match request {
        Request::Deliver(delivery, _) | Request::Post(delivery, _) => {
            let Delivery { samples, presence, changes, .. } = delivery;
            let messages = changes.iter().filter_map(Change::message);
            let bytes = messages.map(|message| message.payload.len() + message.topic.len());
            samples.len() + presence.len() + changes.len() + bytes.sum::<usize>() / ROW_BYTES
        }
        // A plan is taken between two batches, so it ends this one.
        Request::Apply(..) => BATCH_ROWS_MAX,
        Request::Act(Act::Enter(submission), _) => submission.values.len(),
        Request::Act(Act::SharedList(put), _) => put.entries.len(),
        Request::Ack(..) | Request::Act(..) | Request::Witness(..) => 0,
    }
}

/// Changes alone: somebody waits for an answer to go out, one at a time. While they are written more come together.
fn is_hurried(request: &Request) -> bool {
    matches!(request, Request::Deliver(Delivery { samples, lost, changes, .. }, _)
        if !changes.is_empty() && samples.is_empty() && lost.total() == 0)
}
