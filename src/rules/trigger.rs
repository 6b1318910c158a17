//! When one alarm of one device begins and ends: hold time, hysteresis, counts, sequences, absence, a time of the day, a
//! second sensor. Sans-IO.

use super::cel::Verdict;
use super::schedule::Schedule;

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
