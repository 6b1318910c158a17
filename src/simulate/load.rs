//! The load generator: many MQTT connections, a window of unacknowledged QoS 1 publishes on each, and every ack checked.
//!
//! It shares its machine with the server it measures, so it is cheap: one thread (or a few) with all connections, a
//! packet encoded once and patched, one write for a refilled window, one read for all acks there are. Guarantees: no
//! more than `connections × window` publishes are unacknowledged; the ledger names a publish only after its PUBACK was
//! read, and what was acked is in the ledger file before the next read, whatever becomes of the server; with
//! `reconnect`, what is unacknowledged is sent again with DUP until it is acked or the run ends. Beside those that are measured
//! there may be connections that flood, and subscribers that never read what is published to them: they have a thread, and
//! counts, of their own. It speaks to one server without TLS.

mod connection;
mod deaf;
mod latency;
mod publisher;
mod report;

use std::fmt;
use std::fs::File;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::connection::{Connection, Role};
pub use self::latency::Latency;
use self::publisher::Moment;
pub use self::report::{Aside, Counters, Report};

/// What to send, and for how long.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `host:port` of the server.
    pub server: String,
    /// How many connections; device `i` of them is `{device}{i}`, from 1.
    pub connections: u32,
    /// Unacknowledged publishes of each connection, at least 1.
    pub window: u16,
    /// Publishes a second over all connections; none is as fast as the acks come.
    pub rate: Option<f64>,
    /// Ends after this long, counted from the first publish.
    pub duration: Option<Duration>,
    /// Ends after this many publishes over all connections.
    pub count: Option<u64>,
    /// Bytes of a payload; below 98 it is 98.
    pub size: usize,
    /// Topic is `{prefix}/{device}/up`.
    pub prefix: String,
    /// What a device's name begins with.
    pub device: String,
    /// The first sequence of each device; a later run on the same store takes a higher one.
    pub first: u64,
    /// Credentials, where the server wants them.
    pub user: Option<User>,
    /// Whether a lost connection is made again.
    pub reconnect: bool,
    /// Gets a line `device sequence` for each acked publish, appended.
    pub ledger: Option<PathBuf>,
    /// Threads; one is cheapest as long as one core is enough.
    pub threads: u32,
    /// How long to wait for the last acks after the end.
    pub drain: Duration,
    /// Connections besides that publish as fast as their sockets take it; their devices are numbered on.
    pub flood: u32,
    /// Subscribers besides that never read, each with a connection that publishes to it (QoS 1, 500 a second, topic
    /// `{prefix}/deaf-{i}/down`). They have no credentials.
    pub deaf: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            server: "127.0.0.1:1883".into(),
            connections: 50,
            window: 16,
            rate: None,
            duration: None,
            count: None,
            size: 150,
            prefix: "compound".into(),
            device: "load-".into(),
            first: 1,
            user: None,
            reconnect: false,
            ledger: None,
            threads: 1,
            drain: Duration::from_secs(5),
            flood: 0,
            deaf: 0,
        }
    }
}

/// Credentials of the devices; `{device}` in either is the device's name.
#[derive(Clone)]
pub struct User {
    /// User name.
    pub name: String,
    /// Password.
    pub password: Option<String>,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "User({})", self.name)
    }
}

impl User {
    /// The credentials of one device.
    #[must_use]
    pub fn of(&self, device: &str) -> (String, Option<String>) {
        let fill = |text: &str| text.replace("{device}", device);
        (fill(&self.name), self.password.as_deref().map(fill))
    }
}

/// Why a run could not begin, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No such host.
    #[error("server {server}: {cause}; give it as host:port")]
    Resolve {
        /** As given. */
        server: String,
        /** Why. */
        cause: io::Error,
    },
    /// Nobody there, or not a broker.
    #[error("server {server}, device {device}: {cause}")]
    Connect {
        /** Where. */
        server: SocketAddr,
        /** Who. */
        device: String,
        /** Why. */
        cause: io::Error,
    },
    /// The evidence cannot be written, so the run is worth nothing.
    #[error("ledger {}: {cause}", path.display())]
    Ledger {
        /** The file. */
        path: PathBuf,
        /** Why. */
        cause: io::Error,
    },
    /// No thread, or it panicked.
    #[error("a thread for the load: {0}")]
    Thread(io::Error),
}

/// Runs until the count, the duration or `stop`, then waits up to `drain` for the last acks. Dropping the future ends
/// the run as well.
///
/// # Errors
/// [`LoadError`]: the server cannot be reached at the start (without `reconnect`), or the ledger cannot be written. The
/// counters hold what was done until then.
pub async fn run(
    settings: Settings,
    counters: Arc<Counters>,
    stop: CancellationToken,
) -> Result<Report, LoadError> {
    let resolve = |cause| LoadError::Resolve { server: settings.server.clone(), cause };
    let found = tokio::net::lookup_host(&settings.server).await.map(|mut addresses| addresses.next());
    let server = found.map_err(resolve)?.ok_or_else(|| resolve(io::ErrorKind::NotFound.into()))?;
    let ledger = match &settings.ledger {
        Some(path) => Some(
            File::options()
                .append(true)
                .create(true)
                .open(path)
                .map_err(|cause| LoadError::Ledger { path: path.clone(), cause })?,
        ),
        None => None,
    };
    counters.first_us.store(u64::MAX, Relaxed);
    let stop = stop.child_token();
    let _end_with_the_future = stop.clone().drop_guard();
    let run = Arc::new(Run {
        server,
        ledger,
        counters,
        flood: Arc::default(),
        talk: Arc::default(),
        stop,
        began: Instant::now(),
        began_ms: wall_ms(),
        settings,
    });

    let threads = run.settings.threads.clamp(1, run.settings.connections.max(1));
    let aside = match run.settings.flood + run.settings.deaf {
        0 => None,
        _ => Some(start(&run, "aside", disturb)?),
    };
    let mut results = Vec::new();
    for thread in 0..threads {
        results.push(start(&run, &thread.to_string(), move |run| work(run, thread, threads))?);
    }
    let mut outcome = Ok(());
    for result in results {
        outcome = outcome.and(ended(&run, result).await);
    }
    if let Some(aside) = aside {
        run.stop.cancel();
        outcome = outcome.and(ended(&run, aside).await);
    }
    let aside = |count, counters: &Counters| (count > 0).then(|| counters.aside());
    outcome.map(|()| Report {
        flood: aside(run.settings.flood, &run.flood),
        talk: aside(run.settings.deaf, &run.talk),
        ..run.counters.report(&run.settings)
    })
}

