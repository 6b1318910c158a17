//! Whether a number can follow the one before it: a counter that only rises, a change that takes its time.
//!
//! ```text
//!             fits the believed one
//!  reading ──────────────────────────► believed: newer than the believed one, it is that from now on
//!     │ does not                          ▲
//!     └──► flagged ── RUN in a row that fit one another: another meter, or one that rolled over
//! ```
//!
//! Guarantees: a flagged reading changes nothing for those after it, but for a run, whose last one is believed from then
//! on while all of it keeps its flag; a reading that is older by its device's time is compared the other way round, so
//! that one that was under way for long is not a fall. Time is event time, because what a device kept while it was
//! offline comes all at once; two readings of which not both have a device time count in the order they arrive. Sans-IO,
//! and a function of the readings with their qualities: what it remembers can be kept, and made again from the log.
//!
//! What it does not judge: texts and flags, what is out of range already, a retained state without a device time, of
//! which nobody knows how old it is, and what is told of the past before the believed one: it may be of the meter before
//! this one, and must not become another meter's. The first number of a series is believed.

use rust_decimal::Decimal;

use crate::model::{Quality, Reading, Value};

/// Flagged readings in a row, each fitting the one before it, after which the last one is believed.
pub const RUN: u8 = 3;
/// No two readings count as closer than this, milliseconds: device times often end at the second.
pub const STEP_MIN_MS: u64 = 1000;

/// What a point's numbers do.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rule {
    /// Never fall.
    pub monotonic: bool,
    /// Change by no more than this, in the point's unit per second; above 0.
    pub slope_max: Option<Decimal>,
}

/// What was found of a reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What is wrong with it: [`Quality::CounterBack`] or [`Quality::Slope`].
    pub quality: Option<Quality>,
    /// Whether it ended a run and is believed from now on, itself still flagged.
    pub rebased: bool,
}

/// A number and its event time. Has no `Debug`: a number may be personal.
#[derive(Clone, Copy, PartialEq)]
struct Mark {
    value: Decimal,
    time_ms: i64,
    /// Whether the time is the device's; times of two clocks have no order.
    dated: bool,
}

impl Mark {
    fn is_older(self, than: Mark) -> bool {
        self.dated && than.dated && self.time_ms < than.time_ms
    }
}

/// What is remembered of one series; bounded.
#[derive(Clone, Default, PartialEq)]
pub struct State {
    /// The newest believed one.
    believed: Option<Mark>,
    /// The newest of the flagged ones that fit one another, and how many they are; below [`RUN`].
    run: Option<(Mark, u8)>,
}

/// The bytes of a [`State`].
pub const STATE_BYTES: usize = 1 + 2 * MARK_BYTES;
const MARK_BYTES: usize = 16 + 8 + 1;

impl Rule {
    /// Whether it says anything.
    #[must_use]
    pub fn judges(&self) -> bool {
        self.monotonic || self.slope_max.is_some()
    }

    /// What speaks against both numbers being true.
    fn against(&self, known: Mark, new: Mark) -> Option<Quality> {
        let (before, after) = if new.is_older(known) { (new, known) } else { (known, new) };
        if self.monotonic && after.value < before.value {
            return Some(Quality::CounterBack);
        }
        let step_ms = after.time_ms.abs_diff(before.time_ms).max(STEP_MIN_MS);
        let seconds = Decimal::from_i128_with_scale(i128::from(step_ms), 3);
        // What is beyond a decimal is no bound, and a change beyond one is beyond any bound.
        let most = self.slope_max?.checked_mul(seconds)?;
        let fits = after.value.checked_sub(before.value).is_some_and(|change| change.abs() <= most);
        (!fits).then_some(Quality::Slope)
    }
}

impl State {
    /// Judges the next reading, and remembers it.
    pub fn judge(&mut self, rule: &Rule, reading: &Reading) -> Verdict {
        let Some(mark) = self.mark(rule, reading) else { return Verdict::default() };
        let quality = self.believed.and_then(|known| rule.against(known, mark));
        Verdict { quality, rebased: self.note(rule, mark, quality.is_some()) }
    }

    /// Remembers a reading that was judged when it came: what was believed then is believed now.
    pub fn recall(&mut self, rule: &Rule, reading: &Reading) {
        if let Some(mark) = self.mark(rule, reading) {
            self.note(rule, mark, !reading.quality.is_believable());
        }
    }

    /// The reading as it is judged; `None` for one that is not.
    fn mark(&self, rule: &Rule, reading: &Reading) -> Option<Mark> {
        let Value::Number(value) = reading.value else { return None };
        let mark = Mark { value, time_ms: reading.time_ms, dated: reading.device_time };
        let unjudged = match reading.quality {
            Quality::OutOfRange => true,
            Quality::Retained => !mark.dated || self.believed.is_some_and(|known| mark.is_older(known)),
            _ => false,
        };
        (!unjudged && rule.judges()).then_some(mark)
    }

