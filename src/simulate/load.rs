//! The load generator: many MQTT connections, a window of unacknowledged QoS 1 publishes on each, and every ack checked.
//!
//! It shares its machine with the server it measures, so it is cheap: one thread (or a few) with all connections, a
//! packet encoded once and patched, one write for a refilled window, one read for all acks there are. Guarantees: no
//! more than `connections × window` publishes are unacknowledged; the ledger names a publish only after its PUBACK was
//! read, and what was acked is in the ledger file before the next read, whatever becomes of the server; with
//! `reconnect`, what is unacknowledged is sent again with DUP until it is acked or the run ends. It speaks to one server
//! without TLS, and it does not subscribe.

mod latency;
mod publisher;

use std::fmt;
use std::fs::File;
use std::future::pending;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

pub use self::latency::Latency;
use self::publisher::{Moment, Publisher};
use crate::backoff::Backoff;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const RETRY_FLOOR: Duration = Duration::from_millis(50);
const RETRY_CEILING: Duration = Duration::from_secs(2);
/// A read takes at most 1024 PUBACKs.
const READ_BYTES: usize = 4096;

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

/// What a run has done so far; readable while it goes on.
#[derive(Debug, Default)]
pub struct Counters {
    /// Publishes, each counted once.
    pub sent: AtomicU64,
    /// Publishes sent again after a reconnect.
    pub resent: AtomicU64,
    /// Publishes acked, each counted once.
    pub acked: AtomicU64,
    /// Acks that overtook an earlier one of their connection.
    pub out_of_order: AtomicU64,
    /// Acks of ids that were not on their way.
    pub unknown: AtomicU64,
    /// Packets that have no business here; each closes its connection.
    pub unexpected: AtomicU64,
    /// Connections made again.
    pub reconnects: AtomicU64,
    /// Connections lost.
    pub lost: AtomicU64,
    /// Open connections.
    pub open: AtomicU64,
    /// From publish to ack.
    pub latency: Latency,
    first_us: AtomicU64,
    last_us: AtomicU64,
    cpu_us: AtomicU64,
}

/// What a run did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// As asked.
    pub connections: u32,
    /// As asked.
    pub window: u16,
    /// Publishes, each counted once.
    pub sent: u64,
    /// Publishes acked, each counted once.
    pub acked: u64,
    /// Sent again after a reconnect.
    pub resent: u64,
    /// From the first publish to the last ack.
    pub seconds: f64,
    /// Acked a second.
    pub rate: f64,
    /// Median of publish to ack, milliseconds.
    pub p50_ms: f64,
    /// 99 % were acked within, milliseconds.
    pub p99_ms: f64,
    /// The slowest, milliseconds.
    pub max_ms: f64,
    /// Processor time of the generator's own threads.
    pub cpu_seconds: f64,
    /// Connections made again.
    pub reconnects: u64,
    /// Connections lost.
    pub lost: u64,
    /// Acks that overtook an earlier one of their connection.
    pub out_of_order: u64,
    /// Acks of ids that were not on their way, and packets that have no business here.
    pub unknown: u64,
}

impl Report {
    /// Whether the server kept the protocol: every ack known and in order.
    #[must_use]
    pub fn clean(&self) -> bool {
        self.out_of_order == 0 && self.unknown == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} connections × window {}: {} sent, {} acked in {:.2} s = {:.0}/s; ack p50 {:.2} ms, p99 {:.2} ms, max \
             {:.1} ms; {:.2} CPU-s here; {} resent, {} connections lost, {} made again; {} acks out of order, {} unknown",
            self.connections,
            self.window,
            self.sent,
            self.acked,
            self.seconds,
            self.rate,
            self.p50_ms,
            self.p99_ms,
            self.max_ms,
            self.cpu_seconds,
            self.resent,
            self.lost,
            self.reconnects,
            self.out_of_order,
            self.unknown,
        )
    }
}

