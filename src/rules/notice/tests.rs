//! Routes, quiet hours, escalation and texts, as tables; and what holds for any plan.

use std::collections::BTreeSet;

use proptest::prelude::*;
use rust_decimal::Decimal;

use super::*;
use crate::model::{Life, Value};
use crate::rules::plan::Alarm;
use crate::rules::trigger::{self, OnError};

/// 2026-10-01 22:05 in the zone below, a Thursday.
const LATE_MS: i64 = 1_790_863_500_000;
const ZONE_MS: i64 = 8 * 3_600_000;
const HOUR_MS: i64 = 3_600_000;
const NAME: &str = "王小明";

fn schedule(text: &str) -> Schedule {
    Schedule::parse(&[text]).expect("a schedule")
}

fn alarm(id: &str) -> Alarm {
    Alarm {
        id: id.parse().expect("an id"),
        title: "Door held open 门长开未关".into(),
        advice: "到现场查看并关门".into(),
        severity: Severity::Major,
        devices: Vec::new(),
        metric: "door_open".parse().expect("a metric"),
        unit: String::new(),
        when: None,
        clear: None,
        early: None,
        then: None,
        trigger: trigger::Rule {
            hold_ms: 0,
            times: None,
            then_ms: None,
            absent_ms: None,
            daily: None,
            confirm: None,
            schedule: Schedule::default(),
            on_error: OnError::Raise,
        },
        cooldown_ms: 0,
        closes_itself: false,
        commands: Vec::new(),
        commands_end: Vec::new(),
    }
}

fn recipient(id: &str, role: Role) -> Recipient {
    Recipient {
        id: id.parse().expect("an id"),
        title: String::new(),
        role,
        channel: Channel::Webhook,
        fields: role.fields().to_vec(),
        quiet: None,
        digest_ms: 0,
        english: false,
    }
}

fn route(to: &[usize]) -> Route {
    Route {
        alarms: None,
        severities: None,
        places: None,
        schedule: Schedule::default(),
        steps: vec![Step::Raised, Step::Confirmed, Step::Closed],
        to: to.to_vec(),
        escalate: Vec::new(),
    }
}

fn event(step: Step, by: Actor) -> Event {
    Event {
        incident: IncidentId(3),
        alarm: "door-held".parse().expect("an id"),
        step,
        life: Life::Raised,
        active: true,
        severity: Severity::Major,
        device: Some("door-1".parse().expect("a name")),
        place: Some("B3/lobby".parse().expect("a place")),
        device_class: "door".into(),
        metric: "door_open".parse().expect("a metric"),
        value: Some(Value::Flag(true)),
        unit: String::new(),
        by,
        reason: "王小明 was here".into(),
        at_ms: LATE_MS,
    }
}

/// Property, street and police.
fn plan(routes: Vec<Route>) -> Plan {
    Plan {
        alarms: vec![alarm("door-held"), alarm("smoke")],
        recipients: vec![
            recipient("property", Role::Property),
            recipient("street", Role::Street),
            recipient("police", Role::Police),
        ],
        routes,
        zone_ms: ZONE_MS,
        ..Plan::default()
    }
}

fn to(drafts: &[Draft]) -> Vec<usize> {
    drafts.iter().map(|draft| draft.recipient).collect()
}

#[test]
fn names_are_there_and_back() {
    assert!(Fate::ALL.into_iter().all(|fate| Fate::named(fate.as_str()) == Some(fate)));
    assert!(Role::ALL.into_iter().all(|role| Role::named(role.as_str()) == Some(role)));
    assert!(Field::ALL.into_iter().all(|field| Field::named(field.as_str()) == Some(field)));
    assert_eq!((Fate::named("lost"), Role::named("mayor"), Field::named("name")), (None, None, None));
}

