//! Every step from everywhere, and no sequence that leaves the picture.

use proptest::prelude::*;

use super::Signal::{Early, Off, On};
use super::*;
use Life::{Closed, Confirmed, Dispatched, Handled, PreAlarm, Raised, Suppressed};

const ID: IncidentId = IncidentId(7);

fn at(wall_ms: i64) -> Stamp {
    Stamp { wall_ms, mono_ms: 0 }
}

fn begins(signal: Signal, suppressed: bool) -> (Incident, Step) {
    let (alarm, device) = ("A-1".parse().expect("an id"), "door-1".parse().expect("an id"));
    Incident::begins(ID, alarm, device, Severity::Major, signal, suppressed, at(50))
}

/// One that is there, and active or not.
fn in_life(life: Life, active: bool) -> Incident {
    let raised_ms = (!matches!(life, PreAlarm | Suppressed)).then_some(50);
    Incident { life, active, raised_ms, ..begins(On(40), false).0 }
}

fn order(step: Step, reason: &str) -> Order {
    Order { incident: ID, step, by: Actor::Person("".into()), reason: reason.into() }
}

#[test]
fn beginnings() {
    for (signal, suppressed, life, step, active, raised_ms) in [
        (Early(40), false, PreAlarm, Step::PreAlarm, true, None),
        (On(40), false, Raised, Step::Raised, true, Some(50)),
        (Early(40), true, Suppressed, Step::Suppressed, false, None),
        (On(40), true, Suppressed, Step::Suppressed, true, None),
    ] {
        let (incident, told) = begins(signal, suppressed);
        let found = (incident.life, told, incident.active, incident.raised_ms);
        assert_eq!(found, (life, step, active, raised_ms), "{signal:?} {suppressed}");
        assert_eq!((incident.began_ms, incident.changed_ms), (40, 50));
    }
}

#[test]
fn every_order_from_everywhere() {
    // For each life: where confirmed, dispatched, handled, closed and noted lead; "past" and "no" are refusals.
    let table = [
        (PreAlarm, ["confirmed", "no", "no", "closed", "pre_alarm"]),
        (Raised, ["confirmed", "dispatched", "handled", "closed", "raised"]),
        (Confirmed, ["past", "dispatched", "handled", "closed", "confirmed"]),
        (Dispatched, ["past", "past", "handled", "closed", "dispatched"]),
        (Handled, ["past", "past", "past", "closed", "handled"]),
        (Closed, ["past", "past", "past", "past", "past"]),
        (Suppressed, ["no", "no", "no", "closed", "suppressed"]),
    ];
    assert_eq!(table.map(|row| row.0).len(), Life::ALL.len());
    let by_hand = [Step::Confirmed, Step::Dispatched, Step::Handled, Step::Closed, Step::Noted];
    for (life, row) in table {
        for step in Step::ALL {
            let before = in_life(life, true);
            let mut incident = before.clone();
            let done = incident.order(&order(step, "why"), at(60));
            let expected = by_hand.iter().position(|known| *known == step).map(|column| row[column]);
            match expected {
                None => assert_eq!(done, Err(Refused::NotByHand(step))),
                Some("past") => assert_eq!(done, Err(Refused::Past(ID, life)), "{life} {step}"),
                Some("no") => {
                    assert!(matches!(done, Err(Refused::Unreachable { .. })), "{life} {step}: {done:?}");
                }
                Some(name) => {
                    assert_eq!((done, incident.life.as_str()), (Ok(step), name), "{life} {step}");
                    assert_eq!(incident.changed_ms, 60);
                    continue;
                }
            }
            assert_eq!(incident, before, "{life} {step}: what is refused changes nothing");
        }
    }
}

#[test]
fn refusals_say_what_to_do() {
    let refused = |life, step, reason| {
        let refused = in_life(life, true).order(&order(step, reason), at(60)).expect_err("it is refused");
        refused.to_string()
    };
    for (life, step, reason, text) in [
        (Confirmed, Step::Confirmed, "", "incident 7 is confirmed already"),
        (
            PreAlarm,
            Step::Dispatched,
            "",
            "incident 7 is pre_alarm and cannot be dispatched from there; confirm it first",
        ),
        (Raised, Step::Closed, " \n", "say why: an incident is not closed without a reason"),
        (Raised, Step::Cleared, "x", "an incident is not made cleared by hand"),
    ] {
        assert_eq!(refused(life, step, reason), text);
    }
    let other = Order { incident: IncidentId(8), ..order(Step::Confirmed, "") };
    assert_eq!(in_life(Raised, true).order(&other, at(60)), Err(Refused::Unknown(IncidentId(8))));
}

