//! On-boarding: who speaks and is not configured, what it is called, and which fields it has.
//!
//! The front offers what belongs to nobody to [`super::observe`]; a task listens there and hands it to the [`Quarantine`], which
//! `smallbrain devices pending` shows. Guarantees: nobody waits for any of this; nothing of it is stored or logged; no value that
//! a device sent gets as far as a [`Listing`].

mod birth;
mod described;
mod guess;
pub mod offer;
pub mod quarantine;
pub mod shape;
#[cfg(test)]
mod tests;
mod words;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::observe::{Link, ObserveError};
use crate::clock::Clock;
pub use guess::JSON;
pub use quarantine::{Field, Listing, Pending, Quarantine};
pub use shape::Type;

/// The quarantine of this process; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Onboard(Arc<Mutex<Quarantine>>);

impl From<Quarantine> for Onboard {
    fn from(quarantine: Quarantine) -> Self {
        Self(Arc::new(Mutex::new(quarantine)))
    }
}

impl Onboard {
    /// What is known now.
    #[must_use]
    pub fn listing(&self) -> Listing {
        self.quarantine().listing()
    }

    /// Forgets those that `known` knows: after a change of the configuration.
    pub fn forget(&self, known: impl FnMut(&Pending) -> bool) {
        self.quarantine().forget(known);
    }

    /// Listens until the router is gone. What comes faster than it is read is missed; the link counts it.
    ///
    /// # Errors
    /// [`ObserveError`]: there is no router any more.
    pub(super) async fn listen(self, mut link: Link, clock: Arc<dyn Clock>) -> Result<(), ObserveError> {
        loop {
            let wire = link.next().await?;
            if let Some(offer) = offer::Offer::decode(&wire) {
                self.quarantine().receive(&offer, clock.now());
            }
        }
    }

    fn quarantine(&self) -> MutexGuard<'_, Quarantine> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
