//! What is asked on a port, and when.
//!
//! The point that is longest overdue goes first and takes its due neighbours along: registers of one block, items of one
//! identifier. A meter that does not answer is left alone for at least [`REST_TIMEOUTS`] response timeouts, so that its late
//! answer cannot meet another question to it, then for twice as long each time, up to [`REST_MAX`]; all meters that have
//! been silent [`DEAD_AFTER`] times share a tenth of the line, so the others keep their rate. Every point of a talking meter
//! is asked in the end, however busy the line is. It has no clock and does no I/O.

mod budget;

use std::time::Duration;

use super::exchange::{Content, Exchange, Habits, Want};
use super::point::{self, Withheld};
use super::question::{Refusal, Sense};
use super::{Address, Meter, Point, PortSettings, Source};
use crate::codec::dlt645::Edition;
use crate::codec::modbus::{RegisterKind, Request};
use crate::model::Sample;

pub use budget::Budget;

/// Registers between two points that are read along rather than asked about apart; in bits sixteen times as many.
pub const GAP_REGISTERS_MAX: u16 = 8;

/// Registers of one question: cheap slaves have small buffers. In bits sixteen times as many.
pub const BLOCK_REGISTERS_MAX: u16 = 60;

/// Rest after the first timeout of a meter, in response timeouts.
pub const REST_TIMEOUTS: u32 = 4;

/// Timeouts in a row after which a meter counts as dead.
pub const DEAD_AFTER: u32 = 3;

/// The longest rest of a silent meter.
pub const REST_MAX: Duration = Duration::from_secs(300);

/// How long a point that the meter refuses for good is not asked for.
pub const MISCONFIGURED_PAUSE: Duration = Duration::from_secs(600);

/// How long a busy meter is given, unless the point's period is shorter.
pub const BUSY_PAUSE: Duration = Duration::from_secs(10);

/// How often a meter's clock is read.
pub const CLOCK_PERIOD: Duration = Duration::from_secs(6 * 3600);

/// How long the reading of a clock waits for a moment at which no point is due.
const CLOCK_PATIENCE: Duration = Duration::from_secs(600);

/// Of the time a question to a dead meter has cost, how many times as long no dead one is asked.
const PROBE_SPACING: u32 = 9;

/// A period below this is taken for this.
const PERIOD_MIN: Duration = Duration::from_millis(10);

/// One reading with what it is for.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    /// The questions.
    pub exchange: Exchange,
    meter: usize,
    /// Indices into `points`; none when it is the meter's clock that is read.
    points: Vec<usize>,
    asked: Duration,
}

/// How a reading ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ended {
    /// With what was wanted.
    Content(Content),
    /// With a no.
    Refused(Refusal),
    /// With nothing, in time.
    Timeout,
    /// With answers that make no reading.
    Unusable(String),
    /// By the port's end; nobody is to blame.
    Abandoned,
}

/// What a reading said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    /// The values of its points.
    pub samples: Vec<Sample>,
    /// Points without a value, because the meter has none.
    pub absent: u64,
    /// Points without a value, because the answer does not hold them, or in a unit that does not convert.
    pub unfit: u64,
}

struct MeterState {
    meter: Meter,
    habits: Habits,
    /// Timeouts since the last answer.
    failures: u32,
    rest_until: Duration,
    /// Until when another question to it could meet a late answer.
    quiet_until: Duration,
    clock: Option<Clock>,
}

/// What is known of a meter's clock.
struct Clock {
    edition: Edition,
    due: Duration,
    /// What it showed, and when.
    shown: Option<(i64, Duration)>,
}

struct PointState {
    point: Point,
    meter: usize,
    due: Duration,
    /// The meter refused it together with neighbours.
    alone: bool,
    misconfigured: bool,
}

/// The schedule of one port. Times are of one monotonic clock.
pub struct Schedule {
    zone_ms: i64,
    meters: Vec<MeterState>,
    points: Vec<PointState>,
    /// Points that no question can reach.
    impossible: usize,
    /// Before it, no dead meter is asked.
    probe_from: Duration,
}

impl Schedule {
    /// All points are due at `now`.
    #[must_use]
    pub fn new(settings: &PortSettings, now: Duration) -> Self {
        let (meters, points) = (Vec::new(), Vec::new());
        let mut schedule = Self { zone_ms: 0, meters, points, impossible: 0, probe_from: Duration::ZERO };
        schedule.rebuild(settings, now);
        schedule
    }

