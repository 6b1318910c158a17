//! From names to numbers: what each condition reads becomes a cell of the memory, once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Engine, Moment, Numbers};
use crate::model::{DeviceId, IncidentId, LineId, Metric, SeriesKey, Stamp};
use crate::rules::cel::{Condition, Input, Seen, Verdict, What};
use crate::rules::due::Due;
use crate::rules::listed::Lists;
use crate::rules::memory::{CellId, Memory, Reads};
use crate::rules::plan::{Alarm, Inhibit, Plan};
use crate::rules::trigger;

/// The cells of a condition's inputs; none where the plan has no such point.
pub(super) struct Bound(Box<[Option<CellId>]>);

impl Bound {
    pub(super) fn verdict(
        &self,
        condition: &Condition,
        memory: &Memory,
        lists: &Lists,
        now_ms: i64,
    ) -> Verdict {
        condition.verdict(|input| {
            let seen = memory.seen(self.0[input]?, now_ms)?;
            match (&condition.inputs()[input].what, seen) {
                (What::Listed { list, .. }, Seen::Text(key)) => {
                    lists.get(list)?.holds(key, now_ms).map(Seen::Flag)
                }
                (What::Listed { .. }, _) => None,
                (_, seen) => Some(seen),
            }
        })
    }
}

/// One alarm of one device.
pub(super) struct Slot {
    pub(super) alarm: u32,
    pub(super) device: DeviceId,
    pub(super) state: trigger::State,
    /// Its entry in the engine's dues.
    pub(super) due: Option<u64>,
    /// Its open incident.
    pub(super) incident: Option<IncidentId>,
    /// Until when a new incident is suppressed, because the last one was closed not long ago.
    pub(super) cools: Option<Due>,
    /// Index into the engine's groups.
    pub(super) group: u32,
    /// The series whose silence is an absence.
    pub(super) listens: Option<SeriesKey>,
    /// The value that its events tell.
    pub(super) value: Option<CellId>,
    pub(super) when: Option<Bound>,
    pub(super) clear: Option<Bound>,
    pub(super) early: Option<Bound>,
    pub(super) then: Option<Bound>,
}

/// One thing that inhibits.
pub(super) struct Inhibition {
    pub(super) when: Option<Bound>,
    /// Until when it lasts after its condition.
    pub(super) until: Option<Due>,
}

impl Inhibition {
    /// Whether it inhibits now.
    pub(super) fn is_on(&self, inhibit: &Inhibit, zone_ms: i64, now: Stamp) -> bool {
        let Inhibit { when, between_ms, schedule, .. } = inhibit;
        match (when, between_ms) {
            (Some(_), _) => self.until.is_some(),
            (None, Some((from_ms, until_ms))) => (*from_ms..*until_ms).contains(&now.wall_ms),
            (None, None) => schedule.at(now.wall_ms, zone_ms),
        }
    }
}

/// What binding needs to know.
struct Binder<F> {
    find: F,
    memory: Memory,
    devices: HashMap<DeviceId, u32>,
    /// What the condition at hand reads.
    series: BTreeSet<SeriesKey>,
    watched: BTreeSet<u32>,
    lists: BTreeSet<LineId>,
    owners: Vec<Option<u32>>,
}

impl<F: Fn(&DeviceId, &Metric) -> Option<SeriesKey>> Binder<F> {
    fn device(&mut self, device: &DeviceId) -> u32 {
        let next = self.devices.len() as u32;
        *self.devices.entry(device.clone()).or_insert(next)
    }

    fn cell(&mut self, own: Option<&DeviceId>, input: &Input) -> Option<CellId> {
        let device = input.device.as_ref().or(own)?;
        let (metric, reads) = match &input.what {
            What::Online => {
                let device = self.device(device);
                self.watched.insert(device);
                return Some(self.memory.of_device(device));
            }
            What::Value(metric) => (metric, Reads::Value),
            What::Listed { list, metric } => {
                self.lists.insert(list.clone());
                (metric, Reads::Value)
            }
            What::Quality(metric) => (metric, Reads::Quality),
            What::Over { metric, of, over_ms } => (metric, Reads::Over(*of, *over_ms)),
        };
        let series = (self.find)(device, metric)?;
        self.series.insert(series);
        let device = self.device(device);
        *at_index(&mut self.owners, series.index()) = Some(device);
        Some(self.memory.of_series(series, reads))
    }

    fn bound(&mut self, own: Option<&DeviceId>, condition: Option<&Condition>) -> Option<Bound> {
        let inputs = condition?.inputs();
        Some(Bound(inputs.iter().map(|input| self.cell(own, input)).collect()))
    }
}

