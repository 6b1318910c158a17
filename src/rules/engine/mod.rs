//! The rule engine: what was read goes in, what follows from it comes out, to be written in the same transaction.
//!
//! ```text
//!  reading ──► memory ──► conditions ──► trigger ──► incident ──► event ──► notices
//!                                      (alarm × device)              └────► runs of commands
//! ```
//!
//! Guarantees: what comes out is a function of the plan, of what was kept, and of what came in with its times; everything
//! that has to survive a restart is an [`Outcome`], or in [`Engine::snapshot`]. An alarm has at most one open incident a
//! device. What it does not do: judge whether a reading may speak ([`Engine::recall`] is for those that may not), seal,
//! send, or wait.

mod bind;
mod incidents;
mod listed;
mod restore;
mod runs;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use self::bind::{Bound, Inhibition, Slot};
pub use self::incidents::MAINTENANCES_MAX;
use super::cel::Verdict;
use super::command::Run;
use super::due::Due;
use super::incident::Incident;
use super::listed::Lists;
use super::maintenance::Maintenance;
use super::memory::{CellId, Memory};
use super::notice::Notice;
use super::plan::Plan;
use super::trigger::{Change, Signal, Truth};
use crate::model::{DeviceId, Event, IncidentId, LineId, Metric, Reading, SeriesKey, Stamp};

/// Something that follows: to be written in the transaction of what it follows from.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// A trigger changed: what to keep of it, none when it is as it begins.
    Trigger(LineId, DeviceId, Option<String>),
    /// Something happened to an incident, and how it is now.
    Event(Box<Event>, Incident),
    /// An incident is not as it was, and there is nothing to tell.
    Incident(Incident),
    /// Somebody is to be told.
    Notice(Notice),
    /// A run changed.
    Run(Run),
    /// A run is to be sent, once this is committed.
    Send(u64),
    /// Work on devices began, or is over.
    Maintenance(Maintenance, bool),
}

/// The highest numbers ever given, so that none is given again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Of incidents.
    pub incident: u64,
    /// Of notices.
    pub notice: u64,
    /// Of runs.
    pub run: u64,
    /// Of maintenances.
    pub maintenance: u64,
}

/// What a store kept of an engine.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// States of triggers.
    pub triggers: Vec<(LineId, DeviceId, String)>,
    /// Open incidents.
    pub incidents: Vec<Incident>,
    /// When the last incident of an alarm and a device was closed, milliseconds since 1970 UTC, where that is not long ago.
    pub closed: Vec<(LineId, DeviceId, i64)>,
    /// Runs without an end.
    pub runs: Vec<Run>,
    /// Work that is going on.
    pub maintenances: Vec<Maintenance>,
    /// The highest numbers.
    pub numbers: Numbers,
    /// Whether the process goes on: what it has sent is still on its way, and will be told.
    pub goes_on: bool,
}

/// What one device has said of one moment, and nobody has looked at yet.
#[derive(Default)]
struct Moment {
    device: u32,
    at_ms: i64,
    /// Its points, each once.
    series: Vec<SeriesKey>,
    /// Room for the slots to be looked at.
    slots: Vec<u32>,
}

/// See the module.
pub struct Engine {
    plan: Plan,
    memory: Memory,
    /// Alarm × device, in the order of the plan.
    slots: Vec<Slot>,
    /// The slots that read a series, by [`SeriesKey::index`].
    readers: Vec<Vec<u32>>,
    /// The device that a series is of, by its index; none of a series that nothing here reads.
    owners: Vec<Option<u32>>,
    /// Whether an inhibition reads a series, by its index.
    inhibiting: Vec<bool>,
    /// The slots that read whether a device is there, by number of the device.
    watchers: Vec<Vec<u32>>,
    devices: HashMap<DeviceId, u32>,
    /// The slots that look into a list.
    listing: BTreeMap<LineId, Vec<u32>>,
    /// The lists as they are now.
    lists: Lists,
    /// Up to when it was looked at what begins and ends in them, milliseconds since 1970 UTC.
    listed_ms: i64,
    /// Slots of one alarm at one place.
    groups: Vec<Vec<u32>>,
    inhibitions: Vec<Inhibition>,
    /// By command: interlock and expected state.
    gates: Vec<(Option<Bound>, Option<Bound>)>,
    /// By command: what says in which state its device is.
    states: Vec<Option<CellId>>,
    /// The conditions of share lines, by line, and by device number.
    lines: Vec<(LineId, Vec<Option<Bound>>)>,
    /// Whether an expected state reads a series, by its index.
    expecting: Vec<bool>,
    maintenances: BTreeMap<u64, (Maintenance, Due)>,
    /// Open ones.
    incidents: BTreeMap<IncidentId, (Incident, Option<u32>)>,
    runs: BTreeMap<u64, (Run, Due)>,
    numbers: Numbers,
    /// When slots want to be ticked, monotonic milliseconds.
    dues: BTreeSet<(u64, u32)>,
    /// When incidents are escalated.
    escalations: BTreeSet<(u64, IncidentId)>,
    moment: Moment,
    /// What follows, until it is taken.
    out: Vec<Outcome>,
}

