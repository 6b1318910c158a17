//! The city's listeners: limits, compression, keep-alive, renewed certificates, and a polite end.
//!
//! Guarantees: messages are at most 4 MiB in both directions, also after decompression (approvals 64 KiB); unary calls end within 70 s;
//! within seconds after a stop nothing of the store is held any more, whatever the peers do.

use std::future::{Future, pending, poll_fn};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::transport::Server;

use super::Pages;
use super::calls::{Shell, Who};
use super::connections::{Accept, Connections};
use super::counters::Counters;
use super::listen::{Bound, TlsFiles, chain};
use crate::approval::Grants;
use crate::audit::checkpoint::Checkpoint;
use crate::clock::Clock;
use crate::ingest::Intake;
use crate::privacy::release::ShareLine;
use crate::rules::listed::Line;
use crate::wire::Gateway;
use crate::wire::v1::approval_service_server::ApprovalServiceServer;
use crate::wire::v1::downlink_service_server::DownlinkServiceServer;
use crate::wire::v1::record_service_server::RecordServiceServer;
use crate::wire::v1::status_service_server::StatusServiceServer;

/// Limit of one message, bytes, after decompression.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// Limit of what the city says about an approval, bytes.
const FEEDBACK_BYTES_MAX: usize = 64 << 10;
/// HTTP/2 pings: how often, and how long one may stay unanswered.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));
/// Calls at once on one connection.
const CALLS_MAX: u32 = 64;
/// Size of all headers of one call, bytes.
const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// A unary call; a long poll waits 60 s.
const CALL: Duration = Duration::from_secs(70);

/// How patient the shell is.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// How often renewed certificates are looked for.
    renewal: Duration,
    /// How long calls may take to end after a stop, before their connections are cut.
    grace: Duration,
}

const PATIENCE: Patience = Patience { renewal: Duration::from_secs(60), grace: Duration::from_secs(5) };

/// What the city's side works with.
#[derive(Clone)]
pub struct City<P> {
    /// Who and where the gateway is.
    pub gateway: Gateway,
    /// The share list, swapped live.
    pub lines: watch::Receiver<Arc<[ShareLine]>>,
    /// The lists that the city may put, likewise.
    pub shared: watch::Receiver<Arc<[Line]>>,
    /// What is granted, as the writer publishes it.
    pub grants: watch::Receiver<Arc<Grants>>,
    /// The reading side of the store.
    pub pages: P,
    /// Where progress goes.
    pub intake: Intake,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub counters: Arc<Counters>,
    /// The newest checkpoint of the trail; changes when there is a newer one on disk.
    pub checkpoints: watch::Receiver<Option<Checkpoint>>,
}

/// A listener that stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The transport.
    #[error("listener: {0}")]
    Transport(String),
}

/// Serves all listeners until `stop`, then says goodbye to the streams and ends within seconds.
///
/// # Errors
/// [`ServeError`] when one of them ends by itself.
pub async fn serve<P: Pages>(
    bound: Vec<Bound>,
    city: City<P>,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    serve_patiently(bound, city, stop, PATIENCE).await
}

async fn serve_patiently<P: Pages>(
    bound: Vec<Bound>,
    city: City<P>,
    stop: CancellationToken,
    patience: Patience,
) -> Result<(), ServeError> {
    let start_ms = city.clock.now().mono_ms;
    let shell = Shell {
        city: Arc::new(city),
        streams: Arc::default(),
        said: Arc::default(),
        denials: Arc::default(),
        who: Who::Certificate,
        stop,
        start_ms,
    };
    let mut running: Vec<_> =
        bound.into_iter().map(|bound| Box::pin(listener(bound, shell.clone(), patience))).collect();
    poll_fn(|context| {
        let mut failed = None;
        running.retain_mut(|listener| match listener.as_mut().poll(context) {
            Poll::Pending => true,
            Poll::Ready(end) => {
                failed = failed.take().or(end.err());
                false
            }
        });
        match failed {
            Some(error) => Poll::Ready(Err(error)),
            None if running.is_empty() => Poll::Ready(Ok(())),
            None => Poll::Pending,
        }
    })
    .await
}

async fn listener<P: Pages>(bound: Bound, shell: Shell<P>, patience: Patience) -> Result<(), ServeError> {
    match bound {
        Bound::Loopback(tcp, consumer) => {
            let shell = Shell { who: Who::Fixed(consumer), ..shell };
            generation(Server::builder(), tcp, shell, patience.grace).await
        }
        Bound::Unix(socket, consumer) => {
            let shell = Shell { who: Who::Fixed(consumer), ..shell };
            generation(Server::builder(), socket, shell, patience.grace).await
        }
        Bound::Tls(tcp, files) => {
            while !shell.stop.is_cancelled() {
                let (config, digest) = files.load().map_err(|e| ServeError::Transport(e.to_string()))?;
                let server =
                    Server::builder().tls_config(config).map_err(|e| ServeError::Transport(chain(&e)))?;
                // Streams of this generation end politely when the certificates change; the city comes back.
                let shell = Shell { stop: shell.stop.child_token(), ..shell.clone() };
                let until = shell.stop.clone();
                let running = generation(server, tcp.clone(), shell, patience.grace);
                tokio::pin!(running);
                tokio::select! {
                    end = &mut running => end?,
                    () = renewed(&files, digest, patience.renewal) => {
                        until.cancel();
                        running.await?;
                    }
                }
            }
            Ok(())
        }
    }
}

/// Comes when the files hold something else that can be loaded; a bad renewal is told and the old one stays.
async fn renewed(files: &TlsFiles, digest: [u8; 32], every: Duration) {
    let mut told = false;
    loop {
        sleep(every).await;
        match files.load() {
            Ok((_, now)) if now != digest => return,
            Ok(_) => told = false,
            Err(error) if !told => {
                tracing::warn!(%error, "renewed certificates cannot be used, the present ones stay");
                told = true;
            }
            Err(_) => {}
        }
    }
}

/// Serves one listener until its stop; what has not ended `grace` later is cut off.
async fn generation<P: Pages, L: Accept>(
    server: Server,
    listener: L,
    shell: Shell<P>,
    grace: Duration,
) -> Result<(), ServeError> {
    let (stop, cut) = (shell.stop.clone(), CancellationToken::new());
    let records = RecordServiceServer::new(shell.clone())
        .accept_compressed(CompressionEncoding::Zstd)
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Zstd)
        .send_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let downlink = DownlinkServiceServer::new(shell.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let approvals = ApprovalServiceServer::new(shell.clone()).max_decoding_message_size(FEEDBACK_BYTES_MAX);
    let status = StatusServiceServer::new(shell).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<RecordServiceServer<Shell<P>>>().await;
    let running = server
        .http2_keepalive_interval(Some(KEEP_ALIVE.0))
        .http2_keepalive_timeout(Some(KEEP_ALIVE.1))
        .max_concurrent_streams(CALLS_MAX)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .timeout(CALL)
        .add_service(health_service)
        .add_service(records)
        .add_service(downlink)
        .add_service(approvals)
        .add_service(status)
        .serve_with_incoming_shutdown(
            Connections::new(listener, cut.clone()),
            stop.clone().cancelled_owned(),
        );
    let overdue = async {
        stop.cancelled().await;
        sleep(grace).await;
        cut.cancel();
        pending().await
    };
    tokio::select! {
        end = running => end.map_err(|error| ServeError::Transport(chain(&error))),
        never = overdue => never,
    }
}

#[cfg(test)]
mod tests;
