//! One threshold with a hold time, as a state machine per series.
//!
//! ```text
//!            holds, hold > 0            held long enough
//!   Normal ─────────────────► Pending ───────────────────► Raised
//!     ▲  ▲  holds, hold = 0 ─────┼───────────────────────────▲ │
//!     │  └───── does not hold ───┘                             │
//!     └─────────────────────────── clears ─────────────────────┘
//! ```
//!
//! Guarantees: holding is measured on the monotonic clock, so a stepped wall clock neither raises nor delays; readings
//! count in the order they arrive, whatever their event time; a value of another kind than the condition changes
//! nothing. Sans-IO: time comes in, changes go out. The caller hands in no retained readings, and lets time pass
//! ([`Alarm::tick`]) before it hands in the readings of that time: a hold that is over counts only once it is ticked
//! or confirmed by a reading.

use rust_decimal::Decimal;

use crate::model::{LineId, Severity, Stamp, Value};

/// When a value is an alarm.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// `value > limit`; clears at `value <= clear`.
    Above {
        /** The limit. */
        limit: Decimal,
        /** Where it clears. */
        clear: Decimal,
    },
    /// `value < limit`; clears at `value >= clear`.
    Below {
        /** The limit. */
        limit: Decimal,
        /** Where it clears. */
        clear: Decimal,
    },
    /// A flag that is this.
    Is(bool),
}

/// One alarm of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Alarm {
    /// Its id.
    pub id: LineId,
    /// When.
    pub condition: Condition,
    /// For how long without a break, milliseconds.
    pub hold_ms: u64,
    /// How bad.
    pub severity: Severity,
}

/// Where one (alarm, series) stands. Event times are milliseconds since 1970 UTC.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum State {
    /// Nothing.
    #[default]
    Normal,
    /// The condition holds, not yet long enough.
    Pending {
        /** Event time it began. */
        since_ms: i64,
        /** Monotonic time at which it has held long enough. */
        due_mono_ms: u64,
    },
    /// Raised.
    Raised {
        /** Event time it was raised. */
        since_ms: i64,
    },
}

/// What a reading or the time changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Became pending, or stopped being pending: nothing to tell.
    Quiet,
    /// Raised at this event time.
    Raised {
        /** Event time. */
        at_ms: i64,
    },
    /// Cleared at this event time.
    Cleared {
        /** Event time. */
        at_ms: i64,
    },
}

impl State {
    /// When [`Alarm::tick`] would raise it, on the monotonic clock in milliseconds; `None` when time changes nothing.
    #[must_use]
    pub fn due_mono_ms(&self) -> Option<u64> {
        match self {
            State::Pending { due_mono_ms, .. } => Some(*due_mono_ms),
            State::Normal | State::Raised { .. } => None,
        }
    }
}

/// What a value says about a condition.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Says {
    Holds,
    /// Between the limit and the clear value: too little to raise, too much to clear.
    Between,
    Clears,
}

impl Condition {
    /// `None` for a value of another kind.
    fn says(&self, value: &Value) -> Option<Says> {
        let (holds, clears) = match (self, value) {
            (Condition::Above { limit, clear }, Value::Number(number)) => (number > limit, number <= clear),
            (Condition::Below { limit, clear }, Value::Number(number)) => (number < limit, number >= clear),
            (Condition::Is(wanted), Value::Flag(flag)) => (flag == wanted, flag != wanted),
            _ => return None,
        };
        Some(match (holds, clears) {
            (true, _) => Says::Holds,
            (false, true) => Says::Clears,
            (false, false) => Says::Between,
        })
    }
}

impl Alarm {
    /// Takes a reading. `None` when the state stays.
    ///
    /// A raised alarm is raised at the event time the condition began plus the hold time, whether a reading or a tick
    /// finds it; a cleared one is cleared at the event time of the reading that cleared it.
    pub fn reading(&self, state: &mut State, value: &Value, time_ms: i64, now: Stamp) -> Option<Change> {
        let says = self.condition.says(value)?;
        match (&*state, says) {
            (State::Normal, Says::Holds) if self.hold_ms == 0 => Some(raise(state, time_ms)),
            (State::Normal, Says::Holds) => {
                let due_mono_ms = now.mono_ms.saturating_add(self.hold_ms);
                *state = State::Pending { since_ms: time_ms, due_mono_ms };
                Some(Change::Quiet)
            }
            (State::Pending { .. }, Says::Holds) => self.tick(state, now),
            (State::Pending { .. }, Says::Between | Says::Clears) => {
                *state = State::Normal;
                Some(Change::Quiet)
            }
            (State::Raised { .. }, Says::Clears) => {
                *state = State::Normal;
                Some(Change::Cleared { at_ms: time_ms })
            }
            (State::Normal, _) | (State::Raised { .. }, _) => None,
        }
    }

