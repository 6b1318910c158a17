//! Accepted connections: bounded in number, opened in bounded time, and cut off when their time is over.
//!
//! Guarantees: at most [`CONNECTIONS_MAX`] a listener, further ones wait in the system's queue. A connection counts only once it
//! has said the first words of HTTP/2 (and shaken hands before, where there is TLS); until then it has one of [`OPENINGS_MAX`]
//! places of its own, for [`OPEN`] at most, and where others wait it gives its place up after [`GIVE_WAY`]: however many open
//! a connection and say nothing, memory is bounded and who speaks gets in. An error of accept (no file descriptor left) pauses
//! instead of spinning; after the cut every connection ends, also one whose peer does not read, so that nothing behind it is
//! held. Why a connection was turned away is counted, and told once a minute.

use std::collections::VecDeque;
use std::future::{Future, ready as ready_now};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use tokio_rustls::server::TlsStream;
use tokio_stream::Stream;
use tokio_util::sync::{CancellationToken, PollSemaphore, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use super::counters::{Counters, Turned};
use super::listen::UnixSocket;
use super::tls::Tls;

/// Connections of one listener at once.
const CONNECTIONS_MAX: usize = 256;
/// Connections of one listener that are still opening.
const OPENINGS_MAX: usize = 64;
/// How long the first words may take, after the handshake where there is one.
const OPEN: Duration = Duration::from_secs(10);
/// How long an opening has its place while others wait for one.
const GIVE_WAY: Duration = Duration::from_millis(500);
/// Pause after accept could not.
const PAUSE: Duration = Duration::from_millis(200);
/// Between two lines about connections turned away for the same reason.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// The first words of HTTP/2 (RFC 9113 §3.4).
const PREFACE: [u8; 24] = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection that is opening.
pub(super) type Opening<S> = Pin<Box<dyn Future<Output = Result<Opened<S>, Turned>> + Send>>;

/// A connection whose peer may speak.
pub(super) struct Opened<S> {
    /// What bytes go through.
    pub(super) stream: S,
    /// What else may cut it.
    pub(super) held: Option<Held>,
}

/// A connection's place among those that can be cut one by one; given up with the connection.
pub(super) struct Held {
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    gone: Option<Box<dyn FnOnce() + Send>>,
}

impl Held {
    /// Ends the connection with `cut`; calls `gone` when it is over.
    pub(super) fn new(cut: CancellationToken, gone: impl FnOnce() + Send + 'static) -> Self {
        Self { cut: Box::pin(cut.cancelled_owned()), gone: Some(Box::new(gone)) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(gone) = self.gone.take() {
            gone();
        }
    }
}

/// What connections come from.
pub(super) trait Accept: Unpin + Send + 'static {
    /// A connection.
    type Io: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static;
    /// The next one, on its way.
    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<Opening<Self::Io>>>;
}

fn plain<S: Send + 'static>(stream: S) -> Opening<S> {
    Box::pin(ready_now(Ok(Opened { stream, held: None })))
}

fn poll_tcp(listener: &TcpListener, context: &mut Context<'_>) -> Poll<io::Result<TcpStream>> {
    let (stream, _) = ready!(listener.poll_accept(context))?;
    // Without it small frames wait for company; the connection works all the same.
    let _ = stream.set_nodelay(true);
    Poll::Ready(Ok(stream))
}

impl Accept for Arc<TcpListener> {
    type Io = TcpStream;
    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<Opening<TcpStream>>> {
        poll_tcp(self, context).map_ok(plain)
    }
}

impl Accept for UnixSocket {
    type Io = UnixStream;
    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<Opening<UnixStream>>> {
        self.listener.poll_accept(context).map_ok(|(stream, _)| plain(stream))
    }
}

/// A listener with its certificates.
pub(super) struct TlsListener {
    /// Where connections come from.
    pub(super) tcp: Arc<TcpListener>,
    /// What they go by.
    pub(super) tls: Arc<Tls>,
}

impl Accept for TlsListener {
    type Io = TlsStream<TcpStream>;
    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<Opening<Self::Io>>> {
        let stream = ready!(poll_tcp(&self.tcp, context))?;
        let tls = self.tls.clone();
        Poll::Ready(Ok(Box::pin(async move { tls.accept(stream).await })))
    }
}

/// Waits until the peer has said that it speaks HTTP/2.
async fn greeted<S: AsyncRead + Unpin>(opening: Opening<S>) -> Result<Opened<S>, Turned> {
    let mut opened = opening.await?;
    let words = async {
        let (mut heard, mut buffer) = (0, PREFACE);
        while heard < PREFACE.len() {
            match opened.stream.read(&mut buffer[heard..]).await {
                Ok(0) | Err(_) => return Err(Turned::Gone),
                Ok(more) => heard += more,
            }
            if buffer[..heard] != PREFACE[..heard] {
                return Err(Turned::Protocol);
            }
        }
        Ok(())
    };
    timeout(OPEN, words).await.map_err(|_| Turned::Silent)??;
    Ok(opened)
}

struct Entry<S> {
    opening: Opening<S>,
    since: Instant,
}

