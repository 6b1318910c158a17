//! Lists of the city on a real store: who may put them, which version holds, when they are over, and what the trail says.

use super::*;
use crate::audit::Action;
use crate::ingest::Plan;
use crate::ingest::act::Act;
use crate::ingest::tests::{plan, settings};
use crate::model::Consumer;
use crate::rules::listed::{Entry, Line};
use crate::store::Store;

const CITY: &str = "spiffe://city.example/traffic";

fn now(ms: i64) -> Stamp {
    Stamp { wall_ms: ms, mono_ms: ms.unsigned_abs() }
}

fn city() -> Consumer {
    CITY.parse().expect("consumer")
}

fn listing(ids: &[&str]) -> Plan {
    let mut plan = plan(&["tank-1"], 5);
    plan.rules.shared = ids
        .iter()
        .map(|id| Line {
            id: id.parse().expect("id"),
            title: String::new(),
            consumers: vec![city()],
            entries_max: 2,
            purpose: "parking".into(),
            publish: false,
        })
        .collect();
    plan
}

fn put(request: &str, version: u64, keys: &[&str]) -> Put {
    let entry = |key: &&str| Entry { key: (*key).into(), from_ms: None, until_ms: None };
    Put {
        consumer: city(),
        request: request.into(),
        asked: [version as u8; 32],
        list: "plates".parse().expect("id"),
        version,
        until_ms: 1_000,
        entries: keys.iter().map(entry).collect(),
    }
}

/// One commit: what the act came to.
fn act(spine: &mut Spine, store: &mut Store, put: Put, at_ms: i64) -> Result<Done, NotDone> {
    let mut txn = store.begin().expect("txn");
    let done = spine.act(&mut txn, &Act::SharedList(Box::new(put)), now(at_ms)).expect("a store");
    txn.commit().expect("committed");
    done
}

/// Objects and reasons of the trail's rows of an action.
fn rows(dir: &std::path::Path, action: Action) -> Vec<(String, Option<String>)> {
    let path = dir.join("smallbrain.db");
    let conn = rusqlite::Connection::open(path).expect("a database");
    let find = "SELECT object, reason FROM audit WHERE action = ? ORDER BY seq";
    let mut statement = conn.prepare(find).expect("a statement");
    let rows = statement.query_map([action.as_str()], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.expect("rows").collect::<Result<_, _>>().expect("rows")
}

#[test]
fn a_list_is_put_whole_by_version_and_survives() {
    let dir = tempfile::tempdir().expect("directory");
    let mut store = Store::open(settings(dir.path()), [7; 32], now(0)).expect("store");
    let mut spine = Spine::open(listing(&["plates"]), &mut store, now(0)).expect("spine");
    let done = |version, entries, duplicate| Ok(Done::SharedList { version, entries, duplicate });
    let refused = |why: Refused| Err(NotDone::Shared(why));
    let list: LineId = "plates".parse().expect("id");
    let old = |ours, theirs| refused(Refused::Old { list: list.clone(), ours, theirs });
    let stranger =
        Put { consumer: "spiffe://city.example/else".parse().expect("consumer"), ..put("x", 9, &[]) };
    for (what, put, came_to) in [
        ("first", put("r-1", 2, &["a", "b"]), done(2, 2, false)),
        ("the same request", put("r-1", 2, &["a", "b"]), done(2, 2, true)),
        (
            "its id for something else",
            Put { asked: [9; 32], ..put("r-1", 3, &["a"]) },
            refused(Refused::Reused),
        ),
        ("the same list", put("r-2", 2, &["b", "a"]), done(2, 2, false)),
        ("the same version, another list", put("r-3", 2, &["a"]), old(2, 2)),
        ("an older one", put("r-4", 1, &["a"]), old(2, 1)),
        (
            "too many",
            put("r-5", 3, &["a", "b", "c"]),
            refused(Refused::Full { list: list.clone(), most: 2, found: 3 }),
        ),
        ("a stranger", stranger, refused(Refused::NotTheirs(list.clone()))),
        ("newer", put("r-6", 3, &["c"]), done(3, 1, false)),
    ] {
        assert_eq!(act(&mut spine, &mut store, put, 10), came_to, "{what}");
    }
    let held = spine.take_shared().expect("news");
    assert_eq!((held[&list].holds("a", 10), held[&list].holds("c", 10)), (Some(false), Some(true)));
    assert!(spine.take_shared().is_none());
    assert_eq!(
        rows(dir.path(), Action::SharedPut),
        [("shared:plates@2".into(), None), ("shared:plates@3".into(), None)]
    );

    let mut spine = Spine::open(listing(&["plates"]), &mut store, now(999)).expect("spine");
    assert_eq!(spine.take_shared().expect("news")[&list].version(), 3);
    let mut txn = store.begin().expect("txn");
    spine.tick(&mut txn, now(1_000)).expect("ticked");
    txn.commit().expect("committed");
    assert!(spine.take_shared().expect("news").is_empty());
    assert_eq!(rows(dir.path(), Action::SharedExpire), [("shared:plates@3".into(), None)]);
    // Over, and still no older one comes back.
    let late = Put { until_ms: 2_000, ..put("r-7", 3, &["c"]) };
    assert_eq!(act(&mut spine, &mut store, late, 1_001), old(3, 3));
    let next = Put { until_ms: 2_000, ..put("r-8", 4, &["c"]) };
    assert_eq!(act(&mut spine, &mut store, next, 1_001), done(4, 1, false));

    let mut spine = Spine::open(listing(&[]), &mut store, now(1_002)).expect("spine");
    assert!(spine.take_shared().expect("news").is_empty() && store.shared().expect("read").is_empty());
    let gone = rows(dir.path(), Action::SharedExpire);
    assert_eq!(gone.last(), Some(&("shared:plates@4".into(), Some("not_configured".into()))));
}