#[test]
fn routes_take_what_fits_all_of_them() {
    type Change = fn(&mut Route);
    let cases: [(&str, Change, bool); 13] = [
        ("all", |_| {}, true),
        ("its alarm", |route| route.alarms = Some(vec![1, 0]), true),
        ("another alarm", |route| route.alarms = Some(vec![1]), false),
        ("no alarm", |route| route.alarms = Some(vec![]), false),
        ("its severity", |route| route.severities = Some(vec![Severity::Major]), true),
        ("another severity", |route| route.severities = Some(vec![Severity::Critical]), false),
        ("its place", |route| route.places = Some(vec!["A1/*".into(), "B3/*".into()]), true),
        ("another place", |route| route.places = Some(vec!["B3".into()]), false),
        ("any place", |route| route.places = Some(vec!["*".into()]), true),
        ("its hour", |route| route.schedule = schedule("22:00-06:00"), true),
        ("another hour", |route| route.schedule = schedule("06:00-22:00"), false),
        ("its step", |route| route.steps = vec![Step::Raised], true),
        ("another step", |route| route.steps = vec![Step::Closed], false),
    ];
    let place = "B3/lobby".parse().expect("a place");
    for (name, change, taken) in cases {
        let mut route = route(&[0]);
        change(&mut route);
        let takes = route.takes(0, Severity::Major, Some(&place), Step::Raised, LATE_MS, ZONE_MS);
        assert_eq!(takes, taken, "{name}");
    }
    let mut route = route(&[0]);
    route.places = Some(vec!["B3/*".into()]);
    assert!(!route.takes(0, Severity::Major, None, Step::Raised, LATE_MS, ZONE_MS), "without a place");
}

#[test]
fn everybody_is_told_once() {
    let plan = plan(vec![route(&[2, 0]), route(&[0]), route(&[7, 0, 2])]);
    let drafts = told(&plan, &event(Step::Raised, Actor::Gateway), Past::default(), LATE_MS);
    assert_eq!(to(&drafts), [0, 2]);
    let mut gone = event(Step::Raised, Actor::Gateway);
    gone.alarm = "renamed".parse().expect("an id");
    let drafts = told(&plan, &gone, Past::default(), LATE_MS);
    assert_eq!(to(&drafts), [0, 2], "an alarm that is no longer configured");
    assert!(drafts[0].text.contains("renamed"), "{}", drafts[0].text);
}

/// Who is told at ten to six that something is raised learns at eight that it is closed, though his hours ended at six.
#[test]
fn the_end_goes_to_whom_the_beginning_went() {
    let mut night = route(&[0]);
    night.schedule = schedule("22:00-06:00");
    let mut day = route(&[1]);
    day.schedule = schedule("06:00-22:00");
    let plan = plan(vec![night, day]);
    let raised = told(&plan, &event(Step::Raised, Actor::Gateway), Past::default(), LATE_MS);
    let past = Past { raised_ms: Some(LATE_MS), escalated: 0 };
    let closed = told(&plan, &event(Step::Closed, Actor::Gateway), past, LATE_MS + 10 * HOUR_MS);
    assert_eq!((to(&raised), to(&closed)), (vec![0], vec![0]));
}

#[test]
fn escalation_over_all_routes_that_took_it() {
    let (mut first, mut second, mut other) = (route(&[0]), route(&[0]), route(&[0]));
    first.escalate = vec![(300_000, vec![1]), (900_000, vec![2])];
    second.escalate = vec![(900_000, vec![1]), (60_000, vec![0])];
    other.escalate = vec![(1, vec![2])];
    other.alarms = Some(vec![1]);
    let plan = plan(vec![first, second, other]);
    let raised = event(Step::Raised, Actor::Gateway);
    let steps: Vec<_> = (0..4).map(|level| escalation(&plan, &raised, LATE_MS, level)).collect();
    let step = |after_ms, to: &[usize]| Some(Escalation { after_ms, to: to.to_vec() });
    assert_eq!(steps, [step(60_000, &[0]), step(300_000, &[1]), step(900_000, &[1, 2]), None]);
    for (escalated, told_then) in [(0, vec![0]), (1, vec![0]), (2, vec![0, 1]), (3, vec![0, 1, 2])] {
        let past = Past { raised_ms: Some(LATE_MS), escalated };
        let drafts = told(&plan, &event(Step::Closed, Actor::Gateway), past, LATE_MS + HOUR_MS);
        assert_eq!(to(&drafts), told_then, "after {escalated} steps of escalation");
    }
    let drafts = drafts(&plan, &[1], &event(Step::Escalated, Actor::Gateway), LATE_MS);
    assert!(drafts[0].text.contains("无人应答"), "{}", drafts[0].text);
}

