//! The discipline of one half-duplex bus, for any protocol of questions and answers.
//!
//! drain → silence → send → skip the echo → strict match → done; after a timeout the bus goes on listening, so that a late
//! answer is heard and thrown away instead of being taken for the next one. Guarantees: never two questions in flight;
//! each question ends exactly once, in bounded time, whatever the line carries; what is not the answer is counted; the
//! buffer is bounded. It has no clock, opens nothing, and does not choose what to ask.

use std::time::Duration;

use super::Line;
use super::question::{Answer, Heard, Question, Refusal};
use crate::codec::{Scan, dlt645};

/// Received bytes that may wait for the rest of their frame. Beyond it the oldest are discarded and counted.
pub const BUFFER_BYTES_MAX: usize = 512;

/// Bytes that are read at once: so many fit behind the longest unfinished frame of any codec, which is DL/T 645's.
const CHUNK_BYTES: usize = BUFFER_BYTES_MAX - dlt645::FRAME_BYTES_MAX;

/// Bytes that are no frame and still leave a single answer to many what it is: the line turns round with some.
pub const CROWD_BYTES: usize = 8;

/// How long a line is left alone after a question that nobody answers.
pub const TURNAROUND: Duration = Duration::from_millis(200);

/// What happens to a bus.
pub enum Event<'a> {
    /// The port is open.
    Opened,
    /// The port is gone.
    Closed,
    /// The next question; only when [`Bus::ready`].
    Ask(Question),
    /// Bytes came.
    Bytes(&'a [u8]),
    /// The time of [`Bus::wakeup`] has come.
    Wakeup,
}

/// What is to be done about it, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Set the line, throw away what the operating system has received, then send this.
    Send(Line, Vec<u8>),
    /// The question has ended.
    Done(Outcome),
    /// The answer to the last question came after its timeout and was thrown away.
    Late,
    /// A frame that answers another question was ignored.
    Foreign,
    /// An answer to the last question had a wrong checksum.
    Corrupt,
    /// So many bytes belonged to nothing.
    Discarded(usize),
}

/// How a question ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// With what the meter said.
    Answer(Answer),
    /// With a no.
    Refused(Refusal),
    /// With nothing, in time.
    Timeout,
    /// It went to all, and nobody answers.
    Sent,
    /// By the port's end; nobody is to blame.
    Abandoned,
}

/// One bus. Times are of one monotonic clock.
pub struct Bus {
    /// Whether the adapter hears itself.
    echo: bool,
    state: State,
    buffer: Vec<u8>,
    /// When the line last carried something.
    busy: Duration,
    /// Bytes since the last question that made no frame, or another answer to a question to many.
    noise: usize,
    /// The first answer to a question to many, while others may come.
    kept: Option<Outcome>,
}

enum State {
    Closed,
    Idle,
    /// Waits for silence, but not beyond `latest`: noise on an idle line must not stop the bus.
    Silence {
        question: Question,
        latest: Duration,
    },
    /// `first` is the deadline while nothing is being received, `last` the deadline in any case.
    Waiting {
        question: Question,
        first: Duration,
        last: Duration,
        echo: Option<Vec<u8>>,
    },
    /// After a timeout: listens for the late answer.
    Quarantine {
        question: Question,
        until: Duration,
    },
    /// After a question to all.
    Turnaround {
        until: Duration,
    },
}

impl Bus {
    /// A bus whose port is not open yet; with `echo` its adapter hears itself.
    #[must_use]
    pub fn new(echo: bool) -> Self {
        Self { echo, state: State::Closed, buffer: Vec::new(), busy: Duration::ZERO, noise: 0, kept: None }
    }

