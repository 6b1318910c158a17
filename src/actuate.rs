//! What rules have devices do: errands of the spine go out to MQTT devices and meters, and what became of each goes back.
//!
//! Guarantees: an errand is tried once, and never when its time is over; errands of one device run one after the other in
//! the order they came, and so do those of all meters of one port, because a port asks one question at a time; others run
//! side by side, [`turns::AT_ONCE`] at most. So a bus that hangs costs only its own errands, and each of those no more
//! than its time. Every errand ends with one [`Act::Ran`]; when there are more than may wait, the new one ends at once and
//! is counted. Devices are reached by the ways that people use too ([`Sending`], [`Buses`]). What it does not do: decide
//! anything, try again, or start a task. Payloads and values are never logged.
//!
//! At a stop what runs has a few seconds to end. What is left then is answered by nobody: the spine ends it when it starts
//! again.

mod turns;

use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::ingest::act::{Act, Errand};
use crate::ingest::{Intake, Stopped};
use crate::local::Buses;
use crate::local::command::Sending;
use crate::model::DeviceId;
use crate::rules::command::Action;
use crate::rules::due::Due;
use turns::{Turns, Way};

/// How long what runs may take to end after a stop.
const GRACE: Duration = Duration::from_secs(5);
/// Refusals whose report is not taken yet; at the bound no errand is taken.
const REFUSALS_MAX: usize = 16;
/// The longest reason, characters.
const REASON_MAX: usize = 256;

/// How an errand can end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The device has it.
    Done,
    /// It could not be done.
    Failed,
    /// Its time was over first.
    Expired,
    /// Too many waited.
    Refused,
}

/// What was done since the start. Relaxed atomics: each counter is exact, no two are a snapshot.
#[derive(Debug, Default)]
pub struct Counters {
    ended: [AtomicU64; 4],
    running: AtomicU64,
    waiting: AtomicU64,
}

impl Counters {
    /// Metric name and value of each; `actuate_running` and `actuate_waiting` go up and down.
    pub fn iter(&self) -> impl Iterator<Item = (String, u64)> + '_ {
        let ends = ["done", "failed", "expired", "refused"].into_iter().zip(&self.ended);
        let ended = ends.map(|(end, count)| (format!("actuate_errands_total{{end=\"{end}\"}}"), count));
        let now = [("actuate_running", &self.running), ("actuate_waiting", &self.waiting)];
        ended
            .chain(now.map(|(name, count)| (name.to_owned(), count)))
            .map(|(name, count)| (name, count.load(Relaxed)))
    }

    fn ended(&self, end: End) {
        self.ended[end as usize].fetch_add(1, Relaxed);
    }

    fn stand(&self, turns: &Turns) {
        self.running.store(turns.running() as u64, Relaxed);
        self.waiting.store(turns.waiting() as u64, Relaxed);
    }
}

/// How devices are reached.
trait Doors: Send + Sync {
    /// What an errand to a device has to wait for.
    fn way(&self, device: &DeviceId) -> Way;
    /// Has an errand done; `left` is how long it is worth anything. Whoever drops it before has given up.
    fn run(&self, errand: &Errand, left: Duration) -> impl Future<Output = Result<(), String>> + Send;
}

/// Those that people use too.
struct Real {
    sender: Sending,
    buses: Buses,
}

impl Doors for Real {
    fn way(&self, device: &DeviceId) -> Way {
        self.buses.port_of(device).map_or_else(|| Way::Device(device.clone()), Way::Port)
    }

    async fn run(&self, errand: &Errand, left: Duration) -> Result<(), String> {
        match &errand.action {
            Action::Publish { topic, payload } => {
                let sent = self.sender.publish(topic, payload.as_bytes(), Some(left)).await;
                sent.map(|_| ()).map_err(|error| error.to_string())
            }
            Action::Write { metric, value } => {
                let set = self.buses.set_point(&errand.device, metric, value).await;
                set.map_err(|status| status.message().to_owned())
            }
        }
    }
}

