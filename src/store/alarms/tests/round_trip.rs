//! Whatever is put as a row is read as it was.

use proptest::prelude::*;
use rust_decimal::Decimal;

use super::*;

fn any_time() -> impl Strategy<Value = i64> {
    prop_oneof![Just(0), -1_000_i64..1_000, Just(NOW.wall_ms), Just(i64::MIN), Just(i64::MAX)]
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), Just("\"',\n\\ 门\u{0}".to_owned()), ".{0,20}"]
}

fn any_name<T: std::str::FromStr<Err: std::fmt::Debug> + std::fmt::Debug>() -> impl Strategy<Value = T> {
    "[a-z][a-z0-9.]{0,8}".prop_map(|text| id(&text))
}

fn any_number() -> impl Strategy<Value = u64> {
    1_u64..1 << 40
}

prop_compose! {
    fn any_incident()(
        number in any_number(), alarm in any_name(), device in any_name(), active: bool,
        severity in prop::sample::select(Severity::ALL.to_vec()), life in prop::sample::select(Life::ALL.to_vec()),
        began_ms in any_time(), raised_ms in prop::option::of(any_time()), changed_ms in any_time(),
        told_ms in prop::option::of(any_time()), escalated: u32, returns: u32,
    ) -> Incident {
        Incident {
            id: IncidentId(number), alarm, device, severity, life, active, began_ms, raised_ms, changed_ms, escalated,
            told_ms, returns,
        }
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        (any::<i64>(), 0_u32..28).prop_map(|(number, scale)| Value::Number(Decimal::new(number, scale))),
        any::<bool>().prop_map(Value::Flag),
        any_text().prop_map(|text| Value::Text(text.into())),
    ]
}

fn any_actor() -> impl Strategy<Value = Actor> {
    prop_oneof![
        Just(Actor::Gateway),
        any_text().prop_map(|name| Actor::Person(name.into())),
        any_name().prop_map(Actor::Consumer),
    ]
}

prop_compose! {
    fn any_event()(
        of in any_incident(), step in prop::sample::select(Step::ALL.to_vec()),
        device in prop::option::of(any_name()), place in prop::option::of(any_name()), device_class in any_text(),
        metric in any_name(), value in prop::option::of(any_value()), unit in any_text(), by in any_actor(),
        reason in any_text(), at_ms in any_time(),
    ) -> Event {
        Event {
            incident: of.id, alarm: of.alarm, step, life: of.life, active: of.active, severity: of.severity, device,
            place, device_class, metric, value, unit, by, reason: reason.into(), at_ms,
        }
    }
}

prop_compose! {
    fn any_notice()(
        of in any_incident(), number in any_number(), step in prop::sample::select(Step::ALL.to_vec()),
        place in prop::option::of(any_name()), recipient in any_name(), due_ms in any_time(),
        seq in prop::option::of(any_number().prop_map(Seq)), run in prop::option::of(any_number()),
        text in any_text(), fate in prop::sample::select(Fate::ALL.to_vec()), proof in any_text(),
    ) -> Notice {
        Notice {
            id: number, incident: of.id, step, alarm: of.alarm, severity: of.severity, place, recipient,
            made_ms: of.began_ms, due_ms, seq, run, text, fate, tries: of.escalated, done_ms: of.told_ms, proof,
        }
    }
}

prop_compose! {
    fn any_run()(
        of in any_incident(), number in any_number(), incident in prop::option::of(any_number().prop_map(IncidentId)),
        stage in prop::sample::select(Stage::ALL.to_vec()), expires_ms in any_time(),
        approved in prop::collection::vec(any_text().prop_map(Box::<str>::from), 0..3), detail in any_text(),
        asked in prop::option::of((any_text(), prop::collection::btree_map("[a-z]{1,4}", any_text(), 0..3))),
    ) -> Run {
        let asked = asked.map(|(request, arguments)| {
            let consumer = "spiffe://a/b".parse().expect("a consumer");
            Box::new(Asked { consumer, request, share: "S-1".parse().expect("an id"), arguments })
        });
        Run {
            id: number, command: of.alarm, incident, stage, ordered_ms: of.began_ms, expires_ms,
            changed_ms: of.changed_ms, approved, detail, asked,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What was put is what is read, and what is put again takes its place.
    #[test]
    fn rows_come_back_as_they_were(
        incident in any_incident(), event in any_event(), notice in any_notice(), other in any_incident(),
    ) {
        let dir = tempfile::tempdir().expect("a directory");
        let mut store = open(dir.path());
        let other = Incident { id: incident.id, ..other };
        let mut txn = store.begin().expect("a transaction");
        for incident in [&other, &incident] {
            txn.set_incident(incident).expect("put");
        }
        let number = txn.add_event(&event).expect("put");
        txn.set_notice(&notice).expect("put");
        prop_assert_eq!(txn.incident(incident.id).expect("read"), Some(incident.clone()));
        prop_assert_eq!(txn.notice(notice.id).expect("read"), Some(notice));
        let events = all(txn.conn, &rows::events("true"), [], rows::event).expect("read");
        prop_assert_eq!(events, vec![(number, event)]);
        txn.commit().expect("committed");
        let open = store.incidents_open().expect("read");
        prop_assert_eq!(open.len(), usize::from(incident.life != Life::Closed));
    }

    /// The same of a run, whoever ordered it.
    #[test]
    fn runs_come_back_as_they_were(run in any_run()) {
        let dir = tempfile::tempdir().expect("a directory");
        let mut store = open(dir.path());
        let mut txn = store.begin().expect("a transaction");
        txn.set_run(&run).expect("put");
        prop_assert_eq!(txn.run(run.id).expect("read"), Some(run));
    }
}
