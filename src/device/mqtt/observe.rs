//! What nobody is owed: messages of unknown devices, carried by rumqttd's router to listeners inside the process. No network
//! ever reaches it, and nothing of it is kept.
//!
//! Guarantees: an offer never waits; what does not fit is counted, and so is what a listener is too slow for. What rumqttd
//! does not survive or never frees is kept away from it: topics of other scripts, changing topics, filters and client ids (there
//! are five topics and one filter, all below `m/`; links are numbered), QoS above 0, retained messages, wills, properties. A
//! panic on its thread ends the process, for a process without it looks alive and watches nobody; one that hangs ends
//! [`Feeder::run`].

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use rumqttd::local::{LinkBuilder, LinkError, LinkRx, LinkTx};
use rumqttd::protocol::{Packet, PingReq};
use rumqttd::{Notification, RouterConfig};
use tokio::sync::mpsc;

use super::counters::{self, Counters};
use super::onboard::offer::{Offer, Why};

/// Everything is below this level inside the router: its matcher slices the first byte off.
const PREFIX: &str = "m/";
/// What every listener subscribes to.
const FILTER: &str = "m/#";
/// Listeners over the life of the process.
const LISTENERS_MAX: usize = 4;
/// Offers that wait for the router.
const QUEUE_MAX: usize = 1024;
/// Bytes of them.
const QUEUE_BYTES_MAX: usize = 1 << 20;
/// Behind every offer stands its number: a gap is what a listener missed.
const NUMBER_BYTES: usize = 8;
/// Packets that wait at the router's door.
const DOOR_MAX: usize = 64;
/// Bytes that the router keeps for slow listeners, twice.
const SEGMENT_BYTES: usize = 512 << 10;
/// How often the router is asked whether it lives; it has to answer before the next time.
const PING_EVERY: Duration = Duration::from_secs(10);

/// The router is not there any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum ObserveError {
    #[error("link: {0}")]
    Link(String),
    #[error("no answer within {PING_EVERY:?}")]
    Silent,
    #[error("it closed the link")]
    Closed,
    #[error("{LISTENERS_MAX} listeners are there already")]
    Full,
}

impl From<LinkError> for ObserveError {
    fn from(error: LinkError) -> Self {
        ObserveError::Link(error.to_string())
    }
}

type Connector = Box<dyn Fn(&str) -> Result<(LinkTx, LinkRx), ObserveError> + Send + Sync>;

/// The front's side of the router.
pub(super) struct Router {
    connector: Connector,
    queue: mpsc::Sender<(Why, BytesMut)>,
    /// Bytes of what waits in the queue.
    waiting: Arc<AtomicUsize>,
    /// Links given.
    links: AtomicUsize,
    /// The number of the next offer.
    next: Arc<AtomicU64>,
    counters: Arc<Counters>,
}

/// Hands offers on to the router, and watches it.
pub(super) struct Feeder {
    queue: mpsc::Receiver<(Why, BytesMut)>,
    waiting: Arc<AtomicUsize>,
    next: Arc<AtomicU64>,
    tx: LinkTx,
    rx: LinkRx,
}

