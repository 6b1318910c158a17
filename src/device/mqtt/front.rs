//! The door: accepts connections, lets clients in, and stops them all.
//!
//! Guarantees: no client holds up the accepting of another, not in a TLS handshake either; the connections are bounded, the
//! surplus one is closed at once; a client that has not been let in within the connect timeout is closed. A writer that is
//! gone ends the front, and so does a router that hangs.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::auth::{AuthError, Credential, Gate};
use super::commands::Commands;
use super::connection::{Admitted, Connection};
use super::counters::add;
use super::desk::{Desk, Told};
use super::exchange::{self, Asked, LateWill};
use super::journal::{self, Post};
use super::observe::{self, ObserveError, Router};
use super::onboard::Onboard;
use super::onboard::offer::{Offer, Why};
use super::packet::{self, Connect, Fault, Frame, Level, Refusal, Terms};
use super::rate::Bucket;
use super::registry::{Place, Registry};
use super::rights::Rights;
use super::samples::{Batch, Received, Route, Routes, States};
use super::seats::{Seat, Seats};
use super::session::{ALIASES_MAX, Bounds, Session, UNRELEASED_MAX};
use super::stream::Stream;
use super::tls::{self, Tls};
use super::{Counters, Limits, Settings};
use crate::clock::Clock;
use crate::ingest::{Intake, Stopped};
use crate::store::sessions::{Message, Saved};

/// Bytes of a client id.
const CLIENT_ID_BYTES_MAX: usize = 256;
/// Pause after accept failed: out of file descriptors, mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Bytes of a will, which lies in memory as long as its client is there.
const WILL_BYTES_MAX: usize = 8 << 10;
/// Unacknowledged deliveries of one client.
const WINDOW_MAX: usize = 100;

/// Why the front ended, or never began.
#[derive(Debug, thiserror::Error)]
pub enum FrontError {
    /// The router does not work.
    #[error("mqtt router: {0}; a restart of the process makes a new one")]
    Router(String),
    /// No randomness.
    #[error("mqtt front: {0}")]
    Auth(#[from] AuthError),
    /// Nothing can be stored any more.
    #[error("mqtt front: {0}")]
    Store(#[from] Stopped),
}

impl From<ObserveError> for FrontError {
    fn from(error: ObserveError) -> Self {
        FrontError::Router(error.to_string())
    }
}

/// What all connections share.
pub(super) struct Shared {
    pub(super) settings: watch::Receiver<Arc<Settings>>,
    pub(super) limits: Limits,
    pub(super) intake: Intake,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) counters: Arc<Counters>,
    pub(super) post: Arc<Post>,
    pub(super) router: Arc<Router>,
    pub(super) stop: CancellationToken,
    registry: Arc<Registry>,
    gate: Arc<Gate>,
    seats: Arc<Seats>,
    told: Arc<Told>,
}

impl Shared {
    /// Counts what a client asked for that is not its; tells it once of a user.
    pub(super) fn forbidden(&self, credential: &Credential, what: &'static str, which: &str) {
        add(&self.counters.forbidden, 1);
        self.told.tell(credential.name(), what, which);
    }

    /// Shows on-boarding what was retained before this start: most devices announce themselves once.
    fn offer_retained(&self) {
        let mut routes = Routes::new(self.settings.borrow().clone());
        self.post.exchange(|exchange| {
            for message in exchange.retained() {
                if matches!(routes.find(&message.topic), Route::FanOut) {
                    let offer = Offer::new(Why::NoMapping, "", "", &message.topic, &message.payload);
                    self.router.offer(&offer);
                }
            }
        });
    }

    /// A will that was put off is published with the rights that its user has now.
    pub(super) async fn publish_late_will(&self, will: LateWill) {
        let settings = self.settings.borrow().clone();
        let user = will.client.split('\0').next().unwrap_or_default();
        let rights = match settings.access.users.get(user) {
            Some(user) => Arc::clone(&user.rights),
            None if user.is_empty() => Arc::new(Rights::everything()),
            None => return,
        };
        if rights.may_publish(&will.message.topic) {
            self.publish_will(will.message, &rights).await;
        }
    }

