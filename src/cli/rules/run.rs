//! One case, from its start to its end, with a clock of its own.
//!
//! Guarantees: what happens here is a function of the case and the configuration; readings go the way of the spine
//! (normalise, privacy, duplicate, plausible, rule engine) and time passes as in the daemon, at every moment at which
//! something is due. What is different: commands reach their devices at once, and nobody is really told.

use std::collections::{BTreeMap, HashMap};

use super::case::{Case, Deed, Doing, Happening, What};
use super::report::{Line, Verdict, diff};
use crate::config::Config;
use crate::ingest::Plan;
use crate::model::{
    Actor, Cause, DeviceId, IncidentId, Life, LineId, Loss, Metric, Quality, Sample, SeriesKey, Stamp, Step,
    Value,
};
use crate::normalise;
use crate::privacy::intake;
use crate::rules::command::Run;
use crate::rules::dedupe::Dedupe;
use crate::rules::engine::{Engine, Kept, Numbers, Outcome};
use crate::rules::incident::{Incident, Order};
use crate::rules::maintenance::Maintenance;
use crate::rules::pattern::fits;
use crate::rules::plausible;
use crate::rules::presence::Watch;

/// How often the daemon looks at what has no moment of its own.
const LOOK_MS: u64 = 1000;
/// Who gives orders in cases.
const PERSON: &str = "case";

/// Runs a case, and says what differs from what it expects.
#[must_use]
pub fn verdict(case: &Case, config: &Config) -> Verdict {
    let mut bench = Bench::new(case, config);
    for doing in &case.steps {
        bench.advance(doing.at_ms);
        bench.take(doing);
        bench.follow();
    }
    bench.advance(case.until_ms);
    let Bench { happened, notices, runs, .. } = bench;
    let mut lines: Vec<Line> = diff(&case.expect, &happened);
    if let Some(expected) = &case.notices {
        lines.extend(diff(expected, &notices));
    }
    if let Some(expected) = &case.runs {
        lines.extend(diff(expected, &runs));
    }
    Verdict { name: case.name.clone(), line: case.line, diff: lines }
}

/// What the spine keeps of a series.
#[derive(Default)]
struct Series {
    dedupe: Dedupe,
    plausible: plausible::State,
}

/// What a store would keep of the engine.
#[derive(Default)]
struct Rows {
    triggers: BTreeMap<(LineId, DeviceId), String>,
    incidents: BTreeMap<IncidentId, Incident>,
    closed: BTreeMap<(LineId, DeviceId), i64>,
    runs: BTreeMap<u64, Run>,
    maintenances: BTreeMap<u64, Maintenance>,
    numbers: Numbers,
}

/// A gateway without shells and store.
struct Bench<'c> {
    case: &'c Case,
    plan: &'c Plan,
    names: HashMap<(&'c str, &'c str), SeriesKey>,
    engine: Engine,
    now: Stamp,
    series: HashMap<SeriesKey, Series>,
    /// Presence of a device, and when it gave its last sign of life, monotonic milliseconds.
    watches: BTreeMap<DeviceId, (Watch, u64)>,
    rows: Rows,
    happened: Vec<Happening>,
    notices: Vec<Happening>,
    runs: Vec<Happening>,
}

impl<'c> Bench<'c> {
    fn new(case: &'c Case, config: &'c Config) -> Self {
        let plan = &config.plan;
        let now = Stamp { wall_ms: case.start_ms, mono_ms: LOOK_MS };
        let points =
            plan.points.iter().zip(0..).filter_map(|(point, key)| Some((point.as_ref()?, SeriesKey(key))));
        let names: HashMap<_, _> =
            points.map(|(point, key)| ((point.device.as_str(), point.metric.as_str()), key)).collect();
        let devices = plan.points.iter().flatten().map(|point| &point.device);
        let watch =
            |device: &DeviceId| (Watch::new(plan.silence.get(device).copied(), None, now), now.mono_ms);
        let watches = devices.map(|device| (device.clone(), watch(device))).collect();
        let mut engine = engine(plan, &names);
        engine.restore(Kept::default(), now);
        let mut bench = Self {
            case,
            plan,
            names,
            engine,
            now,
            series: HashMap::new(),
            watches,
            rows: Rows::default(),
            happened: Vec::new(),
            notices: Vec::new(),
            runs: Vec::new(),
        };
        bench.follow();
        bench
    }

    /// Milliseconds since the start.
    fn since(&self, wall_ms: i64) -> i64 {
        wall_ms - self.case.start_ms
    }

    /// Lets time pass up to a moment, and stops wherever something is due.
    fn advance(&mut self, at_ms: u64) {
        let end_ms = at_ms + LOOK_MS;
        loop {
            self.tick();
            if self.now.mono_ms >= end_ms {
                return;
            }
            let next_ms = self.next_ms().clamp(self.now.mono_ms + 1, end_ms);
            self.now.wall_ms += (next_ms - self.now.mono_ms).cast_signed();
            self.now.mono_ms = next_ms;
        }
    }

