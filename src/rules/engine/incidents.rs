//! Incidents: what signals, people and time make of them, and what each step brings about.

use super::bind::Slot;
use super::{Engine, Outcome, signalled_ms};
use crate::model::{Actor, DeviceId, Event, IncidentId, Life, Stamp, Step, Value};
use crate::rules::cel::{Seen, Verdict};
use crate::rules::due::Due;
use crate::rules::incident::{Incident, Order, Refused};
use crate::rules::maintenance::Maintenance;
use crate::rules::notice::{self, Channel, Draft, Fate, Notice, Past};
use crate::rules::trigger::Signal;

/// What is said of an incident.
pub(super) struct Said<'a> {
    step: Step,
    by: Actor,
    reason: &'a str,
    at_ms: i64,
}

impl<'a> Said<'a> {
    /// By a rule of the gateway.
    pub(super) fn rule(step: Step, reason: &'a str, at_ms: i64) -> Self {
        Self { step, by: Actor::Gateway, reason, at_ms }
    }
}

/// Maintenances that may go on at once.
pub const MAINTENANCES_MAX: usize = 100;

impl Engine {
    /// A trigger begins, ends, or shows an early sign.
    pub(super) fn signal(&mut self, slot: u32, signal: Signal, now: Stamp) {
        let suppressed = self.suppressed(slot, now);
        let Slot { alarm, device, incident, .. } = &self.slots[slot as usize];
        let alarm = &self.plan.alarms[*alarm as usize];
        let at_ms = signalled_ms(signal);
        let why = suppressed.as_deref().unwrap_or("");
        let Some(id) = *incident else {
            // Early signs of what is suppressed tell nobody anything.
            if matches!((signal, &suppressed), (Signal::Off(_), _) | (Signal::Early(_), Some(_))) {
                return;
            }
            self.numbers.incident += 1;
            let id = IncidentId(self.numbers.incident);
            let (alarm, device, severity) = (alarm.id.clone(), device.clone(), alarm.severity);
            let is_suppressed = suppressed.is_some();
            let (incident, step) = Incident::begins(id, alarm, device, severity, signal, is_suppressed, now);
            self.slots[slot as usize].incident = Some(id);
            self.incidents.insert(id, (incident, Some(slot)));
            self.event(id, Said::rule(step, why, at_ms), now);
            return;
        };
        let closes_itself = alarm.closes_itself;
        let Some((incident, _)) = self.incidents.get_mut(&id) else { return };
        let before = incident.life;
        let steps = incident.signal(signal, suppressed.is_some(), closes_itself, now);
        match steps[..] {
            // Whether it is active may have changed.
            [] => self.out.push(Outcome::Incident(incident.clone())),
            [first, Step::Closed] => {
                // It is cleared, and then closed: one after the other.
                incident.life = before;
                self.event(id, Said::rule(first, why, at_ms), now);
                if let Some((incident, _)) = self.incidents.get_mut(&id) {
                    incident.life = Life::Closed;
                }
                self.event(id, Said::rule(Step::Closed, why, at_ms), now);
            }
            [step, ..] => self.event(id, Said::rule(step, why, at_ms), now),
        }
    }

    /// Why a slot is suppressed now.
    fn suppressed(&self, slot: u32, now: Stamp) -> Option<String> {
        let Slot { alarm, device, cools, .. } = &self.slots[slot as usize];
        let inhibited = self.plan.inhibits.iter().zip(&self.inhibitions).find(|(inhibit, state)| {
            let alarms = inhibit.alarms.as_ref().is_none_or(|alarms| alarms.contains(&(*alarm as usize)));
            let devices = inhibit.devices.as_ref().is_none_or(|devices| devices.contains(device));
            alarms && devices && state.is_on(inhibit, self.plan.zone_ms, now)
        });
        if let Some((inhibit, _)) = inhibited {
            return Some(format!("inhibit {}", inhibit.id));
        }
        let place = self.plan.devices.get(device).and_then(|known| known.place.as_ref());
        let works = self.maintenances.values();
        let maintained =
            works.filter(|(work, _)| work.covers(device, place, now.wall_ms)).min_by_key(|(work, _)| work.id);
        if let Some((work, _)) = maintained {
            return Some(format!("maintenance {}", work.id));
        }
        cools.filter(|cools| !cools.is_over(now)).map(|_| "cooldown".to_owned())
    }

