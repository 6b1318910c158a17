//! The faults that take a process, a line or a disk: cuts, kills, purges, and copies of the store that come back.

use std::collections::HashMap;
use std::path::PathBuf;

use bytes::Bytes;
use smallbrain::model::{Epoch, Lane, Seq};
use smallbrain::store::purge::{Emergency, Progress, Scope, State};

use super::gateway::{Disk, copy};
use super::truth::{Era, KINDS, LANES, OTHERS, PURGEABLE, Truth};
use super::world::World;
use super::{Seen, id};

/// Rounds after which everything has to be at the city.
const QUIET_MAX: u64 = 60_000;

/// An older copy of the store's directory, and what was true then.
pub(crate) struct Copy {
    dir: PathBuf,
    era: Era,
    /// Records that lay on disk, by lane: their positions.
    disk: [Vec<u64>; LANES],
    rows: u64,
}

impl World {
    /// Every line of a gateway that died: the city learns it at once or later.
    pub(crate) fn hang_up(&mut self) {
        for line in self.lines.values_mut() {
            if !line.is_cut {
                line.cut(&mut self.random);
            }
            line.up.clear();
            line.gateway_knows = true;
            line.city_knows |= !self.random.one_in(4);
        }
    }

    pub(crate) fn cut(&mut self, is_half: bool) {
        let Some(conn) = self.random.one_of(self.lines.keys().copied()) else { return };
        let line = self.lines.get_mut(&conn).expect("just seen");
        if line.is_cut {
            return;
        }
        line.cut(&mut self.random);
        let who = if is_half { self.random.below(3) } else { 3 };
        (line.gateway_knows, line.city_knows) = (who & 1 == 1, who & 2 == 2);
        let (gateway, city) = (line.gateway_knows, line.city_knows);
        self.tell(|| format!("cut {conn}; gateway knows: {gateway}, city knows: {city}"));
        self.seen.cuts += 1;
        self.seen.half_open += u64::from(is_half);
    }

    /// Whoever did not know that a line is cut learns it.
    pub(crate) fn learn(&mut self) {
        for line in self.lines.values_mut().filter(|line| line.is_cut) {
            line.gateway_knows |= self.random.one_in(2);
            line.city_knows |= self.random.one_in(2);
        }
    }

    pub(crate) fn kill_gateway(&mut self) {
        self.tell(|| "kill the gateway".into());
        self.seen.kills += 1;
        self.hang_up();
        self.gateway.kill(&mut self.random);
        self.gateway.check_start();
    }

    pub(crate) fn kill_city(&mut self) {
        self.tell(|| "kill the city".into());
        self.seen.city_kills += 1;
        self.city.instances.clear();
        for line in self.lines.values_mut() {
            if !line.is_cut {
                line.cut(&mut self.random);
            }
            line.down.clear();
            (line.city_knows, line.gateway_knows) = (true, !self.random.one_in(4));
        }
    }

    /// The gateway stops politely: every stream answers what came and says goodbye.
    pub(crate) fn drain(&mut self) {
        self.tell(|| "drain".into());
        self.seen.drained += 1;
        self.gateway.streams.values_mut().for_each(|stream| stream.session.drain());
        let Self { gateway, lines, seen, .. } = self;
        gateway.pump_all(lines, seen);
    }

    /// What a profile brought in goes, chunk by chunk.
    pub(crate) fn purge(&mut self) {
        let lane = Lane::ALL[self.random.below(LANES as u64) as usize];
        let at = lane.index();
        let line = &self.gateway.lines[at * KINDS + PURGEABLE];
        let scope = Scope { shares: vec![line.id.clone()], ..Scope::default() };
        self.tell(|| format!("purge {}", line.id));
        let mut txn = self.gateway.store_mut().begin().expect("a transaction");
        let to = txn.marks().expect("marks");
        let mut emergency = Emergency {
            number: 0,
            id: id("E-1"),
            digest: [0; 32],
            state: State::Purging,
            until_ms: 0,
            scope,
            progress: Progress { to, ..Progress::default() },
        };
        let purged = txn.add_emergency(&mut emergency).and_then(|()| {
            while !txn.purge(&mut emergency)?.done {}
            txn.commit()
        });
        if let Err(error) = purged {
            assert!(error.is_passing(), "{error}");
            return;
        }
        let era = &mut self.gateway.era;
        let is_its = |(_, truth): &(usize, &Truth)| truth.kind == PURGEABLE;
        let gone: Vec<u64> =
            era.sealed[at].iter().enumerate().filter(is_its).map(|(index, _)| index as u64 + 1).collect();
        era.purged[at].extend(gone);
        self.seen.purges += 1;
    }