    fn tick(&mut self) {
        let now = self.now;
        let gone: Vec<DeviceId> = self
            .watches
            .iter_mut()
            .filter_map(|(id, (watch, _))| watch.tick(now).then(|| id.clone()))
            .collect();
        for device in gone {
            self.engine.online(&device, false, true, now);
            self.follow();
        }
        self.engine.tick(now);
        self.follow();
    }

    /// The next moment at which something may follow from time alone, monotonic milliseconds.
    fn next_ms(&self) -> u64 {
        let millis = |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let rest =
            self.engine.rest(self.now).map_or(u64::MAX, |rest| self.now.mono_ms.saturating_add(millis(rest)));
        let silent = self.plan.silence.iter().filter_map(|(device, silence)| {
            let (watch, alive_ms) = self.watches.get(device)?;
            let is_there = watch.standing().is_none_or(|known| known.online);
            is_there.then(|| alive_ms.saturating_add(millis(*silence)))
        });
        let waits = self.rows.incidents.values().any(|incident| incident.life == Life::Suppressed);
        let looks = waits || self.plan.rules.inhibits.iter().any(|inhibit| inhibit.when.is_some());
        let look = if looks { (self.now.mono_ms / LOOK_MS + 1) * LOOK_MS } else { u64::MAX };
        silent.chain([rest, look]).min().unwrap_or(u64::MAX)
    }

    fn take(&mut self, doing: &Doing) {
        match &doing.deed {
            Deed::Say { device, values, retained, time_ms } => {
                for (metric, value) in values {
                    self.say(device, metric, value, *retained, *time_ms);
                }
                self.engine.settle(self.now);
                self.follow();
            }
            Deed::Presence { device, online } => self.told(device, *online, Cause::Told),
            Deed::Order { alarm, device, step, reason } => self.order(alarm, device, *step, reason),
            Deed::Maintain { devices, for_ms } => {
                let until_ms = self.now.wall_ms.saturating_add_unsigned(*for_ms);
                let (devices, places) = (devices.clone(), "*".to_owned());
                let (by, reason): (Box<str>, Box<str>) = (PERSON.into(), "".into());
                let work =
                    Maintenance { id: 0, devices, places, from_ms: self.now.wall_ms, until_ms, by, reason };
                // More than the engine takes are none: what they were to suppress shows in the difference.
                let _ = self.engine.maintain(&work, self.now);
            }
            Deed::Restart => self.restart(),
        }
    }

    fn say(
        &mut self,
        device: &DeviceId,
        metric: &Metric,
        value: &Value,
        retained: bool,
        time_ms: Option<i64>,
    ) {
        let device_ms = time_ms.map(|ms| self.case.start_ms + ms);
        match self.reading(device, metric, value, retained, device_ms) {
            Ok(()) if !retained => {
                self.follow();
                self.told(device, true, Cause::Heard);
            }
            Ok(()) => {}
            Err(loss) => {
                let what = What::Lost { loss, device: device.clone(), metric: metric.clone() };
                self.happened.push(Happening { at_ms: self.since(self.now.wall_ms), what });
            }
        }
    }

    fn reading(
        &mut self,
        device: &DeviceId,
        metric: &Metric,
        value: &Value,
        retained: bool,
        device_ms: Option<i64>,
    ) -> Result<(), Loss> {
        if !self.watches.contains_key(device) {
            return Err(Loss::UnknownDevice);
        }
        let series = *self.names.get(&(device.as_str(), metric.as_str())).ok_or(Loss::Unlisted)?;
        let point = self.plan.points[series.index()].as_ref().ok_or(Loss::Unlisted)?;
        let sample = Sample {
            message: None,
            series,
            value: value.clone(),
            device_ms,
            clock_ms: None,
            retained,
            history: false,
        };
        let reading = normalise::normalise(&point.rule, sample, self.now)?;
        let cleared = intake::clear(point.treatment.as_ref(), reading)?;
        let known = self.series.entry(series).or_default();
        let reading = cleared.get();
        if known.dedupe.seen(reading.device_time.then_some(reading.time_ms), &reading.value) {
            return Err(Loss::Duplicate);
        }
        let quality: Option<Quality> = known.plausible.judge(&point.plausible, reading).quality;
        let cleared = match quality {
            Some(quality) => cleared.of_quality(quality),
            None => cleared,
        };
        if !retained {
            self.engine.reading(cleared.get(), self.now);
        }
        Ok(())
    }

    fn told(&mut self, device: &DeviceId, online: bool, cause: Cause) {
        let Some((watch, alive_ms)) = self.watches.get_mut(device) else {
            let what = What::Lost {
                loss: Loss::UnknownDevice,
                device: device.clone(),
                metric: "online".parse().expect("a metric"),
            };
            self.happened.push(Happening { at_ms: self.since(self.now.wall_ms), what });
            return;
        };
        if online {
            *alive_ms = self.now.mono_ms;
        }
        if watch.told(online, cause, self.now) {
            self.engine.online(device, online, true, self.now);
        }
    }

