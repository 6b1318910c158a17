//! One stream at the gateway: the real session, and what has to hold of everything that it asks for and sends.
//!
//! Held at every frame: dense positions, true bytes, only what the share list permitted when the batch was cut, only true
//! gaps, the row of the trail before the batch, credit, bounds, urgency, and the floor of the lanes that wait.

use std::collections::BTreeMap;

use smallbrain::model::{Lane, Seq};
use smallbrain::share::batch::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX};
use smallbrain::share::session::Session;
use smallbrain::store::{Heads, Page, Store};
use smallbrain::wire::{self, v1};

use super::truth::{Era, LANES, Permits};

/// A lane that waits gets at least one batch in so many.
const FLOOR: u32 = 16;
/// A lane passed over so often may go before an alarm: the floor of all five others.
const WAITED: u32 = 11;
/// Credit that is enough for any record.
pub(crate) const RECORD_BYTES_MAX: u64 = 80_000;

/// A read that the session waits for.
pub(crate) struct Reading {
    pub(crate) lane: Lane,
    pub(crate) after: Seq,
    pub(crate) records_max: usize,
    pub(crate) bytes_max: usize,
    /// Read, and not handed over yet.
    pub(crate) page: Option<Page>,
}

/// A stream, and its ledger.
pub(crate) struct Stream {
    pub(crate) session: Session,
    pub(crate) reading: Option<Reading>,
    /// The row of the batch that leaves next is in the trail: lane, first, last.
    pub(crate) row: Option<(Lane, u64, u64)>,
    /// What was permitted when that batch was cut.
    pub(crate) cut_under: Option<Permits>,
    /// What was permitted at any time since the last batch.
    pub(crate) seen_permits: Vec<Permits>,
    pub(crate) heads: Heads,
    cursor: [u64; LANES],
    granted: [(u64, u64); LANES],
    used: [(u64, u64); LANES],
    /// Reads of others since the last one of the lane that led to a batch.
    waited: [u32; LANES],
    /// Batches of others while the lane was ready.
    passed: [u32; LANES],
    /// The lane that was read last and not cut yet, and how long it had waited.
    chosen: Option<(usize, u32)>,
    /// The lane of the batch that was cut and has not left.
    leaving: Option<Lane>,
    is_floor_read: bool,
    is_floor_batch: bool,
    /// Batches that went before an alarm without being any lane's floor.
    before_alarm: u32,
    /// Alarms that went before a backlog of bulk.
    pub(crate) alarms_first: u64,
    /// Batches of a lane that had waited for long.
    pub(crate) floors: u64,
}

impl Stream {
    pub(crate) fn new(
        session: Session,
        heads: Heads,
        cursor: [u64; LANES],
        open: &v1::PullOpen,
        permits: Permits,
    ) -> Self {
        let mut stream = Self {
            session,
            reading: None,
            row: None,
            cut_under: None,
            seen_permits: vec![permits],
            heads,
            cursor,
            granted: Default::default(),
            used: Default::default(),
            waited: Default::default(),
            passed: Default::default(),
            chosen: None,
            leaving: None,
            is_floor_read: false,
            is_floor_batch: false,
            before_alarm: 0,
            alarms_first: 0,
            floors: 0,
        };
        open.initial_credit.iter().for_each(|credit| stream.grant(credit));
        stream
    }

    pub(crate) fn grant(&mut self, credit: &v1::Credit) {
        let granted = &mut self.granted[wire::lane(credit.lane).expect("a lane").index()];
        *granted = (granted.0 + u64::from(credit.messages), granted.1 + credit.bytes);
    }

    /// The session asks for a page.
    pub(crate) fn reads(&mut self, reading: Reading, permits: &Permits) {
        assert!(self.reading.is_none(), "one read at a time");
        assert!(
            reading.records_max <= BATCH_RECORDS_MAX && reading.bytes_max <= BATCH_BYTES_MAX,
            "a read is bounded"
        );
        let at = reading.lane.index();
        let left = self.granted[at].0 - self.used[at].0;
        assert!(reading.records_max as u64 <= left, "{}: a read beyond the credit", reading.lane);
        // A page that was read and not cut gave way: its lane has waited on.
        if let Some((lane, waited)) = self.chosen.take() {
            self.waited[lane] = waited;
        }
        let waited = std::mem::take(&mut self.waited[at]);
        self.chosen = Some((at, waited));
        self.is_floor_read = waited >= WAITED;
        let is_alarm_due = self.leaving != Some(Lane::Alarm) && self.is_ready(Lane::Alarm, permits);
        assert!(
            reading.lane == Lane::Alarm || !is_alarm_due || self.is_floor_read,
            "an alarm is due, and {} is read",
            reading.lane
        );
        (0..LANES).filter(|lane| *lane != at).for_each(|lane| self.waited[lane] += 1);
        self.reading = Some(reading);
    }

    /// A batch of this lane was cut.
    pub(crate) fn cuts(&mut self, lane: Lane) {
        (self.chosen, self.leaving) = (None, Some(lane));
        self.is_floor_batch = self.is_floor_read;
    }

    fn is_ready(&self, lane: Lane, permits: &Permits) -> bool {
        let at = lane.index();
        permits.lane(lane)
            && self.cursor[at] < self.heads[at].0
            && self.granted[at].0 > self.used[at].0
            && self.granted[at].1 - self.used[at].1 >= RECORD_BYTES_MAX
    }

