//! The gateway: the real store behind a writer that commits what is queued, and the streams in front of it.
//!
//! Guarantees, as the real writer gives them: what changes something is answered after its commit; what was queued when
//! the process died is gone; a full disk is made room on and the same requests are tried again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use smallbrain::audit::checkpoint::{Checkpoint, Signer};
use smallbrain::ingest::handout::Delivered;
use smallbrain::model::{Consumer, Lane, Seq, Stamp};
use smallbrain::privacy::release::ShareLine;
use smallbrain::share::batch::InForce;
use smallbrain::share::session::Action;
use smallbrain::store::{Ack, AckRefused, Acked, Settings, Store, StoreError, WitnessRefused};
use smallbrain::wire::{self, Sealed, v1};
use v1::streaming_pull_response::Frame;

use super::network::{Down, Line};
use super::random::Random;
use super::stream::{Reading, Stream};
use super::truth::{self, Era, KINDS, LANES, Permits, Truth};
use super::{CITY, Seen, id};

/// Files of a store, as a crash leaves them.
const FILES: [&str; 3] = ["smallbrain.db", "smallbrain.db-wal", "identity.json"];

/// What waits for the writer.
pub(crate) enum Request {
    Seal(Lane, usize, Sealed),
    Deliver(u64, Delivered),
    /// Of a stream, or of the unary call.
    Ack(Option<u64>, Ack),
    Witness(u64, u64, [u8; 32]),
}

/// What the writer answers.
enum Answer {
    Sealed(Lane, Truth, Seq),
    Delivered(u64, (Lane, u64, u64)),
    Acked(Option<u64>, Ack, Result<Acked, AckRefused>),
    Witnessed(u64, Result<(), WitnessRefused>),
}

pub(crate) struct Gateway {
    root: PathBuf,
    generation: u32,
    store: Option<Store>,
    pub(crate) disk: Disk,
    /// Whether the disk was small at any time.
    may_shed: bool,
    pub(crate) era: Era,
    pub(crate) queue: Vec<Request>,
    pub(crate) streams: BTreeMap<u64, Stream>,
    pub(crate) lines: Vec<ShareLine>,
    pub(crate) permits: Permits,
    pub(crate) force: InForce,
    /// Lines that were revoked at any time.
    pub(crate) ever_revoked: Permits,
    signer: Signer,
    pub(crate) checkpoint: Option<Checkpoint>,
    pub(crate) city: Consumer,
    pub(crate) now: Stamp,
}

impl Gateway {
    pub(crate) fn new(root: &Path, disk: Disk, random: &mut Random, now: Stamp) -> Self {
        let lines = truth::lines();
        let permits = Permits::all();
        let store = open(root.join("0"), disk, random, now);
        Self {
            root: root.to_owned(),
            generation: 0,
            era: Era::new(store.epoch()),
            store: Some(store),
            disk,
            may_shed: disk != Disk::Large,
            queue: Vec::new(),
            streams: BTreeMap::new(),
            force: permits.force(&lines),
            lines,
            ever_revoked: Permits([[false; KINDS]; LANES]),
            permits,
            signer: Signer::from_seed(&[7; 32]).expect("a seed"),
            checkpoint: None,
            city: id(CITY),
            now,
        }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.root.join(self.generation.to_string())
    }

    pub(crate) fn store(&self) -> &Store {
        self.store.as_ref().expect("running")
    }

    pub(crate) fn store_mut(&mut self) -> &mut Store {
        self.store.as_mut().expect("running")
    }

    /// `kill -9`: what is on disk at this instant is all that is left.
    pub(crate) fn kill(&mut self, random: &mut Random) {
        let image = self.root.join("image");
        copy(&self.data(), &image);
        self.start_from(&image, None, random);
        std::fs::remove_dir_all(image).expect("removed");
    }

