//! Subscriptions and fan-out: rumqttd's router, which no network ever reaches.
//!
//! What is kept away from it, because it does not survive or never frees it: client ids (links are numbered, and the
//! numbers come again), topics of other scripts (all are below `m/`), `$` topics and shared subscriptions, QoS above 0,
//! retained messages, wills, properties. Topics and filters that it has ever seen are bounded; one too many is refused
//! and counted. A panic on its thread ends the process, for a process without it looks alive and serves nobody; one
//! that hangs ends [`Feeder::run`].

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use rumqttd::local::{LinkBuilder, LinkError, LinkRx, LinkTx};
use rumqttd::protocol::{Disconnect, DisconnectReasonCode, Packet, PingReq};
use rumqttd::{Notification, RouterConfig};
use tokio::sync::mpsc;

use super::counters::{self, Counters};
use super::packet::Message;
use super::topic;

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
    Link(#[from] LinkError),
    #[error("no answer within {PING_EVERY:?}")]
    Silent,
    #[error("it closed the link")]
    Closed,
    #[error("no number is free for another link")]
    Full,
}

type Connector = Box<dyn Fn(&str) -> Result<(LinkTx, LinkRx, Notification), LinkError> + Send + Sync>;

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
    by_topic: HashMap<Bytes, Bytes>,
    bytes: usize,
}

/// Hands messages on to the router, and watches it.
pub(super) struct Feeder {
    queue: mpsc::Receiver<Message>,
    tx: LinkTx,
    rx: LinkRx,
    topics: HashSet<Bytes>,
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
    let connector: Connector = Box::new(move |id| LinkBuilder::new(id, router.clone()).build());
    let (tx, rx, _) = connector("front")?;
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
            retained.bytes -= before.len();
        }
        if message.payload.is_empty() {
            return;
        }
        let bytes = retained.bytes + message.payload.len();
        if retained.by_topic.len() < RETAINED_MAX && bytes <= RETAINED_BYTES_MAX {
            retained.bytes = bytes;
            retained.by_topic.insert(message.topic.clone(), message.payload.clone());
        } else {
            counters::add(&self.counters.retained_refused, 1);
        }
    }

    /// The retained messages of a filter.
    pub(super) fn retained(&self, filter: &str) -> Vec<Message> {
        let retained = lock(&self.retained);
        let covered = retained
            .by_topic
            .iter()
            .filter(|(name, _)| std::str::from_utf8(name).is_ok_and(|name| topic::covers(filter, name)));
        covered
            .map(|(topic, payload)| Message { topic: topic.clone(), payload: payload.clone(), retain: true })
            .collect()
    }

    /// A link of its own for a client that subscribes. Blocks for a round trip to the router's thread.
    pub(super) fn link(self: &Arc<Self>) -> Result<Link, RouterError> {
        let slot = lock(&self.free).pop().ok_or(RouterError::Full)?;
        let (tx, rx, _) = (self.connector)(&format!("c{slot}"))?;
        Ok(Link { router: Arc::clone(self), slot, tx, rx })
    }
}

/// A client's subscriptions. To be closed; one that is dropped keeps its number for ever.
pub(super) struct Link {
    router: Arc<Router>,
    slot: usize,
    tx: LinkTx,
    rx: LinkRx,
}

impl Link {
    pub(super) fn subscribe(&mut self, filter: &str) -> Result<(), RouterError> {
        self.tx.subscribe(format!("{PREFIX}{filter}"))?;
        Ok(())
    }

    pub(super) fn unsubscribe(&mut self, filter: &str) -> Result<(), RouterError> {
        self.tx.unsubscribe(format!("{PREFIX}{filter}"))?;
        Ok(())
    }

    /// The next message; none when it was something else. May be cancelled.
    pub(super) async fn next(&mut self) -> Result<Option<Message>, RouterError> {
        let notification = self.rx.next().await?;
        self.message(notification)
    }

    /// A message that is there already.
    pub(super) fn try_next(&mut self) -> Result<Option<Message>, RouterError> {
        match self.rx.recv_deadline(Instant::now()) {
            Ok(notification) => self.message(notification),
            Err(LinkError::RecvTimeout(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn message(&self, notification: Option<Notification>) -> Result<Option<Message>, RouterError> {
        match notification {
            Some(Notification::Forward(forward)) => Ok(Some(Message {
                topic: forward.publish.topic.slice(PREFIX.len()..),
                payload: forward.publish.payload,
                retain: false,
            })),
            Some(Notification::Unschedule) => {
                self.rx.ready()?;
                Ok(None)
            }
            Some(Notification::Disconnect(..)) => Err(RouterError::Closed),
            _ => Ok(None),
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
        topic.put_slice(&message.topic);
        self.tx.publish(topic.freeze(), message.payload)?;
        Ok(())
    }
}
