//! The process: registry, leases and one task per gateway that is held. The one place where tasks start, are watched and
//! stop.
//!
//! Guarantees: a gateway is pulled from only while its lease is held; a line of the registry that changed takes its task
//! along, the others go on; a registry that is wrong changes nothing. At the end what is in flight is finished, and leases go
//! back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::counters::{Counters, count};
use super::gateway::{self, Post};
use super::lease::{Leases, PATIENCE, ROUND, Seen};
use super::registry::{Gateway, Registry};
use super::settings::{Settings, Tls};
use super::share_out::{View, mixed, plan};
use super::sink::{Sink, SinkError};
use crate::config::Faults;
use crate::config::watch::{LOOK, QUIET, quiet, watch_all};
use crate::telemetry::metrics;

/// How long what is in flight may take at the end.
const DRAIN: Duration = Duration::from_secs(10);

/// Why the collector ended.
#[derive(Debug, thiserror::Error)]
pub enum CollectorError {
    /// The registry is wrong at the start.
    #[error("{0}")]
    Registry(Faults),
    /// The sink cannot be had.
    #[error("sink: {0}")]
    Sink(#[from] SinkError),
    /// The listener of metrics.
    #[error("metrics on {0}: {1}")]
    Metrics(std::net::SocketAddr, std::io::Error),
}

/// A gateway that is held.
#[derive(Debug)]
struct Running {
    gateway: Arc<Gateway>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Everything there is to do with gateways.
struct Collector {
    settings: Settings,
    sink: Arc<Sink>,
    leases: Leases,
    counters: Arc<Counters>,
    registry: Registry,
    running: BTreeMap<String, Running>,
    started: Instant,
    renewed: Instant,
}

/// Collects until `stop`. `reload` asks for a look at the registry.
///
/// # Errors
/// [`CollectorError`].
pub async fn run(
    settings: Settings,
    reload: Arc<Notify>,
    stop: CancellationToken,
) -> Result<(), CollectorError> {
    let registry = Registry::load(&settings.registry, &settings.tls).map_err(CollectorError::Registry)?;
    let counters = Arc::new(Counters::default());
    let mut listening = None;
    if let Some(address) = settings.metrics {
        let wrong = |error| CollectorError::Metrics(address, error);
        let listener = TcpListener::bind(address).await.map_err(wrong)?;
        listening = listener.local_addr().ok();
        let told = counters.clone();
        let source: metrics::Source = Arc::new(move |page| told.write(page));
        tokio::spawn(metrics::serve(listener, source, stop.child_token()));
    }
    let (sink, leases) = Sink::start(&settings).await?;
    let (sender, mut found) = mpsc::channel(1);
    let (path, tls) = (settings.registry.clone(), settings.tls.clone());
    tokio::spawn(watch(path, tls, registry.clone(), reload, sender));
    let now = Instant::now();
    let mut collector = Collector {
        settings,
        sink: Arc::new(sink),
        leases,
        counters,
        registry: Registry::default(),
        running: BTreeMap::new(),
        started: now,
        renewed: now,
    };
    collector.take(registry).await;
    let metrics = listening.map_or("nowhere".to_owned(), |address| address.to_string());
    tracing::info!(gateways = collector.registry.gateways.len(), %metrics, "ready");
    let mut rounds = interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = rounds.tick() => collector.round().await,
            Some(new) = found.recv() => match new {
                Ok(registry) => {
                    collector.take(registry).await;
                    collector.round().await;
                }
                Err(faults) => {
                    count(&collector.counters.registry_faults);
                    tracing::error!(first = faults.summary(), faults = faults.count(), "registry is wrong, the present one stays");
                }
            },
        }
    }
    collector.end().await;
    Ok(())
}

impl Collector {
    /// Another registry: what it changed begins anew.
    async fn take(&mut self, registry: Registry) {
        let changed =
            self.running.iter().filter(|(id, running)| registry.gateways.get(*id) != Some(&running.gateway));
        let changed: Vec<String> = changed.map(|(id, _)| id.clone()).collect();
        self.registry = registry;
        self.counters.registered.store(self.registry.gateways.len() as u64, Relaxed);
        self.stop(&changed).await;
        for id in changed {
            match self.registry.gateways.contains_key(&id) {
                // Its lease is still held.
                true => self.start(&id, Duration::ZERO),
                false => self.give_back(vec![id]).await,
            }
        }
    }

    /// One round of the leases. What hangs on the sink's side does not keep the collector.
    async fn round(&mut self) {
        match timeout(PATIENCE, self.agree()).await {
            Ok(Ok(())) => self.renewed = Instant::now(),
            Ok(Err(error)) => tracing::warn!(%error, "leases are not renewed, it is tried again"),
            Err(_) => tracing::warn!("leases are not renewed: the sink does not answer"),
        }
        if self.renewed.elapsed() > PATIENCE && !self.running.is_empty() {
            let all: Vec<String> = self.running.keys().cloned().collect();
            tracing::error!(gateways = all.len(), "leases run out, pulling stops");
            self.counters.leases_lost.fetch_add(all.len() as u64, Relaxed);
            self.stop(&all).await;
        }
        let over: Vec<String> = self
            .running
            .iter()
            .filter(|(_, running)| running.task.is_finished())
            .map(|(id, _)| id.clone())
            .collect();
        for id in over {
            tracing::error!(gateway = %id, "task of the gateway ended early, it is started again");
            self.stop(std::slice::from_ref(&id)).await;
            self.start(&id, ROUND);
        }
    }