#[test]
fn quiet_hours_put_off_what_is_not_critical() {
    let six = LATE_MS + 7 * HOUR_MS + 55 * 60_000;
    let lane = Channel::Lane("spiffe://city/brain".parse().expect("a consumer"));
    for (name, quiet, severity, channel, due_ms) in [
        ("none", None, Severity::Minor, Channel::Webhook, LATE_MS),
        ("night", Some("22:00-06:00"), Severity::Major, Channel::Webhook, six),
        ("critical", Some("22:00-06:00"), Severity::Critical, Channel::Webhook, LATE_MS),
        ("day", Some("06:00-22:00"), Severity::Info, Channel::Webhook, LATE_MS),
        ("the lane disturbs nobody", Some("22:00-06:00"), Severity::Info, lane, LATE_MS),
        ("without an end", Some(""), Severity::Info, Channel::Webhook, LATE_MS),
    ] {
        let mut plan = plan(vec![route(&[0])]);
        plan.recipients[0].quiet =
            quiet.map(|text| if text.is_empty() { Schedule::default() } else { schedule(text) });
        plan.recipients[0].channel = channel;
        let mut raised = event(Step::Raised, Actor::Gateway);
        raised.severity = severity;
        let drafts = told(&plan, &raised, Past::default(), LATE_MS);
        assert_eq!(drafts.iter().map(|draft| draft.due_ms).collect::<Vec<_>>(), [due_ms], "{name}");
    }
}

#[test]
fn the_others_are_told_who_was_first_by_kind() {
    let mut plan = plan(vec![route(&[0, 1])]);
    let city: Consumer = "spiffe://city/brain".parse().expect("a consumer");
    plan.recipients[1].channel = Channel::Lane(city.clone());
    let past = Past { raised_ms: Some(LATE_MS), escalated: 0 };
    for (by, step, told_then, words) in [
        (Actor::Person(NAME.into()), Step::Confirmed, vec![0, 1], "已由小区人员确认"),
        (Actor::Consumer(city), Step::Confirmed, vec![0], "已由城市平台确认"),
        (Actor::Person(NAME.into()), Step::Closed, vec![0, 1], "已由小区人员关闭"),
        (Actor::Gateway, Step::Closed, vec![0, 1], "关闭"),
    ] {
        let drafts = told(&plan, &event(step, by), past, LATE_MS);
        assert_eq!(to(&drafts), told_then, "{words}");
        assert!(drafts[0].text.contains(words), "{}", drafts[0].text);
        assert!(!drafts[0].text.contains(NAME), "{}", drafts[0].text);
    }
}

#[test]
fn a_text_holds_the_fields_of_its_role() {
    let raised = event(Step::Raised, Actor::Gateway);
    let held = alarm("door-held");
    for (role, english, expected) in [
        (
            Role::Property,
            false,
            "【重要】Door held open 门长开未关 · 告警 · 2026-10-01 22:05 · B3/lobby · 设备 door-1 · 建议：到现场查看并关门",
        ),
        (Role::Committee, false, "【重要】Door held open 门长开未关 · 告警 · 2026-10-01 22:05 · B3/lobby"),
        (Role::Street, true, "[major] Door held open 门长开未关 · raised · 2026-10-01 22:05 · B3/lobby"),
        (
            Role::Police,
            false,
            "【重要】Door held open 门长开未关 · 告警 · 2026-10-01 22:05 · B3/lobby · 设备 door-1 · door_open 是 · 建议：到现场查看并关门",
        ),
        (
            Role::Police,
            true,
            "[major] Door held open 门长开未关 · raised · 2026-10-01 22:05 · B3/lobby · device door-1 · door_open yes · do: 到现场查看并关门",
        ),
        (Role::Resident, false, "Door held open 门长开未关 · 告警"),
    ] {
        let recipient = Recipient { english, ..recipient("r", role) };
        assert_eq!(text(&recipient, Some(&held), &raised, ZONE_MS), expected, "{role:?}");
    }
}