type Outcome = Result<(), LoadError>;

/// A thread of the load; what it gives is its end.
fn start(
    run: &Arc<Run>,
    name: &str,
    work: impl FnOnce(&Arc<Run>) -> Outcome + Send + 'static,
) -> Result<oneshot::Receiver<Outcome>, LoadError> {
    let (done, result) = oneshot::channel();
    let share = Arc::clone(run);
    std::thread::Builder::new()
        .name(format!("load-{name}"))
        .spawn(move || {
            let outcome = work(&share);
            share.counters.cpu_us.fetch_add(thread_cpu_us(), Relaxed);
            // The receiver is gone when the run's future was dropped: nobody wants to know.
            let _ = done.send(outcome);
        })
        .map_err(LoadError::Thread)?;
    Ok(result)
}

/// Waits for the end of a thread; a bad one ends the run.
async fn ended(run: &Run, result: oneshot::Receiver<Outcome>) -> Outcome {
    let one = result.await.unwrap_or_else(|_| Err(LoadError::Thread(io::Error::other("it panicked"))));
    if one.is_err() {
        run.stop.cancel();
    }
    one
}

/// What all connections of a run share.
struct Run {
    settings: Settings,
    server: SocketAddr,
    ledger: Option<File>,
    counters: Arc<Counters>,
    /// Of the flooding connections.
    flood: Arc<Counters>,
    /// Of those that publish to the deaf.
    talk: Arc<Counters>,
    stop: CancellationToken,
    began: Instant,
    began_ms: u64,
}

impl Run {
    fn now(&self) -> Moment {
        let us = micros(self.began.elapsed());
        Moment { us, wall_ms: self.began_ms + us / 1_000 }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn wall_ms() -> u64 {
    micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()) / 1_000
}

/// Processor time of the calling thread (nanoseconds in the first field, Linux `Documentation/scheduler/sched-stats`);
/// 0 where the kernel does not say.
fn thread_cpu_us() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).map_or(0, |ns| ns / 1_000)
}

fn runtime() -> Result<tokio::runtime::Runtime, LoadError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(LoadError::Thread)
}

/// One thread: every `threads`-th connection, from `thread` on.
fn work(run: &Arc<Run>, thread: u32, threads: u32) -> Outcome {
    runtime()?.block_on(async {
        let mut connections = Vec::new();
        for index in (thread..run.settings.connections).step_by(threads as usize) {
            if !open(run, Role::Steady, index, &mut connections).await? {
                return Ok(());
            }
        }
        let mut all = pin!(live(connections));
        let duration = run.settings.duration;
        tokio::select! {
            outcome = &mut all => return outcome,
            () = run.stop.cancelled() => {}
            () = async { match duration { Some(duration) => sleep(duration).await, None => pending().await } } => {
                run.stop.cancel();
            }
        }
        timeout(run.settings.drain, all).await.unwrap_or(Ok(()))
    })
}

/// The thread of those that disturb: until the run stops, and for the last acks.
fn disturb(run: &Arc<Run>) -> Outcome {
    runtime()?.block_on(async {
        let mut deaf = Vec::new();
        let mut connections = Vec::new();
        for index in 0..run.settings.deaf {
            deaf.push(deaf::subscribe(run, index).await?);
            open(run, Role::Talk, index, &mut connections).await?;
        }
        for index in 0..run.settings.flood {
            open(run, Role::Flood, index, &mut connections).await?;
        }
        let mut all = pin!(live(connections));
        let outcome = tokio::select! {
            outcome = &mut all => {
                run.stop.cancelled().await;
                outcome
            }
            () = run.stop.cancelled() => timeout(run.settings.drain, all).await.unwrap_or(Ok(())),
        };
        drop(deaf);
        outcome
    })
}

/// Opens one more connection. False when the run is over.
async fn open(
    run: &Arc<Run>,
    role: Role,
    index: u32,
    connections: &mut Vec<Connection>,
) -> Result<bool, LoadError> {
    let mut connection = Connection::new(run, role, index);
    tokio::select! {
        () = run.stop.cancelled() => return Ok(false),
        result = connection.open() => match result {
            Err(error) if !run.settings.reconnect => return Err(error),
            _ => connections.push(connection),
        },
    }
    Ok(true)
}

/// Lets connections publish to their ends.
async fn live(connections: Vec<Connection>) -> Outcome {
    let mut tasks: JoinSet<_> = connections.into_iter().map(Connection::live).collect();
    while let Some(joined) = tasks.join_next().await {
        joined.unwrap_or_else(|_| Err(LoadError::Thread(io::Error::other("a connection panicked"))))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
