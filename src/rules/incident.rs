//! The life of one incident: what may follow what, who may do it.

use crate::model::{Actor, DeviceId, IncidentId, Life, LineId, Severity, Step};

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
    /// Whether what raised it still holds.
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

/// What somebody wants done with an incident.
#[derive(Clone, Debug, PartialEq)]
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

/// Why an order changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no such incident, or it is long closed.
    #[error("no incident {0}; `smallbrain alarms` lists those that are open")]
    Unknown(IncidentId),
    /// It is past that.
    #[error("incident {0} is {1} already")]
    Past(IncidentId, Life),
    /// Only people's steps can be ordered.
    #[error("an incident is not made {0} by hand")]
    NotByHand(Step),
    /// Somebody has to say why.
    #[error("say why: an incident is not closed without a reason")]
    Reason,
}
