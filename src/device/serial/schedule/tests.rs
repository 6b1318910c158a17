//! What is asked when, in simulated time.

use super::*;
use crate::codec::modbus::{Order, Table};
use crate::device::serial::question::Asked;
use crate::device::serial::{Line, Parity, Timing};
use crate::model::{SeriesKey, Value};

const LINE: Line = Line { baud: 9600, parity: Parity::None, stop_bits: 1 };

fn point(series: u32, table: Table, address: u16, kind: RegisterKind, period: u64) -> Point {
    let source = Source::Modbus { table, address, kind, absent: Vec::new() };
    let period = Duration::from_secs(period);
    Point { series: SeriesKey(series), source, unit: String::new(), period, polled: true, writable: None }
}

fn meter(unit: u8, points: Vec<Point>) -> Meter {
    let ms = Duration::from_millis;
    Meter {
        device: format!("slave-{unit}").parse().expect("a device id"),
        address: Address::Modbus(unit),
        line: LINE,
        timing: Timing::of(LINE, ms(20), ms(50), ms(1000)),
        watch_clock: false,
        points,
    }
}

fn port(slaves: Vec<(u8, Vec<Point>)>) -> PortSettings {
    PortSettings {
        name: "roof".into(),
        path: "/dev/null".into(),
        line: LINE,
        echo: false,
        set_clocks: false,
        zone_ms: 0,
        meters: slaves.into_iter().map(|(unit, points)| meter(unit, points)).collect(),
    }
}

fn holding(addresses: &[u16]) -> Vec<Point> {
    let each = addresses.iter().zip(0..);
    each.map(|(address, series)| point(series, Table::Holding, *address, RegisterKind::U16, 10)).collect()
}

/// The Modbus question of a reading.
fn request(read: &Read) -> Request {
    match read.exchange.question().asked {
        Asked::Modbus(request) => request,
        other => panic!("{other:?} is no Modbus question"),
    }
}

/// A reading that came well.
fn registers_of(read: &Read, data: Vec<u8>) -> Ended {
    Ended::Content(Content::Registers { start: request(read).start(), data })
}

fn zeros(read: &Read) -> Ended {
    registers_of(read, vec![0; request(read).data_bytes()])
}

