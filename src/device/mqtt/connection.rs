//! One connection: the shell around its session. Reads, hands in, waits for receipts, delivers, writes.
//!
//! Guarantees: one task; whatever has to wait (the intake, the router, a receipt) is waited for beside everything else,
//! so that pings and deliveries pass while a commit stalls; at a bound (unacknowledged publishes, receipts, output) the
//! socket is not read. All that one wakeup has to say goes out in one write.

use std::collections::VecDeque;
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::auth::Credential;
use super::counters::add;
use super::front::Shared;
use super::outbox::{OUT_BYTES_MAX, Sent};
use super::packet::{self, Connect, Fault, Frame, Message, Packet, Publish};
use super::registry::Place;
use super::rights::Rights;
use super::router::{Link, Router};
use super::samples::{Batch, Received, Route, Routes, States};
use super::session::{FILTER_BYTES_MAX, Granted, Session, Wait};
use crate::ingest::{Receipt, Stopped};

/// Batches handed in and not committed.
const RECEIPTS_MAX: usize = 32;
/// How much is read at once: grows with the traffic.
const READ_BYTES_MIN: usize = 2 * 1024;
const READ_BYTES_MAX: usize = 32 * 1024;
/// Messages taken from the router before the output is written.
const DELIVERIES_AT_ONCE: usize = 64;
/// How long a client that is being closed may take to read its last bytes.
const LAST_WORDS: Duration = Duration::from_secs(1);

type Task<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a hand-over came to.
enum Done {
    /// The spine has the batch of this number.
    Delivered(u64, Receipt),
    /// The router has the message.
    FannedOut,
    /// The router has the subscriptions; now the client may be told.
    Subscribed(Box<Link>, Granted),
    /// The router has forgotten them.
    Unsubscribed(Box<Link>),
}

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
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    read: BytesMut,
    read_bytes: usize,
    out: BytesMut,
    level: packet::Level,
    session: Session,
    credential: Credential,
    place: Place,
    will: Option<Message>,
    routes: Routes,
    batch: Batch,
    states: States,
    /// Number of the open batch.
    number: u64,
    handover: Option<Task<Result<Done, Fault>>>,
    receipts: VecDeque<(u64, Task<Result<(), Stopped>>)>,
    link: Option<Box<Link>>,
    /// When the client has been silent for too long.
    deadline: Option<Instant>,
}

/// A client that has been let in.
pub(super) struct Admitted {
    pub reader: OwnedReadHalf,
    pub writer: OwnedWriteHalf,
    /// Read behind the CONNECT.
    pub read: BytesMut,
    /// The CONNACK.
    pub out: BytesMut,
    pub connect: Connect,
    pub session: Session,
    pub credential: Credential,
    pub place: Place,
}

impl Connection {
    pub(super) fn new(shared: Arc<Shared>, admitted: Admitted) -> Self {
        let Admitted { reader, writer, read, out, connect, session, credential, place } = admitted;
        let routes = Routes::new(shared.settings.borrow().clone());
        Self {
            shared,
            reader,
            writer,
            read,
            read_bytes: READ_BYTES_MIN,
            out,
            level: connect.level,
            session,
            credential,
            place,
            will: connect.will,
            routes,
            batch: Batch::default(),
            states: States::default(),
            number: 1,
            handover: None,
            receipts: VecDeque::new(),
            link: None,
            deadline: None,
        }
    }