    /// Ends the process and starts another on a copy of these files; `identity` replaces the file beside the database.
    pub(crate) fn start_from(&mut self, image: &Path, identity: Option<Vec<u8>>, random: &mut Random) {
        self.queue.clear();
        self.streams.clear();
        self.store = None;
        std::fs::remove_dir_all(self.data()).expect("removed");
        self.generation += 1;
        copy(image, &self.data());
        if let Some(identity) = identity {
            std::fs::write(self.data().join("identity.json"), identity).expect("written");
        }
        let store = open(self.data(), self.disk, random, self.now);
        self.checkpoint = store.checkpoint().expect("a checkpoint or none");
        self.store = Some(store);
    }

    /// Nothing that was answered is gone after a start.
    pub(crate) fn check_start(&self) {
        assert_eq!(self.store().epoch(), self.era.epoch, "a start is no fork");
        for lane in Lane::ALL {
            assert_eq!(
                self.store().heads()[lane.index()].0,
                self.era.head(lane),
                "{lane}: committed records"
            );
            let acked = self.store().acked(&self.city, lane).expect("an ack");
            assert_eq!(acked.0, self.era.acked[lane.index()], "{lane}: committed acks");
        }
    }

    pub(crate) fn permit(&mut self, permits: Permits) {
        self.permits = permits;
        for (ever, now) in self.ever_revoked.0.iter_mut().flatten().zip(permits.0.iter().flatten()) {
            *ever |= !now;
        }
        self.force = permits.force(&self.lines);
        self.streams.values_mut().for_each(|stream| stream.seen_permits.push(permits));
    }

    pub(crate) fn seal(&mut self, lane: Lane, kind: usize, number: u64, length: usize) {
        let line = &self.lines[lane.index() * KINDS + kind];
        let sealed = truth::record(line, number, length, self.now.wall_ms);
        self.queue.push(Request::Seal(lane, kind, sealed));
    }

    /// One transaction of all that is queued. `dies`: before the commit, or after it and before any answer.
    pub(crate) fn write(
        &mut self,
        dies: Option<bool>,
        random: &mut Random,
        lines: &mut Lines,
        seen: &mut Seen,
    ) {
        let image = self.root.join("image");
        let (data, now) = (self.data(), self.now);
        let store = self.store.as_mut().expect("running");
        let answers = match transaction(store, &self.queue, &data, &image, (dies == Some(false), now)) {
            Ok(answers) => answers,
            Err(error) => {
                assert!(error.is_passing(), "{error}");
                seen.full += 1;
                return self.make_room(seen);
            }
        };
        if dies == Some(false) {
            self.start_from(&image, None, random);
            std::fs::remove_dir_all(image).expect("removed");
            return self.check_start();
        }
        self.queue.clear();
        seen.commits += 1;
        let streams: Vec<Answer> =
            answers.into_iter().filter_map(|answer| self.durable(answer, seen)).collect();
        if dies == Some(true) {
            self.kill(random);
            return self.check_start();
        }
        for answer in streams {
            self.answer(answer);
        }
        let heads = self.store().heads();
        for stream in self.streams.values_mut() {
            stream.heads = heads;
            stream.session.heads(&heads);
        }
        self.pump_all(lines, seen);
    }

    /// What is on disk is true from now on; gives back what a stream waits for.
    fn durable(&mut self, answer: Answer, seen: &mut Seen) -> Option<Answer> {
        match answer {
            Answer::Sealed(lane, truth, seq) => {
                self.era.sealed[lane.index()].push(truth);
                assert_eq!(seq.0, self.era.head(lane), "{lane}: positions are dense");
                seen.records += 1;
                None
            }
            Answer::Acked(_, ref ack, Ok(acked)) => {
                let known = &mut self.era.acked[ack.lane.index()];
                assert_eq!(acked.upto.0, ack.upto.0.max(*known), "{}: an ack goes back", ack.lane);
                *known = acked.upto.0;
                Some(answer)
            }
            Answer::Acked(None, ref ack, Err(refused)) => {
                assert!(matches!(refused, AckRefused::Epoch { .. }), "{ack:?}: {refused}");
                seen.late_acks += 1;
                None
            }
            other => Some(other),
        }
    }

