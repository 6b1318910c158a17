//! Accepted connections: bounded in number, and cut off when their time is over.
//!
//! Guarantees: at most [`CONNECTIONS_MAX`] a listener, further ones wait in the system's queue; an error of accept (no
//! file descriptor left) pauses instead of spinning; after the cut every connection ends, also one whose peer does not
//! read, so that nothing behind it is held.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};
use tokio_stream::Stream;
use tokio_util::sync::{CancellationToken, PollSemaphore, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use super::listen::UnixSocket;

/// Connections of one listener at once.
const CONNECTIONS_MAX: usize = 256;
/// Pause after accept could not.
const PAUSE: Duration = Duration::from_millis(200);

/// What connections come from.
pub(super) trait Accept: Unpin + Send + 'static {
    /// A connection.
    type Io: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static;
    /// The next one.
    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<Self::Io>>;
}

impl Accept for Arc<TcpListener> {
    type Io = TcpStream;
    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<TcpStream>> {
        let (stream, _) = ready!(TcpListener::poll_accept(self, context))?;
        // Without it small frames wait for company; the connection works all the same.
        let _ = stream.set_nodelay(true);
        Poll::Ready(Ok(stream))
    }
}

impl Accept for UnixSocket {
    type Io = UnixStream;
    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<UnixStream>> {
        self.listener.poll_accept(context).map_ok(|(stream, _)| stream)
    }
}

/// The connections of a listener as a stream that does not fail.
pub(super) struct Connections<L> {
    listener: L,
    room: PollSemaphore,
    permit: Option<OwnedSemaphorePermit>,
    pause: Option<Pin<Box<Sleep>>>,
    cut: CancellationToken,
}

impl<L: Accept> Connections<L> {
    /// Connections that end with `cut`.
    pub(super) fn new(listener: L, cut: CancellationToken) -> Self {
        let room = PollSemaphore::new(Arc::new(Semaphore::new(CONNECTIONS_MAX)));
        Self { listener, room, permit: None, pause: None, cut }
    }
}

impl<L: Accept> Stream for Connections<L> {
    type Item = io::Result<Connection<L::Io>>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(pause) = &mut this.pause {
                ready!(pause.as_mut().poll(context));
                this.pause = None;
            }
            if this.permit.is_none() {
                this.permit = ready!(this.room.poll_acquire(context));
            }
            match ready!(this.listener.poll_accept(context)) {
                Ok(stream) => {
                    let cut = Box::pin(this.cut.clone().cancelled_owned());
                    let permit = this.permit.take();
                    return Poll::Ready(Some(Ok(Connection { stream, cut, _permit: permit })));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    this.pause = Some(Box::pin(sleep(PAUSE)));
                }
            }
        }
    }
}

/// One connection.
pub(super) struct Connection<S> {
    stream: S,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl<S: Unpin> Connection<S> {
    fn live(&mut self, context: &mut Context<'_>) -> io::Result<Pin<&mut S>> {
        match self.cut.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(Pin::new(&mut self.stream)),
        }
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
        self.live(context)?.poll_read(context, buffer)
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
