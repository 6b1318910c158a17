//! Gateway, network and city under one seed: which step is next, and the faults.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use smallbrain::model::{Lane, Seq, Stamp};
use smallbrain::share::batch::{Wanted, cut};
use smallbrain::share::session::{Session, Stand, parse_ack};
use smallbrain::wire::v1;
use v1::streaming_pull_request::Frame as Ask;

use super::city::{City, Met};
use super::gateway::{Disk, Gateway, Lines, Request};
use super::network::{Down, Line};
use super::random::Random;
use super::restore::Copy;
use super::stream::Stream;
use super::truth::{KINDS, LANES, OTHERS, PURGEABLE, REVOCABLE};
use super::{Seen, id};

/// Steps that are told when a seed fails.
const TOLD: usize = 40;
/// Records of a lane that wait at most: what comes on top is not made.
const BACKLOG_MAX: u64 = 1500;

/// The newest steps, outside of the world that may fall over.
pub(crate) type Trace = Arc<Mutex<VecDeque<String>>>;

pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) gateway: Gateway,
    pub(crate) city: City,
    pub(crate) lines: Lines,
    pub(crate) copy: Option<Copy>,
    pub(crate) seen: Seen,
    trace: Trace,
    pub(crate) step: u64,
    connections: u64,
    storm: Option<Lane>,
    pub(crate) numbers: u64,
    pub(crate) root: std::path::PathBuf,
}

impl World {
    pub(crate) fn new(seed: u64, root: &Path, trace: Trace) -> Self {
        let mut random = Random(seed);
        let now = Stamp { wall_ms: 1_790_000_000_000, mono_ms: 1 };
        let disk = [Disk::Large, Disk::Large, Disk::Tight, Disk::Full][random.below(4) as usize];
        let gateway = Gateway::new(root, disk, &mut random, now);
        Self {
            random,
            gateway,
            city: City::default(),
            lines: Lines::new(),
            copy: None,
            seen: Seen::default(),
            trace,
            step: 0,
            connections: 0,
            storm: None,
            numbers: 0,
            root: root.to_owned(),
        }
    }

    pub(crate) fn tell(&self, what: impl FnOnce() -> String) {
        let mut trace = self.trace.lock().unwrap_or_else(PoisonError::into_inner);
        if trace.len() == TOLD {
            trace.pop_front();
        }
        trace.push_back(format!("{:>6} {}", self.step, what()));
    }

    fn lane(&mut self) -> Lane {
        Lane::ALL[self.random.below(LANES as u64) as usize]
    }

    /// One random step.
    pub(crate) fn act(&mut self) {
        self.step += 1;
        let forward = self.random.below(if self.random.0.is_multiple_of(64) { 30_000 } else { 200 });
        self.gateway.now.wall_ms += forward as i64;
        self.gateway.now.mono_ms += forward;
        match self.random.below(1000) {
            0..90 => self.seal(),
            90..330 => self.write(),
            330..560 => self.read(),
            560..740 => self.down(),
            740..820 => self.up(),
            820..865 => self.store(),
            865..895 => self.ack(),
            895..930 => self.credit(),
            930..938 => self.late_ack(),
            938..964 => self.connect_if_none(),
            964..969 => self.fetch(),
            969..983 => self.tidy(),
            983..987 => self.sign(),
            987 => self.witness(),
            _ => self.fault(),
        }
    }

    fn fault(&mut self) {
        match self.random.below(40) {
            0..5 => self.cut(false),
            5..9 => self.cut(true),
            9..12 => self.learn(),
            12..14 => self.kill_gateway(),
            14..17 => self.kill_city(),
            17..19 => self.connect(),
            19..24 => self.revoke(),
            24..29 => self.starve(),
            29..31 => self.purge(),
            31..33 => self.drain(),
            33..35 if self.copy.is_none() => self.keep_copy(),
            35..37 if self.random.one_in(2) => self.restore(),
            37 => {
                self.storm = [None, Some(Lane::Alarm), Some(Lane::Event)][self.random.below(3) as usize];
                self.seen.storms += u64::from(self.storm.is_some());
            }
            _ => self.learn(),
        }
    }

