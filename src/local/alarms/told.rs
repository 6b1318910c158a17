//! Incidents and what belongs to them, in the words of the local socket.
//!
//! Guarantees: nothing is left out but what only the gateway needs. Reads and decides nothing.

use super::Known;
use crate::local::value;
use crate::model::{DeviceId, Event, LineId};
use crate::rules::command::Run;
use crate::rules::incident::Incident;
use crate::rules::maintenance::Maintenance;
use crate::rules::notice::Notice;
use crate::store::alarms::Feedback;
use crate::wire::bus as wire;

impl Known {
    fn title(&self, alarm: &LineId) -> String {
        self.alarms.get(alarm).map(|(title, _)| title.clone()).unwrap_or_default()
    }

    /// What to do.
    pub(super) fn advice(&self, alarm: &LineId) -> String {
        self.alarms.get(alarm).map(|(_, advice)| advice.clone()).unwrap_or_default()
    }

    fn place(&self, device: &DeviceId) -> String {
        self.places.get(device).map(ToString::to_string).unwrap_or_default()
    }

    pub(super) fn incident(&self, incident: &Incident) -> wire::Incident {
        wire::Incident {
            id: incident.id.0,
            alarm: incident.alarm.to_string(),
            title: self.title(&incident.alarm),
            device: incident.device.to_string(),
            place: self.place(&incident.device),
            severity: incident.severity.as_str().into(),
            life: incident.life.as_str().into(),
            active: incident.active,
            began_ms: incident.began_ms,
            raised_ms: incident.raised_ms,
            changed_ms: incident.changed_ms,
            escalated: incident.escalated,
            returns: incident.returns,
        }
    }

    pub(super) fn event(&self, id: u64, event: &Event) -> wire::IncidentEvent {
        wire::IncidentEvent {
            id,
            incident: event.incident.0,
            alarm: event.alarm.to_string(),
            title: self.title(&event.alarm),
            step: event.step.as_str().into(),
            life: event.life.as_str().into(),
            active: event.active,
            severity: event.severity.as_str().into(),
            device: event.device.as_ref().map(ToString::to_string).unwrap_or_default(),
            place: event.place.as_ref().map(ToString::to_string).unwrap_or_default(),
            metric: event.metric.to_string(),
            value: event.value.as_ref().map(value::text),
            unit: event.unit.clone(),
            by_kind: event.by.kind().into(),
            by: event.by.name().into(),
            reason: event.reason.to_string(),
            at_ms: event.at_ms,
        }
    }
}

pub(super) fn notice(notice: Notice) -> wire::Notice {
    wire::Notice {
        id: notice.id,
        incident: notice.incident.0,
        step: notice.step.as_str().into(),
        alarm: notice.alarm.to_string(),
        severity: notice.severity.as_str().into(),
        place: notice.place.map(|place| place.to_string()).unwrap_or_default(),
        recipient: notice.recipient.to_string(),
        made_ms: notice.made_ms,
        due_ms: notice.due_ms,
        text: notice.text,
        fate: notice.fate.as_str().into(),
        tries: notice.tries,
        done_ms: notice.done_ms,
        proof: notice.proof,
    }
}

pub(super) fn run(run: Run) -> wire::Run {
    let asked = run.asked.map(|asked| *asked);
    let (consumer, request, share, arguments) = asked.map_or_else(Default::default, |asked| {
        (asked.consumer.to_string(), asked.request, asked.share.to_string(), asked.arguments)
    });
    wire::Run {
        consumer,
        request,
        share,
        arguments: arguments.into_iter().collect(),
        id: run.id,
        command: run.command.to_string(),
        incident: run.incident.map_or(0, |id| id.0),
        stage: run.stage.as_str().into(),
        ordered_ms: run.ordered_ms,
        expires_ms: run.expires_ms,
        changed_ms: run.changed_ms,
        approved: run.approved.iter().map(ToString::to_string).collect(),
        detail: run.detail,
    }
}

pub(super) fn maintenance(maintenance: Maintenance) -> wire::Maintenance {
    wire::Maintenance {
        id: maintenance.id,
        devices: maintenance.devices,
        places: maintenance.places,
        from_ms: maintenance.from_ms,
        until_ms: maintenance.until_ms,
        by: maintenance.by.into(),
        reason: maintenance.reason.into(),
    }
}

pub(super) fn feedback((id, feedback): (u64, Feedback)) -> wire::Feedback {
    wire::Feedback {
        id,
        consumer: feedback.consumer.to_string(),
        step: feedback.step.as_str().into(),
        text: feedback.text.into(),
        at_ms: feedback.at_ms,
        outcome: feedback.outcome,
    }
}
