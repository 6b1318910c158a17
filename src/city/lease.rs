//! Leases: of the collectors on one sink, exactly one pulls from a gateway. They lie in the sink.
//!
//! Guarantees: a lease that is not renewed is over after [`TTL`] by the sink's clock, and somebody else may have it then.
//! That two collectors never both write is not the lease's: the sink's cursors see to that. A collector that cannot reach the
//! sink lets go by itself before its leases are over.

use std::collections::BTreeSet;
use std::time::Duration;

use super::sink::SinkError;
use super::sink::{KeyTenure, RowTenure};

/// How long a lease lasts.
pub(super) const TTL: Duration = Duration::from_secs(15);
/// How often it is renewed.
pub(super) const ROUND: Duration = Duration::from_secs(5);
/// How long a collector that hears nothing of the sink goes on.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// What a collector sees after renewing.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// What it still has.
    pub(super) held: BTreeSet<String>,
    /// What anybody has.
    pub(super) leased: BTreeSet<String>,
    /// How many collectors there are, this one among them.
    pub(super) live: usize,
}

/// A name that no other process has, also one that was started with the same settings.
pub(super) fn holder(name: &str) -> String {
    // Without randomness the name alone tells them apart, as the operator chose it.
    format!("{name}_{:016x}", getrandom::u64().unwrap_or(0))
}

/// This collector's leases.
#[derive(Debug)]
pub enum Leases {
    /// The sink has one collector: everything is its own.
    #[doc(hidden)]
    Alone,
    /// Keys of a bucket.
    #[doc(hidden)]
    Nats(Box<KeyTenure>),
    /// Rows of a table.
    #[doc(hidden)]
    Postgres(RowTenure),
}

impl Leases {
    /// Renews what is held; nothing where everything is this collector's own.
    pub(super) async fn renew(&mut self) -> Result<Option<Seen>, SinkError> {
        match self {
            Leases::Alone => Ok(None),
            Leases::Nats(keys) => keys.renew().await.map(Some),
            Leases::Postgres(rows) => rows.renew().await.map(Some),
        }
    }

    /// Tries to get leases; gives those that it got.
    pub(super) async fn claim(&mut self, ids: &[String]) -> Result<BTreeSet<String>, SinkError> {
        match self {
            Leases::Alone => Ok(ids.iter().cloned().collect()),
            Leases::Nats(keys) => keys.claim(ids).await,
            Leases::Postgres(rows) => rows.claim(ids).await,
        }
    }

    /// Gives leases back.
    pub(super) async fn give_back(&mut self, ids: &[String]) -> Result<(), SinkError> {
        match self {
            Leases::Alone => Ok(()),
            Leases::Nats(keys) => keys.give_back(ids).await,
            Leases::Postgres(rows) => rows.give_back(ids).await,
        }
    }

    /// Gives everything back, and goes.
    pub(super) async fn leave(&mut self) -> Result<(), SinkError> {
        match self {
            Leases::Alone => Ok(()),
            Leases::Nats(keys) => keys.leave().await,
            Leases::Postgres(rows) => rows.leave().await,
        }
    }
}