    /// A batch leaves.
    pub(crate) fn sends(
        &mut self,
        batch: &v1::RecordBatch,
        era: &Era,
        store: &Store,
        permits: Permits,
        may_shed: bool,
    ) {
        let lane = wire::lane(batch.lane).expect("a lane");
        let at = lane.index();
        if self.cut_under.is_none() {
            self.cuts(lane);
        }
        self.orders(lane, &permits);
        assert_eq!(batch.stream_epoch, era.epoch.0, "the epoch");
        assert_eq!(batch.first_seq, self.cursor[at] + 1, "{lane}: a batch goes on where the last one ended");
        assert!(
            batch.through_seq >= batch.first_seq && batch.through_seq <= era.head(lane),
            "{lane}: a span"
        );
        self.cursor[at] = batch.through_seq;
        self.bounds(lane, batch);
        self.permitted(lane, batch, era);
        for gap in &batch.gaps {
            is_true(lane, gap, era, store, may_shed);
        }
        if let (Some(first), Some(last)) = (batch.records.first(), batch.records.last()) {
            let row = self.row.take();
            assert_eq!(
                row,
                Some((lane, first.seq, last.seq)),
                "{lane}: the trail has the batch before it leaves"
            );
        }
        self.leaving = None;
        (self.cut_under, self.seen_permits) = (None, vec![permits]);
    }

    fn bounds(&mut self, lane: Lane, batch: &v1::RecordBatch) {
        let bytes: u64 = batch.records.iter().map(|record| record.body.len() as u64).sum();
        let records = batch.records.len() as u64;
        assert!(records <= BATCH_RECORDS_MAX as u64, "{lane}: {records} records in a batch");
        assert!(bytes <= BATCH_BYTES_MAX as u64 || records == 1, "{lane}: {bytes} bytes in a batch");
        let (granted, used) = (self.granted[lane.index()], &mut self.used[lane.index()]);
        *used = (used.0 + records, used.1 + bytes);
        assert!(used.0 <= granted.0 && used.1 <= granted.1, "{lane}: {used:?} of a credit of {granted:?}");
    }

    /// Every position is a record as it was sealed, in a gap, or withheld because no line let it out.
    fn permitted(&self, lane: Lane, batch: &v1::RecordBatch, era: &Era) {
        let records: BTreeMap<u64, &v1::Record> =
            batch.records.iter().map(|record| (record.seq, record)).collect();
        for seq in batch.first_seq..=batch.through_seq {
            let truth = era.at(lane, seq);
            let is_gap = batch.gaps.iter().any(|gap| (gap.from_seq..=gap.to_seq).contains(&seq));
            let under = |permits: &Permits| permits.is_permitted(lane, truth.kind) && permits.lane(lane);
            match records.get(&seq) {
                Some(record) => {
                    assert_eq!(record.body, truth.body, "{lane} {seq}: other bytes than were sealed");
                    let is_permitted = self.cut_under.as_ref().is_some_and(under);
                    assert!(is_permitted, "{lane} {seq}: kind {} left without a line", truth.kind);
                }
                None if is_gap => {}
                None => {
                    let all =
                        self.cut_under.iter().chain(self.seen_permits.iter().filter(|_| records.is_empty()));
                    let is_denied = all.into_iter().any(|permits| !under(permits));
                    assert!(is_denied, "{lane} {seq}: kind {} withheld though its line holds", truth.kind);
                }
            }
        }
    }

    /// Alarms first, and nobody waits for ever.
    fn orders(&mut self, sent: Lane, permits: &Permits) {
        for lane in Lane::ALL {
            let waits = lane != sent && self.is_ready(lane, permits);
            let was = self.passed[lane.index()];
            let passed = &mut self.passed[lane.index()];
            *passed = if waits { *passed + 1 } else { 0 };
            assert!(*passed <= FLOOR, "{lane}: passed over {passed} times");
            self.floors += u64::from(!waits && lane == sent && was >= FLOOR / 2);
        }
        if self.passed[Lane::Alarm.index()] == 0 {
            // What counts is an alarm that had to get past a backlog.
            self.alarms_first += u64::from(sent == Lane::Alarm && self.is_ready(Lane::Bulk, permits));
            self.before_alarm = 0;
        } else if !self.is_floor_batch {
            self.before_alarm += 1;
            assert!(
                self.before_alarm <= 1,
                "an alarm waits for more than the batch on its way: {sent} goes before it"
            );
        }
    }
}

/// A gap says only what is so.
fn is_true(lane: Lane, gap: &v1::Gap, era: &Era, store: &Store, may_shed: bool) {
    let v1::Gap { from_seq, to_seq, reason, lost_records, .. } = gap;
    let what = format!("{lane}: gap {from_seq} to {to_seq}, {reason}");
    assert_eq!(*lost_records, to_seq + 1 - from_seq, "{what}");
    match reason.as_str() {
        "budget" => {
            // The first page speaks for everything up to the oldest record there is.
            let first = store.page(lane, Seq(0), 1, 1).expect("a page").through.0;
            assert!(may_shed && lane != Lane::Alarm && *to_seq <= first, "{what}: it is there");
        }
        "purged" => {
            let purged = &era.purged[lane.index()];
            assert!((*from_seq..=*to_seq).all(|seq| purged.contains(&seq)), "{what}: it was not");
        }
        "trimmed" => assert!(*to_seq <= era.acked[lane.index()], "{what}: it is not acknowledged"),
        _ => panic!("{what}: nothing of the kind happened"),
    }
}