    fn seal(&mut self) {
        for _ in 0..=self.random.below(14) {
            let lane = match self.random.below(4) {
                // In a storm one lane has news all the time.
                0 | 1 if self.storm.is_some() => self.storm.unwrap_or(Lane::Alarm),
                0 | 1 => Lane::Bulk,
                _ => self.lane(),
            };
            let waiting = self.gateway.era.head(lane) - self.gateway.era.acked[lane.index()];
            if waiting >= BACKLOG_MAX || self.gateway.queue.len() >= 256 {
                continue;
            }
            let kind = [0, 0, 0, REVOCABLE, OTHERS, PURGEABLE][self.random.below(6) as usize];
            let length = match (lane, self.random.below(400)) {
                (Lane::Bulk, 0) => 70_000,
                (Lane::Bulk, 1..100) => self.random.below(3_000),
                _ => self.random.below(300),
            };
            self.numbers += 1;
            self.gateway.seal(lane, kind, self.numbers, length as usize);
        }
        self.tell(|| format!("seal: {} requests wait", self.gateway.queue.len()));
    }

    pub(crate) fn write(&mut self) {
        let dies = match self.random.below(1200) {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        };
        self.tell(|| format!("write {} requests, dies: {dies:?}", self.gateway.queue.len()));
        if dies.is_some() {
            self.seen.kills += 1;
            self.hang_up();
        }
        let Self { gateway, random, lines, seen, .. } = self;
        gateway.write(dies, random, lines, seen);
    }

    /// A read of some stream is made, or its page arrives.
    pub(crate) fn read(&mut self) {
        let Self { gateway, random, .. } = self;
        let waiting: Vec<u64> = gateway
            .streams
            .iter()
            .filter(|(_, stream)| stream.reading.is_some())
            .map(|(conn, _)| *conn)
            .collect();
        let Some(conn) = random.one_of(waiting.into_iter()) else { return };
        let is_slow = random.one_in(6);
        let store = gateway.store();
        let reading = gateway.streams[&conn].reading.as_ref().expect("it reads");
        let read = || {
            store.page(reading.lane, reading.after, reading.records_max, reading.bytes_max).expect("a page")
        };
        let page = reading.page.clone().unwrap_or_else(read);
        assert!(page.records.len() <= reading.records_max, "a page is bounded");
        let stream = gateway.streams.get_mut(&conn).expect("just seen");
        if is_slow {
            stream.reading.as_mut().expect("it reads").page = Some(page);
            return;
        }
        let told = format!("page of {} to stream {conn}: {} to {}", page.lane, page.after, page.through);
        stream.reading = None;
        stream.session.page(page);
        self.tell(|| told);
        self.pump(conn);
    }

    pub(crate) fn pump(&mut self, conn: u64) {
        let Self { gateway, lines, seen, .. } = self;
        gateway.pump(conn, lines, seen);
    }

    /// A frame reaches the city, or the end of the line does.
    pub(crate) fn down(&mut self) {
        let city = &self.city;
        let is_due = |(conn, line): &(&u64, &Line)| {
            let is_over = line.is_cut && line.city_knows || !city.instances.contains_key(conn);
            is_over || !line.down.is_empty() && city.is_open(**conn)
        };
        let due: Vec<u64> = self.lines.iter().filter(is_due).map(|(conn, _)| *conn).collect();
        let Some(conn) = self.random.one_of(due.into_iter()) else { return };
        let line = self.lines.get_mut(&conn).expect("just seen");
        if !self.city.is_open(conn) {
            if !self.city.instances.contains_key(&conn) {
                self.forget(conn);
            }
            return;
        }
        match line.down.pop_front() {
            Some(down) => {
                let told = match &down {
                    Down::Frame(frame) => brief(frame),
                    Down::End(reason) => format!("end {reason:?}"),
                };
                self.tell(|| format!("to city {conn}: {told}"));
                if !self.city.hear(conn, down, &mut self.seen) {
                    self.forget(conn);
                }
                self.pump(conn);
            }
            None if line.is_cut && line.city_knows => {
                self.city.instances.remove(&conn);
                self.forget(conn);
            }
            None => {}
        }
    }

    /// The city's end is gone; the gateway may not know.
    fn forget(&mut self, conn: u64) {
        if let Some(line) = self.lines.get_mut(&conn) {
            line.is_cut = true;
            line.down.clear();
            line.gateway_knows |= !self.random.one_in(3);
            if !self.gateway.streams.contains_key(&conn) {
                self.lines.remove(&conn);
            }
        }
    }

    /// A frame reaches the gateway, or the end of the line does.
    pub(crate) fn up(&mut self) {
        let is_due = |(_, line): &(&u64, &Line)| !line.up.is_empty() || line.gateway_knows;
        let due: Vec<u64> = self.lines.iter().filter(is_due).map(|(conn, _)| *conn).collect();
        let Some(conn) = self.random.one_of(due.into_iter()) else { return };
        let line = self.lines.get_mut(&conn).expect("just seen");
        let Some(frame) = line.up.pop_front() else {
            if line.gateway_knows {
                self.gateway.streams.remove(&conn);
                if !self.city.instances.contains_key(&conn) {
                    self.lines.remove(&conn);
                }
            }
            return;
        };
        self.tell(|| format!("to gateway from {conn}: {}", asked(&frame)));
        if let Some(Ask::Open(open)) = frame.frame {
            return self.accept(conn, open);
        }
        let Some(stream) = self.gateway.streams.get_mut(&conn) else { return };
        if let Some(Ask::Credit(credit)) = &frame.frame {
            stream.grant(credit);
        }
        stream.session.frame(frame);
        self.pump(conn);
    }

