//! The life of one incident: what may follow what, who may do it.
//!
//! Guarantees: the life goes only along the arrows of [`Life`], and ends at closed; every change is one [`Step`], in the
//! order in which it happened; the first who confirms wins, the others learn that it is confirmed already; people close
//! nothing without saying why. What it does not do: decide whether it is suppressed, whom it tells, or what is done. Pure.

use super::trigger::Signal;
use std::fmt;

use crate::model::{Actor, DeviceId, IncidentId, Life, LineId, Severity, Stamp, Step};

#[cfg(test)]
mod tests;

/// One alarm of one device, from its first sign to its end.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    /// Its number.
    pub id: IncidentId,
    /// The alarm.
    pub alarm: LineId,
    /// The device.
    pub device: DeviceId,
    /// How bad.
    pub severity: Severity,
    /// Where it is.
    pub life: Life,
    /// Whether what raised it still holds; of a pre-alarm its sign, of a suppressed one what would have raised it.
    pub active: bool,
    /// When it began, event time, milliseconds since 1970 UTC.
    pub began_ms: i64,
    /// When it was raised, the gateway's wall clock; none before. Escalations count from here.
    pub raised_ms: Option<i64>,
    /// When it last changed, the gateway's wall clock.
    pub changed_ms: i64,
    /// How many steps of escalation were taken.
    pub escalated: u32,
    /// When people were last told that it was raised, the gateway's wall clock.
    pub told_ms: Option<i64>,
    /// How often it came back before it was closed.
    pub returns: u32,
}

/// What somebody wants done with an incident. Its `Debug` shows nothing of what a person wrote.
#[derive(Clone, PartialEq)]
pub struct Order {
    /// Which.
    pub incident: IncidentId,
    /// Confirmed, dispatched, handled, closed or noted.
    pub step: Step,
    /// Who.
    pub by: Actor,
    /// Why, or with what result.
    pub reason: Box<str>,
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { incident, step, by, reason: _ } = self;
        write!(f, "Order({incident} {step} by {by:?})")
    }
}

/// Why an order changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no such incident, or it is long closed.
    #[error("no incident {0}; `smallbrain alarms` lists those that are open")]
    Unknown(IncidentId),
    /// It is past that.
    #[error("incident {0} is {1} already")]
    Past(IncidentId, Life),
    /// It is not that far yet, or not at all.
    #[error("incident {incident} is {life} and cannot be {step} from there; {next}")]
    Unreachable {
        /** Which. */
        incident: IncidentId,
        /** Where it is. */
        life: Life,
        /** What was ordered. */
        step: Step,
        /** What can be done. */
        next: &'static str,
    },
    /// Only people's steps can be ordered.
    #[error("an incident is not made {0} by hand")]
    NotByHand(Step),
    /// Somebody has to say why.
    #[error("say why: an incident is not closed without a reason")]
    Reason,
}

impl Incident {
    /// One that begins with a signal that is not [`Signal::Off`]. `suppressed`: something says not now; an early sign that
    /// begins so is not active, and nothing is raised of it when that ends.
    #[must_use]
    pub fn begins(
        id: IncidentId,
        alarm: LineId,
        device: DeviceId,
        severity: Severity,
        signal: Signal,
        suppressed: bool,
        now: Stamp,
    ) -> (Self, Step) {
        let (began_ms, is_on) = match signal {
            Signal::On(at_ms) => (at_ms, true),
            Signal::Early(at_ms) | Signal::Off(at_ms) => (at_ms, false),
        };
        let (life, step) = match (suppressed, is_on) {
            (true, _) => (Life::Suppressed, Step::Suppressed),
            (false, true) => (Life::Raised, Step::Raised),
            (false, false) => (Life::PreAlarm, Step::PreAlarm),
        };
        let incident = Self {
            id,
            alarm,
            device,
            severity,
            life,
            active: is_on || !suppressed,
            began_ms,
            raised_ms: (life == Life::Raised).then_some(now.wall_ms),
            changed_ms: now.wall_ms,
            escalated: 0,
            told_ms: None,
            returns: 0,
        };
        (incident, step)
    }