impl Engine {
    /// An engine to which nothing has happened. `find` numbers the points of the plan.
    pub fn new(plan: Plan, find: impl Fn(&DeviceId, &Metric) -> Option<SeriesKey>) -> Self {
        bind::engine(plan, find)
    }

    /// The plan in force.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Takes what follows since the last call.
    pub fn take(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.out)
    }

    /// A run without an end.
    #[must_use]
    pub fn run(&self, id: u64) -> Option<&Run> {
        self.runs.get(&id).map(|(run, _)| run)
    }

    /// Whether a series matters to anything here.
    #[must_use]
    pub fn reads(&self, series: SeriesKey) -> bool {
        self.memory.reads(series)
    }

    /// The number of a share line's condition; none when it has none.
    #[must_use]
    pub fn gate(&self, line: &LineId) -> Option<usize> {
        self.lines.iter().position(|(other, _)| other == line)
    }

    /// Whether the condition of a share line holds of a device; not when it cannot be told.
    #[must_use]
    pub fn lets(&self, gate: usize, device: &DeviceId, now_ms: i64) -> bool {
        let verdict = || {
            let (line, bounds) = self.lines.get(gate)?;
            let condition = self.plan.bulk.get(line)?.when.as_ref()?;
            let bound = bounds.get(*self.devices.get(device)? as usize)?.as_ref()?;
            Some(bound.verdict(condition, &self.memory, &self.lists, now_ms))
        };
        verdict() == Some(Verdict::Holds)
    }

    /// Takes a reading of now. What follows is looked at once for all that a device says of one moment: with the next reading
    /// of another device, another moment or the same point, or with [`Engine::settle`].
    pub fn reading(&mut self, reading: &Reading, now: Stamp) {
        let (series, at_ms) = (reading.series, reading.time_ms);
        let device = self.owners.get(series.index()).copied().flatten();
        let Some(device) = device else { return };
        let is_one = self.moment.device == device && self.moment.at_ms == at_ms;
        if !self.moment.series.is_empty() && (!is_one || self.moment.series.contains(&series)) {
            self.settle(now);
        }
        self.memory.reading(reading);
        self.moment.device = device;
        self.moment.at_ms = at_ms;
        self.moment.series.push(series);
    }

    /// Looks at what follows from the readings since the last look.
    pub fn settle(&mut self, now: Stamp) {
        if self.moment.series.is_empty() {
            return;
        }
        let at_ms = self.moment.at_ms;
        let series = std::mem::take(&mut self.moment.series);
        let is_of =
            |table: &[bool]| series.iter().any(|series| table.get(series.index()).is_some_and(|is| *is));
        let (inhibits, expects) = (is_of(&self.inhibiting), is_of(&self.expecting));
        if inhibits {
            self.inhibitions_pass(now);
        }
        let mut slots = std::mem::take(&mut self.moment.slots);
        slots.extend(series.iter().filter_map(|series| self.readers.get(series.index())).flatten());
        if series.len() > 1 {
            slots.sort_unstable();
            slots.dedup();
        }
        for slot in slots.drain(..) {
            self.feed(slot, true, at_ms, now);
        }
        if expects && !self.runs.is_empty() {
            self.expected(now);
        }
        // Both are kept for their room.
        self.moment.slots = slots;
        self.moment.series = series;
        self.moment.series.clear();
    }

    /// Takes a reading that was taken before: after a restart, what is remembered of readings is made again of the log.
    pub fn recall(&mut self, reading: &Reading) {
        self.memory.reading(reading);
    }

    /// Takes whether a device is there. `is_news` is false of what was known before a restart.
    pub fn online(&mut self, device: &DeviceId, online: bool, is_news: bool, now: Stamp) {
        self.settle(now);
        let Some(&device) = self.devices.get(device) else { return };
        self.memory.online(device, online);
        if !is_news {
            return;
        }
        for at in 0..self.watchers[device as usize].len() {
            self.feed(self.watchers[device as usize][at], false, now.wall_ms, now);
        }
        self.expected(now);
    }

    /// Lets time pass.
    pub fn tick(&mut self, now: Stamp) {
        self.settle(now);
        self.lists_pass(now);
        while let Some(&(mono_ms, slot)) = self.dues.first()
            && mono_ms <= now.mono_ms
        {
            self.dues.pop_first();
            self.slots[slot as usize].due = None;
            let truth = self.truth(slot, now.wall_ms);
            let Self { plan, slots, .. } = self;
            let Slot { alarm, state, .. } = &mut slots[slot as usize];
            let change = plan.alarms[*alarm as usize].trigger.tick(state, truth, now, plan.zone_ms);
            self.react(slot, change, now);
        }
        self.inhibitions_pass(now);
        self.maintenances_pass(now);
        self.suppressions_pass(now);
        self.escalate(now);
        self.runs_pass(now);
    }

    /// How long nothing follows from time alone.
    #[must_use]
    pub fn rest(&self, now: Stamp) -> Option<Duration> {
        let slot = self.dues.first().map(|(mono_ms, _)| *mono_ms);
        let escalation = self.escalations.first().map(|(mono_ms, _)| *mono_ms);
        let runs = self.runs.values().map(|(_, due)| due.mono_ms).min();
        let soonest = slot.into_iter().chain(escalation).chain(runs).min()?;
        Some(Duration::from_millis(soonest.saturating_sub(now.mono_ms)))
    }

    /// What is remembered of readings, as bytes; `name` numbers series for good.
    #[must_use]
    pub fn snapshot(&self, name: impl Fn(SeriesKey) -> Option<i64>) -> Vec<u8> {
        self.memory.snapshot(name)
    }

    /// Takes up what [`Engine::snapshot`] gave.
    pub fn remember(&mut self, bytes: &[u8], find: impl Fn(i64) -> Option<SeriesKey>) {
        self.memory.restore(bytes, find);
    }

    /// What the conditions of a slot come to.
    fn truth(&self, slot: u32, now_ms: i64) -> Truth {
        let Slot { alarm, when, clear, early, then, .. } = &self.slots[slot as usize];
        let alarm = &self.plan.alarms[*alarm as usize];
        let verdict = |condition: &Option<super::cel::Condition>, bound: &Option<Bound>| {
            let (condition, bound) = (condition.as_ref()?, bound.as_ref()?);
            Some(bound.verdict(condition, &self.memory, &self.lists, now_ms))
        };
        Truth {
            when: verdict(&alarm.when, when).unwrap_or(Verdict::Unknown),
            clear: verdict(&alarm.clear, clear),
            early: verdict(&alarm.early, early),
            then: verdict(&alarm.then, then),
        }
    }

    fn feed(&mut self, slot: u32, heard: bool, at_ms: i64, now: Stamp) {
        let truth = self.truth(slot, now.wall_ms.max(at_ms));
        let Self { plan, slots, .. } = self;
        let Slot { alarm, state, .. } = &mut slots[slot as usize];
        let rule = &plan.alarms[*alarm as usize].trigger;
        let change = rule.feed(state, truth, heard, at_ms, now, plan.zone_ms);
        self.react(slot, change, now);
    }

    /// Keeps what a trigger came to, and passes on what it signals.
    fn react(&mut self, slot: u32, change: Option<Change>, now: Stamp) {
        if change.is_some() {
            self.keep(slot);
        }
        // Also when there is nothing to keep: a sign of life puts off an absence.
        self.rearm(slot, now);
        if let Some(Change::Told(signal)) = change {
            self.signal(slot, signal, now);
            self.vouch(slot, now);
        }
    }

    fn keep(&mut self, slot: u32) {
        let Slot { alarm, device, state, .. } = &self.slots[slot as usize];
        let alarm = self.plan.alarms[*alarm as usize].id.clone();
        self.out.push(Outcome::Trigger(alarm, device.clone(), state.kept()));
    }

    fn rearm(&mut self, slot: u32, now: Stamp) {
        let Self { plan, slots, dues, .. } = self;
        let Slot { alarm, state, due, .. } = &mut slots[slot as usize];
        let next = plan.alarms[*alarm as usize].trigger.due(state, now, plan.zone_ms).map(|due| due.mono_ms);
        if *due != next {
            if let Some(old) = *due {
                dues.remove(&(old, slot));
            }
            if let Some(new) = next {
                dues.insert((new, slot));
            }
            *due = next;
        }
    }

    /// One sensor alone: do enough others of its place say the same?
    fn vouch(&mut self, slot: u32, now: Stamp) {
        let Slot { alarm, group, state, .. } = &self.slots[slot as usize];
        let Some((count, within_ms)) = self.plan.alarms[*alarm as usize].trigger.confirm else { return };
        let Some(at_ms) = state.said_ms().filter(|_| state.is_alone() || state.is_on()) else { return };
        let speaks = |peer: &&u32| {
            let said = self.slots[**peer as usize].state.said_ms();
            said.is_some_and(|said_ms| said_ms.abs_diff(at_ms) <= within_ms)
        };
        let peers: Vec<u32> = self.groups[*group as usize].iter().filter(speaks).copied().collect();
        if peers.len() < count as usize {
            return;
        }
        for peer in peers {
            let Self { plan, slots, .. } = self;
            let Slot { alarm, state, .. } = &mut slots[peer as usize];
            if let Some(signal) = plan.alarms[*alarm as usize].trigger.vouched(state, at_ms) {
                self.keep(peer);
                self.rearm(peer, now);
                self.signal(peer, signal, now);
            }
        }
    }
}

/// When a signal is of.
fn signalled_ms(signal: Signal) -> i64 {
    match signal {
        Signal::Early(at_ms) | Signal::On(at_ms) | Signal::Off(at_ms) => at_ms,
    }
}