impl Counters {
    fn report(&self, settings: &Settings) -> Report {
        let get = |counter: &AtomicU64| counter.load(Relaxed);
        let seconds = get(&self.last_us).saturating_sub(get(&self.first_us)) as f64 / 1e6;
        let acked = get(&self.acked);
        Report {
            connections: settings.connections,
            window: settings.window,
            sent: get(&self.sent),
            acked,
            resent: get(&self.resent),
            seconds,
            rate: if seconds > 0.0 { acked as f64 / seconds } else { 0.0 },
            p50_ms: self.latency.quantile(0.5) as f64 / 1e3,
            p99_ms: self.latency.quantile(0.99) as f64 / 1e3,
            max_ms: self.latency.max_us() as f64 / 1e3,
            cpu_seconds: get(&self.cpu_us) as f64 / 1e6,
            reconnects: get(&self.reconnects),
            lost: get(&self.lost),
            out_of_order: get(&self.out_of_order),
            unknown: get(&self.unknown) + get(&self.unexpected),
        }
    }
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

/// How a socket ended.
enum End {
    /// Everything is acked, or nothing more is wanted.
    Done,
    /// The server went away.
    Lost,
}

/// One device.
struct Connection {
    run: Arc<Run>,
    device: String,
    hello: Vec<u8>,
    publisher: Publisher,
    stream: Option<TcpStream>,
    /// Whether the present socket has brought an ack.
    settled: bool,
    /// Microseconds between publishes, and when the next one is due.
    pace: Option<(f64, f64)>,
    out: Vec<u8>,
    acked_lines: Vec<u8>,
}

impl Connection {
    fn new(run: &Arc<Run>, index: u32) -> Self {
        let settings = &run.settings;
        let connections = u64::from(settings.connections.max(1));
        let count = settings.count.map_or(u64::MAX, |count| {
            count / connections + u64::from(u64::from(index) < count % connections)
        });
        let device = format!("{}{}", settings.device, index + 1);
        let topic = format!("{}/{device}/up", settings.prefix);
        let user = settings.user.as_ref().map(|user| user.of(&device));
        let login = user.as_ref().map(|(name, password)| (name.as_str(), password.as_deref()));
        let pace = settings.rate.map(|rate| {
            let interval = connections as f64 * 1e6 / rate;
            (interval, interval * f64::from(index) / connections as f64)
        });
        Self {
            hello: publisher::connect(&device, login, !settings.reconnect),
            publisher: Publisher::new(&topic, settings.size, settings.window.max(1), settings.first, count),
            run: Arc::clone(run),
            device,
            stream: None,
            settled: false,
            pace,
            out: Vec::new(),
            acked_lines: Vec::new(),
        }
    }

    /// Connects, to the CONNACK.
    async fn open(&mut self) -> Result<(), LoadError> {
        let attempt = async {
            let mut stream = TcpStream::connect(self.run.server).await?;
            stream.set_nodelay(true)?;
            stream.write_all(&self.hello).await?;
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).await?;
            match publisher::connack(answer) {
                Some(0) => Ok(stream),
                Some(code) => Err(io::Error::other(format!("CONNECT refused with code {code}"))),
                None => Err(io::Error::other("the answer to CONNECT is not a CONNACK")),
            }
        };
        let result = timeout(CONNECT_TIMEOUT, attempt).await.unwrap_or_else(|elapsed| Err(elapsed.into()));
        let stream = result.map_err(|cause| LoadError::Connect {
            server: self.run.server,
            device: self.device.clone(),
            cause,
        })?;
        self.stream = Some(stream);
        self.run.counters.open.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Publishes to the end, over as many sockets as it takes.
    async fn live(mut self) -> Result<(), LoadError> {
        let mut backoff = Backoff::new(RETRY_FLOOR, RETRY_CEILING);
        loop {
            if let Some(stream) = self.stream.take() {
                let end = self.publish(stream).await;
                self.run.counters.open.fetch_sub(1, Relaxed);
                match end? {
                    End::Done => return Ok(()),
                    End::Lost => self.run.counters.lost.fetch_add(1, Relaxed),
                };
                if std::mem::take(&mut self.settled) {
                    backoff.reset();
                }
            }
            let wanted = !self.publisher.idle() || !self.run.stop.is_cancelled();
            if !self.run.settings.reconnect || !wanted {
                return Ok(());
            }
            sleep(backoff.wait(getrandom::u64().unwrap_or(0))).await;
            if self.open().await.is_ok() {
                self.run.counters.reconnects.fetch_add(1, Relaxed);
                self.out.clear();
                let resent = self.publisher.resend(&mut self.out);
                self.run.counters.resent.fetch_add(resent, Relaxed);
            }
        }
    }

