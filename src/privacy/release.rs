//! The door outwards: one line of the share list (共享清单).
//!
//! Guarantees: default deny. A line lets out only what it names (alarm or aggregate, and metric), into its own lane,
//! until it expires; a device's id goes with it only if the line says so. Pure: the time is an argument.

use super::Cleared;
use super::protect::Protect;
use super::protect::released::Released;
use crate::model::{
    Actor, ClosedWindow, Consumer, Event, Lane, LineId, ListChange, Metric, OrderEnd, Rollup, TrailDigest,
};

/// Who gets what, in which form, why, on whose approval, until when.
#[derive(Clone, Debug, PartialEq)]
pub struct ShareLine {
    /// Its id.
    pub id: LineId,
    /// Why.
    pub purpose: String,
    /// Where it goes.
    pub lane: Lane,
    /// Who may pull it.
    pub consumers: Vec<Consumer>,
    /// Which metrics.
    pub metrics: Vec<Metric>,
    /// Whether the device's id goes with them.
    pub devices: bool,
    /// Whether the place of the device goes with an alarm.
    pub places: bool,
    /// The aggregates (lane aggregate) or alarms (lane alarm) it carries; empty for lane bulk.
    pub carries: Vec<LineId>,
    /// How the cells of what it carries are protected; none where they go as they are.
    pub protect: Option<Protect>,
    /// On whose approval.
    pub approval: String,
    /// Until when, milliseconds since 1970 UTC, exclusive.
    pub until_ms: Option<i64>,
    /// The tier in which an approval has to be granted before anything is handed out; none where `approval` suffices.
    pub tier: Option<LineId>,
    /// The approvals that are granted now. Not of the configuration: the spine keeps them up to date.
    pub granted: Vec<String>,
}

/// Approvals that a record names at most.
const APPROVALS_MAX: usize = 16;

impl ShareLine {
    /// What a record says it left under: the paper, and what is granted when it is sealed. It is sealed whether or not
    /// something is granted, so a record may be handed out under an approval that it does not name; the trail does.
    pub fn approval_ids(&self) -> impl Iterator<Item = &str> {
        let paper = Some(self.approval.as_str()).filter(|paper| !paper.is_empty());
        paper.into_iter().chain(self.granted.iter().map(String::as_str)).take(APPROVALS_MAX)
    }

    /// The event as this line permits it, without its device and its place unless the line says so, and never with what a
    /// person is called or wrote; `None` when the line names neither its alarm nor its metric.
    #[must_use]
    pub fn event(&self, event: &Event, now_ms: i64) -> Option<Cleared<Event>> {
        let permitted = self.is_open(Lane::Alarm, now_ms)
            && self.carries.contains(&event.alarm)
            && self.metrics.contains(&event.metric);
        permitted.then(|| {
            let device = event.device.clone().filter(|_| self.devices);
            let place = event.place.clone().filter(|_| self.places);
            // What a person wrote, and who wrote it, is for the compound.
            let reason = if event.by == Actor::Gateway { event.reason.clone() } else { "".into() };
            Cleared(Event { device, place, reason, by: event.by.nameless(), ..event.clone() })
        })
    }

    /// The window as this line permits it; `None` when it permits no cell, and of a line that protects them.
    ///
    /// A line without devices lets out only cells over all devices: the numbers of a single one would still be its own
    /// without its name.
    #[must_use]
    pub fn window(&self, window: &ClosedWindow, now_ms: i64) -> Option<Cleared<ClosedWindow>> {
        if self.protect.is_some() {
            return None;
        }
        self.permitted(window, now_ms)
    }

    /// The cells of a window that was decided, as this line permits it; `None` when it permits none. They are the same for
    /// every line that permits them.
    #[must_use]
    pub fn released(&self, released: &Released, now_ms: i64) -> Option<Cleared<ClosedWindow>> {
        self.permitted(&released.window(), now_ms)
    }

    fn permitted(&self, window: &ClosedWindow, now_ms: i64) -> Option<Cleared<ClosedWindow>> {
        if !self.is_open(Lane::Aggregate, now_ms) || !self.carries.contains(&window.aggregate) {
            return None;
        }
        let permits =
            |cell: &&Rollup| self.metrics.contains(&cell.metric) && (self.devices || cell.device.is_none());
        let cells: Vec<Rollup> = window.cells.iter().filter(permits).cloned().collect();
        let aggregate = window.aggregate.clone();
        (!cells.is_empty()).then_some(Cleared(ClosedWindow {
            aggregate,
            start_ms: window.start_ms,
            end_ms: window.end_ms,
            cells,
        }))
    }

