//! Each rule alone: a closed loop, one thing that is not, and the one finding.

use super::*;
use crate::lists::tests::{closed, id, point};
use crate::lists::{Noise, Point};

#[test]
fn a_closed_loop_has_no_finding() {
    assert_eq!(lint(&closed()), []);
}

#[test]
fn each_rule_finds_its_own() {
    type Change = fn(&mut Lists);
    let noise = |cells| Noise { budget: "B-1".into(), cells, epsilon: (1, 2) };
    let cases: &[(&str, Change, &[&str])] = &[
        (
            "nobody decided",
            |lists| lists.demands[0].decision = Decision::Open,
            &["demand.undecided", "share.undemanded"],
        ),
        ("no line", |lists| lists.demands[0].wants.clear(), &["demand.unserved", "share.undemanded"]),
        ("for others", |lists| lists.shares[0].consumers.clear(), &["demand.bypassed"]),
        ("refused", |lists| lists.demands[0].decision = Decision::Refused, &["share.undemanded"]),
        ("no class", |lists| lists.shares[0].class = None, &["share.unclassified"]),
        ("another purpose", |lists| lists.shares[0].purpose = "traffic".into(), &["share.purpose"]),
        ("a person", |lists| lists.points[0].whose = Whose::Person, &["share.person"]),
        (
            "bands of a person",
            |lists| {
                lists.points[0] =
                    Point { whose: Whose::Person, ..point("temperature", "generalise", Some("C-1")) };
            },
            &[],
        ),
        (
            "a body",
            |lists| {
                lists.points[0] =
                    Point { whose: Whose::Body, ..point("temperature", "generalise", Some("C-1")) };
            },
            &["share.person"],
        ),
        ("private", |lists| lists.collects[0].public = Some(false), &["share.private"]),
        (
            "private, on conditions",
            |lists| {
                lists.collects[0].public = Some(false);
                lists.shares[0].class = Some(Class::Conditional);
            },
            &[],
        ),
        (
            "tier T0 is no condition",
            |lists| {
                lists.collects[0].public = Some(false);
                lists.shares[0].class = Some(Class::Conditional);
                lists.shares[0].tier = Some("T0".into());
            },
            &["share.private"],
        ),
        (
            "private, nobody approved",
            |lists| {
                lists.collects[0].public = Some(false);
                lists.shares[0].class = Some(Class::Conditional);
                lists.shares[0].approval = String::new();
            },
            &["share.unapproved"],
        ),
        (
            "private, a tier",
            |lists| {
                lists.collects[0].public = Some(false);
                lists.shares[0].class = Some(Class::Conditional);
                lists.shares[0].approval = String::new();
                lists.shares[0].tier = Some("T2".into());
            },
            &[],
        ),
        (
            "private, entered by people",
            |lists| {
                lists.collects[0].public = Some(false);
                lists.collects[0].manual = true;
                lists.shares[0].class = Some(Class::Conditional);
                lists.shares[0].approval = String::new();
            },
            &[],
        ),
        ("not said", |lists| lists.collects[0].public = None, &["collect.unclassified", "share.private"]),
        (
            "without a use",
            |lists| {
                let more = crate::lists::Collect { id: id("C-2"), ..lists.collects[0].clone() };
                lists.collects.push(more);
            },
            &["collect.unused"],
        ),
        (
            "governed alone is a use",
            |lists| {
                lists.demands.clear();
                lists.shares.clear();
            },
            &[],
        ),
        ("kept raw for too long", |lists| lists.collects[0].raw_ms = Some(21), &["collect.retention"]),
        ("kept longer than said", |lists| lists.collects[0].raw_ms = Some(9), &["collect.kept"]),
        ("closes nothing", |lists| lists.governance[0].closes.clear(), &["governance.open"]),
        ("no feedback", |lists| lists.governance[0].feedback_from.clear(), &["governance.silent"]),
    ];
    for (name, change, rules) in cases {
        let mut lists = closed();
        change(&mut lists);
        let found: Vec<&str> = lint(&lists).iter().map(|finding| finding.rule).collect();
        assert_eq!(found, *rules, "{name}");
    }
    for (cells, fits) in [(4, true), (5, false), (u64::MAX, false)] {
        let mut lists = closed();
        lists.shares[0].noise = Some(noise(cells));
        assert_eq!(lint(&lists).is_empty(), fits, "{cells} cells");
    }
}

#[test]
fn every_finding_is_of_a_rule_and_speaks_both_languages() {
    let mut lists = closed();
    lists.demands[0].decision = Decision::Open;
    lists.shares[0].class = None;
    lists.collects[0].public = None;
    lists.governance[0].closes.clear();
    lists.governance[0].feedback_from.clear();
    for finding in lint(&lists) {
        assert!(RULES.iter().any(|(rule, ..)| *rule == finding.rule), "{}", finding.rule);
        let texts = [&finding.text.zh, &finding.text.en, &finding.next.zh, &finding.next.en];
        assert!(texts.iter().all(|text| !text.is_empty()), "{finding:?}");
    }
}