/// Runs errands until `stop`, or until nobody can send any more and the last one has ended.
///
/// # Errors
/// [`Stopped`] when the writer is gone.
pub async fn serve(
    errands: mpsc::Receiver<Errand>,
    sender: Sending,
    buses: Buses,
    intake: Intake,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
    stop: CancellationToken,
) -> Result<(), Stopped> {
    let shell = Shell { doors: Real { sender, buses }, intake, clock, counters };
    shell.serve(errands, stop).await
}

/// An errand or a refusal on its way to its report; gives the way that is free then.
type Running<'a> = Pin<Box<dyn Future<Output = Result<Option<Way>, Stopped>> + Send + 'a>>;

struct Shell<D> {
    doors: D,
    intake: Intake,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
}

impl<D: Doors> Shell<D> {
    async fn serve(
        &self,
        mut errands: mpsc::Receiver<Errand>,
        stop: CancellationToken,
    ) -> Result<(), Stopped> {
        let mut turns = Turns::default();
        let mut running: Vec<Running<'_>> = Vec::new();
        let mut open = true;
        while open || !running.is_empty() {
            let refusals = running.len() - turns.running();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                ended = any(&mut running) => if let Some(way) = ended? {
                    turns.free(&way);
                },
                errand = errands.recv(), if open && refusals < REFUSALS_MAX => match errand {
                    Some(errand) => {
                        let due = Due::at(self.clock.now(), errand.expires_ms);
                        let way = self.doors.way(&errand.device);
                        if let Err(errand) = turns.offer(way, errand, due) {
                            running.push(Box::pin(self.refuse(errand)));
                        }
                    }
                    None => open = false,
                },
            }
            while let Some((way, errand, due)) = turns.next() {
                running.push(Box::pin(self.run(way, errand, due)));
            }
            self.counters.stand(&turns);
        }
        // What does not end in time is known to the store as on its way.
        let _ = timeout(GRACE, async {
            while !running.is_empty() {
                any(&mut running).await?;
            }
            Ok::<(), Stopped>(())
        })
        .await;
        Ok(())
    }

    async fn run(&self, way: Way, errand: Errand, due: Due) -> Result<Option<Way>, Stopped> {
        let left = Duration::from_millis(due.mono_ms.saturating_sub(self.clock.now().mono_ms));
        let (end, told) = if left.is_zero() {
            (End::Expired, Err("its time was over before it could be sent".to_owned()))
        } else {
            match timeout(left, self.doors.run(&errand, left)).await {
                Ok(Ok(())) => (End::Done, Ok(())),
                Ok(Err(why)) => (End::Failed, Err(why)),
                Err(_) => {
                    let why =
                        "its time was over before the device answered: it is not known whether it took it";
                    (End::Expired, Err(why.to_owned()))
                }
            }
        };
        self.report(&errand, end, told).await?;
        Ok(Some(way))
    }

    async fn refuse(&self, errand: Errand) -> Result<Option<Way>, Stopped> {
        let why = format!("too many errands wait already, {} for one device", turns::WAITING_OF_ONE_MAX);
        self.report(&errand, End::Refused, Err(why)).await?;
        Ok(None)
    }

    async fn report(&self, errand: &Errand, end: End, told: Result<(), String>) -> Result<(), Stopped> {
        self.counters.ended(end);
        let told = told.map_err(|why| why.chars().take(REASON_MAX).collect::<String>());
        let (run, device) = (errand.run, &errand.device);
        match &told {
            Ok(()) => tracing::info!(run, %device, "a command of a rule is sent"),
            Err(why) => tracing::warn!(run, %device, why, "a command of a rule is not done"),
        }
        if let Err(refused) = self.intake.act(Act::Ran { run, end: told }).await? {
            tracing::debug!(run, %refused, "nobody waits for the run any more");
        }
        Ok(())
    }
}

/// Comes when one of them has ended; never when there is none.
async fn any(running: &mut Vec<Running<'_>>) -> Result<Option<Way>, Stopped> {
    if running.is_empty() {
        return pending().await;
    }
    poll_fn(|context| {
        for index in 0..running.len() {
            if let Poll::Ready(end) = running[index].as_mut().poll(context) {
                drop(running.swap_remove(index));
                return Poll::Ready(end);
            }
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests;