    /// Whether the line lets out single readings of this metric. A reading without its device means nothing, so a line
    /// without devices permits none.
    #[must_use]
    pub fn reading(&self, metric: &Metric, now_ms: i64) -> bool {
        self.devices && self.is_open(Lane::Bulk, now_ms) && self.metrics.contains(metric)
    }

    /// Whether a consumer is told of this alarm by the line.
    #[must_use]
    pub fn carries_alarm(&self, alarm: &LineId, consumer: &Consumer, now_ms: i64) -> bool {
        self.is_open(Lane::Alarm, now_ms) && self.carries.contains(alarm) && self.consumers.contains(consumer)
    }

    /// Whether a consumer may order this command by the line.
    #[must_use]
    pub fn carries_command(&self, command: &LineId, consumer: &Consumer, now_ms: i64) -> bool {
        self.is_open(Lane::Result, now_ms) && self.gives_command(command, consumer)
    }

    /// The same whatever the time: what was ordered before the line ended is carried out.
    #[must_use]
    pub fn gives_command(&self, command: &LineId, consumer: &Consumer) -> bool {
        self.lane == Lane::Result && self.carries.contains(command) && self.consumers.contains(consumer)
    }

    /// A change of the lists that concerns this line, for those who hold it. It holds ids and no data; a line that has ended
    /// tells nothing any more.
    #[must_use]
    pub fn list_change(&self, change: &ListChange, now_ms: i64) -> Option<Cleared<ListChange>> {
        self.is_open(self.lane, now_ms).then(|| Cleared(change.clone()))
    }

    /// What the trail has come to, where the line is of lane audit. It holds counts and hashes.
    #[must_use]
    pub fn digest(&self, digest: &TrailDigest, now_ms: i64) -> Option<Cleared<TrailDigest>> {
        self.is_open(Lane::Audit, now_ms).then(|| Cleared(digest.clone()))
    }

    fn is_open(&self, lane: Lane, now_ms: i64) -> bool {
        self.lane == lane && self.until_ms.is_none_or(|until_ms| now_ms < until_ms)
    }
}