    /// Tells a stream what it waits for, if it is still there.
    fn answer(&mut self, answer: Answer) {
        match answer {
            Answer::Delivered(conn, row) => {
                if let Some(stream) = self.streams.get_mut(&conn) {
                    stream.row = Some(row);
                    stream.session.delivered();
                }
            }
            Answer::Acked(Some(conn), _, answer) => {
                if let Some(stream) = self.streams.get_mut(&conn) {
                    stream.session.acked(answer);
                }
            }
            Answer::Witnessed(conn, answer) => {
                if let Some(stream) = self.streams.get_mut(&conn) {
                    stream.session.witnessed(answer);
                }
            }
            Answer::Sealed(..) | Answer::Acked(None, ..) => {}
        }
    }

    pub(crate) fn pump_all(&mut self, lines: &mut Lines, seen: &mut Seen) {
        let all: Vec<u64> = self.streams.keys().copied().collect();
        all.into_iter().for_each(|conn| self.pump(conn, lines, seen));
    }

    /// Does what the session of a stream asks for until it asks for nothing.
    pub(crate) fn pump(&mut self, conn: u64, lines: &mut Lines, seen: &mut Seen) {
        let (store, now) = (self.store.as_ref().expect("running"), self.now);
        let (Some(stream), Some(line)) = (self.streams.get_mut(&conn), lines.get_mut(&conn)) else { return };
        while let Some(action) = stream.session.poll(line.has_room(), &self.force, now) {
            match action {
                Action::Read { lane, after, records_max, bytes_max } => {
                    let reading = Reading { lane, after, records_max, bytes_max, page: None };
                    stream.reads(reading, &self.permits);
                }
                Action::Deliver(delivered) => {
                    assert!(stream.cut_under.replace(self.permits).is_none(), "one row at a time");
                    stream.cuts(delivered.lane);
                    self.queue.push(Request::Deliver(conn, delivered));
                }
                Action::Ack(ack) => self.queue.push(Request::Ack(Some(conn), ack)),
                Action::Witness { size, head } => self.queue.push(Request::Witness(conn, size, head)),
                Action::Use(id) => panic!("{id}: no line has a tier"),
                Action::Send(frame) => {
                    assert!(line.has_room(), "a frame without room");
                    match &frame.frame {
                        Some(Frame::Batch(batch)) => {
                            seen.batches += 1;
                            seen.withheld += batch.withheld;
                            let (alarms, floors) = (stream.alarms_first, stream.floors);
                            stream.sends(batch, &self.era, store, self.permits, self.may_shed);
                            seen.alarms_first += stream.alarms_first - alarms;
                            seen.floors += stream.floors - floors;
                        }
                        Some(Frame::AckConfirmation(confirmed)) => {
                            let upto = confirmed.upto.as_ref().expect("a position");
                            let lane = wire::lane(upto.lane).expect("a lane");
                            let stored = store.acked(&self.city, lane).expect("an ack");
                            assert!(stored.0 >= upto.seq, "{lane}: {} is confirmed and not stored", upto.seq);
                        }
                        _ => {}
                    }
                    line.send_down(Down::Frame(frame));
                }
                Action::End(end) => {
                    let reason = end.as_ref().err().map(|refused| refused.reason());
                    if reason == Some("stream_replaced") {
                        seen.replaced += 1;
                    }
                    line.send_down(Down::End(reason));
                    self.streams.remove(&conn);
                    return;
                }
            }
        }
    }

    /// On a full disk; where there is nothing that may go, the writer waits.
    fn make_room(&mut self, seen: &mut Seen) {
        seen.full += 1;
        let now = self.now;
        let store = self.store_mut();
        store.at(now);
        match store.make_room() {
            Ok(_) => {}
            Err(error) => {
                assert!(error.is_passing(), "{error}");
                // One lane full of what may go is enough to go on.
                let may_go = [Lane::Bulk, Lane::Aggregate, Lane::Event];
                let count = |lane| store.page(lane, Seq(0), 100, 1 << 30).expect("a page").records.len();
                assert!(
                    may_go.into_iter().all(|lane| count(lane) < 100),
                    "no room is made though much may go"
                );
            }
        }
    }