    /// Something happened to an incident: it is told, and what has to follow follows.
    pub(super) fn event(&mut self, id: IncidentId, said: Said<'_>, now: Stamp) {
        let Some((incident, slot)) = self.incidents.get(&id) else { return };
        let (incident, slot) = (incident.clone(), *slot);
        let Some(slot) = slot else {
            // Of an alarm that is not configured any more: there is nobody to tell.
            let event = orphan(&incident, said);
            self.close_if_over(&incident, None, now);
            self.out.push(Outcome::Event(Box::new(event), incident));
            return;
        };
        let mut incident = incident;
        let step = said.step;
        let event = self.event_of(&incident, slot, said, now);
        let alarm = &self.plan.alarms[self.slots[slot as usize].alarm as usize];
        let runs = match step {
            Step::Raised | Step::Returned => alarm.commands.clone(),
            Step::Cleared => self.last_ones(id, &alarm.commands_end),
            // What was cleared before has had its commands.
            Step::Closed if incident.active => self.last_ones(id, &alarm.commands_end),
            _ => Vec::new(),
        };
        let cooldown_ms = i64::try_from(alarm.cooldown_ms).unwrap_or(i64::MAX);
        let is_told_already = incident.told_ms.is_some_and(|told_ms| now.wall_ms - told_ms < cooldown_ms);
        let drafts = match step {
            // One that comes back soon is told once.
            Step::Returned if is_told_already => Vec::new(),
            Step::Escalated => self.escalated(&incident, &event, now),
            _ => {
                let past = Past { raised_ms: incident.raised_ms, escalated: incident.escalated };
                notice::told(&self.plan, &event, past, now.wall_ms)
            }
        };
        if matches!(step, Step::Raised | Step::Returned) && !is_told_already {
            incident.told_ms = Some(now.wall_ms);
        }
        if let Some((kept, _)) = self.incidents.get_mut(&id) {
            *kept = incident.clone();
        }
        self.rearm_escalation(&incident, &event, now);
        self.out.push(Outcome::Event(Box::new(event.clone()), incident.clone()));
        self.notices(drafts, &event, now);
        for command in runs {
            self.order_run(command, Some(id), now);
        }
        self.close_if_over(&incident, Some(slot), now);
    }

    /// The commands that end what an incident has begun, without those that another one still needs.
    fn last_ones(&self, id: IncidentId, commands: &[usize]) -> Vec<usize> {
        let others = self.incidents.values().filter(|(other, _)| other.id != id && other.active);
        let others = others.filter(|(other, _)| !matches!(other.life, Life::PreAlarm | Life::Suppressed));
        let needed: Vec<usize> = others
            .filter_map(|(_, slot)| Some(self.slots[(*slot)? as usize].alarm as usize))
            .flat_map(|alarm| &self.plan.alarms[alarm].commands_end)
            .copied()
            .collect();
        commands.iter().filter(|command| !needed.contains(command)).copied().collect()
    }

    /// What is told of a step.
    pub(super) fn event_of(&self, incident: &Incident, slot: u32, said: Said<'_>, now: Stamp) -> Event {
        let Said { step, by, reason, at_ms } = said;
        let Slot { alarm, value, .. } = &self.slots[slot as usize];
        let alarm = &self.plan.alarms[*alarm as usize];
        let known = self.plan.devices.get(&incident.device).cloned().unwrap_or_default();
        Event {
            incident: incident.id,
            alarm: incident.alarm.clone(),
            step,
            life: incident.life,
            active: incident.active,
            severity: incident.severity,
            device: Some(incident.device.clone()),
            place: known.place,
            device_class: known.class,
            metric: alarm.metric.clone(),
            value: value.and_then(|cell| self.memory.seen(cell, now.wall_ms)).map(owned),
            unit: alarm.unit.clone(),
            by,
            reason: reason.into(),
            at_ms,
        }
    }

