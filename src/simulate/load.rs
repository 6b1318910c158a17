//! The load generator: many MQTT connections, a window of unacknowledged QoS 1 publishes on each, and every ack checked.
//!
//! It shares its machine with the server it measures, so it is cheap: one thread (or a few) with all connections, a
//! packet encoded once and patched, one write for a refilled window, one read for all acks there are. Guarantees: no
//! more than `connections × window` publishes are unacknowledged; the ledger names a publish only after its PUBACK was
//! read, and what was acked is in the ledger file before the next read, whatever becomes of the server; with
//! `reconnect`, what is unacknowledged is sent again with DUP until it is acked or the run ends. It speaks to one server
//! without TLS, and it does not subscribe.

mod connection;
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

use self::connection::Connection;
pub use self::latency::Latency;
use self::publisher::Moment;
pub use self::report::{Counters, Report};

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
        stop,
        began: Instant::now(),
        began_ms: wall_ms(),
        settings,
    });

    let threads = run.settings.threads.clamp(1, run.settings.connections.max(1));
    let mut results = Vec::new();
    for thread in 0..threads {
        let (done, result) = oneshot::channel();
        let share = Arc::clone(&run);
        std::thread::Builder::new()
            .name(format!("load-{thread}"))
            .spawn(move || {
                let outcome = work(&share, thread, threads);
                share.counters.cpu_us.fetch_add(thread_cpu_us(), Relaxed);
                // The receiver is gone when the run's future was dropped: nobody wants to know.
                let _ = done.send(outcome);
            })
            .map_err(LoadError::Thread)?;
        results.push(result);
    }
    let mut outcome = Ok(());
    for result in results {
        let one = result.await.unwrap_or_else(|_| Err(LoadError::Thread(io::Error::other("it panicked"))));
        if one.is_err() {
            run.stop.cancel();
            outcome = outcome.and(one);
        }
    }
    outcome.map(|()| run.counters.report(&run.settings))
}

/// What all connections of a run share.
struct Run {
    settings: Settings,
    server: SocketAddr,
    ledger: Option<File>,
    counters: Arc<Counters>,
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

/// One thread: every `threads`-th connection, from `thread` on.
fn work(run: &Arc<Run>, thread: u32, threads: u32) -> Result<(), LoadError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(LoadError::Thread)?;
    runtime.block_on(async {
        let mut connections = Vec::new();
        for index in (thread..run.settings.connections).step_by(threads as usize) {
            let mut connection = Connection::new(run, index);
            tokio::select! {
                () = run.stop.cancelled() => return Ok(()),
                result = connection.open() => match result {
                    Err(error) if !run.settings.reconnect => return Err(error),
                    _ => connections.push(connection),
                },
            }
        }
        let mut tasks: JoinSet<_> = connections.into_iter().map(Connection::live).collect();
        let mut all = pin!(async {
            while let Some(joined) = tasks.join_next().await {
                joined.unwrap_or_else(|_| Err(LoadError::Thread(io::Error::other("a connection panicked"))))?;
            }
            Ok(())
        });
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

#[cfg(test)]
mod tests;
