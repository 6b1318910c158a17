//! Lives of triggers, step by step; each also interrupted at every step.

use super::Change::{Quiet, Told};
use super::Signal::{Early, Off, On};
use super::*;
use Verdict::{Error, Fails, Holds, Unknown};

mod history;

/// A Monday, 00:00 UTC: wall and event time are so far ahead of the monotonic clock.
const AHEAD_MS: i64 = 1_790_553_600_000;
const HOUR: u64 = 3_600_000;
const MINUTE: u64 = 60_000;

fn at(mono_ms: u64) -> Stamp {
    Stamp { wall_ms: AHEAD_MS + mono_ms as i64, mono_ms }
}

fn plain() -> Rule {
    Rule {
        hold_ms: 0,
        times: None,
        then_ms: None,
        absent_ms: None,
        daily: None,
        confirm: None,
        schedule: Schedule::default(),
        on_error: OnError::Raise,
    }
}

fn schedule(text: &str) -> Schedule {
    Schedule::parse(&[text]).expect("a schedule in a test")
}

fn when(when: Verdict) -> Truth {
    Truth { when, clear: None, early: None, then: None }
}

fn clear(clear: Verdict) -> Truth {
    Truth { clear: Some(clear), ..when(Fails) }
}

fn early(whole: Verdict, early: Verdict) -> Truth {
    Truth { early: Some(early), ..when(whole) }
}

fn then(first: Verdict, then: Verdict) -> Truth {
    Truth { then: Some(then), ..when(first) }
}

#[derive(Clone, Copy, Debug)]
enum Do {
    /// A reading of its own.
    Feed(Truth),
    /// Of another device, or presence.
    Look(Truth),
    Tick(Truth),
    /// Others of the place say so too.
    Vouch,
}
use Do::{Feed, Look, Tick, Vouch};

/// A state, and what is kept of it when there is something to keep.
struct Kept {
    state: State,
    row: Option<String>,
    heard_ms: Option<i64>,
}

impl Kept {
    fn new() -> Self {
        Self { state: State::default(), row: None, heard_ms: None }
    }

    fn step(&mut self, rule: &Rule, what: Do, mono_ms: u64) -> Option<Change> {
        let (now, at_ms) = (at(mono_ms), at(mono_ms).wall_ms);
        let change = match what {
            Feed(truth) => {
                self.heard_ms = Some(at_ms);
                rule.feed(&mut self.state, truth, true, at_ms, now, 0)
            }
            Look(truth) => rule.feed(&mut self.state, truth, false, at_ms, now, 0),
            Tick(truth) => rule.tick(&mut self.state, truth, now, 0),
            Vouch => rule.vouched(&mut self.state, at_ms).map(Told),
        };
        if change.is_some() {
            self.row = self.state.kept();
        }
        change
    }

    /// Another process, with another monotonic clock that shows the same.
    fn cut(&mut self, rule: &Rule, mono_ms: u64) {
        let now = at(mono_ms);
        self.state = match &self.row {
            Some(row) => State::restored(row, now).expect("what was kept"),
            None => State::default(),
        };
        if let Some(heard_ms) = self.heard_ms {
            rule.alive(&mut self.state, heard_ms, now);
        }
    }
}

type Steps = Vec<(u64, Do, Option<Change>)>;

fn live(cases: Vec<(&str, Rule, Steps)>) {
    for (name, rule, steps) in cases {
        assert_eq!(rule.nonsense(), Vec::<&str>::new(), "{name}");
        let (mut whole, mut cut) = (Kept::new(), Kept::new());
        for (index, (mono_ms, what, expected)) in steps.into_iter().enumerate() {
            // Times of signals are written as the monotonic clock shows them.
            let shown = |signal| match signal {
                Early(ms) => Early(ms - AHEAD_MS),
                On(ms) => On(ms - AHEAD_MS),
                Off(ms) => Off(ms - AHEAD_MS),
            };
            let show = |change: Option<Change>| match change {
                Some(Told(signal)) => Some(Told(shown(signal))),
                other => other,
            };
            assert_eq!(show(whole.step(&rule, what, mono_ms)), expected, "{name}: step {index}");
            cut.cut(&rule, mono_ms);
            assert_eq!(
                show(cut.step(&rule, what, mono_ms)),
                expected,
                "{name}: step {index}, after a restart"
            );
        }
    }
}

const QUIET: Option<Change> = Some(Quiet);

fn on(ms: u64) -> Option<Change> {
    Some(Told(On(ms as i64)))
}

