//! What another way in shares with the front: who may come and what for, where what is said goes, and what is not theirs.
//!
//! Guarantees: a client of another way in is the user that it would be over MQTT, or nobody; a password is checked by the
//! same gate, at most one at a time over all ways. Listens nowhere itself.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::auth::Gate;
use super::counters::add;
use super::observe::Router;
use super::onboard::offer::Offer;
use super::packet::Refusal;
use super::rights::Rights;
use super::{Counters, Limits, Settings};
use crate::clock::Clock;
use crate::ingest::Intake;

/// Users of whom it was told that they asked for what is not theirs; of one more it is only counted.
const TOLD_MAX: usize = 1000;

/// See the module.
#[derive(Clone)]
pub struct Desk {
    pub(in crate::device) settings: watch::Receiver<Arc<Settings>>,
    pub(in crate::device) limits: Limits,
    pub(in crate::device) intake: Intake,
    pub(in crate::device) clock: Arc<dyn Clock>,
    pub(super) counters: Arc<Counters>,
    pub(super) router: Arc<Router>,
    pub(super) gate: Arc<Gate>,
    pub(super) told: Arc<Told>,
}

/// Who was let in.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::device) struct Guest {
    /// The name of the user, empty when anonymous.
    pub(in crate::device) name: String,
    pub(in crate::device) rights: Arc<Rights>,
}

/// Why nobody was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::device) enum Refused {
    /// It said nothing, or showed nothing, by which it could be known.
    Unknown,
    /// A wrong user or password.
    Password,
    /// Nothing can be checked now.
    Busy,
}

impl Desk {
    /// Lets a client in, or says why not. `login` is user name and password; `certificate` the names in its verified
    /// certificate, none of them where there is none, and `None` where nobody has to be known.
    pub(in crate::device) async fn admit(
        &self,
        login: Option<(String, String)>,
        certificate: Option<&[String]>,
    ) -> Result<Guest, Refused> {
        let settings = self.settings.borrow().clone();
        match self.gate.admit(&settings.access, login, certificate).await {
            Ok(credential) => {
                Ok(Guest { name: credential.name().to_owned(), rights: Arc::clone(credential.rights()) })
            }
            Err(Refusal::NotAuthorised) => Err(Refused::Unknown),
            Err(Refusal::Password) => Err(Refused::Password),
            Err(_) => Err(Refused::Busy),
        }
    }

    /// Counts what a client asked for that is not its; tells it once of a user.
    pub(in crate::device) fn forbidden(&self, guest: &Guest, what: &'static str, which: &str) {
        add(&self.counters.forbidden, 1);
        self.told.tell(&guest.name, what, which);
    }

    /// Shows on-boarding what is nobody's; never waits.
    pub(in crate::device) fn offer(&self, offer: &Offer<'_>) {
        self.router.offer(offer);
    }

    /// Counts what on-boarding was not shown.
    pub(in crate::device) fn kept_back(&self) {
        add(&self.counters.offers_refused, 1);
    }
}

/// Who has been told of already.
#[derive(Debug, Default)]
pub(super) struct Told(Mutex<HashSet<Box<str>>>);

impl Told {
    /// Logs, once of a user, that it asked for what is not its.
    pub(super) fn tell(&self, user: &str, what: &'static str, which: &str) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < TOLD_MAX && told.insert(user.into()) {
            let which: String = which.chars().take(64).collect();
            tracing::warn!(user, what, topic = ?which, "a client asked for what is not its; told once");
        }
    }
}
