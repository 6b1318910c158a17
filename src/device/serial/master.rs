//! One port, whole and without I/O: the schedule, the bus, and errands between two readings.
//!
//! Guarantees: one question at a time; errands and polling take turns, so that neither waits for the other's end; a question
//! of the one cannot meet a late answer to a question of the other. What it does is told in [`Action`]s.

use std::collections::VecDeque;
use std::time::Duration;

use super::bus::{self, Bus, Outcome};
use super::exchange::{Content, Exchange, Step};
use super::question::{Asked, Question, Refusal};
use super::schedule::{Budget, Ended, REST_TIMEOUTS, Read, Said, Schedule};
use super::{Line, PortSettings};
use crate::model::DeviceId;

/// Errands that wait; [`Master::has_room`] says when one more fits.
pub const ERRANDS_MAX: usize = 16;

const AWAY: &str = "the adapter is away";

/// Names an errand in its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ErrandId(pub u64);

/// What happens to a port.
pub enum Event<'a> {
    /// It is open.
    Opened,
    /// It is gone.
    Closed,
    /// Bytes came.
    Bytes(&'a [u8]),
    /// Somebody wants something asked; only when [`Master::has_room`].
    Errand(ErrandId, Exchange),
    /// The time of [`Master::wakeup`] has come.
    Wakeup,
}

/// What is to be done about it, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Set the line, throw away what the operating system has received, then send this, to the device if it is one's.
    Send(Option<DeviceId>, Line, Vec<u8>),
    /// A reading has ended.
    Read(DeviceId, Ended, Said),
    /// An errand has ended.
    Reply(ErrandId, Result<Content, Failed>),
    /// An answer of the device came after its timeout and was thrown away.
    Late(Option<DeviceId>),
    /// An answer of the device had a wrong checksum.
    Corrupt(Option<DeviceId>),
    /// A frame that answers another question was ignored.
    Foreign,
    /// So many bytes belonged to nothing.
    Discarded(usize),
}

/// Why an errand brought nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// Nothing came in time.
    #[error("no answer within the response timeout; check wiring (A and B), address, baud and parity")]
    Timeout,
    /// Something came, but no frame: so many bytes.
    #[error(
        "what came is damaged ({0} bytes); check baud and parity, whether two meters have this address, and the \
         termination of the line"
    )]
    Damaged(usize),
    /// A no.
    #[error("the meter refuses: {} (code {})", .0.text, .0.code)]
    Refused(Refusal),
    /// Answers that make no reading.
    #[error("the meter's answer cannot be used: {0}")]
    Unusable(String),
    /// The port went away while the meter was asked: the question may have reached it.
    #[error("the adapter went away while the meter was asked; plug it in, then ask again")]
    Lost,
    /// The port is not open.
    #[error("the port is not open: {0}")]
    Closed(String),
}

/// What is being asked.
enum Current {
    Read(Read),
    Errand(ErrandId, Exchange),
}

/// The master of one port. Times are of one monotonic clock.
pub struct Master {
    schedule: Schedule,
    bus: Bus,
    open: bool,
    current: Option<Current>,
    /// Whose the last question was, for what comes late.
    last: Option<DeviceId>,
    errands: VecDeque<(ErrandId, Exchange)>,
    /// Whether the last one asked was an errand.
    errand_was_last: bool,
    /// Nothing new is asked: [`Master::hold`].
    held: bool,
    /// Modbus units that timed out on an errand, and until when a late answer may come.
    hushed: VecDeque<(u8, Duration)>,
}

impl Master {
    /// All points are due at `now`; the port is not open yet.
    #[must_use]
    pub fn new(settings: &PortSettings, now: Duration) -> Self {
        Self {
            schedule: Schedule::new(settings, now),
            bus: Bus::new(settings.echo),
            open: false,
            current: None,
            last: None,
            errands: VecDeque::new(),
            errand_was_last: false,
            held: false,
            hushed: VecDeque::new(),
        }
    }

    /// Whether nothing new is to be asked, so that a line that is never idle becomes [`Master::is_idle`].
    pub fn hold(&mut self, held: bool) {
        self.held = held;
    }

    /// Takes new settings, when [`Master::is_idle`]; what is known about what stays is kept.
    pub fn rebuild(&mut self, settings: &PortSettings, now: Duration) {
        self.schedule.rebuild(settings, now);
        self.bus = Bus::new(settings.echo);
        if self.open {
            // A new bus has nothing to do or to say.
            let _ = self.bus.handle(bus::Event::Opened, now);
        }
    }