fn off(ms: u64) -> Option<Change> {
    Some(Told(Off(ms as i64)))
}

fn sign(ms: u64) -> Option<Change> {
    Some(Told(Early(ms as i64)))
}

#[test]
fn lives_of_holding() {
    let held = Rule { hold_ms: 100, ..plain() };
    let stay = Rule { on_error: OnError::Stay, ..plain() };
    live(vec![
        (
            "at once, ending where another condition holds",
            plain(),
            vec![
                (0, Feed(clear(Fails)), None),
                (1, Feed(Truth { when: Holds, ..clear(Fails) }), on(1)),
                (2, Feed(clear(Fails)), None),
                (3, Feed(Truth { when: Holds, ..clear(Holds) }), None),
                (4, Feed(Truth { when: Unknown, ..clear(Unknown) }), None),
                (5, Feed(clear(Error)), None),
                (6, Feed(clear(Holds)), off(6)),
                (7, Feed(clear(Holds)), None),
            ],
        ),
        (
            "held, raised by a tick",
            held.clone(),
            vec![
                (10, Feed(when(Holds)), QUIET),
                (109, Tick(when(Holds)), None),
                (110, Tick(when(Holds)), on(110)),
                (111, Tick(when(Holds)), None),
                (130, Feed(when(Fails)), off(130)),
            ],
        ),
        (
            "held, raised by a reading, late: at the time it was due",
            held.clone(),
            vec![
                (10, Feed(when(Holds)), QUIET),
                (60, Look(when(Holds)), None),
                (500, Feed(when(Holds)), on(110)),
            ],
        ),
        (
            "a break cancels, even one that would not clear; what is unknown is none",
            held.clone(),
            vec![
                (10, Feed(when(Holds)), QUIET),
                (60, Feed(clear(Fails)), QUIET),
                (200, Tick(when(Fails)), None),
                (210, Feed(when(Holds)), QUIET),
                (250, Feed(when(Unknown)), None),
                (310, Tick(when(Unknown)), on(310)),
            ],
        ),
        (
            "an error raises",
            plain(),
            vec![(1, Feed(when(Error)), on(1)), (2, Feed(when(Error)), None), (3, Feed(when(Fails)), off(3))],
        ),
        (
            "an error changes nothing",
            stay,
            vec![
                (1, Feed(when(Error)), None),
                (2, Feed(when(Holds)), on(2)),
                (3, Feed(when(Error)), None),
                (4, Feed(when(Fails)), off(4)),
            ],
        ),
        (
            "an early sign, the alarm, and no early sign on the way down",
            held.clone(),
            vec![
                (1, Feed(early(Fails, Fails)), None),
                (2, Feed(early(Fails, Holds)), sign(2)),
                (3, Feed(early(Fails, Unknown)), None),
                (4, Feed(early(Fails, Fails)), off(4)),
                (5, Feed(early(Holds, Holds)), sign(5)),
                (105, Tick(early(Holds, Holds)), on(105)),
                (110, Feed(early(Fails, Holds)), off(110)),
                (111, Feed(early(Fails, Holds)), None),
                (112, Feed(early(Fails, Fails)), QUIET),
                (113, Feed(early(Fails, Holds)), sign(113)),
                (114, Feed(when(Fails)), off(114)),
            ],
        ),
        (
            "a hold without end",
            Rule { hold_ms: u64::MAX, ..plain() },
            vec![(1, Feed(when(Holds)), QUIET), (1 << 40, Tick(when(Holds)), None)],
        ),
    ]);
}

