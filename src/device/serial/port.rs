//! The task that owns a serial port.
//!
//! It opens the port by its stable path, moves bytes between it and the [`Bus`], and hands in what the slaves say. A port
//! that is not there, or goes away, is opened again with back-off, for ever; so is one whose settings of the line change.
//! It never spins, never has more than [`RECEIPTS_MAX`] deliveries whose commit is outstanding, and decides nothing about
//! what is asked.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_serial::{ClearBuffer, SerialPort, SerialPortBuilderExt, SerialStream};
use tokio_util::sync::CancellationToken;

use super::exchange::{Content, Exchange};
use super::master::{Action, ErrandId, Event, Failed, Master};
use super::question::Question;
use super::schedule::{Ended, Said};
use super::{Counters, Line, Parity, PortSettings, write};
use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::ingest::{Delivery, Intake, Receipt, Stopped};
use crate::model::{DeviceId, Tally};

/// Deliveries whose commit is outstanding. At the bound nothing is asked until the oldest is on disk.
pub const RECEIPTS_MAX: usize = 4;

const REOPEN_FLOOR: Duration = Duration::from_millis(500);
/// Opening a path costs nothing, and an adapter that is plugged again is to be read at once.
const REOPEN_CEILING: Duration = Duration::from_secs(3);

/// An adapter that takes no bytes for so long is gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the task sleeps at most, whatever the schedule says.
const SLEEP_MAX: Duration = Duration::from_secs(600);

/// Complaints about meters that are remembered, so that each is logged once.
const SAID_MAX: usize = 1024;

/// The hour of the day in which meters are told the time: nobody's tariff changes, and midnight is far.
const CLOCKS_HOUR: i64 = 4;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Why a port cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The user may not.
    #[error(
        "serial port {0}: permission denied; add the user (the service's is smallbrain) to the group of the port, \
         mostly dialout: usermod -aG dialout USER"
    )]
    Permission(String),
    /// Somebody else may.
    #[error(
        "serial port {0}: another program has it open; if that is the running service, give the name of the port \
         instead of its path, otherwise `fuser {0}` tells which one it is"
    )]
    Busy(String),
    /// No such path, or not a serial port.
    #[error("serial port {path}: {cause}; check that the adapter is plugged in")]
    Open {
        /** As configured. */
        path: String,
        /** By the operating system. */
        cause: tokio_serial::Error,
    },
    /// It was there.
    #[error("serial port {path}: {cause}; the adapter was unplugged or reset")]
    Lost {
        /** As configured. */
        path: String,
        /** By the operating system. */
        cause: io::Error,
    },
}

/// Where errands for a port are handed in.
#[derive(Clone, Debug)]
pub struct Desk {
    errands: mpsc::Sender<Errand>,
    scans: Arc<Semaphore>,
}

/// The other end of a [`Desk`]; one task at a time runs what comes in.
#[derive(Clone, Debug)]
pub struct Errands(Arc<Mutex<mpsc::Receiver<Errand>>>);

type Reply = oneshot::Sender<Result<Content, Failed>>;

#[derive(Debug)]
struct Errand(Exchange, Reply);

impl Desk {
    /// A desk for one port.
    #[must_use]
    pub fn new() -> (Self, Errands) {
        let (sender, receiver) = mpsc::channel(1);
        let desk = Self { errands: sender, scans: Arc::new(Semaphore::new(1)) };
        (desk, Errands(Arc::new(Mutex::new(receiver))))
    }

    /// Has something asked between two readings of the schedule, and waits for what it gives.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn ask(&self, exchange: Exchange) -> Result<Content, Failed> {
        let (reply, replied) = oneshot::channel();
        let stopped = || Failed::Closed("the service stops".into());
        self.errands.send(Errand(exchange, reply)).await.map_err(|_| stopped())?;
        replied.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// The right to scan the port, until it is dropped; none while somebody else has it.
    #[must_use]
    pub fn scan_turn(&self) -> Option<OwnedSemaphorePermit> {
        self.scans.clone().try_acquire_owned().ok()
    }
}