/// How an order ended, for who holds the line that it came under: sealed whatever has become of the line, because who was
/// told that it is taken is told its end. It holds ids and words of the gateway, no reading and no person.
#[must_use]
pub fn order_end(end: OrderEnd) -> Cleared<OrderEnd> {
    Cleared(end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Amount, Figure, IncidentId, Life, Severity, Step, Value};

    const NOW_MS: i64 = 1_790_000_000_000;

    fn metric(name: &str) -> Metric {
        name.parse().expect("a metric")
    }

    fn id(name: &str) -> LineId {
        name.parse().expect("an id")
    }

    fn line(
        lane: Lane,
        metrics: &[&str],
        devices: bool,
        carries: &[&str],
        until_ms: Option<i64>,
    ) -> ShareLine {
        ShareLine {
            id: id("S-1"),
            purpose: "fire safety".into(),
            lane,
            consumers: vec!["spiffe://brain.example/city/310115/brain/a".parse().expect("a consumer")],
            metrics: metrics.iter().map(|name| metric(name)).collect(),
            devices,
            places: devices,
            carries: carries.iter().map(|name| id(name)).collect(),
            protect: None,
            approval: "AP-1".into(),
            until_ms,
            tier: None,
            granted: vec![],
        }
    }

    fn event() -> Event {
        Event {
            incident: IncidentId(7),
            alarm: id("smoke"),
            step: Step::Raised,
            life: Life::Raised,
            active: true,
            severity: Severity::Critical,
            device: Some("detector-3".parse().expect("a device")),
            place: Some("B3/lobby".parse().expect("a place")),
            device_class: "smoke_detector".into(),
            metric: metric("smoke"),
            value: Some(Value::Flag(true)),
            unit: String::new(),
            by: Actor::Gateway,
            reason: "smoke_alarm".into(),
            at_ms: NOW_MS,
        }
    }

    fn cell(name: &str, device: Option<&str>) -> Rollup {
        Rollup {
            metric: metric(name),
            unit: "Cel".into(),
            device: device.map(|device| device.parse().expect("a device")),
            place: None,
            crowd: None,
            noise: "".into(),
            partial: false,
            figures: vec![Figure { statistic: "count".into(), le: None, amount: Amount::Count(1) }],
        }
    }

    fn window(cells: Vec<Rollup>) -> ClosedWindow {
        ClosedWindow { aggregate: id("hourly"), start_ms: 0, end_ms: 3_600_000, cells }
    }

    #[test]
    fn events() {
        let bare = Event { device: None, place: None, ..event() };
        for (name, line, expected) in [
            ("all", line(Lane::Alarm, &["smoke"], true, &["smoke"], None), Some(event())),
            ("no device", line(Lane::Alarm, &["smoke"], false, &["smoke"], None), Some(bare)),
            ("last moment", line(Lane::Alarm, &["smoke"], true, &["smoke"], Some(NOW_MS + 1)), Some(event())),
            ("expired", line(Lane::Alarm, &["smoke"], true, &["smoke"], Some(NOW_MS)), None),
            ("another alarm", line(Lane::Alarm, &["smoke"], true, &["heat"], None), None),
            ("carries nothing", line(Lane::Alarm, &["smoke"], true, &[], None), None),
            ("another metric", line(Lane::Alarm, &["heat"], true, &["smoke"], None), None),
            ("no metric", line(Lane::Alarm, &[], true, &["smoke"], None), None),
            ("another lane", line(Lane::Bulk, &["smoke"], true, &["smoke"], None), None),
        ] {
            let got = line.event(&event(), NOW_MS).map(|cleared| cleared.get().clone());
            assert_eq!(got, expected, "{name}");
        }
        let by = |actor: Actor| Event { by: actor, reason: "Zhang San told Li Si".into(), ..event() };
        let all = line(Lane::Alarm, &["smoke"], true, &["smoke"], None);
        let got = all.event(&by(Actor::Person("Zhang San".into())), NOW_MS).expect("permitted");
        assert_eq!((got.get().by.name(), got.get().by.kind(), &*got.get().reason), ("", "person", ""));
    }

    #[test]
    fn windows() {
        let (total, own, other) = (cell("heat", None), cell("heat", Some("d1")), cell("power", Some("d1")));
        let all = window(vec![total.clone(), own.clone(), other.clone()]);
        for (name, line, cells) in [
            (
                "all",
                line(Lane::Aggregate, &["heat", "power"], true, &["hourly"], None),
                vec![&total, &own, &other],
            ),
            ("one metric", line(Lane::Aggregate, &["heat"], true, &["hourly"], None), vec![&total, &own]),
            ("no devices", line(Lane::Aggregate, &["heat", "power"], false, &["hourly"], None), vec![&total]),
            ("no cell left", line(Lane::Aggregate, &["power"], false, &["hourly"], None), vec![]),
            ("expired", line(Lane::Aggregate, &["heat"], true, &["hourly"], Some(NOW_MS)), vec![]),
            ("another aggregate", line(Lane::Aggregate, &["heat"], true, &["daily"], None), vec![]),
            ("another lane", line(Lane::Alarm, &["heat"], true, &["hourly"], None), vec![]),
        ] {
            let expected = (!cells.is_empty()).then(|| window(cells.into_iter().cloned().collect()));
            let got = line.window(&all, NOW_MS).map(|cleared| cleared.get().clone());
            assert_eq!(got, expected, "{name}");
        }
        let line = line(Lane::Aggregate, &["heat"], true, &["hourly"], None);
        assert_eq!(line.window(&window(vec![]), NOW_MS), None);
    }

    #[test]
    fn readings() {
        for (line, permitted) in [
            (line(Lane::Bulk, &["heat"], true, &[], None), true),
            (line(Lane::Bulk, &["heat"], true, &[], Some(NOW_MS + 1)), true),
            (line(Lane::Bulk, &["heat"], true, &[], Some(NOW_MS)), false),
            (line(Lane::Bulk, &["heat"], false, &[], None), false),
            (line(Lane::Bulk, &["power"], true, &[], None), false),
            (line(Lane::Aggregate, &["heat"], true, &[], None), false),
        ] {
            assert_eq!(line.reading(&metric("heat"), NOW_MS), permitted, "{line:?}");
        }
    }

    proptest! {
        /// Whatever the line: no cell, metric or device leaves that it does not name.
        #[test]
        fn nothing_leaves_unless_listed(
            names in prop::collection::vec((0_usize..3, prop::option::of(0_usize..3)), 0..12),
            listed in prop::collection::btree_set(0_usize..3, 0..3),
            devices in any::<bool>(),
            until_ms in prop::option::of(NOW_MS - 2..NOW_MS + 2),
        ) {
            const METRICS: [&str; 3] = ["a", "b", "c"];
            let cells = names.iter().map(|(name, device)| cell(METRICS[*name], device.map(|d| METRICS[d]))).collect();
            let listed: Vec<&str> = listed.into_iter().map(|name| METRICS[name]).collect();
            let line = line(Lane::Aggregate, &listed, devices, &["hourly"], until_ms);
            if let Some(cleared) = line.window(&window(cells), NOW_MS) {
                prop_assert!(until_ms.is_none_or(|until_ms| NOW_MS < until_ms));
                prop_assert!(!cleared.get().cells.is_empty());
                for cell in &cleared.get().cells {
                    prop_assert!(listed.contains(&cell.metric.as_str()));
                    prop_assert!(devices || cell.device.is_none());
                }
            }
        }
    }
}
