//! The door: accepts connections, lets clients in, and stops them all.
//!
//! Guarantees: no client holds up the accepting of another; the connections are bounded, the surplus one is closed at
//! once; a client that has not been let in within the connect timeout is closed. A router that fails ends the front.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::auth::{AuthError, Credential, Gate};
use super::connection::{Admitted, Connection};
use super::counters::add;
use super::packet::{self, Connect, Fault, Frame, Level, Refusal, Terms};
use super::registry::{Place, Registry};
use super::router::{self, Feeder, Router};
use super::session::{Bounds, FILTER_BYTES_MAX, Session, UNRELEASED_MAX};
use super::{Counters, Limits, Settings, topic};
use crate::clock::Clock;
use crate::ingest::Intake;
use crate::store::sessions::Message;

/// Bytes of a client id.
const CLIENT_ID_BYTES_MAX: usize = 256;
/// Pause after accept failed: out of file descriptors, mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the front ended, or never began.
#[derive(Debug, thiserror::Error)]
pub enum FrontError {
    /// The router does not work.
    #[error("mqtt router: {0}; a restart of the process makes a new one")]
    Router(String),
    /// No randomness.
    #[error("mqtt front: {0}")]
    Auth(#[from] AuthError),
}

/// A command that was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No topic to publish to.
    #[error("topic: must have 1 to 1024 bytes, no wildcard, and not begin with '$'")]
    Topic,
    /// Longer than a packet may be.
    #[error("payload of {0} bytes: longer than packet_bytes_max")]
    TooLong(usize),
    /// The front has stopped.
    #[error("the mqtt front has stopped")]
    Stopped,
}

/// Publishes to devices from inside the daemon.
#[derive(Clone, Debug)]
pub struct Commands {
    queue: mpsc::Sender<Message>,
    packet_bytes_max: usize,
}

impl Commands {
    /// Hands a message to all who subscribe to its topic now; waits while the router is busy. Who is absent does not
    /// get it.
    ///
    /// # Errors
    /// [`CommandError`] when nothing was sent.
    pub async fn publish(&self, topic: &str, payload: &[u8]) -> Result<(), CommandError> {
        if !topic::is_name(topic) || topic.starts_with('$') || topic.len() > FILTER_BYTES_MAX {
            return Err(CommandError::Topic);
        }
        if payload.len() > self.packet_bytes_max {
            return Err(CommandError::TooLong(payload.len()));
        }
        self.queue.send(router::message(topic, payload, false)).await.map_err(|_| CommandError::Stopped)
    }
}

/// What all connections share.
pub(super) struct Shared {
    pub(super) settings: watch::Receiver<Arc<Settings>>,
    pub(super) limits: Limits,
    pub(super) intake: Intake,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) counters: Arc<Counters>,
    pub(super) router: Arc<Router>,
    registry: Arc<Registry>,
    gate: Gate,
    pub(super) stop: CancellationToken,
}

/// The front before it serves.
pub struct Front {
    shared: Shared,
    feeder: Feeder,
}

impl Front {
    /// Starts the router behind the front. `listen` and `limits` of the settings hold from now on, the rest is followed.
    ///
    /// # Errors
    /// [`FrontError`] when the router's thread or its keys cannot be made.
    pub fn new(
        settings: watch::Receiver<Arc<Settings>>,
        intake: Intake,
        clock: Arc<dyn Clock>,
        counters: Arc<Counters>,
    ) -> Result<Self, FrontError> {
        let limits = settings.borrow().limits;
        let (router, feeder) = router::start(limits.connections_max, Arc::clone(&counters))
            .map_err(|error| FrontError::Router(error.to_string()))?;
        let registry = Registry::new(limits.connections_max, Arc::clone(&counters));
        let (gate, stop) = (Gate::new()?, CancellationToken::new());
        let shared = Shared { settings, limits, intake, clock, counters, router, registry, gate, stop };
        Ok(Self { shared, feeder })
    }

    /// A handle to publish to devices.
    #[must_use]
    pub fn commands(&self) -> Commands {
        Commands {
            queue: self.shared.router.queue().clone(),
            packet_bytes_max: self.shared.limits.packet_bytes_max,
        }
    }

    /// Serves until `stop`: then no more are accepted, and the connections finish what is in flight and close.
    ///
    /// # Errors
    /// [`FrontError::Router`] when the router fails; the process has to be started anew.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) -> Result<(), FrontError> {
        let Self { mut shared, feeder } = self;
        shared.stop = stop.child_token();
        let shared = Arc::new(shared);
        let connections = TaskTracker::new();
        let accepting = async {
            tokio::select! {
                () = shared.stop.cancelled() => {}
                () = accept(&shared, &listener, &connections) => {}
            }
            connections.close();
            connections.wait().await;
        };
        tokio::select! {
            () = accepting => Ok(()),
            result = feeder.run() => {
                shared.stop.cancel();
                let cause = result.err().map_or_else(|| "it was let go".to_owned(), |error| error.to_string());
                Err(FrontError::Router(cause))
            }
        }
    }
}

