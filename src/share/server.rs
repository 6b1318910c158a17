//! The city's listeners: limits, compression, keep-alive, renewed certificates, and a polite end.
//!
//! Guarantees: messages are at most 4 MiB in both directions, also after decompression (approvals and queries 64 KiB); unary calls end within 70 s;
//! a connection has at most 64 calls at once, and one that resets them faster than they can be taken is closed; every error has
//! its reason, also those of the transport; the health service says serving only while the store can be written; within seconds after a stop nothing of the store is held any more, whatever the peers do.

use std::future::{Future, pending, poll_fn};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::extract::State;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::codec::CompressionEncoding;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic_health::ServingStatus;

use super::Pages;
use super::calls::{Shell, Who};
use super::connections::{Accept, Connections, TlsListener};
use super::counters::Counters;
use super::listen::{Bound, chain};
use super::quota::{Limits, Quota};
use super::refused::explained;
use super::tls::Tls;
use crate::approval::Grants;
use crate::audit::checkpoint::Checkpoint;
use crate::clock::Clock;
use crate::ingest::Intake;
use crate::lists::Lists;
use crate::privacy::release::ShareLine;
use crate::rules::listed::Line;
use crate::wire::v1::approval_service_server::ApprovalServiceServer;
use crate::wire::v1::catalog_service_server::CatalogServiceServer;
use crate::wire::v1::downlink_service_server::DownlinkServiceServer;
use crate::wire::v1::query_service_server::QueryServiceServer;
use crate::wire::v1::record_service_server::RecordServiceServer;
use crate::wire::v1::status_service_server::StatusServiceServer;
use crate::wire::{CONTRACT, Gateway};

/// Limit of one message, bytes, after decompression.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// Limit of what the city says about an approval, bytes.
const FEEDBACK_BYTES_MAX: usize = 64 << 10;
/// HTTP/2 pings: how often, and how long one may stay unanswered.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));
/// Calls at once on one connection.
const CALLS_MAX: u32 = 64;
/// Calls that a peer reset before they were taken; more of them end the connection (rapid reset).
const RESETS_MAX: usize = 20;
/// Calls that had to be reset because the peer broke the protocol; more of them end the connection.
const BROKEN_CALLS_MAX: usize = 64;
/// Size of all headers of one call, bytes.
const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// A unary call; a long poll waits 60 s.
const CALL: Duration = Duration::from_secs(70);

/// How patient the shell is.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// How often renewed certificates are looked for, and who is connected is held against them.
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
    /// The four lists, swapped live.
    pub lists: watch::Receiver<Arc<Lists>>,
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
    /// Whether the store can be written now.
    pub writable: watch::Receiver<bool>,
    /// What one consumer may have.
    pub limits: Limits,
    /// Whether the contract itself can be asked for.
    pub reflection: bool,
}

/// A listener that stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The transport.
    #[error("listener: {0}")]
    Transport(String),
}

/// What all ways to the city share: whichever way a consumer comes, it has one stream and one rate.
#[derive(Clone)]
pub struct Side<P>(pub(super) Shell<P>);

impl<P: Pages> Side<P> {
    /// Works until `stop`.
    #[must_use]
    pub fn new(city: City<P>, stop: CancellationToken) -> Self {
        let start_ms = city.clock.now().mono_ms;
        Self(Shell {
            quota: Arc::new(Quota::new(city.limits)),
            city: Arc::new(city),
            streams: Arc::default(),
            said: Arc::default(),
            denials: Arc::default(),
            who: Who::Certificate,
            stop,
            start_ms,
        })
    }
}

/// Serves all listeners until the side's stop, then says goodbye to the streams and ends within seconds.
///
/// # Errors
/// [`ServeError`] when one of them ends by itself.
pub async fn serve<P: Pages>(bound: Vec<Bound>, side: Side<P>) -> Result<(), ServeError> {
    serve_patiently(bound, side, PATIENCE).await
}

async fn serve_patiently<P: Pages>(
    bound: Vec<Bound>,
    Side(shell): Side<P>,
    patience: Patience,
) -> Result<(), ServeError> {
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
            generation(tcp, shell, patience.grace).await
        }
        Bound::Unix(socket, consumer) => {
            let shell = Shell { who: Who::Fixed(consumer), ..shell };
            generation(socket, shell, patience.grace).await
        }
        Bound::Tls(tcp, files) => {
            let (clock, counters) = (shell.city.clock.clone(), shell.city.counters.clone());
            let tls = Tls::new(files, clock, counters).map_err(|e| ServeError::Transport(e.to_string()))?;
            let tls = Arc::new(tls);
            let watching = tls.watch(shell.city.lines.clone(), patience.renewal);
            let listener = TlsListener { tcp, tls: tls.clone() };
            tokio::select! {
                end = generation(listener, shell, patience.grace) => end,
                () = watching => Ok(()),
            }
        }
    }
}

