//! Webhooks: what the ledger says somebody is to be told goes out over HTTP, and what became of it goes back into the ledger.
//!
//! ```text
//!  ledger ── due notices ──► queue (pure) ──► letter (pure) ──► webhook ──► answer
//!    ▲                                                                        │
//!    └───────────────── Act::Told: delivered with proof, failed, expired ◄────┘
//! ```
//!
//! Guarantees: one task per recipient, so one that hangs, fails for a day or redirects costs nothing but its own queue, and never
//! the way of a reading; at most one message of a recipient is in flight; a message is sent at least once, after a crash
//! between the answer and the commit twice, with the same `Idempotency-Key`; nothing here holds notices but those of the
//! message in flight; addresses (beyond scheme, host and port) and secrets reach no log, no error and no ledger. It decides
//! nothing about who is told what: `rules::notice` does, and a notice holds only what its recipient may see.

mod address;
mod counters;
mod letter;
pub mod queue;
mod teller;
#[cfg(test)]
mod tests;
mod webhook;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

pub use address::{Address, AddressError, Secret};
pub use counters::Counters;
pub use letter::{Failure, Form};
pub use webhook::{ANSWER_BYTES_MAX, check_roots};

use crate::clock::Clock;
use crate::ingest::{Intake, Stopped};
use crate::model::LineId;
use crate::rules::notice::{Field, Notice};
use crate::store::reader::{ReadError, Reader};
use queue::Pace;
use teller::{Desk, Teller};

/// Pause before a recipient's task that panicked is started again.
const PANIC_PAUSE: Duration = Duration::from_secs(10);

/// A webhook of a recipient.
#[derive(Clone, Debug, PartialEq)]
pub struct Webhook {
    /// Whose, by id.
    pub recipient: LineId,
    /// Where it is.
    pub address: Address,
    /// How messages are written.
    pub form: Form,
    /// What signs them; [`Form::Wecom`] has no signature.
    pub secret: Option<Secret>,
    /// PEM roots of its certificate, and no others; else the system's.
    pub ca: Option<Arc<[u8]>>,
    /// At most one message in so many milliseconds, but for what is critical.
    pub digest_ms: u64,
    /// What the recipient may see: [`Form::Json`] has more than the text.
    pub fields: Vec<Field>,
    /// Whether what a digest adds is in English.
    pub english: bool,
    /// The gateway's name.
    pub gateway: String,
}

/// How long attempts may take, and how often they are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For a connection.
    pub connect: Duration,
    /// For all of an attempt, from the name's resolution to the answer's last byte.
    pub total: Duration,
    /// How often.
    pub pace: Pace,
}

impl Limits {
    /// The defaults.
    pub const DEFAULT: Self =
        Self { connect: Duration::from_secs(5), total: Duration::from_secs(10), pace: Pace::DEFAULT };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What the webhooks need to know.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Settings {
    /// One of each recipient; of two of one recipient the first counts.
    pub webhooks: Vec<Webhook>,
    /// Bounds of each.
    pub limits: Limits,
}

/// Where notices wait.
pub trait Ledger: Clone + Send + Sync + 'static {
    /// At most `limit` notices of a recipient that wait and are due at `now_ms`, milliseconds since 1970 UTC: what is critical
    /// first, then the oldest.
    fn due(
        &self,
        recipient: &LineId,
        now_ms: i64,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Notice>, ReadError>> + Send;

    /// When the next of its waiting notices is due, milliseconds since 1970 UTC.
    fn next_due(&self, recipient: &LineId) -> impl Future<Output = Result<Option<i64>, ReadError>> + Send;
}

impl Ledger for Reader {
    async fn due(&self, recipient: &LineId, now_ms: i64, limit: usize) -> Result<Vec<Notice>, ReadError> {
        self.due_notices(recipient, now_ms, limit).await
    }

    async fn next_due(&self, recipient: &LineId) -> Result<Option<i64>, ReadError> {
        Reader::next_due(self, recipient).await
    }
}

/// A task and what it was started with.
struct Running {
    task: tokio::task::Id,
    webhook: Arc<Webhook>,
    limits: Limits,
    stop: CancellationToken,
}

/// Tells everybody who has a webhook, until `stop` or until the writer is gone. `news` changes after every commit that has
/// notices; a new value of `settings` is in force at once, and a task whose webhook it changes finishes its message first.
pub async fn serve<L: Ledger>(
    mut settings: watch::Receiver<Arc<Settings>>,
    ledger: L,
    intake: Intake,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
    news: watch::Receiver<u64>,
    stop: CancellationToken,
) {
    let desk = Desk { ledger, intake, clock, counters, news };
    let mut tasks = JoinSet::<Result<(), Stopped>>::new();
    let mut running = HashMap::<LineId, Running>::new();
    let (mut is_settled, mut pause) = (false, Duration::ZERO);
    while !stop.is_cancelled() {
        let wanted = Arc::clone(&settings.borrow_and_update());
        start(&wanted, &desk, &mut tasks, &mut running, &stop, std::mem::take(&mut pause));
        tokio::select! {
            () = stop.cancelled() => {}
            changed = settings.changed(), if !is_settled => is_settled = changed.is_err(),
            Some(end) = tasks.join_next_with_id() => {
                let id = match &end {
                    Ok((_, Err(Stopped))) => break,
                    Ok((id, Ok(()))) => *id,
                    Err(error) => {
                        tracing::error!(%error, "a webhook's task ended and is started again");
                        pause = PANIC_PAUSE;
                        error.id()
                    }
                };
                running.retain(|_, task| task.task != id);
            }
        }
    }
    running.values().for_each(|task| task.stop.cancel());
    while tasks.join_next().await.is_some() {}
}

/// Starts what is wanted and does not run, and stops what runs otherwise; that is started again once it has ended.
fn start<L: Ledger>(
    wanted: &Settings,
    desk: &Desk<L>,
    tasks: &mut JoinSet<Result<(), Stopped>>,
    running: &mut HashMap<LineId, Running>,
    stop: &CancellationToken,
    pause: Duration,
) {
    let mut webhooks = HashMap::<&LineId, &Webhook>::new();
    for webhook in &wanted.webhooks {
        webhooks.entry(&webhook.recipient).or_insert(webhook);
    }
    for (recipient, task) in running.iter() {
        let is_wanted = webhooks.get(recipient).is_some_and(|webhook| **webhook == *task.webhook);
        if !is_wanted || task.limits != wanted.limits {
            task.stop.cancel();
        }
    }
    for (recipient, webhook) in webhooks {
        if running.contains_key(recipient) {
            continue;
        }
        let (webhook, limits, stop) = (Arc::new(webhook.clone()), wanted.limits, stop.child_token());
        let teller = Teller::new(Arc::clone(&webhook), limits, desk.clone());
        let stopped = stop.clone();
        let task = tasks.spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => return Ok(()),
                () = sleep(pause) => {}
            }
            teller.run(stopped).await
        });
        running.insert(recipient.clone(), Running { task: task.id(), webhook, limits, stop });
    }
}
