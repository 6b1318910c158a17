//! A profile for an emergency in the spine: it begins, ends by time alone, and leaves nothing but its certificate.

use rusqlite::Connection;
use rust_decimal::Decimal;
use serde_json::{Value as Json, json};

use crate::aggregate::blocks::Bounds;
use crate::ingest::spine::{Ledger, Spine};
use crate::ingest::tests::{plan, settings};
use crate::ingest::{Delivery, Emergency, Plan};
use crate::model::{Epoch, Lane, Loss, Sample, Seq, SeriesKey, Stamp, Value};
use crate::privacy::release::ShareLine;
use crate::rules::rate::Rate;
use crate::store::Store;
use crate::store::purge::Scope;

const BEGIN: i64 = 1_794_000_000_000;
const UNTIL: i64 = BEGIN + 100_000;
/// More than a chunk of each kind.
const READINGS: i64 = 5000;

fn at(wall_ms: i64) -> Stamp {
    Stamp { wall_ms, mono_ms: u64::try_from(wall_ms - BEGIN).unwrap_or(0) }
}

fn name<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    text.parse().expect("a name")
}

fn bulk(id: &str) -> ShareLine {
    let line = plan(&["tank-1"], 100).shares.remove(0);
    ShareLine { id: name(id), lane: Lane::Bulk, carries: vec![], ..line }
}

/// Tank 1 and its line.
fn peace() -> Plan {
    let mut plan = plan(&["tank-1"], 100);
    plan.rate = Rate { per_second: 100_000, burst: 100_000 };
    plan.block = Bounds { rows_max: 10, age_max_ms: 1000 };
    plan.points[0].as_mut().expect("a point").metric = name("water");
    plan.points.push(None);
    let mut line = bulk("S-peace");
    line.metrics = vec![name("water")];
    plan.shares.push(line);
    plan
}

/// The same with tank 2, whose alarm the peace has, and a line that is the profile's.
fn emergency() -> Plan {
    let mut all = peace();
    let both = plan(&["tank-1", "tank-2"], 100);
    (all.points, all.rules, all.lists_digest) = (both.points, both.rules, both.lists_digest);
    all.points[0].as_mut().expect("a point").metric = name("water");
    all.shares.push(bulk("S-flood"));
    all.emergency = vec![Emergency {
        id: name("flood"),
        digest: [9; 32],
        from_ms: BEGIN,
        until_ms: UNTIL,
        signers: vec![name("zhang")],
        series: vec![SeriesKey(1)],
        scope: Scope { devices: vec![name("tank-2")], shares: vec![name("S-flood")], ..Scope::default() },
    }];
    all
}

struct Site {
    dir: tempfile::TempDir,
}

impl Site {
    fn store(&self, wall_ms: i64) -> Store {
        Store::open(settings(self.dir.path()), [7; 32], at(wall_ms)).expect("the store opens")
    }

    /// One commit.
    fn commit(store: &mut Store, spine: &mut Spine, deliveries: &[Delivery], now: Stamp) -> Ledger {
        let mut txn = store.begin().expect("a transaction");
        spine.tick(&mut txn, now).expect("ticked");
        for delivery in deliveries {
            spine.take(&mut txn, delivery, now).expect("taken");
        }
        let ledger = spine.finish(&mut txn).expect("finished");
        txn.commit().expect("committed");
        ledger
    }

    fn sql<T: rusqlite::types::FromSql>(&self, sql: &str) -> Vec<T> {
        let conn = Connection::open(self.dir.path().join("smallbrain.db")).expect("opened");
        let mut statement = conn.prepare(sql).expect("a statement");
        let rows = statement.query_map([], |row| row.get(0)).expect("rows");
        rows.collect::<Result<_, _>>().expect("values")
    }

    /// The profile's life up to its end: both tanks speak in turn, and the last word is of tank 2.
    fn war(&self) {
        let mut store = self.store(BEGIN);
        let mut spine = Spine::open(emergency(), &mut store, at(BEGIN)).expect("opened");
        for value in 0..READINGS / 50 {
            let now = at(BEGIN + value * 100);
            let values: Vec<i64> = (value * 50..value * 50 + 50).collect();
            let deliveries = [delivery(0, &values, now), delivery(1, &values, now)];
            let ledger = Self::commit(&mut store, &mut spine, &deliveries, now);
            assert_eq!(ledger.stored, 100);
        }
        Self::commit(&mut store, &mut spine, &[], at(UNTIL - 1));
        // The files say nothing new yet, and time alone ends it.
        let ledger = Self::commit(&mut store, &mut spine, &[delivery(1, &[1, 2], at(UNTIL))], at(UNTIL));
        assert_eq!((ledger.stored, ledger.lost.get(Loss::Unlisted)), (0, 2));
        assert!(ledger.holds());
    }
}

