//! What is asked on a port, and when.
//!
//! The point that is longest overdue goes first and takes its due neighbours along. A slave that does not answer is left
//! alone for at least [`REST_TIMEOUTS`] response timeouts, so that its late answer cannot meet another question to it, then
//! for twice as long each time, up to [`REST_MAX`]; all slaves that have been silent [`DEAD_AFTER`] times share a tenth of
//! the line, so the others keep their rate. Every point of a talking slave is asked in the end, however busy the line is.
//! It has no clock and does no I/O.

use std::time::Duration;

use super::bus::{Outcome, Timing};
use super::{Point, PortSettings};
use crate::codec::modbus::{RegisterKind, Request};
use crate::model::Sample;

/// Registers between two points that are read along rather than asked about apart; in bits sixteen times as many.
pub const GAP_REGISTERS_MAX: u16 = 8;

/// Registers of one question: cheap slaves have small buffers. In bits sixteen times as many.
pub const BLOCK_REGISTERS_MAX: u16 = 60;

/// Rest after the first timeout of a slave, in response timeouts.
pub const REST_TIMEOUTS: u32 = 4;

/// Timeouts in a row after which a slave counts as dead.
pub const DEAD_AFTER: u32 = 3;

/// The longest rest of a silent slave.
pub const REST_MAX: Duration = Duration::from_secs(300);

/// How long a point that the slave refuses for good (exceptions 1 to 3) is not asked for.
pub const MISCONFIGURED_PAUSE: Duration = Duration::from_secs(600);

/// How long a busy slave (any other exception) is given, unless the point's period is shorter.
pub const BUSY_PAUSE: Duration = Duration::from_secs(10);

/// Of the time a question to a dead slave has cost, how many times as long no dead one is asked.
const PROBE_SPACING: u32 = 9;

/// What a slave takes to think, for the budget.
const THINKING: Duration = Duration::from_millis(100);

/// A period below this is taken for this.
const PERIOD_MIN: Duration = Duration::from_millis(10);

/// One question with what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The question.
    pub request: Request,
    /// Indices into `points`.
    points: Vec<usize>,
    asked: Duration,
}

impl Read {
    /// How many points it is for.
    #[must_use]
    pub fn points(&self) -> usize {
        self.points.len()
    }
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Ask this; [`Schedule::done`] takes the end of it before the next call.
    Ask(Read),
    /// Nothing before this time.
    Wait(Duration),
    /// Nothing at all.
    Never,
}

/// What the points of a port cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Share of time the line is busy when all slaves answer, in thousandths; above 1000 the periods cannot be kept.
    pub busy_permille: u64,
    /// How long one round over all points takes.
    pub sweep: Duration,
}

struct SlaveState {
    unit: u8,
    /// Timeouts since the last answer.
    failures: u32,
    rest_until: Duration,
}

struct PointState {
    point: Point,
    slave: usize,
    due: Duration,
    /// The slave refused it together with neighbours.
    alone: bool,
    misconfigured: bool,
}

/// The schedule of one port. Times are of one monotonic clock.
pub struct Schedule {
    timing: Timing,
    slaves: Vec<SlaveState>,
    points: Vec<PointState>,
    /// Points that no question can reach.
    impossible: usize,
    /// Before it, no dead slave is asked.
    probe_from: Duration,
}

impl Schedule {
    /// All points are due at `now`.
    #[must_use]
    pub fn new(settings: &PortSettings, now: Duration) -> Self {
        let mut schedule = Self {
            timing: Timing::of(settings),
            slaves: Vec::new(),
            points: Vec::new(),
            impossible: 0,
            probe_from: Duration::ZERO,
        };
        schedule.rebuild(settings, now);
        schedule
    }

    /// Takes new settings between two questions; slaves and points that stay keep what is known about them.
    pub fn rebuild(&mut self, settings: &PortSettings, now: Duration) {
        self.timing = Timing::of(settings);
        self.impossible = 0;
        let old_slaves = std::mem::take(&mut self.slaves);
        let mut old_points = std::mem::take(&mut self.points);
        for (index, slave) in settings.slaves.iter().enumerate() {
            let known = old_slaves.iter().position(|old| old.unit == slave.unit);
            let (failures, rest_until) = known.map_or((0, Duration::ZERO), |known| {
                (old_slaves[known].failures, old_slaves[known].rest_until)
            });
            self.slaves.push(SlaveState { unit: slave.unit, failures, rest_until });
            for point in &slave.points {
                let fits = Request::new(slave.unit, point.table, point.address, point.kind.width()).is_ok();
                if !fits || point.table.is_bits() != (point.kind == RegisterKind::Bit) {
                    self.impossible += 1;
                    continue;
                }
                let kept = old_points.iter().position(|old| Some(old.slave) == known && old.point == *point);
                self.points.push(match kept {
                    Some(kept) => PointState { slave: index, ..old_points.swap_remove(kept) },
                    None => PointState {
                        point: point.clone(),
                        slave: index,
                        due: now,
                        alone: false,
                        misconfigured: false,
                    },
                });
            }
        }
    }