/// Reads the points of one port, and runs errands, until `stop` or until nothing can be stored any more.
pub async fn serve(
    mut settings: watch::Receiver<Arc<PortSettings>>,
    intake: Intake,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
    errands: Errands,
    stop: CancellationToken,
) {
    let mut errands = errands.0.lock().await;
    let mut current = settings.borrow_and_update().clone();
    let mut port = Port {
        master: Master::new(&current, Duration::ZERO),
        receipts: VecDeque::new(),
        replies: HashMap::new(),
        errand: 0,
        told: None,
        to_tell: Vec::new(),
        said: HashSet::new(),
        intake,
        clock,
        counters,
        start: Instant::now(),
    };
    port.publish_plan();
    let mut backoff = Backoff::new(REOPEN_FLOOR, REOPEN_CEILING);
    let (mut opened, mut said) = (false, String::new());
    loop {
        let end = match open(&current) {
            Ok(stream) => {
                port.counters.line.reopened.add(u64::from(opened));
                port.counters.line.open.set(1);
                tracing::info!(port = current.name, path = current.path, "serial port open");
                (opened, said) = (true, String::new());
                let mut tty = Tty { stream, line: Some(current.line) };
                let end =
                    port.talk(&mut tty, &mut current, &mut settings, &mut errands, &stop, &mut backoff).await;
                port.counters.line.open.set(0);
                end
            }
            Err(error) => {
                port.counters.line.open_failures.add(1);
                End::Broken(error)
            }
        };
        match end {
            End::Stop => return,
            End::Line => continue,
            End::Broken(error) => {
                let error = error.to_string();
                // An adapter may be away for weeks: said once.
                if said != error {
                    tracing::warn!(port = current.name, error, "serial port not usable");
                    said = error;
                }
            }
        }
        let again = Instant::now() + backoff.wait(getrandom::u64().unwrap_or_default());
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep_until(again) => break,
                Some(Errand(_, reply)) = errands.recv() => {
                    // Whoever asked may be gone.
                    let _ = reply.send(Err(Failed::Closed(said.clone())));
                }
                Ok(()) = settings.changed() => {
                    current = settings.borrow_and_update().clone();
                    port.rebuild(&current);
                    break;
                }
            }
        }
    }
}

/// Why talking ended.
enum End {
    Stop,
    /// The port's settings changed.
    Line,
    Broken(PortError),
}

/// An open port, and how it is set now; none when that is not known.
struct Tty {
    stream: SerialStream,
    line: Option<Line>,
}

struct Port {
    master: Master,
    receipts: VecDeque<Receipt>,
    /// At most [`super::master::ERRANDS_MAX`] and one in flight.
    replies: HashMap<u64, Reply>,
    /// The last errand's number.
    errand: u64,
    /// The last day on which meters were told the time, and what is still to be sent.
    told: Option<i64>,
    to_tell: Vec<Question>,
    /// What was logged of a meter; at [`SAID_MAX`] it may be said again.
    said: HashSet<(DeviceId, String)>,
    intake: Intake,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
    start: Instant,
}

impl Port {
    async fn talk(
        &mut self,
        tty: &mut Tty,
        current: &mut Arc<PortSettings>,
        settings: &mut watch::Receiver<Arc<PortSettings>>,
        errands: &mut mpsc::Receiver<Errand>,
        stop: &CancellationToken,
        backoff: &mut Backoff,
    ) -> End {
        let mut buffer = [0; 256];
        let mut actions = self.handle(Event::Opened);
        let (mut watched, mut attended) = (true, true);
        let cause = loop {
            match self.act(actions, tty, backoff).await {
                Ok(()) => {}
                Err(Broken::Stopped(Stopped)) => return End::Stop,
                Err(Broken::Port(cause)) => break cause,
            }
            let (idle, news) = (self.master.is_idle(), watched && settings.has_changed().unwrap_or_default());
            self.master.hold(news && !idle);
            if idle && news {
                let old = std::mem::replace(current, settings.borrow_and_update().clone());
                self.rebuild(current);
                if old.path != current.path {
                    // Errands of the old path end with it.
                    let actions = self.handle(Event::Closed);
                    return match self.act(actions, tty, backoff).await {
                        Err(Broken::Stopped(Stopped)) => End::Stop,
                        _ => End::Line,
                    };
                }
            }
            if let Some(exchange) = self.time_to_tell(current) {
                actions = self.handle(Event::Errand(ErrandId(0), exchange));
                continue;
            }
            let wakeup = self.master.wakeup().unwrap_or(Duration::MAX);
            let at = self.start + wakeup.min(self.now() + SLEEP_MAX);
            tokio::select! {
                () = stop.cancelled() => return End::Stop,
                read = tty.stream.read(&mut buffer) => match read {
                    Ok(0) => break io::ErrorKind::UnexpectedEof.into(),
                    Ok(count) => actions = self.handle(Event::Bytes(&buffer[..count])),
                    Err(cause) => break cause,
                },
                () = sleep_until(at) => actions = self.handle(Event::Wakeup),
                errand = errands.recv(), if attended && self.master.has_room() => match errand {
                    Some(Errand(_, reply)) if reply.is_closed() => actions = Vec::new(),
                    Some(Errand(exchange, reply)) => {
                        self.errand += 1;
                        self.replies.insert(self.errand, reply);
                        let event = Event::Errand(ErrandId(self.errand), exchange);
                        actions = self.handle(event);
                    }
                    None => (attended, actions) = (false, Vec::new()),
                },
                changed = settings.changed(), if watched && idle => {
                    watched = changed.is_ok();
                    settings.mark_changed();
                    actions = Vec::new();
                }
            }
        };
        // Gives the open question back to the schedule; there is nothing to send.
        let actions = self.handle(Event::Closed);
        match self.act(actions, tty, backoff).await {
            Err(Broken::Stopped(Stopped)) => End::Stop,
            _ => End::Broken(PortError::Lost { path: current.path.clone(), cause }),
        }
    }