    /// True when a run ended.
    fn note(&mut self, rule: &Rule, mark: Mark, flagged: bool) -> bool {
        if !flagged {
            // One that was under way for long says nothing of the present.
            if self.believed.is_none_or(|known| !mark.is_older(known)) {
                *self = Self { believed: Some(mark), run: None };
            }
            return false;
        }
        let (newest, count) = match self.run {
            Some((last, count)) if rule.against(last, mark).is_none() => {
                (if mark.is_older(last) { last } else { mark }, count + 1)
            }
            _ => (mark, 1),
        };
        let ended = count >= RUN;
        *self = if ended {
            Self { believed: Some(newest), run: None }
        } else {
            Self { run: Some((newest, count)), ..*self }
        };
        ended
    }

    /// What it remembers, for [`State::restored`]; `None` when that is nothing.
    #[must_use]
    pub fn remembered(&self) -> Option<[u8; STATE_BYTES]> {
        let (run, count) = self.run.map_or((None, 0), |(mark, count)| (Some(mark), count));
        let mut bytes = [0; STATE_BYTES];
        bytes[0] = count << 1 | u8::from(self.believed.is_some());
        for (place, mark) in bytes[1..].chunks_exact_mut(MARK_BYTES).zip([self.believed, run]) {
            if let Some(Mark { value, time_ms, dated }) = mark {
                place[..16].copy_from_slice(&value.serialize());
                place[16..24].copy_from_slice(&time_ms.to_le_bytes());
                place[24] = u8::from(dated);
            }
        }
        (bytes[0] != 0).then_some(bytes)
    }

    /// One that goes on from what another remembered.
    #[must_use]
    pub fn restored(bytes: &[u8; STATE_BYTES]) -> Self {
        let count = (bytes[0] >> 1).min(RUN - 1);
        Self {
            believed: mark_of(&bytes[1..]).filter(|_| bytes[0] & 1 == 1),
            run: mark_of(&bytes[1 + MARK_BYTES..]).filter(|_| count > 0).map(|mark| (mark, count)),
        }
    }
}