    /// Whether nothing is being asked.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.current.is_none() && (!self.open || self.bus.ready())
    }

    /// Whether one more errand fits.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.errands.len() < ERRANDS_MAX
    }

    /// Takes back errands that nobody waits for any more and that were not asked yet; tells which.
    pub fn forget(&mut self, gone: impl Fn(ErrandId) -> bool) -> Vec<ErrandId> {
        let forgotten = self.errands.iter().map(|(id, _)| *id).filter(|id| gone(*id)).collect();
        self.errands.retain(|(id, _)| !gone(*id));
        forgotten
    }

    /// What the points cost when all meters answer.
    #[must_use]
    pub fn budget(&self) -> Budget {
        self.schedule.budget()
    }

    /// How many points their meter refuses for good.
    #[must_use]
    pub fn misconfigured(&self) -> usize {
        self.schedule.misconfigured()
    }

    /// Takes an event at the time `now`; the actions are to be done in order.
    #[must_use]
    pub fn handle(&mut self, event: Event<'_>, now: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        let happened = match event {
            Event::Opened => {
                self.open = true;
                bus::Event::Opened
            }
            Event::Closed => {
                self.open = false;
                let waiting = self.errands.drain(..);
                actions.extend(waiting.map(|(id, _)| Action::Reply(id, Err(Failed::Closed(AWAY.into())))));
                bus::Event::Closed
            }
            Event::Bytes(bytes) => bus::Event::Bytes(bytes),
            Event::Errand(id, _) if !self.open => {
                return vec![Action::Reply(id, Err(Failed::Closed(AWAY.into())))];
            }
            Event::Errand(id, exchange) => {
                self.errands.push_back((id, exchange));
                bus::Event::Wakeup
            }
            Event::Wakeup => bus::Event::Wakeup,
        };
        let from_bus = self.bus.handle(happened, now);
        self.take(from_bus, now, &mut actions);
        while self.open && !self.held && self.current.is_none() && self.bus.ready() {
            let Some(question) = self.choose(now) else { break };
            let from_bus = self.bus.handle(bus::Event::Ask(question), now);
            self.take(from_bus, now, &mut actions);
        }
        actions
    }

    /// When to call with [`Event::Wakeup`] if nothing else happens before.
    #[must_use]
    pub fn wakeup(&self) -> Option<Duration> {
        if !self.open || self.current.is_some() || !self.bus.ready() {
            return self.bus.wakeup();
        }
        let errand = self.errands.iter().map(|(_, exchange)| self.quiet_until(exchange)).min();
        errand.into_iter().chain(self.schedule.wakeup()).min()
    }

    /// The next question of an errand or of a reading; they take turns when both are there.
    fn choose(&mut self, now: Duration) -> Option<Question> {
        self.hushed.retain(|(_, until)| *until > now);
        let errand = self.errands.iter().position(|(_, exchange)| self.quiet_until(exchange) <= now);
        let polling = self.schedule.wakeup().is_some_and(|at| at <= now);
        self.errand_was_last = errand.is_some() && !(self.errand_was_last && polling);
        if self.errand_was_last {
            let (id, exchange) = self.errands.remove(errand?)?;
            let question = exchange.question();
            self.last = None;
            self.current = Some(Current::Errand(id, exchange));
            return Some(question);
        }
        let read = self.schedule.next(now)?;
        let question = read.exchange.question();
        self.last = Some(self.schedule.meter(&read).device.clone());
        self.current = Some(Current::Read(read));
        Some(question)
    }

    /// Until when an exchange could meet a late answer to another one.
    fn quiet_until(&self, exchange: &Exchange) -> Duration {
        let Some(unit) = exchange.unit() else { return Duration::ZERO };
        let hushed = self.hushed.iter().filter(|(hushed, _)| *hushed == unit).map(|(_, until)| *until);
        hushed.chain(self.schedule.quiet_until(unit)).max().unwrap_or_default()
    }

    fn take(&mut self, from_bus: Vec<bus::Action>, now: Duration, actions: &mut Vec<Action>) {
        for action in from_bus {
            match action {
                bus::Action::Send(line, frame) => actions.push(Action::Send(self.last.clone(), line, frame)),
                bus::Action::Done(outcome) => self.ended(outcome, now, actions),
                bus::Action::Late => actions.push(Action::Late(self.last.clone())),
                bus::Action::Corrupt => actions.push(Action::Corrupt(self.last.clone())),
                bus::Action::Foreign => actions.push(Action::Foreign),
                bus::Action::Discarded(count) => actions.push(Action::Discarded(count)),
            }
        }
    }

    /// A question has ended: the next one of the same exchange, or the end of it.
    fn ended(&mut self, outcome: Outcome, now: Duration, actions: &mut Vec<Action>) {
        let Some(mut current) = self.current.take() else { return };
        let exchange = match &mut current {
            Current::Read(read) => &mut read.exchange,
            Current::Errand(_, exchange) => exchange,
        };
        let ended = match outcome {
            Outcome::Answer(answer) => match exchange.answered(answer) {
                Step::Ask => {
                    let question = exchange.question();
                    self.current = Some(current);
                    let from_bus = self.bus.handle(bus::Event::Ask(question), now);
                    return self.take(from_bus, now, actions);
                }
                Step::Done(content) => Ended::Content(content),
                Step::Unusable(why) => Ended::Unusable(why),
            },
            Outcome::Sent => Ended::Content(Content::Told),
            Outcome::Refused(refusal) => Ended::Refused(refusal),
            Outcome::Timeout => Ended::Timeout,
            Outcome::Abandoned => Ended::Abandoned,
        };
        match current {
            Current::Read(read) => {
                let said = self.schedule.done(&read, &ended, now);
                let device = self.schedule.meter(&read).device.clone();
                actions.push(Action::Read(device, ended, said));
            }
            Current::Errand(id, exchange) => {
                if let Some(unit) = exchange.unit().filter(|_| ended == Ended::Timeout) {
                    let until = now + exchange.question().timing.response_timeout * REST_TIMEOUTS;
                    self.schedule.hush(unit, until);
                    self.hushed.push_back((unit, until));
                }
                if let Asked::Mbus(_) = exchange.question().asked {
                    self.schedule.reset_links();
                }
                let result = match ended {
                    Ended::Content(content) => Ok(content),
                    Ended::Refused(refusal) => Err(Failed::Refused(refusal)),
                    Ended::Timeout => match self.bus.noise() {
                        0 => Err(Failed::Timeout),
                        bytes => Err(Failed::Damaged(bytes)),
                    },
                    Ended::Unusable(why) => Err(Failed::Unusable(why)),
                    Ended::Abandoned => Err(Failed::Lost),
                };
                actions.push(Action::Reply(id, result));
            }
        }
    }
}

#[cfg(test)]
mod tests;
