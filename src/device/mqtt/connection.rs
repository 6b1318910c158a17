//! One connection: the shell around its session. Reads, hands in, waits for receipts, delivers, writes.
//!
//! Guarantees: one task; whatever has to wait (the intake, a receipt, the journal) is waited for beside everything else, so
//! that pings and deliveries pass while a commit stalls; at a bound (unacknowledged publishes, receipts, output, the rates of
//! its user) the socket is not read. All that one wakeup has to say goes out in one write.

use std::collections::VecDeque;
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::sync::{Notify, watch};
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::auth::Credential;
use super::counters::add;
use super::exchange::{Answer, Mark, Outgoing};
use super::front::Shared;
use super::onboard::offer::{Offer, Why};
use super::packet::{self, Ack, Connect, Fault, Frame, Packet, Publish, Will, Wish};
use super::rate::{Bucket, Pace};
use super::registry::Place;
use super::samples::{Added, Batch, Command, Received, Route, Routes, States};
use super::seats::Seat;
use super::session::{Session, Wait};
use super::stream::Stream;
use super::topic;
use crate::ingest::{Receipt, Stopped};
use crate::model::{Cause, Presence, Stamp};
use crate::store::sessions::{Change, Message, SessionId};

/// Batches handed in and not committed.
const RECEIPTS_MAX: usize = 32;
/// How much is read at once: grows with the traffic.
const READ_BYTES_MIN: usize = 1024;
const READ_BYTES_MAX: usize = 32 * 1024;
/// Bytes in the output above which nothing more is delivered and nothing more is read from the client.
const OUT_BYTES_MAX: usize = 64 * 1024;
/// Changes in the journal above which a publish that nobody waits for holds its connection up.
const BACKLOG_MAX: usize = 8192;
/// Messages of one connection that on-boarding is shown: a second, and at once.
const OFFERS: (u64, u64) = (5, 100);
/// What a packet counts at least, bytes: the smallest ones cost more than they weigh.
const PACKET_BYTES_MIN: usize = 32;
/// How long a client that is being closed may take to read its last bytes.
const LAST_WORDS: Duration = Duration::from_secs(1);

type Task<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Something from outside.
enum Signal {
    Leave,
    Settings(watch::Receiver<Arc<super::Settings>>),
}

/// Why no further packet was taken.
enum Pumped {
    /// There is no complete one.
    Dry,
    /// A bound.
    Bound,
    /// The client said goodbye.
    Goodbye,
}

/// How a connection ended.
enum End {
    /// The client said so.
    Normal,
    /// The socket was closed under it.
    Lost,
    Fault(Fault),
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        End::Fault(fault)
    }
}

/// See the module.
pub(super) struct Connection {
    shared: Arc<Shared>,
    stream: Stream,
    read: BytesMut,
    read_bytes: usize,
    out: BytesMut,
    level: packet::Level,
    /// Longest packet the client takes, bytes.
    packet_max: usize,
    session: Session,
    id: SessionId,
    kept: bool,
    /// Rung when the exchange has something for this session.
    wake: Arc<Notify>,
    /// Whether it may have.
    pending: bool,
    credential: Credential,
    seat: Seat,
    place: Place,
    will: Option<Will>,
    /// How long the client now wants its session kept, where a DISCONNECT says.
    expiry_s: Option<u32>,
    routes: Routes,
    /// The last topic that it was found to have a right to: most publish to one.
    passed: Box<str>,
    states: States,
    batch: Batch,
    /// QoS 2 publishes in the open batch.
    received: Vec<Change>,
    /// Number of the open batch.
    number: u64,
    handover: Option<Task<Result<(u64, Receipt), Stopped>>>,
    receipts: VecDeque<(u64, Task<Result<(), Stopped>>)>,
    /// When what is being taken was read.
    now: Stamp,
    pace: Pace,
    /// How much of it on-boarding is shown.
    offers: Bucket,
    /// Until when its rates do not let it be read.
    held_until: Option<Instant>,
    /// Until what is on disk it is not read.
    held_for: Mark,
    /// Whether its unacknowledged publishes were at their bound.
    was_full: bool,
    /// When the client has been silent for too long.
    deadline: Instant,
}

/// A client that has been let in.
pub(super) struct Admitted {
    pub stream: Stream,
    /// Read behind the CONNECT.
    pub read: BytesMut,
    /// The CONNACK.
    pub out: BytesMut,
    pub connect: Connect,
    pub session: Session,
    pub id: SessionId,
    pub kept: bool,
    pub wake: Arc<Notify>,
    pub credential: Credential,
    pub seat: Seat,
    pub place: Place,
}