#[test]
fn every_signal_from_everywhere() {
    use Step::{Cleared, Returned};
    let (sign, on, off) = (Early(55), On(55), Off(55));
    let (stays, closes) = (false, true);
    // Life, active; signal, suppressed, closes itself; steps, life and active afterwards.
    type Row = ((Life, bool), (Signal, bool, bool), (Vec<Step>, Life, bool));
    let mut table: Vec<Row> = vec![
        ((PreAlarm, true), (sign, false, stays), (vec![], PreAlarm, true)),
        ((PreAlarm, true), (on, false, stays), (vec![Step::Raised], Raised, true)),
        ((PreAlarm, true), (on, true, stays), (vec![Step::Suppressed], Suppressed, true)),
        ((PreAlarm, true), (off, false, stays), (vec![Step::Closed], Closed, false)),
        ((Suppressed, false), (sign, true, stays), (vec![], Suppressed, false)),
        ((Suppressed, false), (on, true, stays), (vec![], Suppressed, true)),
        ((Suppressed, true), (on, true, stays), (vec![], Suppressed, true)),
        ((Suppressed, false), (on, false, stays), (vec![Step::Raised], Raised, true)),
        ((Suppressed, true), (off, true, stays), (vec![Step::Closed], Closed, false)),
        ((Suppressed, false), (off, false, stays), (vec![Step::Closed], Closed, false)),
    ];
    for life in [Raised, Confirmed, Dispatched, Handled] {
        for suppressed in [false, true] {
            table.extend([
                ((life, true), (on, suppressed, stays), (vec![], life, true)),
                ((life, true), (sign, suppressed, stays), (vec![], life, true)),
                ((life, false), (sign, suppressed, stays), (vec![], life, false)),
                ((life, false), (on, suppressed, stays), (vec![Returned], life, true)),
                ((life, true), (off, suppressed, stays), (vec![Cleared], life, false)),
                ((life, false), (off, suppressed, stays), (vec![], life, false)),
                ((life, true), (off, suppressed, closes), (vec![Cleared, Step::Closed], Closed, false)),
            ]);
        }
    }
    table.extend(
        [sign, on, off].map(|signal| ((Closed, false), (signal, false, closes), (vec![], Closed, false))),
    );
    for ((life, active), (signal, suppressed, closes_itself), (steps, then, is_active)) in table {
        let name = format!("{life} {active}: {signal:?} {suppressed} {closes_itself}");
        let mut incident = in_life(life, active);
        let found = incident.signal(signal, suppressed, closes_itself, at(60));
        assert_eq!((&found, incident.life, incident.active), (&steps, then, is_active), "{name}");
        assert_eq!(incident.changed_ms, if steps.is_empty() { 50 } else { 60 }, "{name}");
        assert_eq!(incident.returns, u32::from(steps.contains(&Returned)), "{name}");
        let raised = steps.contains(&Step::Raised).then_some(60);
        assert_eq!(incident.raised_ms, raised.or(in_life(life, active).raised_ms), "{name}");
    }
}

#[test]
fn what_was_suppressed_is_raised_when_it_still_holds() {
    for life in Life::ALL {
        for active in [true, false] {
            let is = life == Suppressed && active;
            let mut incident = in_life(life, active);
            assert_eq!(incident.lifted(at(60)), is.then_some(Step::Raised), "{life} {active}");
            assert_eq!(incident.life, if is { Raised } else { life });
        }
        let mut incident = in_life(life, true);
        assert_eq!(incident.escalates(at(60)), (life == Raised).then_some(Step::Escalated), "{life}");
        assert_eq!(incident.escalated, u32::from(life == Raised));
    }
}

#[test]
fn a_confirmed_pre_alarm_is_told_when_it_is_raised() {
    let (mut incident, _) = begins(Early(40), false);
    assert_eq!(incident.order(&order(Step::Confirmed, ""), at(51)), Ok(Step::Confirmed));
    assert_eq!(incident.signal(On(52), false, false, at(53)), [Step::Raised]);
    assert_eq!((incident.life, incident.raised_ms), (Confirmed, Some(53)), "the first one has won");
    assert_eq!(incident.signal(On(54), false, false, at(54)), []);
}

#[derive(Clone, Debug)]
enum Do {
    Signal(Signal, bool, bool),
    Lifted,
    Escalates,
    Order(Step, bool),
}

fn any_do() -> impl Strategy<Value = Do> {
    let signal = prop::sample::select(vec![Early(1), On(1), Off(1)]);
    prop_oneof![
        4 => (signal, any::<bool>(), any::<bool>()).prop_map(|(signal, not, closes)| Do::Signal(signal, not, closes)),
        1 => Just(Do::Lifted),
        1 => Just(Do::Escalates),
        3 => (prop::sample::select(Step::ALL.to_vec()), any::<bool>()).prop_map(|(step, why)| Do::Order(step, why)),
    ]
}

proptest! {
    /// The arrows of [`Life`], and the one from a pre-alarm that somebody confirms.
    #[test]
    fn no_sequence_leaves_the_picture(
        starts_on in any::<bool>(),
        suppressed in any::<bool>(),
        steps in prop::collection::vec(any_do(), 0..40),
    ) {
        let (mut incident, _) = begins(if starts_on { On(1) } else { Early(1) }, suppressed);
        for (index, what) in steps.into_iter().enumerate() {
            let before = incident.clone();
            let now = at(100 + index as i64);
            let told = match &what {
                Do::Signal(signal, not, closes) => incident.signal(*signal, *not, *closes, now),
                Do::Lifted => incident.lifted(now).into_iter().collect(),
                Do::Escalates => incident.escalates(now).into_iter().collect(),
                Do::Order(step, why) => {
                    incident.order(&order(*step, if *why { "why" } else { "" }), now).into_iter().collect()
                }
            };
            let is_arrow = match (before.life, incident.life) {
                (from, to) if from == to => true,
                (Closed, _) => false,
                (_, Closed) => true,
                (PreAlarm, Raised | Suppressed | Confirmed) | (Suppressed, Raised) => true,
                (Raised | Confirmed | Dispatched | Handled, to) => rank(to) > rank(before.life),
                _ => false,
            };
            prop_assert!(is_arrow, "{} to {} by {:?}", before.life, incident.life, what);
            prop_assert_eq!(told.is_empty(), incident.changed_ms == before.changed_ms, "{:?}", what);
            prop_assert!(incident.life == before.life || !told.is_empty(), "no change without a step");
            prop_assert!(incident.raised_ms >= before.raised_ms);
            if before.life == Closed {
                prop_assert_eq!(&incident, &before);
            }
        }
    }
}