    /// A will goes the way of any publish of its client.
    pub(super) async fn publish_will(&self, will: Message, rights: &Rights) {
        let mut routes = Routes::new(self.settings.borrow().clone());
        match routes.find(&will.topic) {
            Route::FanOut => {
                let now_ms = self.post.now_ms();
                self.post.exchange(|exchange| exchange.publish(None, will, now_ms));
            }
            route => {
                let received = self.clock.now();
                let message = Received {
                    topic: &will.topic,
                    payload: &will.payload,
                    retain: will.retain,
                    received_ms: received.wall_ms,
                };
                let mut batch = Batch::default();
                let added = batch.add(route, &message, rights, &mut States::default());
                if added.described {
                    let now_ms = self.post.now_ms();
                    self.post.exchange(|exchange| exchange.publish(None, will, now_ms));
                }
                if !batch.is_empty() {
                    let _ = self.intake.deliver(batch.take(received)).await;
                }
            }
        }
    }
}

/// The front before it serves.
pub struct Front {
    shared: Shared,
    feeder: observe::Feeder,
    link: observe::Link,
    onboard: Onboard,
}

/// Where the front listens.
pub struct Doors {
    /// Without encryption.
    pub plain: Option<TcpListener>,
    /// With it.
    pub tls: Option<(TcpListener, Tls)>,
}

impl Front {
    /// Starts the router behind the front. `listen` and `limits` of the settings hold from now on, the rest is followed.
    ///
    /// # Errors
    /// [`FrontError`] when the router's thread or its keys cannot be made.
    pub fn new(
        settings: watch::Receiver<Arc<Settings>>,
        saved: Saved,
        intake: Intake,
        clock: Arc<dyn Clock>,
        counters: Arc<Counters>,
        onboard: Onboard,
    ) -> Result<Self, FrontError> {
        let limits = settings.borrow().limits;
        let (router, feeder) = observe::start(Arc::clone(&counters))?;
        let link = router.link()?;
        let bounds = exchange::Bounds {
            sessions_max: limits.sessions_max,
            subscriptions_max: limits.subscriptions_max,
            queue_max: limits.queue_max,
            kept_bytes_max: limits.kept_bytes_max,
            retained_max: limits.retained_max,
            session_max_s: u32::try_from(limits.session_max.as_secs()).unwrap_or(u32::MAX),
            inflight_max: WINDOW_MAX,
        };
        let post = Post::new(bounds, saved, Arc::clone(&clock));
        let (gate, stop, told) = (Arc::new(Gate::new()?), CancellationToken::new(), Arc::default());
        let (registry, seats) = (Arc::default(), Seats::new(limits.user_connections_max));
        let shared = Shared {
            settings,
            limits,
            intake,
            clock,
            counters,
            post,
            router,
            stop,
            registry,
            gate,
            seats,
            told,
        };
        Ok(Self { shared, feeder, link, onboard })
    }

    /// What another way in shares with this front.
    #[must_use]
    pub fn desk(&self) -> Desk {
        let Shared { settings, limits, intake, clock, counters, router, gate, told, .. } = &self.shared;
        Desk {
            settings: settings.clone(),
            limits: *limits,
            intake: intake.clone(),
            clock: Arc::clone(clock),
            counters: Arc::clone(counters),
            router: Arc::clone(router),
            gate: Arc::clone(gate),
            told: Arc::clone(told),
        }
    }

    /// A handle to publish to devices.
    #[must_use]
    pub fn commands(&self) -> Commands {
        Commands::new(Arc::clone(&self.shared.post), self.shared.limits)
    }

