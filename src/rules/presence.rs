//! Whether a device is there, and since when.
//!
//! ```text
//!              told or heard                     told, or silent for too long
//!   unknown ─────────────────► online ◄─────────────────────────────────────► offline
//!      │                          told or heard                                  ▲
//!      └──────────────────────── told, or silent for too long ───────────────────┘
//! ```
//!
//! Guarantees: the last word counts; what says again what is known changes neither the moment nor the cause. Silence is
//! measured on the monotonic clock, from the newest sign of life or from the start, so that neither a stepped wall clock
//! nor a restart makes everything silent. Without a bound a device is never silent. Sans-IO: time comes in. What it does
//! not do: judge who may speak for a device, or tell a reading of now from one of the past; the caller does.

use std::time::Duration;

use crate::model::{Cause, Stamp};

/// What is known of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether it is there.
    pub online: bool,
    /// Since when, milliseconds since 1970 UTC by the gateway's clock at the change.
    pub since_ms: i64,
    /// What told it.
    pub cause: Cause,
}

/// One device under watch.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    silence_ms: Option<u64>,
    standing: Option<Standing>,
    /// Its newest sign of life, or the start.
    alive_mono_ms: u64,
}

impl Watch {
    /// Takes up what was known of a device that may be silent for so long, `None` for ever.
    #[must_use]
    pub fn new(silence: Option<Duration>, standing: Option<Standing>, now: Stamp) -> Self {
        let millis = |silence: Duration| u64::try_from(silence.as_millis()).unwrap_or(u64::MAX);
        Self { silence_ms: silence.map(millis), standing, alive_mono_ms: now.mono_ms }
    }

    /// What is known; `None` while nothing is.
    #[must_use]
    pub fn standing(&self) -> Option<Standing> {
        self.standing
    }

    /// Somebody knows whether the device is there. True when that is news.
    pub fn told(&mut self, online: bool, cause: Cause, now: Stamp) -> bool {
        if online {
            self.alive_mono_ms = self.alive_mono_ms.max(now.mono_ms);
        }
        let is_news = self.standing.is_none_or(|known| known.online != online);
        if is_news {
            self.standing = Some(Standing { online, since_ms: now.wall_ms, cause });
        }
        is_news
    }

    /// A reading of now came from it. True when that is news.
    pub fn heard(&mut self, now: Stamp) -> bool {
        self.told(true, Cause::Heard, now)
    }

    /// Lets time pass. True when the device has been silent for too long, and nobody knew yet.
    pub fn tick(&mut self, now: Stamp) -> bool {
        let silent_ms = now.mono_ms.saturating_sub(self.alive_mono_ms);
        self.silence_ms.is_some_and(|most_ms| silent_ms >= most_ms) && self.told(false, Cause::Silence, now)
    }

