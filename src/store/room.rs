//! What of the disk each lane is promised, and whose record goes when there is too little.
//!
//! Guarantees: a lane within its promise never gives way to one above its own, but for an alarm: everything goes before it,
//! and of alarms nothing within their promise goes at all. How much room a lane takes is kept beside its head, in the
//! transaction that changes it, so nobody ever counts. Pure, but for the few statements at its end; it deletes nothing.

use std::time::Duration;

use rusqlite::Connection;

use super::error::StoreError;
use super::{Store, outbox};
use crate::model::{Consumer, Lane, Seq};

/// Bytes that a record takes beside its body: hash (32), time (6), position and line (4), the row's own (about 10), and its
/// part of the page that is never full. Measured with pages of 4 KiB and bodies of 100 to 1000 bytes.
pub const RECORD_BYTES: u64 = 64;

/// Shares of the room that lanes are promised where nobody says otherwise, by [`Lane::index`], hundredths. What is left is for
/// history, the trail and everything else.
const SHARES: [u64; Lane::ALL.len()] = [10, 5, 2, 30, 1, 20];

/// Whose records go first when the disk is used up.
const ORDER: [Lane; Lane::ALL.len() - 1] =
    [Lane::Bulk, Lane::Audit, Lane::Aggregate, Lane::Result, Lane::Event];

/// What of the disk each lane is promised, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promises {
    /// Bytes, by [`Lane::index`].
    pub bytes: [u64; Lane::ALL.len()],
    /// For how long the city may be away, by what the configuration is reckoned to bring in. The store itself deletes
    /// nothing by age: only want of room ends what is unsent.
    pub lasts: Duration,
}

impl Promises {
    /// What a database of so many bytes promises where nobody says otherwise, for a week.
    #[must_use]
    pub fn of(bytes: u64) -> Self {
        Self { bytes: SHARES.map(|share| bytes / 100 * share), lasts: Duration::from_secs(7 * 86_400) }
    }
}

/// What a lane takes of the disk, and what it is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Want {
    pub(super) lane: Lane,
    /// Bytes that it has to give.
    pub(super) excess: u64,
}

/// Who gives way, in this order: those above their promise, down to it, then the rest; alarms last, and only down to theirs.
pub(super) fn yielding(used: &[u64; Lane::ALL.len()], promised: &Promises) -> Vec<Want> {
    let above = |lane: Lane| used[lane.index()].saturating_sub(promised.bytes[lane.index()]);
    let over = ORDER.into_iter().map(|lane| Want { lane, excess: above(lane) });
    let rest = ORDER
        .into_iter()
        .map(|lane| Want { lane, excess: used[lane.index()].min(promised.bytes[lane.index()]) });
    let alarms = [Want { lane: Lane::Alarm, excess: above(Lane::Alarm) }];
    over.chain(rest).chain(alarms).filter(|want| want.excess > 0).collect()
}

/// What a body takes of the disk.
pub(super) fn cost(body: &[u8]) -> u64 {
    (body.len() as u64).saturating_add(RECORD_BYTES)
}

/// The room of each lane, by [`Lane::index`].
pub(super) fn used(conn: &Connection) -> Result<[u64; Lane::ALL.len()], StoreError> {
    let mut used = [0; Lane::ALL.len()];
    let mut find = conn.prepare_cached("SELECT bytes FROM lane WHERE lane = ?")?;
    for lane in Lane::ALL {
        used[lane.index()] =
            find.query_row([lane.as_str()], |row| row.get::<_, i64>(0))?.max(0).unsigned_abs();
    }
    Ok(used)
}

/// Notes that a lane takes so many bytes more, or less.
pub(super) fn change(conn: &Connection, lane: Lane, bytes: i64) -> Result<(), StoreError> {
    conn.prepare_cached("UPDATE lane SET bytes = bytes + ? WHERE lane = ?")?
        .execute((bytes, lane.as_str()))?;
    Ok(())
}

