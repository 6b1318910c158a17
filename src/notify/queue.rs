//! Which notices of one recipient go now, and which wait: digest, spacing, back-off. Sans-IO.
//!
//! Guarantees: between two messages lies at least the spacing, and the digest too unless something critical waits; after a failure
//! nothing goes before the back-off is over, whatever comes; all of that is measured on the monotonic clock. A notice is
//! given up only by a failure: when it is older than [`EXPIRES_MS`] and was tried [`TRIES_MIN`] times, so neither a clock that
//! is set late nor long quiet hours take it away untold. It keeps no notices: the ledger does.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::model::{Severity, Stamp};
use crate::rules::notice::Notice;

/// A notice older than this, milliseconds, has come too late to matter.
pub const EXPIRES_MS: i64 = 24 * 60 * 60 * 1000;
/// But it was tried so often.
pub const TRIES_MIN: u32 = 12;
/// Notices in a message; what is beyond is in the next one.
pub const NOTICES_MAX: usize = 100;

/// How often a recipient is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Least time between two messages.
    pub spacing: Duration,
    /// First and longest wait after a failure.
    pub backoff: (Duration, Duration),
}

impl Pace {
    /// The defaults. The chat services take 20 messages a minute from one robot.
    pub const DEFAULT: Self =
        Self { spacing: Duration::from_secs(3), backoff: (Duration::from_secs(5), Duration::from_secs(600)) };
}

/// What to do now.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Send these in one message, the worst first, then the oldest.
    Send(Vec<Notice>),
    /// Nothing for so many milliseconds, unless something critical comes.
    Wait(u64),
    /// Nothing is due.
    Idle,
}

/// What became of the notices of a message that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setback {
    /// Not before, milliseconds since 1970 UTC.
    pub again_ms: i64,
    /// Tried again, by number.
    pub waiting: Vec<u64>,
    /// Given up, by number.
    pub expired: Vec<u64>,
}

