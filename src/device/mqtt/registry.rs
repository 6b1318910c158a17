//! Which client is connected, and what absent ones left behind.
//!
//! Guarantees: a client id has one connection; the next one waits until the one before it has ended altogether and
//! takes over what it kept. The sessions of absent clients are bounded: the oldest makes room. All in memory: a restart
//! forgets them, and clients resend.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::counters::{self, Counters};
use super::session::Kept;

/// See the module.
pub(super) struct Registry {
    places: Mutex<Places>,
    parked_max: usize,
    counters: Arc<Counters>,
}

#[derive(Default)]
struct Places {
    by_client: HashMap<String, State>,
    /// Counts partings.
    clock: u64,
}

enum State {
    Taken { leave: CancellationToken, left: CancellationToken },
    Parked { since: u64, kept: Box<Kept> },
}

/// A client's place; free again when this is dropped.
pub(super) struct Place {
    registry: Arc<Registry>,
    client: String,
    /// Cancelled when the connection has to end.
    pub(super) leave: CancellationToken,
    left: CancellationToken,
    kept: Option<Box<Kept>>,
}

impl Registry {
    pub(super) fn new(parked_max: usize, counters: Arc<Counters>) -> Arc<Self> {
        Arc::new(Self { places: Mutex::default(), parked_max, counters })
    }

    /// Takes the place of a client, after whoever has it left. `leave` becomes the parent of the token that tells it to.
    pub(super) async fn take(
        self: &Arc<Self>,
        client: &str,
        leave: &CancellationToken,
    ) -> (Place, Option<Kept>) {
        loop {
            let left = {
                let mut places = self.places();
                match places.by_client.get(client) {
                    Some(State::Taken { leave, left, .. }) => {
                        leave.cancel();
                        left.clone()
                    }
                    _ => return self.sit_down(&mut places, client, leave),
                }
            };
            left.cancelled().await;
        }
    }

    fn sit_down(
        self: &Arc<Self>,
        places: &mut Places,
        client: &str,
        leave: &CancellationToken,
    ) -> (Place, Option<Kept>) {
        let place = Place {
            registry: Arc::clone(self),
            client: client.to_owned(),
            leave: leave.child_token(),
            left: CancellationToken::new(),
            kept: None,
        };
        let taken = State::Taken { leave: place.leave.clone(), left: place.left.clone() };
        match places.by_client.insert(client.to_owned(), taken) {
            Some(State::Parked { kept, .. }) => (place, Some(*kept)),
            _ => (place, None),
        }
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Leaves something for the client's next connection.
    pub(super) fn keep(&mut self, kept: Kept) {
        self.kept = Some(Box::new(kept));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.registry.places();
        places.clock += 1;
        let since = places.clock;
        places.by_client.remove(&self.client);
        if let Some(kept) = self.kept.take() {
            let parked = places.by_client.iter().filter_map(|(client, state)| match state {
                State::Parked { since, .. } => Some((*since, client)),
                State::Taken { .. } => None,
            });
            if parked.clone().count() >= self.registry.parked_max {
                let oldest = parked.min().map(|(_, client)| client.clone());
                oldest.and_then(|client| places.by_client.remove(&client));
                counters::add(&self.registry.counters.sessions_evicted, 1);
            }
            places.by_client.insert(std::mem::take(&mut self.client), State::Parked { since, kept });
        }
        drop(places);
        self.left.cancel();
    }
}