/// An engine to which nothing has happened.
pub(super) fn engine(plan: Plan, find: impl Fn(&DeviceId, &Metric) -> Option<SeriesKey>) -> Engine {
    let mut binder = Binder {
        find,
        memory: Memory::default(),
        devices: HashMap::new(),
        series: BTreeSet::new(),
        watched: BTreeSet::new(),
        lists: BTreeSet::new(),
        owners: Vec::new(),
    };
    let mut known: Vec<&DeviceId> = plan.devices.keys().collect();
    known.sort();
    for device in known {
        binder.device(device);
    }
    let mut slots = Vec::new();
    let (mut readers, mut watchers): (Vec<Vec<u32>>, Vec<Vec<u32>>) = (Vec::new(), Vec::new());
    let mut groups: Vec<Vec<u32>> = Vec::new();
    let mut listing: BTreeMap<LineId, Vec<u32>> = BTreeMap::new();
    let mut by_place = HashMap::new();
    for (at, alarm) in plan.alarms.iter().enumerate() {
        for device in &alarm.devices {
            let number = slots.len() as u32;
            let mut slot = slot(&mut binder, alarm, at as u32, device);
            let place = plan.devices.get(device).and_then(|known| known.place.clone());
            // A device without a place stands alone.
            let key = (at, place.clone(), place.is_none().then_some(number));
            slot.group = *by_place.entry(key).or_insert_with(|| {
                groups.push(Vec::new());
                groups.len() as u32 - 1
            });
            groups[slot.group as usize].push(number);
            for series in std::mem::take(&mut binder.series) {
                at_index(&mut readers, series.index()).push(number);
            }
            for watched in std::mem::take(&mut binder.watched) {
                at_index(&mut watchers, watched as usize).push(number);
            }
            for list in std::mem::take(&mut binder.lists) {
                listing.entry(list).or_default().push(number);
            }
            slots.push(slot);
        }
    }
    let inhibitions = plan.inhibits.iter();
    let inhibition =
        |inhibit: &Inhibit| Inhibition { when: binder.bound(None, inhibit.when.as_ref()), until: None };
    let inhibitions = inhibitions.map(inhibition).collect();
    let mut inhibiting = Vec::new();
    for series in std::mem::take(&mut binder.series) {
        *at_index(&mut inhibiting, series.index()) = true;
    }
    let mut expecting = Vec::new();
    let (mut gates, mut states) = (Vec::new(), Vec::new());
    for command in &plan.commands {
        let state = command.state.as_ref().and_then(|metric| {
            let input = Input { device: None, what: What::Value(metric.clone()) };
            binder.cell(Some(&command.device), &input)
        });
        states.push(state);
        let interlock = binder.bound(Some(&command.device), command.interlock.as_ref());
        binder.series.clear();
        let expect = binder.bound(Some(&command.device), command.expect.as_ref());
        for series in std::mem::take(&mut binder.series) {
            *at_index(&mut expecting, series.index()) = true;
        }
        gates.push((interlock, expect));
    }
    let lines = lines(&mut binder, &plan);
    watchers.resize_with(binder.devices.len().max(watchers.len()), Vec::new);
    Engine {
        memory: binder.memory,
        devices: binder.devices,
        owners: binder.owners,
        inhibiting,
        plan,
        slots,
        readers,
        watchers,
        groups,
        listing,
        lists: Lists::new(),
        listed_ms: i64::MIN,
        inhibitions,
        gates,
        states,
        lines,
        expecting,
        maintenances: BTreeMap::new(),
        incidents: BTreeMap::new(),
        runs: BTreeMap::new(),
        numbers: Numbers::default(),
        dues: BTreeSet::new(),
        escalations: BTreeSet::new(),
        moment: Moment::default(),
        out: Vec::new(),
    }
}

/// The conditions of share lines, of every device.
fn lines<F>(binder: &mut Binder<F>, plan: &Plan) -> Vec<(LineId, Vec<Option<Bound>>)>
where
    F: Fn(&DeviceId, &Metric) -> Option<SeriesKey>,
{
    let mut devices: Vec<(u32, DeviceId)> =
        binder.devices.iter().map(|(device, number)| (*number, device.clone())).collect();
    devices.sort();
    let mut lines = Vec::new();
    for (line, bulk) in plan.bulk.iter().filter(|(_, bulk)| bulk.when.is_some()) {
        let bounds = devices.iter().map(|(_, device)| binder.bound(Some(device), bulk.when.as_ref()));
        lines.push((line.clone(), bounds.collect()));
    }
    binder.series.clear();
    binder.watched.clear();
    lines
}

fn slot<F>(binder: &mut Binder<F>, alarm: &Alarm, at: u32, device: &DeviceId) -> Slot
where
    F: Fn(&DeviceId, &Metric) -> Option<SeriesKey>,
{
    let own = Some(device);
    let value = Input { device: None, what: What::Value(alarm.metric.clone()) };
    Slot {
        alarm: at,
        device: device.clone(),
        state: trigger::State::default(),
        due: None,
        incident: None,
        cools: None,
        group: 0,
        listens: (binder.find)(device, &alarm.metric),
        // Also what an alarm of absence is fed by.
        value: alarm.tells_its_value().then(|| binder.cell(own, &value)).flatten(),
        when: binder.bound(own, alarm.when.as_ref()),
        clear: binder.bound(own, alarm.clear.as_ref()),
        early: binder.bound(own, alarm.early.as_ref()),
        then: binder.bound(own, alarm.then.as_ref()),
    }
}

fn at_index<T: Default>(table: &mut Vec<T>, index: usize) -> &mut T {
    if table.len() <= index {
        table.resize_with(index + 1, T::default);
    }
    &mut table[index]
}