impl Connection {
    /// Boxed, because the task that serves it moves it about, and there are thousands.
    pub(super) fn new(shared: Arc<Shared>, admitted: Admitted) -> Box<Self> {
        let Admitted { stream, read, out, connect, session, id, kept, wake, credential, seat, place } =
            admitted;
        let routes = Routes::new(shared.settings.borrow().clone());
        let pace = Pace::new(&shared.limits);
        Box::new(Self {
            stream,
            read,
            read_bytes: READ_BYTES_MIN,
            out,
            level: connect.level,
            packet_max: connect.packet_max,
            deadline: Instant::now() + session.patience(),
            session,
            id,
            kept,
            wake,
            pending: true,
            credential,
            seat,
            place,
            will: connect.will,
            expiry_s: None,
            routes,
            passed: Box::default(),
            states: States::default(),
            batch: Batch::default(),
            received: Vec::new(),
            number: 1,
            handover: None,
            receipts: VecDeque::new(),
            now: shared.clock.now(),
            pace,
            offers: Bucket::new(OFFERS.0, OFFERS.1),
            held_until: None,
            held_for: Mark::NONE,
            was_full: false,
            shared,
        })
    }

    /// Serves it to its end.
    pub(super) async fn serve(mut self: Box<Self>) {
        self.presence(true);
        let end = match self.run().await {
            Ok(()) => End::Normal,
            Err(end) => end,
        };
        if let End::Fault(fault) = end {
            let counters = &self.shared.counters;
            add(&counters.protocol_errors, u64::from(fault.is_clients()));
            add(&counters.silent, u64::from(fault == Fault::KeepAlive));
            add(&counters.taken_over, u64::from(fault == Fault::TakenOver));
            tracing::debug!(user = self.credential.name(), %fault, "mqtt connection closed");
        }
        self.finish(end).await;
    }

    /// Ends the subscriptions that the rights of now do not cover.
    fn restrict(&self) {
        let rights = self.credential.rights();
        let may = |filter: &str| rights.may_subscribe(topic::subscribed(filter));
        self.shared.post.exchange(|exchange| exchange.restrict(self.id, may));
    }

    /// Serves until something ends it.
    async fn run(&mut self) -> Result<(), End> {
        self.restrict();
        let wake = Arc::clone(&self.wake);
        let mut alarm = Box::pin(sleep_until(self.deadline));
        let mut signal = Some(self.signal(self.shared.settings.clone()));
        loop {
            let pumped = self.pump()?;
            self.answer();
            self.stream.write_now(&mut self.out).await.map_err(|_| End::Lost)?;
            let reading = self.may_take();
            match pumped {
                Pumped::Goodbye => return Ok(()),
                // The bound was only that answers had to be written.
                Pumped::Bound if reading => continue,
                Pumped::Bound | Pumped::Dry => {}
            }
            let is_full = self.session.is_full();
            let was_full = std::mem::replace(&mut self.was_full, is_full);
            add(&self.shared.counters.inflight_full, u64::from(is_full && !was_full));
            if !reading {
                // Whoever is not read cannot be heard.
                self.deadline = Instant::now() + self.session.patience();
            }
            self.tidy(reading);
            // What was written made room for more.
            let more = self.pending && self.out.len() <= OUT_BYTES_MAX;
            let rings = self.held_until.map_or(self.deadline, |until| until.min(self.deadline));
            let read = reading.then_some(&mut self.read);
            tokio::select! {
                turned = self.stream.turn(read, &mut self.out) => {
                    if let Some(count) = turned.map_err(|_| End::Lost)? {
                        self.has_read(count)?;
                    }
                }
                () = yield_now(), if more => {}
                () = wake.notified() => self.pending = true,
                done = optional(&mut self.handover) => {
                    self.handover = None;
                    self.handed_in(done)?;
                }
                receipt = oldest(&mut self.receipts) => {
                    let number = receipt.map_err(|Stopped| Fault::Store)?;
                    self.session.committed(number);
                }
                () = ring(&mut alarm, rings) => {
                    let now = Instant::now();
                    self.held_until = self.held_until.filter(|until| *until > now);
                    if now >= self.deadline {
                        return Err(Fault::KeepAlive.into());
                    }
                }
                event = optional(&mut signal) => match event {
                    Signal::Leave if self.shared.stop.is_cancelled() => return Err(Fault::Stopping.into()),
                    Signal::Leave => return Err(Fault::TakenOver.into()),
                    Signal::Settings(watcher) => {
                        let settings = watcher.borrow().clone();
                        if !self.credential.refresh(&settings.access) {
                            return Err(Fault::Withdrawn.into());
                        }
                        self.restrict();
                        self.passed = Box::default();
                        self.routes = Routes::new(settings);
                        signal = Some(self.signal(watcher));
                    }
                },
            }
        }
    }