    /// Serves until `stop`: then no more are accepted, and the connections finish what is in flight and close.
    ///
    /// # Errors
    /// [`FrontError`] when the router or the writer is gone; the process has to be started anew.
    pub async fn serve(self, doors: Doors, stop: CancellationToken) -> Result<(), FrontError> {
        let Self { mut shared, feeder, link, onboard } = self;
        shared.stop = stop.child_token();
        let shared = Arc::new(shared);
        let connections = TaskTracker::new();
        shared.offer_retained();
        // The journal goes on until the last connection has ended.
        let quiet = CancellationToken::new();
        let accepting = async {
            tokio::select! {
                () = shared.stop.cancelled() => {}
                () = accept(&shared, doors, &connections) => {}
            }
            connections.close();
            connections.wait().await;
            quiet.cancel();
            Ok(())
        };
        let journaling = async {
            let end = journal::run(&shared, &quiet).await;
            shared.stop.cancel();
            Ok(end?)
        };
        let feeding = async {
            let end = tokio::select! {
                () = quiet.cancelled() => return Ok(()),
                end = feeder.run() => end,
                end = onboard.listen(link, Arc::clone(&shared.clock)) => end,
            };
            shared.stop.cancel();
            Ok(end?)
        };
        let (accepted, journaled, fed) = tokio::join!(accepting, journaling, feeding);
        accepted.and(journaled).and(fed)
    }
}

async fn accept(shared: &Arc<Shared>, doors: Doors, connections: &TaskTracker) {
    let rate = u64::from(shared.limits.connect_rate);
    let mut knocks = Bucket::new(rate, rate);
    loop {
        let (accepted, tls) = tokio::select! {
            accepted = next(doors.plain.as_ref()) => (accepted, None),
            accepted = next(doors.tls.as_ref().map(|(listener, _)| listener)) => {
                (accepted, doors.tls.as_ref().map(|(_, tls)| tls.acceptor(shared.clock.now().mono_ms)))
            }
        };
        match accepted {
            Ok((stream, _)) if connections.len() < shared.limits.connections_max => {
                connections.spawn(welcome(Arc::clone(shared), stream, tls));
            }
            Ok(_) => add(&shared.counters.refused_full, 1),
            Err(error) => {
                tracing::warn!(%error, "mqtt accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        // Those who knock meanwhile wait in the kernel's queue.
        let mono_ms = shared.clock.now().mono_ms;
        knocks.take(1, mono_ms);
        let wait_ms = knocks.wait_ms(mono_ms);
        if wait_ms > 0 {
            add(&shared.counters.connects_delayed, 1);
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        }
    }
}

async fn next(listener: Option<&TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => pending().await,
    }
}

/// Counts a connection as open while it lives.
struct Open(Arc<Shared>);

impl Open {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.counters.connections.fetch_add(1, Relaxed);
        Self(Arc::clone(shared))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.counters.connections.fetch_sub(1, Relaxed);
    }
}

/// A connection from its first byte to its last.
async fn welcome(shared: Arc<Shared>, stream: TcpStream, tls: Option<TlsAcceptor>) {
    let open = Open::new(&shared);
    // Boxed: what is needed at the door does not stay with the task.
    if let Some(connection) = Box::pin(enter(&shared, stream, tls)).await {
        connection.serve().await;
    }
    drop(open);
}

/// The way through the door; none for who was not let in.
async fn enter(shared: &Arc<Shared>, stream: TcpStream, tls: Option<TlsAcceptor>) -> Option<Box<Connection>> {
    let _ = stream.set_nodelay(true);
    let admitting = async {
        let (stream, certificate) = match tls {
            None => (Stream::from(stream), None::<Vec<String>>),
            Some(acceptor) => match acceptor.accept(stream).await {
                Ok(stream) => {
                    let names = tls::names(&stream);
                    (stream.into(), Some(names))
                }
                Err(error) => {
                    tracing::debug!(%error, "tls handshake");
                    add(&shared.counters.refused_tls, 1);
                    return None;
                }
            },
        };
        admit(shared, stream, certificate.as_deref()).await
    };
    let guest = tokio::select! {
        () = shared.stop.cancelled() => return None,
        guest = tokio::time::timeout(shared.limits.connect_timeout, admitting) => guest,
    };
    let Ok(guest) = guest else {
        add(&shared.counters.refused_timeout, 1);
        return None;
    };
    let admitted = seat(shared, guest?).await?;
    add(&shared.counters.accepted, 1);
    Some(Connection::new(Arc::clone(shared), admitted))
}

/// A client that may come in, and whose place is free.
struct Guest {
    stream: Stream,
    /// Read behind the CONNECT.
    read: BytesMut,
    connect: Connect,
    /// Whether its client id is ours.
    assigned: bool,
    credential: Credential,
    seat: Seat,
    place: Place,
}

/// Hears the client out; none when it was refused, which has been counted and said.
async fn admit(shared: &Arc<Shared>, mut stream: Stream, certificate: Option<&[String]>) -> Option<Guest> {
    let mut read = BytesMut::new();
    let mut out = BytesMut::new();
    let knocked = loop {
        match Frame::cut(&read, shared.limits.packet_bytes_max) {
            Ok(Some(frame)) => break frame.connect().map(|connect| (connect, frame.len())),
            // Other protocols are not waited for.
            Ok(None) if read.first().is_some_and(|first| *first != Frame::CONNECT) => {
                break Err(Fault::Protocol("the first packet is no CONNECT"));
            }
            Ok(None) => {}
            Err(fault) => break Err(fault),
        }
        read.reserve(512);
        if !matches!(stream.turn(Some(&mut read), &mut out).await, Ok(Some(1..))) {
            add(&shared.counters.refused_protocol, 1);
            return None;
        }
    };
    let refusal = match knocked {
        Ok((connect, length)) => {
            read.advance(length);
            let level = connect.level;
            match check(shared, connect, certificate).await {
                Ok(Checked { connect, assigned, credential, seat, place }) => {
                    return Some(Guest { stream, read, connect, assigned, credential, seat, place });
                }
                Err(refusal) => Some((level, refusal)),
            }
        }
        Err(Fault::Level(level)) => Some((if level < 5 { Level::V4 } else { Level::V5 }, Refusal::Level)),
        Err(_) => None,
    };
    count_refusal(&shared.counters, refusal.map(|(_, refusal)| refusal));
    if let Some((level, refusal)) = refusal {
        packet::refuse(level, refusal, &mut out);
        let _ = stream.close(&mut out).await;
    }
    None
}

fn count_refusal(counters: &Counters, refusal: Option<Refusal>) {
    let counter = match refusal {
        Some(Refusal::Password) => &counters.refused_password,
        Some(Refusal::NotAuthorised | Refusal::AuthMethod) => &counters.refused_not_authorised,
        Some(Refusal::Quota) => &counters.refused_quota,
        Some(Refusal::Will) => &counters.refused_will,
        _ => &counters.refused_protocol,
    };
    add(counter, 1);
}

struct Checked {
    connect: Connect,
    assigned: bool,
    credential: Credential,
    seat: Seat,
    place: Place,
}

/// Checks who it is and takes its place, after whoever has it left.
async fn check(
    shared: &Arc<Shared>,
    mut connect: Connect,
    certificate: Option<&[String]>,
) -> Result<Checked, Refusal> {
    if connect.enhanced_auth {
        return Err(Refusal::AuthMethod);
    }
    let settings = shared.settings.borrow().clone();
    let credential = shared.gate.admit(&settings.access, connect.login.take(), certificate).await?;
    let assigned = connect.client_id.is_empty();
    // Nobody but a 5.0 client is told what name it was given (MQTT 3.1.1 §3.1.3.1).
    let nameless = assigned && !connect.clean && connect.level == Level::V4;
    if connect.client_id.len() > CLIENT_ID_BYTES_MAX || nameless {
        return Err(Refusal::ClientId);
    }
    if connect.will.as_ref().is_some_and(|will| will.message.payload.len() > WILL_BYTES_MAX) {
        return Err(Refusal::Will);
    }
    if let Some(will) = &connect.will
        && !credential.rights().may_publish(&will.message.topic)
    {
        shared.forbidden(&credential, "will", &will.message.topic);
        return Err(Refusal::NotAuthorised);
    }
    if assigned {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|_| Refusal::Busy)?;
        connect.client_id = format!("auto-{:016x}", u64::from_be_bytes(random));
    }
    // A client id belongs to its user: nobody ends or inherits the session of another one.
    let client = format!("{}\0{}", credential.name(), connect.client_id);
    let place = shared.registry.take(&client, &shared.stop).await;
    let seat = shared.seats.take(credential.name()).ok_or(Refusal::Quota)?;
    Ok(Checked { connect, assigned, credential, seat, place })
}

/// Gives a client its session, and writes the CONNACK when the session is as durable as it was asked to be. None when
/// nothing can be stored any more.
async fn seat(shared: &Arc<Shared>, guest: Guest) -> Option<Admitted> {
    let Guest { stream, read, mut connect, assigned, credential, seat, place } = guest;
    let asked = Asked {
        clean: connect.clean,
        expiry_s: connect.expiry_s,
        receive_max: connect.receive_max,
        level5: connect.level == Level::V5,
    };
    let (wake, now_ms) = (Arc::new(Notify::new()), shared.post.now_ms());
    let client = place.client();
    let opened = shared.post.exchange(|exchange| exchange.open(client, &asked, Arc::clone(&wake), now_ms));
    if shared.post.wait(opened.mark).await.is_err() {
        return None;
    }
    let limits = &shared.limits;
    let idle_s = u16::try_from(limits.idle_max.as_secs()).unwrap_or(u16::MAX);
    let long = connect.keep_alive == 0 || connect.keep_alive > idle_s;
    if long && connect.level == Level::V5 {
        connect.keep_alive = idle_s;
    }
    let receive_max = limits.inflight_max.min(UNRELEASED_MAX);
    let terms = Terms {
        receive_max: u16::try_from(receive_max).unwrap_or(u16::MAX),
        packet_bytes_max: limits.packet_bytes_max,
        assigned_id: assigned.then_some(connect.client_id.as_str()),
        expiry_s: (opened.expiry_s != connect.expiry_s).then_some(opened.expiry_s),
        alias_max: ALIASES_MAX,
        keep_alive: (long && connect.level == Level::V5).then_some(idle_s),
    };
    let mut out = BytesMut::new();
    packet::accept(connect.level, opened.present, &terms, &mut out);
    let bounds = Bounds { inflight_max: limits.inflight_max, idle_max: limits.idle_max };
    let session = Session::new(&connect, bounds, opened.received);
    let kept = opened.expiry_s > 0;
    Some(Admitted {
        stream,
        read,
        out,
        connect,
        session,
        id: opened.session,
        kept,
        wake,
        credential,
        seat,
        place,
    })
}