/// What the transport answers by itself gets its reason, and is counted.
async fn explain(
    State(counters): State<Arc<Counters>>,
    mut response: axum::response::Response,
) -> axum::response::Response {
    let said = Status::from_header_map(response.headers());
    if let Some((status, reason)) = said.as_ref().and_then(explained) {
        counters.transport(reason);
        // What cannot be a header leaves the answer as it was.
        let _ = status.add_header(response.headers_mut());
    }
    response
}

/// Everything that can be called.
fn routes<P: Pages>(shell: Shell<P>) -> Routes {
    let (counters, reflection) = (shell.city.counters.clone(), shell.city.reflection);
    let records = RecordServiceServer::new(shell.clone())
        .accept_compressed(CompressionEncoding::Zstd)
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Zstd)
        .send_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let downlink = DownlinkServiceServer::new(shell.clone())
        .accept_compressed(CompressionEncoding::Zstd)
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(MESSAGE_BYTES_MAX);
    let approvals = ApprovalServiceServer::new(shell.clone()).max_decoding_message_size(FEEDBACK_BYTES_MAX);
    let catalog = CatalogServiceServer::new(shell.clone())
        .send_compressed(CompressionEncoding::Zstd)
        .send_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(FEEDBACK_BYTES_MAX);
    // Never compressed: an answer's length would tell of what is in it to whoever chooses what stands beside it.
    let query = QueryServiceServer::new(shell.clone())
        .max_decoding_message_size(FEEDBACK_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let status = StatusServiceServer::new(shell).max_decoding_message_size(FEEDBACK_BYTES_MAX);
    let mut routes = Routes::new(records)
        .add_service(downlink)
        .add_service(approvals)
        .add_service(catalog)
        .add_service(query)
        .add_service(status);
    if reflection {
        let contract = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(CONTRACT)
            .build_v1();
        routes = routes.add_service(contract.expect("the contract of this build"));
    }
    routes.into_axum_router().layer(axum::middleware::map_response_with_state(counters, explain)).into()
}

/// Says whether the records can be had: only while the store can be written, and not while the gateway goes down.
async fn tell_health<P: Pages>(
    health: tonic_health::server::HealthReporter,
    mut writable: watch::Receiver<bool>,
    stop: CancellationToken,
) {
    loop {
        let is_serving = *writable.borrow_and_update() && !stop.is_cancelled();
        let state = if is_serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in ["", <RecordServiceServer<Shell<P>> as NamedService>::NAME] {
            health.set_service_status(service, state).await;
        }
        if stop.is_cancelled() {
            return pending().await;
        }
        tokio::select! {
            changed = writable.changed() => if changed.is_err() {
                stop.cancelled().await;
            },
            () = stop.cancelled() => {}
        }
    }
}

/// Serves one listener until its stop; what has not ended `grace` later is cut off.
async fn generation<P: Pages, L: Accept>(
    listener: L,
    shell: Shell<P>,
    grace: Duration,
) -> Result<(), ServeError> {
    let (stop, cut) = (shell.stop.clone(), CancellationToken::new());
    let (health, health_service) = tonic_health::server::health_reporter();
    let telling = tell_health::<P>(health, shell.city.writable.clone(), stop.clone());
    let connections = Connections::new(listener, cut.clone(), shell.city.counters.clone());
    let running = Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE.0))
        .http2_keepalive_timeout(Some(KEEP_ALIVE.1))
        .max_concurrent_streams(CALLS_MAX)
        .http2_max_pending_accept_reset_streams(Some(RESETS_MAX))
        .http2_max_local_error_reset_streams(Some(BROKEN_CALLS_MAX))
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .timeout(CALL)
        .add_routes(routes(shell).add_service(health_service))
        .serve_with_incoming_shutdown(connections, stop.clone().cancelled_owned());
    let overdue = async {
        stop.cancelled().await;
        sleep(grace).await;
        cut.cancel();
        pending().await
    };
    tokio::select! {
        end = running => end.map_err(|error| ServeError::Transport(chain(&error))),
        () = telling => Ok(()),
        never = overdue => never,
    }
}

#[cfg(test)]
mod tests;