    /// What to ask at the time `now`.
    #[must_use]
    pub fn next(&self, now: Duration) -> Next {
        let from = |state: &PointState| {
            let slave = &self.slaves[state.slave];
            match slave.failures {
                0 => state.due,
                1..DEAD_AFTER => state.due.max(slave.rest_until),
                _ => state.due.max(slave.rest_until).max(self.probe_from),
            }
        };
        let seed = (0..self.points.len())
            .filter(|index| from(&self.points[*index]) <= now)
            .min_by_key(|index| self.points[*index].due);
        match seed {
            Some(seed) => self.question(seed, now).map_or(Next::Never, Next::Ask),
            None => self.points.iter().map(from).min().map_or(Next::Never, Next::Wait),
        }
    }

    /// Takes the end of a question at the time `now`; gives what it says.
    pub fn done(&mut self, read: &Read, outcome: &Outcome, now: Duration) -> Vec<Sample> {
        let Some(slave) = read.points.first().map(|first| self.points[*first].slave) else {
            return Vec::new();
        };
        match outcome {
            Outcome::Abandoned => return Vec::new(),
            // A gateway that got no answer from its target.
            Outcome::Timeout | Outcome::Refused(0x0A | 0x0B) => {
                self.rest(slave, read.asked, now);
                return Vec::new();
            }
            Outcome::Answer(_) | Outcome::Refused(_) => self.slaves[slave].failures = 0,
        }
        let together = read.points.len() > 1;
        let mut samples = Vec::new();
        for index in &read.points {
            let state = &mut self.points[*index];
            state.misconfigured = false;
            match outcome {
                Outcome::Answer(data) => {
                    samples.extend(sample(&state.point, read.request.start(), data));
                    state.due = following(state.due, state.point.period, now);
                }
                // Perhaps only a register between them is missing: each once more, alone, from now on.
                Outcome::Refused(2 | 3) if together => state.alone = true,
                Outcome::Refused(1..=3) => {
                    state.misconfigured = true;
                    state.due = now + MISCONFIGURED_PAUSE;
                }
                _ => state.due = now + state.point.period.clamp(PERIOD_MIN, BUSY_PAUSE),
            }
        }
        samples
    }

    /// How many points their slave refuses for good, or no question can reach.
    #[must_use]
    pub fn misconfigured(&self) -> usize {
        self.impossible + self.points.iter().filter(|state| state.misconfigured).count()
    }

    /// What the points cost when all slaves answer.
    #[must_use]
    pub fn budget(&self) -> Budget {
        let (mut busy_permille, mut sweep) = (0, Duration::ZERO);
        let mut open: Vec<usize> = (0..self.points.len()).collect();
        while let Some(seed) = open.first().copied() {
            let period = self.points[seed].point.period.max(PERIOD_MIN);
            let same = |index: &usize| self.points[*index].point.period.max(PERIOD_MIN) == period;
            let block = self.block(seed, &open.iter().copied().filter(same).collect::<Vec<_>>());
            open.retain(|index| !block.contains(index));
            let Some(request) = self.request(&block) else { continue };
            let wire = self.timing.wire(request.encode().len() + request.answer_bytes());
            let cost = self.timing.silence + wire + THINKING;
            busy_permille += u64::try_from(cost.as_micros() * 1000 / period.as_micros()).unwrap_or(u64::MAX);
            sweep += cost;
        }
        Budget { busy_permille, sweep }
    }

    fn rest(&mut self, slave: usize, asked: Duration, now: Duration) {
        let slave = &mut self.slaves[slave];
        let floor = self.timing.response_timeout * REST_TIMEOUTS;
        let rest = floor.saturating_mul(1 << slave.failures.min(16)).min(REST_MAX).max(floor);
        slave.failures = slave.failures.saturating_add(1);
        slave.rest_until = now + rest;
        if slave.failures >= DEAD_AFTER {
            // The bus listens for one more timeout.
            let spent = now.saturating_sub(asked) + self.timing.response_timeout;
            self.probe_from = now + self.timing.response_timeout + spent * PROBE_SPACING;
        }
    }