/// Starts the router's thread.
///
/// # Errors
/// [`ObserveError`] when it does not answer.
pub(super) fn start(counters: Arc<Counters>) -> Result<(Arc<Router>, Feeder), ObserveError> {
    abort_on_panic();
    let router = rumqttd::Router::new(
        0,
        RouterConfig {
            max_connections: LISTENERS_MAX + 1,
            max_outgoing_packet_count: 100,
            max_segment_size: SEGMENT_BYTES,
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
    let waiting = Arc::<AtomicUsize>::default();
    let next = Arc::<AtomicU64>::default();
    let feeder = Feeder { queue, waiting: Arc::clone(&waiting), next: Arc::clone(&next), tx, rx };
    let links = AtomicUsize::default();
    Ok((Arc::new(Router { connector, queue: sender, waiting, links, next, counters }), feeder))
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

impl Router {
    /// Offers a message to whoever listens; never waits.
    pub(super) fn offer(&self, offer: &Offer<'_>) {
        let taken = self.take(offer).is_some();
        counters::add(if taken { &self.counters.offered } else { &self.counters.offers_refused }, 1);
    }

    fn take(&self, offer: &Offer<'_>) -> Option<()> {
        let room = self.queue.try_reserve().ok()?;
        // Before the copy is made: a flood costs a look.
        let full = self.waiting.load(Relaxed) + offer.payload.map_or(0, <[u8]>::len) > QUEUE_BYTES_MAX;
        let wire = if full { None } else { offer.encode(NUMBER_BYTES) }?;
        self.waiting.fetch_add(wire.len(), Relaxed);
        room.send((offer.why, wire));
        Some(())
    }

    /// A listener's link, which hears what is offered from now on. Blocks for round trips to the router's thread.
    ///
    /// # Errors
    /// [`ObserveError`]: there are too many, or the router is gone.
    pub(super) fn link(&self) -> Result<Link, ObserveError> {
        let number = self.links.fetch_add(1, Relaxed);
        if number >= LISTENERS_MAX {
            return Err(ObserveError::Full);
        }
        let (mut tx, mut rx) = (self.connector)(&format!("listener-{number}"))?;
        tx.subscribe(FILTER)?;
        let deadline = Instant::now() + PING_EVERY;
        loop {
            let notification = rx.recv_deadline(deadline).map_err(|error| match error {
                LinkError::RecvTimeout(_) => ObserveError::Silent,
                other => other.into(),
            })?;
            if let Some(Packet::SubAck(..)) = notification.and_then(Option::<Packet>::from) {
                break;
            }
        }
        let number = self.next.load(Relaxed);
        Ok(Link { _tx: tx, rx, number, counters: Arc::clone(&self.counters) })
    }
}

/// A listener's end. Lasts as long as the process: one that is dropped keeps its number.
pub(super) struct Link {
    /// Held: the router takes a link for gone without it.
    _tx: LinkTx,
    rx: LinkRx,
    /// Of the message that comes next.
    number: u64,
    counters: Arc<Counters>,
}

impl Link {
    /// The next message, see [`Offer::decode`]. May be cancelled.
    ///
    /// # Errors
    /// [`ObserveError`]: there will be no more.
    pub(super) async fn next(&mut self) -> Result<Bytes, ObserveError> {
        loop {
            match self.rx.next().await? {
                Some(Notification::Forward(forward)) => {
                    let mut wire = forward.publish.payload;
                    let Some(at) = wire.len().checked_sub(NUMBER_BYTES) else { continue };
                    let number = wire.split_off(at).get_u64();
                    counters::add(&self.counters.offers_missed, number.saturating_sub(self.number));
                    self.number = number + 1;
                    return Ok(wire);
                }
                Some(Notification::Unschedule) => self.rx.ready()?,
                Some(Notification::Disconnect(..)) => return Err(ObserveError::Closed),
                _ => {}
            }
        }
    }
}

impl Feeder {
    /// Runs until the router fails or nobody can offer any more.
    ///
    /// # Errors
    /// [`ObserveError`]: the process has to be started anew.
    pub(super) async fn run(mut self) -> Result<(), ObserveError> {
        let mut ping = tokio::time::interval(PING_EVERY);
        ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut answered = true;
        loop {
            // Biased: an answer that is there counts, however late this task gets its turn.
            tokio::select! {
                biased;
                notification = self.rx.next() => match notification? {
                    Some(Notification::Unschedule) => self.rx.ready()?,
                    Some(Notification::Disconnect(..)) => return Err(ObserveError::Closed),
                    _ => answered = true,
                },
                _ = ping.tick() => {
                    if !answered {
                        return Err(ObserveError::Silent);
                    }
                    answered = false;
                    self.tx.send(Packet::PingReq(PingReq)).await?;
                }
                offer = self.queue.recv() => match offer {
                    Some((why, wire)) => self.feed(why, wire).await?,
                    None => return Ok(()),
                },
            }
        }
    }

    async fn feed(&mut self, why: Why, mut wire: BytesMut) -> Result<(), ObserveError> {
        self.waiting.fetch_sub(wire.len(), Relaxed);
        // The router's own queue holds a thousand events, which may be a thousand of the longest packets.
        while self.tx.buffer().len() >= DOOR_MAX {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        wire.put_u64(self.next.fetch_add(1, Relaxed));
        self.tx.publish(format!("{PREFIX}{}", why.as_str()), wire.freeze())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn next(link: &mut Link) -> Bytes {
        tokio::time::timeout(Duration::from_secs(20), link.next())
            .await
            .expect("in time")
            .expect("the link stands")
    }

    #[tokio::test]
    async fn every_listener_hears_what_is_offered() {
        let counters = Arc::<Counters>::default();
        let (router, feeder) = start(Arc::clone(&counters)).expect("a router");
        let feeding = tokio::spawn(feeder.run());
        let mut links = [router.link().expect("a link"), router.link().expect("a link")];
        for round in 0..500_u32 {
            let (topic, payload) = (format!("温度/{round}"), round.to_be_bytes());
            let offer = Offer::new(Why::ALL[round as usize % 5], "u", "", &topic, &payload);
            router.offer(&offer);
            for link in &mut links {
                let wire = next(link).await;
                assert_eq!(Offer::decode(&wire), Some(offer), "round {round}");
            }
        }
        assert_eq!((counters.offered.load(Relaxed), counters.offers_missed.load(Relaxed)), (500, 0));
        assert!(!feeding.is_finished());
        feeding.abort();
    }

    #[tokio::test]
    async fn what_does_not_fit_is_counted_and_nobody_waits() {
        let counters = Arc::<Counters>::default();
        let (router, feeder) = start(Arc::clone(&counters)).expect("a router");
        let payload = vec![0; 1000];
        for _ in 0..2 * QUEUE_MAX {
            router.offer(&Offer::new(Why::NoMapping, "", "", "t", &payload));
        }
        let (offered, refused) = (counters.offered.load(Relaxed), counters.offers_refused.load(Relaxed));
        assert_eq!(offered + refused, 2 * QUEUE_MAX as u64);
        assert!(offered <= QUEUE_MAX as u64 && refused > 0);
        router.offer(&Offer::new(Why::NoMapping, "", "", &"t".repeat(1000), b""));
        assert_eq!(counters.offers_refused.load(Relaxed), refused + 1);

        // What waited is all handed on, and makes room.
        let mut link = router.link().expect("a link");
        let feeding = tokio::spawn(feeder.run());
        for _ in 0..offered {
            let wire = next(&mut link).await;
            assert!(Offer::decode(&wire).is_some());
        }
        assert_eq!((router.waiting.load(Relaxed), counters.offers_missed.load(Relaxed)), (0, 0));
        feeding.abort();
    }

    #[tokio::test]
    async fn a_slow_listener_misses_and_counts() {
        let counters = Arc::<Counters>::default();
        let (router, feeder) = start(Arc::clone(&counters)).expect("a router");
        let mut link = router.link().expect("a link");
        let feeding = tokio::spawn(feeder.run());
        let payload = vec![0; 30_000];
        let mut sent = 0;
        while sent < 1000 {
            let before = counters.offered.load(Relaxed);
            router.offer(&Offer::new(Why::NoMapping, "", "", "t", &payload));
            sent += counters.offered.load(Relaxed) - before;
            tokio::task::yield_now().await;
        }
        router.offer(&Offer::new(Why::Birth, "", "", "last", b""));
        let mut heard = 0;
        loop {
            let wire = next(&mut link).await;
            heard += 1;
            if Offer::decode(&wire).is_some_and(|offer| offer.topic == "last") {
                break;
            }
        }
        let missed = counters.offers_missed.load(Relaxed);
        assert_eq!(heard + missed, counters.offered.load(Relaxed), "{missed} missed");
        assert!(missed > 0);
        feeding.abort();
    }

    #[tokio::test]
    async fn listeners_are_bounded() {
        let (router, _feeder) = start(Arc::default()).expect("a router");
        let links: Vec<_> = (0..LISTENERS_MAX).map(|_| router.link().expect("a link")).collect();
        assert!(matches!(router.link(), Err(ObserveError::Full)));
        drop(links);
    }
}
