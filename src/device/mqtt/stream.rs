//! The bytes of one client, plain or through TLS, read and written by one task.
//!
//! Guarantees: nothing here waits for one direction alone, so a client that does not read is still heard; what a cancelled
//! call has done is in the buffers it was given.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::io::poll_read_buf;

/// See the module.
pub(super) struct Stream {
    inner: Inner,
    /// Something was written that may still be on this side of the socket.
    dirty: bool,
}

enum Inner {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self { inner: Inner::Plain(stream), dirty: false }
    }
}

impl From<TlsStream<TcpStream>> for Stream {
    fn from(stream: TlsStream<TcpStream>) -> Self {
        Self { inner: Inner::Tls(Box::new(stream)), dirty: false }
    }
}

impl Stream {
    /// Writes what is taken now, without waiting.
    pub(super) async fn write_now(&mut self, out: &mut BytesMut) -> io::Result<()> {
        poll_fn(|context| Poll::Ready(self.poll_out(context, out).map(drop))).await
    }

    /// Waits until something was read, where it is wanted, or some of `out` was written. How many bytes were read; none
    /// when nothing was, 0 at the end of the stream.
    pub(super) async fn turn(
        &mut self,
        mut read: Option<&mut BytesMut>,
        out: &mut BytesMut,
    ) -> io::Result<Option<usize>> {
        poll_fn(|context| {
            let wrote = self.poll_out(context, out)?;
            if let Some(read) = read.as_deref_mut()
                && let Poll::Ready(count) = poll_read_buf(Pin::new(&mut self.inner), context, read)?
            {
                return Poll::Ready(Ok(Some(count)));
            }
            if wrote { Poll::Ready(Ok(None)) } else { Poll::Pending }
        })
        .await
    }

    /// Writes all of it and says goodbye, which TLS has a word for.
    pub(super) async fn close(&mut self, out: &mut BytesMut) -> io::Result<()> {
        self.write_all(out).await?;
        poll_fn(|context| Pin::new(&mut self.inner).poll_shutdown(context)).await
    }

    /// Writes all of it.
    pub(super) async fn write_all(&mut self, out: &mut BytesMut) -> io::Result<()> {
        while !out.is_empty() || self.dirty {
            self.turn(None, out).await?;
        }
        Ok(())
    }

    /// Writes what is taken, and says whether anything was.
    fn poll_out(&mut self, context: &mut Context<'_>, out: &mut BytesMut) -> io::Result<bool> {
        let mut wrote = false;
        while !out.is_empty() {
            match Pin::new(&mut self.inner).poll_write(context, out) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => {
                    out.advance(count);
                    (wrote, self.dirty) = (true, true);
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        if self.dirty && Pin::new(&mut self.inner).poll_flush(context)?.is_ready() {
            (wrote, self.dirty) = (true, false);
        }
        Ok(wrote)
    }
}

impl AsyncRead for Inner {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Inner::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Inner::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Inner {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Inner::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Inner::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Inner::Plain(stream) => Pin::new(stream).poll_flush(context),
            Inner::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Inner::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Inner::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