    pub(crate) fn keep_copy(&mut self) {
        let dir = self.root.join("copy");
        let _ = std::fs::remove_dir_all(&dir);
        copy(&self.gateway.data(), &dir);
        self.tell(|| "copy the store".into());
        let conn = rusqlite::Connection::open(self.gateway.data().join("smallbrain.db")).expect("opens");
        let disk = Lane::ALL.map(|lane| {
            let find = format!("SELECT seq FROM outbox_{lane} ORDER BY seq");
            let mut rows = conn.prepare(&find).expect("a statement");
            let rows = rows.query_map([], |row| row.get::<_, i64>(0)).expect("rows");
            rows.map(|row| row.expect("a row") as u64).collect()
        });
        let rows = self.gateway.store().audit_head().seq;
        self.copy = Some(Copy { dir, era: self.gateway.era.clone(), disk, rows });
    }

    /// An older copy comes back, with the identity beside it or with its own: then only the city can tell.
    pub(crate) fn restore(&mut self) {
        let Some(copy) = self.copy.take() else { return };
        let newest = std::fs::read(self.gateway.data().join("identity.json")).expect("an identity");
        let is_whole = self.random.one_in(2);
        self.tell(|| format!("an older copy comes back, whole: {is_whole}"));
        self.hang_up();
        let before = self.gateway.store().epoch();
        let identity = (!is_whole).then(|| newest.clone());
        self.gateway.start_from(&copy.dir, identity, &mut self.random);
        self.seen.restores += 1;
        let after = self.gateway.store().epoch();
        if after != copy.era.epoch {
            self.seen.forks += 1;
            return self.adopt(&copy, after);
        }
        // Nobody beside the database knew better.
        let is_same = self.city.position.epoch.as_deref() == Some(&copy.era.epoch.to_string());
        let heads = copy.era.sealed.each_ref().map(|lane| lane.len() as u64);
        let behind = Lane::ALL.into_iter().find(|lane| self.city.stored(*lane) > heads[lane.index()]);
        let rows = self.city.book.newest().map_or(0, |newest| newest.head.seq);
        self.gateway.era = copy.era.clone();
        if is_same && rows > copy.rows {
            assert!(!self.confirm(), "a trail of {rows} rows is not the gateway's of {} any more", copy.rows);
        } else if let (true, Some(lane)) = (is_same, behind) {
            let cursor = self.city.position.cursor(lane).expect("it has one");
            let told = smallbrain::share::session::position(&cursor, after, &self.gateway.store().heads());
            assert_eq!(told.expect_err("a cursor ahead of the head").reason(), "ahead_of_head");
        } else if is_same && self.is_suspect() {
            // The rows are there, and what was signed of them is not: a collector stops at that.
        } else if before == after {
            // The city has nothing that the copy does not have: it goes on, and what it holds in memory goes.
            self.city.instances.clear();
            self.seen.harmless += 1;
            return;
        }
        // The city has told its operator; what it knows of the gateway is put beside the copy, so that a fork begins.
        let mut known: serde_json::Value = serde_json::from_slice(&newest).expect("JSON");
        known["epoch"] = after.to_string().into();
        known["heads"]["alarm"] = (1_u64 << 40).into();
        let image = self.root.join("image");
        super::gateway::copy(&self.gateway.data(), &image);
        self.gateway.start_from(&image, Some(known.to_string().into_bytes()), &mut self.random);
        std::fs::remove_dir_all(image).expect("removed");
        self.seen.told += 1;
        let forked = self.gateway.store().epoch();
        assert_ne!(forked, after, "a store whose identity knows more begins a new epoch");
        self.adopt(&copy, forked);
    }

    /// Whether the newest checkpoint of the gateway does not go on from what the city keeps.
    fn is_suspect(&self) -> bool {
        let told = self.gateway.checkpoint.as_ref().map(smallbrain::wire::checkpoint);
        told.is_some_and(|told| self.city.book.look(&told).is_err())
    }

