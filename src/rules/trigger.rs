//! When one alarm of one device begins and ends: hold time, hysteresis, counts, sequences, absence, a time of the day, a
//! second sensor. Sans-IO.
//!
//! ```text
//!            holds                 long enough, often enough, B after A
//!   Normal ─────────► Pending … ────────────────────────────────────────► On
//!     ▲  ▲                │                      └──► Alone ── vouched ───▲ │
//!     │  └── a break ─────┘                             │                   │
//!     └───────────────────────── ends ──────────────────┴───────────────────┘
//! ```
//!
//! Guarantees: waiting is measured on the monotonic clock, so a stepped wall clock neither raises nor delays; what is
//! raised by time is raised at the event time it began plus that time, whether a reading or a tick finds it; counts and
//! sequences are compared by event time and forgotten at the next reading after it; an unknown condition changes nothing;
//! outside of the schedule nothing begins. A state that was kept and taken up again gives the same signals.
//!
//! What it does not do: evaluate conditions, know other devices, or suppress. The caller lets time pass ([`Rule::tick`])
//! before it hands in the readings of that time, and hands in no past ones.

use super::cel::Verdict;
use super::due::Due;
use super::schedule::Schedule;
use crate::model::Stamp;

mod state;
#[cfg(test)]
mod tests;

pub use state::State;
use state::{Stage, Wait};

/// What an error of a condition means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// The condition holds: better one alarm too many.
    Raise,
    /// Nothing changes.
    Stay,
}

/// What has to happen besides the condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// For how long the condition has to hold without a break, milliseconds.
    pub hold_ms: u64,
    /// `(n, within)`: it has to become true so often within so many milliseconds; a reading that says again that it is true
    /// counts again.
    pub times: Option<(u32, u64)>,
    /// After the condition a second one has to become true within so many milliseconds (A, then B).
    pub then_ms: Option<u64>,
    /// No condition: it begins when the metric was not heard for so many milliseconds, and ends when it is.
    pub absent_ms: Option<u64>,
    /// The condition is looked at once a day, at this minute of the local day; a reading of which it fails ends it.
    pub daily: Option<u16>,
    /// `(n, within)`: so many devices of the place, this one counted, have to say so within so many milliseconds.
    pub confirm: Option<(u32, u64)>,
    /// When it looks at all.
    pub schedule: Schedule,
    /// What an error means.
    pub on_error: OnError,
}

/// What the conditions of an alarm come to at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truth {
    /// The condition.
    pub when: Verdict,
    /// Where it ends; without one where `when` does not hold.
    pub clear: Option<Verdict>,
    /// The early sign.
    pub early: Option<Verdict>,
    /// What has to follow.
    pub then: Option<Verdict>,
}

/// What a trigger tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// An early sign, or one sensor alone, since this event time.
    Early(i64),
    /// It begins, at this event time.
    On(i64),
    /// It ends, or the early sign does, at this event time.
    Off(i64),
}

/// What a reading or the time changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Something to keep and nothing to tell.
    Quiet,
    /// Something to tell, and to keep.
    Told(Signal),
}

/// How late a time of the day is still looked at, milliseconds: the gateway may have been off.
pub const LATE_MAX_MS: i64 = 30 * 60_000;
const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 1440 * MINUTE_MS;

/// A moment, in all that it is asked by.
#[derive(Clone, Copy)]
struct Moment {
    /// Event time of what happens.
    at_ms: i64,
    now: Stamp,
    zone_ms: i64,
    /// Whether the schedule holds.
    inside: bool,
}