    async fn agree(&mut self) -> Result<(), SinkError> {
        let registered: BTreeSet<String> = self.registry.gateways.keys().cloned().collect();
        let seen = self.leases.renew().await?;
        let held: BTreeSet<String> = self.running.keys().cloned().collect();
        let seen = seen.unwrap_or_else(|| Seen { held: held.clone(), leased: held.clone(), live: 1 });
        let lost: Vec<String> = held.difference(&seen.held).cloned().collect();
        if !lost.is_empty() {
            tracing::warn!(gateways = lost.len(), "leases were lost to another collector");
            self.counters.leases_lost.fetch_add(lost.len() as u64, Relaxed);
            self.stop(&lost).await;
        }
        // Leases whose task was stopped while the sink was away.
        for id in seen.held.difference(&held).filter(|id| registered.contains(*id)) {
            self.start(id, Duration::ZERO);
        }
        let view = View { registered: &registered, held: &seen.held, leased: &seen.leased, live: seen.live };
        let plan = plan(&self.settings.name, view);
        if !plan.give_up.is_empty() {
            tracing::info!(gateways = plan.give_up.len(), collectors = seen.live, "gateways are given up");
            self.stop(&plan.give_up).await;
            self.counters.leases_given_back.fetch_add(plan.give_up.len() as u64, Relaxed);
            self.leases.give_back(&plan.give_up).await?;
        }
        if !plan.claim.is_empty() {
            let got = self.leases.claim(&plan.claim).await?;
            tracing::info!(gateways = got.len(), collectors = seen.live, "gateways are taken over");
            self.counters.leases_claimed.fetch_add(got.len() as u64, Relaxed);
            for id in got {
                let delay = self.delay(&id);
                self.start(&id, delay);
            }
        }
        Ok(())
    }

    /// When a gateway's turn is, counted from the process's start: the same in every process.
    fn delay(&self, id: &str) -> Duration {
        let spread = u64::try_from(self.settings.start_spread.as_millis()).unwrap_or(u64::MAX);
        let turn = Duration::from_millis(mixed(&[id]) % spread.max(1));
        turn.saturating_sub(self.started.elapsed())
    }

    fn start(&mut self, id: &str, delay: Duration) {
        let Some(gateway) = self.registry.gateways.get(id).cloned() else { return };
        let stop = CancellationToken::new();
        let post = Post {
            gateway: gateway.clone(),
            sink: self.sink.clone(),
            counters: self.counters.clone(),
            gauge: self.counters.gauge(id),
            instance: format!("{}-{}", self.settings.name, std::process::id()),
        };
        let task = tokio::spawn(gateway::run(post, delay, stop.clone()));
        self.running.insert(id.to_owned(), Running { gateway, stop, task });
    }

    /// Stops tasks together; what is in flight has until the end of the drain.
    async fn stop(&mut self, ids: &[String]) {
        let stopped: Vec<Running> = ids.iter().filter_map(|id| self.running.remove(id)).collect();
        stopped.iter().for_each(|running| running.stop.cancel());
        let end = Instant::now() + DRAIN;
        for mut running in stopped {
            if timeout_at(end, &mut running.task).await.is_err() {
                running.task.abort();
            }
        }
        ids.iter().for_each(|id| self.counters.forget(id));
    }

    async fn give_back(&mut self, ids: Vec<String>) {
        self.counters.leases_given_back.fetch_add(ids.len() as u64, Relaxed);
        if let Err(error) = self.leases.give_back(&ids).await {
            tracing::warn!(%error, "leases are not given back, they run out by themselves");
        }
    }

    async fn end(&mut self) {
        let all: Vec<String> = self.running.keys().cloned().collect();
        self.stop(&all).await;
        match timeout(PATIENCE, self.leases.leave()).await {
            Ok(Ok(())) => tracing::info!(gateways = all.len(), "stopped"),
            Ok(Err(error)) => tracing::warn!(%error, "leases are not given back, they run out by themselves"),
            Err(_) => tracing::warn!("leases are not given back: the sink does not answer"),
        }
    }
}

/// Sends the registry, or what is wrong with it, whenever it says something else. The directory is watched, not the file.
async fn watch(
    path: PathBuf,
    tls: Tls,
    mut present: Registry,
    reload: Arc<Notify>,
    out: mpsc::Sender<Result<Registry, Faults>>,
) {
    // One place: two hints say no more than one.
    let (hint, mut hints) = mpsc::channel(1);
    let mut watched = BTreeSet::new();
    let mut watcher = None;
    let mut told: Option<Faults> = None;
    loop {
        let (place, identity) = (path.clone(), tls.clone());
        let look = tokio::task::spawn_blocking(move || Registry::look(&place, &identity)).await;
        let Ok((found, dirs)) = look else { return };
        let news = match &found {
            Ok(registry) => *registry != present || told.is_some(),
            Err(faults) => told.as_ref() != Some(faults),
        };
        match &found {
            Ok(registry) => (present, told) = (registry.clone(), None),
            Err(faults) => told = Some(faults.clone()),
        }
        if news && out.send(found).await.is_err() {
            break;
        }
        if dirs != watched {
            // What changed before the new watcher stood is seen by the look after it.
            watcher = watch_all(&dirs, hint.clone());
            watched = dirs;
            continue;
        }
        tokio::select! {
            _ = hints.recv() => quiet(&mut hints, QUIET).await,
            () = reload.notified() => {}
            () = sleep(LOOK) => {}
            () = out.closed() => break,
        }
    }
    drop(watcher);
}
