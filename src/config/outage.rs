//! How long the city may be away before anything is lost: what the configuration is reckoned to bring into each lane,
//! against what the lane is promised of the disk.
//!
//! Guarantees: pure; it errs on the side of too much, but where nobody can know: a point that is not asked at a period is
//! taken to tell something once a minute, an alarm to be raised on each of its devices once a day, a command to be given 24
//! times a day, and a share line to be changed 24 times a day. What a deadband, `change_only` or `when` hold back is not
//! taken off. It does not look at a store: what happened so far is in the metrics.
//!
//! Bytes are those of records as they are sealed with names of usual length, and what a record takes beside its body
//! ([`RECORD_BYTES`]). The tests below seal some and hold them against the constants.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Config;
use crate::aggregate::statistic::Statistic;
use crate::aggregate::windows::{Aggregate, By};
use crate::ingest::Point;
use crate::model::Lane;
use crate::privacy::release::ShareLine;
use crate::store::room::RECORD_BYTES;

const DAY_MS: u64 = 86_400_000;
/// Readings a day of a point that is not asked at a period: one a minute.
const ASSUMED_A_DAY: u64 = 1440;
/// Records of an alarm on one device a day: it is raised, seen, cleared and closed.
const ALARM_RECORDS: u64 = 4;
/// Changes of each share line, and runs of each command, a day.
const CHANGES_A_DAY: u64 = 24;

/// What stands at the head of every body: gateway, purpose, place, times, treatments, approval.
const HEAD_BYTES: u64 = 200;
/// An alarm's change without that.
const EVENT_BYTES: u64 = 320;
/// A change of the lists, or how a command ended.
const WORD_BYTES: u64 = 120;
/// A digest of the trail: a signed position and about twenty counts.
const DIGEST_BYTES: u64 = 700;
/// One number of a cell, with its name, its unit and its device or building.
const MEASURE_BYTES: u64 = 90;
/// What a metric adds to the treatments of a window.
const TREATMENT_BYTES: u64 = 32;
/// One row of single readings.
const READING_BYTES: u64 = 12;
/// A series that such rows are of.
const SERIES_BYTES: u64 = 48;
/// A row of the log.
const LOG_BYTES: u64 = 48;

/// What a lane gets, and what it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Which.
    pub lane: Lane,
    /// Share lines that fill it.
    pub lines: usize,
    /// Bytes that it gets in a day.
    pub a_day: u64,
    /// Bytes that it is promised.
    pub promised: u64,
}

impl Load {
    /// How long its promise lasts while nobody pulls; none for ever.
    #[must_use]
    pub fn lasts(&self) -> Option<Duration> {
        lasts(self.promised, self.a_day)
    }
}

/// All lanes, and the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// By [`Lane::index`].
    pub lanes: [Load; Lane::ALL.len()],
    /// Bytes of history in a day. It gives way first.
    pub history_a_day: u64,
    /// Bytes that all lanes together can take: the store without its reserve and the trail.
    pub room: u64,
    /// For how long the city may be away.
    pub promise: Duration,
    /// Points that are asked at no period, and so taken to tell something once a minute.
    pub assumed: usize,
}

impl Outage {
    /// What a configuration comes to.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let promises = config.store.promises;
        let mut lanes =
            Lane::ALL.map(|lane| Load { lane, lines: 0, a_day: 0, promised: promises.bytes[lane.index()] });
        for line in &config.plan.shares {
            let load = &mut lanes[line.lane.index()];
            load.lines += 1;
            load.a_day = load.a_day.saturating_add(of_line(config, line));
            let events = &mut lanes[Lane::Event.index()];
            events.lines += 1;
            events.a_day = events.a_day.saturating_add(CHANGES_A_DAY * record(WORD_BYTES));
        }
        let points = || config.plan.points.iter().flatten().filter(|point| point.treatment.is_some());
        let kept = config.store.bytes_max.saturating_sub(config.store.reserve_bytes);
        Self {
            lanes,
            history_a_day: points().map(|point| readings_a_day(point) * LOG_BYTES).sum(),
            room: kept.saturating_sub(config.trail.bytes_max),
            promise: promises.lasts,
            assumed: points().filter(|point| point.pace.period_ms.is_none()).count(),
        }
    }

    /// How long all lanes together last in all the room there is; none for ever.
    #[must_use]
    pub fn lasts(&self) -> Option<Duration> {
        lasts(self.room, self.lanes.iter().map(|load| load.a_day).fold(0, u64::saturating_add))
    }

    /// The lanes that cannot keep the promise.
    pub fn short(&self) -> impl Iterator<Item = &Load> {
        self.lanes.iter().filter(|load| load.lasts().is_some_and(|lasts| lasts < self.promise))
    }

    /// The same in words, and what to do.
    pub fn complaints(&self) -> impl Iterator<Item = String> {
        self.short().map(|load| {
            let Load { lane, a_day, promised, .. } = load;
            let days = load.lasts().unwrap_or(Duration::MAX).as_secs_f64() / 86_400.0;
            let promise = self.promise.as_secs_f64() / 86_400.0;
            let needed = (*a_day as f64 * promise / f64::from(1 << 20)).ceil();
            format!(
                "lane {lane} gets about {a_day} bytes a day and is promised {promised}: {days:.1} days without the city, \
                 store.promise is {promise:.1}: store.lanes.{lane} = \"{needed} MiB\", share less, or promise less"
            )
        })
    }
}