/// The pace of one recipient.
#[derive(Clone, Debug)]
pub struct Queue {
    spacing_ms: u64,
    digest_ms: u64,
    backoff: Backoff,
    /// No message before, whatever comes.
    closed_until_mono_ms: u64,
    /// No message before, unless something critical is due.
    quiet_until_mono_ms: u64,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Queue {
    /// One that may send at once. `digest_ms` is the least time between two messages of which none is critical.
    #[must_use]
    pub fn new(digest_ms: u64, pace: Pace) -> Self {
        Self {
            spacing_ms: millis(pace.spacing),
            digest_ms,
            backoff: Backoff::new(pace.backoff.0, pace.backoff.1),
            closed_until_mono_ms: 0,
            quiet_until_mono_ms: 0,
        }
    }

    /// For how many milliseconds nothing goes, whatever comes: until then nobody need ask what is due.
    #[must_use]
    pub fn closed_ms(&self, now: Stamp) -> u64 {
        self.closed_until_mono_ms.saturating_sub(now.mono_ms)
    }

    /// What to do with what is due now.
    #[must_use]
    pub fn next(&self, mut due: Vec<Notice>, now: Stamp) -> Next {
        if due.is_empty() {
            return Next::Idle;
        }
        let is_urgent = due.iter().any(|notice| notice.severity == Severity::Critical);
        let quiet_ms = if is_urgent { 0 } else { self.quiet_until_mono_ms.saturating_sub(now.mono_ms) };
        let wait_ms = quiet_ms.max(self.closed_ms(now));
        if wait_ms > 0 {
            return Next::Wait(wait_ms);
        }
        due.sort_by(|a, b| b.severity.cmp(&a.severity).then(a.id.cmp(&b.id)));
        due.truncate(NOTICES_MAX);
        Next::Send(due)
    }

    /// A message arrived.
    pub fn delivered(&mut self, now: Stamp) {
        self.backoff.reset();
        self.closed_until_mono_ms = now.mono_ms.saturating_add(self.spacing_ms);
        self.quiet_until_mono_ms = now.mono_ms.saturating_add(self.digest_ms);
    }

    /// A message did not arrive, or nobody knows; `random` is any number.
    pub fn failed(&mut self, notices: &[Notice], random: u64, now: Stamp) -> Setback {
        let wait_ms = millis(self.backoff.wait(random));
        self.closed_until_mono_ms = now.mono_ms.saturating_add(wait_ms);
        let again_ms = now.wall_ms.saturating_add(i64::try_from(wait_ms).unwrap_or(i64::MAX));
        let is_late = |notice: &Notice| {
            now.wall_ms.saturating_sub(notice.made_ms) >= EXPIRES_MS
                && notice.tries.saturating_add(1) >= TRIES_MIN
        };
        let (expired, waiting): (Vec<&Notice>, Vec<&Notice>) =
            notices.iter().partition(|notice| is_late(notice));
        let ids = |notices: Vec<&Notice>| notices.into_iter().map(|notice| notice.id).collect();
        Setback { again_ms, waiting: ids(waiting), expired: ids(expired) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::notify::tests::notice;

    const WALL_MS: i64 = 1_790_000_000_000;

    fn at(mono_ms: u64) -> Stamp {
        Stamp { wall_ms: WALL_MS + mono_ms as i64, mono_ms }
    }

    fn pace() -> Pace {
        let seconds = Duration::from_secs;
        Pace { spacing: seconds(3), backoff: (seconds(5), seconds(600)) }
    }

    fn of(severities: &[Severity]) -> Vec<Notice> {
        let notices = severities.iter().zip(1..);
        notices.map(|(severity, id)| Notice { severity: *severity, ..notice(id, "r") }).collect()
    }

    fn sent(next: Next) -> Vec<u64> {
        match next {
            Next::Send(notices) => notices.iter().map(|notice| notice.id).collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn what_goes_when() {
        use Severity::{Critical, Info, Major};
        let mut queue = Queue::new(60_000, pace());
        assert_eq!(queue.next(Vec::new(), at(0)), Next::Idle);
        assert_eq!(sent(queue.next(of(&[Info]), at(0))), [1], "the first one at once");
        queue.delivered(at(1_000));
        for (mono_ms, due, next) in [
            (1_000, of(&[Info]), Next::Wait(60_000)),
            (1_000, of(&[Critical]), Next::Wait(3_000)),
            (60_999, of(&[Major, Info]), Next::Wait(1)),
        ] {
            assert_eq!(queue.next(due, at(mono_ms)), next, "at {mono_ms}");
        }
        assert_eq!(sent(queue.next(of(&[Info, Major, Critical, Major]), at(4_000))), [3, 2, 4, 1], "urgent");
        assert_eq!(sent(queue.next(of(&[Info, Info]), at(61_000))), [1, 2], "the digest");
        let many = of(&[Info; 2 * NOTICES_MAX]);
        assert_eq!(sent(queue.next(many, at(61_000))).len(), NOTICES_MAX);
    }

    #[test]
    fn nothing_goes_before_the_back_off_is_over() {
        let mut queue = Queue::new(0, pace());
        let (mut now_ms, mut waits) = (0, Vec::new());
        for _ in 0..10 {
            let setback = queue.failed(&of(&[Severity::Critical]), 1023, at(now_ms));
            let wait_ms = queue.closed_ms(at(now_ms));
            assert_eq!(setback.again_ms, at(now_ms + wait_ms).wall_ms);
            assert_eq!(setback.waiting, [1]);
            assert_eq!(queue.next(of(&[Severity::Critical]), at(now_ms + wait_ms - 1)), Next::Wait(1));
            now_ms += wait_ms;
            waits.push(wait_ms / 1000);
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 600, 600, 600]);
        queue.delivered(at(now_ms));
        queue.failed(&[], 1023, at(now_ms));
        assert_eq!(queue.closed_ms(at(now_ms)), 5_000, "from the floor after a success");
    }

    #[test]
    fn what_is_late_expires_when_it_was_tried_enough() {
        let mut queue = Queue::new(0, pace());
        for (name, age_ms, tries, expired) in [
            ("young", EXPIRES_MS - 1, 1000, false),
            ("old", EXPIRES_MS, TRIES_MIN - 1, true),
            ("old, and hardly tried", 50 * EXPIRES_MS, TRIES_MIN - 2, false),
            ("from the future", i64::MIN, 1000, false),
        ] {
            let made_ms = WALL_MS.saturating_sub(age_ms);
            let setback = queue.failed(&[Notice { made_ms, tries, ..notice(1, "r") }], 0, at(0));
            assert_eq!(
                (setback.expired.len(), setback.waiting.len()),
                (expired.into(), (!expired).into()),
                "{name}"
            );
        }
    }

    proptest! {
        /// Whatever happens: messages keep their distance, what is not critical keeps the digest's, and nothing that is due is
        /// held for ever.
        #[test]
        fn keeps_its_pace(
            digest_ms in 0_u64..100_000,
            steps in prop::collection::vec((0_u64..20_000, any::<bool>(), any::<bool>(), any::<u64>()), 1..200),
        ) {
            let mut queue = Queue::new(digest_ms, pace());
            let (mut now_ms, mut last_ms) = (0, None::<u64>);
            for (later_ms, is_critical, fails, random) in steps {
                now_ms += later_ms;
                let severity = if is_critical { Severity::Critical } else { Severity::Major };
                match queue.next(of(&[severity]), at(now_ms)) {
                    Next::Send(notices) if fails => {
                        queue.failed(&notices, random, at(now_ms));
                        prop_assert!(queue.closed_ms(at(now_ms)) >= 2_500);
                    }
                    Next::Send(_) => {
                        let least_ms = if is_critical { 3_000 } else { digest_ms.max(3_000) };
                        prop_assert!(last_ms.is_none_or(|last_ms| now_ms - last_ms >= least_ms));
                        last_ms = Some(now_ms);
                        queue.delivered(at(now_ms));
                    }
                    Next::Wait(wait_ms) => {
                        prop_assert!(wait_ms > 0 && wait_ms <= 600_000.max(digest_ms));
                        let then = queue.next(of(&[severity]), at(now_ms + wait_ms));
                        prop_assert!(matches!(then, Next::Send(_)));
                    }
                    Next::Idle => prop_assert!(false, "something is due"),
                }
            }
        }
    }
}
