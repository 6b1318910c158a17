//! The task that owns a serial port.
//!
//! It opens the port by its stable path, moves bytes between it and the [`Bus`], and hands in what the slaves say. A port
//! that is not there, or goes away, is opened again with back-off, for ever; so is one whose settings of the line change.
//! It never spins, never has more than [`RECEIPTS_MAX`] deliveries whose commit is outstanding, and decides nothing about
//! what is asked.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_serial::{ClearBuffer, SerialPort, SerialPortBuilderExt, SerialStream};
use tokio_util::sync::CancellationToken;

use super::bus::{Action, Bus, Event, Outcome, Timing};
use super::schedule::{Next, Read, Schedule};
use super::{Counters, Parity, PortSettings};
use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::codec::modbus::{Exception, Request};
use crate::ingest::{Delivery, Intake, Receipt, Stopped};
use crate::model::Tally;

/// Deliveries whose commit is outstanding. At the bound nothing is asked until the oldest is on disk.
pub const RECEIPTS_MAX: usize = 4;

const REOPEN_FLOOR: Duration = Duration::from_millis(500);
const REOPEN_CEILING: Duration = Duration::from_secs(30);

/// An adapter that takes no bytes for so long is gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the task sleeps at most, whatever the schedule says.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

/// Why a port cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The service's user may not.
    #[error("serial port {0}: permission denied; add the user of the service to the group dialout")]
    Permission(String),
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

/// Reads the points of one port until `stop`, or until nothing can be stored any more.
pub async fn serve(
    mut settings: watch::Receiver<Arc<PortSettings>>,
    intake: Intake,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
    stop: CancellationToken,
) {
    let mut current = settings.borrow_and_update().clone();
    let start = Instant::now();
    let mut port = Port {
        schedule: Schedule::new(&current, Duration::ZERO),
        receipts: VecDeque::new(),
        intake,
        clock,
        counters,
        start,
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
                let end = port.talk(stream, &mut current, &mut settings, &stop, &mut backoff).await;
                port.counters.line.open.set(0);
                end
            }
            Err(error) => End::Broken(error),
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
        let wait = backoff.wait(getrandom::u64().unwrap_or_default());
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(wait) => {}
            Ok(()) = settings.changed() => {
                current = settings.borrow_and_update().clone();
                port.rebuild(&current);
            }
        }
    }
}

/// Why talking ended.
enum End {
    Stop,
    /// The line's settings changed.
    Line,
    Broken(PortError),
}

struct Port {
    schedule: Schedule,
    receipts: VecDeque<Receipt>,
    intake: Intake,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
    start: Instant,
}

impl Port {
    async fn talk(
        &mut self,
        mut stream: SerialStream,
        current: &mut Arc<PortSettings>,
        settings: &mut watch::Receiver<Arc<PortSettings>>,
        stop: &CancellationToken,
        backoff: &mut Backoff,
    ) -> End {
        let mut bus = Bus::new(Timing::of(current));
        let mut asked: Option<Read> = None;
        let mut buffer = [0; 256];
        let mut actions = bus.handle(Event::Opened, self.now());
        let mut watched = true;
        let cause = loop {
            match self.act(actions, &mut stream, &mut asked, backoff).await {
                Ok(()) => {}
                Err(Broken::Stopped(Stopped)) => return End::Stop,
                Err(Broken::Port(cause)) => break cause,
            }
            let mut wakeup = bus.wakeup();
            if bus.ready() {
                if watched && settings.has_changed().unwrap_or_default() {
                    let old = std::mem::replace(current, settings.borrow_and_update().clone());
                    self.rebuild(current);
                    if line(&old) != line(current) {
                        return End::Line;
                    }
                }
                match self.schedule.next(self.now()) {
                    Next::Ask(read) => {
                        let request = read.request;
                        asked = Some(read);
                        actions = bus.handle(Event::Ask(request), self.now());
                        continue;
                    }
                    Next::Wait(until) => wakeup = Some(until),
                    Next::Never => {}
                }
            }
            let at = self.start + wakeup.unwrap_or(Duration::MAX).min(self.now() + SLEEP_MAX);
            tokio::select! {
                () = stop.cancelled() => return End::Stop,
                read = stream.read(&mut buffer) => match read {
                    Ok(0) => break io::ErrorKind::UnexpectedEof.into(),
                    Ok(count) => actions = bus.handle(Event::Bytes(&buffer[..count]), self.now()),
                    Err(cause) => break cause,
                },
                () = sleep_until(at) => actions = bus.handle(Event::Wakeup, self.now()),
                changed = settings.changed(), if watched && bus.ready() => {
                    watched = changed.is_ok();
                    settings.mark_changed();
                    actions = Vec::new();
                }
            }
        };
        // Gives the open question back to the schedule; there is nothing to send.
        let actions = bus.handle(Event::Closed, self.now());
        match self.act(actions, &mut stream, &mut asked, backoff).await {
            Err(Broken::Stopped(Stopped)) => End::Stop,
            _ => End::Broken(PortError::Lost { path: current.path.clone(), cause }),
        }
    }