    /// Takes new settings between two readings; meters and points that stay keep what is known about them.
    pub fn rebuild(&mut self, settings: &PortSettings, now: Duration) {
        self.zone_ms = settings.zone_ms;
        self.impossible = 0;
        let old_meters = std::mem::take(&mut self.meters);
        let mut old_points = std::mem::take(&mut self.points);
        for (index, meter) in settings.meters.iter().enumerate() {
            let known = old_meters.iter().position(|old| old.meter.address == meter.address);
            self.meters.push(MeterState::of(meter, known.map(|known| &old_meters[known]), now));
            for point in meter.points.iter().filter(|point| point.polled) {
                if !is_possible(meter, point) {
                    self.impossible += 1;
                    continue;
                }
                let kept = old_points.iter().position(|old| Some(old.meter) == known && old.point == *point);
                self.points.push(match kept {
                    Some(kept) => PointState { meter: index, ..old_points.swap_remove(kept) },
                    None => PointState {
                        point: point.clone(),
                        meter: index,
                        due: now,
                        alone: false,
                        misconfigured: false,
                    },
                });
            }
        }
    }

    /// What to ask at the time `now`; [`Schedule::done`] takes the end of it before the next call. None before
    /// [`Schedule::wakeup`].
    #[must_use]
    pub fn next(&mut self, now: Duration) -> Option<Read> {
        let seed = (0..self.points.len())
            .filter(|index| self.from(&self.points[*index]) <= now)
            .min_by_key(|index| self.points[*index].due);
        let patience = if seed.is_some() { CLOCK_PATIENCE } else { Duration::ZERO };
        self.clock(now, patience).or_else(|| self.read(seed?, now))
    }

    /// When there is something to ask; none when there never is.
    #[must_use]
    pub fn wakeup(&self) -> Option<Duration> {
        let points = self.points.iter().map(|state| self.from(state));
        points.chain(self.meters.iter().filter_map(MeterState::clock_from)).min()
    }

    /// Takes the end of a reading at the time `now`; gives what it says.
    pub fn done(&mut self, read: &Read, ended: &Ended, now: Duration) -> Said {
        let meter = &mut self.meters[read.meter];
        match ended {
            Ended::Abandoned => return Said::default(),
            Ended::Timeout | Ended::Refused(Refusal { sense: Sense::Silent, .. }) => {
                self.rest(read, now);
                return Said::default();
            }
            Ended::Content(_) => {
                meter.failures = 0;
                meter.habits.answered(&read.exchange);
            }
            Ended::Refused(_) | Ended::Unusable(_) => meter.failures = 0,
        }
        if read.points.is_empty() {
            meter.clock_read(ended, now);
            return Said::default();
        }
        match ended {
            Ended::Content(content) => self.said(read, content, now),
            Ended::Refused(refusal) => {
                self.refused(read, refusal.sense, now);
                Said::default()
            }
            _ => {
                for index in &read.points {
                    let state = &mut self.points[*index];
                    state.due = following(state.due, state.point.period, now);
                }
                Said::default()
            }
        }
    }

    /// Whose reading it is.
    #[must_use]
    pub fn meter(&self, read: &Read) -> &Meter {
        &self.meters[read.meter].meter
    }

    /// Leaves a Modbus unit alone until a late answer to somebody else's question cannot come any more.
    pub fn hush(&mut self, unit: u8, until: Duration) {
        let same = self.meters.iter_mut().filter(|state| state.meter.address == Address::Modbus(unit));
        same.for_each(|state| state.quiet_until = state.quiet_until.max(until));
    }

    /// Begins the frame count of every M-Bus meter anew: somebody else has asked, and a bit that comes twice would bring
    /// the old telegram.
    pub fn reset_links(&mut self) {
        self.meters.iter_mut().for_each(|state| state.habits.reset_link());
    }

    /// Until when a question of somebody else to a Modbus unit could meet a late answer.
    #[must_use]
    pub fn quiet_until(&self, unit: u8) -> Option<Duration> {
        let mut meters = self.meters.iter();
        meters.find(|state| state.meter.address == Address::Modbus(unit)).map(|state| state.quiet_until)
    }

    /// How many points their meter refuses for good, or no question can reach.
    #[must_use]
    pub fn misconfigured(&self) -> usize {
        self.impossible + self.points.iter().filter(|state| state.misconfigured).count()
    }

    /// When a point may be asked for.
    fn from(&self, state: &PointState) -> Duration {
        let meter = &self.meters[state.meter];
        let due = state.due.max(meter.quiet_until);
        match meter.failures {
            0 => due,
            1..DEAD_AFTER => due.max(meter.rest_until),
            _ => due.max(meter.rest_until).max(self.probe_from),
        }
    }