    /// A new epoch: what lay on the copy's disk, in its order, from position 1.
    fn adopt(&mut self, copy: &Copy, epoch: Epoch) {
        self.tell(|| format!("epoch {epoch}"));
        let store = self.gateway.store();
        let mut era = Era::new(epoch);
        for lane in Lane::ALL {
            let at = lane.index();
            let disk: Vec<&Truth> = copy.disk[at].iter().map(|seq| copy.era.at(lane, *seq)).collect();
            let kinds: HashMap<&Bytes, usize> = disk.iter().map(|truth| (&truth.body, truth.kind)).collect();
            let head = store.heads()[at];
            let mut after = Seq(0);
            while after < head {
                let page = store.page(lane, after, 1000, 1 << 30).expect("a page");
                assert!(page.gaps.is_empty(), "{lane}: a new epoch begins without gaps: {:?}", page.gaps);
                for record in page.records {
                    let kind = *kinds.get(&record.body).expect("a record of the copy");
                    era.sealed[at].push(Truth { kind, body: record.body });
                }
                after = page.through;
            }
            let is_all =
                disk.iter().map(|truth| &truth.body).eq(era.sealed[at].iter().map(|truth| &truth.body));
            assert!(is_all, "{lane}: what was unsent keeps its order");
            assert_eq!(
                store.acked(&self.gateway.city, lane).expect("an ack"),
                Seq(0),
                "{lane}: no ack holds any more"
            );
        }
        self.gateway.era = era;
        // Whoever is still connected learns of it when it comes back.
        self.city.instances.clear();
    }

    /// The faults stop and credit flows: everything arrives, is stored and acknowledged.
    pub(crate) fn quiet(&mut self) -> Seen {
        self.tell(|| "quiet".into());
        self.gateway.disk = Disk::Large;
        self.gateway.kill(&mut self.random);
        self.hang_up();
        self.kill_city();
        self.lines.clear();
        self.gateway.permit(super::truth::Permits::all());
        self.city.starved = [false; LANES];
        for round in 0..QUIET_MAX {
            let lanes = Lane::ALL.into_iter();
            let is_owed = |lane: Lane| self.gateway.era.acked[lane.index()] < self.gateway.era.head(lane);
            if self.gateway.queue.is_empty() && !lanes.into_iter().any(is_owed) {
                break;
            }
            self.step += 1;
            if self.city.instances.is_empty() {
                self.connect();
            }
            self.credit();
            self.up();
            self.read();
            self.gateway.write(None, &mut self.random, &mut self.lines, &mut self.seen);
            self.down();
            let conn = self.random.one_of(self.city.instances.keys().copied());
            conn.into_iter().for_each(|conn| self.city.store(conn, false, &mut self.seen));
            self.ack();
            self.late_ack();
            assert!(round + 1 < QUIET_MAX, "something is owed after quiet");
        }
        self.judge();
        self.seen
    }

    /// What the city has against what was sealed.
    pub(crate) fn judge(&self) {
        use super::city::Slot;
        let Era { epoch, sealed, purged, .. } = &self.gateway.era;
        for lane in Lane::ALL {
            let at = lane.index();
            assert_eq!(self.city.stored(lane), sealed[at].len() as u64, "{lane}: owed after quiet");
            let none = Vec::new();
            let slots = self.city.kept.get(&epoch.to_string()).map_or(&none, |lanes| &lanes[at]);
            for (index, truth) in sealed[at].iter().enumerate() {
                let seq = index as u64 + 1;
                match &slots[index] {
                    Slot::Record(body) => assert!(*body == truth.body, "{lane} {seq}: other bytes"),
                    Slot::Withheld => {
                        let is_denied =
                            truth.kind == OTHERS || self.gateway.ever_revoked.is_permitted(lane, truth.kind);
                        assert!(is_denied, "{lane} {seq}: withheld though never revoked");
                    }
                    Slot::Lost => {
                        let is_purged = purged[at].contains(&seq);
                        assert!(is_purged || lane != Lane::Alarm, "{lane} {seq}: an alarm was shed");
                    }
                    Slot::Unknown => panic!("{lane} {seq}: neither delivered nor declared"),
                }
            }
        }
    }
}