#[test]
fn lives_of_counts_and_sequences() {
    let thrice = Rule { times: Some((3, 100)), ..plain() };
    let follows = Rule { then_ms: Some(100), ..plain() };
    live(vec![
        (
            "three times, by becoming true and by saying so again",
            thrice.clone(),
            vec![
                (0, Feed(when(Holds)), QUIET),
                (1, Look(when(Holds)), None),
                (10, Feed(when(Holds)), QUIET),
                (20, Feed(when(Fails)), QUIET),
                (100, Look(when(Holds)), on(100)),
                (110, Feed(when(Holds)), None),
                (120, Feed(when(Fails)), off(120)),
                (130, Feed(when(Holds)), QUIET),
            ],
        ),
        (
            "what is too long ago does not count",
            thrice,
            vec![
                (0, Feed(when(Holds)), QUIET),
                (50, Feed(when(Holds)), QUIET),
                (101, Feed(when(Holds)), QUIET),
                (151, Feed(when(Holds)), QUIET),
                (200, Feed(when(Holds)), on(200)),
            ],
        ),
        (
            "A, then B",
            follows.clone(),
            vec![
                (0, Feed(then(Fails, Holds)), None),
                (1, Feed(then(Holds, Fails)), QUIET),
                (50, Feed(then(Fails, Fails)), QUIET),
                (101, Look(then(Fails, Holds)), on(101)),
                (110, Feed(then(Fails, Fails)), off(110)),
                (111, Feed(then(Fails, Holds)), None),
            ],
        ),
        (
            "A and B at once, and B too late",
            follows.clone(),
            vec![
                (0, Feed(then(Holds, Holds)), QUIET),
                (0, Feed(then(Holds, Holds)), None),
                (101, Feed(then(Holds, Holds)), QUIET),
                (110, Feed(then(Holds, Holds)), None),
            ],
        ),
        (
            "A again begins anew",
            follows,
            vec![
                (0, Feed(then(Holds, Fails)), QUIET),
                (50, Feed(then(Fails, Fails)), QUIET),
                (90, Feed(then(Holds, Fails)), QUIET),
                (190, Feed(then(Holds, Holds)), on(190)),
            ],
        ),
    ]);
}

#[test]
fn lives_of_silence_and_days() {
    let silent = Rule { absent_ms: Some(100), ..plain() };
    let daily = Rule { daily: Some(600), ..plain() };
    let ten = 10 * HOUR;
    live(vec![
        (
            "never heard: from the first look on",
            silent.clone(),
            vec![
                (5, Tick(when(Unknown)), QUIET),
                (104, Tick(when(Unknown)), None),
                (106, Tick(when(Unknown)), on(105)),
                (300, Tick(when(Unknown)), None),
                (301, Look(when(Unknown)), None),
                (310, Feed(when(Unknown)), off(310)),
                (409, Tick(when(Unknown)), None),
                (410, Tick(when(Unknown)), on(410)),
            ],
        ),
        (
            "a sign of life puts it off, and is nothing to keep",
            silent,
            vec![
                (0, Feed(when(Unknown)), QUIET),
                (90, Feed(when(Unknown)), None),
                (180, Feed(when(Unknown)), None),
                (279, Look(when(Unknown)), None),
                (290, Look(when(Unknown)), on(280)),
            ],
        ),
        (
            "once a day",
            daily.clone(),
            vec![
                (ten - 1, Feed(when(Holds)), None),
                (ten - 1, Tick(when(Holds)), None),
                (ten, Tick(when(Holds)), on(ten)),
                (ten + 1, Tick(when(Holds)), None),
                (ten + 2, Feed(when(Fails)), off(ten + 2)),
                (ten + 3, Feed(when(Holds)), None),
                (ten + 4, Tick(when(Holds)), None),
                (ten + 24 * HOUR, Tick(when(Fails)), QUIET),
                (ten + 24 * HOUR + 1, Tick(when(Holds)), None),
                (ten + 48 * HOUR + 29 * MINUTE, Tick(when(Unknown)), on(ten + 48 * HOUR)),
                (ten + 72 * HOUR, Tick(when(Holds)), QUIET),
                (ten + 73 * HOUR, Feed(when(Unknown)), None),
                (ten + 74 * HOUR, Feed(when(Fails)), off(ten + 74 * HOUR)),
            ],
        ),
        (
            "half an hour late is too late, and nothing known is nothing",
            Rule { on_error: OnError::Stay, ..daily.clone() },
            vec![
                (ten + 30 * MINUTE, Tick(when(Holds)), None),
                (ten + 24 * HOUR, Tick(when(Unknown)), QUIET),
                (ten + 24 * HOUR + 1, Tick(when(Holds)), None),
            ],
        ),
        (
            "not on a day off",
            Rule { schedule: schedule("Tue"), ..daily },
            vec![(ten, Tick(when(Holds)), QUIET), (ten + 24 * HOUR, Tick(when(Holds)), on(ten + 24 * HOUR))],
        ),
        (
            "late over midnight",
            Rule { daily: Some(1439), ..plain() },
            vec![
                (24 * HOUR + 5, Tick(when(Holds)), on(24 * HOUR - MINUTE)),
                (24 * HOUR + 6, Tick(when(Holds)), None),
            ],
        ),
    ]);
}