    /// Whether a question may be asked.
    #[must_use]
    pub fn ready(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// How many bytes came to the last question that were no frame, when it ended without an answer.
    #[must_use]
    pub fn noise(&self) -> usize {
        self.noise + self.buffer.len()
    }

    /// When to call with [`Event::Wakeup`] if nothing else happens before.
    #[must_use]
    pub fn wakeup(&self) -> Option<Duration> {
        let given_up = |question: &Question| self.busy + question.timing.gap;
        match &self.state {
            State::Closed | State::Idle => None,
            State::Silence { question, latest } => Some((self.busy + question.timing.silence).min(*latest)),
            State::Waiting { first, .. } if self.buffer.is_empty() => Some(*first),
            State::Waiting { question, last, .. } => Some(given_up(question).min(*last)),
            State::Quarantine { until, .. } if self.buffer.is_empty() => Some(*until),
            State::Quarantine { question, until } => Some(given_up(question).min(*until)),
            State::Turnaround { until } => Some(*until),
        }
    }

    /// Takes an event at the time `now`; the actions are to be done in order.
    #[must_use]
    pub fn handle(&mut self, event: Event<'_>, now: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        let mut discarded = 0;
        match event {
            Event::Opened => {
                self.state = State::Idle;
                self.busy = now;
            }
            Event::Closed => {
                discarded += self.clear();
                let state = std::mem::replace(&mut self.state, State::Closed);
                if let State::Silence { .. } | State::Waiting { .. } | State::Turnaround { .. } = state {
                    actions.push(Action::Done(Outcome::Abandoned));
                }
            }
            Event::Ask(question) if self.ready() => {
                let latest = now + question.timing.response_timeout;
                self.state = State::Silence { question, latest };
            }
            Event::Ask(_) => actions.push(Action::Done(Outcome::Abandoned)),
            Event::Bytes(bytes) => {
                self.busy = now;
                for chunk in bytes.chunks(CHUNK_BYTES) {
                    let excess = (self.buffer.len() + chunk.len()).saturating_sub(BUFFER_BYTES_MAX);
                    self.buffer.drain(..excess);
                    self.buffer.extend_from_slice(chunk);
                    discarded += excess + self.read(false, now, &mut actions);
                }
            }
            Event::Wakeup => {}
        }
        discarded += self.tick(now, &mut actions);
        if discarded > 0 {
            actions.push(Action::Discarded(discarded));
        }
        actions
    }

    /// What time alone does; gives the bytes discarded.
    fn tick(&mut self, now: Duration, actions: &mut Vec<Action>) -> usize {
        let mut discarded = 0;
        let gap = match &self.state {
            State::Waiting { question, .. } | State::Quarantine { question, .. } => question.timing.gap,
            _ => Duration::MAX,
        };
        if !self.buffer.is_empty() && now >= self.busy.saturating_add(gap) {
            discarded += self.read(true, now, actions);
        }
        match &self.state {
            State::Silence { question, latest }
                if now >= (self.busy + question.timing.silence).min(*latest) =>
            {
                let Question { asked, line, timing } = question;
                let (line, frame) = (*line, asked.encode());
                let sent = now + line.wire(frame.len());
                (self.busy, self.noise, self.kept) = (sent, 0, None);
                self.state = if asked.is_broadcast() {
                    actions.push(Action::Send(line, frame));
                    State::Turnaround { until: sent + TURNAROUND }
                } else {
                    let first = sent + timing.response_timeout;
                    let last = first + line.wire(asked.answer_bytes()) + timing.gap;
                    let echo = self.echo.then(|| frame.clone());
                    actions.push(Action::Send(line, frame));
                    State::Waiting { question: question.clone(), first, last, echo }
                };
            }
            State::Waiting { first, last, .. }
                if self.kept.is_some()
                    && self.noise() < CROWD_BYTES
                    && (now >= *last || (now >= *first && self.buffer.is_empty())) =>
            {
                self.state = State::Idle;
                discarded += self.clear();
                actions.extend(self.kept.take().map(Action::Done));
            }
            State::Waiting { question, first, last, .. }
                if now >= *last || (now >= *first && self.buffer.is_empty()) =>
            {
                actions.push(Action::Done(Outcome::Timeout));
                // An answer that is half there may still become the late one.
                let until = now + question.timing.response_timeout;
                self.state = State::Quarantine { question: question.clone(), until };
            }
            State::Quarantine { until, .. } if now >= *until => {
                self.state = State::Idle;
                discarded += self.clear();
            }
            State::Turnaround { until } if now >= *until => {
                self.state = State::Idle;
                actions.push(Action::Done(Outcome::Sent));
            }
            _ => {}
        }
        discarded
    }

    /// Reads what the buffer holds; gives the bytes discarded. With `last`, nothing more comes: what is unfinished is
    /// garbage, but a frame may stand behind it.
    fn read(&mut self, last: bool, now: Duration, actions: &mut Vec<Action>) -> usize {
        let mut discarded = 0;
        loop {
            let (question, waiting) = match &mut self.state {
                State::Waiting { question, echo, .. } => {
                    if let Some(own) = echo {
                        if self.buffer.len() < own.len() && own.starts_with(&self.buffer) && !last {
                            return discarded;
                        }
                        if self.buffer.starts_with(own) {
                            self.buffer.drain(..own.len());
                        }
                        *echo = None;
                    }
                    (question.clone(), true)
                }
                State::Quarantine { question, .. } => (question.clone(), false),
                State::Closed | State::Idle | State::Silence { .. } | State::Turnaround { .. } => {
                    return discarded + self.clear();
                }
            };
            let (len, heard) = match question.asked.hear(&self.buffer) {
                Scan::Need if last && !self.buffer.is_empty() => (1, None),
                Scan::Need => match self.answer_behind(&question) {
                    Some(garbage) => (garbage, None),
                    None => return discarded,
                },
                Scan::Skip(count) => {
                    if question.asked.damaged(&self.buffer) {
                        actions.push(Action::Corrupt);
                    }
                    (count, None)
                }
                Scan::Frame { len, frame } => (len, Some(frame)),
            };
            self.buffer.drain(..len);
            let outcome = match heard {
                None => {
                    discarded += len;
                    self.noise += if waiting { len } else { 0 };
                    continue;
                }
                Some(Heard::Foreign) => {
                    actions.push(Action::Foreign);
                    continue;
                }
                Some(Heard::Answer(answer)) => Outcome::Answer(answer),
                Some(Heard::Refused(refusal)) => Outcome::Refused(refusal),
            };
            if waiting && question.asked.is_for_many() {
                if self.kept.replace(outcome).is_some() {
                    self.noise += len;
                }
                continue;
            }
            self.state = State::Idle;
            self.busy = now;
            actions.push(if waiting { Action::Done(outcome) } else { Action::Late });
        }
    }

    /// How many bytes of what looks like a longer frame stand before a whole answer: noise may begin with a frame's head.
    /// A single byte is no proof of an answer.
    fn answer_behind(&self, question: &Question) -> Option<usize> {
        (1..self.buffer.len()).find(|at| {
            let heard = question.asked.hear(&self.buffer[*at..]);
            matches!(heard, Scan::Frame { len: 2.., frame: Heard::Answer(_) })
        })
    }

    fn clear(&mut self) -> usize {
        let count = self.buffer.len();
        self.buffer.clear();
        count
    }
}

#[cfg(test)]
mod tests;