    /// Lets time pass. `None` when the state stays.
    pub fn tick(&self, state: &mut State, now: Stamp) -> Option<Change> {
        match *state {
            State::Pending { since_ms, due_mono_ms } if now.mono_ms >= due_mono_ms => {
                let hold_ms = i64::try_from(self.hold_ms).unwrap_or(i64::MAX);
                Some(raise(state, since_ms.saturating_add(hold_ms)))
            }
            _ => None,
        }
    }
}

fn raise(state: &mut State, at_ms: i64) -> Change {
    *state = State::Raised { since_ms: at_ms };
    Change::Raised { at_ms }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn alarm(condition: Condition, hold_ms: u64) -> Alarm {
        Alarm { id: "A-1".parse().expect("an id"), condition, hold_ms, severity: Severity::Major }
    }

    fn above(limit: i64, clear: i64) -> Condition {
        Condition::Above { limit: Decimal::from(limit), clear: Decimal::from(clear) }
    }

    fn below(limit: i64, clear: i64) -> Condition {
        Condition::Below { limit: Decimal::from(limit), clear: Decimal::from(clear) }
    }

    fn number(value: i64) -> Value {
        Value::Number(Decimal::from(value))
    }

    /// Event times are 1 000 000 ahead of the monotonic clock in these tests.
    const AHEAD_MS: i64 = 1_000_000;

    fn at(mono_ms: u64) -> Stamp {
        Stamp { wall_ms: 5, mono_ms }
    }

    enum Step {
        Read(u64, Value, Option<Change>),
        Tick(u64, Option<Change>),
    }
    use Step::{Read, Tick};

    fn raised(mono_ms: i64) -> Option<Change> {
        Some(Change::Raised { at_ms: AHEAD_MS + mono_ms })
    }

    fn cleared(mono_ms: i64) -> Option<Change> {
        Some(Change::Cleared { at_ms: AHEAD_MS + mono_ms })
    }

    const QUIET: Option<Change> = Some(Change::Quiet);

    #[test]
    fn lives() {
        let cases: Vec<(&str, Alarm, Vec<Step>)> = vec![
            (
                "above, at once, with a clear value",
                alarm(above(60, 50), 0),
                vec![
                    Read(0, number(60), None),
                    Read(1, number(61), raised(1)),
                    Read(2, number(99), None),
                    Read(3, number(51), None),
                    Read(4, number(50), cleared(4)),
                    Read(5, number(50), None),
                ],
            ),
            (
                "below, at once",
                alarm(below(5, 8), 0),
                vec![
                    Read(0, number(5), None),
                    Read(1, number(4), raised(1)),
                    Read(2, number(7), None),
                    Read(3, number(8), cleared(3)),
                ],
            ),
            (
                "held, raised by a tick",
                alarm(Condition::Is(true), 100),
                vec![
                    Read(10, Value::Flag(true), QUIET),
                    Tick(109, None),
                    Tick(110, raised(110)),
                    Tick(111, None),
                    Read(120, Value::Flag(true), None),
                    Read(130, Value::Flag(false), cleared(130)),
                ],
            ),
            (
                "held, raised by a reading, late: at the time it was due",
                alarm(above(60, 50), 100),
                vec![
                    Read(10, number(61), QUIET),
                    Read(60, number(62), None),
                    Read(500, number(63), raised(110)),
                ],
            ),
            (
                "a break cancels, even one that would not clear",
                alarm(above(60, 50), 100),
                vec![
                    Read(10, number(61), QUIET),
                    Read(60, number(55), QUIET),
                    Tick(200, None),
                    Read(210, number(61), QUIET),
                    Tick(309, None),
                    Tick(310, raised(310)),
                ],
            ),
            (
                "a value of another kind changes nothing",
                alarm(above(60, 50), 100),
                vec![
                    Read(0, Value::Flag(true), None),
                    Read(1, Value::Text("99".into()), None),
                    Read(10, number(61), QUIET),
                    Read(20, Value::Text("0".into()), None),
                    Tick(110, raised(110)),
                    Read(120, Value::Flag(false), None),
                ],
            ),
            (
                "a flag that has to be off; numbers say nothing",
                alarm(Condition::Is(false), 0),
                vec![
                    Read(0, number(0), None),
                    Read(1, Value::Flag(false), raised(1)),
                    Read(2, Value::Flag(true), cleared(2)),
                ],
            ),
            (
                "a hold without end is never due",
                alarm(Condition::Is(true), u64::MAX),
                vec![Read(10, Value::Flag(true), QUIET), Tick(1_000_000, None)],
            ),
        ];
        for (name, alarm, steps) in cases {
            let mut state = State::default();
            for (index, step) in steps.into_iter().enumerate() {
                let (got, expected) = match step {
                    Read(mono_ms, value, expected) => {
                        let time_ms = AHEAD_MS + mono_ms as i64;
                        (alarm.reading(&mut state, &value, time_ms, at(mono_ms)), expected)
                    }
                    Tick(mono_ms, expected) => (alarm.tick(&mut state, at(mono_ms)), expected),
                };
                assert_eq!(got, expected, "{name}: step {index}");
            }
        }
    }

    #[test]
    fn due_only_while_pending() {
        let alarm = alarm(Condition::Is(true), 100);
        let mut state = State::Normal;
        assert_eq!(state.due_mono_ms(), None);
        alarm.reading(&mut state, &Value::Flag(true), 0, at(7));
        assert_eq!(state.due_mono_ms(), Some(107));
        alarm.tick(&mut state, at(107));
        assert_eq!((state.due_mono_ms(), &state), (None, &State::Raised { since_ms: 100 }));
    }

    proptest! {
        /// The machine against the history: what a person would say who looks at all values so far.
        #[test]
        fn agrees_with_its_history(
            steps in prop::collection::vec((0_u64..40, prop::option::weighted(0.8, 0_i64..10)), 0..200),
            hold_ms in prop::sample::select(vec![0_u64, 1, 30, 60]),
        ) {
            let alarm = alarm(above(6, 3), hold_ms);
            let mut state = State::Normal;
            let mut history: Vec<(u64, i64)> = Vec::new();
            let mut is_raised = false;
            let mut mono_ms = 0;
            // Since when all values were above the limit.
            let since = |history: &[(u64, i64)]| {
                history.iter().rev().take_while(|(_, value)| *value > 6).last().map(|(since_ms, _)| *since_ms)
            };
            let raise = |history: &[(u64, i64)], mono_ms: u64| {
                let due_ms = since(history)? + hold_ms;
                (mono_ms >= due_ms).then_some(Change::Raised { at_ms: due_ms as i64 })
            };
            for (step, value) in steps {
                mono_ms += step;
                let expected = if is_raised { None } else { raise(&history, mono_ms) };
                is_raised |= expected.is_some();
                prop_assert_eq!(alarm.tick(&mut state, at(mono_ms)), expected);
                if let Some(value) = value {
                    let was_pending = since(&history).is_some();
                    history.push((mono_ms, value));
                    let expected = if is_raised {
                        (value <= 3).then_some(Change::Cleared { at_ms: mono_ms as i64 })
                    } else {
                        let quiet = was_pending != since(&history).is_some();
                        raise(&history, mono_ms).or(quiet.then_some(Change::Quiet))
                    };
                    let got = alarm.reading(&mut state, &number(value), mono_ms as i64, at(mono_ms));
                    prop_assert_eq!(&got, &expected);
                    match expected {
                        Some(Change::Raised { .. }) => is_raised = true,
                        Some(Change::Cleared { .. }) => {
                            is_raised = false;
                            history.clear();
                        }
                        _ => {}
                    }
                }
                let due_ms = since(&history).filter(|_| !is_raised).map(|since_ms| since_ms + hold_ms);
                prop_assert_eq!(state.due_mono_ms(), due_ms);
            }
        }
    }
}
