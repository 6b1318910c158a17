//! The city: one durable store, and instances of a collector in front of it that hold everything else in memory.
//!
//! What it has stored it never forgets; what it has not stored dies with an instance. It acknowledges nothing that is not
//! stored. It may fall over between the records of a batch and its cursor. A new epoch begins only by a reset of its own,
//! and what it has of the old one stays.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use smallbrain::model::{Epoch, Lane};
use smallbrain::share::position::{Broken, Mark, Position};
use smallbrain::share::witness::Book;
use smallbrain::wire::{self, v1};
use v1::streaming_pull_request::Frame as Ask;
use v1::streaming_pull_response::Frame;

use super::Seen;
use super::network::Down;
use super::random::Random;
use super::stream::RECORD_BYTES_MAX;
use super::truth::LANES;

/// Batches that an instance holds before it reads no more.
const RECEIVED_MAX: usize = 6;
/// Acks on the unary path that are under way at most.
const PARKED_MAX: usize = 32;

/// What the city has of a position.
#[derive(Clone, Debug, PartialEq, Default)]
pub(crate) enum Slot {
    #[default]
    Unknown,
    Withheld,
    Lost,
    Record(Bytes),
}

/// One process of the collector, as long as it lives.
pub(crate) struct Instance {
    position: Position,
    book: Book,
    /// Checked, and not stored.
    received: Vec<v1::RecordBatch>,
    left: [(u64, u64); LANES],
    acked: [u64; LANES],
}

#[derive(Default)]
pub(crate) struct City {
    /// Durable.
    pub(crate) position: Position,
    pub(crate) book: Book,
    pub(crate) kept: HashMap<String, [Vec<Slot>; LANES]>,
    /// Volatile, by connection.
    pub(crate) instances: BTreeMap<u64, Instance>,
    /// Acks on their way beside any stream, in no order.
    parked: Vec<v1::CumulativeAck>,
    /// Lanes for which it grants next to nothing.
    pub(crate) starved: [bool; LANES],
}

/// What came of meeting the gateway.
pub(crate) enum Met {
    Known,
    /// The store is another one: the city begins anew, and keeps what it has.
    Reset,
}

impl City {
    /// Hears the gateway's epoch.
    pub(crate) fn meet(&mut self, epoch: Epoch) -> Met {
        match self.position.meet(&epoch.0) {
            Ok(()) => Met::Known,
            Err(Broken::Epoch { .. }) => {
                self.position = Position::default();
                self.position.meet(&epoch.0).expect("a new one knows none");
                self.book = Book::default();
                Met::Reset
            }
            Err(other) => panic!("{other}"),
        }
    }

    /// Up to where it has stored a lane of the present epoch.
    pub(crate) fn stored(&self, lane: Lane) -> u64 {
        self.position.lanes.get(&lane).map_or(0, |mark| mark.seq)
    }

    /// A new instance on this connection; it may have forgotten where it stood in a lane.
    pub(crate) fn start(&mut self, conn: u64, acked: [u64; LANES], random: &mut Random) -> v1::PullOpen {
        for lane in Lane::ALL {
            let mark =
                self.position.lanes.entry(lane).or_insert(Mark { seq: acked[lane.index()], hash: None });
            assert!(mark.seq >= acked[lane.index()], "{lane}: more is acknowledged than the city has stored");
        }
        let mut position = self.position.clone();
        if random.one_in(8) {
            position.lanes.remove(&Lane::ALL[random.below(LANES as u64) as usize]);
        }
        let mut instance = Instance {
            position,
            book: self.book.clone(),
            received: Vec::new(),
            left: Default::default(),
            acked,
        };
        let resume = Lane::ALL.into_iter().filter_map(|lane| instance.position.cursor(lane)).collect();
        let initial_credit = Lane::ALL
            .into_iter()
            .filter_map(|lane| instance.credit(lane, self.starved[lane.index()], random))
            .collect();
        self.instances.insert(conn, instance);
        v1::PullOpen { client_instance: conn.to_string(), resume, initial_credit, ..v1::PullOpen::default() }
    }