fn mark_of(bytes: &[u8]) -> Option<Mark> {
    let (value, rest) = bytes.split_first_chunk()?;
    let (time, rest) = rest.split_first_chunk()?;
    Some(Mark {
        value: Decimal::deserialize(*value),
        time_ms: i64::from_le_bytes(*time),
        dated: *rest.first()? == 1,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;
    use crate::model::SeriesKey;
    use Quality::{Clock, CounterBack, Good, OutOfRange, Retained, Skewed, Slope};

    const COUNTER: Rule = Rule { monotonic: true, slope_max: None };

    fn slope(text: &str) -> Rule {
        Rule { monotonic: false, slope_max: Some(decimal(text)) }
    }

    fn decimal(text: &str) -> Decimal {
        Decimal::from_str_exact(text).expect("a number in a test")
    }

    /// With a device time.
    fn reading(time_ms: i64, value: Decimal) -> Reading {
        Reading {
            series: SeriesKey(0),
            value: Value::Number(value),
            time_ms,
            received_ms: time_ms,
            device_time: true,
            quality: Good,
        }
    }

    /// The readings as they are stored; how often a run ended. Kept and taken up again after each.
    fn run(rule: &Rule, readings: impl IntoIterator<Item = Reading>) -> (Vec<Quality>, u32) {
        let (mut state, mut recalled, mut ends) = (State::default(), State::default(), 0);
        let mut qualities = Vec::new();
        for mut reading in readings {
            let verdict = state.judge(rule, &reading);
            reading.quality = verdict.quality.unwrap_or(reading.quality);
            recalled.recall(rule, &reading);
            assert!(recalled == state, "the log tells it again");
            state = state.remembered().map_or_else(State::default, |bytes| State::restored(&bytes));
            assert!(recalled == state, "what is kept is all of it");
            qualities.push(reading.quality);
            ends += u32::from(verdict.rebased);
        }
        (qualities, ends)
    }

    #[test]
    fn lives() {
        let both = Rule { monotonic: true, ..slope("2") };
        let max = "79228162514264337593543950335";
        // Seconds, value, what is found.
        type Steps = Vec<(i64, &'static str, Quality)>;
        let cases: Vec<(&str, Rule, u32, Steps)> = vec![
            ("no rule", Rule::default(), 0, vec![(0, "5", Good), (1, "-500", Good)]),
            (
                "a counter that falls once",
                COUNTER,
                0,
                vec![(0, "5", Good), (1, "5.0", Good), (2, "4.9", CounterBack), (3, "5", Good)],
            ),
            (
                "another meter: three keep their flag, the next is judged by them",
                COUNTER,
                1,
                vec![
                    (0, "900", Good),
                    (1, "0", CounterBack),
                    (2, "1", CounterBack),
                    (3, "2", CounterBack),
                    (4, "2", Good),
                    (5, "1", CounterBack),
                ],
            ),
            (
                "a believed one in between ends the run",
                COUNTER,
                0,
                vec![
                    (0, "900", Good),
                    (1, "1", CounterBack),
                    (2, "2", CounterBack),
                    (3, "900", Good),
                    (4, "3", CounterBack),
                    (5, "901", Good),
                ],
            ),
            (
                "those of a run must fit one another",
                COUNTER,
                1,
                vec![
                    (0, "900", Good),
                    (1, "8", CounterBack),
                    (2, "7", CounterBack),
                    (3, "6", CounterBack),
                    (4, "6", CounterBack),
                    (5, "6", CounterBack),
                    (6, "6", Good),
                ],
            ),
            (
                "a slope, both ways, and the time it takes",
                slope("0.5"),
                0,
                vec![
                    (0, "20", Good),
                    (10, "25", Good),
                    (20, "30.1", Slope),
                    (30, "35", Good),
                    (40, "29.9", Slope),
                    (50, "25", Good),
                ],
            ),
            (
                "within one second a second has passed",
                slope("0.5"),
                0,
                vec![(5, "20", Good), (5, "20.5", Good), (5, "21.1", Slope), (5, "20", Good)],
            ),
            (
                "a step that stays is believed in the end",
                slope("0.5"),
                1,
                vec![
                    (0, "20", Good),
                    (1, "80", Slope),
                    (2, "80", Slope),
                    (3, "80.1", Slope),
                    (4, "80", Good),
                ],
            ),
            (
                "a fall of a counter is that, however fast",
                both,
                0,
                vec![(0, "20", Good), (1, "0", CounterBack), (2, "99", Slope), (3, "26", Good)],
            ),
            (
                "an older one is compared the other way, and is no baseline",
                both,
                0,
                vec![
                    (10, "20", Good),
                    (5, "15", Good),
                    (20, "25", Good),
                    (15, "26", CounterBack),
                    (15, "14", Slope),
                    (21, "26", Good),
                ],
            ),
            (
                "an older one does not end a run",
                COUNTER,
                1,
                vec![
                    (10, "20", Good),
                    (11, "1", CounterBack),
                    (12, "2", CounterBack),
                    (9, "19", Good),
                    (13, "3", CounterBack),
                    (14, "3", Good),
                ],
            ),
            (
                "numbers at the end of what a decimal holds",
                slope(max),
                0,
                vec![(0, max, Good), (9, "-79228162514264337593543950335", Good), (9, max, Slope)],
            ),
        ];
        for (name, rule, ends, steps) in cases {
            let readings = steps.iter().map(|(seconds, value, _)| reading(seconds * 1000, decimal(value)));
            let expected: Vec<Quality> = steps.iter().map(|(.., quality)| *quality).collect();
            assert_eq!(run(&rule, readings), (expected, ends), "{name}");
        }
    }

    #[test]
    fn what_is_not_judged_and_what_is() {
        let at = |time_ms, value: i64, device_time, quality| Reading {
            device_time,
            quality,
            ..reading(time_ms, value.into())
        };
        for (name, second, expected) in [
            ("out of range", at(1, -9, true, OutOfRange), OutOfRange),
            ("retained, of no known time", at(1, 3, false, Retained), Retained),
            ("retained, of a later time", at(1, 3, true, Retained), CounterBack),
            ("retained, of an earlier time", at(-1, 3, true, Retained), Retained),
            ("a wrong time", at(1, 3, false, Skewed), CounterBack),
            ("a wrong clock", at(1, 6, false, Clock), Clock),
            ("of another clock, however late it seems", at(-1, 6, false, Good), Good),
            ("of another clock, however early it seems", at(10, 6, false, Skewed), Skewed),
            ("no number", Reading { value: Value::Flag(false), ..reading(1, Decimal::ZERO) }, Good),
        ] {
            let (qualities, _) = run(&COUNTER, [reading(0, 5.into()), second, reading(2, 5.into())]);
            // What is believed is the baseline, what is not judged is none.
            let is_baseline = expected == Clock || name.starts_with("of another clock");
            let third = if is_baseline { CounterBack } else { Good };
            assert_eq!(qualities, [Good, expected, third], "{name}");
        }
    }

    /// A meter was changed; then its gateway told of the month before, which was the other meter's: all of it was flagged,
    /// believed after three, and flagged was what the new meter said.
    #[test]
    fn what_is_told_of_another_meter_s_past_is_not_believed_of_this_one() {
        let told = |time_ms, value: i64| Reading { quality: Retained, ..reading(time_ms, value.into()) };
        let past = (0..5).map(|day| told(day, 900 + day));
        let readings = [reading(100, 5.into())].into_iter().chain(past).chain([reading(101, 6.into())]);
        let (qualities, ends) = run(&COUNTER, readings);
        assert_eq!(
            (qualities, ends),
            (vec![Good, Retained, Retained, Retained, Retained, Retained, Good], 0)
        );
        // What is told in order of a time that is not known yet is judged as ever.
        let (qualities, _) =
            run(&COUNTER, [(0, 5), (1, 7), (2, 6), (3, 8)].map(|(at, value)| told(at, value)));
        assert_eq!(qualities, [Retained, Retained, CounterBack, Retained]);
    }

    #[test]
    fn nothing_is_remembered_of_nothing() {
        assert_eq!(State::default().remembered(), None);
    }

    /// Ascending by time and value, at most 2 a second.
    fn rising() -> impl Strategy<Value = Vec<(i64, i64)>> {
        prop::collection::vec((1_i64..60_000, 0_i64..=2000), 8..80).prop_map(|steps| {
            let mut last = (0, 0);
            let step = |(ms, slope): (i64, i64)| {
                last = (last.0 + ms, last.1 + ms * slope / 1000);
                last
            };
            steps.into_iter().map(step).collect()
        })
    }

    const RISING: Rule = Rule { monotonic: true, slope_max: Some(Decimal::TWO) };

    fn thousandths((time_ms, value): (i64, i64)) -> Reading {
        reading(time_ms, Decimal::new(value, 3))
    }

    proptest! {
        /// Every arrival is moved behind a few later ones.
        #[test]
        fn what_rises_is_never_flagged_however_late_it_comes(
            series in rising(),
            delays in prop::collection::vec(0_usize..6, 80),
        ) {
            let mut arrivals: Vec<_> = series.into_iter().enumerate().collect();
            arrivals.sort_by_key(|(at, _)| at + delays[*at]);
            let (qualities, ends) = run(&RISING, arrivals.into_iter().map(|(_, at)| thousandths(at)));
            prop_assert_eq!((ends, qualities.iter().all(|quality| *quality == Good)), (0, true));
        }

        #[test]
        fn a_spike_is_flagged_and_nothing_after_it(
            mut series in rising(),
            at in any::<Index>(),
            by in prop::sample::select(vec![-10_000_000_000_i64, 10_000_000_000]),
        ) {
            let at = 1 + at.index(series.len() - 1);
            series[at].1 += by;
            let expected: Vec<Quality> = (0..series.len())
                .map(|index| match by < 0 {
                    _ if index != at => Good,
                    true => CounterBack,
                    false => Slope,
                })
                .collect();
            prop_assert_eq!(run(&RISING, series.into_iter().map(thousandths)), (expected, 0));
        }

        #[test]
        fn another_meter_is_flagged_three_times_and_then_believed(series in rising(), at in any::<Index>()) {
            let at = 1 + at.index(series.len() - 4);
            let readings = series.iter().enumerate().map(|(index, (time_ms, value))| {
                thousandths((*time_ms, if index < at { *value } else { value - 10_000_000_000 }))
            });
            let expected: Vec<Quality> = (0..series.len())
                .map(|index| if (at..at + 3).contains(&index) { CounterBack } else { Good })
                .collect();
            prop_assert_eq!(run(&RISING, readings), (expected, 1));
        }

        /// Whatever comes, in whatever order: restarts change nothing, and of four in a row that fit one another by any
        /// rule the fourth is believed.
        #[test]
        fn anything_is_survived(
            steps in prop::collection::vec((-5_000_i64..5_000, -50_i64..50, any::<bool>(), 0_u8..7), 0..100),
            monotonic in any::<bool>(),
            slope_max in prop::option::of(1_i64..20),
            last in -1_000_000_i64..1_000_000,
        ) {
            let rule = Rule { monotonic, slope_max: slope_max.map(Decimal::from) };
            let any = steps.into_iter().map(|(time_ms, value, device_time, code)| Reading {
                device_time,
                quality: match Quality::from_code(code) {
                    CounterBack | Slope => Good,
                    other => other,
                },
                ..reading(time_ms, value.into())
            });
            let constant = (0..4).map(|at| reading(10_000 + at, last.into()));
            let (qualities, _) = run(&rule, any.chain(constant));
            prop_assert_eq!(qualities.last(), Some(&Good));
        }

        #[test]
        fn any_bytes_are_safe_to_restore(
            bytes in prop::collection::vec(any::<u8>(), STATE_BYTES),
            value in any::<i64>(),
        ) {
            let kept = bytes.try_into().expect("so many");
            State::restored(&kept).judge(&RISING, &reading(0, value.into()));
        }
    }
}