#[test]
fn values_are_told_but_for_text() {
    let police = recipient("police", Role::Police);
    for (value, unit, told) in [
        (Some(Value::Number(Decimal::new(605, 1))), "Cel", Some("door_open 60.5 Cel")),
        (Some(Value::Number(Decimal::ONE)), "", Some("door_open 1")),
        (Some(Value::Flag(false)), "", Some("door_open 否")),
        (Some(Value::Text("13800138000".into())), "", None),
        (None, "Cel", None),
    ] {
        let event = Event { value, unit: unit.into(), ..event(Step::Raised, Actor::Gateway) };
        let text = text(&police, None, &event, ZONE_MS);
        assert!(told.is_none_or(|told| text.ends_with(told)), "{text}");
        assert!(told.is_some() || !text.contains("door_open"), "{text}");
        assert!(!text.contains("138"), "{text}");
    }
}

#[test]
fn every_word_is_there_in_both_languages() {
    use Severity::{Critical, Info, Major, Minor};
    let severities = [Info, Minor, Major, Critical];
    for english in [false, true] {
        let groups: [Vec<&str>; 3] = [
            severities.into_iter().map(|severity| words::severity(severity, english)).collect(),
            Life::ALL.into_iter().map(|life| words::life(life, english)).collect(),
            Step::ALL.into_iter().map(|step| words::step(step, english)).collect(),
        ];
        for group in groups {
            assert_eq!(
                group.iter().collect::<BTreeSet<_>>().len(),
                group.len(),
                "two are the same: {group:?}"
            );
            assert!(group.iter().all(|word| !word.is_empty() && word.is_ascii() == english), "{group:?}");
        }
    }
}

fn any_title() -> impl Strategy<Value = String> {
    prop_oneof![".{0,40}", "\\PC{0,600}", "[门\\n\\r\\u{2028}x]{0,700}"]
}

proptest! {
    /// One line, bounded, whole characters, and no word of a person, whatever operators write.
    #[test]
    fn a_text_is_one_short_line(
        title in any_title(),
        advice in any_title(),
        role in prop::sample::select(Role::ALL.to_vec()),
        step in prop::sample::select(Step::ALL.to_vec()),
        english in any::<bool>(),
        at_ms in any::<i64>(),
    ) {
        let alarm = Alarm { title, advice, ..alarm("door-held") };
        let event = Event { at_ms, ..event(step, Actor::Person(NAME.into())) };
        let recipient = Recipient { english, ..recipient("r", role) };
        let text = text(&recipient, Some(&alarm), &event, ZONE_MS);
        prop_assert!(text.len() <= TEXT_BYTES_MAX);
        prop_assert!(!text.chars().any(char::is_control));
        prop_assert!(!text.contains('\u{2028}'), "one line");
        prop_assert!(!text.contains(NAME));
        prop_assert!(text.contains(&words::state(step, &event.by, english)), "{}", text);
    }

    /// Every recipient at most once, in order, never before now; and only those whom a route names.
    #[test]
    fn drafts_are_few_and_in_order(
        routes in prop::collection::vec((prop::collection::vec(0_usize..5, 0..6), prop::option::of(0_usize..3)), 0..6),
        escalated in 0_u32..4,
    ) {
        let routes: Vec<Route> = routes
            .into_iter()
            .map(|(to, alarm)| Route {
                alarms: alarm.map(|alarm| vec![alarm]),
                escalate: vec![(60_000, to.clone())],
                ..route(&to)
            })
            .collect();
        let named: BTreeSet<usize> = routes.iter().flat_map(|route| route.to.clone()).collect();
        let plan = plan(routes);
        let past = Past { raised_ms: Some(LATE_MS), escalated };
        let drafts = told(&plan, &event(Step::Closed, Actor::Gateway), past, LATE_MS);
        prop_assert!(drafts.windows(2).all(|pair| pair[0].recipient < pair[1].recipient));
        prop_assert!(drafts.iter().all(|draft| named.contains(&draft.recipient) && draft.recipient < 3));
        prop_assert!(drafts.iter().all(|draft| draft.due_ms >= LATE_MS));
    }
}
