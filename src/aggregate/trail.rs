//! One series on its way through one window: what asks which reading came after which.
//!
//! ```text
//!  known before │ folded, only sums are left   │ recent, in event-time order │
//!  ─────●───────┼──●───●──●─────●──────●───────┼──●────●───────●──────●──────┼──► time
//!             start                                                         end
//! ```
//!
//! Guarantees: readings may come in any order as long as each belongs among the newest [`RECENT_MIN`] of its series in
//! its window, and the result is that of the same readings in order; one from further back is left out and counted.
//! Bounded by [`RECENT_MAX`] readings a series and window. What was known before the window is asked for when it ends.
//! Pure; knows neither cells nor names.

use rust_decimal::Decimal;

use super::cell::exact_sum;

/// Readings of a series in a window that are kept one by one.
pub(super) const RECENT_MAX: usize = 64;
/// How many of them are left when the oldest are folded.
pub(super) const RECENT_MIN: usize = 32;
/// How long a gap may be where the device does not say how long it may be silent.
const GAP_MS: i64 = 300_000;

/// How a point is expected to tell something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// Whether its mean is weighted by time: a value holds until the next one, at most for `silence_ms`.
    pub time_mean: bool,
    /// How often it is asked, milliseconds; none when it speaks on its own.
    pub period_ms: Option<i64>,
    /// How long its device may be silent, milliseconds; none where that is not said.
    pub silence_ms: Option<i64>,
}

impl Pace {
    /// The longest time between two readings that counts as covered.
    fn gap_ms(&self) -> i64 {
        self.silence_ms.unwrap_or(GAP_MS)
    }

    /// How long a reading says that the point is there; half a period is no delay to speak of.
    fn reach_ms(&self) -> i64 {
        self.period_ms.map_or(self.gap_ms(), |period_ms| period_ms.saturating_add(period_ms / 2))
    }

    fn hold_ms(&self) -> i64 {
        self.silence_ms.unwrap_or(i64::MAX)
    }
}

/// A window's `[start, end)`, milliseconds since 1970 UTC.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
}

impl Span {
    /// How much of `[from, to)` lies in it.
    fn overlap_ms(self, from_ms: i64, to_ms: i64) -> i64 {
        to_ms.min(self.end_ms).saturating_sub(from_ms.max(self.start_ms)).max(0)
    }

    pub(super) fn size_ms(self) -> i64 {
        self.end_ms.saturating_sub(self.start_ms)
    }
}

/// A reading: when, and which number unless that cannot be believed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Mark {
    pub(super) time_ms: i64,
    pub(super) number: Option<Decimal>,
}

/// What is known of a series up to some moment: its last believed number and when it was last heard.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Known {
    pub(super) number: Option<(i64, Decimal)>,
    pub(super) heard_ms: i64,
}

impl Known {
    /// Takes in a reading; of two of one time the later one to come counts.
    pub(super) fn with(known: Option<Self>, mark: Mark) -> Self {
        let number = mark.number.map(|number| (mark.time_ms, number));
        let Some(mut known) = known else { return Self { number, heard_ms: mark.time_ms } };
        known.heard_ms = known.heard_ms.max(mark.time_ms);
        known.number = match (known.number, number) {
            (Some(old), Some(new)) if new.0 < old.0 => Some(old),
            (old, new) => new.or(old),
        };
        known
    }
}

/// Sums over the steps from reading to reading; they can be added up over series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Passage {
    /// Steps from number to number.
    pub(super) steps: u64,
    /// The rises among them; none when they left the range of a decimal.
    pub(super) delta: Option<Decimal>,
    /// Number by milliseconds, over `area_ms`; none as above.
    pub(super) area: Option<Decimal>,
    pub(super) area_ms: i64,
    pub(super) covered_ms: i64,
    pub(super) heard_ms: i64,
}

impl Passage {
    pub(super) const NONE: Self = Self {
        steps: 0,
        delta: Some(Decimal::ZERO),
        area: Some(Decimal::ZERO),
        area_ms: 0,
        covered_ms: 0,
        heard_ms: 0,
    };

    pub(super) fn add(&mut self, other: &Passage) {
        let sum = |one: Option<Decimal>, other: Option<Decimal>| exact_sum(one?, other?);
        self.steps += other.steps;
        self.delta = sum(self.delta, other.delta);
        self.area = sum(self.area, other.area);
        self.area_ms = self.area_ms.saturating_add(other.area_ms);
        self.covered_ms = self.covered_ms.saturating_add(other.covered_ms);
        self.heard_ms = self.heard_ms.saturating_add(other.heard_ms);
    }