    /// Takes what came down; false when the instance is over.
    pub(crate) fn hear(&mut self, conn: u64, down: Down, seen: &mut Seen) -> bool {
        let Some(instance) = self.instances.get_mut(&conn) else { return false };
        match down {
            Down::Frame(v1::StreamingPullResponse { frame: Some(Frame::Batch(batch)) }) => {
                let taken = instance.position.take(&batch).expect("the contract holds");
                let left = &mut instance.left[wire::lane(batch.lane).expect("a lane").index()];
                assert!(taken.records <= left.0 && taken.bytes <= left.1, "more than the city has granted");
                *left = (left.0 - taken.records, left.1 - taken.bytes);
                seen.lost += taken.lost;
                instance.received.push(batch);
                true
            }
            Down::Frame(v1::StreamingPullResponse { frame: Some(Frame::Heartbeat(heartbeat)) }) => {
                if let Some(told) = &heartbeat.audit
                    && let Some(new) = instance.book.look(told).expect("the trail goes on")
                {
                    instance.book.take(new).expect("just looked at");
                }
                true
            }
            Down::Frame(_) => true,
            Down::End(reason) => {
                let may_be = [None, Some("stream_replaced"), Some("not_listed"), Some("epoch_changed")];
                assert!(may_be.contains(&reason), "the stream ended with {reason:?}");
                self.instances.remove(&conn);
                false
            }
        }
    }

    /// Whether the instance reads.
    pub(crate) fn is_open(&self, conn: u64) -> bool {
        self.instances.get(&conn).is_some_and(|instance| instance.received.len() < RECEIVED_MAX)
    }

    /// Stores what an instance has received; it may fall over before the cursor is stored.
    pub(crate) fn store(&mut self, conn: u64, falls: bool, seen: &mut Seen) {
        let stored = Lane::ALL.map(|lane| self.stored(lane));
        let Some(instance) = self.instances.get_mut(&conn) else { return };
        for batch in std::mem::take(&mut instance.received) {
            let (epoch, lane) = (hex(&batch.stream_epoch), wire::lane(batch.lane).expect("a lane"));
            let slots = &mut self.kept.entry(epoch).or_default()[lane.index()];
            // Somebody else has told of these positions since the instance took them.
            let is_alone = stored[lane.index()] < batch.first_seq;
            keep(lane, slots, &batch, is_alone, seen);
        }
        if falls {
            self.instances.clear();
            return;
        }
        if instance.position.epoch != self.position.epoch {
            return;
        }
        for (lane, mark) in &instance.position.lanes {
            let known = self.position.lanes.entry(*lane).or_default();
            if mark.seq > known.seq {
                *known = mark.clone();
            }
        }
        if let Some(newest) = instance.book.newest()
            && self.book.newest().is_none_or(|known| known.head.seq < newest.head.seq)
        {
            self.book.take(newest.clone()).expect("the trail goes on");
        }
    }

    /// An ack of what is stored: on the stream of an instance, or beside it.
    pub(crate) fn ack(&mut self, conn: u64, random: &mut Random) -> Option<Ask> {
        let lane = Lane::ALL[random.below(LANES as u64) as usize];
        let mark = self.position.lanes.get(&lane)?.clone();
        let instance = self.instances.get_mut(&conn)?;
        if instance.position.epoch != self.position.epoch || instance.acked[lane.index()] >= mark.seq {
            return None;
        }
        instance.acked[lane.index()] = mark.seq;
        let head_hash = mark.hash_bytes().filter(|_| random.one_in(2));
        let ack = v1::CumulativeAck {
            upto: self.position.cursor(lane),
            head_hash: head_hash.map(|hash| hash.to_vec()).unwrap_or_default(),
        };
        if random.one_in(3) && self.parked.len() < PARKED_MAX {
            self.parked.push(ack);
            return None;
        }
        Some(Ask::Ack(ack))
    }

