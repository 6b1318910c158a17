//! A store in memory for the tests of this module: the reference that sealed records, gaps and acks are held against.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::Pages;
use crate::approval::{Approval, ApprovalId};
use crate::ingest::act::{self, Act, Done, Feedback};
use crate::ingest::handout::{Delivered, Denied, Queried};
use crate::ingest::{Ack, AckRefused, Acked, Request, Witness, WitnessRefused};
use crate::model::{Consumer, Epoch, Lane, LineId, Seq};
use crate::privacy::protect::released::Released;
use crate::privacy::release::ShareLine;
use crate::rules::command::Run;
use crate::store::lists::Versions;
use crate::store::reader::{LaneState, Raised, ReadError};
use crate::store::released::Sought;
use crate::store::{GapRow, Heads, Page, StoredRecord};
use crate::wire;

/// The epoch of every fake.
pub(super) const EPOCH: Epoch = Epoch([7; 16]);

/// A line of the share list for these consumers.
pub(super) fn line(id: &str, lane: Lane, consumers: &[&str]) -> ShareLine {
    ShareLine {
        id: id.parse().expect("line id"),
        purpose: "test".into(),
        lane,
        consumers: consumers.iter().map(|name| name.parse().expect("consumer")).collect(),
        metrics: Vec::new(),
        devices: true,
        places: true,
        carries: Vec::new(),
        protect: None,
        approval: "AP-1".into(),
        until_ms: None,
        tier: None,
        granted: vec![],
    }
}

/// A page after position 0 with these (seq, share line) and gaps.
pub(super) fn page(lane: Lane, records: &[(u64, &str)], gaps: &[(u64, u64)], body_bytes: usize) -> Page {
    let records: Vec<StoredRecord> = records
        .iter()
        .map(|(seq, item)| StoredRecord {
            seq: Seq(*seq),
            share_item: item.parse().expect("line id"),
            schema: wire::READINGS.into(),
            body: Bytes::from(vec![b'x'; body_bytes]),
            prev_hash: [0; 32],
            hash: [1; 32],
        })
        .collect();
    let gaps: Vec<GapRow> = gaps.iter().map(|gap| gap_row(*gap)).collect();
    let through = records.last().map(|r| r.seq).max(gaps.last().map(|gap| gap.to)).unwrap_or_default();
    Page { lane, after: Seq(0), records, gaps, through, head: through }
}

fn gap_row((from, to): (u64, u64)) -> GapRow {
    let (first_ms, last_ms) = (Some(1_000), Some(2_000));
    GapRow { from: Seq(from), to: Seq(to), reason: "budget".into(), first_ms, last_ms }
}

#[derive(Debug, Default)]
struct Strip {
    /// By seq - 1; `None` is lost.
    records: Vec<Option<StoredRecord>>,
    hash: [u8; 32],
}

#[derive(Debug, Default)]
struct Inner {
    lanes: [Strip; Lane::ALL.len()],
    acked: HashMap<Consumer, Heads>,
    /// In the order they came; a number is a place here, from 1.
    feedback: Vec<Feedback>,
    delivered: Vec<Delivered>,
    denied: Vec<Denied>,
    witnessed: Vec<Witness>,
    queried: Vec<Queried>,
    sought: Vec<Sought>,
    /// What every query finds; none is too much.
    released: Option<Vec<Released>>,
    versions: Versions,
}

/// The fake store; clones are the same store.
#[derive(Clone, Debug)]
pub(super) struct Fake {
    inner: Arc<Mutex<Inner>>,
    heads: Arc<watch::Sender<Heads>>,
}