    async fn act(
        &mut self,
        actions: Vec<Action<Request>>,
        stream: &mut SerialStream,
        asked: &mut Option<Read>,
        backoff: &mut Backoff,
    ) -> Result<(), Broken> {
        for action in actions {
            match action {
                Action::Send(frame) => {
                    let stale = stream.bytes_to_read().map_err(io::Error::from)?;
                    self.counters.line.discarded_bytes.add(stale.into());
                    stream.clear(ClearBuffer::Input).map_err(io::Error::from)?;
                    timeout(SEND_TIMEOUT, stream.write_all(&frame)).await.map_err(io::Error::from)??;
                    if let Some(read) = asked {
                        self.counters.slave(read.request.unit()).requests.add(1);
                    }
                }
                Action::Done(_, outcome) => {
                    if let Some(read) = asked.take() {
                        if matches!(outcome, Outcome::Answer(_)) {
                            backoff.reset();
                        }
                        self.done(&read, &outcome).await?;
                    }
                }
                Action::Late(request) => self.counters.slave(request.unit()).late.add(1),
                Action::Corrupt(request) => self.counters.slave(request.unit()).corrupt.add(1),
                Action::Foreign => self.counters.line.foreign.add(1),
                Action::Discarded(count) => self.counters.line.discarded_bytes.add(count as u64),
            }
        }
        Ok(())
    }

    /// Counts the end of a question and hands in what it says.
    async fn done(&mut self, read: &Read, outcome: &Outcome) -> Result<(), Stopped> {
        let received = self.clock.now();
        let slave = self.counters.slave(read.request.unit());
        match outcome {
            Outcome::Answer(_) => {
                slave.answers.add(1);
                slave.last_answer.set(u64::try_from(received.wall_ms / 1000).unwrap_or_default());
            }
            Outcome::Refused(code) => {
                slave.exceptions.add(1);
                if (1..=3).contains(code) {
                    tracing::warn!(
                        port = self.counters.port(),
                        request = ?read.request,
                        cause = %Exception(*code),
                        "a slave refuses points; their configuration does not fit it"
                    );
                }
            }
            Outcome::Timeout => slave.timeouts.add(1),
            Outcome::Abandoned => {}
        }
        let samples = self.schedule.done(read, outcome, self.now());
        self.counters.line.misconfigured.set(self.schedule.misconfigured() as u64);
        if matches!(outcome, Outcome::Answer(_)) {
            self.counters.slave(read.request.unit()).absent.add((read.points() - samples.len()) as u64);
        }
        if samples.is_empty() {
            return Ok(());
        }
        if self.receipts.len() >= RECEIPTS_MAX
            && let Some(oldest) = self.receipts.pop_front()
        {
            oldest.committed().await?;
        }
        let delivery = Delivery { received, samples, lost: Tally::default() };
        self.receipts.push_back(self.intake.deliver(delivery).await?);
        Ok(())
    }

    fn rebuild(&mut self, settings: &PortSettings) {
        self.schedule.rebuild(settings, self.now());
        self.publish_plan();
    }

    fn publish_plan(&self) {
        let budget = self.schedule.budget();
        self.counters.line.busy_permille.set(budget.busy_permille);
        self.counters.line.sweep_ms.set(u64::try_from(budget.sweep.as_millis()).unwrap_or(u64::MAX));
        self.counters.line.misconfigured.set(self.schedule.misconfigured() as u64);
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

/// What a new schedule alone cannot take over.
fn line(settings: &PortSettings) -> (&str, u32, Parity, u8, Timing) {
    let PortSettings { path, baud, parity, stop_bits, .. } = settings;
    (path, *baud, *parity, *stop_bits, Timing::of(settings))
}

fn open(settings: &PortSettings) -> Result<SerialStream, PortError> {
    let parity = match settings.parity {
        Parity::None => tokio_serial::Parity::None,
        Parity::Even => tokio_serial::Parity::Even,
        Parity::Odd => tokio_serial::Parity::Odd,
    };
    let stop_bits =
        if settings.stop_bits == 2 { tokio_serial::StopBits::Two } else { tokio_serial::StopBits::One };
    let builder = tokio_serial::new(&settings.path, settings.baud).parity(parity).stop_bits(stop_bits);
    builder.open_native_async().map_err(|cause| match cause.kind() {
        tokio_serial::ErrorKind::Io(io::ErrorKind::PermissionDenied) => {
            PortError::Permission(settings.path.clone())
        }
        _ => PortError::Open { path: settings.path.clone(), cause },
    })
}
