//! The exchange as everybody shares it, and the task between it and the writer: what must outlive the process goes to disk in
//! the order in which it happened, and who waits for it is told. The task also lets time pass for the exchange.
//!
//! Guarantees: one delivery is on its way at a time, so that the changes of the next one gather meanwhile and share a commit;
//! a clock that is set does not make a session or a message expire, because time here is the monotonic clock's, counted from
//! the wall clock of the start.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::exchange::{Bounds, Exchange, Mark, Published};
use super::front::Shared;
use crate::clock::Clock;
use crate::ingest::{Delivery, Intake, Stopped};
use crate::model::Stamp;
use crate::normalise::EARLIEST_MS;
use crate::store::sessions::{Message, Saved};

/// How often the exchange's counts are shown, milliseconds.
const SHOWN_EVERY_MS: i64 = 1000;

/// See the module.
pub(super) struct Post {
    exchange: Mutex<Exchange>,
    /// The last mark that is on disk.
    journaled: watch::Sender<u64>,
    /// Nothing will be on disk any more.
    gone: CancellationToken,
    /// Something is in the journal.
    work: Notify,
    clock: Arc<dyn Clock>,
    began: Stamp,
}

impl Post {
    pub(super) fn new(bounds: Bounds, mut saved: Saved, clock: Arc<dyn Clock>) -> Arc<Self> {
        let began = clock.now();
        for session in &mut saved.sessions {
            // A time from before the clock was set, or after it, says nothing: the client has left just now.
            session.left_ms = session.left_ms.filter(|at| (EARLIEST_MS..=began.wall_ms).contains(at));
        }
        Arc::new(Self {
            exchange: Mutex::new(Exchange::new(bounds, saved, began.wall_ms)),
            journaled: watch::Sender::new(0),
            gone: CancellationToken::new(),
            work: Notify::new(),
            clock,
            began,
        })
    }

    /// Milliseconds since 1970 UTC as the exchange counts them.
    pub(super) fn now_ms(&self) -> i64 {
        let elapsed = self.clock.now().mono_ms.saturating_sub(self.began.mono_ms);
        self.began.wall_ms.saturating_add(i64::try_from(elapsed).unwrap_or(i64::MAX))
    }

    /// One step of the exchange.
    pub(super) fn exchange<T>(&self, step: impl FnOnce(&mut Exchange) -> T) -> T {
        let mut exchange = self.exchange.lock().unwrap_or_else(PoisonError::into_inner);
        let result = step(&mut exchange);
        if exchange.backlog() > 0 {
            self.work.notify_one();
        }
        result
    }

    /// Publishes at QoS 1 for the gateway itself.
    pub(super) fn command(&self, topic: &str, payload: &[u8], expiry: Option<Duration>) -> Published {
        let now_ms = self.now_ms();
        let lasts_ms = |expiry: Duration| i64::try_from(expiry.as_millis()).unwrap_or(i64::MAX);
        let message = Message {
            topic: topic.into(),
            payload: payload.into(),
            qos: 1,
            retain: false,
            properties: Box::default(),
            expires_ms: expiry.map(|expiry| now_ms.saturating_add(lasts_ms(expiry))),
        };
        self.exchange(|exchange| exchange.publish(None, message, now_ms))
    }

    /// The last mark that is on disk.
    pub(super) fn journaled(&self) -> u64 {
        *self.journaled.borrow()
    }

    /// Waits until a mark is on disk.
    ///
    /// # Errors
    /// [`Stopped`] when it never will be.
    pub(super) async fn wait(&self, mark: Mark) -> Result<(), Stopped> {
        let mut journaled = self.journaled.subscribe();
        tokio::select! {
            _ = journaled.wait_for(|journaled| mark.0 <= *journaled) => Ok(()),
            () = self.gone.cancelled() => Err(Stopped),
        }
    }

    /// Takes one delivery to the writer and waits for its commit; false when there was none.
    async fn carry(&self, intake: &Intake) -> Result<bool, Stopped> {
        let Some((mark, changes)) = self.exchange(Exchange::journal) else { return Ok(false) };
        let delivery = Delivery { changes, ..Delivery::empty(self.clock.now()) };
        intake.deliver(delivery).await?.committed().await?;
        self.journaled.send_replace(mark.0);
        self.exchange(|exchange| exchange.committed(mark));
        Ok(true)
    }
}

/// Carries the journal to the writer and lets time pass until `quiet`; then carries what is left.
///
/// # Errors
/// [`Stopped`] when the writer is gone.
pub(super) async fn run(shared: &Shared, quiet: &CancellationToken) -> Result<(), Stopped> {
    let post = &shared.post;
    let (mut tick_ms, mut shown_ms) = (i64::MIN, i64::MIN);
    loop {
        let now_ms = post.now_ms();
        let show = now_ms >= shown_ms;
        let (due, rest_ms, counts) = post.exchange(|exchange| {
            let due = if now_ms >= tick_ms { exchange.tick(now_ms) } else { Vec::new() };
            (due, exchange.rest_ms(now_ms), show.then(|| exchange.counts()))
        });
        tick_ms = if now_ms >= tick_ms { now_ms + rest_ms } else { tick_ms.min(now_ms + rest_ms) };
        if let Some(counts) = counts {
            shared.counters.show(&counts);
            shown_ms = now_ms + SHOWN_EVERY_MS;
        }
        for will in due {
            shared.publish_late_will(will).await;
        }
        let carried = async {
            while post.carry(&shared.intake).await? {}
            Ok(())
        };
        if let Err(stopped) = carried.await {
            post.gone.cancel();
            return Err(stopped);
        }
        if quiet.is_cancelled() {
            return Ok(());
        }
        let rest_ms = tick_ms.min(shown_ms) - now_ms;
        let rest = Duration::from_millis(u64::try_from(rest_ms).unwrap_or(0).max(1));
        tokio::select! {
            () = quiet.cancelled() => {}
            () = post.work.notified() => {}
            () = tokio::time::sleep(rest) => {}
        }
    }
}