    /// Goes on with the silence that another one measured on the same clock.
    pub fn resume(&mut self, before: &Watch) {
        self.alive_mono_ms = before.alive_mono_ms;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use Cause::{Connection, Heard, Silence, Told};

    const WALL_MS: i64 = 1_790_000_000_000;

    fn at(mono_ms: u64) -> Stamp {
        Stamp { wall_ms: WALL_MS + mono_ms as i64, mono_ms }
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Told(bool, Cause),
        Heard,
        Tick,
        /// Only what is known is left.
        Restart,
    }

    fn step(watch: &mut Watch, silence: Option<Duration>, step: Step, now: Stamp) -> bool {
        match step {
            Step::Told(online, cause) => watch.told(online, cause, now),
            Step::Heard => watch.heard(now),
            Step::Tick => watch.tick(now),
            Step::Restart => {
                *watch = Watch::new(silence, watch.standing(), now);
                false
            }
        }
    }

    #[test]
    fn lives() {
        use Step::{Heard as Hear, Restart, Tick, Told as Tell};
        const TEN_S: Option<Duration> = Some(Duration::from_secs(10));
        // Moment, step, what is known afterwards: there, since, cause.
        type Steps = Vec<(u64, Step, Option<(bool, u64, Cause)>)>;
        let cases: Vec<(&str, Option<Duration>, Steps)> = vec![
            (
                "unknown until something is known, and never silent without a bound",
                None,
                vec![
                    (0, Tick, None),
                    (1 << 40, Tick, None),
                    (1 << 40, Hear, Some((true, 1 << 40, Heard))),
                    (1 << 41, Tick, Some((true, 1 << 40, Heard))),
                ],
            ),
            (
                "what is said again changes nothing",
                None,
                vec![
                    (1, Tell(true, Connection), Some((true, 1, Connection))),
                    (2, Tell(true, Told), Some((true, 1, Connection))),
                    (3, Hear, Some((true, 1, Connection))),
                    (4, Tell(false, Told), Some((false, 4, Told))),
                    (5, Tell(false, Connection), Some((false, 4, Told))),
                    (6, Hear, Some((true, 6, Heard))),
                ],
            ),
            (
                "silence, from the newest sign of life",
                TEN_S,
                vec![
                    (1_000, Hear, Some((true, 1_000, Heard))),
                    (9_000, Hear, Some((true, 1_000, Heard))),
                    (18_999, Tick, Some((true, 1_000, Heard))),
                    (19_000, Tick, Some((false, 19_000, Silence))),
                    (30_000, Tick, Some((false, 19_000, Silence))),
                    (30_000, Tell(false, Told), Some((false, 19_000, Silence))),
                    (31_000, Tell(true, Told), Some((true, 31_000, Told))),
                    (40_999, Tick, Some((true, 31_000, Told))),
                    (41_000, Tick, Some((false, 41_000, Silence))),
                ],
            ),
            (
                "one that is never heard at all",
                TEN_S,
                vec![(9_999, Tick, None), (10_000, Tick, Some((false, 10_000, Silence)))],
            ),
            (
                "a restart tells nothing, and silence begins anew",
                TEN_S,
                vec![
                    (0, Hear, Some((true, 0, Heard))),
                    (9_000, Restart, Some((true, 0, Heard))),
                    (18_999, Tick, Some((true, 0, Heard))),
                    (19_000, Tick, Some((false, 19_000, Silence))),
                    (25_000, Restart, Some((false, 19_000, Silence))),
                    (60_000, Tick, Some((false, 19_000, Silence))),
                ],
            ),
        ];
        for (name, silence, steps) in cases {
            let mut watch = Watch::new(silence, None, at(0));
            for (index, (mono_ms, what, known)) in steps.into_iter().enumerate() {
                let before = watch.standing();
                let news = step(&mut watch, silence, what, at(mono_ms));
                let standing = known.map(|(online, since, cause)| Standing {
                    online,
                    since_ms: WALL_MS + since as i64,
                    cause,
                });
                assert_eq!(watch.standing(), standing, "{name}: step {index}");
                assert_eq!(news, before != standing, "{name}: step {index}");
            }
        }
    }

    #[test]
    fn a_wall_clock_that_steps_makes_nothing_silent() {
        let mut watch = Watch::new(Some(Duration::from_secs(10)), None, at(0));
        watch.heard(at(1_000));
        let year_later = Stamp { wall_ms: WALL_MS + 31_536_000_000, mono_ms: 2_000 };
        assert!(!watch.tick(year_later));
        assert!(watch.told(false, Told, Stamp { wall_ms: 0, mono_ms: 3_000 }));
        assert_eq!(
            watch.standing().map(|known| known.since_ms),
            Some(0),
            "what the clock shows, right or wrong"
        );
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (any::<bool>(), prop::sample::select(vec![Connection, Told]))
                .prop_map(|(online, cause)| Step::Told(online, cause)),
            3 => Just(Step::Heard),
            4 => Just(Step::Tick),
            1 => Just(Step::Restart),
        ]
    }

    proptest! {
        /// Against the whole history: online is who was there last, unless a tick found no sign of life for so long.
        #[test]
        fn agrees_with_its_history(
            steps in prop::collection::vec((any_step(), 0_u64..4_000), 0..100),
            silence in prop::option::of(1_u64..10_000),
        ) {
            let silence = silence.map(Duration::from_millis);
            let mut watch = Watch::new(silence, None, at(0));
            let (mut mono_ms, mut last_sign, mut online, mut since) = (0, 0, None, 0);
            for (what, later_ms) in steps {
                mono_ms += later_ms;
                let before = online;
                match what {
                    Step::Told(is, _) => online = Some(is),
                    Step::Heard => online = Some(true),
                    Step::Tick if silence.is_some_and(|most| u128::from(mono_ms - last_sign) >= most.as_millis()) => {
                        online = Some(false);
                    }
                    Step::Tick | Step::Restart => {}
                }
                if matches!(what, Step::Told(true, _) | Step::Heard | Step::Restart) {
                    last_sign = mono_ms;
                }
                if online != before {
                    since = mono_ms;
                }
                let news = step(&mut watch, silence, what, at(mono_ms));
                prop_assert_eq!(news, online != before);
                let known = watch.standing().map(|known| (known.online, known.since_ms));
                prop_assert_eq!(known, online.map(|online| (online, at(since).wall_ms)));
            }
        }
    }
}