    /// Whether it is not closed yet.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.life != Life::Closed
    }

    /// Takes a signal of its trigger, and gives the steps it leads to, in order: none, one, or that it is cleared and
    /// therefore closed; whether it is active may change without one. `suppressed`: something says not now; what is raised
    /// already stays so.
    pub fn signal(&mut self, signal: Signal, suppressed: bool, closes_itself: bool, now: Stamp) -> Vec<Step> {
        let steps = match (self.life, signal) {
            (Life::Closed, _) | (_, Signal::Early(_)) => vec![],
            (Life::PreAlarm, Signal::On(_)) if suppressed => {
                self.life = Life::Suppressed;
                self.active = true;
                vec![Step::Suppressed]
            }
            (Life::Suppressed, Signal::On(_)) if suppressed => {
                self.active = true;
                vec![]
            }
            (Life::PreAlarm | Life::Suppressed, Signal::On(_)) => vec![self.raise(now)],
            (Life::PreAlarm | Life::Suppressed, Signal::Off(_)) => {
                self.active = false;
                self.life = Life::Closed;
                vec![Step::Closed]
            }
            // Somebody confirmed the pre-alarm: whoever that was has to know that it is more now.
            (_, Signal::On(_)) if self.raised_ms.is_none() => {
                self.active = true;
                self.raised_ms = Some(now.wall_ms);
                vec![Step::Raised]
            }
            (_, Signal::On(_)) if !self.active => {
                self.active = true;
                self.returns = self.returns.saturating_add(1);
                vec![Step::Returned]
            }
            (_, Signal::Off(_)) if self.active => {
                self.active = false;
                if closes_itself {
                    self.life = Life::Closed;
                    vec![Step::Cleared, Step::Closed]
                } else {
                    vec![Step::Cleared]
                }
            }
            (_, Signal::On(_) | Signal::Off(_)) => vec![],
        };
        if !steps.is_empty() {
            self.changed_ms = now.wall_ms;
        }
        steps
    }

    /// Nothing suppresses it any more: it is raised, if what would have raised it still holds.
    pub fn lifted(&mut self, now: Stamp) -> Option<Step> {
        (self.life == Life::Suppressed && self.active).then(|| self.raise(now))
    }

    /// Nobody answered in time: others are told. `None` when somebody has, or it is not raised.
    pub fn escalates(&mut self, now: Stamp) -> Option<Step> {
        (self.life == Life::Raised).then(|| {
            self.escalated = self.escalated.saturating_add(1);
            self.changed_ms = now.wall_ms;
            Step::Escalated
        })
    }

    /// Does what somebody wants done.
    ///
    /// # Errors
    /// Why nothing is changed.
    pub fn order(&mut self, order: &Order, now: Stamp) -> Result<Step, Refused> {
        if order.incident != self.id {
            return Err(Refused::Unknown(order.incident));
        }
        self.life = match order.step {
            Step::Confirmed | Step::Dispatched | Step::Handled => self.advanced(order.step)?,
            Step::Closed | Step::Noted if !self.is_open() => return Err(Refused::Past(self.id, self.life)),
            Step::Closed if order.reason.trim().is_empty() => return Err(Refused::Reason),
            Step::Closed => Life::Closed,
            Step::Noted => self.life,
            step => return Err(Refused::NotByHand(step)),
        };
        self.changed_ms = now.wall_ms;
        Ok(order.step)
    }

    fn raise(&mut self, now: Stamp) -> Step {
        self.life = Life::Raised;
        self.active = true;
        self.raised_ms = Some(now.wall_ms);
        self.changed_ms = now.wall_ms;
        Step::Raised
    }

    /// Where a step of people's work leads.
    fn advanced(&self, step: Step) -> Result<Life, Refused> {
        let (incident, life) = (self.id, self.life);
        let goal = match step {
            Step::Dispatched => Life::Dispatched,
            Step::Handled => Life::Handled,
            _ => Life::Confirmed,
        };
        let next = match (life, goal) {
            (Life::Suppressed, _) => "it waits until nothing suppresses it, and can be closed or noted",
            (Life::PreAlarm, Life::Dispatched | Life::Handled) => "confirm it first",
            _ if rank(life) >= rank(goal) => return Err(Refused::Past(incident, life)),
            _ => return Ok(goal),
        };
        Err(Refused::Unreachable { incident, life, step, next })
    }
}

/// How far the work is.
fn rank(life: Life) -> u8 {
    match life {
        Life::PreAlarm | Life::Suppressed => 0,
        Life::Raised => 1,
        Life::Confirmed => 2,
        Life::Dispatched => 3,
        Life::Handled => 4,
        Life::Closed => 5,
    }
}