    /// A step of upkeep, with what every consumer has; a lane in which the city holds no line is kept for it.
    pub(crate) fn tidy(&mut self, seen: &mut Seen) {
        let acked = Lane::ALL.map(|lane| self.permits.lane(lane).then(|| Seq(self.era.acked[lane.index()])));
        let now = self.now;
        let upkeep = smallbrain::store::Upkeep { acked, expire_before_ms: now.wall_ms - 600_000 };
        let store = self.store_mut();
        store.at(now);
        match store.tidy(&upkeep) {
            Ok(_) => {}
            Err(error) if error.is_passing() => self.make_room(seen),
            Err(error) => panic!("{error}"),
        }
        let store = self.store_mut();
        store.checkpoint_if_due().expect("checkpointed");
        let keep = smallbrain::store::Keep { age_ms: i64::MAX, bytes_max: 96 << 10, witnessed: None };
        match store.trim_audit(&keep, now) {
            Ok(_) => {}
            Err(error) => assert!(error.is_passing(), "{error}"),
        }
        seen.tidied += 1;
    }

    /// Signs the newest position of the trail and tells every stream.
    pub(crate) fn sign(&mut self) {
        let now = self.now;
        let (name, head) = (self.store().trail().to_vec(), self.store().audit_head());
        if head.seq == 0 {
            return;
        }
        let made = self.signer.sign(&name, head, now.wall_ms);
        let mut txn = self.store_mut().begin().expect("a transaction");
        let is_kept = txn.checkpoint(&made).and_then(|()| txn.commit());
        if is_kept.is_ok() {
            self.streams.values_mut().for_each(|stream| stream.session.checkpoint(Some(&made)));
            self.checkpoint = Some(made);
        }
    }
}

pub(crate) type Lines = BTreeMap<u64, Line>;

/// How much room there is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Disk {
    Large,
    /// Upkeep sheds, long before it is full.
    Tight,
    /// It gets full before upkeep comes.
    Full,
}

fn open(dir: PathBuf, disk: Disk, random: &mut Random, now: Stamp) -> Store {
    let (bytes_max, reserve_bytes) = match disk {
        Disk::Large => (1 << 30, 64 << 10),
        Disk::Tight => (3 << 20, 2 << 20),
        Disk::Full => (1200 << 10, 0),
    };
    let settings = Settings {
        dir,
        bytes_max,
        reserve_bytes,
        group_window: Duration::ZERO,
        retention: Duration::from_secs(600),
        promises: smallbrain::store::room::Promises::of(bytes_max - reserve_bytes),
    };
    let entropy = std::array::from_fn(|_| random.next() as u8);
    Store::open(settings, entropy, now).expect("the store opens")
}

pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for name in FILES {
        if from.join(name).exists() {
            std::fs::copy(from.join(name), to.join(name)).expect("a copy");
        }
    }
}

/// What is queued in one transaction; where the process dies before the commit, `image` is what is left.
fn transaction(
    store: &mut Store,
    queue: &[Request],
    data: &Path,
    image: &Path,
    (dies, now): (bool, Stamp),
) -> Result<Vec<Answer>, StoreError> {
    let mut answers = Vec::with_capacity(queue.len());
    let mut txn = store.begin()?;
    for request in queue {
        answers.push(match request {
            Request::Seal(lane, kind, sealed) => {
                let seq = txn.seal(*lane, sealed, now.wall_ms)?;
                Answer::Sealed(*lane, Truth { kind: *kind, body: sealed.body().clone() }, seq)
            }
            Request::Deliver(conn, delivered) => {
                txn.audit(&delivered.entry(), now)?;
                Answer::Delivered(*conn, (delivered.lane, delivered.from.0, delivered.to.0))
            }
            Request::Ack(conn, ack) => Answer::Acked(*conn, ack.clone(), txn.ack(ack)?),
            Request::Witness(conn, size, head) => {
                Answer::Witnessed(*conn, txn.witnessed(&id(CITY), *size, head, now)?)
            }
        });
    }
    if dies {
        copy(data, image);
    } else {
        txn.commit()?;
    }
    Ok(answers)
}