    /// Who is told that nobody has answered.
    fn escalated(&self, incident: &Incident, event: &Event, now: Stamp) -> Vec<Draft> {
        let step = incident.raised_ms.and_then(|raised_ms| {
            notice::escalation(&self.plan, event, raised_ms, incident.escalated.saturating_sub(1))
        });
        step.map_or_else(Vec::new, |step| notice::drafts(&self.plan, &step.to, event, now.wall_ms))
    }

    fn notices(&mut self, drafts: Vec<Draft>, event: &Event, now: Stamp) {
        for Draft { recipient, due_ms, text } in drafts {
            let recipient = self.plan.recipients[recipient].clone();
            let is_quiet = due_ms > now.wall_ms && matches!(recipient.channel, Channel::Command(_));
            let run = match recipient.channel {
                Channel::Command(command) if !is_quiet => {
                    Some(self.order_run(command, Some(event.incident), now))
                }
                Channel::Command(_) | Channel::Webhook | Channel::Lane(_) => None,
            };
            // A siren in the morning tells nobody anything of the night.
            let fate = if is_quiet { Fate::Dropped } else { Fate::Waiting };
            let proof = if is_quiet { "quiet hours" } else { "" };
            self.numbers.notice += 1;
            self.out.push(Outcome::Notice(Notice {
                id: self.numbers.notice,
                incident: event.incident,
                step: event.step,
                alarm: event.alarm.clone(),
                severity: event.severity,
                place: event.place.clone(),
                recipient: recipient.id,
                made_ms: now.wall_ms,
                due_ms,
                seq: None,
                run,
                text,
                fate,
                tries: 0,
                done_ms: is_quiet.then_some(now.wall_ms),
                proof: proof.into(),
            }));
        }
    }

    /// A closed incident is not ours any more; a new one of the same cools down first.
    fn close_if_over(&mut self, incident: &Incident, slot: Option<u32>, now: Stamp) {
        if incident.life != Life::Closed {
            return;
        }
        self.incidents.remove(&incident.id);
        self.escalations.retain(|(_, id)| *id != incident.id);
        if let Some(slot) = slot {
            let slot = &mut self.slots[slot as usize];
            slot.incident = None;
            let cooldown_ms = self.plan.alarms[slot.alarm as usize].cooldown_ms;
            slot.cools = (cooldown_ms > 0).then(|| Due::after(now, cooldown_ms));
        }
    }

    /// When the next step of escalation of an incident that nobody answers is due.
    pub(super) fn rearm_escalation(&mut self, incident: &Incident, event: &Event, now: Stamp) {
        self.escalations.retain(|(_, id)| *id != incident.id);
        let Some(raised_ms) = incident.raised_ms.filter(|_| incident.life == Life::Raised) else { return };
        if let Some(next) = notice::escalation(&self.plan, event, raised_ms, incident.escalated) {
            let after_ms = i64::try_from(next.after_ms).unwrap_or(i64::MAX);
            let due = Due::at(now, raised_ms.saturating_add(after_ms));
            self.escalations.insert((due.mono_ms, incident.id));
        }
    }

    /// Tells others of what nobody has answered.
    pub(super) fn escalate(&mut self, now: Stamp) {
        while let Some(&(mono_ms, id)) = self.escalations.first()
            && mono_ms <= now.mono_ms
        {
            self.escalations.pop_first();
            let Some((incident, Some(_))) = self.incidents.get_mut(&id) else { continue };
            if let Some(step) = incident.escalates(now) {
                self.event(id, Said::rule(step, "nobody has answered", now.wall_ms), now);
            }
        }
    }

    /// Lets the conditions of what inhibits be looked at.
    pub(super) fn inhibitions_pass(&mut self, now: Stamp) {
        let Self { plan, inhibitions, memory, lists, out, .. } = self;
        for (inhibit, state) in plan.inhibits.iter().zip(inhibitions) {
            let Some((condition, bound)) = inhibit.when.as_ref().zip(state.when.as_ref()) else { continue };
            let before = state.until;
            if bound.verdict(condition, memory, lists, now.wall_ms) == Verdict::Holds {
                state.until = Some(Due::after(now, inhibit.lasts_ms));
            } else {
                state.until = state.until.filter(|until| !until.is_over(now));
            }
            // While it holds its end moves on; what is kept needs to be right to a minute only.
            let minute = |until: Option<Due>| until.map(|until| until.wall_ms / 60_000);
            if minute(before) != minute(state.until) {
                let kept = state.until.map(|until| until.wall_ms.to_string());
                out.push(Outcome::Trigger(inhibit.id.clone(), nobody(), kept));
            }
        }
    }