    fn order(&mut self, alarm: &LineId, device: &DeviceId, step: Step, reason: &str) {
        let open = |incident: &&Incident| incident.alarm == *alarm && incident.device == *device;
        let incident = self.rows.incidents.values().find(open).map(|incident| incident.id);
        let by = Actor::Person(PERSON.into());
        let done = incident.map(|incident| {
            let order = Order { incident, step, by, reason: reason.into() };
            self.engine.order(&order, self.now)
        });
        if !matches!(done, Some(Ok(_))) {
            let what = What::Refused { alarm: alarm.clone(), device: device.clone(), step };
            self.happened.push(Happening { at_ms: self.since(self.now.wall_ms), what });
        }
    }

    /// Writes down what follows.
    fn follow(&mut self) {
        let mut outcomes = self.engine.take();
        while !outcomes.is_empty() {
            for outcome in outcomes {
                self.keep(outcome);
            }
            outcomes = self.engine.take();
        }
    }

    fn keep(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Trigger(alarm, device, state) => {
                match state {
                    Some(state) => self.rows.triggers.insert((alarm, device), state),
                    None => self.rows.triggers.remove(&(alarm, device)),
                };
            }
            Outcome::Event(event, incident) => {
                let at_ms = self.since(event.at_ms);
                let (alarm, device, step) = (incident.alarm.clone(), incident.device.clone(), event.step);
                if self.is_about(&alarm) {
                    let what = What::Step { alarm: alarm.clone(), device: device.clone(), step };
                    self.happened.push(Happening { at_ms, what });
                }
                self.rows.numbers.incident = self.rows.numbers.incident.max(incident.id.0);
                if incident.life == Life::Closed {
                    self.rows.incidents.remove(&incident.id);
                    self.rows.closed.insert((alarm, device), incident.changed_ms);
                } else {
                    self.rows.incidents.insert(incident.id, incident);
                }
            }
            Outcome::Incident(incident) => {
                self.rows.incidents.insert(incident.id, incident);
            }
            Outcome::Notice(notice) => {
                self.rows.numbers.notice = notice.id;
                let at_ms = self.since(notice.due_ms);
                let (recipient, alarm, step) = (notice.recipient, notice.alarm, notice.step);
                if self.is_about(&alarm) {
                    self.notices.push(Happening { at_ms, what: What::Notice { recipient, alarm, step } });
                }
            }
            Outcome::Run(run) => {
                self.rows.numbers.run = self.rows.numbers.run.max(run.id);
                let (command, stage) = (run.command.clone(), run.stage);
                if self.rows.runs.get(&run.id).is_none_or(|known| known.stage != stage) {
                    let at_ms = self.since(run.changed_ms);
                    self.runs.push(Happening { at_ms, what: What::Run { command, stage } });
                }
                match stage.is_final() {
                    true => self.rows.runs.remove(&run.id),
                    false => self.rows.runs.insert(run.id, run),
                };
            }
            Outcome::Send(run) => {
                // One that has ended in between has nothing to send.
                let _ = self.engine.ran(run, &Ok(()), self.now);
            }
            Outcome::Maintenance(work, begins) => {
                self.rows.numbers.maintenance = self.rows.numbers.maintenance.max(work.id);
                match begins {
                    true => self.rows.maintenances.insert(work.id, work),
                    false => self.rows.maintenances.remove(&work.id),
                };
            }
        }
    }

    fn is_about(&self, alarm: &LineId) -> bool {
        let about = self.case.alarms.as_ref();
        about.is_none_or(|patterns| patterns.iter().any(|pattern| fits(pattern, alarm.as_str())))
    }

    /// As after a power cut: what the store has and what is remembered of readings, and nothing else.
    fn restart(&mut self) {
        let bytes = self.engine.snapshot(|series| Some(i64::from(series.0)));
        let mut engine = engine(self.plan, &self.names);
        engine.remember(&bytes, |number| u32::try_from(number).ok().map(SeriesKey));
        for (device, (watch, _)) in &self.watches {
            if let Some(standing) = watch.standing() {
                engine.online(device, standing.online, false, self.now);
            }
        }
        let rows = &self.rows;
        let of = |((alarm, device), state): (&(LineId, DeviceId), &String)| {
            (alarm.clone(), device.clone(), state.clone())
        };
        let closed = rows.closed.iter().map(|((alarm, device), ms)| (alarm.clone(), device.clone(), *ms));
        let kept = Kept {
            goes_on: false,
            triggers: rows.triggers.iter().map(of).collect(),
            incidents: rows.incidents.values().cloned().collect(),
            closed: closed.collect(),
            runs: rows.runs.values().cloned().collect(),
            maintenances: rows.maintenances.values().cloned().collect(),
            numbers: rows.numbers,
        };
        engine.restore(kept, self.now);
        self.engine = engine;
    }
}

fn engine(plan: &Plan, names: &HashMap<(&str, &str), SeriesKey>) -> Engine {
    Engine::new(plan.rules.clone(), |device, metric| names.get(&(device.as_str(), metric.as_str())).copied())
}