    fn said(&mut self, read: &Read, content: &Content, now: Duration) -> Said {
        let meter = &self.meters[read.meter];
        let clock_ms = match content {
            Content::Items { clock_ms: Some(clock_ms), .. } => Some(*clock_ms - self.zone_ms),
            _ => meter.clock_ms(now).map(|clock_ms| clock_ms - self.zone_ms),
        };
        let mut said = Said::default();
        for index in &read.points {
            let state = &mut self.points[*index];
            state.due = following(state.due, state.point.period, now);
            state.misconfigured = false;
            match point::value(&state.point, content) {
                Ok(value) => said.samples.push(Sample {
                    message: None,
                    series: state.point.series,
                    value,
                    device_ms: None,
                    clock_ms,
                    retained: false,
                    history: false,
                }),
                Err(Withheld::Absent) => said.absent += 1,
                Err(Withheld::Missing | Withheld::Unit) => {
                    said.unfit += 1;
                    state.misconfigured = true;
                }
            }
        }
        said
    }

    fn refused(&mut self, read: &Read, sense: Sense, now: Duration) {
        let together = read.points.len() > 1;
        for index in &read.points {
            let state = &mut self.points[*index];
            state.misconfigured = false;
            match sense {
                // Perhaps only a register between them is missing: each once more, alone, from now on.
                Sense::Part if together => state.alone = true,
                Sense::Part | Sense::Lasting => {
                    state.misconfigured = true;
                    state.due = now + MISCONFIGURED_PAUSE;
                }
                Sense::Passing | Sense::Silent => {
                    state.due = now + state.point.period.clamp(PERIOD_MIN, BUSY_PAUSE);
                }
            }
        }
    }

    fn rest(&mut self, read: &Read, now: Duration) {
        let meter = &mut self.meters[read.meter];
        let timeout = meter.meter.timing.response_timeout;
        let floor = timeout * REST_TIMEOUTS;
        let rest = floor.saturating_mul(1 << meter.failures.min(16)).min(REST_MAX).max(floor);
        meter.failures = meter.failures.saturating_add(1);
        meter.rest_until = now + rest;
        meter.quiet_until = now + floor;
        meter.habits.silent();
        if let Some(clock) = meter.clock.as_mut().filter(|_| read.points.is_empty()) {
            clock.due = now + CLOCK_PATIENCE;
        }
        if meter.failures >= DEAD_AFTER {
            // The bus listens for one more timeout.
            let spent = now.saturating_sub(read.asked) + timeout;
            self.probe_from = now + timeout + spent * PROBE_SPACING;
        }
    }

    fn clock(&mut self, now: Duration, patience: Duration) -> Option<Read> {
        let due = |state: &MeterState| state.clock_from().is_some_and(|due| due + patience <= now);
        let meter = self.meters.iter().position(due)?;
        let MeterState { meter: settings, habits, clock, .. } = &mut self.meters[meter];
        let want = Want::Dlt645Clock(clock.as_ref()?.edition);
        let exchange = Exchange::new(settings, want, habits)?;
        Some(Read { exchange, meter, points: Vec::new(), asked: now })
    }

    fn read(&mut self, seed: usize, now: Duration) -> Option<Read> {
        let due: Vec<usize> = (0..self.points.len()).filter(|index| self.points[*index].due <= now).collect();
        let points = self.block(seed, &due);
        let meter = self.points[seed].meter;
        let want = self.want(&points);
        let MeterState { meter: settings, habits, .. } = &mut self.meters[meter];
        match want.and_then(|want| Exchange::new(settings, want, habits)) {
            Some(exchange) => Some(Read { exchange, meter, points, asked: now }),
            None => {
                // Not reached while `is_possible` holds; whatever else, the line must not wait for it.
                self.points[seed].due = now + MISCONFIGURED_PAUSE;
                None
            }
        }
    }

    /// The points of `candidates` that are read together with `seed`; registers by address.
    fn block(&self, seed: usize, candidates: &[usize]) -> Vec<usize> {
        let wanted = &self.points[seed];
        if wanted.alone {
            return vec![seed];
        }
        let mut near: Vec<usize> = candidates
            .iter()
            .copied()
            .filter(|index| {
                let state = &self.points[*index];
                state.meter == wanted.meter && !state.alone && together(&state.point, &wanted.point)
            })
            .collect();
        let Some((_, _, table)) = registers(&wanted.point) else { return near };
        let scale = if table.is_bits() { 16 } else { 1 };
        let span = |index: usize| {
            registers(&self.points[index].point)
                .map_or((0, 0), |(address, width, _)| (address, address + width))
        };
        near.sort_by_key(|index| (span(*index).0, *index));
        let (mut block, mut start, mut end) = (Vec::new(), 0, 0);
        for index in near {
            let (address, after) = span(index);
            let far = address > end + u32::from(GAP_REGISTERS_MAX * scale)
                || after.max(end) - start > u32::from(BLOCK_REGISTERS_MAX * scale);
            if block.is_empty() || far {
                if block.contains(&seed) {
                    break;
                }
                block.clear();
                (start, end) = (address, after);
            }
            block.push(index);
            end = end.max(after);
        }
        block
    }