fn lasts(bytes: u64, a_day: u64) -> Option<Duration> {
    if a_day == 0 {
        return None;
    }
    let ms = u128::from(bytes) * u128::from(DAY_MS) / u128::from(a_day);
    Some(Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX)))
}

/// What a record of such a content takes of the disk.
fn record(content: u64) -> u64 {
    HEAD_BYTES + content + RECORD_BYTES
}

fn readings_a_day(point: &Point) -> u64 {
    let period_ms = point.pace.period_ms.and_then(|ms| u64::try_from(ms).ok()).filter(|ms| *ms > 0);
    period_ms.map_or(ASSUMED_A_DAY, |ms| DAY_MS / ms + 1)
}

fn of_line(config: &Config, line: &ShareLine) -> u64 {
    match line.lane {
        Lane::Alarm => alarms(config, line),
        Lane::Result => line.carries.len() as u64 * CHANGES_A_DAY * record(WORD_BYTES),
        Lane::Aggregate => {
            let aggregates = config.plan.aggregates.iter().enumerate();
            let carried = aggregates.filter(|(_, aggregate)| line.carries.contains(&aggregate.id));
            carried.map(|(at, aggregate)| windows(config, line, at, aggregate)).sum()
        }
        Lane::Audit => {
            let every_ms = u64::try_from(config.trail.digest.as_millis()).unwrap_or(u64::MAX).max(1);
            (DAY_MS / every_ms + 1) * record(DIGEST_BYTES)
        }
        Lane::Bulk => singles(config, line),
        // Every line has a part of it.
        Lane::Event => 0,
    }
}

fn alarms(config: &Config, line: &ShareLine) -> u64 {
    let alarms = config.plan.rules.alarms.iter().filter(|alarm| line.carries.contains(&alarm.id));
    alarms.map(|alarm| alarm.devices.len() as u64 * ALARM_RECORDS * record(EVENT_BYTES)).sum()
}

fn windows(config: &Config, line: &ShareLine, at: usize, aggregate: &Aggregate) -> u64 {
    let of = |point: &&Point| point.aggregates.contains(&at) && line.metrics.contains(&point.metric);
    let points: Vec<&Point> = config.plan.points.iter().flatten().filter(of).collect();
    let metrics: BTreeSet<_> = points.iter().map(|point| (&point.metric, &point.unit)).collect();
    let places: BTreeSet<_> =
        points.iter().map(|point| (&point.metric, &point.unit, &point.building)).collect();
    let cells = match aggregate.by {
        By::Device if line.devices => points.len(),
        By::Device => 0,
        By::Building => places.len() + metrics.len(),
        By::Compound => metrics.len(),
    } as u64;
    let of_one = |statistic: Statistic| match statistic {
        Statistic::Histogram => aggregate.edges.len() as u64 + 1,
        _ => 1,
    };
    let figures: u64 = aggregate.statistics.iter().map(of_one).sum();
    let a_day = DAY_MS / aggregate.size_ms.unsigned_abs().max(1) + 1;
    let measures = cells * figures * MEASURE_BYTES;
    // One that is too long for one record is several.
    let records = measures / crate::wire::BODY_BYTES_MAX as u64 + u64::from(cells > 0);
    a_day * (measures + records * record(metrics.len() as u64 * TREATMENT_BYTES))
}

fn singles(config: &Config, line: &ShareLine) -> u64 {
    let of = |point: &&Point| point.treatment.is_some() && line.metrics.contains(&point.metric);
    let sample_ms = config.plan.rules.bulk.get(&line.id).and_then(|bulk| bulk.thinning.sample_ms);
    let (mut series, mut readings) = (0_u64, 0_u64);
    for point in config.plan.points.iter().flatten().filter(of) {
        let sampled = [sample_ms, point.thinning.sample_ms].into_iter().flatten();
        let most = sampled.map(|ms| DAY_MS / ms.max(1) + 1).min().unwrap_or(u64::MAX);
        series += 1;
        readings = readings.saturating_add(readings_a_day(point).min(most));
    }
    if readings == 0 {
        return 0;
    }
    let block = config.plan.block;
    let records =
        (DAY_MS / block.age_max_ms.max(1)).saturating_add(readings / (block.rows_max as u64).max(1));
    let records = records.min(readings).max(1);
    let named = series.min(readings.div_ceil(records));
    readings * READING_BYTES + records * record(named * SERIES_BYTES)
}

#[cfg(test)]
mod tests;