    fn step(&mut self, known: &Known, mark: Mark, span: Span, pace: &Pace) {
        self.hear(known.heard_ms, mark.time_ms, span, pace);
        if let (Some(from), Some(to)) = (known.number, mark.number) {
            self.change(from, (mark.time_ms, to), span, pace);
        }
    }

    fn change(&mut self, from: (i64, Decimal), to: (i64, Decimal), span: Span, pace: &Pace) {
        self.steps += 1;
        if to.1 > from.1 {
            let rise = exact_sum(to.1, -from.1);
            self.delta = self.delta.and_then(|delta| exact_sum(delta, rise?));
        }
        self.hold(from, to.0, span, pace);
    }

    fn hold(&mut self, (from_ms, number): (i64, Decimal), to_ms: i64, span: Span, pace: &Pace) {
        let held_ms = span.overlap_ms(from_ms, to_ms.min(from_ms.saturating_add(pace.hold_ms())));
        if pace.time_mean && held_ms > 0 {
            let area = number.checked_mul(Decimal::from(held_ms));
            self.area = self.area.and_then(|sum| exact_sum(sum, area?));
            self.area_ms = self.area_ms.saturating_add(held_ms);
        }
        if to_ms.saturating_sub(from_ms) <= pace.gap_ms() {
            self.covered_ms = self.covered_ms.saturating_add(span.overlap_ms(from_ms, to_ms));
        }
    }

    fn hear(&mut self, from_ms: i64, to_ms: i64, span: Span, pace: &Pace) {
        let until_ms = to_ms.min(from_ms.saturating_add(pace.reach_ms()));
        self.heard_ms = self.heard_ms.saturating_add(span.overlap_ms(from_ms, until_ms));
    }
}

/// The readings that only sums are left of; of one at least.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Folded {
    pub(super) first_ms: i64,
    pub(super) first: Option<(i64, Decimal)>,
    pub(super) last: Known,
    pub(super) passage: Passage,
}

/// One series in one window.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Trail {
    pub(super) folded: Option<Folded>,
    /// In the order of time, and of coming where that is the same; at most [`RECENT_MAX`].
    pub(super) recent: Vec<Mark>,
    /// Readings that are believed.
    pub(super) believed: u64,
    /// Readings from too far back to be put in their place.
    pub(super) disordered: u64,
}

impl Trail {
    pub(super) fn push(&mut self, mark: Mark, span: Span, pace: &Pace) {
        self.believed += u64::from(mark.number.is_some());
        if self.recent.len() >= RECENT_MAX {
            for mark in self.recent.drain(..RECENT_MAX - RECENT_MIN) {
                fold(&mut self.folded, mark, span, pace);
            }
        }
        if let Some(folded) = self.folded.as_mut().filter(|folded| mark.time_ms < folded.last.heard_ms) {
            self.disordered += 1;
            // It is in no sum, but after a restart it may be known by itself: then it has to be known here too.
            folded.last = Known::with(Some(folded.last), mark);
            return;
        }
        let at = self.recent.partition_point(|other| other.time_ms <= mark.time_ms);
        self.recent.insert(at, mark);
    }

    /// All that is known at its end, after what was known before it.
    pub(super) fn known(&self, before: Option<Known>) -> Option<Known> {
        let folded = self.folded.map(|folded| folded.last);
        let start = match (before, folded) {
            (Some(before), Some(folded)) => {
                Some(Known { number: folded.number.or(before.number), heard_ms: folded.heard_ms })
            }
            (before, folded) => folded.or(before),
        };
        self.recent.iter().fold(start, |known, mark| Some(Known::with(known, *mark)))
    }

    /// The sums over the whole window.
    pub(super) fn passage(&self, before: Option<Known>, span: Span, pace: &Pace) -> Passage {
        let mut passage = self.folded.map_or(Passage::NONE, |folded| folded.passage);
        let mut known = before;
        if let Some(folded) = self.folded {
            if let Some(before) = before {
                passage.hear(before.heard_ms, folded.first_ms, span, pace);
                if let (Some(from), Some(to)) = (before.number, folded.first) {
                    passage.change(from, to, span, pace);
                }
            }
            let number = folded.last.number.or(before.and_then(|before| before.number));
            known = Some(Known { number, heard_ms: folded.last.heard_ms });
        }
        for mark in &self.recent {
            if let Some(known) = &known {
                passage.step(known, *mark, span, pace);
            }
            known = Some(Known::with(known, *mark));
        }
        if let Some(known) = known {
            passage.hear(known.heard_ms, span.end_ms, span, pace);
            if let Some(number) = known.number {
                passage.hold(number, span.end_ms, span, pace);
            }
        }
        if let Some(period_ms) = pace.period_ms {
            let asked_ms = i64::try_from(self.believed).unwrap_or(i64::MAX).saturating_mul(period_ms);
            passage.covered_ms = asked_ms.min(span.size_ms());
        }
        passage
    }
}