    fn question(&self, seed: usize, now: Duration) -> Option<Read> {
        let due: Vec<usize> = (0..self.points.len()).filter(|index| self.points[*index].due <= now).collect();
        let points = self.block(seed, &due);
        Some(Read { request: self.request(&points)?, points, asked: now })
    }

    /// The points of `candidates` that are read together with `seed`, by address.
    fn block(&self, seed: usize, candidates: &[usize]) -> Vec<usize> {
        let wanted = &self.points[seed];
        if wanted.alone {
            return vec![seed];
        }
        let scale = if wanted.point.table.is_bits() { 16 } else { 1 };
        let mut near: Vec<usize> = candidates
            .iter()
            .copied()
            .filter(|index| {
                let state = &self.points[*index];
                state.slave == wanted.slave && state.point.table == wanted.point.table && !state.alone
            })
            .collect();
        near.sort_by_key(|index| (self.points[*index].point.address, *index));
        let (mut block, mut start, mut end) = (Vec::new(), 0, 0);
        for index in near {
            let address = u32::from(self.points[index].point.address);
            let after = address + u32::from(self.points[index].point.kind.width());
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

    fn request(&self, block: &[usize]) -> Option<Request> {
        let points = || block.iter().map(|index| &self.points[*index].point);
        let start = points().map(|point| point.address).min()?;
        let end = points().map(|point| u32::from(point.address) + u32::from(point.kind.width())).max()?;
        let count = u16::try_from(end - u32::from(start)).ok()?;
        let unit = self.slaves[self.points[*block.first()?].slave].unit;
        let table = points().next()?.table;
        Request::new(unit, table, start, count).ok()
    }
}

/// The next multiple of the period after `now`: what was missed is not made up for.
fn following(due: Duration, period: Duration, now: Duration) -> Duration {
    let period = period.max(PERIOD_MIN);
    let missed = now.saturating_sub(due).as_nanos() / period.as_nanos();
    due + period.saturating_mul(u32::try_from(missed + 1).unwrap_or(u32::MAX))
}

fn sample(point: &Point, start: u16, data: &[u8]) -> Option<Sample> {
    let value = point.kind.read(data, usize::from(point.address - start), &point.absent)?;
    Some(Sample { series: point.series, value, device_ms: None, clock_ms: None, retained: false })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::modbus::{Order, Table};
    use crate::device::serial::{Parity, Slave};
    use crate::model::{SeriesKey, Value};

    fn point(series: u32, table: Table, address: u16, kind: RegisterKind, period: u64) -> Point {
        let period = Duration::from_secs(period);
        Point { series: SeriesKey(series), table, address, kind, absent: Vec::new(), period }
    }

    fn port(slaves: Vec<(u8, Vec<Point>)>) -> PortSettings {
        let slaves = slaves.into_iter().map(|(unit, points)| Slave {
            device: format!("slave-{unit}").parse().expect("a device id"),
            unit,
            points,
        });
        PortSettings {
            name: "roof".into(),
            path: "/dev/null".into(),
            baud: 9600,
            parity: Parity::None,
            stop_bits: 1,
            response_timeout: Duration::from_secs(1),
            silence: Duration::from_millis(20),
            echo: false,
            slaves: slaves.collect(),
        }
    }

    fn holding(addresses: &[u16]) -> Vec<Point> {
        let each = addresses.iter().zip(0..);
        each.map(|(address, series)| point(series, Table::Holding, *address, RegisterKind::U16, 10)).collect()
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Zeros for every question, until nothing is due; gives (unit, start, count).
    fn drain(schedule: &mut Schedule, now: Duration) -> Vec<(u8, u16, u16)> {
        let mut asked = Vec::new();
        while let Next::Ask(read) = schedule.next(now) {
            let request = read.request;
            asked.push((request.unit(), request.start(), request.count()));
            schedule.done(&read, &Outcome::Answer(vec![0; request.data_bytes()]), now);
        }
        asked
    }

    #[test]
    fn neighbours_are_read_together() {
        use RegisterKind::{Bit, F32, U16};
        let bit = |address| point(0, Table::Coil, address, Bit, 10);
        let wide = point(0, Table::Holding, 3, F32(Order::Abcd), 10);
        let input = point(0, Table::Input, 1, U16, 10);
        let rare = point(0, Table::Holding, 1, U16, 60);
        type Asked = &'static [(u8, u16, u16)];
        let cases: Vec<(Vec<Point>, Asked)> = vec![
            (holding(&[5]), &[(1, 5, 1)]),
            (holding(&[0, 9]), &[(1, 0, 10)]),
            (holding(&[0, 10]), &[(1, 0, 1), (1, 10, 1)]),
            (holding(&[20, 0, 10]), &[(1, 20, 1), (1, 0, 1), (1, 10, 1)]),
            (holding(&[0, 8, 16, 24, 32, 40, 48, 56, 59]), &[(1, 0, 60)]),
            (holding(&[0, 8, 16, 24, 32, 40, 48, 56, 60]), &[(1, 0, 57), (1, 60, 1)]),
            (vec![wide.clone(), input, rare], &[(1, 1, 4), (1, 1, 1)]),
            (vec![bit(0), bit(128), bit(300)], &[(1, 0, 129), (1, 300, 1)]),
            (vec![wide.clone(), wide], &[(1, 3, 2)]),
        ];
        for (points, expected) in cases {
            let mut schedule = Schedule::new(&port(vec![(1, points.clone())]), seconds(0));
            assert_eq!(drain(&mut schedule, seconds(0)), expected, "{points:?}");
        }
    }

    #[test]
    fn each_point_keeps_its_period_and_its_phase() {
        let points = vec![
            point(0, Table::Holding, 0, RegisterKind::U16, 10),
            point(1, Table::Holding, 1, RegisterKind::U16, 30),
        ];
        let mut schedule = Schedule::new(&port(vec![(1, points)]), seconds(0));
        assert_eq!(drain(&mut schedule, seconds(0)), [(1, 0, 2)]);
        for (now, asked, next) in [(9, 0, 10), (10, 1, 20), (29, 1, 30), (30, 1, 40), (75, 1, 80)] {
            assert_eq!(drain(&mut schedule, seconds(now)).len(), asked, "at {now}");
            assert_eq!(schedule.next(seconds(now)), Next::Wait(seconds(next)), "at {now}");
        }
    }

    #[test]
    fn an_answer_becomes_samples_and_no_value_becomes_none() {
        let mut points = holding(&[0, 4, 2]);
        points[1].absent = vec![0x7FFF];
        points.push(point(9, Table::Holding, 4, RegisterKind::BitOf(0), 10));
        let mut schedule = Schedule::new(&port(vec![(1, points)]), seconds(0));
        let Next::Ask(read) = schedule.next(seconds(0)) else { panic!("all are due") };
        assert_eq!(read.points(), 4);
        let answer = Outcome::Answer(vec![0, 1, 9, 9, 0, 3, 9, 9, 0x7F, 0xFF]);
        let mut samples = schedule.done(&read, &answer, seconds(0));
        samples.sort_by_key(|sample| sample.series);
        let values: Vec<_> = samples.into_iter().map(|sample| (sample.series.0, sample.value)).collect();
        let expected = [(0, Value::Number(1.into())), (2, Value::Number(3.into())), (9, Value::Flag(true))];
        assert_eq!(values, expected);
    }

    #[test]
    fn a_block_with_a_hole_is_read_one_by_one_from_then_on() {
        let mut schedule = Schedule::new(&port(vec![(1, holding(&[0, 4]))]), seconds(0));
        let Next::Ask(block) = schedule.next(seconds(0)) else { panic!("all are due") };
        schedule.done(&block, &Outcome::Refused(2), seconds(0));
        assert_eq!(schedule.misconfigured(), 0);
        for now in [0, 10, 20] {
            assert_eq!(drain(&mut schedule, seconds(now)), [(1, 0, 1), (1, 4, 1)], "at {now}");
        }
    }

    #[test]
    fn a_refusal_decides_when_the_point_is_asked_again() {
        for (code, again, misconfigured) in [
            (1, 600, 1),
            (2, 600, 1),
            (3, 600, 1),
            (4, 10, 0),
            (5, 10, 0),
            (6, 10, 0),
            (8, 10, 0),
            (11, 4, 0),
        ] {
            let mut schedule = Schedule::new(&port(vec![(1, holding(&[7]))]), seconds(0));
            let Next::Ask(read) = schedule.next(seconds(0)) else { panic!("it is due") };
            assert!(schedule.done(&read, &Outcome::Refused(code), seconds(0)).is_empty());
            assert_eq!(schedule.next(seconds(0)), Next::Wait(seconds(again)), "exception {code}");
            assert_eq!(schedule.misconfigured(), misconfigured, "exception {code}");
            assert_eq!(drain(&mut schedule, seconds(again)).len(), 1);
            assert_eq!(schedule.misconfigured(), 0, "an answer clears it");
        }
    }

    #[test]
    fn a_silent_slave_rests_longer_and_longer_and_an_answer_wakes_it() {
        let mut schedule = Schedule::new(&port(vec![(1, holding(&[0]))]), seconds(0));
        let mut now = seconds(0);
        let mut rests = Vec::new();
        for _ in 0..9 {
            let Next::Ask(read) = schedule.next(now) else { panic!("a probe is due at {now:?}") };
            now += seconds(1);
            schedule.done(&read, &Outcome::Timeout, now);
            let Next::Wait(until) = schedule.next(now) else { panic!("it rests") };
            rests.push((until - now).as_secs());
            now = until;
        }
        assert_eq!(rests, [4, 8, 19, 32, 64, 128, 256, 300, 300]);
        assert_eq!(drain(&mut schedule, now).len(), 1);
        assert_eq!(schedule.next(now), Next::Wait(following(seconds(0), seconds(10), now)));
    }

    /// Of six slaves five are dead; a dead one costs two seconds a question.
    #[test]
    fn the_others_keep_their_rate() {
        let every_second =
            |unit: u8| (unit, vec![point(unit.into(), Table::Holding, 0, RegisterKind::U16, 1)]);
        let mut schedule = Schedule::new(&port((1..=6).map(every_second).collect()), seconds(0));
        let (mut now, mut answers, mut probes) = (seconds(0), 0, [0; 7]);
        let hour = seconds(3600);
        while now < hour {
            match schedule.next(now) {
                Next::Ask(read) if read.request.unit() == 1 => {
                    now += Duration::from_millis(50);
                    answers += 1;
                    schedule.done(&read, &Outcome::Answer(vec![0, 0]), now);
                }
                Next::Ask(read) => {
                    probes[usize::from(read.request.unit())] += 1;
                    now += seconds(1);
                    schedule.done(&read, &Outcome::Timeout, now);
                    now += seconds(1);
                }
                Next::Wait(until) => now = until,
                Next::Never => panic!("there is always something to come"),
            }
        }
        assert!(answers > 3600 * 9 / 10, "{answers}");
        assert!(probes[2..].iter().all(|count| (10..40).contains(count)), "{probes:?}");
    }

    #[test]
    fn new_settings_keep_what_is_known() {
        let mut settings = port(vec![(1, holding(&[0])), (2, holding(&[0]))]);
        let mut schedule = Schedule::new(&settings, seconds(0));
        for outcome in [Outcome::Timeout, Outcome::Answer(vec![0, 0])] {
            let Next::Ask(read) = schedule.next(seconds(0)) else { panic!("two are due") };
            schedule.done(&read, &outcome, seconds(0));
        }
        settings.slaves.insert(0, Slave { unit: 9, ..settings.slaves[0].clone() });
        schedule.rebuild(&settings, seconds(1));
        assert_eq!(drain(&mut schedule, seconds(1)), [(9, 0, 1)], "1 rests and 2 has been read");
        assert_eq!(drain(&mut schedule, seconds(4)), [(1, 0, 1)]);
        settings.slaves.clear();
        schedule.rebuild(&settings, seconds(5));
        assert_eq!(schedule.next(seconds(5)), Next::Never);
    }

    #[test]
    fn a_point_that_no_question_reaches_is_counted_and_stops_nothing() {
        let mut points = holding(&[1]);
        points.push(point(1, Table::Holding, 65_535, RegisterKind::U32(Order::Abcd), 10));
        points.push(point(2, Table::Coil, 0, RegisterKind::U16, 10));
        points.push(point(3, Table::Input, 0, RegisterKind::Bit, 10));
        let mut schedule = Schedule::new(&port(vec![(1, points), (0, holding(&[0]))]), seconds(0));
        assert_eq!(schedule.misconfigured(), 4);
        assert_eq!(drain(&mut schedule, seconds(0)), [(1, 1, 1)]);
    }

    #[test]
    fn the_budget_is_the_time_on_the_wire() {
        // 8 + 15 characters of 10 bits at 9600 baud, 20 ms of silence, 100 ms of thought; every 10 s.
        let mut settings = port(vec![(1, holding(&[0, 4])), (2, holding(&[0, 4]))]);
        let one = Duration::from_secs(1) * 10 / 9600 * 23 + Duration::from_millis(120);
        let budget = Schedule::new(&settings, seconds(0)).budget();
        assert_eq!(budget, Budget { busy_permille: 28, sweep: one * 2 });
        settings.slaves[0].points[1].period = seconds(1);
        assert!(Schedule::new(&settings, seconds(0)).budget().busy_permille > 140);
    }
}
