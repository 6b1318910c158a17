//! One recipient's task: asks the ledger what is due, sends it, reports, sleeps.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::counters::{Counters, Waiting};
use super::letter::Failure;
use super::queue::{NOTICES_MAX, Next, Queue};
use super::webhook::Dialler;
use super::{Ledger, Limits, Webhook};
use crate::clock::Clock;
use crate::ingest::act::{Act, Told};
use crate::ingest::{Intake, Stopped};
use crate::model::Stamp;
use crate::rules::notice::Notice;

/// How long it sleeps at most: the wall clock may have been set meanwhile.
const SLEEP_MAX: Duration = Duration::from_secs(60);
/// Least time between two looks into a ledger that has nothing due, whatever it says is next.
const AGAIN_MIN: Duration = Duration::from_millis(50);
/// Pause after the ledger could not be read.
const LEDGER_PAUSE: Duration = Duration::from_secs(5);

/// How a turn ends.
enum Rest {
    /// For so long, whatever comes.
    Deaf(Duration),
    /// For so long, or until there is news.
    Until(Duration),
}

/// What all tasks share.
#[derive(Clone)]
pub(super) struct Desk<L> {
    pub(super) ledger: L,
    pub(super) intake: Intake,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) counters: Arc<Counters>,
    pub(super) news: watch::Receiver<u64>,
}

pub(super) struct Teller<L> {
    webhook: Arc<Webhook>,
    limits: Limits,
    desk: Desk<L>,
    queue: Queue,
    dialler: Option<Dialler>,
    waiting: Waiting,
    is_failing: bool,
}

impl<L: Ledger> Teller<L> {
    pub(super) fn new(webhook: Arc<Webhook>, limits: Limits, desk: Desk<L>) -> Self {
        let queue = Queue::new(webhook.digest_ms, limits.pace);
        let waiting = Waiting::new(&desk.counters);
        Self { webhook, limits, desk, queue, dialler: None, waiting, is_failing: false }
    }

    /// Until `stop`; what is in flight is finished and reported first.
    pub(super) async fn run(mut self, stop: CancellationToken) -> Result<(), Stopped> {
        let mut is_news_over = false;
        while !stop.is_cancelled() {
            let (rest, is_deaf) = match self.turn().await? {
                Rest::Deaf(rest) => (rest, true),
                Rest::Until(rest) => (rest.min(SLEEP_MAX), is_news_over),
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(rest) => {}
                changed = self.desk.news.changed(), if !is_deaf => is_news_over = changed.is_err(),
            }
        }
        Ok(())
    }

    async fn turn(&mut self) -> Result<Rest, Stopped> {
        let now = self.desk.clock.now();
        let closed_ms = self.queue.closed_ms(now);
        if closed_ms > 0 {
            return Ok(Rest::Deaf(Duration::from_millis(closed_ms)));
        }
        // What comes from here on is news.
        self.desk.news.borrow_and_update();
        let recipient = &self.webhook.recipient;
        let due = match self.desk.ledger.due(recipient, now.wall_ms, NOTICES_MAX).await {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(%recipient, %error, "the ledger of notices could not be read");
                return Ok(Rest::Deaf(LEDGER_PAUSE));
            }
        };
        self.waiting.set(due.len());
        match self.queue.next(due, now) {
            Next::Send(notices) => {
                self.send(&notices, now).await?;
                Ok(Rest::Until(Duration::ZERO))
            }
            Next::Wait(wait_ms) => Ok(Rest::Until(Duration::from_millis(wait_ms))),
            Next::Idle => Ok(Rest::Until(self.until_next(now).await)),
        }
    }

    /// How long until something is due that waits already.
    async fn until_next(&self, now: Stamp) -> Duration {
        match self.desk.ledger.next_due(&self.webhook.recipient).await {
            Ok(Some(due_ms)) => {
                Duration::from_millis(u64::try_from(due_ms.saturating_sub(now.wall_ms)).unwrap_or(0))
                    .max(AGAIN_MIN)
            }
            Ok(None) => SLEEP_MAX,
            Err(_) => LEDGER_PAUSE,
        }
    }

    async fn attempt(&mut self, notices: &[Notice], wall_ms: i64) -> Result<String, Failure> {
        if self.dialler.is_none() {
            self.dialler = Some(Dialler::new(&self.webhook, self.limits).await?);
        }
        match &self.dialler {
            Some(dialler) => dialler.send(&self.webhook, notices, wall_ms).await,
            None => Err(Failure::Silent),
        }
    }

    /// One message, and the report of it.
    async fn send(&mut self, notices: &[Notice], now: Stamp) -> Result<(), Stopped> {
        let end = self.attempt(notices, now.wall_ms).await;
        let now = self.desk.clock.now();
        let recipient = &self.webhook.recipient;
        match end {
            Ok(proof) => {
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!(%recipient, "the webhook takes messages again");
                }
                self.queue.delivered(now);
                self.desk.counters.messages.fetch_add(1, Relaxed);
                self.desk.counters.sent.fetch_add(notices.len() as u64, Relaxed);
                let ids = notices.iter().map(|notice| notice.id).collect();
                self.report(ids, Told::Delivered(proof), notices).await
            }
            Err(failure) => self.fail(notices, &failure, now).await,
        }
    }

    async fn fail(&mut self, notices: &[Notice], failure: &Failure, now: Stamp) -> Result<(), Stopped> {
        let recipient = &self.webhook.recipient;
        if !std::mem::replace(&mut self.is_failing, true) {
            tracing::warn!(%recipient, address = %self.webhook.address, %failure, "a webhook takes no messages");
        }
        let setback = self.queue.failed(notices, getrandom::u64().unwrap_or_default(), now);
        self.desk.counters.failed.fetch_add(1, Relaxed);
        self.desk.counters.expired.fetch_add(setback.expired.len() as u64, Relaxed);
        let again = Told::Failed { why: failure.to_string(), again_ms: setback.again_ms };
        self.report(setback.waiting, again, notices).await?;
        self.report(setback.expired, Told::Expired(failure.to_string()), notices).await
    }

    /// Tells the ledger. Where it does not want to know, the same notices would be due at once again: they wait as if they
    /// had failed.
    async fn report(&mut self, ids: Vec<u64>, end: Told, notices: &[Notice]) -> Result<(), Stopped> {
        if ids.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.desk.intake.act(Act::Told { notices: ids, end }).await? {
            tracing::warn!(recipient = %self.webhook.recipient, %error, "the ledger takes no report");
            let random = getrandom::u64().unwrap_or_default();
            self.queue.failed(notices, random, self.desk.clock.now());
        }
        Ok(())
    }
}