impl<S: AsyncRead + Unpin + Send + 'static> Entry<S> {
    fn new(opening: Opening<S>) -> Self {
        Self { opening: Box::pin(greeted(opening)), since: Instant::now() }
    }
}

/// The connections of a listener as a stream that does not fail.
pub(super) struct Connections<L: Accept> {
    listener: L,
    room: PollSemaphore,
    permit: Option<OwnedSemaphorePermit>,
    pause: Option<Pin<Box<Sleep>>>,
    /// Until the oldest gives way.
    crowded: Option<Pin<Box<Sleep>>>,
    /// Oldest first.
    openings: VecDeque<Entry<L::Io>>,
    /// Accepted, and waits for a place among them.
    next: Option<Entry<L::Io>>,
    cut: CancellationToken,
    counters: Arc<Counters>,
    told: [Option<Instant>; Turned::ALL.len()],
}

impl<L: Accept> Connections<L> {
    /// Connections that end with `cut`.
    pub(super) fn new(listener: L, cut: CancellationToken, counters: Arc<Counters>) -> Self {
        let room = PollSemaphore::new(Arc::new(Semaphore::new(CONNECTIONS_MAX)));
        Self {
            listener,
            room,
            permit: None,
            pause: None,
            crowded: None,
            openings: VecDeque::new(),
            next: None,
            cut,
            counters,
            told: Default::default(),
        }
    }

    fn turn_away(&mut self, turned: Turned) {
        self.counters.turned(turned);
        let (last, now) = (&mut self.told[turned.index()], Instant::now());
        if last.is_none_or(|last| now.duration_since(last) >= TELL_EVERY) {
            *last = Some(now);
            let reason = if turned == Turned::WaitingForTime { "waiting for time" } else { turned.as_str() };
            tracing::info!(reason, "a connection is turned away; more of them are only counted");
        }
    }

    /// The first that is open.
    fn poll_opened(&mut self, context: &mut Context<'_>) -> Option<Opened<L::Io>> {
        let mut index = 0;
        while let Some(entry) = self.openings.get_mut(index) {
            match entry.opening.as_mut().poll(context) {
                Poll::Pending => index += 1,
                Poll::Ready(opened) => {
                    self.openings.remove(index);
                    match opened {
                        Ok(opened) => return Some(opened),
                        Err(turned) => self.turn_away(turned),
                    }
                }
            }
        }
        None
    }

    /// One more that opens; where there is no place, the oldest gives way in time.
    fn poll_next_opening(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.next.is_none() {
            match ready!(self.listener.poll_accept(context)) {
                Ok(opening) => self.next = Some(Entry::new(opening)),
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    self.pause = Some(Box::pin(sleep(PAUSE)));
                    return Poll::Ready(());
                }
            }
        }
        if self.openings.len() >= OPENINGS_MAX
            && let Some(oldest) = self.openings.front()
        {
            let until = oldest.since + GIVE_WAY;
            if Instant::now() < until {
                let mut pause = Box::pin(sleep_until(until));
                if pause.as_mut().poll(context).is_pending() {
                    self.crowded = Some(pause);
                    return Poll::Pending;
                }
            }
            self.openings.pop_front();
            self.turn_away(Turned::Crowded);
        }
        self.openings.extend(self.next.take());
        Poll::Ready(())
    }
}

impl<L: Accept> Stream for Connections<L> {
    type Item = io::Result<Connection<L::Io>>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if this.permit.is_none() {
                this.permit = ready!(this.room.poll_acquire(context));
            }
            if let Some(Opened { stream, held }) = this.poll_opened(context) {
                let cut = Box::pin(this.cut.clone().cancelled_owned());
                let permit = this.permit.take();
                let unread = PREFACE.len();
                return Poll::Ready(Some(Ok(Connection { stream, unread, cut, held, _permit: permit })));
            }
            if let Some(pause) = &mut this.pause {
                ready!(pause.as_mut().poll(context));
                this.pause = None;
            }
            ready!(this.poll_next_opening(context));
        }
    }
}

/// One connection.
pub(super) struct Connection<S> {
    stream: S,
    /// How much of the preface, which was looked at, is still to be read.
    unread: usize,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    held: Option<Held>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl<S: Unpin> Connection<S> {
    fn live(&mut self, context: &mut Context<'_>) -> io::Result<Pin<&mut S>> {
        let held = self.held.as_mut().map(|held| &mut held.cut);
        for cut in held.into_iter().chain([&mut self.cut]) {
            if cut.as_mut().poll(context).is_ready() {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        }
        Ok(Pin::new(&mut self.stream))
    }
}

impl<S: Connected> Connected for Connection<S> {
    type ConnectInfo = S::ConnectInfo;
    fn connect_info(&self) -> S::ConnectInfo {
        self.stream.connect_info()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let unread = self.unread;
        let mut stream = self.live(context)?;
        if unread == 0 {
            return stream.as_mut().poll_read(context, buffer);
        }
        let some = unread.min(buffer.remaining());
        let from = PREFACE.len() - unread;
        buffer.put_slice(&PREFACE[from..from + some]);
        self.unread -= some;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.live(context)?.poll_write(context, bytes)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.live(context)?.poll_write_vectored(context, parts)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.live(context)?.poll_flush(context)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.live(context)?.poll_shutdown(context)
    }
}