#[test]
fn lives_of_places_and_hours() {
    let both = Rule { confirm: Some((2, 50)), ..plain() };
    let night = Rule { schedule: schedule("01:00-02:00"), ..plain() };
    let held = Rule { hold_ms: 100, ..night.clone() };
    live(vec![
        (
            "one alone is an early sign, and ends as one",
            both.clone(),
            vec![
                (0, Vouch, None),
                (1, Feed(when(Holds)), sign(1)),
                (2, Feed(when(Fails)), off(2)),
                (3, Vouch, None),
                (4, Feed(when(Holds)), sign(4)),
                (5, Feed(when(Holds)), QUIET),
                (6, Vouch, on(6)),
                (7, Vouch, None),
                (8, Feed(when(Fails)), off(8)),
            ],
        ),
        (
            "held, then alone",
            Rule { hold_ms: 100, ..both.clone() },
            vec![(1, Feed(when(Holds)), QUIET), (101, Tick(when(Holds)), sign(101)), (200, Vouch, on(200))],
        ),
        (
            "alone with an early sign is nothing new, nor is it over before both are",
            both,
            vec![
                (1, Feed(early(Fails, Holds)), sign(1)),
                (2, Feed(early(Holds, Holds)), QUIET),
                (3, Feed(early(Fails, Holds)), QUIET),
                (4, Feed(early(Fails, Fails)), off(4)),
            ],
        ),
        (
            "outside of its hours nothing begins, and what is on stays",
            night,
            vec![
                (1, Feed(when(Holds)), None),
                (2, Feed(early(Holds, Holds)), None),
                (HOUR - 1, Tick(when(Holds)), None),
                (HOUR, Tick(when(Holds)), on(HOUR)),
                (2 * HOUR, Tick(when(Holds)), None),
                (3 * HOUR, Feed(when(Fails)), off(3 * HOUR)),
                (4 * HOUR, Feed(when(Holds)), None),
            ],
        ),
        (
            "what is pending ends with its hours, unless it was due before",
            held,
            vec![
                (HOUR, Feed(when(Holds)), QUIET),
                (HOUR + 100, Tick(when(Holds)), on(HOUR + 100)),
                (HOUR + 200, Feed(when(Fails)), off(HOUR + 200)),
                (2 * HOUR - 50, Feed(when(Holds)), QUIET),
                (2 * HOUR, Tick(when(Holds)), QUIET),
                (25 * HOUR, Tick(when(Holds)), QUIET),
                (25 * HOUR + 100, Tick(when(Holds)), on(25 * HOUR + 100)),
                (25 * HOUR + 200, Feed(when(Fails)), off(25 * HOUR + 200)),
                (26 * HOUR - 100, Feed(when(Holds)), QUIET),
                (26 * HOUR, Feed(when(Holds)), QUIET),
                (49 * HOUR, Feed(when(Holds)), QUIET),
                (49 * HOUR + 100, Feed(when(Holds)), on(49 * HOUR + 100)),
            ],
        ),
        (
            "what was missed before its hours is missed when they begin",
            Rule { absent_ms: Some(100), schedule: schedule("01:00-02:00"), ..plain() },
            vec![
                (0, Feed(when(Unknown)), QUIET),
                (100, Tick(when(Unknown)), None),
                (HOUR, Tick(when(Unknown)), on(HOUR)),
                (3 * HOUR, Feed(when(Unknown)), off(3 * HOUR)),
            ],
        ),
    ]);
}

#[test]
fn when_it_is_due() {
    let night = schedule("01:00-02:00");
    let due = |rule: &Rule, kept: &Kept, mono_ms| {
        rule.due(&kept.state, at(mono_ms), 0).map(|due| (due.mono_ms, due.wall_ms - AHEAD_MS))
    };
    let mono = |ms: u64| Some((ms, ms as i64));
    // Rule, what is done, when it is asked, what is due.
    let held = Rule { hold_ms: 100, ..plain() };
    for (name, rule, done, asked, expected) in [
        ("nothing", plain(), vec![], 5, None),
        ("pending", held.clone(), vec![(7, Feed(when(Holds)))], 8, mono(107)),
        ("on", held.clone(), vec![(7, Feed(when(Holds))), (107, Tick(when(Holds)))], 108, None),
        ("before its hours", Rule { schedule: night.clone(), ..plain() }, vec![], 5, mono(HOUR)),
        ("in its hours", Rule { schedule: night.clone(), ..plain() }, vec![], HOUR, None),
        (
            "pending at the end of its hours",
            Rule { schedule: night.clone(), ..held },
            vec![(2 * HOUR - 10, Feed(when(Holds)))],
            2 * HOUR - 5,
            mono(2 * HOUR),
        ),
        ("never heard", Rule { absent_ms: Some(100), ..plain() }, vec![], 5, mono(5)),
        ("heard", Rule { absent_ms: Some(100), ..plain() }, vec![(5, Feed(when(Unknown)))], 6, mono(105)),
        (
            "silent outside of its hours",
            Rule { absent_ms: Some(100), schedule: night, ..plain() },
            vec![(5, Feed(when(Unknown)))],
            200,
            mono(HOUR),
        ),
        ("before the time of the day", Rule { daily: Some(60), ..plain() }, vec![], 5, mono(HOUR)),
        ("late", Rule { daily: Some(60), ..plain() }, vec![], HOUR + 9, mono(HOUR + 9)),
        ("too late", Rule { daily: Some(60), ..plain() }, vec![], 3 * HOUR, mono(25 * HOUR)),
        (
            "looked",
            Rule { daily: Some(60), ..plain() },
            vec![(HOUR, Tick(when(Holds)))],
            HOUR,
            mono(25 * HOUR),
        ),
    ] {
        let mut kept = Kept::new();
        for (mono_ms, what) in done {
            kept.step(&rule, what, mono_ms);
        }
        assert_eq!(due(&rule, &kept, asked), expected, "{name}");
    }
}

