//! One device of the load on its socket: connect, fill the window, take the acks, come back after a loss.

use std::future::pending;
use std::io::{self, Write as _};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, sleep_until, timeout};

use super::publisher::{self, Publisher};
use super::{Counters, LoadError, Run, deaf};
use crate::backoff::Backoff;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const RETRY_FLOOR: Duration = Duration::from_millis(50);
const RETRY_CEILING: Duration = Duration::from_secs(2);
/// A read takes at most 1024 PUBACKs.
const READ_BYTES: usize = 4096;

/// Publishes that a flooding connection leaves unacknowledged: more than any server takes at once.
const FLOOD_WINDOW: u16 = 4096;
/// Publishes a second to one deaf subscriber.
const TALK_RATE: f64 = 500.0;

/// What a connection is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// One of those that are measured.
    Steady,
    /// Publishes as fast as its socket takes it.
    Flood,
    /// Publishes to a deaf subscriber.
    Talk,
}

/// How a socket ended.
enum End {
    /// Everything is acked, or nothing more is wanted.
    Done,
    /// The server went away.
    Lost,
}

/// One device.
pub(super) struct Connection {
    run: Arc<Run>,
    counters: Arc<Counters>,
    /// What it publishes is in the ledger.
    is_kept: bool,
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
    pub(super) fn new(run: &Arc<Run>, role: Role, index: u32) -> Self {
        let settings = &run.settings;
        let connections = u64::from(settings.connections.max(1));
        let share = |count| count / connections + u64::from(u64::from(index) < count % connections);
        let numbered = |number: u32| format!("{}{}", settings.device, number + 1);
        let (counters, device, window, count, interval) = match role {
            Role::Steady => {
                let interval = settings.rate.map(|rate| connections as f64 * 1e6 / rate);
                let count = settings.count.map_or(u64::MAX, share);
                (&run.counters, numbered(index), settings.window, count, interval)
            }
            Role::Flood => {
                let device = numbered(settings.connections.saturating_add(index));
                (&run.flood, device, FLOOD_WINDOW, u64::MAX, None)
            }
            Role::Talk => {
                let device = format!("talker-{}", index + 1);
                (&run.talk, device, settings.window, u64::MAX, Some(1e6 / TALK_RATE))
            }
        };
        let topic = match role {
            Role::Talk => deaf::topic(run, index),
            _ => format!("{}/{device}/up", settings.prefix),
        };
        let user = settings.user.as_ref().map(|user| user.of(&device));
        let login = user.as_ref().map(|(name, password)| (name.as_str(), password.as_deref()));
        let pace = interval.map(|interval| (interval, interval * f64::from(index) / connections as f64));
        Self {
            hello: publisher::connect(&device, login, !settings.reconnect),
            publisher: Publisher::new(&topic, settings.size, window.max(1), settings.first, count),
            counters: Arc::clone(counters),
            is_kept: run.ledger.is_some() && role != Role::Talk,
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
    pub(super) async fn open(&mut self) -> Result<(), LoadError> {
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
        self.counters.open.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Publishes to the end, over as many sockets as it takes.
    pub(super) async fn live(mut self) -> Result<(), LoadError> {
        let mut backoff = Backoff::new(RETRY_FLOOR, RETRY_CEILING);
        let mut again = self.stream.is_some();
        if let Some((_, due)) = &mut self.pace {
            // The pace begins now: what was not sent while the others connected is not made up for.
            *due += self.run.now().us as f64;
        }
        loop {
            if let Some(stream) = self.stream.take() {
                let end = self.publish(stream).await;
                self.counters.open.fetch_sub(1, Relaxed);
                match end? {
                    End::Done => return Ok(()),
                    End::Lost => self.counters.lost.fetch_add(1, Relaxed),
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
                self.counters.reconnects.fetch_add(again.into(), Relaxed);
                again = true;
                self.out.clear();
                let resent = self.publisher.resend(&mut self.out);
                self.counters.resent.fetch_add(resent, Relaxed);
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
        let counters = &self.counters;
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
        let counters = &self.counters;
        let (lines, device, keep) = (&mut self.acked_lines, &self.device, self.is_kept);
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
