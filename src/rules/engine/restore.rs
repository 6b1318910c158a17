//! Where an engine goes on: triggers, incidents, runs and work stand where they stood, what is due in between is due now.
//!
//! Guarantees: what the plan does not have any more is given up, and told. What it does not do: make again what conditions
//! remember; that comes first ([`Engine::remember`], [`Engine::recall`]).

use std::collections::HashMap;

use super::bind::Slot;
use super::incidents::{Said, nobody};
use super::{Engine, Kept, Outcome};
use crate::model::{DeviceId, Life, LineId, Stamp, Step};
use crate::rules::command::Stage;
use crate::rules::due::Due;
use crate::rules::incident::Incident;
use crate::rules::trigger;

/// How long a silent device has to speak after a start, milliseconds.
const GRACE_MS: i64 = 5 * 60_000;

impl Engine {
    /// Takes up what was kept, after what is remembered of readings; gives up what the plan does not have any more, and tells
    /// it by the outcomes.
    pub fn restore(&mut self, kept: Kept, now: Stamp) {
        let Kept { triggers, incidents, closed, runs, maintenances, numbers, goes_on } = kept;
        self.numbers = numbers;
        let slots = self.slots.iter().enumerate();
        let slots: HashMap<(LineId, DeviceId), u32> = slots
            .map(|(at, slot)| {
                let alarm = self.plan.alarms[slot.alarm as usize].id.clone();
                ((alarm, slot.device.clone()), at as u32)
            })
            .collect();
        for work in maintenances {
            self.maintenances.insert(work.id, (work.clone(), Due::at(now, work.until_ms)));
        }
        for (alarm, device, state) in triggers {
            let inhibit = || self.plan.inhibits.iter().position(|inhibit| inhibit.id == alarm);
            if device == nobody() {
                let until = inhibit().zip(state.parse().ok());
                match until {
                    Some((at, wall_ms)) => self.inhibitions[at].until = Some(Due::at(now, wall_ms)),
                    None => self.out.push(Outcome::Trigger(alarm, device, None)),
                }
                continue;
            }
            let key = (alarm, device);
            let state = slots.get(&key).copied().zip(trigger::State::restored(&state, now));
            match state {
                Some((slot, state)) => self.slots[slot as usize].state = state,
                None => self.out.push(Outcome::Trigger(key.0, key.1, None)),
            }
        }
        for slot in 0..self.slots.len() {
            let Self { plan, slots, memory, .. } = self;
            let Slot { alarm, state, listens, .. } = &mut slots[slot];
            let rule = &plan.alarms[*alarm as usize].trigger;
            if let Some(newest_ms) = listens.and_then(|series| memory.newest_ms(series)) {
                rule.alive(state, heard_ms(newest_ms, rule.absent_ms, now), now);
            }
            self.rearm(slot as u32, now);
        }
        for (alarm, device, closed_ms) in closed {
            let Some(&slot) = slots.get(&(alarm, device)) else { continue };
            let slot = &mut self.slots[slot as usize];
            let cooldown_ms =
                i64::try_from(self.plan.alarms[slot.alarm as usize].cooldown_ms).unwrap_or(i64::MAX);
            slot.cools = Some(Due::at(now, closed_ms.saturating_add(cooldown_ms)));
        }
        for incident in incidents {
            let slot = slots.get(&(incident.alarm.clone(), incident.device.clone())).copied();
            self.take_up(incident, slot, now);
        }
        for mut run in runs {
            let command = self.plan.commands.iter().find(|command| command.id == run.command);
            let due = Due::at(now, run.expires_ms);
            let goes_on = goes_on && command.is_some();
            let changed = !goes_on && run.restarted(command, now.wall_ms);
            let id = run.id;
            let goes = run.stage == Stage::Accepted;
            self.runs.insert(id, (run, due));
            if goes {
                self.send(id, now);
            } else if changed {
                self.run_changed(id);
            }
        }
    }

    fn take_up(&mut self, incident: Incident, slot: Option<u32>, now: Stamp) {
        let id = incident.id;
        self.incidents.insert(id, (incident.clone(), slot));
        let Some(slot) = slot else {
            if let Some((incident, _)) = self.incidents.get_mut(&id) {
                incident.life = Life::Closed;
                incident.active = false;
                incident.changed_ms = now.wall_ms;
            }
            self.event(id, Said::rule(Step::Closed, "not configured any more", now.wall_ms), now);
            return;
        };
        self.slots[slot as usize].incident = Some(id);
        let event = self.event_of(&incident, slot, Said::rule(Step::Raised, "", incident.began_ms), now);
        self.rearm_escalation(&incident, &event, now);
    }
}

/// When a device counts as heard at a start: while the gateway was off nobody listened, so one whose time ran out then is
/// given [`GRACE_MS`] to speak.
fn heard_ms(newest_ms: i64, absent_ms: Option<u64>, now: Stamp) -> i64 {
    let Some(absent_ms) = absent_ms.and_then(|absent_ms| i64::try_from(absent_ms).ok()) else {
        return newest_ms;
    };
    let is_over = newest_ms.saturating_add(absent_ms) <= now.wall_ms;
    let graced_ms = now.wall_ms.saturating_sub(absent_ms).saturating_add(GRACE_MS.min(absent_ms));
    if is_over { graced_ms } else { newest_ms }
}
