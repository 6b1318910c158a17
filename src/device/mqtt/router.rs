//! Subscriptions and fan-out: rumqttd's router, which no network ever reaches.
//!
//! What is kept away from it, because it does not survive or never frees it: client ids (links are numbered, and the
//! numbers come again), topics of other scripts (all are below `m/`), `$` topics and shared subscriptions, QoS above 0,
//! retained messages, wills, properties. Topics and filters that it has ever seen are bounded; one too many is refused
//! and counted. A panic on its thread ends the process, for a process without it looks alive and serves nobody; one
//! that hangs ends [`Feeder::run`].

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use rumqttd::local::{LinkBuilder, LinkError, LinkRx, LinkTx};
use rumqttd::protocol::{Disconnect, DisconnectReasonCode, Packet, PingReq};
use rumqttd::{Notification, RouterConfig};
use tokio::sync::mpsc;

use super::counters::{self, Counters};
use super::topic;
use crate::store::sessions::Message;

/// Everything is below this level inside the router: its matcher slices the first byte off.
const PREFIX: &str = "m/";
/// Distinct filters over the life of the process; each costs the router 6 KB for ever.
const FILTERS_MAX: usize = 2048;
/// Distinct topics over the life of the process, likewise kept for ever.
const TOPICS_MAX: usize = 8192;
/// Messages waiting for the router.
const QUEUE_MAX: usize = 64;
/// Retained messages, and their bytes.
const RETAINED_MAX: usize = 1024;
const RETAINED_BYTES_MAX: usize = 1024 * 1024;
/// How often the router is asked whether it lives; it has to answer before the next time.
const PING_EVERY: Duration = Duration::from_secs(10);

/// The router is not there any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum RouterError {
    #[error("link: {0}")]
    Link(String),
    #[error("no answer within {PING_EVERY:?}")]
    Silent,
    #[error("it closed the link")]
    Closed,
    #[error("no number is free for another link")]
    Full,
}

impl From<LinkError> for RouterError {
    fn from(error: LinkError) -> Self {
        RouterError::Link(error.to_string())
    }
}

type Connector = Box<dyn Fn(&str) -> Result<(LinkTx, LinkRx), RouterError> + Send + Sync>;

/// The front's side of the router.
pub(super) struct Router {
    connector: Connector,
    queue: mpsc::Sender<Message>,
    filters: Mutex<HashSet<Box<str>>>,
    free: Mutex<Vec<usize>>,
    retained: Mutex<Retained>,
    counters: Arc<Counters>,
}

#[derive(Default)]
struct Retained {
    by_topic: HashMap<Box<str>, Message>,
    bytes: usize,
}

/// Hands messages on to the router, and watches it.
pub(super) struct Feeder {
    queue: mpsc::Receiver<Message>,
    tx: LinkTx,
    rx: LinkRx,
    topics: HashSet<Box<str>>,
    counters: Arc<Counters>,
}

/// Starts the router's thread, for so many links.
pub(super) fn start(links_max: usize, counters: Arc<Counters>) -> Result<(Arc<Router>, Feeder), RouterError> {
    abort_on_panic();
    let router = rumqttd::Router::new(
        0,
        RouterConfig {
            max_connections: links_max + 1,
            max_outgoing_packet_count: 100,
            max_segment_size: 64 * 1024,
            max_segment_count: 2,
            ..RouterConfig::default()
        },
    )
    .spawn();
    let connector: Connector = Box::new(move |id| {
        let (tx, rx, _) = LinkBuilder::new(id, router.clone()).build()?;
        Ok((tx, rx))
    });
    let (tx, rx) = connector("front")?;
    let (sender, queue) = mpsc::channel(QUEUE_MAX);
    let router = Router {
        connector,
        queue: sender,
        filters: Mutex::default(),
        free: Mutex::new((0..links_max).rev().collect()),
        retained: Mutex::default(),
        counters: Arc::clone(&counters),
    };
    Ok((Arc::new(router), Feeder { queue, tx, rx, topics: HashSet::new(), counters }))
}

/// Makes a panic of the router's thread end the process, so that it is started anew.
fn abort_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            before(info);
            if std::thread::current().name().is_some_and(|name| name.starts_with("router-")) {
                std::process::abort();
            }
        }));
    });
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the router carries of a message.
pub(super) fn message(topic: &str, payload: &[u8], retain: bool) -> Message {
    let (topic, payload) = (topic.into(), payload.into());
    Message { topic, payload, qos: 0, retain, properties: Box::default(), expires_ms: None }
}

impl Router {
    /// Where messages go in.
    pub(super) fn queue(&self) -> &mpsc::Sender<Message> {
        &self.queue
    }

    /// Whether one more filter fits; counted once for ever.
    pub(super) fn admit(&self, filter: &str) -> bool {
        let mut filters = lock(&self.filters);
        filters.contains(filter) || (filters.len() < FILTERS_MAX && filters.insert(filter.into()))
    }