fn refused(sense: Sense) -> Ended {
    Ended::Refused(Refusal { code: 0, sense, text: String::new() })
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Zeros for every question, until nothing is due; gives (unit, start, count).
fn drain(schedule: &mut Schedule, now: Duration) -> Vec<(u8, u16, u16)> {
    let mut asked = Vec::new();
    while let Some(read) = schedule.next(now) {
        let request = request(&read);
        asked.push((request.unit(), request.start(), request.count()));
        schedule.done(&read, &zeros(&read), now);
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
        assert_eq!(schedule.wakeup(), Some(seconds(next)), "at {now}");
    }
}

#[test]
fn an_answer_becomes_samples_and_no_value_becomes_none() {
    let mut points = holding(&[0, 4, 2]);
    if let Source::Modbus { absent, .. } = &mut points[1].source {
        absent.push(0x7FFF);
    }
    points.push(point(9, Table::Holding, 4, RegisterKind::BitOf(0), 10));
    let mut schedule = Schedule::new(&port(vec![(1, points)]), seconds(0));
    let read = schedule.next(seconds(0)).expect("all are due");
    let answer = registers_of(&read, vec![0, 1, 9, 9, 0, 3, 9, 9, 0x7F, 0xFF]);
    let Said { mut samples, absent, unfit } = schedule.done(&read, &answer, seconds(0));
    assert_eq!((absent, unfit), (1, 0));
    samples.sort_by_key(|sample| sample.series);
    let values: Vec<_> = samples.into_iter().map(|sample| (sample.series.0, sample.value)).collect();
    let expected = [(0, Value::Number(1.into())), (2, Value::Number(3.into())), (9, Value::Flag(true))];
    assert_eq!(values, expected);
}

#[test]
fn a_block_with_a_hole_is_read_one_by_one_from_then_on() {
    let mut schedule = Schedule::new(&port(vec![(1, holding(&[0, 4]))]), seconds(0));
    let block = schedule.next(seconds(0)).expect("all are due");
    schedule.done(&block, &refused(Sense::Part), seconds(0));
    assert_eq!(schedule.misconfigured(), 0);
    for now in [0, 10, 20] {
        assert_eq!(drain(&mut schedule, seconds(now)), [(1, 0, 1), (1, 4, 1)], "at {now}");
    }
}

#[test]
fn a_refusal_decides_when_the_point_is_asked_again() {
    for (sense, again, misconfigured) in
        [(Sense::Lasting, 600, 1), (Sense::Part, 600, 1), (Sense::Passing, 10, 0), (Sense::Silent, 4, 0)]
    {
        let mut schedule = Schedule::new(&port(vec![(1, holding(&[7]))]), seconds(0));
        let read = schedule.next(seconds(0)).expect("it is due");
        assert_eq!(schedule.done(&read, &refused(sense), seconds(0)), Said::default());
        assert_eq!(schedule.wakeup(), Some(seconds(again)), "{sense:?}");
        assert_eq!(schedule.misconfigured(), misconfigured, "{sense:?}");
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
        let read = schedule.next(now).expect("a probe is due");
        now += seconds(1);
        schedule.done(&read, &Ended::Timeout, now);
        let until = schedule.wakeup().expect("it rests");
        assert_eq!(schedule.next(until - Duration::from_nanos(1)), None);
        rests.push((until - now).as_secs());
        now = until;
    }
    assert_eq!(rests, [4, 8, 19, 32, 64, 128, 256, 300, 300]);
    assert_eq!(drain(&mut schedule, now).len(), 1);
    assert_eq!(schedule.wakeup(), Some(following(seconds(0), seconds(10), now)));
}

/// Of six slaves five are dead; a dead one costs two seconds a question.
#[test]
fn the_others_keep_their_rate() {
    let every_second = |unit: u8| (unit, vec![point(unit.into(), Table::Holding, 0, RegisterKind::U16, 1)]);
    let mut schedule = Schedule::new(&port((1..=6).map(every_second).collect()), seconds(0));
    let (mut now, mut answers, mut probes) = (seconds(0), 0, [0; 7]);
    let hour = seconds(3600);
    while now < hour {
        match schedule.next(now) {
            Some(read) if request(&read).unit() == 1 => {
                now += Duration::from_millis(50);
                answers += 1;
                schedule.done(&read, &zeros(&read), now);
            }
            Some(read) => {
                probes[usize::from(request(&read).unit())] += 1;
                now += seconds(1);
                schedule.done(&read, &Ended::Timeout, now);
                now += seconds(1);
            }
            None => now = schedule.wakeup().expect("there is always something to come"),
        }
    }
    assert!(answers > 3600 * 9 / 10, "{answers}");
    assert!(probes[2..].iter().all(|count| (10..40).contains(count)), "{probes:?}");
}

#[test]
fn new_settings_keep_what_is_known() {
    let mut settings = port(vec![(1, holding(&[0])), (2, holding(&[0]))]);
    let mut schedule = Schedule::new(&settings, seconds(0));
    let read = schedule.next(seconds(0)).expect("two are due");
    schedule.done(&read, &Ended::Timeout, seconds(0));
    let read = schedule.next(seconds(0)).expect("one is due");
    schedule.done(&read, &zeros(&read), seconds(0));
    settings.meters.insert(0, meter(9, holding(&[0])));
    schedule.rebuild(&settings, seconds(1));
    assert_eq!(drain(&mut schedule, seconds(1)), [(9, 0, 1)], "1 rests and 2 has been read");
    assert_eq!(drain(&mut schedule, seconds(4)), [(1, 0, 1)]);
    settings.meters.clear();
    schedule.rebuild(&settings, seconds(5));
    assert_eq!((schedule.next(seconds(5)), schedule.wakeup()), (None, None));
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
    assert_eq!(budget, Budget { busy_permille: 28, sweep: one * 2, questions: 2 });
    settings.meters[0].points[1].period = seconds(1);
    assert!(Schedule::new(&settings, seconds(0)).budget().busy_permille > 140);
}

fn electricity(identifiers: &[(u32, Option<&str>)]) -> Vec<Point> {
    let each = identifiers.iter().zip(0..);
    each.map(|((number, item), series)| {
        let identifier = crate::codec::dlt645::Identifier::v2007(*number);
        let source = Source::Dlt645 { identifier, item: item.map(str::to_owned) };
        let period = seconds(60);
        Point { series: SeriesKey(series), source, unit: "V".into(), period, polled: true, writable: None }
    })
    .collect()
}

fn electricity_port(watch_clock: bool, points: Vec<Point>) -> PortSettings {
    let address = Address::Dlt645("201000000012".parse().expect("an address"));
    let mut settings = port(vec![(1, points)]);
    settings.meters[0] = Meter { address, watch_clock, ..settings.meters[0].clone() };
    settings
}

#[test]
fn items_of_one_identifier_come_with_one_question() {
    let points = electricity(&[
        (0x0201_FF00, Some("voltage_a")),
        (0x0001_0000, None),
        (0x0201_FF00, Some("voltage_b")),
        (0x0201_FF00, Some("voltage_x")),
    ]);
    let mut schedule = Schedule::new(&electricity_port(false, points), seconds(0));
    assert_eq!(schedule.budget().questions, 2);
    let read = schedule.next(seconds(0)).expect("all are due");
    let item = |name: &'static str, value: Option<i64>| crate::codec::Item {
        name: name.into(),
        value: value.map(|value| Value::Number(value.into())),
        unit: "V",
    };
    let items = vec![item("voltage_a", Some(220)), item("voltage_b", None)];
    let content = Ended::Content(Content::Items { items, clock_ms: None });
    let said = schedule.done(&read, &content, seconds(0));
    let values: Vec<_> = said.samples.into_iter().map(|sample| (sample.series.0, sample.value)).collect();
    assert_eq!(values, [(0, Value::Number(220.into()))]);
    assert_eq!((said.absent, said.unfit, schedule.misconfigured()), (1, 1, 1));
}

