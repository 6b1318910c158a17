//! Who sees what of one small compound.

use super::*;
use crate::lists::tests::{DAY_MS, city, closed, id};

fn consumer(name: &str) -> Consumer {
    name.parse().expect("a consumer")
}

/// The closed loop with a line of each new kind, and a second consumer.
fn lists() -> Lists {
    let mut lists = closed();
    let own = lists.shares[0].clone();
    let theirs = consumer("spiffe://brain.example/other");
    lists.shares.push(Share {
        id: id("S-2"),
        title: "windows".into(),
        lane: Some(Lane::Aggregate),
        carries: vec![id("A-15m"), id("A-1d")],
        consumers: vec![city(), theirs.clone()],
        metrics: vec![],
        ..own.clone()
    });
    lists.shares.push(Share {
        id: id("S-3"),
        lane: Some(Lane::Result),
        carries: vec![id("siren-on")],
        consumers: vec![theirs.clone()],
        metrics: vec![],
        ..own
    });
    let mut demand = lists.demands[0].clone();
    demand.title = "climate for all".into();
    demand.wants = vec![id("S-2")];
    lists.demands.push(super::super::Demand { id: id("D-2"), requester: Some(theirs), ..demand });
    lists.windows = vec![(id("A-15m"), 900_000), (id("A-1d"), DAY_MS)];
    lists.commands = vec![(id("siren-on"), "Siren".into()), (id("siren-off"), String::new())];
    lists.queries = vec![Query {
        id: id("Q-1"),
        title: "a day".into(),
        share: id("S-2"),
        aggregate: id("A-15m"),
        size_ms: 900_000,
        metrics: vec!["heat".parse().expect("a metric")],
        by_metric: true,
        buildings: vec!["B1".parse().expect("a place")],
        by_building: false,
        all_buildings: true,
        span_max_ms: DAY_MS,
        spending: None,
    }];
    lists
}

fn seen(lists: &Lists, name: &str) -> Vec<Entry> {
    catalog(lists, &consumer(name), &|_| "granted")
}

fn ids(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|entry| format!("{}/{}", entry.kind.as_str(), entry.id)).collect()
}

#[test]
fn everybody_sees_what_concerns_them_and_nobody_else() {
    let lists = lists();
    let cases: [(&str, &[&str]); 3] = [
        (
            "spiffe://brain.example/city",
            &[
                "demand/D-1",
                "demand/D-2",
                "collect/C-1",
                "share/S-1",
                "share/S-2",
                "share/X-1",
                "governance/G-1",
                "query/Q-1",
            ],
        ),
        (
            "spiffe://brain.example/other",
            &["demand/D-2", "share/S-2", "share/S-3", "share/X-1", "command/siren-on", "query/Q-1"],
        ),
        ("spiffe://else", &["share/X-1"]),
    ];
    for (name, expected) in cases {
        assert_eq!(ids(&seen(&lists, name)), expected, "{name}");
        assert_eq!(knows(&lists, &consumer(name)), name != "spiffe://else");
    }
}

#[test]
fn what_is_not_theirs_is_not_told() {
    let lists = lists();
    let entries = seen(&lists, "spiffe://brain.example/city");
    let of = |name: &str| entries.iter().find(|entry| entry.id == id(name)).expect("seen");
    let demand = of("D-2");
    assert_eq!((&*demand.title, &*demand.purpose, &*demand.owner, demand.status), ("", "", "", "approved"));
    assert_eq!(of("D-1").owner, city().to_string());
    let never = of("X-1");
    assert_eq!(
        (never.class, never.lane, &*never.purpose, never.status),
        (Some(Class::Forbidden), None, "", "")
    );
    assert!(!format!("{entries:?}").contains("brain.example/other"));
    assert_eq!(of("S-1").links, [id("D-1"), id("C-1")]);
    assert_eq!(of("S-2").update_ms, Some(900_000));
    assert_eq!(of("C-1").kept_ms, Some(10));
    let query = of("Q-1");
    let expected = [("from", vec![]), ("to", vec![]), ("metric", vec!["heat".to_owned()])];
    assert_eq!((&query.arguments[..], &query.links[..]), (&expected[..], &[id("S-2")][..]));
}

#[test]
fn links_lead_only_to_what_is_seen() {
    let lists = lists();
    for name in ["spiffe://brain.example/city", "spiffe://brain.example/other"] {
        let entries = seen(&lists, name);
        for link in entries.iter().flat_map(|entry| &entry.links) {
            assert!(entries.iter().any(|entry| entry.id == *link), "{name}: {link}");
        }
    }
}

#[test]
fn times_are_written_as_iso_8601_has_them() {
    for (ms, text) in [
        (0, "PT0S"),
        (900_000, "PT15M"),
        (86_400_000, "P1D"),
        (90_061_001, "P1DT1H1M1.001S"),
        (500, "PT0.500S"),
        (3_600_000, "PT1H"),
    ] {
        assert_eq!(iso(ms), text);
    }
}