/// Serves a listener until `stop`; see [`Front`].
///
/// # Errors
/// See [`Front::new`] and [`Front::serve`].
pub async fn serve(
    listener: TcpListener,
    settings: watch::Receiver<Arc<Settings>>,
    intake: Intake,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
    stop: CancellationToken,
) -> Result<(), FrontError> {
    Front::new(settings, intake, clock, counters)?.serve(listener, stop).await
}

async fn accept(shared: &Arc<Shared>, listener: &TcpListener, connections: &TaskTracker) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) if connections.len() < shared.limits.connections_max => {
                connections.spawn(welcome(Arc::clone(shared), stream));
            }
            Ok(_) => add(&shared.counters.refused_full, 1),
            Err(error) => {
                tracing::warn!(%error, "mqtt accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Counts a connection as open while it lives.
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.counters.connections.fetch_sub(1, Relaxed);
    }
}

/// A connection from its first byte to its last.
async fn welcome(shared: Arc<Shared>, stream: TcpStream) {
    shared.counters.connections.fetch_add(1, Relaxed);
    let open = Open(Arc::clone(&shared));
    let _ = stream.set_nodelay(true);
    let admitted = tokio::select! {
        () = shared.stop.cancelled() => return,
        admitted = tokio::time::timeout(shared.limits.connect_timeout, admit(&shared, stream)) => admitted,
    };
    match admitted {
        Ok(Some(admitted)) => {
            add(&shared.counters.accepted, 1);
            Connection::new(shared, admitted).serve().await;
        }
        Ok(None) => {}
        Err(_) => add(&shared.counters.refused_timeout, 1),
    }
    drop(open);
}

/// Hears the client out and lets it in; none when it was refused, which has been counted and said.
async fn admit(shared: &Arc<Shared>, stream: TcpStream) -> Option<Admitted> {
    let (mut reader, mut writer) = stream.into_split();
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
        if !matches!(reader.read_buf(&mut read).await, Ok(1..)) {
            add(&shared.counters.refused_protocol, 1);
            return None;
        }
    };
    let refusal = match knocked {
        Ok((connect, length)) => {
            read.advance(length);
            let level = connect.level;
            match seat(shared, connect, &mut out).await {
                Ok((connect, session, credential, place)) => {
                    return Some(Admitted { reader, writer, read, out, connect, session, credential, place });
                }
                Err(refusal) => Some((level, refusal)),
            }
        }
        Err(Fault::Level(level)) => Some((if level < 5 { Level::V4 } else { Level::V5 }, Refusal::Level)),
        Err(_) => None,
    };
    add(
        match refusal {
            Some((_, Refusal::Password)) => &shared.counters.refused_password,
            Some((_, Refusal::NotAuthorised | Refusal::AuthMethod)) => {
                &shared.counters.refused_not_authorised
            }
            _ => &shared.counters.refused_protocol,
        },
        1,
    );
    if let Some((level, refusal)) = refusal {
        packet::refuse(level, refusal, &mut out);
        let _ = writer.write_all(&out).await;
    }
    None
}

type Seated = (Connect, Session, Credential, Place);

/// Checks who it is, takes its place and its session, and writes the CONNACK.
async fn seat(shared: &Arc<Shared>, mut connect: Connect, out: &mut BytesMut) -> Result<Seated, Refusal> {
    if connect.enhanced_auth {
        return Err(Refusal::AuthMethod);
    }
    // The session expiry granted to 5.0 is 0: nothing is left to resume.
    connect.clean |= connect.level == Level::V5;
    let access = shared.settings.borrow().clone();
    let credential = shared.gate.admit(&access.access, connect.login.take(), None).await?;
    let assigned = connect.client_id.is_empty();
    if connect.client_id.len() > CLIENT_ID_BYTES_MAX || (assigned && !connect.clean) {
        return Err(Refusal::ClientId);
    }
    if assigned {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|_| Refusal::Busy)?;
        connect.client_id = format!("auto-{:016x}", u64::from_be_bytes(random));
    }
    // A client id belongs to its user: nobody ends or inherits the session of another one.
    let client = format!("{}\0{}", credential.name(), connect.client_id);
    let (place, kept) = shared.registry.take(&client, &shared.stop).await;
    let limits = &shared.limits;
    let bounds = Bounds { inflight_max: limits.inflight_max, subscriptions_max: limits.subscriptions_max };
    let present = kept.is_some() && !connect.clean;
    let session = Session::new(&connect, bounds, kept);
    let receive_max = limits.inflight_max.min(UNRELEASED_MAX);
    let terms = Terms {
        receive_max: u16::try_from(receive_max).unwrap_or(u16::MAX),
        packet_bytes_max: limits.packet_bytes_max,
        assigned_id: assigned.then_some(connect.client_id.as_str()),
        expiry_s: (connect.level == Level::V5 && connect.expiry_s > 0).then_some(0),
        alias_max: 0,
        keep_alive: None,
    };
    packet::accept(connect.level, present, &terms, out);
    Ok((connect, session, credential, place))
}