fn delivery(series: u32, values: &[i64], received: Stamp) -> Delivery {
    let sample = |value: &i64| Sample {
        message: None,
        series: SeriesKey(series),
        value: Value::Number(Decimal::from(*value)),
        device_ms: Some(received.wall_ms - *value % 50),
        clock_ms: None,
        retained: false,
        history: false,
    };
    Delivery { samples: values.iter().map(sample).collect(), ..Delivery::empty(received) }
}

fn certificate(site: &Site) -> Option<Json> {
    let details: Vec<String> =
        site.sql("SELECT detail_json FROM audit WHERE action = 'emergency.purge' AND object = 'flood'");
    assert!(details.len() <= 1, "{details:?}");
    details.first().map(|detail| serde_json::from_str(detail).expect("JSON"))
}

/// The purge, with a new process after every commit or without; its certificate.
fn purged(is_restarted: bool) -> (Site, Json) {
    let site = Site { dir: tempfile::tempdir().expect("a directory") };
    site.war();
    let head = site.store(UNTIL).reading_head();
    let mut now_ms = UNTIL + 5;
    let mut life: Option<(Store, Spine)> = None;
    let mut rounds = 0;
    while certificate(&site).is_none() {
        rounds += 1;
        assert!(rounds < 1000, "it never ends");
        now_ms += 10;
        let (mut store, mut spine) = life.take().unwrap_or_else(|| {
            let mut store = site.store(now_ms);
            let spine = Spine::open(peace(), &mut store, at(now_ms)).expect("opened");
            (store, spine)
        });
        Site::commit(&mut store, &mut spine, &[], at(UNTIL + 5));
        if !is_restarted {
            life = Some((store, spine));
        }
    }
    assert!(rounds > 3, "in one go");
    drop(life);
    let store = site.store(now_ms);
    assert_eq!(store.reading_head(), head, "a position is never given again");
    let ledger = Ledger::of(&store).expect("a ledger");
    assert!(ledger.holds());
    assert_eq!((ledger.stored, ledger.purged), (2 * READINGS as u64, READINGS as u64));
    drop(store);
    let certificate = certificate(&site).expect("one");
    (site, certificate)
}

#[test]
fn a_profile_leaves_nothing_but_its_certificate_and_touches_nothing_else() {
    let (site, certificate) = purged(false);
    let of = |device| {
        format!("SELECT count(*) FROM reading r JOIN series s ON s.id = r.series WHERE s.device = '{device}'")
    };
    assert_eq!(site.sql::<i64>(&of("tank-1")), [READINGS]);
    assert_eq!(site.sql::<i64>(&of("tank-2")), [0]);
    let records = |share| {
        format!(
            "SELECT count(*) FROM outbox_bulk o JOIN item i ON i.id = o.item WHERE i.share_item = '{share}'"
        )
    };
    assert_eq!(site.sql::<i64>(&records("S-flood")), [0]);
    assert_eq!(site.sql::<i64>(&records("S-peace")), [READINGS / 10]);
    // What was measured is out of the incidents; what happened stays.
    let history = "SELECT count(*) FROM history WHERE device = 'tank-2' AND value IS NULL AND reason = ''";
    assert!(site.sql::<i64>(history)[0] > 0);
    assert_eq!(
        site.sql::<i64>("SELECT count(*) FROM history WHERE device = 'tank-2' AND value IS NOT NULL"),
        [0]
    );
    assert_eq!(certificate["counts"]["readings"], json!(READINGS));
    assert_eq!(certificate["counts"]["records.bulk"], json!(READINGS / 10));
    assert!(certificate["counts"]["records.alarm"].as_u64() > Some(0), "{certificate}");
    assert_eq!(certificate["first_ms"], json!(BEGIN));
    assert_eq!(certificate["sha256"].as_str().map(str::len), Some(64));
    let begun: Vec<String> = site.sql("SELECT detail_json FROM audit WHERE action = 'emergency.begin'");
    assert_eq!(begun.len(), 1);
    assert!(begun[0].contains("zhang") && begun[0].contains(&"09".repeat(32)), "{begun:?}");

    // Every position is a record or in a gap that says why, and the chain goes on.
    let mut store = site.store(UNTIL + 60_000);
    for lane in [Lane::Alarm, Lane::Bulk] {
        let page = store.page(lane, Seq(0), 100_000, 1 << 30).expect("a page");
        assert_eq!(page.through, page.head);
        assert!(page.gaps.iter().all(|gap| gap.reason == "purged"), "{:?}", page.gaps);
        let gone: u64 = page.gaps.iter().map(|gap| gap.to.0 - gap.from.0 + 1).sum();
        assert_eq!(gone + page.records.len() as u64, page.head.0);
    }
    // It does not begin again, also with a clock that was set back; and shedding goes on over the gaps.
    let mut spine = Spine::open(emergency(), &mut store, at(BEGIN + 50)).expect("opened");
    let ledger = Site::commit(&mut store, &mut spine, &[delivery(1, &[1], at(BEGIN + 50))], at(BEGIN + 50));
    assert_eq!((ledger.stored, ledger.lost.get(Loss::Unlisted)), (0, 1));
    while store.make_room().expect("room") {}
    let page = store.page(Lane::Bulk, Seq(0), 10, 1 << 20).expect("a page");
    assert_eq!((page.records.len(), page.through), (0, page.head));
}

