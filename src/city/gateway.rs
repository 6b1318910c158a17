//! One gateway's task: its drawer, its line, and what to do when either says no.
//!
//! Guarantees: the drawer is opened before the line, and anew after whatever went wrong with it; a batch in flight is
//! finished before the task ends. A gateway whose trail or whose records contradict what is kept is left alone until the
//! registry has another line for it. Does not decide whose gateway it is: that is the collector's.

use std::future::Future;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::counters::{Counters, Gauge, Standing, count};
use super::registry::Gateway;
use super::sink::{Drawer, Sink, SinkError, State};
use crate::audit::checkpoint::Checkpoint;
use crate::backoff::Backoff;
use crate::share::client::{PullError, Puller, Settings, Taker, Target, Window};
use crate::share::position::{Broken, Position, Taken};
use crate::share::witness::Book;
use crate::wire::{self, v1};

/// How much of one lane may be on its way: small, because there are many gateways.
const WINDOW: Window = Window { records: 4_096, bytes: 1 << 20 };
/// Waits after something that passes, and after something that has to be mended by people.
const SOON: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
const LATER: Duration = Duration::from_secs(60);

/// What a gateway's task works with.
#[derive(Clone, Debug)]
pub(super) struct Post {
    /// The line of the registry.
    pub(super) gateway: Arc<Gateway>,
    /// Where records go.
    pub(super) sink: Arc<Sink>,
    /// What is counted for all.
    pub(super) counters: Arc<Counters>,
    /// And for this one.
    pub(super) gauge: Arc<Gauge>,
    /// Tells this collector from others, for the gateway's log.
    pub(super) instance: String,
}

/// What follows the end of a line.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Another epoch: from, to.
    Reset(String, String),
    /// Nothing more until an operator says so.
    Quarantine,
    /// Soon again.
    Soon,
    /// Again, but not at once.
    Later,
}

/// What an error of the line, or of the drawer below it, asks for.
fn verdict(error: &PullError) -> Verdict {
    match error {
        PullError::Broken(Broken::Epoch { ours, theirs }) => Verdict::Reset(ours.clone(), theirs.clone()),
        PullError::Suspect(_) => Verdict::Quarantine,
        PullError::Refused(status) if reason(status) == Some("audit_fork") => Verdict::Quarantine,
        PullError::Taker(error) => match sunk(error) {
            Some(SinkError::Conflict(_)) => Verdict::Quarantine,
            _ => Verdict::Soon,
        },
        error if error.passes() => Verdict::Soon,
        _ => Verdict::Later,
    }
}

fn reason(status: &tonic::Status) -> Option<&str> {
    status.metadata().get("smallbrain-reason")?.to_str().ok()
}

fn sunk(error: &io::Error) -> Option<&SinkError> {
    error.get_ref()?.downcast_ref()
}

/// Pulls until `stop`, beginning after `delay`.
pub(super) async fn run(post: Post, delay: Duration, stop: CancellationToken) {
    post.gauge.stands(Standing::Waiting);
    if within(&stop, sleep(delay)).await.is_none() {
        return;
    }
    let Some(target) = post.gateway.target() else {
        // Its line comes from the other side; until this collector takes such lines there is nothing to do.
        stop.cancelled().await;
        return;
    };
    let mut backoff = Backoff::new(SOON.0, SOON.1);
    while !stop.is_cancelled() {
        let began = Instant::now();
        let end = match post.opened().await {
            Ok((drawer, state)) => post.pull(target.clone(), drawer, state, &stop).await,
            Err(error) => Err(PullError::Taker(io::Error::other(error))),
        };
        let Err(error) = end else { return };
        if began.elapsed() > SOON.1 {
            backoff.reset();
        }
        post.count(&error);
        let wait = match verdict(&error) {
            Verdict::Reset(from, to) => match post.reset(&from, &to).await {
                Ok(()) => Duration::ZERO,
                Err(error) => {
                    post.told(&error);
                    backoff.wait(getrandom::u64().unwrap_or(0))
                }
            },
            Verdict::Quarantine => {
                let id = &post.gateway.id;
                tracing::error!(gateway = %id, %error, "gateway is in quarantine until its line of the registry changes: find out why, then set accept_trail");
                post.gauge.stands(Standing::Quarantined);
                stop.cancelled().await;
                return;
            }
            Verdict::Soon => {
                tracing::warn!(gateway = %post.gateway.id, %error, "gateway is tried again");
                backoff.wait(getrandom::u64().unwrap_or(0))
            }
            Verdict::Later => {
                tracing::error!(gateway = %post.gateway.id, %error, "gateway is tried again in a minute");
                LATER
            }
        };
        if within(&stop, sleep(wait)).await.is_none() {
            return;
        }
    }
}

/// What comes, unless `stop` comes first.
async fn within<T>(stop: &CancellationToken, what: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = what => Some(done),
        () = stop.cancelled() => None,
    }
}

impl Post {
    /// The drawer, after the operator's word on the trail was taken.
    async fn opened(&self) -> Result<(Drawer, State), SinkError> {
        let (mut drawer, mut state) = self.sink.open(&self.gateway.id).await?;
        if let Some(word) = self.gateway.accept_trail.as_deref()
            && state.accepted.as_deref() != Some(word)
        {
            drawer.accept(word).await?;
            (state.accepted, state.checkpoint) = (Some(word.to_owned()), None);
            tracing::warn!(gateway = %self.gateway.id, "what was kept of the trail no longer binds: accept_trail");
        }
        Ok((drawer, state))
    }