#[test]
fn a_meters_clock_is_read_when_nothing_is_due_and_told_with_every_sample() {
    let settings = electricity_port(true, electricity(&[(0x0001_0000, None)]));
    let settings = PortSettings { zone_ms: 8 * 3_600_000, ..settings };
    let mut schedule = Schedule::new(&settings, seconds(0));
    let content = |clock_ms| {
        let value = Some(Value::Number(1.into()));
        let items = vec![crate::codec::Item { name: "energy".into(), value, unit: "V" }];
        Ended::Content(Content::Items { items, clock_ms })
    };
    let reading = schedule.next(seconds(0)).expect("the point is due");
    let said = schedule.done(&reading, &content(None), seconds(0));
    assert_eq!(said.samples[0].clock_ms, None);
    let clock = schedule.next(seconds(1)).expect("the clock is due");
    schedule.done(&clock, &Ended::Content(Content::Clock(Some(1_790_000_000_000))), seconds(2));
    assert_eq!(schedule.next(seconds(2)), None);
    let reading = schedule.next(seconds(62)).expect("the point is due");
    let said = schedule.done(&reading, &content(None), seconds(62));
    assert_eq!(said.samples[0].clock_ms, Some(1_790_000_000_000 + 60_000 - 8 * 3_600_000));
    // What comes with the answer itself counts more.
    let reading = schedule.next(seconds(120)).expect("the point is due");
    let said = schedule.done(&reading, &content(Some(1_800_000_000_000)), seconds(120));
    assert_eq!(said.samples[0].clock_ms, Some(1_800_000_000_000 - 8 * 3_600_000));
    let clock_again = CLOCK_PERIOD + seconds(2);
    assert!(schedule.next(clock_again).is_some_and(|read| !read.points.is_empty()), "points go first");
}

#[test]
fn a_clock_that_is_refused_stops_nothing() {
    let settings = electricity_port(true, electricity(&[(0x0001_0000, None)]));
    let mut schedule = Schedule::new(&settings, seconds(0));
    let reading = schedule.next(seconds(0)).expect("the point is due");
    schedule.done(&reading, &Ended::Unusable("short".into()), seconds(0));
    let clock = schedule.next(seconds(1)).expect("the clock is due");
    schedule.done(&clock, &refused(Sense::Lasting), seconds(1));
    assert_eq!((schedule.wakeup(), schedule.misconfigured()), (Some(seconds(60)), 0));
}