    async fn act(
        &mut self,
        actions: Vec<Action>,
        tty: &mut Tty,
        backoff: &mut Backoff,
    ) -> Result<(), Broken> {
        for action in actions {
            match action {
                Action::Send(device, line, frame) => {
                    self.send(tty, line, &frame).await?;
                    match device {
                        Some(device) => self.counters.meter(&device).requests.add(1),
                        None => self.counters.line.errands.add(1),
                    }
                }
                Action::Read(device, ended, said) => {
                    if matches!(ended, Ended::Content(_)) {
                        backoff.reset();
                    }
                    self.ended(&device, &ended, said).await?;
                }
                Action::Reply(ErrandId(id), result) => match self.replies.remove(&id) {
                    // Whoever asked may be gone.
                    Some(reply) => drop(reply.send(result)),
                    None => self.counters.line.clocks_told.add(u64::from(result.is_ok())),
                },
                Action::Late(Some(device)) => self.counters.meter(&device).late.add(1),
                Action::Corrupt(Some(device)) => self.counters.meter(&device).corrupt.add(1),
                Action::Late(None) | Action::Corrupt(None) | Action::Foreign => {
                    self.counters.line.foreign.add(1);
                }
                Action::Discarded(count) => self.counters.line.discarded_bytes.add(count as u64),
            }
        }
        Ok(())
    }

    async fn send(&mut self, tty: &mut Tty, line: Line, frame: &[u8]) -> io::Result<()> {
        if tty.line != Some(line) {
            tty.line = None;
            if let Err(cause) = set(&mut tty.stream, line) {
                if cause.kind() != io::ErrorKind::InvalidInput {
                    return Err(cause);
                }
                // Its meters time out and rest; the others are none the worse for it.
                let port = self.counters.port();
                tracing::warn!(port, %line, %cause, "the adapter does not take these settings of the line");
                return Ok(());
            }
            tty.line = Some(line);
            self.counters.line.line_changes.add(1);
        }
        let stale = tty.stream.bytes_to_read()?;
        self.counters.line.discarded_bytes.add(stale.into());
        tty.stream.clear(ClearBuffer::All)?;
        timeout(SEND_TIMEOUT, tty.stream.write_all(frame)).await?
    }

    /// Counts the end of a reading and hands in what it says.
    async fn ended(&mut self, device: &DeviceId, ended: &Ended, said: Said) -> Result<(), Stopped> {
        let received = self.clock.now();
        let meter = self.counters.meter(device);
        let port = self.counters.port().to_owned();
        match ended {
            Ended::Content(_) => {
                meter.answers.add(1);
                meter.last_answer.set(u64::try_from(received.wall_ms / 1000).unwrap_or_default());
            }
            Ended::Refused(refusal) => {
                meter.exceptions.add(1);
                if self.is_news(device, &refusal.text) {
                    let (code, cause) = (refusal.code, &refusal.text);
                    tracing::warn!(port, %device, code, cause, "a meter refuses points");
                }
            }
            Ended::Unusable(cause) => {
                meter.unusable.add(1);
                if self.is_news(device, cause) {
                    tracing::warn!(port, %device, cause, "a meter's answer cannot be used");
                }
            }
            Ended::Timeout => {
                meter.timeouts.add(1);
                meter.silent.add(1);
            }
            Ended::Abandoned => {}
        }
        if matches!(ended, Ended::Content(_) | Ended::Refused(_) | Ended::Unusable(_)) {
            meter.silent.set(0);
        }
        if said.unfit > 0 && self.is_news(device, "unfit") {
            let hint = "`smallbrain read` shows what the meter sends";
            tracing::warn!(port, %device, count = said.unfit, hint, "points that the answer does not hold, or in another unit");
        }
        meter.absent.add(said.absent);
        meter.unfit.add(said.unfit);
        self.counters.line.misconfigured.set(self.master.misconfigured() as u64);
        if said.samples.is_empty() {
            return Ok(());
        }
        if self.receipts.len() >= RECEIPTS_MAX
            && let Some(oldest) = self.receipts.pop_front()
        {
            oldest.committed().await?;
        }
        let delivery = Delivery {
            received,
            samples: said.samples,
            lost: Tally::default(),
            presence: vec![],
            changes: vec![],
        };
        self.receipts.push_back(self.intake.deliver(delivery).await?);
        Ok(())
    }