    /// Keeps a retained message, or forgets the one before when it is empty (MQTT 3.1.1 §3.3.1.3).
    pub(super) fn retain(&self, message: &Message) {
        let mut retained = lock(&self.retained);
        if let Some(before) = retained.by_topic.remove(&message.topic) {
            retained.bytes -= before.payload.len();
        }
        if message.payload.is_empty() {
            return;
        }
        let bytes = retained.bytes + message.payload.len();
        if retained.by_topic.len() < RETAINED_MAX && bytes <= RETAINED_BYTES_MAX {
            retained.bytes = bytes;
            retained.by_topic.insert(message.topic.clone(), message.clone());
        } else {
            counters::add(&self.counters.retained_refused, 1);
        }
    }

    /// The retained messages of a filter.
    pub(super) fn retained(&self, filter: &str) -> Vec<Message> {
        let retained = lock(&self.retained);
        let covered = retained.by_topic.values().filter(|message| topic::covers(filter, &message.topic));
        covered.cloned().collect()
    }

    /// A link of its own for a client that subscribes. Blocks for a round trip to the router's thread.
    pub(super) fn link(self: &Arc<Self>) -> Result<Link, RouterError> {
        let slot = lock(&self.free).pop().ok_or(RouterError::Full)?;
        let (tx, rx) = (self.connector)(&format!("c{slot}"))?;
        Ok(Link { router: Arc::clone(self), slot, tx, rx, early: VecDeque::new() })
    }
}

/// A client's subscriptions. To be closed; one that is dropped keeps its number for ever.
pub(super) struct Link {
    router: Arc<Router>,
    slot: usize,
    tx: LinkTx,
    rx: LinkRx,
    /// Came while an answer was waited for; no more than the router sends unasked, a few hundred.
    early: VecDeque<Message>,
}

/// What a link hears.
enum Event {
    Message(Message),
    /// To a subscription or its end.
    Answer,
    Other,
}

impl Link {
    /// Subscribes, and waits until the router has.
    pub(super) async fn subscribe(&mut self, filters: &[String]) -> Result<(), RouterError> {
        for filter in filters {
            self.tx.subscribe(format!("{PREFIX}{filter}"))?;
        }
        self.answered(filters.len()).await
    }

    /// Unsubscribes from what was subscribed, and waits until the router has.
    pub(super) async fn unsubscribe(&mut self, filters: &[String]) -> Result<(), RouterError> {
        for filter in filters {
            self.tx.unsubscribe(format!("{PREFIX}{filter}"))?;
        }
        self.answered(filters.len()).await
    }

    /// Waits for so many answers. The router's queue alone orders nothing: an event there takes with it whatever its link
    /// has put down since. So a publish could overtake the subscription before it, and a disconnect the wakeup before
    /// it, which the router's thread does not survive. With every packet answered, no event is left that could.
    async fn answered(&mut self, mut missing: usize) -> Result<(), RouterError> {
        let answers = async {
            while missing > 0 {
                match self.event().await? {
                    Event::Answer => missing -= 1,
                    Event::Message(message) => self.early.push_back(message),
                    Event::Other => {}
                }
            }
            Ok(())
        };
        tokio::time::timeout(PING_EVERY, answers).await.unwrap_or(Err(RouterError::Silent))
    }

    /// The next message; none when it was something else. May be cancelled.
    pub(super) async fn next(&mut self) -> Result<Option<Message>, RouterError> {
        if let Some(message) = self.early.pop_front() {
            return Ok(Some(message));
        }
        match self.event().await? {
            Event::Message(message) => Ok(Some(message)),
            _ => Ok(None),
        }
    }