    /// Serves it to its end.
    pub(super) async fn serve(mut self) {
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

    /// Puts back what the session had before, then serves until something ends it.
    async fn run(&mut self) -> Result<(), End> {
        if self.session.filters().next().is_some() {
            let filters: Vec<_> = self.session.filters().map(str::to_owned).collect();
            self.link = Some(subscribe(Arc::clone(&self.shared.router), None, &filters).await?);
        }
        self.session.resume(&mut self.out);
        let patience = self.session.patience();
        self.deadline = patience.map(|patience| Instant::now() + patience);
        let mut alarm = Box::pin(sleep_until(self.deadline.unwrap_or_else(Instant::now)));
        let mut signal = Some(self.signal(self.shared.settings.clone()));
        loop {
            let pumped = self.pump()?;
            add(&self.shared.counters.acked, self.session.acknowledge(&mut self.out));
            self.write()?;
            let reading = self.may_take();
            match pumped {
                Pumped::Goodbye => return Ok(()),
                // The bound was only that answers had to be written.
                Pumped::Bound if reading => continue,
                Pumped::Bound | Pumped::Dry => {}
            }
            if !reading {
                // Whoever is not read cannot be heard.
                self.deadline = patience.map(|patience| Instant::now() + patience);
            } else if self.read.is_empty() && self.read.capacity() > 4 * self.read_bytes {
                self.read = BytesMut::new();
            }
            self.read.reserve(if reading { self.read_bytes } else { 0 });
            tokio::select! {
                count = self.reader.read_buf(&mut self.read), if reading => {
                    self.has_read(count.map_err(|_| End::Lost)?)?;
                }
                done = optional(&mut self.handover) => {
                    self.handover = None;
                    self.handed_over(done?);
                }
                receipt = oldest(&mut self.receipts) => {
                    let number = receipt.map_err(|Stopped| Fault::Store)?;
                    self.session.committed(number);
                }
                message = next(&mut self.link) => {
                    let message = message.map_err(|_| Fault::Router)?;
                    self.deliver(message)?;
                }
                writable = self.writer.writable(), if !self.out.is_empty() => {
                    writable.map_err(|_| End::Lost)?;
                }
                () = ring(&mut alarm, self.deadline) => {
                    return Err(Fault::KeepAlive.into());
                }
                event = optional(&mut signal) => match event {
                    Signal::Leave if self.shared.stop.is_cancelled() => return Err(Fault::Stopping.into()),
                    Signal::Leave => return Err(Fault::TakenOver.into()),
                    Signal::Settings(watcher) => {
                        let settings = watcher.borrow().clone();
                        if !self.credential.holds(&settings.access) {
                            return Err(Fault::Withdrawn.into());
                        }
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
        let mut used = 0;
        let result = loop {
            if self.batch.is_full() || !self.may_take() {
                break Ok(Pumped::Bound);
            }
            match Frame::cut(&read[used..], self.shared.limits.packet_bytes_max) {
                Ok(Some(frame)) => {
                    used += frame.len();
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
        if used > 0
            && let Some(patience) = self.session.patience()
        {
            self.deadline = Some(Instant::now() + patience);
        }
        read.advance(used);
        self.read = read;
        // What came before a fault was received and is stored; only its acknowledgement is lost with the connection.
        self.hand_in();
        result
    }

    /// Hands in the open batch, if something is in it and nothing else is being handed over.
    fn hand_in(&mut self) {
        if self.batch.is_empty() || self.handover.is_some() {
            return;
        }
        let (delivery, _) = self.batch.take(self.shared.clock.now());
        let (number, intake) = (self.number, self.shared.intake.clone());
        self.number += 1;
        self.handover = Some(Box::pin(async move {
            let receipt = intake.deliver(delivery).await.map_err(|Stopped| Fault::Store)?;
            Ok(Done::Delivered(number, receipt))
        }));
    }

    /// One packet. True when it is the last.
    fn take(&mut self, packet: Packet<'_>) -> Result<bool, Fault> {
        match packet {
            Packet::Publish(publish) => self.publish(&publish)?,
            Packet::PubAck(pkid) => self.session.delivered(pkid, &mut self.out),
            Packet::PubRel(pkid) => self.session.released(pkid, &mut self.out)?,
            Packet::PingReq => packet::pingresp(&mut self.out),
            Packet::Subscribe { pkid, wishes } => {
                let router = &self.shared.router;
                let granted = self.session.subscribe(pkid, wishes, |filter| router.admit(filter));
                if granted.fresh.is_empty() {
                    self.subscribed(&granted);
                } else {
                    let (router, link) = (Arc::clone(router), self.link.take());
                    self.handover = Some(Box::pin(async move {
                        let link = subscribe(router, link, &granted.fresh).await?;
                        Ok(Done::Subscribed(link, granted))
                    }));
                }
            }
            Packet::Unsubscribe { pkid, filters } => {
                let gone = self.session.unsubscribe(pkid, filters, &mut self.out);
                if let Some(mut link) = self.link.take_if(|_| !gone.is_empty()) {
                    self.handover = Some(Box::pin(async move {
                        link.unsubscribe(&gone).await.map_err(|_| Fault::Router)?;
                        Ok(Done::Unsubscribed(link))
                    }));
                }
            }
            Packet::Disconnect { normal } => {
                self.will = self.will.take().filter(|_| !normal);
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn publish(&mut self, publish: &Publish<'_>) -> Result<(), Fault> {
        let counters = &self.shared.counters;
        match publish.qos {
            0 => add(&counters.publishes_qos0, 1),
            1 => add(&counters.publishes_qos1, 1),
            _ => add(&counters.publishes_qos2, 1),
        }
        if !self.session.arrives(publish)? {
            return Ok(());
        }
        let wait = match self.routes.find(publish.topic) {
            Route::FanOut => self.fan_out(publish)?,
            route => {
                let received = Received {
                    topic: publish.topic,
                    payload: publish.payload,
                    retain: publish.retain,
                    received_ms: self.shared.clock.now().wall_ms,
                };
                let added = self.batch.add(route, &received, &Rights::everything(), &mut self.states);
                if added.described {
                    self.fan_out(publish)?
                } else if self.batch.is_empty() {
                    Wait::No(0)
                } else {
                    Wait::Batch(self.number)
                }
            }
        };
        self.session.owe(publish, wait);
        Ok(())
    }

    fn fan_out(&mut self, publish: &Publish<'_>) -> Result<Wait, Fault> {
        if publish.topic.starts_with('$') || publish.topic.len() > FILTER_BYTES_MAX {
            add(&self.shared.counters.fanout_refused, 1);
            return Ok(Wait::No(0x90));
        }
        add(&self.shared.counters.fanned_out, 1);
        // Copies: a slice would keep the whole read buffer alive in the router.
        let message = Message {
            topic: Bytes::copy_from_slice(publish.topic.as_bytes()),
            payload: Bytes::copy_from_slice(publish.payload),
            retain: publish.retain,
        };
        if message.retain {
            self.shared.router.retain(&message);
        }
        match self.shared.router.queue().try_send(message) {
            Ok(()) => {}
            Err(TrySendError::Closed(_)) => return Err(Fault::Router),
            Err(TrySendError::Full(message)) => {
                let queue = self.shared.router.queue().clone();
                self.handover = Some(Box::pin(async move {
                    queue.send(message).await.map_err(|_| Fault::Router)?;
                    Ok(Done::FannedOut)
                }));
            }
        }
        Ok(Wait::No(0))
    }

    fn handed_over(&mut self, done: Done) {
        match done {
            Done::Delivered(number, receipt) => {
                self.receipts.push_back((number, Box::pin(receipt.committed())));
            }
            Done::FannedOut => {}
            Done::Unsubscribed(link) => self.link = Some(link),
            Done::Subscribed(link, granted) => {
                self.link = Some(link);
                self.subscribed(&granted);
            }
        }
    }

    /// Answers a SUBSCRIBE, and sends what is retained.
    fn subscribed(&mut self, granted: &Granted) {
        packet::suback(self.level, granted.pkid, &granted.codes, &mut self.out);
        for filter in &granted.granted {
            for message in self.shared.router.retained(filter) {
                self.send(message);
            }
        }
    }

    /// A message of the router, and those that are there already.
    fn deliver(&mut self, message: Option<Message>) -> Result<(), Fault> {
        let mut next = message;
        for left in (0..DELIVERIES_AT_ONCE).rev() {
            let Some(message) = next else { break };
            self.send(message);
            next = match &mut self.link {
                Some(link) if left > 0 => link.try_next().map_err(|_| Fault::Router)?,
                _ => None,
            };
        }
        Ok(())
    }

    fn send(&mut self, message: Message) {
        let sent = self.session.deliver(message, &mut self.out);
        add(&self.shared.counters.slow_consumer, u64::from(sent == Sent::Dropped));
    }

    /// Writes what the socket takes now.
    fn write(&mut self) -> Result<(), End> {
        while !self.out.is_empty() {
            match self.writer.try_write(&self.out) {
                Ok(0) => return Err(End::Lost),
                Ok(count) => self.out.advance(count),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(_) => return Err(End::Lost),
            }
        }
        if self.out.is_empty() && self.out.capacity() > OUT_BYTES_MAX {
            self.out = BytesMut::new();
        }
        Ok(())
    }

    /// Ends it: nothing that was received is forgotten, and what the client may come back for is kept.
    async fn finish(mut self, end: End) {
        let stopping = matches!(end, End::Fault(Fault::Stopping));
        let mut stored = !matches!(end, End::Fault(Fault::Store));
        while stored && self.handover.is_some() {
            let done = optional(&mut self.handover).await;
            self.handover = None;
            stored = done.map(|done| self.handed_over(done)).is_ok();
            self.hand_in();
        }
        let kept = self.session.keeps();
        while stored && (kept || stopping) && !self.receipts.is_empty() {
            match oldest(&mut self.receipts).await {
                Ok(number) => self.session.committed(number),
                Err(Stopped) => stored = false,
            }
        }
        if stopping {
            add(&self.shared.counters.acked, self.session.acknowledge(&mut self.out));
        }
        if let End::Fault(fault) = end {
            packet::disconnect(self.level, fault, &mut self.out);
        }
        if !matches!(end, End::Lost) {
            let last = async {
                while self.write().is_ok() && !self.out.is_empty() && self.writer.writable().await.is_ok() {}
            };
            let _ = timeout(LAST_WORDS, last).await;
        }
        if let Some(will) = self.will.take().filter(|_| !stopping) {
            self.publish_will(will).await;
        }
        if let Some(link) = self.link.take() {
            link.close().await;
        }
        if stored && let Some(kept) = self.session.park() {
            self.place.keep(kept);
        }
    }

    /// A will goes the way of any publish.
    async fn publish_will(&mut self, will: Message) {
        let Ok(topic) = std::str::from_utf8(&will.topic) else { return };
        let publish =
            Publish { qos: 0, dup: false, retain: will.retain, pkid: 0, topic, payload: &will.payload };
        if self.publish(&publish).is_ok() {
            self.hand_in();
            if let Some(handover) = self.handover.take() {
                let _ = handover.await;
            }
        }
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

/// Subscribes on the link of a connection, which is made if there is none.
async fn subscribe(
    router: Arc<Router>,
    link: Option<Box<Link>>,
    filters: &[String],
) -> Result<Box<Link>, Fault> {
    let mut link = match link {
        Some(link) => link,
        None => {
            let made = tokio::task::spawn_blocking(move || router.link()).await;
            Box::new(made.map_err(|_| Fault::Router)?.map_err(|_| Fault::Router)?)
        }
    };
    link.subscribe(filters).await.map_err(|_| Fault::Router)?;
    Ok(link)
}

/// Waits for a message of the router.
async fn next(link: &mut Option<Box<Link>>) -> Result<Option<Message>, super::router::RouterError> {
    match link {
        Some(link) => link.next().await,
        None => pending().await,
    }
}

/// Waits until the deadline, which moves on without the timer being touched.
async fn ring(alarm: &mut Pin<Box<Sleep>>, deadline: Option<Instant>) {
    let Some(deadline) = deadline else { return pending().await };
    loop {
        alarm.as_mut().await;
        if alarm.deadline() >= deadline {
            return;
        }
        alarm.as_mut().reset(deadline);
    }
}