#[test]
fn a_stop_after_every_chunk_gives_the_same_certificate() {
    let (_, straight) = purged(false);
    let (_, stopped) = purged(true);
    assert_eq!(straight, stopped);
}

#[test]
fn a_profile_that_is_taken_away_may_come_back_until_its_time_is_over() {
    let site = Site { dir: tempfile::tempdir().expect("a directory") };
    let mut store = site.store(BEGIN);
    let mut spine = Spine::open(emergency(), &mut store, at(BEGIN)).expect("opened");
    Site::commit(&mut store, &mut spine, &[delivery(1, &[1, 2], at(BEGIN))], at(BEGIN));
    let now = at(BEGIN + 50);
    let mut spine = Spine::reopen(peace(), &mut store, now).expect("opened");
    let ledger = Site::commit(&mut store, &mut spine, &[delivery(1, &[3], now)], now);
    assert_eq!((ledger.stored, ledger.purged), (0, 0), "nothing comes in, nothing goes");
    // Signed again, for longer.
    let mut longer = emergency();
    (longer.emergency[0].until_ms, longer.emergency[0].digest) = (UNTIL + 1000, [8; 32]);
    let mut spine = Spine::reopen(longer, &mut store, now).expect("opened");
    let ledger = Site::commit(&mut store, &mut spine, &[delivery(1, &[3], now)], now);
    assert_eq!(ledger.stored, 1);
    let mut spine = Spine::reopen(peace(), &mut store, at(UNTIL)).expect("opened");
    assert_eq!(Site::commit(&mut store, &mut spine, &[], at(UNTIL)).purged, 0);
    assert_eq!(Site::commit(&mut store, &mut spine, &[], at(UNTIL + 1000)).purged, 3);
    assert_eq!(site.sql::<i64>("SELECT count(*) FROM audit WHERE action = 'emergency.begin'"), [2]);
}

/// An older copy of the store starts a new epoch with new positions: the profile's records are found there too.
#[test]
fn records_are_purged_also_where_they_stand_at_other_positions() {
    let site = Site { dir: tempfile::tempdir().expect("a directory") };
    site.war();
    let older = tempfile::tempdir().expect("a directory");
    for entry in std::fs::read_dir(site.dir.path()).expect("files").flatten() {
        std::fs::copy(entry.path(), older.path().join(entry.file_name())).expect("a copy");
    }
    let mut store = site.store(UNTIL);
    let mut spine = Spine::open(emergency(), &mut store, at(UNTIL - 1)).expect("opened");
    let values: Vec<i64> = (0..40).collect();
    Site::commit(&mut store, &mut spine, &[delivery(0, &values, at(UNTIL - 1))], at(UNTIL - 1));
    store.close().expect("closed");
    std::fs::copy(older.path().join("smallbrain.db"), site.dir.path().join("smallbrain.db")).expect("a copy");
    for name in ["smallbrain.db-wal", "smallbrain.db-shm"] {
        let _ = std::fs::remove_file(site.dir.path().join(name));
    }
    let mut store = Store::open(settings(site.dir.path()), [5; 32], at(UNTIL + 1)).expect("the store opens");
    assert_ne!(store.epoch(), Epoch([7; 16]), "it is an older copy");
    let mut spine = Spine::open(peace(), &mut store, at(UNTIL + 1)).expect("opened");
    while certificate(&site).is_none() {
        Site::commit(&mut store, &mut spine, &[], at(UNTIL + 5));
    }
    let left =
        "SELECT count(*) FROM outbox_bulk o JOIN item i ON i.id = o.item WHERE i.share_item = 'S-flood'";
    assert_eq!(site.sql::<i64>(left), [0]);
}