    /// A message that is there already.
    pub(super) fn try_next(&mut self) -> Result<Option<Message>, RouterError> {
        if let Some(message) = self.early.pop_front() {
            return Ok(Some(message));
        }
        match self.rx.recv_deadline(Instant::now()) {
            Ok(notification) => match self.read(notification)? {
                Event::Message(message) => Ok(Some(message)),
                _ => Ok(None),
            },
            Err(LinkError::RecvTimeout(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn event(&mut self) -> Result<Event, RouterError> {
        let notification = self.rx.next().await?;
        self.read(notification)
    }

    fn read(&self, notification: Option<Notification>) -> Result<Event, RouterError> {
        match notification {
            None => Ok(Event::Other),
            Some(Notification::Forward(forward)) => {
                let topic = forward.publish.topic.get(PREFIX.len()..).map(std::str::from_utf8);
                let Some(Ok(topic)) = topic else { return Ok(Event::Other) };
                Ok(Event::Message(message(topic, &forward.publish.payload, false)))
            }
            Some(Notification::Unschedule) => {
                self.rx.ready()?;
                Ok(Event::Other)
            }
            Some(Notification::Disconnect(..)) => Err(RouterError::Closed),
            Some(other) => match Option::<Packet>::from(other) {
                Some(Packet::SubAck(..) | Packet::UnsubAck(..)) => Ok(Event::Answer),
                _ => Ok(Event::Other),
            },
        }
    }

    /// Ends it. The router takes events in order, so the number may be used again at once.
    pub(super) async fn close(mut self) {
        let disconnect = Disconnect { reason_code: DisconnectReasonCode::NormalDisconnection };
        if self.tx.send(Packet::Disconnect(disconnect, None)).await.is_ok() {
            lock(&self.router.free).push(self.slot);
        }
    }
}

impl Feeder {
    /// Runs until the router fails or nobody can send any more.
    pub(super) async fn run(mut self) -> Result<(), RouterError> {
        let mut ping = tokio::time::interval(PING_EVERY);
        ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut answered = true;
        loop {
            // Biased: an answer that is there counts, however late this task gets its turn.
            tokio::select! {
                biased;
                notification = self.rx.next() => match notification? {
                    Some(Notification::Unschedule) => self.rx.ready()?,
                    Some(Notification::Disconnect(..)) => return Err(RouterError::Closed),
                    _ => answered = true,
                },
                _ = ping.tick() => {
                    if !answered {
                        return Err(RouterError::Silent);
                    }
                    answered = false;
                    self.tx.send(Packet::PingReq(PingReq)).await?;
                }
                message = self.queue.recv() => match message {
                    Some(message) => self.feed(message).await?,
                    None => return Ok(()),
                },
            }
        }
    }

    async fn feed(&mut self, message: Message) -> Result<(), RouterError> {
        if !self.topics.contains(&message.topic) {
            if self.topics.len() >= TOPICS_MAX {
                counters::add(&self.counters.fanout_refused, 1);
                return Ok(());
            }
            self.topics.insert(message.topic.clone());
        }
        // The router's own queue holds a thousand events, which may be a thousand of the longest packets.
        while self.tx.buffer().len() >= QUEUE_MAX {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mut topic = BytesMut::with_capacity(PREFIX.len() + message.topic.len());
        topic.put_slice(PREFIX.as_bytes());
        topic.put_slice(message.topic.as_bytes());
        self.tx.publish(topic.freeze(), Bytes::from(message.payload))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(topic: &str, payload: &str, retain: bool) -> Message {
        super::message(topic, payload.as_bytes(), retain)
    }

    /// A publish used to overtake the subscription before it: the publisher's link had an event in the router's queue
    /// already, and with it the router took the publish too.
    #[tokio::test]
    async fn what_is_published_after_a_subscription_is_heard() {
        let (router, feeder) = start(1, Arc::default()).expect("a router");
        let feeding = tokio::spawn(feeder.run());
        for round in 0..200 {
            let mut link = router.link().expect("a link");
            let noise = message("noise", "", false);
            assert!(router.queue().send(noise).await.is_ok());
            let filter = format!("a/{}/#", round % 7);
            link.subscribe(std::slice::from_ref(&filter)).await.expect("a subscription");
            let sent = message(&format!("a/{}/b", round % 7), &round.to_string(), false);
            assert!(router.queue().send(sent.clone()).await.is_ok());
            let heard = async {
                loop {
                    if let Some(message) = link.next().await.expect("the link stands") {
                        return message;
                    }
                }
            };
            let heard = tokio::time::timeout(Duration::from_secs(20), heard).await.expect("in time");
            assert!(heard == sent, "round {round}");
            link.unsubscribe(&[filter]).await.expect("an answer");
            link.close().await;
        }
        assert!(!feeding.is_finished());
    }

    /// A subscriber of a busy topic that leaves used to end the router's thread, and with it all service.
    #[tokio::test]
    async fn leaving_a_busy_topic_does_no_harm() {
        let (router, feeder) = start(2, Arc::default()).expect("a router");
        let feeding = tokio::spawn(feeder.run());
        let queue = router.queue().clone();
        let flood = tokio::spawn(async move { while queue.send(message("a", "x", false)).await.is_ok() {} });
        let filters = ["a".to_owned(), "+".to_owned(), "#".to_owned()];
        for round in 0..100 {
            let mut link = router.link().expect("a link");
            link.subscribe(&filters).await.expect("a subscription");
            for _ in 0..round * 7 {
                link.next().await.expect("the link stands");
            }
            link.unsubscribe(&filters[..round % 4 % 3]).await.expect("an answer");
            link.close().await;
        }
        assert!(!feeding.is_finished());
        flood.abort();
    }

    #[tokio::test]
    async fn retained_messages_are_bounded_and_replaced() {
        let counters = Arc::<Counters>::default();
        let (router, _feeder) = start(1, Arc::clone(&counters)).expect("a router");
        router.retain(&message("a/1", "x", true));
        router.retain(&message("a/1", "y", true));
        router.retain(&message("a/2", "z", true));
        router.retain(&message("a/2", "", true));
        let kept: Vec<_> = router.retained("a/#").iter().map(|message| message.payload.clone()).collect();
        assert_eq!(kept, [Box::from(*b"y")]);
        router.retain(&message("big", &"x".repeat(RETAINED_BYTES_MAX), true));
        assert!(router.retained("big").is_empty());
        assert_eq!(counters.retained_refused.load(std::sync::atomic::Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn filters_are_bounded_for_ever() {
        let (router, _feeder) = start(1, Arc::default()).expect("a router");
        assert!((0..FILTERS_MAX).all(|at| router.admit(&format!("f/{at}"))));
        assert!(!router.admit("one/more"));
        assert!(router.admit("f/0"));
    }
}