    fn signal(&self, mut watcher: watch::Receiver<Arc<super::Settings>>) -> Task<Signal> {
        let leave = self.place.leave.clone();
        Box::pin(async move {
            tokio::select! {
                () = leave.cancelled() => Signal::Leave,
                Ok(()) = watcher.changed() => Signal::Settings(watcher),
            }
        })
    }

    /// Whether another packet may be taken, and the socket read for it.
    fn may_take(&self) -> bool {
        self.handover.is_none()
            && !self.session.is_full()
            && self.receipts.len() < RECEIPTS_MAX
            && self.out.len() <= OUT_BYTES_MAX
            && self.held_until.is_none()
            && (self.held_for == Mark::NONE || self.held_for.0 <= self.shared.post.journaled())
    }

    /// Gives memory back that a burst needed, or makes room for the next read.
    fn tidy(&mut self, reading: bool) {
        if reading {
            if self.read.is_empty() && self.read.capacity() > 4 * self.read_bytes {
                self.read = BytesMut::new();
            }
            self.read.reserve(self.read_bytes);
        }
        if self.out.is_empty() && self.out.capacity() > OUT_BYTES_MAX {
            self.out = BytesMut::new();
        }
    }

    fn has_read(&mut self, count: usize) -> Result<(), End> {
        if count == 0 {
            return Err(End::Lost);
        }
        // A read that fills its room asks for more of it, one that leaves most of it free gives it back.
        if count >= self.read_bytes {
            self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MAX);
        } else if count < self.read_bytes / 4 {
            self.read_bytes = (self.read_bytes / 2).max(READ_BYTES_MIN);
        }
        Ok(())
    }

    /// Takes what has been read, as far as it may.
    fn pump(&mut self) -> Result<Pumped, Fault> {
        let mut read = std::mem::take(&mut self.read);
        let (mut used, mut packets, mut publishes) = (0, 0, 0);
        self.now = self.shared.clock.now();
        let result = loop {
            if self.batch.is_full() || !self.may_take() {
                break Ok(Pumped::Bound);
            }
            match Frame::cut(&read[used..], self.shared.limits.packet_bytes_max) {
                Ok(Some(frame)) => {
                    used += frame.len();
                    packets += 1;
                    publishes += usize::from(frame.is_publish());
                    match frame.decode(self.level).and_then(|packet| self.take(packet)) {
                        Ok(false) => {}
                        Ok(true) => break Ok(Pumped::Goodbye),
                        Err(fault) => break Err(fault),
                    }
                }
                Ok(None) => break Ok(Pumped::Dry),
                Err(fault) => break Err(fault),
            }
        };
        if used > 0 {
            self.deadline = Instant::now() + self.session.patience();
            self.weigh(used.max(packets * PACKET_BYTES_MIN), publishes);
        }
        read.advance(used);
        self.read = read;
        // What came before a fault was received and is stored; only its acknowledgement is lost with the connection.
        self.hand_in();
        result
    }

    /// Holds the connection up when its packets come faster than they may.
    fn weigh(&mut self, bytes: usize, publishes: usize) {
        self.pace.took(bytes, publishes, self.now.mono_ms);
        let wait_ms = self.pace.wait_ms(self.now.mono_ms);
        if wait_ms > 0 {
            add(&self.shared.counters.throttled, 1);
            self.held_until = Some(Instant::now() + Duration::from_millis(wait_ms));
        }
    }

    /// Tells with the next delivery that the device of this user has come or gone; of a user with several devices nothing is
    /// known by that.
    fn presence(&mut self, online: bool) {
        let mut devices = self.credential.rights().devices.iter();
        let (Some(device), None) = (devices.next(), devices.next()) else { return };
        self.batch.tell(Presence { device: device.clone(), online, cause: Cause::Connection });
    }

    /// Hands in the open batch, if something is in it and nothing else is being handed over.
    fn hand_in(&mut self) {
        if self.is_idle() || self.handover.is_some() {
            return;
        }
        let mut delivery = self.batch.take(self.now);
        delivery.changes = std::mem::take(&mut self.received);
        let (number, intake) = (self.number, self.shared.intake.clone());
        self.number += 1;
        self.handover = Some(Box::pin(async move { Ok((number, intake.deliver(delivery).await?)) }));
    }

    fn handed_in(&mut self, done: Result<(u64, Receipt), Stopped>) -> Result<(), Fault> {
        let (number, receipt) = done.map_err(|Stopped| Fault::Store)?;
        self.receipts.push_back((number, Box::pin(receipt.committed())));
        Ok(())
    }

    /// One packet. True when it is the last.
    fn take(&mut self, packet: Packet<'_>) -> Result<bool, Fault> {
        let (id, post) = (self.id, &self.shared.post);
        if let Some((answer, pkid)) = answered(&packet)
            && post.exchange(|exchange| exchange.is_misplaced(id, answer, pkid))
        {
            return Err(Fault::Protocol("an answer that does not belong to its delivery"));
        }
        match packet {
            Packet::Publish(publish) => self.publish(&publish)?,
            Packet::PubAck { pkid, .. } | Packet::PubRec { pkid, reason: 0x80.. } => {
                post.exchange(|exchange| exchange.acknowledged(id, pkid));
                self.pending = true;
            }
            Packet::PubRec { pkid, .. } => {
                if !post.exchange(|exchange| exchange.recorded(id, pkid)) {
                    packet::acknowledge(self.level, Ack::Release, pkid, 0x92, &mut self.out);
                }
                self.pending = true;
            }
            Packet::PubComp { pkid, .. } => {
                post.exchange(|exchange| exchange.completed(id, pkid));
                self.pending = true;
            }
            Packet::PubRel { pkid, .. } => {
                self.session.released(pkid, || post.exchange(|exchange| exchange.released(id, pkid)))?;
            }
            Packet::PingReq => packet::pingresp(&mut self.out),
            Packet::Subscribe { pkid, identifier, wishes } => self.subscribe(pkid, identifier, &wishes),
            Packet::Unsubscribe { pkid, filters } => {
                let (codes, mark) = post.exchange(|exchange| exchange.unsubscribe(id, &filters));
                self.session.unsubscribed(pkid, codes, mark);
            }
            Packet::Disconnect { reason, expiry_s } => {
                if expiry_s.is_some_and(|expiry_s| expiry_s > 0) && !self.kept {
                    return Err(Fault::Protocol("a session expiry for a session that has none"));
                }
                self.expiry_s = expiry_s;
                self.will = self.will.take().filter(|_| reason != 0);
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn subscribe(&mut self, pkid: u16, identifier: Option<u32>, wishes: &[Wish]) {
        let (rights, limits) = (self.credential.rights(), &self.shared.limits);
        let fits = |wish: &Wish| {
            let levels = topic::subscribed(&wish.filter).split('/').count();
            wish.filter.len() <= limits.topic_bytes_max && levels <= limits.topic_levels_max
        };
        let may = |wish: &Wish| fits(wish) && rights.may_subscribe(topic::subscribed(&wish.filter));
        let allowed: Vec<_> =
            wishes.iter().filter(|wish| may(wish)).map(|wish| (wish.filter.as_str(), wish.options)).collect();
        let now_ms = self.shared.post.now_ms();
        let (granted, mark) =
            self.shared.post.exchange(|exchange| exchange.subscribe(self.id, identifier, &allowed, now_ms));
        let mut granted = granted.into_iter();
        let mut codes = Vec::with_capacity(wishes.len());
        for wish in wishes {
            match may(wish).then(|| granted.next()).flatten() {
                Some(code) => {
                    add(&self.shared.counters.subscriptions_refused, u64::from(code == 0x97));
                    codes.push(code);
                }
                None if !fits(wish) => {
                    add(&self.shared.counters.topics_refused, 1);
                    codes.push(0x97);
                }
                None => {
                    self.shared.forbidden(&self.credential, "subscribe", &wish.filter);
                    codes.push(0x87);
                }
            }
        }
        self.pending = true;
        self.session.subscribed(pkid, codes, mark);
    }

    fn publish(&mut self, publish: &Publish<'_>) -> Result<(), Fault> {
        let counters = &self.shared.counters;
        match publish.qos {
            0 => add(&counters.publishes_qos0, 1),
            1 => add(&counters.publishes_qos1, 1),
            _ => add(&counters.publishes_qos2, 1),
        }
        let topic = self.session.topic(publish)?;
        if !self.session.arrives(publish)? {
            return Ok(());
        }
        if let Some(code) = self.refused(&topic) {
            // 3.1.1 has no word for "no", and an acknowledgement would say "stored".
            return match (self.level, publish.qos) {
                (_, 0) => Ok(()),
                (packet::Level::V5, _) => {
                    self.session.owe(publish.qos, publish.pkid, Wait::No(code));
                    Ok(())
                }
                (packet::Level::V4, _) => Err(Fault::Forbidden),
            };
        }
        let received_ms = self.now.wall_ms;
        let wait = match self.routes.find(&topic) {
            Route::FanOut => {
                self.offer(Why::NoMapping, &topic, publish.payload);
                self.fan_out(&topic, publish)
            }
            route => {
                let message =
                    Received { topic: &topic, payload: publish.payload, retain: publish.retain, received_ms };
                let added = self.batch.add(route, &message, self.credential.rights(), &mut self.states);
                self.added(&topic, publish, added)
            }
        };
        self.session.owe(publish.qos, publish.pkid, wait);
        Ok(())
    }

    /// What is left to do after a message of an ingest topic went into the batch.
    fn added(&mut self, topic: &str, publish: &Publish<'_>, added: Added) -> Wait {
        if let Some(Command { topic, payload }) = added.command {
            self.shared.post.command(&topic, &payload, None);
        }
        if added.unknown {
            self.offer(Why::UnknownDevice, topic, publish.payload);
        }
        if added.described {
            self.offer(Why::Discovery, topic, publish.payload);
            return self.fan_out(topic, publish);
        }
        if publish.qos == 2 && self.kept {
            self.received.push(Change::Received { session: self.id, pkid: publish.pkid });
        }
        if self.is_idle() { Wait::No(0) } else { Wait::Batch(self.number) }
    }

    /// Offers what is nobody's to on-boarding, now and then.
    fn offer(&mut self, why: Why, topic: &str, payload: &[u8]) {
        let mono_ms = self.now.mono_ms;
        if self.offers.wait_ms(mono_ms) > 0 {
            return add(&self.shared.counters.offers_refused, 1);
        }
        self.offers.take(1, mono_ms);
        let device = if let Route::UnknownDevice(name) = self.routes.find(topic) { name } else { "" };
        self.shared.router.offer(&Offer::new(why, self.credential.name(), device, topic, payload));
    }

    /// Whether nothing is to be handed in.
    fn is_idle(&self) -> bool {
        self.batch.is_empty() && self.received.is_empty()
    }

    /// The reason code of a publish that is not taken; it is counted and told.
    fn refused(&mut self, topic: &str) -> Option<u8> {
        if *self.passed == *topic {
            return None;
        }
        let limits = &self.shared.limits;
        if topic.len() > limits.topic_bytes_max || topic.split('/').count() > limits.topic_levels_max {
            add(&self.shared.counters.topics_refused, 1);
            return Some(0x90);
        }
        if !self.credential.rights().may_publish(topic) {
            self.shared.forbidden(&self.credential, "publish", topic);
            return Some(0x87);
        }
        self.passed = topic.into();
        None
    }

    fn fan_out(&mut self, topic: &str, publish: &Publish<'_>) -> Wait {
        add(&self.shared.counters.fanned_out, 1);
        let (id, post) = (self.id, &self.shared.post);
        let now_ms = post.now_ms();
        let message = Message {
            topic: topic.into(),
            payload: publish.payload.into(),
            qos: publish.qos,
            retain: publish.retain,
            properties: publish.forwarded(),
            expires_ms: publish.expiry_s.map(|expiry_s| now_ms.saturating_add(i64::from(expiry_s) * 1000)),
        };
        let (mut mark, receivers, backlog) = post.exchange(|exchange| {
            let published = exchange.publish(Some(id), message, now_ms);
            let received = if publish.qos == 2 { exchange.received(id, publish.pkid) } else { Mark::NONE };
            (published.mark.max(received), published.receivers, exchange.backlog())
        });
        if publish.qos == 0 {
            self.held_for = if backlog > BACKLOG_MAX { mark } else { self.held_for };
            mark = Mark::NONE;
        }
        Wait::Mark(mark, if receivers == 0 { 0x10 } else { 0 })
    }

    /// What the client is owed: acknowledgements first, then what waits for it.
    fn answer(&mut self) {
        let journaled = self.shared.post.journaled();
        add(&self.shared.counters.acked, self.session.acknowledge(journaled, &mut self.out));
        if !self.pending {
            return;
        }
        let now_ms = self.shared.post.now_ms();
        let Self { session, out, id, level, packet_max, .. } = self;
        self.pending = self.shared.post.exchange(|exchange| {
            while out.len() <= OUT_BYTES_MAX {
                match exchange.next(*id, now_ms) {
                    None => return false,
                    Some(Outgoing::Release { pkid }) => {
                        packet::acknowledge(*level, Ack::Release, pkid, 0, out)
                    }
                    Some(Outgoing::Publish { message, qos, pkid, dup, retain, identifiers }) => {
                        let left_ms = message.expires_ms.map(|at| at.saturating_sub(now_ms));
                        let mut outgoing = packet::Outgoing {
                            message: &message,
                            qos,
                            pkid,
                            dup,
                            retain,
                            identifiers: &identifiers,
                            expiry_s: left_ms.map(|left| u32::try_from((left + 999) / 1000).unwrap_or(0)),
                            alias: None,
                        };
                        if session.fit(&mut outgoing, *packet_max) {
                            packet::publish(*level, &outgoing, out);
                        } else {
                            exchange.discard(*id, pkid);
                        }
                    }
                }
            }
            true
        });
    }

    /// Ends it: nothing that was received is forgotten, and what the client may come back for is kept.
    async fn finish(mut self: Box<Self>, end: End) {
        let stopping = matches!(end, End::Fault(Fault::Stopping));
        let mut stored = !matches!(end, End::Fault(Fault::Store));
        // Who says goodbye or comes again is not gone.
        if matches!(end, End::Lost) || matches!(end, End::Fault(fault) if !fault.is_ours()) {
            self.presence(false);
            self.hand_in();
        }
        while stored && self.handover.is_some() {
            let done = optional(&mut self.handover).await;
            self.handover = None;
            stored = self.handed_in(done).is_ok();
            self.hand_in();
        }
        while stored && (self.kept || stopping) && !self.receipts.is_empty() {
            match oldest(&mut self.receipts).await {
                Ok(number) => self.session.committed(number),
                Err(Stopped) => stored = false,
            }
        }
        if stopping {
            self.answer();
        }
        if let End::Fault(fault) = end {
            packet::disconnect(self.level, fault, &mut self.out);
        }
        if !matches!(end, End::Lost) {
            let _ = timeout(LAST_WORDS, self.stream.close(&mut self.out)).await;
        }
        let Self { shared, session, credential, seat, place, id, expiry_s, will, .. } = *self;
        let (now_ms, received) = (shared.post.now_ms(), session.received());
        let will = will.filter(|_| !stopping).map(|Will { mut message, expiry_s, delay_s }| {
            message.expires_ms = expiry_s.map(|expiry_s| now_ms.saturating_add(i64::from(expiry_s) * 1000));
            (message, delay_s)
        });
        let due = shared.post.exchange(|exchange| exchange.close(id, expiry_s, received, will, now_ms));
        if let Some(will) = due {
            shared.publish_will(will, credential.rights()).await;
        }
        drop((seat, place));
    }
}

/// What a packet says to which delivery.
fn answered(packet: &Packet<'_>) -> Option<(Answer, u16)> {
    match *packet {
        Packet::PubAck { pkid, .. } => Some((Answer::Acknowledged, pkid)),
        Packet::PubRec { pkid, .. } => Some((Answer::Recorded, pkid)),
        Packet::PubComp { pkid, .. } => Some((Answer::Completed, pkid)),
        _ => None,
    }
}

/// Waits for a task, for ever when there is none. Has to be taken out when it is done.
async fn optional<T>(task: &mut Option<Task<T>>) -> T {
    match task {
        Some(task) => task.await,
        None => pending().await,
    }
}

/// Waits for the oldest receipt, takes it out and gives its number.
async fn oldest(receipts: &mut VecDeque<(u64, Task<Result<(), Stopped>>)>) -> Result<u64, Stopped> {
    let Some((number, receipt)) = receipts.front_mut() else { return pending().await };
    let (number, result) = (*number, poll_fn(|context| receipt.as_mut().poll(context)).await);
    receipts.pop_front();
    result.map(|()| number)
}

/// Waits until then. The timer is touched only when it would ring too late, or has rung too early.
async fn ring(alarm: &mut Pin<Box<Sleep>>, at: Instant) {
    if alarm.deadline() > at {
        alarm.as_mut().reset(at);
    }
    loop {
        alarm.as_mut().await;
        if alarm.deadline() >= at {
            return;
        }
        alarm.as_mut().reset(at);
    }
}
