//! Which client is connected.
//!
//! Guarantees: a client id has one connection; the next one waits until the one before it has ended altogether. What a client
//! leaves behind is the exchange's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// See the module.
#[derive(Default)]
pub(super) struct Registry {
    places: Mutex<HashMap<Arc<str>, Taken>>,
}

struct Taken {
    leave: CancellationToken,
    left: CancellationToken,
}

/// A client's place; free again when this is dropped.
pub(super) struct Place {
    registry: Arc<Registry>,
    client: Arc<str>,
    /// Cancelled when the connection has to end.
    pub(super) leave: CancellationToken,
    left: CancellationToken,
}

impl Registry {
    /// Takes the place of a client, after whoever has it left. `leave` becomes the parent of the token that tells it to.
    pub(super) async fn take(self: &Arc<Self>, client: &str, leave: &CancellationToken) -> Place {
        loop {
            let left = {
                let mut places = self.places();
                match places.get(client) {
                    Some(taken) => {
                        taken.leave.cancel();
                        taken.left.clone()
                    }
                    None => return self.sit_down(&mut places, client, leave),
                }
            };
            left.cancelled().await;
        }
    }

    fn sit_down(
        self: &Arc<Self>,
        places: &mut HashMap<Arc<str>, Taken>,
        client: &str,
        leave: &CancellationToken,
    ) -> Place {
        let place = Place {
            registry: Arc::clone(self),
            client: client.into(),
            leave: leave.child_token(),
            left: CancellationToken::new(),
        };
        let taken = Taken { leave: place.leave.clone(), left: place.left.clone() };
        places.insert(Arc::clone(&place.client), taken);
        place
    }

    fn places(&self) -> MutexGuard<'_, HashMap<Arc<str>, Taken>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Whose it is.
    pub(super) fn client(&self) -> &str {
        &self.client
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.registry.places().remove(&self.client);
        self.left.cancel();
    }
}