impl Rule {
    /// Takes the truths after a reading, or a change of presence, that may have changed one of them. `heard`: the reading is
    /// of one of the alarm's own metrics; of an absence it is the sign of life. `None` when there is nothing to keep; a
    /// sign of life alone is that, see [`Rule::alive`].
    pub fn feed(
        &self,
        state: &mut State,
        truth: Truth,
        heard: bool,
        at_ms: i64,
        now: Stamp,
        zone_ms: i64,
    ) -> Option<Change> {
        let mut before = state.clone();
        let moment = self.moment(at_ms, now, zone_ms);
        let when = self.says(truth.when);
        let was_held = state.held;
        if self.times.is_some() || self.then_ms.is_some() {
            state.held = when.unwrap_or(was_held);
        }
        self.feed_early(state, truth, moment);
        let ends = self.ends(truth, when, heard);
        if heard && self.absent_ms.is_some() {
            self.hear(state, &mut before, now);
        }
        let mut told_ms = at_ms;
        match &mut state.stage {
            Stage::On { .. } | Stage::Alone { .. } if ends => {
                state.spent = state.early && state.is_on();
                state.stage = Stage::Normal;
            }
            Stage::Alone { said_ms, .. } if heard && when == Some(true) => *said_ms = at_ms.max(*said_ms),
            Stage::On { said_ms, .. } if heard && when == Some(true) && self.confirm.is_some() => {
                *said_ms = at_ms.max(*said_ms);
            }
            Stage::On { .. } | Stage::Alone { .. } => {}
            _ if self.absent_ms.is_some() => told_ms = self.silence(state, moment).unwrap_or(at_ms),
            _ if self.daily.is_some() => {}
            _ if self.times.is_some() => self.count(state, when, heard || !was_held, moment),
            _ if self.then_ms.is_some() => {
                let then = truth.then.and_then(|then| self.says(then));
                self.follow(state, when == Some(true) && !was_held, then == Some(true), moment);
            }
            _ => told_ms = self.hold(state, when, moment).unwrap_or(at_ms),
        }
        state.change_since(&before, told_ms)
    }

    /// Lets time pass. `None` when there is nothing to keep.
    pub fn tick(&self, state: &mut State, truth: Truth, now: Stamp, zone_ms: i64) -> Option<Change> {
        let before = state.clone();
        let moment = self.moment(now.wall_ms, now, zone_ms);
        let when = self.says(truth.when);
        let opens = moment.inside && !self.schedule.is_always();
        if opens && truth.early.and_then(|early| self.says(early)) == Some(true) {
            state.early = true;
        }
        let told_ms = match state.stage {
            _ if self.daily.is_some() => self.look(state, truth.when, moment),
            Stage::On { .. } | Stage::Alone { .. } => None,
            _ if self.absent_ms.is_some() => self.silence(state, moment),
            Stage::Pending { .. } => self.wait(state, moment),
            Stage::Normal if opens && self.is_plain() && when == Some(true) => self.hold(state, when, moment),
            _ => None,
        };
        state.change_since(&before, told_ms.unwrap_or(now.wall_ms))
    }

    /// When [`Rule::tick`] has something to do; `None` when time changes nothing.
    #[must_use]
    pub fn due(&self, state: &State, now: Stamp, zone_ms: i64) -> Option<Due> {
        let inside = self.schedule.at(now.wall_ms, zone_ms);
        let own = match &state.stage {
            _ if self.daily.is_some() => self.look_due(state, now, zone_ms),
            Stage::Pending { due, .. } => Some(due.0),
            Stage::On { .. } | Stage::Alone { .. } => return None,
            _ if self.absent_ms.is_some() => {
                let silent = state.silent.map_or(Due::at(now, now.wall_ms), |silent| silent.0);
                Some(silent).filter(|silent| inside || !silent.is_over(now))
            }
            _ => None,
        };
        let is_pending = matches!(state.stage, Stage::Pending { .. });
        let flip = self.schedule.next_change_ms(now.wall_ms, zone_ms).filter(|_| is_pending || !inside);
        let flip = flip.map(|wall_ms| Due::at(now, wall_ms));
        own.into_iter().chain(flip).min_by_key(|due| due.mono_ms)
    }

    /// Enough other devices of the place say so too: one that is alone is on, at this event time.
    pub fn vouched(&self, state: &mut State, at_ms: i64) -> Option<Signal> {
        let Stage::Alone { said_ms, .. } = state.stage else { return None };
        state.stage = Stage::On { since_ms: at_ms, said_ms };
        Some(Signal::On(at_ms))
    }

    /// The newest sign of life before a restart, by the gateway's clock: an absence is not due before it plus the time. Signs of life
    /// alone are no reason to keep a state, so after [`State::restored`] this tells what was heard since.
    pub fn alive(&self, state: &mut State, newest_ms: i64, now: Stamp) {
        let Some(absent_ms) = self.absent_ms else { return };
        let wall_ms = newest_ms.min(now.wall_ms).saturating_add(signed(absent_ms));
        if state.silent.is_none_or(|silent| silent.0.wall_ms < wall_ms) {
            state.silent = Some(Wait(Due::at(now, wall_ms)));
        }
    }