    /// The gateway's side of a new stream; the older one ends.
    fn accept(&mut self, conn: u64, open: v1::PullOpen) {
        let Gateway { era, now, permits, .. } = &self.gateway;
        let (heads, acked) = (self.gateway.store().heads(), era.acked);
        let stand = Stand { epoch: era.epoch, heads, acked: acked.map(Seq) };
        let consumer = self.gateway.city.clone();
        match Session::open(consumer, open.clone(), stand, &self.gateway.force, *now) {
            Ok(mut session) => {
                let mut cursor = acked;
                for told in &open.resume {
                    cursor[smallbrain::wire::lane(told.lane).expect("a lane").index()] = told.seq;
                }
                session.checkpoint(self.gateway.checkpoint.as_ref());
                let stream = Stream::new(session, heads, cursor, &open, *permits);
                for older in self.gateway.streams.values_mut() {
                    older.session.end(Err(smallbrain::share::refused::Refused::Replaced));
                }
                self.gateway.streams.insert(conn, stream);
                let Self { gateway, lines, seen, .. } = self;
                gateway.pump_all(lines, seen);
            }
            Err(refused) => {
                self.lines
                    .get_mut(&conn)
                    .expect("it came this way")
                    .send_down(Down::End(Some(refused.reason())));
            }
        }
    }

    pub(crate) fn store(&mut self) {
        let Some(conn) = self.random.one_of(self.city.instances.keys().copied()) else { return };
        let falls = self.random.one_in(300);
        self.tell(|| format!("city {conn} stores, falls: {falls}"));
        self.city.store(conn, falls, &mut self.seen);
        self.seen.falls += u64::from(falls);
    }

    pub(crate) fn ack(&mut self) {
        let Some(conn) = self.random.one_of(self.city.instances.keys().copied()) else { return };
        let ack = self.city.ack(conn, &mut self.random);
        self.ask(conn, ack);
    }

    pub(crate) fn credit(&mut self) {
        let Some(conn) = self.random.one_of(self.city.instances.keys().copied()) else { return };
        for lane in Lane::ALL {
            let credit = self.city.credit(conn, lane, &mut self.random);
            self.ask(conn, credit);
        }
    }

    fn witness(&mut self) {
        let Some(conn) = self.random.one_of(self.city.instances.keys().copied()) else { return };
        let witness = self.city.witness(conn);
        self.ask(conn, witness);
    }

    fn ask(&mut self, conn: u64, ask: Option<Ask>) {
        if let (Some(line), Some(ask)) = (self.lines.get_mut(&conn), ask) {
            line.send_up(ask);
        }
    }

    pub(crate) fn late_ack(&mut self) {
        let Some(ack) = self.city.late_ack(&mut self.random) else { return };
        self.tell(|| format!("unary ack {ack:?}"));
        match parse_ack(self.gateway.city.clone(), &ack, self.gateway.era.epoch) {
            Ok(ack) => {
                let is_late = ack.upto.0 <= self.gateway.era.acked[ack.lane.index()];
                self.seen.reordered_acks += u64::from(is_late);
                self.gateway.queue.push(Request::Ack(None, ack));
            }
            Err(refused) => {
                assert_eq!(refused.reason(), "epoch_changed", "an ack that comes late");
                self.seen.late_acks += 1;
            }
        }
    }

    /// A unary fetch from where the city has stored: page, cut, row, answer.
    fn fetch(&mut self) {
        let lane = self.lane();
        let Gateway { era, now, .. } = &self.gateway;
        if self.city.position.epoch != Some(era.epoch.to_string())
            || !self.city.position.lanes.contains_key(&lane)
        {
            return;
        }
        let after = Seq(self.city.stored(lane));
        let wanted = Wanted::everything(self.gateway.city.clone().into());
        let rights = wanted.rights(&self.gateway.force, now.wall_ms);
        if !rights.lane(lane) {
            return;
        }
        let page = self.gateway.store().page(lane, after, 20, 1 << 20).expect("a page");
        let part = cut(era.epoch, &page, &rights, 20, 1 << 20);
        if part.batch.through_seq < part.batch.first_seq {
            return;
        }
        let now = *now;
        if let Some(row) = part.delivered(&id(super::CITY), lane) {
            let mut txn = self.gateway.store_mut().begin().expect("a transaction");
            if txn.audit(&row.entry(), now).and_then(|_| txn.commit()).is_err() {
                return;
            }
        }
        self.tell(|| format!("fetch {lane} {} to {}", part.batch.first_seq, part.batch.through_seq));
        self.city.fetched(&part.batch, &mut self.seen);
    }

