//! THE place where tasks start, are watched and stop.
//!
//! Sources (serial ports, links to cities that are dialled) are started again with back-off when they end. Core tasks (writer, MQTT front, HTTP intake,
//! share server, local socket, metrics) end the process when they end early, and systemd starts it again. Stopping cancels the sources
//! and servers only; the writer ends because its input closed, after everything is stored.

mod drift;
mod inside;
mod loops;

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{MissedTickBehavior, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;

use self::inside::{Configuration, Inside};
use crate::approval::Grants;
use crate::audit::checkpoint::Checkpoint;
use crate::backoff::Backoff;
use crate::clock::{Clock, SystemClock};
use crate::config::watch::Watch;
use crate::config::{Config, Faults};
use crate::device::mqtt::onboard::Onboard;
use crate::device::{http, mqtt, serial};
use crate::ingest::act::{Act, Errand};
use crate::ingest::spine::AlarmChange;
use crate::ingest::trail::TrailError;
use crate::ingest::writer::{self, Writer};
use crate::ingest::{self, DeviceSeen, Intake, Stopped};
use crate::lists::Lists;
use crate::local::alarms::Alarms;
use crate::local::approvals::Approvals;
use crate::local::command::Sending;
use crate::local::entry::Entries;
use crate::local::onboard::Onboarding;
use crate::local::{Bus, Buses, topics};
use crate::model::Severity;
use crate::privacy::pseudonym::{RingError, Turned};
use crate::privacy::release::ShareLine;
use crate::rules::listed::{self, Line};
use crate::share::dial::Uplink;
use crate::share::listen::BindError;
use crate::share::server::Side;
use crate::share::{self, local};
use crate::store::reader::Reader;
use crate::store::sessions::Saved;
use crate::store::{Heads, Store, StoreError};
use crate::telemetry::metrics;
use crate::wire::bus::alarm_service_server::AlarmServiceServer;
use crate::wire::bus::bus_service_server::BusServiceServer;
use crate::wire::bus::command_service_server::CommandServiceServer;
use crate::wire::bus::manual_entry_service_server::ManualEntryServiceServer;
use crate::wire::bus::onboard_service_server::OnboardServiceServer;
use crate::wire::v1::approval_service_server::ApprovalServiceServer;
use crate::{actuate, notify};

/// Waits of a source that keeps ending.
const SOURCE_BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How long everything may take to be stored after a stop; systemd waits longer (TimeoutStopSec of the unit).
pub const STOP_MAX: Duration = Duration::from_secs(60);
/// How often the state is told to systemd where it has no watchdog.
const STATUS_EVERY: Duration = Duration::from_secs(15);
/// Runs of commands that may wait to be sent.
const ERRANDS_MAX: usize = 256;
/// Steps of incidents that may wait to be told to devices.
const STEPS_MAX: usize = 1024;
/// The shortest pulse: the writer turns once a second when it has nothing to do.
const PULSE_MIN: Duration = Duration::from_millis(1500);

/// The daemon cannot start, or ended early.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The configuration.
    #[error("{0}")]
    Config(Faults),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key of the trail.
    #[error(transparent)]
    Trail(#[from] TrailError),
    /// The keys of epochs.
    #[error(transparent)]
    Keys(#[from] RingError),
    /// An address is not to be had.
    #[error("listen {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    /// A listener of the city's side.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The MQTT front.
    #[error("mqtt: {0}")]
    Mqtt(#[from] mqtt::FrontError),
    /// Its certificates.
    #[error("mqtt.tls: {0}")]
    MqttTls(#[from] mqtt::tls::TlsError),
    /// Those of the HTTP intake.
    #[error("http: {0}")]
    HttpTls(mqtt::tls::TlsError),
    /// A core task ended.
    #[error("{0} ended: {1}")]
    Ended(&'static str, String),
    /// The operating system.
    #[error("{0}: {1}")]
    System(&'static str, std::io::Error),
}

impl DaemonError {
    /// The process's exit code for it: 78 configuration, 77 permission, 70 the rest.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let permission = |error: &std::io::Error| error.kind() == std::io::ErrorKind::PermissionDenied;
        match self {
            DaemonError::Config(_) | DaemonError::Trail(_) => 78,
            DaemonError::Keys(RingError::Exposed { .. } | RingError::Cut(_)) => 78,
            DaemonError::Keys(RingError::Io { why, .. }) if permission(why) => 77,
            DaemonError::Store(StoreError::File { error, .. })
            | DaemonError::Listen(_, error)
            | DaemonError::Bind(
                BindError::Tcp(_, error) | BindError::Unix(_, error) | BindError::File(_, error),
            ) if permission(error) => 77,
            _ => 70,
        }
    }
}

/// Where the daemon listens; differs from the configuration where that says port 0.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    /// MQTT.
    pub mqtt: Option<SocketAddr>,
    /// MQTT with TLS.
    pub mqtt_tls: Option<SocketAddr>,
    /// HTTP, with TLS or without.
    pub http: Option<SocketAddr>,
    /// The city's listeners that have an address.
    pub share: Vec<SocketAddr>,
    /// Metrics.
    pub metrics: Option<SocketAddr>,
}

impl std::fmt::Display for Addresses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mqtt = self.mqtt.iter().map(|address| ("mqtt", address));
        let mqtt_tls = self.mqtt_tls.iter().map(|address| ("mqtt with tls", address));
        let http = self.http.iter().map(|address| ("http", address));
        let share = self.share.iter().map(|address| ("share", address));
        let metrics = self.metrics.iter().map(|address| ("metrics", address));
        let all = mqtt.chain(mqtt_tls).chain(http).chain(share).chain(metrics);
        for (index, (name, address)) in all.enumerate() {
            write!(f, "{}{name} {address}", if index > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

/// A serial port's task.
struct Port {
    settings: watch::Sender<Arc<serial::PortSettings>>,
    counters: Arc<serial::Counters>,
    desk: serial::Desk,
    stop: CancellationToken,
}

/// A city that is dialled.
struct Dialled {
    uplink: Uplink,
    counters: Arc<share::link::counters::Counters>,
    stop: CancellationToken,
}

/// A running daemon.
pub struct Daemon {
    /// Where it listens.
    pub addresses: Addresses,
    /// The configuration it was started with.
    config: Config,
    clock: Arc<dyn Clock>,
    intake: Intake,
    inside: Arc<Inside>,
    mqtt: Option<watch::Sender<Arc<mqtt::Settings>>>,
    ports: HashMap<String, Port>,
    /// What the ways to the city share.
    side: Option<Side<Reader>>,
    dialled: Vec<Dialled>,
    buses: Buses,
    /// Unknown MQTT devices.
    onboard: Onboard,
    onboarding: Onboarding,
    /// Incidents, for the local socket.
    alarms: Alarms,
    entries: Entries,
    /// Approvals, likewise.
    approvals: Approvals,
    /// Commands from the local socket.
    sending: Sending,
    lines: watch::Sender<Arc<[ShareLine]>>,
    lists: watch::Sender<Arc<Lists>>,
    /// The lists that the city may put.
    shared: watch::Sender<Arc<[Line]>>,
    /// Where webhooks are.
    notify: watch::Sender<Arc<notify::Settings>>,
    /// Whether the store can be written.
    writable: watch::Sender<bool>,
    /// Cancels sources and servers.
    stop: CancellationToken,
    tasks: TaskTracker,
    ended: mpsc::Sender<DaemonError>,
    endings: mpsc::Receiver<DaemonError>,
    writer: writer::Handle,
    heads: watch::Receiver<Heads>,
    /// The newest of the trail.
    checkpoints: watch::Receiver<Option<Checkpoint>>,
    grants: watch::Receiver<Arc<Grants>>,
}

impl Daemon {
    /// Opens the store, takes every address, then starts the tasks: when this returns, the daemon is ready.
    ///
    /// # Errors
    /// [`DaemonError`].
    pub async fn start(mut config: Config, clock: Arc<dyn Clock>) -> Result<Self, DaemonError> {
        let keys = config.turn_keys()?;
        turned(&keys);
        let inside = Arc::new(Inside {
            writer: Arc::default(),
            mqtt: Arc::default(),
            http: Arc::default(),
            share: Arc::default(),
            notify: Arc::default(),
            actuate: Arc::default(),
            drift: Arc::default(),
            uplinks: Mutex::default(),
            loops: Arc::default(),
            topics: Arc::default(),
            ports: Mutex::default(),
            severities: Mutex::new(severities(&config)),
            configuration: Mutex::new(Configuration::of(&config, Vec::new(), None)),
        });
        let (intake, requests) = Intake::channel(config.queue);
        // First in the queue, which is empty: it is taken.
        let noted = keys == Turned::default() || intake.note(Act::Keys(keys));
        debug_assert!(noted, "an empty queue has room");
        tell_emergencies(&config);
        let mut entropy = [0; 32];
        getrandom::fill(&mut entropy).map_err(|error| DaemonError::System("random numbers", error.into()))?;
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| DaemonError::System("random numbers", error.into()))?;
        let (settings, plan, time, counters) =
            (config.store.clone(), config.plan.clone(), clock.clone(), inside.writer.clone());
        let trail = config.trail.clone();
        let writer = tokio::task::spawn_blocking(move || {
            let dir = settings.dir.clone();
            let store = Store::open(settings, entropy, time.now())?;
            let key = trail.key(&dir, seed)?;
            let (epoch, saved) = (store.epoch(), store.sessions()?);
            let mut writer = Writer::open(store, plan, requests, time, counters)?;
            writer.sign(&trail, key)?;
            Ok::<_, DaemonError>((writer, epoch, saved))
        });
        let (mut writer, epoch, saved) =
            writer.await.map_err(|error| DaemonError::Ended("opening the store", error.to_string()))??;
        let (heads, news, errands) = (writer.heads(), writer.news(), writer.errands(ERRANDS_MAX));
        let checkpoints = writer.checkpoints();
        let (steps, held) = (writer.steps(STEPS_MAX), writer.shared());
        let grants = writer.grants();
        let reader = Reader::open(&config.store.dir, epoch, heads.clone())?;
        let (ended, endings) = mpsc::channel(8);
        let onboard = Onboard::default();
        let alarms = Alarms::new(reader.clone(), intake.clone(), clock.clone());
        alarms.set(&config.plan.rules);
        let approvals = Approvals::new(reader.clone(), intake.clone());
        approvals.set(config.plan.rules.zone_ms);
        let entries = Entries::new(reader.clone(), intake.clone());
        entries.set(&config.plan);
        let mut daemon = Self {
            addresses: Addresses::default(),
            alarms,
            approvals,
            entries,
            clock,
            intake,
            inside,
            mqtt: None,
            ports: HashMap::new(),
            side: None,
            dialled: Vec::new(),
            buses: Buses::default(),
            onboarding: Onboarding::new(onboard.clone()),
            onboard,
            sending: Sending::default(),
            lines: watch::Sender::new(config.share.lines.clone().into()),
            lists: watch::Sender::new(config.plan.lists.clone()),
            shared: watch::Sender::new(config.plan.rules.shared.clone().into()),
            notify: watch::Sender::new(Arc::new(config.notify.clone())),
            writable: watch::Sender::new(true),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            ended,
            endings,
            writer: writer.spawn()?,
            heads,
            checkpoints,
            grants,
            config,
        };
        daemon.start_share(&reader).await?;
        daemon.start_uplinks(daemon.config.uplinks.clone());
        daemon.start_local(&reader)?;
        daemon.start_metrics().await?;
        daemon.start_mqtt(saved, steps, held).await?;
        daemon.start_ports(daemon.config.ports.clone(), daemon.config.plan.points.clone());
        daemon.start_drift(reader.clone());
        daemon.start_alarms(reader, news, errands);
        Ok(daemon)
    }

    /// Runs a core task: when it ends before the stop, the daemon has failed.
    fn core<E: std::fmt::Display>(
        &self,
        name: &'static str,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let (ended, stop) = (self.ended.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            let end = task.await;
            if !stop.is_cancelled() {
                let cause =
                    end.err().map_or_else(|| "without an error".to_owned(), |error| error.to_string());
                // Somebody ended before it, and the process ends for that.
                let _ = ended.try_send(DaemonError::Ended(name, cause));
            }
        });
    }

    /// What says how the lists are lived. Nothing hangs on it.
    fn start_drift(&self, reader: Reader) {
        let (lists, clock) = (self.lists.subscribe(), self.clock.clone());
        let (stop, drift) = (self.stop.clone(), self.inside.drift.clone());
        self.tasks.spawn(drift::look(reader.clone(), lists.clone(), clock.clone(), drift, stop.clone()));
        self.tasks.spawn(loops::look(reader, lists, clock, self.inside.loops.clone(), stop));
    }

    /// What carries out what alarms bring about: webhooks are told, devices get their commands.
    fn start_alarms(&self, reader: Reader, news: watch::Receiver<u64>, errands: mpsc::Receiver<Errand>) {
        let (settings, intake, clock, counted) =
            (self.notify.subscribe(), self.intake.clone(), self.clock.clone(), self.inside.notify.clone());
        let stop = self.stop.clone();
        self.core("notify", async move {
            notify::serve(settings, reader, intake, clock, counted, news, stop).await;
            Ok::<_, Stopped>(())
        });
        let actuate = actuate::serve(
            errands,
            self.sending.clone(),
            self.buses.clone(),
            self.intake.clone(),
            self.clock.clone(),
            self.inside.actuate.clone(),
            self.stop.clone(),
        );
        self.core("actuate", actuate);
    }

    async fn start_share(&mut self, reader: &Reader) -> Result<(), DaemonError> {
        let mut bound = Vec::new();
        for listener in &self.config.share.listeners {
            bound.push(share::listen::bind(listener).await?);
        }
        self.addresses.share = bound.iter().filter_map(share::listen::Bound::address).collect();
        let city = share::server::City {
            gateway: self.config.share.gateway.clone(),
            lines: self.lines.subscribe(),
            lists: self.lists.subscribe(),
            shared: self.shared.subscribe(),
            grants: self.grants.clone(),
            pages: reader.clone(),
            intake: self.intake.clone(),
            clock: self.clock.clone(),
            counters: self.inside.share.clone(),
            checkpoints: self.checkpoints.clone(),
            writable: self.writable.subscribe(),
            limits: self.config.share.limits,
            reflection: self.config.share.reflection,
        };
        let side = Side::new(city, self.stop.clone());
        if !bound.is_empty() {
            self.core("share server", share::server::serve(bound, side.clone()));
        }
        self.side = Some(side);
        Ok(())
    }

    /// Dials new cities, leaves those that are gone, and dials those anew that changed.
    fn start_uplinks(&mut self, uplinks: Vec<Uplink>) {
        let Some(side) = &self.side else { return };
        self.dialled.retain(|dialled| {
            let stays = uplinks.contains(&dialled.uplink);
            if !stays {
                dialled.stop.cancel();
            }
            stays
        });
        for uplink in uplinks {
            if self.dialled.iter().any(|dialled| dialled.uplink == uplink) {
                continue;
            }
            let counters = Arc::new(share::link::counters::Counters::new(&uplink, self.clock.clone()));
            let (stop, inside) = (self.stop.child_token(), self.inside.clone());
            let version: share::link::Version = Arc::new(move || inside.writer.lists_version());
            let (held, side, counted, ends) = (uplink.clone(), side.clone(), counters.clone(), stop.clone());
            self.tasks.spawn(keep(format!("uplink {}", uplink.city), stop.clone(), move || {
                let (uplink, side, version) = (held.clone(), side.clone(), version.clone());
                share::link::hold(uplink, side, version, counted.clone(), ends.clone())
            }));
            self.dialled.push(Dialled { uplink, counters, stop });
        }
        let counters = self.dialled.iter().map(|dialled| dialled.counters.clone()).collect();
        *self.inside.uplinks.lock().unwrap_or_else(PoisonError::into_inner) = counters;
    }

    fn start_local(&mut self, reader: &Reader) -> Result<(), DaemonError> {
        let socket = share::listen::unix(&self.config.socket, local::SOCKET_MODE)?;
        let state = local::Local {
            gateway: self.config.share.gateway.clone(),
            lines: self.lines.subscribe(),
            pages: reader.clone(),
            inside: self.inside.clone(),
            clock: self.clock.clone(),
        };
        let services = Routes::new(BusServiceServer::new(self.buses.clone()))
            .add_service(OnboardServiceServer::new(self.onboarding.clone()))
            .add_service(CommandServiceServer::new(self.sending.clone()))
            .add_service(AlarmServiceServer::new(self.alarms.clone()))
            .add_service(ManualEntryServiceServer::new(self.entries.clone()))
            .add_service(ApprovalServiceServer::new(self.approvals.clone()));
        self.core("local socket", local::serve(socket, state, services, self.stop.clone()));
        Ok(())
    }

    async fn start_metrics(&mut self) -> Result<(), DaemonError> {
        let Some(address) = self.config.telemetry.listen else { return Ok(()) };
        let listener = listen(address).await?;
        self.addresses.metrics = listener.local_addr().ok();
        let inside = self.inside.clone();
        let source: metrics::Source = Arc::new(move |page| {
            for (name, value) in inside.metrics() {
                page.put(&name, value);
            }
        });
        self.core("metrics", metrics::serve(listener, source, self.stop.clone()));
        Ok(())
    }

    async fn start_mqtt(
        &mut self,
        saved: Saved,
        steps: mpsc::Receiver<AlarmChange>,
        lists: watch::Receiver<listed::Lists>,
    ) -> Result<(), DaemonError> {
        let Some(settings) = self.config.mqtt.clone() else { return Ok(()) };
        let mut doors = mqtt::Doors { plain: None, tls: None };
        if let Some(address) = settings.listen {
            let listener = listen(address).await?;
            self.addresses.mqtt = listener.local_addr().ok();
            doors.plain = Some(listener);
        }
        if let Some(mqtt::tls::Settings { listen: address, files }) = &settings.tls {
            let tls = mqtt::tls::Tls::load(files)?;
            let listener = listen(*address).await?;
            self.addresses.mqtt_tls = listener.local_addr().ok();
            doors.tls = Some((listener, tls));
        }
        let settings = watch::Sender::new(Arc::new(settings));
        let front = mqtt::Front::new(
            settings.subscribe(),
            saved,
            self.intake.clone(),
            self.clock.clone(),
            self.inside.mqtt.clone(),
            self.onboard.clone(),
        )?;
        self.sending.set(front.commands());
        let (lines, told) = (self.shared.subscribe(), settings.subscribe());
        let sources = topics::Sources { lines, lists, steps, settings: told };
        let (clock, counted) = (self.clock.clone(), self.inside.topics.clone());
        self.tasks.spawn(topics::serve(front.commands(), sources, clock, counted, self.stop.clone()));
        self.start_http(front.desk()).await?;
        self.core("mqtt front", front.serve(doors, self.stop.clone()));
        self.mqtt = Some(settings);
        Ok(())
    }

    async fn start_http(&mut self, desk: mqtt::Desk) -> Result<(), DaemonError> {
        let Some(settings) = self.config.http.clone() else { return Ok(()) };
        let tls =
            settings.tls.as_ref().map(mqtt::tls::Tls::load).transpose().map_err(DaemonError::HttpTls)?;
        let listener = listen(settings.listen).await?;
        self.addresses.http = listener.local_addr().ok();
        let server = http::Server::new(settings, desk, self.inside.http.clone());
        self.core("http intake", server.serve(listener, tls, self.stop.clone()));
        Ok(())
    }

    /// Starts new ports, tells changed ones, stops those that are gone, and shows them on the local socket with the
    /// points by series.
    fn start_ports(&mut self, ports: Vec<serial::PortSettings>, points: Vec<Option<ingest::Point>>) {
        self.ports.retain(|name, port| {
            let stays = ports.iter().any(|settings| settings.name == *name);
            if !stays {
                port.stop.cancel();
                let mut counters = self.inside.ports.lock().unwrap_or_else(PoisonError::into_inner);
                counters.retain(|counters| counters.port() != name);
            }
            stays
        });
        let names: Vec<String> = ports.iter().map(|settings| settings.name.clone()).collect();
        for settings in ports {
            if let Some(port) = self.ports.get(&settings.name) {
                port.settings.send_if_modified(|present| {
                    let changed = **present != settings;
                    *present = Arc::new(settings);
                    changed
                });
                continue;
            }
            let counters = Arc::new(serial::Counters::new(&settings.name));
            self.inside.ports.lock().unwrap_or_else(PoisonError::into_inner).push(counters.clone());
            let (name, stop) = (settings.name.clone(), self.stop.child_token());
            let settings = watch::Sender::new(Arc::new(settings));
            let (desk, errands) = serial::Desk::new();
            let (receiver, intake, clock, ends, counted) = (
                settings.subscribe(),
                self.intake.clone(),
                self.clock.clone(),
                stop.clone(),
                counters.clone(),
            );
            self.tasks.spawn(keep(name.clone(), stop.clone(), move || {
                serial::port::serve(
                    receiver.clone(),
                    intake.clone(),
                    clock.clone(),
                    counters.clone(),
                    errands.clone(),
                    ends.clone(),
                )
            }));
            self.ports.insert(name, Port { settings, counters: counted, desk, stop });
        }
        let buses = names.iter().filter_map(|name| self.ports.get(name));
        let bus = |port: &Port| Bus {
            settings: port.settings.borrow().clone(),
            desk: port.desk.clone(),
            counters: port.counters.clone(),
        };
        self.onboarding.set(&points);
        self.buses.set(buses.map(bus).collect(), points);
    }

    /// Takes a new configuration live; tells what of it needs a restart, and so does the status until then.
    ///
    /// # Errors
    /// [`Stopped`] when the writer is gone.
    pub async fn apply(&mut self, mut config: Config) -> Result<Vec<&'static str>, Stopped> {
        // Without its key a name is not kept rather than kept under an old one.
        let keys = match config.turn_keys() {
            Ok(keys) => {
                turned(&keys);
                if keys != Turned::default() {
                    // The trail has it, or the store has stopped, which the plan below finds out.
                    let _ = self.intake.act(Act::Keys(keys)).await;
                }
                None
            }
            Err(error) => Some(error.to_string()),
        };
        if let Some(error) = &keys {
            tracing::error!(%error, "names are lost: the epoch has no key");
        }
        let restart = self.config.restart_needed(&config);
        // The spine first: no series may arrive before it is known.
        self.intake.apply(config.plan.clone()).await?;
        self.alarms.set(&config.plan.rules);
        self.entries.set(&config.plan);
        self.approvals.set(config.plan.rules.zone_ms);
        if let (Some(sender), Some(settings)) = (&self.mqtt, &config.mqtt) {
            sender.send_replace(Arc::new(settings.clone()));
            let known =
                |name: &str| settings.mappings.iter().any(|mapping| mapping.speakers.contains_key(name));
            self.onboard.forget(|pending| known(&pending.name));
        }
        self.start_ports(config.ports.clone(), config.plan.points.clone());
        self.start_uplinks(config.uplinks.clone());
        self.lines.send_replace(config.share.lines.clone().into());
        self.lists.send_replace(config.plan.lists.clone());
        self.shared.send_replace(config.plan.rules.shared.clone().into());
        self.notify.send_replace(Arc::new(config.notify.clone()));
        *self.inside.severities.lock().unwrap_or_else(PoisonError::into_inner) = severities(&config);
        tell_emergencies(&config);
        *self.configuration() = Configuration::of(&config, restart.clone(), keys);
        Ok(restart)
    }

    /// Tells the city's side whether the store can be written: the writer turns, and there is room.
    fn tell_writable(&self, turns: bool) {
        let writable = turns && self.inside.writer.bytes_free() > 0;
        self.writable.send_if_modified(|told| std::mem::replace(told, writable) != writable);
    }

    /// Waits until a core task ends early, and says why.
    pub async fn failed(&mut self) -> DaemonError {
        let writer = &mut self.writer;
        tokio::select! {
            end = writer => match end {
                Ok(Err(error)) => error.into(),
                Ok(Ok(())) => DaemonError::Ended("writer", "without an error".into()),
                Err(_) => DaemonError::Ended("writer", "it panicked".into()),
            },
            Some(error) = self.endings.recv() => error,
        }
    }

    /// Turns of the writer; stand still when it hangs.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.inside.writer.turns()
    }

    /// The newest position of each lane.
    #[must_use]
    pub fn heads(&self) -> Heads {
        *self.heads.borrow()
    }

    /// What each device has said since the start.
    #[must_use]
    pub fn devices(&self) -> Vec<DeviceSeen> {
        self.inside.writer.devices()
    }

    /// The writer's ledger.
    #[must_use]
    pub fn ledger(&self) -> crate::ingest::spine::Ledger {
        self.inside.writer.ledger()
    }

    /// Ends the sources and servers, then waits until everything that was taken is stored.
    ///
    /// # Errors
    /// [`DaemonError`] when the store fails, or does not end in time.
    pub async fn stop(self) -> Result<(), DaemonError> {
        self.stop.cancel();
        self.tasks.close();
        let stored = async {
            self.tasks.wait().await;
            drop((self.intake, self.alarms, self.approvals, self.entries, self.side));
            self.writer.await
        };
        match tokio::time::timeout(STOP_MAX, stored).await {
            Ok(Ok(end)) => Ok(end?),
            Ok(Err(_)) => Err(DaemonError::Ended("writer", "it panicked".into())),
            Err(_) => {
                Err(DaemonError::Ended("stop", format!("not everything was stored within {STOP_MAX:?}")))
            }
        }
    }

    fn configuration(&self) -> MutexGuard<'_, Configuration> {
        self.inside.configuration.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A profile that is left out is said loudly: somebody relies on it.
fn tell_emergencies(config: &Config) {
    for fault in config.emergency.faults() {
        let (file, line, why) = (fault.file.display(), fault.line, &fault.message);
        tracing::error!(%file, line, why, "a profile for an emergency is left out");
    }
    for profile in config.emergency.in_force() {
        tracing::warn!(%profile, "a profile for an emergency is in force");
    }
}

fn severities(config: &Config) -> HashMap<String, Severity> {
    config.plan.rules.alarms.iter().map(|alarm| (alarm.id.to_string(), alarm.severity)).collect()
}

async fn listen(address: SocketAddr) -> Result<TcpListener, DaemonError> {
    TcpListener::bind(address).await.map_err(|error| DaemonError::Listen(address, error))
}

/// Runs a source again whenever it ends, until `stop`.
async fn keep<F, T>(name: String, stop: CancellationToken, mut source: F)
where
    F: FnMut() -> T,
    T: Future<Output = ()> + Send + 'static,
{
    let mut backoff = Backoff::new(SOURCE_BACKOFF.0, SOURCE_BACKOFF.1);
    loop {
        let began = Instant::now();
        // A task of its own, so that a panic ends the source and not its keeper.
        let end = tokio::spawn(source()).await;
        if stop.is_cancelled() {
            return;
        }
        let cause = end.err().map_or_else(|| "it returned".to_owned(), |error| error.to_string());
        tracing::error!(source = name, cause, "a source ended and is started again");
        if began.elapsed() > SOURCE_BACKOFF.1 {
            backoff.reset();
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(backoff.wait(getrandom::u64().unwrap_or_default())) => {}
        }
    }
}

/// `smallbrain run`: the daemon under systemd, with signals, live configuration and the watchdog.
///
/// # Errors
/// [`DaemonError`]; its exit code says what kind.
pub async fn run(path: &Path, config: Config) -> Result<(), DaemonError> {
    let system = |what| move |error| DaemonError::System(what, error);
    let mut terminate = signal(SignalKind::terminate()).map_err(system("SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system("SIGINT"))?;
    let mut hangup = signal(SignalKind::hangup()).map_err(system("SIGHUP"))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let (found, mut changes) = mpsc::channel(1);
    let reload = Arc::new(Notify::new());
    let watch = tokio::spawn(Watch::of(path, &config).run(clock.clone(), reload.clone(), found));
    let mut daemon = Daemon::start(config, clock).await?;
    tell(&[NotifyState::Ready]);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), addresses = %daemon.addresses, "ready");
    let mut pulse = Pulse::default();
    // An interval: however much else happens, the next beat is not put off.
    let mut beats = tokio::time::interval(pulse_every());
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = loop {
        tokio::select! {
            _ = terminate.recv() => break Ok(()),
            _ = interrupt.recv() => break Ok(()),
            _ = hangup.recv() => reload.notify_one(),
            error = daemon.failed() => break Err(error),
            Some(change) = changes.recv() => swap(&mut daemon, change).await?,
            _ = beats.tick() => pulse.beat(&daemon),
        }
    };
    watch.abort();
    tell(&[NotifyState::Stopping]);
    if let Err(error) = &end {
        tracing::error!(%error, "the daemon ends early");
        // The store may be what failed: what can still be stored is, and the first cause is what is told.
        let _ = daemon.stop().await;
        return end;
    }
    daemon.stop().await?;
    tracing::info!("stopped, everything is stored");
    Ok(())
}

/// A new configuration is taken whole, a bad one is refused whole.
async fn swap(daemon: &mut Daemon, change: Result<Config, Faults>) -> Result<(), DaemonError> {
    match change {
        Ok(config) => {
            let stopped = |Stopped| DaemonError::Ended("writer", "before the new configuration".into());
            let restart = daemon.apply(config).await.map_err(stopped)?;
            tracing::info!(needs_restart = ?restart, "new configuration in force");
        }
        Err(faults) => {
            tracing::error!(faults = faults.count(), first = %faults.summary(), "new configuration refused, the old one stays");
            daemon.configuration().refused = Some(faults.summary());
        }
    }
    Ok(())
}

/// Says which keys of pseudonyms came and went.
fn turned(turned: &Turned) {
    if *turned != Turned::default() {
        tracing::info!(created = ?turned.created, destroyed = ?turned.destroyed, "keys of pseudonyms");
    }
}

/// The watchdog, fed only when the writer's loop has turned since the last time.
#[derive(Default)]
struct Pulse {
    turns: Option<u64>,
}

/// A third of what the watchdog allows.
fn pulse_every() -> Duration {
    let limit = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero());
    limit.map_or(STATUS_EVERY, |limit| (limit / 3).max(PULSE_MIN))
}

impl Pulse {
    fn beat(&mut self, daemon: &Daemon) {
        let turns = daemon.turns();
        let stands = self.turns.replace(turns) == Some(turns);
        daemon.tell_writable(!stands);
        if stands {
            tracing::error!("the writer stands still, the watchdog is not fed");
            return;
        }
        let ledger = daemon.ledger();
        let status = format!("已存 {} 条, 丢弃 {} 条", ledger.stored, ledger.lost.total());
        tell(&[NotifyState::Watchdog, NotifyState::Status(&status)]);
    }
}

/// Without systemd there is nobody to tell.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}