impl Fake {
    pub(super) fn new() -> Self {
        Self { inner: Arc::default(), heads: Arc::new(watch::Sender::new(Heads::default())) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no test panics while it holds this")
    }

    /// Seals one record; its position.
    pub(super) fn seal(&self, lane: Lane, item: &str, body: impl Into<Bytes>) -> Seq {
        let mut inner = self.inner();
        let strip = &mut inner.lanes[lane.index()];
        let (seq, body) = (Seq(strip.records.len() as u64 + 1), body.into());
        let prev_hash = strip.hash;
        strip.hash = wire::record_hash(&prev_hash, &wire::record_id(EPOCH, lane, seq), &body);
        let share_item = item.parse().expect("line id");
        let hash = strip.hash;
        let schema = wire::READINGS;
        strip.records.push(Some(StoredRecord {
            seq,
            share_item,
            schema: schema.into(),
            body,
            prev_hash,
            hash,
        }));
        drop(inner);
        self.heads.send_modify(|heads| heads[lane.index()] = seq);
        seq
    }

    /// Loses a range of positions.
    pub(super) fn lose(&self, lane: Lane, from: u64, to: u64) {
        let mut inner = self.inner();
        let strip = &mut inner.lanes[lane.index()];
        for seq in from..=to.min(strip.records.len() as u64) {
            strip.records[seq as usize - 1] = None;
        }
    }

    /// What lies at each position of a lane.
    pub(super) fn sealed(&self, lane: Lane) -> Vec<Option<StoredRecord>> {
        self.inner().lanes[lane.index()].records.clone()
    }

    /// The page after a cursor, as the store would read it.
    pub(super) fn read(&self, lane: Lane, after: Seq, records_max: usize, bytes_max: usize) -> Page {
        let inner = self.inner();
        let strip = &inner.lanes[lane.index()];
        let head = Seq(strip.records.len() as u64);
        let mut page = Page { lane, after, records: vec![], gaps: vec![], through: after, head };
        let mut bytes = 0;
        for (index, slot) in strip.records.iter().enumerate().skip(after.0 as usize) {
            let seq = Seq(index as u64 + 1);
            match slot {
                Some(record) => {
                    bytes += record.body.len();
                    let full = page.records.len() == records_max || bytes > bytes_max;
                    if full && !page.records.is_empty() {
                        break;
                    }
                    page.records.push(record.clone());
                }
                None => match page.gaps.last_mut() {
                    Some(gap) if gap.to.next() == seq => gap.to = seq,
                    _ => page.gaps.push(gap_row((seq.0, seq.0))),
                },
            }
            page.through = seq;
        }
        page
    }

    /// Stores an ack as the writer does.
    pub(super) fn ack(&self, ack: &Ack) -> Result<Acked, AckRefused> {
        let mut inner = self.inner();
        let strip = &inner.lanes[ack.lane.index()];
        let head = Seq(strip.records.len() as u64);
        if ack.epoch != EPOCH {
            return Err(AckRefused::Epoch { ours: EPOCH, theirs: ack.epoch });
        }
        if ack.upto > head {
            return Err(AckRefused::Ahead { lane: ack.lane, upto: ack.upto, head });
        }
        let ours = ack.upto.0.checked_sub(1).and_then(|i| strip.records[i as usize].as_ref());
        let hash_matched = match (ack.head_hash, ours) {
            (Some(theirs), Some(ours)) if theirs != ours.hash => {
                return Err(AckRefused::Hash { lane: ack.lane, upto: ack.upto });
            }
            (theirs, ours) => theirs.is_some() && ours.is_some(),
        };
        let stored = &mut inner.acked.entry(ack.consumer.clone()).or_default()[ack.lane.index()];
        *stored = (*stored).max(ack.upto);
        Ok(Acked { upto: *stored, hash_matched })
    }

    pub(super) fn acked_now(&self, consumer: &str) -> Heads {
        self.inner().acked.get(consumer).copied().unwrap_or_default()
    }

    /// Stores feedback as the writer does.
    fn feed(&self, told: Feedback) -> Result<Done, act::Refused> {
        let mut inner = self.inner();
        let same = |known: &Feedback| known.consumer == told.consumer && known.request == told.request;
        if let Some(at) = inner.feedback.iter().position(same) {
            return Ok(Done::Feedback { id: at as u64 + 1, duplicate: true });
        }
        let record = |seq: usize| wire::record_id(EPOCH, Lane::Alarm, Seq(seq as u64));
        let head = inner.lanes[Lane::Alarm.index()].records.len();
        if !(1..=head).any(|seq| record(seq) == told.record) {
            return Err(act::Refused::Record(told.record));
        }
        inner.feedback.push(told);
        Ok(Done::Feedback { id: inner.feedback.len() as u64, duplicate: false })
    }

    pub(super) fn fed(&self) -> Vec<Feedback> {
        self.inner().feedback.clone()
    }

    /// What the trail has of deliveries.
    pub(super) fn delivered(&self) -> Vec<Delivered> {
        self.inner().delivered.clone()
    }

    /// What the trail has of denials.
    pub(super) fn denied(&self) -> Vec<Denied> {
        self.inner().denied.clone()
    }

    /// What the trail has of queries.
    pub(super) fn queried(&self) -> Vec<Queried> {
        self.inner().queried.clone()
    }

    /// What was sought in the cells that were let out.
    pub(super) fn sought(&self) -> Vec<Sought> {
        self.inner().sought.clone()
    }

    /// From now on queries find this; none is too much.
    pub(super) fn release(&self, released: Option<Vec<Released>>) {
        self.inner().released = released;
    }

    /// From now on the lists have these versions.
    pub(super) fn version(&self, versions: Versions) {
        self.inner().versions = versions;
    }

    /// What consumers keep of the trail.
    pub(super) fn witnessed(&self) -> Vec<Witness> {
        self.inner().witnessed.clone()
    }

    /// A trail whose row n has the hash n, n, n ….
    fn witness(&self, seen: Witness) -> Result<(), WitnessRefused> {
        if seen.head != [seen.size as u8; 32] {
            return Err(WitnessRefused::Fork { size: seen.size });
        }
        self.inner().witnessed.push(seen);
        Ok(())
    }

    fn act(&self, act: Act) -> Result<Done, act::Refused> {
        match act {
            Act::Feedback(told) => return self.feed(told),
            Act::Delivered(delivered) => self.inner().delivered.push(delivered),
            Act::Denied(denied) => self.inner().denied.push(denied),
            Act::Queried(queried) => {
                let mut inner = self.inner();
                inner.queried.push(queried);
                return Ok(Done::Row(inner.queried.len() as u64));
            }
            other => panic!("not of this side: {other:?}"),
        }
        Ok(Done::Noted)
    }

    /// Answers the acks and the feedback of an intake until its senders are gone.
    pub(super) async fn serve(self, mut requests: mpsc::Receiver<Request>) {
        while let Some(request) = requests.recv().await {
            // A caller that has gone does not want the answer.
            match request {
                Request::Ack(ack, reply) => drop(reply.send(self.ack(&ack))),
                Request::Act(act, reply) => drop(reply.send(self.act(act))),
                Request::Witness(seen, reply) => drop(reply.send(self.witness(seen))),
                _ => {}
            }
        }
    }
}

impl Pages for Fake {
    fn epoch(&self) -> Epoch {
        EPOCH
    }
    fn heads(&self) -> watch::Receiver<Heads> {
        self.heads.subscribe()
    }
    async fn page(
        &self,
        lane: Lane,
        after: Seq,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Page, ReadError> {
        Ok(self.read(lane, after, records_max, bytes_max))
    }
    async fn lanes(&self) -> Result<[LaneState; Lane::ALL.len()], ReadError> {
        let inner = self.inner();
        Ok(Lane::ALL.map(|lane| {
            let records = &inner.lanes[lane.index()].records;
            let head = Seq(records.len() as u64);
            let first = records.iter().position(Option::is_some).map_or(head.next(), |i| Seq(i as u64 + 1));
            let lost = records.iter().filter(|slot| slot.is_none()).count() as u64;
            LaneState { first, head, gap_records: lost }
        }))
    }
    async fn acked(&self, consumer: &Consumer) -> Result<Heads, ReadError> {
        Ok(self.acked_now(consumer.as_str()))
    }
    async fn sealed_after(&self, after: Heads) -> Result<[Option<i64>; Lane::ALL.len()], ReadError> {
        let inner = self.inner();
        Ok(Lane::ALL.map(|lane| {
            let (at, records) = (lane.index(), &inner.lanes[lane.index()].records);
            records.iter().skip(after[at].0 as usize).flatten().next().map(|_| 0)
        }))
    }
    async fn raised(&self) -> Result<Vec<Raised>, ReadError> {
        Ok(vec![Raised { alarm: "smoke-high".into(), device: "smoke-3".into(), since_ms: 1_000 }])
    }
    async fn versions(&self, _: [u8; 32]) -> Result<Versions, ReadError> {
        Ok(self.inner().versions.clone())
    }
    async fn released(&self, sought: Sought) -> Result<Option<Vec<Released>>, ReadError> {
        let mut inner = self.inner();
        let found = inner.released.clone();
        inner.sought.push(sought);
        Ok(found)
    }
    async fn spent(&self, _: LineId, _: i64) -> Result<Vec<(u64, u64)>, ReadError> {
        Ok(vec![(1, 2)])
    }
    async fn approval(&self, _: ApprovalId) -> Result<Option<Approval>, ReadError> {
        Ok(None)
    }
    async fn run(&self, _: u64) -> Result<Option<Run>, ReadError> {
        Ok(None)
    }
}