    /// One of the acks beside the streams arrives; it may arrive again.
    pub(crate) fn late_ack(&mut self, random: &mut Random) -> Option<v1::CumulativeAck> {
        let at = random.one_of(0..self.parked.len())?;
        Some(if random.one_in(4) { self.parked[at].clone() } else { self.parked.swap_remove(at) })
    }

    /// More credit, where there is room for more.
    pub(crate) fn credit(&mut self, conn: u64, lane: Lane, random: &mut Random) -> Option<Ask> {
        let starved = self.starved[lane.index()];
        self.instances.get_mut(&conn)?.credit(lane, starved, random).map(Ask::Credit)
    }

    /// What the instance keeps of the trail.
    pub(crate) fn witness(&self, conn: u64) -> Option<Ask> {
        let newest = self.instances.get(&conn)?.book.newest()?;
        Some(Ask::Witness(v1::AuditWitness { size: newest.head.seq, head: newest.head.hash.to_vec() }))
    }

    /// Takes the answer of a unary fetch.
    pub(crate) fn fetched(&mut self, batch: &v1::RecordBatch, seen: &mut Seen) {
        let lane = wire::lane(batch.lane).expect("a lane");
        let slots = &mut self.kept.entry(hex(&batch.stream_epoch)).or_default()[lane.index()];
        self.position.take(batch).expect("the contract holds");
        keep(lane, slots, batch, true, seen);
        seen.fetched += 1;
    }
}

impl Instance {
    fn credit(&mut self, lane: Lane, starved: bool, random: &mut Random) -> Option<v1::Credit> {
        let left = &mut self.left[lane.index()];
        let (messages, bytes) = match starved {
            true => (random.below(3), random.below(900)),
            false => (
                (1 + random.below(40)).saturating_sub(left.0),
                (RECORD_BYTES_MAX + random.below(40_000)).saturating_sub(left.1),
            ),
        };
        if messages + bytes == 0 {
            return None;
        }
        *left = (left.0 + messages, left.1 + bytes);
        Some(v1::Credit { lane: wire::lane_number(lane), messages: messages as u32, bytes })
    }
}

/// Puts a batch beside what is kept: bytes never change, a loss is for good unless the city heard of it on another
/// way (`is_alone`: nobody else told of these positions), and what was trimmed is known.
fn keep(lane: Lane, slots: &mut Vec<Slot>, batch: &v1::RecordBatch, is_alone: bool, seen: &mut Seen) {
    let through = batch.through_seq as usize;
    if slots.len() < through {
        slots.resize(through, Slot::Unknown);
    }
    for record in &batch.records {
        let slot = &mut slots[record.seq as usize - 1];
        match slot {
            Slot::Record(before) => {
                assert_eq!(*before, record.body, "{lane} {}: two bytes for one position", record.seq);
                seen.redelivered += 1;
            }
            // A fetch may tell of a loss before a batch of a stream arrives that was cut before it.
            Slot::Lost if !is_alone => *slot = Slot::Record(record.body.clone()),
            Slot::Lost => panic!("{lane} {}: declared lost, and delivered", record.seq),
            _ => *slot = Slot::Record(record.body.clone()),
        }
    }
    for gap in &batch.gaps {
        for seq in gap.from_seq..=gap.to_seq {
            let slot = &mut slots[seq as usize - 1];
            if gap.reason == "trimmed" {
                assert_ne!(*slot, Slot::Unknown, "{lane} {seq}: trimmed, and the city never had it");
            } else if !matches!(slot, Slot::Record(_)) {
                *slot = Slot::Lost;
            }
        }
    }
    for slot in &mut slots[batch.first_seq as usize - 1..through] {
        if *slot == Slot::Unknown {
            *slot = Slot::Withheld;
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