fn fold(folded: &mut Option<Folded>, mark: Mark, span: Span, pace: &Pace) {
    let number = mark.number.map(|number| (mark.time_ms, number));
    match folded {
        None => {
            let last = Known::with(None, mark);
            *folded = Some(Folded { first_ms: mark.time_ms, first: number, last, passage: Passage::NONE });
        }
        Some(folded) => {
            folded.passage.step(&folded.last, mark, span, pace);
            folded.last = Known::with(Some(folded.last), mark);
            folded.first = folded.first.or(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPAN: Span = Span { start_ms: 1_000, end_ms: 11_000 };

    fn trail(marks: &[Mark], pace: &Pace) -> Trail {
        let mut trail = Trail::default();
        marks.iter().for_each(|mark| trail.push(*mark, SPAN, pace));
        trail
    }

    #[test]
    fn what_is_too_far_back_is_left_out_and_counted() {
        let mark = |time_ms: i64| Mark { time_ms, number: Some(Decimal::from(time_ms)) };
        let ordered: Vec<Mark> = (2_000..2_100).map(mark).collect();
        let pace = Pace::default();
        let mut trail = trail(&ordered, &pace);
        let passage = trail.passage(None, SPAN, &pace);
        assert_eq!((passage.steps, passage.delta), (99, Some(Decimal::from(99))));
        assert!(trail.recent.len() <= RECENT_MAX);
        trail.push(mark(1_500), SPAN, &pace);
        assert_eq!((trail.disordered, trail.believed), (1, 101));
        assert_eq!(trail.passage(None, SPAN, &pace), passage);
    }

    fn marks() -> impl Strategy<Value = Vec<Mark>> {
        let mark = (0_i64..10_000, prop::option::weighted(0.8, -50_i64..50));
        prop::collection::vec(mark, 0..300).prop_map(|marks| {
            let mut marks: Vec<Mark> = marks
                .into_iter()
                .map(|(at_ms, number)| Mark { time_ms: 1_000 + at_ms, number: number.map(Decimal::from) })
                .collect();
            marks.sort_by_key(|mark| mark.time_ms);
            // Of two of one time the order of coming counts: there are none here.
            marks.dedup_by_key(|mark| mark.time_ms);
            marks
        })
    }

    proptest! {
        /// Whatever is folded, and however they come within the bound: the sums are those of all in order.
        #[test]
        fn order_is_made(
            marks in marks(),
            swaps in prop::collection::vec((0_usize..300, 1_usize..RECENT_MIN / 2), 0..20),
            silence_ms in prop::option::of(10_i64..5_000),
            before in prop::option::of((0_i64..1_000, -50_i64..50)),
        ) {
            let pace = Pace { time_mean: true, period_ms: None, silence_ms };
            let before = before.map(|(at_ms, number)| {
                Known { number: Some((at_ms, Decimal::from(number))), heard_ms: at_ms }
            });
            let mut expected = Passage::NONE;
            let mut known = before;
            for mark in &marks {
                if let Some(known) = &known {
                    expected.step(known, *mark, SPAN, &pace);
                }
                known = Some(Known::with(known, *mark));
            }
            if let Some(known) = known {
                expected.hear(known.heard_ms, SPAN.end_ms, SPAN, &pace);
                known.number.iter().for_each(|number| expected.hold(*number, SPAN.end_ms, SPAN, &pace));
            }
            let mut shuffled = marks.clone();
            for (at, by) in swaps {
                // Each block is turned once: nothing moves further than the bound.
                let from = at / 16 * 16;
                let to = (from + by).min(shuffled.len());
                if from < to {
                    shuffled[from..to].reverse();
                }
            }
            let trail = trail(&shuffled, &pace);
            prop_assert_eq!(trail.disordered, 0);
            prop_assert_eq!(trail.passage(before, SPAN, &pace), expected);
            prop_assert_eq!(trail.known(before), known);
        }
    }
}
