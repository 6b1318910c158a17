//! The local status socket: everything the daemon knows about itself, for `smallbrain status` and the duty room.
//!
//! Who may open the socket may ask; nothing can be changed through it but what the services beside it say of themselves.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use super::Pages;
use super::connections::Connections;
use super::listen::{UnixSocket, chain};
use super::refused::Refused;
use super::server::ServeError;
use crate::clock::Clock;
use crate::model::{DeviceId, Lane, Seq, Severity};
use crate::privacy::release::ShareLine;
use crate::wire::{self, Gateway, v1};
use v1::status_service_server::{StatusService, StatusServiceServer};

/// Permissions of the socket: owner and group.
pub const SOCKET_MODE: u32 = 0o660;
/// How long an answer may take: a question to a meter waits for its turn among slow meters.
const CALL_MAX: Duration = Duration::from_secs(120);
/// How long calls may take to end after a stop.
const GRACE: Duration = Duration::from_secs(1);

/// What a device did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceState {
    /// Which.
    pub device: DeviceId,
    /// When it last said something that was stored, milliseconds since 1970 UTC.
    pub last_seen_ms: Option<i64>,
    /// Readings stored since the start.
    pub readings: u64,
    /// Whether it is there; none while nobody knows.
    pub presence: Option<Presence>,
}

/// Whether a device is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence {
    /// It is.
    pub online: bool,
    /// Since when, milliseconds since 1970 UTC.
    pub since_ms: i64,
    /// How that is known, in one word of the contract.
    pub cause: &'static str,
}

/// What only the daemon knows. Asked at every call: answers come from memory.
pub trait Inside: Send + Sync + 'static {
    /// Counters of the conservation law and of the shells.
    fn counters(&self) -> Vec<(String, u64)>;
    /// One line per device.
    fn devices(&self) -> Vec<DeviceState>;
    /// What is not as it should be; empty is good.
    fn degraded(&self) -> Vec<String>;
    /// How bad an alarm of the configuration is.
    fn severity(&self, alarm: &str) -> Option<Severity>;
    /// Version of the lists.
    fn policy_version(&self) -> u64;
    /// Room left for the store, bytes.
    fn storage_bytes_free(&self) -> u64;
}

/// What the status is made of.
pub struct Local<P> {
    /// Who and where the gateway is.
    pub gateway: Gateway,
    /// The share list, swapped live.
    pub lines: watch::Receiver<Arc<[ShareLine]>>,
    /// The reading side of the store.
    pub pages: P,
    /// What only the daemon knows.
    pub inside: Arc<dyn Inside>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// Serves the socket (bound with [`super::listen::unix`]), and `beside` on it, until `stop`.
///
/// # Errors
/// [`ServeError`] when it ends by itself.
pub async fn serve<P: Pages>(
    socket: UnixSocket,
    local: Local<P>,
    beside: Routes,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let start_ms = local.clock.now().mono_ms;
    let cut = CancellationToken::new();
    let running = Server::builder()
        .timeout(CALL_MAX)
        .add_routes(beside.add_service(StatusServiceServer::new(Answer { local, start_ms })))
        .serve_with_incoming_shutdown(
            Connections::new(socket, cut.clone(), Arc::default()),
            stop.cancelled(),
        );
    let overdue = async {
        stop.cancelled().await;
        sleep(GRACE).await;
        cut.cancel();
        pending().await
    };
    tokio::select! {
        end = running => end.map_err(|error| ServeError::Transport(chain(&error))),
        never = overdue => never,
    }
}

struct Answer<P> {
    local: Local<P>,
    start_ms: u64,
}

impl<P: Pages> Answer<P> {
    /// The position up to which every consumer of the lane has acknowledged; the head where there is no consumer.
    async fn slowest(&self, heads: [Seq; Lane::ALL.len()]) -> Result<[Seq; Lane::ALL.len()], Refused> {
        let lines = self.local.lines.borrow().clone();
        let mut slowest = heads;
        for line in lines.iter() {
            for consumer in &line.consumers {
                let acked = self.local.pages.acked(consumer).await?;
                for index in [line.lane, Lane::Event].map(Lane::index) {
                    slowest[index] = acked[index].min(slowest[index]);
                }
            }
        }
        Ok(slowest)
    }

    async fn answer(&self) -> Result<v1::GetStatusResponse, Refused> {
        let Local { gateway, pages, inside, clock, .. } = &self.local;
        let (now, states, raised) = (clock.now(), pages.lanes().await?, pages.raised().await?);
        let slowest = self.slowest(states.map(|state| state.head)).await?;
        let oldest = pages.sealed_after(slowest).await?;
        let lanes = Lane::ALL.map(|lane| {
            let at = lane.index();
            super::lane_status(lane, &states[at], slowest[at], oldest[at], now.wall_ms)
        });
        let devices = inside.devices().into_iter().map(|state| v1::DeviceStatus {
            device: state.device.to_string(),
            last_seen: state.last_seen_ms.map(wire::timestamp),
            readings: state.readings,
            presence: state.presence.map(|presence| v1::Presence {
                online: presence.online,
                since: Some(wire::timestamp(presence.since_ms)),
                cause: presence.cause.into(),
            }),
        });
        let alarms = raised.into_iter().map(|raised| v1::AlarmStatus {
            severity: inside.severity(&raised.alarm).map_or(0, |severity| wire::severity(severity).into()),
            alarm: raised.alarm,
            device: raised.device,
            since: Some(wire::timestamp(raised.since_ms)),
        });
        Ok(v1::GetStatusResponse {
            gateway_id: gateway.id.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            stream_epoch: pages.epoch().0.to_vec(),
            lanes: lanes.into(),
            catalog_version: inside.policy_version(),
            audit: None,
            clock_offset: None,
            storage_bytes_free: inside.storage_bytes_free(),
            degraded: inside.degraded(),
            counters: inside.counters().into_iter().collect(),
            devices: devices.collect(),
            uptime_seconds: now.mono_ms.saturating_sub(self.start_ms) / 1000,
            alarms: alarms.collect(),
        })
    }
}

#[tonic::async_trait]
impl<P: Pages> StatusService for Answer<P> {
    async fn get_status(
        &self,
        _: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        self.answer().await.map(Response::new).map_err(Status::from)
    }
}
