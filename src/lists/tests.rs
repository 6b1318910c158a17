//! The loop, explanations and drift, on one small compound.

use super::cycle::rows;
use super::drift::{Incident, Kind, Observed, SILENT_MS, UNUSED_MS, drift};
use super::explain::{Denied, explain};
use super::*;

pub(super) const DAY_MS: i64 = 86_400_000;
const NOW_MS: i64 = 1_795_190_400_000;

pub(super) fn id(name: &str) -> LineId {
    name.parse().expect("an id")
}

fn metric(name: &str) -> Metric {
    name.parse().expect("a metric")
}

pub(super) fn point(name: &str, treatment: &str, collect: Option<&str>) -> Point {
    Point {
        template: id("thermometer"),
        metric: metric(name),
        whose: Whose::Nobody,
        collect: collect.map(id),
        treatment: treatment.into(),
        devices: vec!["t-1".into()],
    }
}

pub(super) fn city() -> Consumer {
    "spiffe://brain.example/city".parse().expect("a consumer")
}

/// A loop that is closed.
pub(crate) fn closed() -> Lists {
    Lists {
        demands: vec![Demand {
            id: id("D-1"),
            title: String::new(),
            requester: Some(city()),
            purpose: "climate".into(),
            basis: String::new(),
            wants: vec![id("S-1")],
            decision: Decision::Approved,
            reason: String::new(),
            until_ms: None,
        }],
        collects: vec![Collect {
            id: id("C-1"),
            title: String::new(),
            purpose: "climate".into(),
            basis: String::new(),
            public: Some(true),
            sensitivity: None,
            serves: vec![id("D-1")],
            raw_ms: Some(10),
            sealed_ms: Some(20),
            manual: false,
        }],
        shares: vec![
            Share {
                class: Some(Class::Unconditional),
                metrics: vec![metric("temperature")],
                carries: vec![id("hot")],
                lane: Some(Lane::Alarm),
                consumers: vec![city()],
                approval: "AP-1".into(),
                ..share("S-1")
            },
            Share {
                class: Some(Class::Forbidden),
                metrics: vec![metric("trajectory")],
                reason: "never".into(),
                ..share("X-1")
            },
        ],
        governance: vec![Governance {
            id: id("G-1"),
            problem: String::new(),
            triggers: vec!["hot".into()],
            owner: "property".into(),
            accept_ms: Some(60_000),
            close_ms: Some(3_600_000),
            feedback_from: vec!["city".into()],
            closes: vec![id("D-1")],
        }],
        budgets: vec![Budget { id: "B-1".into(), epsilon: (2, 1) }],
        alarms: vec![Watched { id: id("hot"), metrics: [metric("temperature")].into() }],
        points: vec![
            point("temperature", "keep", Some("C-1")),
            point("card_no", "drop", Some("C-1")),
            point("battery", "", None),
        ],
        kept_ms: 10,
        ..Lists::default()
    }
}

fn share(name: &str) -> Share {
    Share {
        id: id(name),
        title: String::new(),
        purpose: "climate".into(),
        class: None,
        from: Vec::new(),
        demands: Vec::new(),
        reason: String::new(),
        basis: String::new(),
        metrics: Vec::new(),
        carries: Vec::new(),
        lane: None,
        consumers: Vec::new(),
        devices: false,
        places: false,
        approval: String::new(),
        tier: None,
        until_ms: None,
        protect: None,
        noise: None,
        level: None,
    }
}

#[test]
fn a_closed_loop_is_one_row() {
    let rows = rows(&closed());
    assert_eq!(rows.len(), 1);
    let row = &rows[0];
    assert_eq!(row.missing, []);
    assert_eq!((&row.collects, &row.shares), (&[id("C-1")].into(), &[id("S-1")].into()));
    assert_eq!(row.governance, [id("G-1")].into());
}

#[test]
fn what_is_left_over_has_a_row_of_its_own() {
    let mut lists = closed();
    lists.demands.clear();
    let rows = rows(&lists);
    let shapes: Vec<_> =
        rows.iter().map(|row| (row.collects.len(), row.shares.len(), row.governance.len())).collect();
    // The share line with what it draws from, then the governance line with the same.
    assert_eq!(shapes, [(1, 1, 0), (1, 0, 1)]);
    assert!(rows.iter().all(|row| row.missing.contains(&List::Demand)));
}

