//! The HTTP intake: devices that post what others publish. The path is the topic, the body the payload; identity, rights,
//! limits and mappings are those of MQTT.
//!
//! Guarantees: a request is answered with 200 only after what it holds is on disk; no client holds up another one, not in a TLS
//! handshake either; connections, heads, bodies and what of them is held at once are bounded, in bytes and in time; stopping
//! finishes what is in flight. What is posted goes into the spine or is refused: it reaches no subscriber of MQTT, and no
//! sender is asked for anything. Every message is taken by itself: a convention that remembers its senders forgets them here.

mod answer;
mod counters;
mod form;
mod multipart;
mod request;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::mqtt::Desk;
use super::mqtt::add;
use super::mqtt::rate::Bucket;
use super::mqtt::seats::Seats;
use super::mqtt::tls::{self, Tls};
pub use counters::Counters;
use request::Speaker;

/// Bytes of the head of a request (hyper takes no less than 8 KiB), and of a piece of a body.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// How long a connection lasts; then it ends between two requests, and whoever never reads its answers too.
const CONNECTION_MAX: Duration = Duration::from_secs(600);
/// How long what is in flight may take when its connection is to end.
const LAST_WORDS: Duration = Duration::from_secs(30);
/// Pause after accept failed: out of file descriptors, mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Bodies above [`SMALL_BYTES_MAX`] that are held at once.
const LARGE_MAX: usize = 4;
/// Bytes of a body that every connection may hold.
const SMALL_BYTES_MAX: usize = 64 << 10;
/// Longest payload, bytes; what else a body has, pictures, is not held.
const PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// What the intake needs to know; holds for the life of the daemon. Who may come and what is mapped, [`Desk`] knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// With these files of TLS; else in plain text.
    pub tls: Option<tls::Files>,
    /// Bounds.
    pub limits: Limits,
}

/// The bounds of the intake; those of MQTT for topics, users and rates hold too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; the next one is closed at the door.
    pub connections_max: usize,
    /// Bytes of a body, pictures included; a longer one is refused.
    pub body_bytes_max: u64,
    /// For the head of a request, or the handshake of TLS; so long may a connection also be idle.
    pub head_timeout: Duration,
    /// For its body.
    pub body_timeout: Duration,
}

impl Limits {
    /// The defaults, fit for a Pi.
    pub const DEFAULT: Self = Self {
        connections_max: 64,
        body_bytes_max: 1 << 20,
        head_timeout: Duration::from_secs(10),
        body_timeout: Duration::from_secs(30),
    };
}

/// The intake.
pub struct Server {
    settings: Settings,
    desk: Desk,
    counters: Arc<Counters>,
    stop: CancellationToken,
    seats: Arc<Seats>,
    speakers: Mutex<HashMap<Box<str>, Speaker>>,
    large: Semaphore,
}

impl Server {
    /// An intake that asks the desk of the MQTT front.
    #[must_use]
    pub fn new(settings: Settings, desk: Desk, counters: Arc<Counters>) -> Self {
        let seats = Seats::new(desk.limits.user_connections_max);
        let (stop, large) = (CancellationToken::new(), Semaphore::new(LARGE_MAX));
        Self { settings, desk, counters, stop, seats, speakers: Mutex::default(), large }
    }

    /// Serves until `stop`: then no more are accepted, and what is in flight is finished.
    ///
    /// # Errors
    /// None.
    pub async fn serve(
        mut self,
        listener: TcpListener,
        tls: Option<Tls>,
        stop: CancellationToken,
    ) -> Result<(), Infallible> {
        self.stop = stop;
        let (server, connections) = (Arc::new(self), TaskTracker::new());
        tokio::select! {
            () = server.stop.cancelled() => {}
            () = accept(&server, &listener, tls.as_ref(), &connections) => {}
        }
        drop(listener);
        connections.close();
        connections.wait().await;
        Ok(())
    }
}

async fn accept(server: &Arc<Server>, listener: &TcpListener, tls: Option<&Tls>, connections: &TaskTracker) {
    let rate = u64::from(server.desk.limits.connect_rate);
    let mut knocks = Bucket::new(rate, rate);
    loop {
        let accepted = listener.accept().await;
        let mono_ms = server.desk.clock.now().mono_ms;
        match accepted {
            Ok((stream, _)) if connections.len() < server.settings.limits.connections_max => {
                connections.spawn(welcome(Arc::clone(server), stream, tls.map(|tls| tls.acceptor(mono_ms))));
            }
            Ok(_) => add(&server.counters.full, 1),
            Err(error) => {
                tracing::warn!(%error, "http accept");
                sleep(ACCEPT_PAUSE).await;
            }
        }
        // Those who knock meanwhile wait in the kernel's queue.
        knocks.take(1, mono_ms);
        let wait_ms = knocks.wait_ms(mono_ms);
        if wait_ms > 0 {
            add(&server.counters.delayed, 1);
            sleep(Duration::from_millis(wait_ms)).await;
        }
    }
}

/// Counts a connection as open while it lives.
struct Open(Arc<Counters>);

impl Open {
    fn new(counters: &Arc<Counters>) -> Self {
        counters.connections.fetch_add(1, Relaxed);
        Self(Arc::clone(counters))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
    }
}

/// A connection from its first byte to its last.
async fn welcome(server: Arc<Server>, stream: TcpStream, tls: Option<TlsAcceptor>) {
    let open = Open::new(&server.counters);
    let _ = stream.set_nodelay(true);
    match tls {
        None => {
            // Only where the machine alone can come need nobody be known.
            let certificate = if server.settings.listen.ip().is_loopback() { None } else { Some(Vec::new()) };
            converse(&server, stream, certificate).await;
        }
        Some(acceptor) => {
            let shaken = tokio::select! {
                () = server.stop.cancelled() => return,
                shaken = timeout(server.settings.limits.head_timeout, acceptor.accept(stream)) => shaken,
            };
            match shaken {
                Ok(Ok(stream)) => {
                    let names = tls::names(&stream);
                    converse(&server, stream, Some(names)).await;
                }
                _ => add(&server.counters.tls, 1),
            }
        }
    }
    drop(open);
}

/// Request after request. `certificate` is as [`Desk`] wants it.
async fn converse<S>(server: &Arc<Server>, stream: S, certificate: Option<Vec<String>>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let certificate = certificate.as_deref();
    let service =
        service_fn(|request| async move { Ok::<_, Infallible>(server.respond(certificate, request).await) });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(server.settings.limits.head_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let end = tokio::select! {
        end = connection.as_mut() => Ok(end),
        () = server.stop.cancelled() => Err(()),
        () = sleep(CONNECTION_MAX) => Err(()),
    };
    let end = match end {
        Ok(end) => end,
        Err(()) => {
            connection.as_mut().graceful_shutdown();
            let Ok(end) = timeout(LAST_WORDS, connection).await else { return };
            end
        }
    };
    if let Err(error) = end {
        tracing::debug!(%error, "http connection");
        add(&server.counters.silent, u64::from(error.is_timeout()));
        add(&server.counters.protocol, u64::from(error.is_parse()));
    }
}
