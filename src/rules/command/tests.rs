use proptest::prelude::*;

use super::*;

fn command(level: u8) -> Command {
    Command {
        id: "siren-on".parse().expect("an id"),
        title: String::new(),
        device: "siren-1".parse().expect("a device"),
        action: Action::Publish { topic: "siren/1/set".into(), payload: "ON".into() },
        arguments: Default::default(),
        ways: vec![],
        state: None,
        interlock: None,
        expect: None,
        expires_ms: 30_000,
        level,
    }
}

/// Everything that can happen to a run. A condition is what the command has, as in a configuration.
#[derive(Clone, Debug)]
enum Happens {
    Approved(&'static str),
    Sending(Option<Verdict>),
    Ran(Result<(), String>, Option<Verdict>),
    Expected(Verdict),
    Time,
    /// Whether the command has an expected state.
    Restarted(bool),
    Orphaned,
}
use Happens::{Approved, Expected, Orphaned, Ran, Restarted, Sending, Time};

/// Whether it changed something.
fn happen(run: &mut Run, command: &Command, what: &Happens, now_ms: i64) -> bool {
    let before = run.clone();
    let told = match what {
        Approved(by) => run.approved(command, by, now_ms).is_ok() || run.stage != before.stage,
        Sending(interlock) => run.sending(*interlock, now_ms) != Next::Nothing,
        Ran(end, expected) => run.ran(end, *expected, now_ms),
        Expected(verdict) => run.expected(*verdict, now_ms),
        Time => run.time(now_ms),
        Restarted(expects) => run.resumed(*expects, now_ms),
        Orphaned => run.orphaned(now_ms),
    };
    assert_eq!(told, *run != before, "what is told is what changed: {what:?} of {before:?}");
    told
}

fn refused() -> Result<(), String> {
    Err("nobody hears that topic".into())
}

/// How far a run can be, by what brought it there.
fn stands(which: &str) -> Run {
    let level = if which.starts_with("waiting") { 2 } else { 0 };
    let mut run = Run::ordered(1, &command(level), Some(IncidentId(7)), 1_000);
    let steps: &[Happens] = match which {
        "waiting" | "accepted" => &[],
        "waiting for one more" => &[Approved("li")],
        "on its way" => &[Sending(None)],
        "taken" => &[Sending(None), Ran(Ok(()), Some(Verdict::Fails))],
        "done" => &[Sending(None), Ran(Ok(()), None)],
        "failed" => &[Orphaned],
        other => panic!("{other}"),
    };
    for step in steps {
        assert!(happen(&mut run, &command(level), step, 1_500));
    }
    run
}

const STANDS: [&str; 7] =
    ["waiting", "waiting for one more", "accepted", "on its way", "taken", "done", "failed"];

/// What follows what, in the order of [`STANDS`]: the stage after it, `.` for nothing changes.
#[test]
fn every_stage_meets_every_event() {
    use Verdict::{Error, Fails, Holds, Unknown};
    let soon = |what| (what, 2_000);
    let cases: Vec<((Happens, i64), [&str; 7])> = vec![
        (soon(Approved("li")), ["waiting", ".", ".", ".", ".", ".", "."]),
        (soon(Approved(" li ")), ["waiting", ".", ".", ".", ".", ".", "."]),
        (soon(Approved("wang")), ["waiting", "accepted", ".", ".", ".", ".", "."]),
        ((Approved("wang"), 31_000), ["expired", "expired", ".", ".", ".", ".", "."]),
        (soon(Sending(None)), [".", ".", "sent", ".", ".", ".", "."]),
        (soon(Sending(Some(Holds))), [".", ".", "sent", ".", ".", ".", "."]),
        (soon(Sending(Some(Fails))), [".", ".", "failed", ".", ".", ".", "."]),
        (soon(Sending(Some(Unknown))), [".", ".", "failed", ".", ".", ".", "."]),
        (soon(Sending(Some(Error))), [".", ".", "failed", ".", ".", ".", "."]),
        ((Sending(None), 30_999), [".", ".", "sent", ".", ".", ".", "."]),
        ((Sending(None), 31_000), [".", ".", "expired", ".", ".", ".", "."]),
        (soon(Ran(Ok(()), None)), [".", ".", ".", "done", "done", ".", "."]),
        (soon(Ran(Ok(()), Some(Holds))), [".", ".", ".", "done", "done", ".", "."]),
        (soon(Ran(Ok(()), Some(Unknown))), [".", ".", ".", "sent", "sent", ".", "."]),
        (soon(Ran(refused(), None)), [".", ".", ".", "failed", "failed", ".", "."]),
        (soon(Ran(refused(), Some(Holds))), [".", ".", ".", "failed", "failed", ".", "."]),
        (soon(Expected(Holds)), [".", ".", ".", ".", "done", ".", "."]),
        (soon(Expected(Fails)), [".", ".", ".", ".", ".", ".", "."]),
        (soon(Expected(Unknown)), [".", ".", ".", ".", ".", ".", "."]),
        (soon(Expected(Error)), [".", ".", ".", ".", ".", ".", "."]),
        ((Time, 30_999), [".", ".", ".", ".", ".", ".", "."]),
        ((Time, 31_000), ["expired", "expired", "expired", "expired", "expired", ".", "."]),
        (soon(Restarted(false)), [".", ".", ".", "failed", ".", ".", "."]),
        (soon(Restarted(true)), [".", ".", ".", "sent", ".", ".", "."]),
        (soon(Orphaned), ["failed", "failed", "failed", "failed", "failed", ".", "."]),
    ];
    for ((what, now_ms), after) in cases {
        for (stand, after) in STANDS.iter().zip(after) {
            let before = stands(stand);
            let mut run = before.clone();
            let level = if stand.starts_with("waiting") { 2 } else { 0 };
            let changed = happen(&mut run, &command(level), &what, now_ms);
            let expected = if after == "." { before.stage.as_str() } else { after };
            assert_eq!(run.stage.as_str(), expected, "{stand}: {what:?}");
            assert_eq!(changed, after != ".", "{stand}: {what:?}");
            assert!(!changed || run.changed_ms == now_ms, "{stand}: {what:?}");
        }
    }
}

#[test]
fn a_run_says_why_it_is_where_it_is() {
    let detail = |stand, what: &Happens, now_ms| {
        let mut run = stands(stand);
        happen(&mut run, &command(2), what, now_ms);
        run.detail
    };
    for (stand, what, now_ms, part) in [
        ("waiting", Time, 31_000, "nobody agreed"),
        ("accepted", Time, 31_000, "not sent in time"),
        ("on its way", Time, 31_000, "nobody knows"),
        ("taken", Time, 31_000, "the expected state did not come"),
        ("accepted", Sending(Some(Verdict::Fails)), 2_000, "interlock does not hold"),
        ("accepted", Sending(Some(Verdict::Unknown)), 2_000, "interlock depends on"),
        ("accepted", Sending(Some(Verdict::Error)), 2_000, "interlock cannot be computed"),
        ("on its way", Ran(refused(), None), 2_000, "nobody hears that topic"),
        ("on its way", Restarted(false), 2_000, "the gateway stopped while it was being sent"),
        ("taken", Orphaned, 2_000, "no longer configured"),
    ] {
        let told = detail(stand, &what, now_ms);
        assert!(told.contains(part), "{stand}: {what:?}: {told}");
    }
}

/// A siren whose last word was "on" before it was unplugged: what holds before anybody has sent proves nothing.
#[test]
fn an_expected_state_of_before_does_not_prove_that_it_was_sent() {
    let mut run = stands("accepted");
    assert_eq!(run.sending(None, 2_000), Next::Send, "what holds already is still sent");
    assert!(!run.expected(Verdict::Holds, 2_001));
    assert!(run.ran(&refused(), Some(Verdict::Holds), 2_002));
    assert_eq!(run.stage, Stage::Failed);
}

#[test]
fn after_a_restart_the_expected_state_decides() {
    let mut run = stands("on its way");
    assert!(run.resumed(true, 2_000));
    assert_eq!(run.sending(None, 2_001), Next::Nothing, "never twice");
    assert!(run.expected(Verdict::Holds, 2_002));
    assert_eq!(run.stage, Stage::Done);
}

#[test]
fn a_command_that_is_gone_ends_its_runs() {
    let mut run = stands("accepted");
    assert!(!run.restarted(Some(&command(0)), 2_000));
    assert!(run.restarted(None, 2_000));
    assert_eq!(run.stage, Stage::Failed);
}

#[test]
fn names_of_people_stay_out_of_debug() {
    let mut run = Run::ordered(1, &command(2), None, 0);
    run.approved(&command(2), "Zhang San", 1).expect("the first one");
    assert_eq!(run.approved(&command(2), "Zhang San", 2), Err(Refused::Again));
    let told = format!("{run:?} {}", run.detail);
    assert!(!told.contains("Zhang") && told.contains("approved: 1"), "{told}");
}

#[test]
fn stages_have_names_for_good() {
    let names: Vec<&str> = Stage::ALL.into_iter().map(Stage::as_str).collect();
    assert_eq!(names, ["waiting", "accepted", "sent", "done", "failed", "expired"]);
    for stage in Stage::ALL {
        assert_eq!(Stage::named(stage.as_str()), Some(stage));
    }
    assert_eq!(Stage::named("Done"), None);
}

fn any_verdict() -> impl Strategy<Value = Verdict> {
    prop::sample::select(vec![Verdict::Holds, Verdict::Fails, Verdict::Unknown, Verdict::Error])
}

fn anything() -> impl Strategy<Value = Happens> {
    prop_oneof![
        4 => prop::sample::select(vec!["li", "wang", " li"]).prop_map(Approved),
        4 => prop::option::of(any_verdict()).prop_map(Sending),
        3 => (any::<bool>(), prop::option::of(any_verdict()))
            .prop_map(|(ok, expected)| Ran(if ok { Ok(()) } else { refused() }, expected)),
        3 => any_verdict().prop_map(Expected),
        1 => Just(Time),
        1 => any::<bool>().prop_map(Restarted),
        1 => Just(Orphaned),
    ]
}

proptest! {
    /// Whatever happens, in whatever order: sent at most once, only by enough people and in time, and there is an end.
    #[test]
    fn every_run_ends_and_is_sent_at_most_once(
        level in 0_u8..=2,
        steps in prop::collection::vec((anything(), 0_i64..4_000), 0..40),
    ) {
        let command = command(level);
        let mut run = Run::ordered(1, &command, None, 0);
        let (mut now_ms, mut sent, mut agreed) = (0, 0, Vec::<&str>::new());
        for (what, later_ms) in steps {
            now_ms += later_ms;
            let before = run.clone();
            let changed = happen(&mut run, &command, &what, now_ms);
            prop_assert!(!(changed && before.stage.is_final()), "{before:?} {what:?} {run:?}");
            match what {
                Approved(by)
                    if before.stage == Stage::Waiting
                        && now_ms < run.expires_ms
                        && !agreed.contains(&by.trim()) =>
                {
                    agreed.push(by.trim());
                }
                Sending(interlock) if before.stage != Stage::Sent && run.stage == Stage::Sent => {
                    sent += 1;
                    prop_assert!(matches!(interlock, None | Some(Verdict::Holds)));
                    prop_assert!(now_ms < run.expires_ms);
                    prop_assert!(agreed.len() >= usize::from(level));
                }
                _ => {}
            }
            prop_assert_eq!(run.approved.len(), agreed.len());
            prop_assert!(run.stage != Stage::Done || sent == 1);
        }
        prop_assert!(sent <= 1);
        let was_open = !run.stage.is_final();
        prop_assert_eq!(run.time(run.expires_ms.max(now_ms)) , was_open);
        prop_assert!(run.stage.is_final());
    }
}
