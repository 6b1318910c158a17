//! What became of deliveries, of one batch or of all time.
//!
//! Guarantees: the law of conservation can be asked of it ([`Ledger::holds`]); that of all time is made of the log's newest
//! position and the store's tallies, so it survives whatever the store survives.

use crate::model::{Quality, Tally};
use crate::store::{Store, StoreError, Txn};

/// Names of tallies in the store.
const LATE: &str = "late";
const REBASED: &str = "rebased";
const THINNED: &str = "thinned";
const PURGED: &str = "purged";

fn flagged_name(quality: Quality) -> String {
    format!("flagged.{quality}")
}

/// What became of deliveries; `received = stored + lost`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Samples, and messages that did not become one.
    pub received: u64,
    /// Readings in the log.
    pub stored: u64,
    /// The rest, by reason.
    pub lost: Tally,
    /// Stored readings that came after their window was closed, once per window.
    pub late: u64,
    /// Stored readings that are not good, by their quality's number.
    pub flagged: [u64; Quality::ALL.len()],
    /// Runs of flagged readings that ended in being believed: another meter, most likely.
    pub rebased: u64,
    /// Stored readings that told the bulk lane nothing new.
    pub thinned: u64,
    /// Stored readings that were deleted with the profile of an emergency.
    pub purged: u64,
}

impl Ledger {
    /// Adds another.
    pub fn merge(&mut self, other: &Ledger) {
        self.received += other.received;
        self.stored += other.stored;
        self.lost.merge(&other.lost);
        self.late += other.late;
        for (mine, theirs) in self.flagged.iter_mut().zip(other.flagged) {
            *mine += theirs;
        }
        self.rebased += other.rebased;
        self.thinned += other.thinned;
        self.purged += other.purged;
    }

    /// That of all the time since the store was created.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn of(store: &Store) -> Result<Self, StoreError> {
        let (stored, lost) = (store.reading_head().unsigned_abs(), store.lost()?);
        let mut flagged = [0; Quality::ALL.len()];
        for (quality, count) in Quality::ALL.into_iter().zip(&mut flagged) {
            *count = store.tally(&flagged_name(quality))?;
        }
        Ok(Self {
            received: stored + lost.total(),
            stored,
            lost,
            late: store.tally(LATE)?,
            flagged,
            rebased: store.tally(REBASED)?,
            thinned: store.tally(THINNED)?,
            purged: store.tally(PURGED)?,
        })
    }

    /// Stored readings of each quality but good.
    pub fn flagged(&self) -> impl Iterator<Item = (Quality, u64)> + '_ {
        let qualities = Quality::ALL.into_iter().filter(|quality| *quality != Quality::Good);
        qualities.map(|quality| (quality, self.flagged[quality as usize]))
    }

    /// Puts everything but losses, which have a name of their own, into the store's tallies.
    pub(super) fn tally(&self, txn: &mut Txn<'_>) -> Result<(), StoreError> {
        let flagged = self.flagged().map(|(quality, count)| (flagged_name(quality), count));
        let others =
            [(LATE, self.late), (REBASED, self.rebased), (THINNED, self.thinned), (PURGED, self.purged)];
        let others = others.into_iter().map(|(name, count)| (name.to_owned(), count));
        flagged
            .chain(others)
            .filter(|(_, count)| *count > 0)
            .try_for_each(|(name, count)| txn.count(&name, count))
    }

    /// Whether nothing is missing.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.received == self.stored + self.lost.total()
    }
}