/// What a consumer is owed of a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owed {
    /// What it has acknowledged.
    pub acked: Seq,
    /// Positions after that.
    pub positions: u64,
    /// When the oldest record after that was sealed, milliseconds since 1970 UTC; none where none is on disk.
    pub oldest_ms: Option<i64>,
}

/// Records that became a gap, ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The lane.
    pub lane: String,
    /// Why.
    pub reason: String,
    /// How many.
    pub records: u64,
}

/// The tally of what was lost of a lane for a reason.
pub(super) fn tally(lane: Lane, reason: &str) -> String {
    format!("dropped.{lane}.{reason}")
}

impl Store {
    /// What each lane takes of the disk, bytes, by [`Lane::index`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn lane_bytes(&self) -> Result<[u64; Lane::ALL.len()], StoreError> {
        used(&self.conn)
    }

    /// What a consumer is owed of a lane: two look-ups by key.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn owed(&self, consumer: &Consumer, lane: Lane) -> Result<Owed, StoreError> {
        let acked = outbox::acked(&self.conn, consumer, lane)?;
        let head = self.position.heads[lane.index()].seq;
        let oldest_ms = outbox::sealed_after(&self.conn, lane, acked)?;
        Ok(Owed { acked, positions: head.0.saturating_sub(acked.0), oldest_ms })
    }

    /// What became a gap since the store was created, by lane and reason.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn dropped(&self) -> Result<Vec<Dropped>, StoreError> {
        let find = "SELECT name, count FROM tally WHERE name > 'dropped.' AND name < 'dropped/'";
        let mut statement = self.conn.prepare_cached(find)?;
        let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
        let mut dropped = Vec::new();
        for row in rows {
            let (name, count) = row?;
            let mut parts = name.splitn(3, '.').skip(1).map(str::to_owned);
            if let (Some(lane), Some(reason)) = (parts.next(), parts.next()) {
                dropped.push(Dropped { lane, reason, records: count.unsigned_abs() });
            }
        }
        Ok(dropped)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PROMISED: Promises = Promises { bytes: [100; 6], lasts: Duration::ZERO };

    #[test]
    fn who_is_above_its_promise_goes_first_and_alarms_last() {
        use Lane::{Aggregate, Alarm, Audit, Bulk, Event, Result};
        // By lane: alarm, event, result, aggregate, audit, bulk.
        for (used, expected) in [
            ([0; 6], vec![]),
            ([100; 6], vec![(Bulk, 100), (Audit, 100), (Aggregate, 100), (Result, 100), (Event, 100)]),
            ([50, 130, 0, 0, 0, 40], vec![(Event, 30), (Bulk, 40), (Event, 100)]),
            ([90, 0, 0, 0, 0, 0], vec![]),
            ([170, 0, 0, 1, 0, 0], vec![(Aggregate, 1), (Alarm, 70)]),
        ] {
            let found: Vec<_> =
                yielding(&used, &PROMISED).iter().map(|want| (want.lane, want.excess)).collect();
            assert_eq!(found, expected, "{used:?}");
        }
    }

    proptest! {
        #[test]
        fn nobody_within_its_promise_gives_way_to_somebody_above(used in prop::array::uniform6(0..300_u64)) {
            let found = yielding(&used, &PROMISED);
            let first_within = found.iter().position(|want| used[want.lane.index()] <= 100);
            let last_above = found.iter().rposition(|want| {
                want.lane != Lane::Alarm && want.excess == used[want.lane.index()].saturating_sub(100) && used[want.lane.index()] > 100
            });
            // Of those above, what goes below their promise comes after everything above of everybody.
            let above = ORDER.iter().filter(|lane| used[lane.index()] > 100).count();
            prop_assert!(first_within.is_none_or(|at| at >= above), "{found:?} {last_above:?}");
            let alarms: u64 = found.iter().filter(|want| want.lane == Lane::Alarm).map(|want| want.excess).sum();
            prop_assert_eq!(alarms, used[0].saturating_sub(100));
            prop_assert!(found.iter().rposition(|want| want.lane == Lane::Alarm).is_none_or(|at| at + 1 == found.len()));
        }
    }
}