#[test]
fn a_field_leaves_by_a_line_or_a_rule_denies_it() {
    let body = |lists: &mut Lists| lists.points[0].whose = Whose::Body;
    let ended = |lists: &mut Lists| lists.shares[0].until_ms = Some(NOW_MS);
    let unnamed = |lists: &mut Lists| lists.shares[0].metrics.clear();
    let same = |_: &mut Lists| {};
    type Case = (&'static str, fn(&mut Lists), Option<Denied>);
    let cases: [Case; 8] = [
        ("temperature", same, None),
        ("temperature", body, Some(Denied::Body)),
        ("temperature", ended, Some(Denied::Ended)),
        ("temperature", unnamed, Some(Denied::NoLine)),
        ("card_no", same, Some(Denied::TakenOut)),
        ("battery", same, Some(Denied::Unlisted)),
        ("trajectory", same, Some(Denied::Forbidden)),
        ("pressure", same, Some(Denied::Unknown)),
    ];
    for (field, change, denied) in cases {
        let mut lists = closed();
        change(&mut lists);
        let told = explain(&lists, &metric(field), NOW_MS);
        assert_eq!(told.denied, denied, "{field}");
        let leaves = told.ways.iter().any(|way| !way.ended && !way.sources.is_empty());
        assert!(leaves || told.denied.is_some(), "{field}");
    }
}

#[test]
fn a_part_of_a_dotted_name_is_forbidden_with_it() {
    let never = &closed().shares[1];
    for (name, forbidden) in
        [("trajectory", true), ("person.trajectory", true), ("trajectory.x", true), ("trajectories", false)]
    {
        assert_eq!(never.forbids(&metric(name)), forbidden, "{name}");
    }
}

/// A loop in which nothing has come apart yet, and one thing that changes.
#[test]
fn each_kind_of_drift_is_told_when_it_is_proven() {
    let key = (List::Collect, id("C-1"));
    let calm = || Observed { since_ms: [(key.clone(), NOW_MS - SILENT_MS)].into(), ..Observed::default() };
    let none = drift(&closed(), &calm(), NOW_MS);
    assert_eq!(none, []);
    let incident =
        |age_ms: i64, accepted| Incident { id: 1, alarm: "hot".into(), raised_ms: NOW_MS - age_ms, accepted };
    type Case = (&'static str, fn(&mut Lists), Observed, Option<Kind>);
    let same: fn(&mut Lists) = |_| {};
    let with = |change: &dyn Fn(&mut Observed)| {
        let mut observed = calm();
        change(&mut observed);
        observed
    };
    let silence: BTreeSet<_> = [("t-1".to_owned(), "temperature".to_owned())].into();
    let cases: Vec<Case> = vec![
        (
            "a field more",
            |lists| lists.points[2] = point("battery", "keep", Some("C-1")),
            calm(),
            Some(Kind::Undemanded),
        ),
        (
            "ended",
            |lists| {
                lists.shares[0].until_ms = Some(NOW_MS);
                lists.demands[0].until_ms = Some(NOW_MS);
            },
            calm(),
            Some(Kind::Expired),
        ),
        ("no line any more", |lists| lists.demands[0].wants.clear(), calm(), None),
        (
            "waiting",
            same,
            with(&|seen| {
                seen.waiting_ms.insert(id("S-1"), NOW_MS - UNUSED_MS);
            }),
            Some(Kind::Unused),
        ),
        (
            "not for long",
            same,
            with(&|seen| {
                seen.waiting_ms.insert(id("S-1"), NOW_MS - UNUSED_MS + 1);
            }),
            None,
        ),
        ("silent", same, with(&|seen| seen.silent = silence.clone()), Some(Kind::Silent)),
        (
            "new",
            same,
            with(&|seen| {
                seen.silent = silence.clone();
                seen.since_ms = [(key.clone(), NOW_MS - DAY_MS)].into();
            }),
            None,
        ),
        (
            "not taken up",
            same,
            with(&|seen| seen.incidents = vec![incident(60_001, false)]),
            Some(Kind::Overdue),
        ),
        ("just in time", same, with(&|seen| seen.incidents = vec![incident(60_000, false)]), None),
        ("taken up", same, with(&|seen| seen.incidents = vec![incident(3_600_000, true)]), None),
        (
            "not closed",
            same,
            with(&|seen| seen.incidents = vec![incident(3_600_001, true)]),
            Some(Kind::Overdue),
        ),
    ];
    for (name, change, observed, kind) in cases {
        let mut lists = closed();
        change(&mut lists);
        let found: Vec<Kind> = drift(&lists, &observed, NOW_MS).iter().map(|drift| drift.kind).collect();
        match kind {
            Some(kind) => assert!(found.contains(&kind), "{name}: {found:?}"),
            None if name == "no line any more" => assert!(found.contains(&Kind::Unserved), "{found:?}"),
            None => assert_eq!(found, [], "{name}"),
        }
    }
}

#[test]
fn lists_without_a_loop_are_not_held_to_one() {
    let mut lists = closed();
    lists.demands.clear();
    lists.governance.clear();
    assert!(!lists.is_begun());
    assert_eq!(drift(&lists, &Observed::default(), NOW_MS), []);
}