    /// Ends work whose time is over.
    pub(super) fn maintenances_pass(&mut self, now: Stamp) {
        let over = self.maintenances.values().filter(|(_, until)| until.is_over(now));
        for id in over.map(|(work, _)| work.id).collect::<Vec<_>>() {
            if let Some((work, _)) = self.maintenances.remove(&id) {
                self.out.push(Outcome::Maintenance(work, false));
            }
        }
    }

    /// Raises what was suppressed by something that is over, and still holds.
    pub(super) fn suppressions_pass(&mut self, now: Stamp) {
        let suppressed = self.incidents.values().filter(|(incident, _)| incident.life == Life::Suppressed);
        let suppressed: Vec<_> =
            suppressed.filter_map(|(incident, slot)| Some((incident.id, (*slot)?))).collect();
        for (id, slot) in suppressed {
            if self.suppressed(slot, now).is_some() {
                continue;
            }
            let Some((incident, _)) = self.incidents.get_mut(&id) else { continue };
            if let Some(step) = incident.lifted(now) {
                self.event(id, Said::rule(step, "", now.wall_ms), now);
            }
        }
    }

    /// Somebody takes a step.
    ///
    /// # Errors
    /// [`Refused`]: the incident is not open, is past that, or somebody has to say why.
    pub fn order(&mut self, order: &Order, now: Stamp) -> Result<Incident, Refused> {
        let id = order.incident;
        let (incident, _) = self.incidents.get_mut(&id).ok_or(Refused::Unknown(id))?;
        let step = incident.order(order, now)?;
        let told = incident.clone();
        let said = Said { step, by: order.by.clone(), reason: &order.reason, at_ms: now.wall_ms };
        self.event(id, said, now);
        Ok(told)
    }

    /// Work on devices begins; gives it its number. None when [`MAINTENANCES_MAX`] are going on.
    pub fn maintain(&mut self, work: &Maintenance, now: Stamp) -> Option<Maintenance> {
        if self.maintenances.len() >= MAINTENANCES_MAX {
            return None;
        }
        self.numbers.maintenance += 1;
        let work = Maintenance { id: self.numbers.maintenance, from_ms: now.wall_ms, ..work.clone() };
        self.maintenances.insert(work.id, (work.clone(), Due::at(now, work.until_ms)));
        self.out.push(Outcome::Maintenance(work.clone(), true));
        Some(work)
    }

    /// Work ends early. None when it is not going on.
    pub fn resume(&mut self, id: u64) -> Option<Maintenance> {
        let (work, _) = self.maintenances.remove(&id)?;
        self.out.push(Outcome::Maintenance(work.clone(), false));
        Some(work)
    }
}

fn owned(seen: Seen<'_>) -> Value {
    match seen {
        Seen::Number(number) => Value::Number(number),
        Seen::Flag(flag) => Value::Flag(flag),
        Seen::Text(text) => Value::Text(text.into()),
    }
}

/// In place of a device, where what is kept is of an inhibition.
pub(super) fn nobody() -> DeviceId {
    "-".parse().expect("a device id")
}

/// An event of an incident whose alarm the plan does not have.
fn orphan(incident: &Incident, said: Said<'_>) -> Event {
    let Said { step, by, reason, at_ms } = said;
    Event {
        incident: incident.id,
        alarm: incident.alarm.clone(),
        step,
        life: incident.life,
        active: incident.active,
        severity: incident.severity,
        device: Some(incident.device.clone()),
        place: None,
        device_class: String::new(),
        metric: "online".parse().expect("a metric"),
        value: None,
        unit: String::new(),
        by,
        reason: reason.into(),
        at_ms,
    }
}