    fn tidy(&mut self) {
        self.tell(|| "tidy".into());
        self.gateway.tidy(&mut self.seen);
    }

    fn sign(&mut self) {
        self.tell(|| "sign the trail".into());
        self.gateway.sign();
        let Self { gateway, lines, seen, .. } = self;
        gateway.pump_all(lines, seen);
    }

    pub(crate) fn connect_if_none(&mut self) {
        if self.city.instances.is_empty() {
            self.connect();
        } else if self.random.one_in(40) {
            self.seen.duplicates += 1;
            self.connect();
        }
    }

    /// A new instance asks for the gateway's state and opens a stream.
    pub(crate) fn connect(&mut self) {
        if self.lines.len() > 8 {
            return;
        }
        self.connections += 1;
        let conn = self.connections;
        self.tell(|| format!("connect {conn}"));
        if let Met::Reset = self.city.meet(self.gateway.store().epoch()) {
            self.seen.resets += 1;
        }
        let told = self.confirm();
        assert!(told, "the city holds a trail that is not the gateway's");
        let open = self.city.start(conn, self.gateway.era.acked, &mut self.random);
        let mut line = Line::new(1 + self.random.below(4) as usize);
        line.send_up(Ask::Open(open));
        self.lines.insert(conn, line);
    }

    /// The city says what it keeps of the trail before it takes anything; false when that is not on the gateway's.
    pub(crate) fn confirm(&mut self) -> bool {
        let Some(newest) = self.city.book.newest().cloned() else { return true };
        let (now, city) = (self.gateway.now, self.gateway.city.clone());
        let mut txn = self.gateway.store_mut().begin().expect("a transaction");
        let answer = txn.witnessed(&city, newest.head.seq, &newest.head.hash, now);
        match answer {
            Ok(answer) => {
                // A full disk keeps it from being noted, not from being true.
                let _ = txn.commit();
                answer.is_ok()
            }
            Err(error) => {
                assert!(error.is_passing(), "{error}");
                true
            }
        }
    }

    fn revoke(&mut self) {
        let mut permits = self.gateway.permits;
        match self.random.below(10) {
            0..4 => permits.0[self.lane().index()][REVOCABLE] ^= true,
            4 => permits.0[self.lane().index()] = [false; KINDS],
            5 => permits.0 = [[false; KINDS]; LANES],
            _ => permits = super::truth::Permits::all(),
        }
        self.tell(|| format!("the share list is {:?}", permits.0));
        self.seen.revoked += u64::from(permits != self.gateway.permits);
        self.gateway.permit(permits);
        let Self { gateway, lines, seen, .. } = self;
        gateway.pump_all(lines, seen);
    }

    fn starve(&mut self) {
        let at = self.lane().index();
        self.city.starved[at] = self.random.one_in(3);
        self.seen.starved += u64::from(self.city.starved[at]);
    }
}

/// A frame of the gateway in a few words.
fn brief(frame: &v1::StreamingPullResponse) -> String {
    use v1::streaming_pull_response::Frame;
    match &frame.frame {
        Some(Frame::Batch(batch)) => format!(
            "batch of lane {} {} to {}: {} records, {} gaps, {} withheld",
            batch.lane,
            batch.first_seq,
            batch.through_seq,
            batch.records.len(),
            batch.gaps.len(),
            batch.withheld
        ),
        Some(Frame::AckConfirmation(ack)) => {
            format!("confirmed {:?}", ack.upto.as_ref().map(|upto| upto.seq))
        }
        Some(Frame::Heartbeat(_)) => "heartbeat".into(),
        _ => "draining".into(),
    }
}

fn asked(frame: &v1::StreamingPullRequest) -> String {
    match &frame.frame {
        Some(Ask::Open(open)) => {
            format!("open at {:?}", open.resume.iter().map(|at| at.seq).collect::<Vec<_>>())
        }
        Some(Ask::Credit(credit)) => format!("credit {} {} {}", credit.lane, credit.messages, credit.bytes),
        Some(Ask::Ack(ack)) => format!("ack {:?}", ack.upto.as_ref().map(|upto| (upto.lane, upto.seq))),
        other => format!("{}", other.is_some()),
    }
}