    /// Pulls until `stop` or an error. What is in flight is finished.
    async fn pull(
        &self,
        target: Target,
        drawer: Drawer,
        state: State,
        stop: &CancellationToken,
    ) -> Result<(), PullError> {
        let drawer = Arc::new(Mutex::new(drawer));
        let mut book = Book::new(self.gateway.audit_key);
        if let Some(kept) = state.checkpoint {
            // What was signed with another key is what the operator changed the key for.
            if self.gateway.audit_key.is_none_or(|key| kept.is_signed_by(&key)) {
                book.take(kept)?;
            }
        }
        let settings = Settings {
            target,
            instance: self.instance.clone(),
            lanes: self.gateway.lanes.clone(),
            share_items: self.gateway.share_items.clone(),
            follow: true,
            ack: true,
            limit: None,
            window: WINDOW,
        };
        let (keeping, counters) = (drawer.clone(), self.counters.clone());
        let mut puller = Puller::new(settings, state.position)
            .telling(self.gauge.connected.clone())
            .witness_elsewhere(book, move |made| keep(keeping.clone(), counters.clone(), made));
        self.gauge.stands(Standing::Pulling);
        let inner = CancellationToken::new();
        let taker = Filing { post: self, drawer: drawer.clone() };
        let halt = async {
            stop.cancelled().await;
            // Whoever holds the drawer stores something.
            let _idle = drawer.lock().await;
            inner.cancel();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            end = puller.run(&inner, taker) => end,
            () = halt => Ok(()),
        }
    }

    /// Begins anew in another epoch.
    async fn reset(&self, from: &str, to: &str) -> Result<(), SinkError> {
        let (mut drawer, _) = self.sink.open(&self.gateway.id).await?;
        drawer.reset(from, to).await?;
        count(&self.counters.resets);
        tracing::warn!(gateway = %self.gateway.id, from, to, "gateway has another epoch, it is pulled anew");
        Ok(())
    }

    fn told(&self, error: &SinkError) {
        count(&self.counters.sink_errors);
        tracing::warn!(gateway = %self.gateway.id, %error, "sink is tried again");
    }

    fn count(&self, error: &PullError) {
        let counters = &self.counters;
        count(match error {
            PullError::Broken(Broken::Epoch { .. }) => return,
            PullError::Broken(_) => &counters.broken,
            PullError::Suspect(_) => &counters.forks,
            PullError::Refused(status) if reason(status) == Some("audit_fork") => &counters.forks,
            PullError::Taker(error) => match sunk(error) {
                Some(SinkError::Conflict(_)) => &counters.conflicts,
                _ => &counters.sink_errors,
            },
            _ => &counters.refused,
        });
    }
}

/// Keeps a position of the trail.
async fn keep(drawer: Arc<Mutex<Drawer>>, counters: Arc<Counters>, made: Checkpoint) -> io::Result<()> {
    drawer.lock().await.witness(&made).await.map_err(io::Error::other)?;
    count(&counters.checkpoints);
    Ok(())
}

/// Puts batches into a drawer.
struct Filing<'p> {
    post: &'p Post,
    drawer: Arc<Mutex<Drawer>>,
}

impl Taker for Filing<'_> {
    async fn take(
        &mut self,
        batch: &v1::RecordBatch,
        taken: Taken,
        position: &Position,
    ) -> io::Result<ControlFlow<()>> {
        let began = Instant::now();
        self.drawer.lock().await.store(batch, position).await.map_err(io::Error::other)?;
        self.post.counters.stored(taken.records, taken.lost, began.elapsed());
        if let Some(lane) = wire::lane(batch.lane) {
            self.post.gauge.lags(lane, batch.head_seq.saturating_sub(batch.through_seq));
        }
        Ok(ControlFlow::Continue(()))
    }
}

#[cfg(test)]
mod tests {
    use tonic::{Code, Status};

    use super::*;
    use crate::share::witness::Suspect;

    #[test]
    fn an_end_says_what_follows() {
        let mut fork = Status::new(Code::DataLoss, "fork");
        fork.metadata_mut().insert("smallbrain-reason", "audit_fork".parse().expect("ASCII"));
        let sink = |error| PullError::Taker(io::Error::other(error));
        let epoch = Broken::Epoch { ours: "a".into(), theirs: "b".into() };
        let cases: [(PullError, Verdict); 9] = [
            (epoch.into(), Verdict::Reset("a".into(), "b".into())),
            (Broken::Lane(9).into(), Verdict::Later),
            (Suspect::Malformed.into(), Verdict::Quarantine),
            (fork.into(), Verdict::Quarantine),
            (Status::new(Code::PermissionDenied, "no").into(), Verdict::Later),
            (PullError::Silent, Verdict::Soon),
            (sink(SinkError::Conflict("r".into())), Verdict::Quarantine),
            (sink(SinkError::Moved("g".into())), Verdict::Soon),
            (PullError::NothingGranted, Verdict::Later),
        ];
        for (error, expected) in cases {
            assert_eq!(verdict(&error), expected, "{error}");
        }
    }
}