    /// Publishes on one socket.
    async fn publish(&mut self, mut stream: TcpStream) -> Result<End, LoadError> {
        let run = Arc::clone(&self.run);
        let (mut reader, mut writer) = stream.split();
        let mut stopped = pin!(run.stop.cancelled());
        let mut stopping = false;
        let mut input = [0; READ_BYTES];
        let mut written = 0;
        loop {
            if !stopping {
                self.refill();
            }
            if self.publisher.idle() && (stopping || self.publisher.spent()) {
                // Nobody waits for the answer to a farewell.
                let _ = writer.write_all(&publisher::DISCONNECT).await;
                return Ok(End::Done);
            }
            let due = if stopping { None } else { self.due() };
            tokio::select! {
                biased;
                () = &mut stopped, if !stopping => stopping = true,
                result = writer.write(&self.out[written..]), if written < self.out.len() => match result {
                    Ok(0) | Err(_) => return Ok(End::Lost),
                    Ok(bytes) => {
                        written += bytes;
                        if written == self.out.len() {
                            self.out.clear();
                            written = 0;
                        }
                    }
                },
                result = reader.read(&mut input) => match result {
                    Ok(0) | Err(_) => return Ok(End::Lost),
                    Ok(bytes) => if !self.take(&input[..bytes])? {
                        return Ok(End::Lost);
                    },
                },
                () = async { match due { Some(due) => sleep_until(due.into()).await, None => pending().await } } => {}
            }
        }
    }

    /// Fills the window as far as the pace allows.
    fn refill(&mut self) {
        if self.publisher.room() == 0 {
            return;
        }
        let now = self.run.now();
        let allowance = match self.pace {
            None => u64::MAX,
            Some((_, due)) if due > now.us as f64 => return,
            Some((interval, due)) => ((now.us as f64 - due) / interval) as u64 + 1,
        };
        let sent = self.publisher.refill(now, allowance, &mut self.out);
        if let Some((interval, due)) = &mut self.pace {
            *due += *interval * sent as f64;
        }
        let counters = &self.run.counters;
        counters.sent.fetch_add(sent, Relaxed);
        if now.us < counters.first_us.load(Relaxed) {
            counters.first_us.fetch_min(now.us, Relaxed);
        }
    }

    /// When the pace allows the next publish, where the window does.
    fn due(&self) -> Option<Instant> {
        let (_, due) = self.pace.filter(|_| self.publisher.room() > 0)?;
        Some(self.run.began + Duration::from_micros(due as u64 + 1))
    }

    /// Acks: ledger first, then the counts. False when the server does not speak MQTT any more.
    fn take(&mut self, bytes: &[u8]) -> Result<bool, LoadError> {
        let now = self.run.now();
        let counters = &self.run.counters;
        let (lines, device, keep) = (&mut self.acked_lines, &self.device, self.run.ledger.is_some());
        let acks = self.publisher.receive(bytes, |sent| {
            counters.latency.record(now.us - sent.at_us);
            if keep {
                // Writing to a Vec cannot fail.
                let _ = writeln!(lines, "{device} {}", sent.n);
            }
        });
        if let (Some(mut ledger), false) = (self.run.ledger.as_ref(), lines.is_empty()) {
            let path = || self.run.settings.ledger.clone().unwrap_or_default();
            ledger.write_all(lines).map_err(|cause| LoadError::Ledger { path: path(), cause })?;
            lines.clear();
        }
        counters.acked.fetch_add(acks.acked, Relaxed);
        counters.last_us.fetch_max(now.us, Relaxed);
        if acks.out_of_order + acks.unknown > 0 || acks.garbled {
            counters.out_of_order.fetch_add(acks.out_of_order, Relaxed);
            counters.unknown.fetch_add(acks.unknown, Relaxed);
            counters.unexpected.fetch_add(acks.garbled.into(), Relaxed);
        }
        self.settled |= acks.acked > 0;
        Ok(!acks.garbled)
    }
}

#[cfg(test)]
mod tests;