    /// What is asked for these points of one meter.
    fn want(&self, block: &[usize]) -> Option<Want> {
        let first = &self.points[*block.first()?];
        Some(match &first.point.source {
            Source::Dlt645 { identifier, .. } => Want::Dlt645(*identifier),
            Source::Cjt188 { identifier, .. } => Want::Cjt188(*identifier),
            Source::Mbus { .. } => Want::Mbus,
            Source::Modbus { table, .. } => {
                let Address::Modbus(unit) = self.meters[first.meter].meter.address else { return None };
                let spans = || block.iter().filter_map(|index| registers(&self.points[*index].point));
                let start = spans().map(|(address, ..)| address).min()?;
                let end = spans().map(|(address, width, _)| address + width).max()?;
                let (start, count) = (u16::try_from(start).ok()?, u16::try_from(end - start).ok()?);
                Want::Modbus(Request::new(unit, *table, start, count).ok()?)
            }
        })
    }
}

impl MeterState {
    fn of(meter: &Meter, known: Option<&MeterState>, now: Duration) -> Self {
        let polled = || meter.points.iter().filter(|point| point.polled);
        let edition = polled().find_map(|point| match (&meter.address, &point.source) {
            (Address::Dlt645(_), Source::Dlt645 { identifier, .. }) => Some(identifier.edition()),
            _ => None,
        });
        let old = known.and_then(|known| known.clock.as_ref());
        let clock = edition.filter(|_| meter.watch_clock).map(|edition| Clock {
            edition,
            due: old.map_or(now, |old| old.due),
            shown: old.and_then(|old| old.shown),
        });
        Self {
            meter: meter.clone(),
            habits: known.map(|known| known.habits).unwrap_or_default(),
            failures: known.map_or(0, |known| known.failures),
            rest_until: known.map_or(Duration::ZERO, |known| known.rest_until),
            quiet_until: known.map_or(Duration::ZERO, |known| known.quiet_until),
            clock,
        }
    }

    /// When its clock may be read: a meter that does not answer is not asked for the time.
    fn clock_from(&self) -> Option<Duration> {
        self.clock.as_ref().filter(|_| self.failures == 0).map(|clock| clock.due.max(self.quiet_until))
    }

    fn clock_read(&mut self, ended: &Ended, now: Duration) {
        let Some(clock) = &mut self.clock else { return };
        clock.due = now + CLOCK_PERIOD;
        clock.shown = match ended {
            Ended::Content(Content::Clock(Some(ms))) => Some((*ms, now)),
            Ended::Content(_) => None,
            _ => clock.shown,
        };
    }

    /// What its clock shows at `now`, by what it showed when it was read.
    fn clock_ms(&self, now: Duration) -> Option<i64> {
        let (ms, at) = self.clock.as_ref()?.shown?;
        Some(ms + i64::try_from(now.saturating_sub(at).as_millis()).ok()?)
    }
}

/// Address, width and table of a Modbus point.
fn registers(point: &Point) -> Option<(u32, u32, crate::codec::modbus::Table)> {
    match &point.source {
        Source::Modbus { table, address, kind, .. } => Some(((*address).into(), kind.width().into(), *table)),
        _ => None,
    }
}

/// Whether two points of one meter may come with one answer.
fn together(one: &Point, other: &Point) -> bool {
    match (&one.source, &other.source) {
        (Source::Modbus { table: one, .. }, Source::Modbus { table: other, .. }) => one == other,
        (Source::Dlt645 { identifier: one, .. }, Source::Dlt645 { identifier: other, .. }) => one == other,
        (Source::Cjt188 { identifier: one, .. }, Source::Cjt188 { identifier: other, .. }) => one == other,
        (Source::Mbus { .. }, Source::Mbus { .. }) => true,
        _ => false,
    }
}

fn is_possible(meter: &Meter, point: &Point) -> bool {
    let fits = match &point.source {
        Source::Modbus { table, kind, .. } => table.is_bits() == (*kind == RegisterKind::Bit),
        _ => true,
    };
    fits && Want::of(&meter.address, &point.source).is_some()
}

/// The next multiple of the period after `now`: what was missed is not made up for.
fn following(due: Duration, period: Duration, now: Duration) -> Duration {
    let period = period.max(PERIOD_MIN);
    let missed = now.saturating_sub(due).as_nanos() / period.as_nanos();
    due + period.saturating_mul(u32::try_from(missed + 1).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