    /// Whether it has not been said of this meter: what it refuses, it refuses every few minutes.
    fn is_news(&mut self, device: &DeviceId, cause: &str) -> bool {
        if self.said.len() >= SAID_MAX {
            self.said.clear();
        }
        self.said.insert((device.clone(), cause.to_owned()))
    }

    /// Once a day, where the port says so, the time for the meters; one question at a call.
    fn time_to_tell(&mut self, settings: &PortSettings) -> Option<Exchange> {
        if !settings.set_clocks || !self.master.has_room() {
            return None;
        }
        let utc_ms = self.clock.now().wall_ms;
        let local_ms = utc_ms.saturating_add(settings.zone_ms);
        let (day, hour) = (local_ms.div_euclid(DAY_MS), local_ms.rem_euclid(DAY_MS) / HOUR_MS);
        if hour == CLOCKS_HOUR && self.told != Some(day) {
            self.told = Some(day);
            self.to_tell = write::times(settings, utc_ms);
        }
        self.to_tell.pop().map(Exchange::single)
    }

    fn rebuild(&mut self, settings: &PortSettings) {
        self.master.rebuild(settings, self.now());
        self.counters.retain(|device| settings.meters.iter().any(|meter| meter.device == *device));
        self.said.clear();
        self.publish_plan();
    }

    fn publish_plan(&self) {
        let budget = self.master.budget();
        self.counters.line.busy_permille.set(budget.busy_permille);
        self.counters.line.sweep_ms.set(u64::try_from(budget.sweep.as_millis()).unwrap_or(u64::MAX));
        self.counters.line.misconfigured.set(self.master.misconfigured() as u64);
    }

    /// Tells the master what happens. An errand whose asker has given up is not asked any more.
    fn handle(&mut self, event: Event<'_>) -> Vec<Action> {
        let replies = &self.replies;
        let forgotten = self.master.forget(|ErrandId(id)| replies.get(&id).is_some_and(Reply::is_closed));
        for ErrandId(id) in forgotten {
            self.replies.remove(&id);
        }
        self.master.handle(event, self.start.elapsed())
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}

enum Broken {
    Port(io::Error),
    Stopped(Stopped),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Port(error)
    }
}

impl From<Stopped> for Broken {
    fn from(stopped: Stopped) -> Self {
        Self::Stopped(stopped)
    }
}

fn open(settings: &PortSettings) -> Result<SerialStream, PortError> {
    let line = settings.line;
    let builder =
        tokio_serial::new(&settings.path, line.baud).parity(parity(line)).stop_bits(stop_bits(line));
    builder.open_native_async().map_err(|cause| match cause.kind() {
        tokio_serial::ErrorKind::Io(io::ErrorKind::PermissionDenied) => {
            PortError::Permission(settings.path.clone())
        }
        // What the crate says for EBUSY and for a lock that another one holds.
        tokio_serial::ErrorKind::NoDevice => PortError::Busy(settings.path.clone()),
        _ => PortError::Open { path: settings.path.clone(), cause },
    })
}

fn set(stream: &mut SerialStream, line: Line) -> io::Result<()> {
    stream.set_baud_rate(line.baud)?;
    stream.set_parity(parity(line))?;
    stream.set_stop_bits(stop_bits(line))?;
    Ok(())
}

fn parity(line: Line) -> tokio_serial::Parity {
    match line.parity {
        Parity::None => tokio_serial::Parity::None,
        Parity::Even => tokio_serial::Parity::Even,
        Parity::Odd => tokio_serial::Parity::Odd,
    }
}

fn stop_bits(line: Line) -> tokio_serial::StopBits {
    if line.stop_bits == 2 { tokio_serial::StopBits::Two } else { tokio_serial::StopBits::One }
}