#[test]
fn the_local_day_is_that_of_the_zone() {
    let rule = Rule { daily: Some(600), ..plain() };
    let east_ms = 8 * HOUR as i64;
    let mut state = State::default();
    assert_eq!(rule.due(&state, at(0), east_ms).map(|due| due.mono_ms), Some(2 * HOUR));
    let told = rule.tick(&mut state, when(Holds), at(2 * HOUR), east_ms);
    assert_eq!(told, Some(Told(On(at(2 * HOUR).wall_ms))));
}

#[test]
fn a_wall_clock_that_steps_neither_raises_nor_delays() {
    let rule = Rule { hold_ms: 100, ..plain() };
    let mut state = State::default();
    rule.feed(&mut state, when(Holds), true, 1_000, at(10), 0);
    let stepped = |mono_ms| Stamp { wall_ms: i64::MAX, mono_ms };
    assert_eq!(rule.tick(&mut state, when(Holds), stepped(109), 0), None);
    assert_eq!(rule.tick(&mut state, when(Holds), stepped(110), 0), Some(Told(On(1_100))));
}

#[test]
fn what_is_kept_is_small_and_readable() {
    let rule = Rule { hold_ms: 100, ..plain() };
    let mut state = State::default();
    assert_eq!(state.kept(), None);
    rule.feed(&mut state, when(Holds), true, 5, Stamp { wall_ms: 10, mono_ms: 7 }, 0);
    let kept = state.kept().expect("it is pending");
    assert_eq!(kept, r#"{"stage":{"pending":{"since_ms":5,"due":110}}}"#);
    let later = State::restored(&kept, Stamp { wall_ms: 60, mono_ms: 1_000 }).expect("its own");
    let due = rule.due(&later, Stamp { wall_ms: 60, mono_ms: 1_000 }, 0);
    assert_eq!(due, Some(Due { wall_ms: 110, mono_ms: 1_050 }));
    assert_eq!(State::restored("{\"stage\":\"gone\"}", at(0)), None);
}

#[test]
fn nonsense_is_named() {
    for (rule, count) in [
        (plain(), 0),
        (Rule { hold_ms: 5, schedule: schedule("01:00-02:00"), ..plain() }, 0),
        (Rule { hold_ms: HOUR + 1, schedule: schedule("01:00-02:00"), ..plain() }, 1),
        (Rule { hold_ms: 5, times: Some((3, 10)), ..plain() }, 1),
        (Rule { absent_ms: Some(5), times: Some((3, 10)), ..plain() }, 1),
        (Rule { hold_ms: 5, then_ms: Some(5), daily: Some(60), ..plain() }, 2),
        (Rule { times: Some((1, 10)), ..plain() }, 1),
        (Rule { times: Some((2, 0)), ..plain() }, 1),
        (Rule { then_ms: Some(0), ..plain() }, 1),
        (Rule { absent_ms: Some(0), ..plain() }, 1),
        (Rule { confirm: Some((1, 10)), ..plain() }, 1),
        (Rule { daily: Some(1440), ..plain() }, 1),
        (Rule { daily: Some(600), schedule: schedule("22:00-06:00"), ..plain() }, 1),
        (Rule { daily: Some(600), confirm: Some((2, 10)), schedule: schedule("Sun"), ..plain() }, 0),
    ] {
        assert_eq!(rule.nonsense().len(), count, "{rule:?}: {:?}", rule.nonsense());
    }
}