    /// What of it can never be, or says two things at once; nothing for a rule that makes sense.
    #[must_use]
    pub fn nonsense(&self) -> Vec<&'static str> {
        let kinds =
            [self.times.is_some(), self.then_ms.is_some(), self.absent_ms.is_some(), self.daily.is_some()];
        let kinds = kinds.into_iter().filter(|is| *is).count();
        let longest_ms = self.schedule.longest_minutes().map(|minutes| u64::from(minutes) * 60_000);
        // A time of the day is a minute of each of the seven days.
        let looks = |minute: u16| (0..7).any(|day| self.schedule.holds(day * 1440 + minute));
        let none = |bound: Option<(u32, u64)>| bound.is_some_and(|(count, within)| count < 2 || within == 0);
        [
            (kinds > 1, "of times, then, absent and at an alarm has one"),
            (kinds > 0 && self.hold_ms > 0, "hold does not go with times, then, absent or at"),
            (none(self.times), "times is 2 or more, within longer than 0"),
            (self.then_ms == Some(0), "then needs a within longer than 0"),
            (self.absent_ms == Some(0), "absent is longer than 0"),
            (none(self.confirm), "confirm is of 2 devices or more, within longer than 0"),
            (self.daily.is_some_and(|minute| minute >= 1440), "at is from 00:00 to 23:59"),
            (
                self.daily.is_some_and(|minute| minute < 1440 && !looks(minute)),
                "it is never raised: at is outside of the schedule on every day",
            ),
            (
                longest_ms.is_some_and(|longest| self.hold_ms > longest),
                "it is never raised: hold is longer than the longest time of the schedule",
            ),
        ]
        .into_iter()
        .filter_map(|(is, what)| is.then_some(what))
        .collect()
    }

    fn is_plain(&self) -> bool {
        self.times.is_none() && self.then_ms.is_none() && self.absent_ms.is_none() && self.daily.is_none()
    }

    fn moment(&self, at_ms: i64, now: Stamp, zone_ms: i64) -> Moment {
        Moment { at_ms, now, zone_ms, inside: self.schedule.at(now.wall_ms, zone_ms) }
    }

    fn says(&self, verdict: Verdict) -> Option<bool> {
        match verdict {
            Verdict::Holds => Some(true),
            Verdict::Fails => Some(false),
            Verdict::Unknown => None,
            Verdict::Error => (self.on_error == OnError::Raise).then_some(true),
        }
    }

    /// Whether what is on ends. What cannot be computed ends nothing.
    fn ends(&self, truth: Truth, when: Option<bool>, heard: bool) -> bool {
        if self.absent_ms.is_some() {
            return heard;
        }
        match truth.clear {
            Some(clear) => clear == Verdict::Holds && when != Some(true),
            None => when == Some(false),
        }
    }

    fn begin(&self, state: &mut State, since_ms: i64) {
        state.stage = if self.confirm.is_some_and(|(count, _)| count > 1) {
            Stage::Alone { since_ms, said_ms: since_ms }
        } else {
            Stage::On { since_ms, said_ms: since_ms }
        };
    }

    fn feed_early(&self, state: &mut State, truth: Truth, moment: Moment) {
        // One that is no longer asked for is not there.
        match self.says(truth.early.unwrap_or(Verdict::Fails)) {
            Some(true) => state.early |= moment.inside,
            Some(false) => (state.early, state.spent) = (false, false),
            None => {}
        }
    }

    /// A sign of life; only the first one is a reason to keep the state.
    fn hear(&self, state: &mut State, before: &mut State, now: Stamp) {
        let silent = Wait(Due::after(now, self.absent_ms.unwrap_or(u64::MAX)));
        state.silent = Some(silent);
        if before.silent.is_some() {
            before.silent = Some(silent);
        }
    }

    /// The event time at which it began to be missed.
    fn silence(&self, state: &mut State, moment: Moment) -> Option<i64> {
        let Moment { now, zone_ms, .. } = moment;
        let absent_ms = self.absent_ms?;
        let Wait(due) = *state.silent.get_or_insert_with(|| Wait(Due::after(now, absent_ms)));
        if !due.is_over(now) || !moment.inside {
            return None;
        }
        // What was missed before the schedule began is missed from now on.
        let since_ms = if self.schedule.at(due.wall_ms, zone_ms) { due.wall_ms } else { now.wall_ms };
        self.begin(state, since_ms);
        Some(since_ms)
    }

    /// A condition that has to hold without a break; the event time at which it had.
    fn hold(&self, state: &mut State, when: Option<bool>, moment: Moment) -> Option<i64> {
        match (&state.stage, when?) {
            (Stage::Pending { .. }, true) => self.wait(state, moment),
            (Stage::Pending { .. }, false) => {
                state.stage = Stage::Normal;
                None
            }
            (_, true) if moment.inside && self.hold_ms == 0 => {
                self.begin(state, moment.at_ms);
                Some(moment.at_ms)
            }
            (_, true) if moment.inside => {
                let due = Wait(Due::after(moment.now, self.hold_ms));
                state.stage = Stage::Pending { since_ms: moment.at_ms, due };
                None
            }
            _ => None,
        }
    }

    /// What is pending is over, or the schedule is.
    fn wait(&self, state: &mut State, moment: Moment) -> Option<i64> {
        let Stage::Pending { since_ms, due: Wait(due) } = state.stage else { return None };
        let is_over = due.is_over(moment.now);
        if is_over && (moment.inside || self.schedule.at(due.wall_ms, moment.zone_ms)) {
            let on_ms = since_ms.saturating_add(signed(self.hold_ms));
            self.begin(state, on_ms);
            return Some(on_ms);
        }
        if !moment.inside {
            state.stage = Stage::Normal;
        }
        None
    }

    fn count(&self, state: &mut State, when: Option<bool>, said: bool, moment: Moment) {
        let Some((enough, within_ms)) = self.times else { return };
        let mut times = match std::mem::take(&mut state.stage) {
            Stage::Counted(times) => times,
            _ => Vec::new(),
        };
        if when == Some(true) && said && moment.inside {
            times.insert(times.partition_point(|time| *time <= moment.at_ms), moment.at_ms);
        }
        let newest_ms = times.last().map_or(moment.at_ms, |newest| moment.at_ms.max(*newest));
        times.retain(|time| newest_ms.saturating_sub(*time) <= signed(within_ms));
        if times.len() >= enough as usize {
            self.begin(state, moment.at_ms);
        } else if !times.is_empty() {
            state.stage = Stage::Counted(times);
        }
    }

    /// A, then B.
    fn follow(&self, state: &mut State, first: bool, then: bool, moment: Moment) {
        let within_ms = signed(self.then_ms.unwrap_or(0));
        let at_ms = moment.at_ms;
        if let Stage::First { at_ms: first_ms } = state.stage {
            let later_ms = at_ms.saturating_sub(first_ms);
            if then && moment.inside && (1..=within_ms).contains(&later_ms) {
                return self.begin(state, at_ms);
            }
            if later_ms > within_ms {
                state.stage = Stage::Normal;
            }
        }
        if first && moment.inside {
            state.stage = Stage::First { at_ms };
        }
    }

    /// The newest time of the day that has come: the local day, and its wall time.
    fn look_time(&self, wall_ms: i64, zone_ms: i64) -> (i64, i64) {
        let offset_ms = i64::from(self.daily.unwrap_or(0)) * MINUTE_MS - zone_ms;
        let day = wall_ms.saturating_sub(offset_ms).div_euclid(DAY_MS);
        (day, day.saturating_mul(DAY_MS).saturating_add(offset_ms))
    }

    fn is_to_look(&self, state: &State, wall_ms: i64, zone_ms: i64) -> bool {
        let (day, look_ms) = self.look_time(wall_ms, zone_ms);
        wall_ms.saturating_sub(look_ms) < LATE_MAX_MS && state.looked.is_none_or(|looked| looked < day)
    }

    /// Looks, once a day.
    fn look(&self, state: &mut State, when: Verdict, moment: Moment) -> Option<i64> {
        let wall_ms = moment.now.wall_ms;
        if !self.is_to_look(state, wall_ms, moment.zone_ms) {
            return None;
        }
        let (day, look_ms) = self.look_time(wall_ms, moment.zone_ms);
        state.looked = Some(day);
        let holds = match when {
            Verdict::Holds => true,
            Verdict::Fails => false,
            Verdict::Unknown | Verdict::Error => self.on_error == OnError::Raise,
        };
        let is_news = !matches!(state.stage, Stage::On { .. } | Stage::Alone { .. });
        if !holds || !is_news || !self.schedule.at(look_ms, moment.zone_ms) {
            return None;
        }
        self.begin(state, look_ms);
        Some(look_ms)
    }

    fn look_due(&self, state: &State, now: Stamp, zone_ms: i64) -> Option<Due> {
        let (_, look_ms) = self.look_time(now.wall_ms, zone_ms);
        let is_now = self.is_to_look(state, now.wall_ms, zone_ms);
        Some(Due::at(now, if is_now { now.wall_ms } else { look_ms.saturating_add(DAY_MS) }))
    }
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}
