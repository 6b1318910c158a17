//! Errands and polling on one line, in simulated time.

use rust_decimal::Decimal;

use super::super::schedule;
use super::*;
use crate::codec::modbus::{RegisterKind, Request, Table, crc16};
use crate::device::serial::question::Asked;
use crate::device::serial::{Address, Meter, Parity, Point, Source, Timing};
use crate::model::{SeriesKey, Value};

const LINE: Line = Line { baud: 10_000, parity: Parity::None, stop_bits: 1 };

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn timing() -> Timing {
    Timing::of(LINE, ms(20), ms(50), ms(200))
}

/// Each unit has one register that is read all the time.
fn port(units: &[u8]) -> PortSettings {
    let meter = |unit: &u8| Meter {
        device: format!("slave-{unit}").parse().expect("a device id"),
        address: Address::Modbus(*unit),
        line: LINE,
        timing: timing(),
        watch_clock: false,
        points: vec![Point {
            series: SeriesKey((*unit).into()),
            source: Source::Modbus {
                table: Table::Holding,
                address: 1,
                kind: RegisterKind::U16,
                absent: Vec::new(),
            },
            unit: String::new(),
            period: ms(100),
            polled: true,
            writable: None,
        }],
    };
    PortSettings {
        name: "roof".into(),
        path: "/dev/null".into(),
        line: LINE,
        echo: false,
        set_clocks: false,
        zone_ms: 0,
        meters: units.iter().map(meter).collect(),
    }
}

fn errand(unit: u8, address: u16) -> Exchange {
    let request = Request::new(unit, Table::Holding, address, 1).expect("a possible question");
    Exchange::single(Question { asked: Asked::Modbus(request), line: LINE, timing: timing() })
}

/// The register at address `a` of unit `u` says `u * 256 + a`.
fn answer(frame: &[u8]) -> Vec<u8> {
    let content = [frame[0], 3, 2, frame[0], frame[3]];
    [&content[..], &crc16(&content).to_le_bytes()].concat()
}

/// How an errand ended.
type Ended = (ErrandId, Result<Content, Failed>);

/// Plays `master` to the end of `until`; `delay` says when a question to a unit is answered, if it is. Gives what was
/// asked, as (unit, address), and the errands' ends.
fn play(
    master: &mut Master,
    errands: &[(u64, u8, u16)],
    until: Duration,
    delay: impl Fn(u8) -> Option<Duration>,
) -> (Vec<(u8, u8)>, Vec<Ended>) {
    let (mut now, mut asked, mut replies) = (Duration::ZERO, Vec::new(), Vec::new());
    let mut wire: Vec<(Duration, Vec<u8>)> = Vec::new();
    let mut actions = master.handle(Event::Opened, now);
    for (id, unit, address) in errands {
        actions.extend(master.handle(Event::Errand(ErrandId(*id), errand(*unit, *address)), now));
    }
    while now < until {
        for action in std::mem::take(&mut actions) {
            match action {
                Action::Send(_, line, frame) => {
                    assert_eq!(line, LINE);
                    asked.push((frame[0], frame[3]));
                    wire.extend(delay(frame[0]).map(|delay| (now + delay, answer(&frame))));
                }
                Action::Read(device, schedule::Ended::Content(_), said) => {
                    let unit = device.as_str().trim_start_matches("slave-").parse::<u64>().expect("a number");
                    let value = Value::Number(Decimal::from(unit * 256 + 1));
                    assert!(
                        said.samples.iter().all(|sample| sample.value == value),
                        "a value of another question"
                    );
                }
                Action::Reply(id, result) => replies.push((id, result)),
                _ => {}
            }
        }
        wire.sort_by_key(|(at, _)| *at);
        let arrives = wire.first().map(|(at, _)| *at);
        let next = arrives.into_iter().chain(master.wakeup()).min().unwrap_or(until);
        now = now.max(next);
        actions = if arrives == Some(next) {
            master.handle(Event::Bytes(&wire.remove(0).1), now)
        } else {
            master.handle(Event::Wakeup, now)
        };
    }
    (asked, replies)
}

fn registers(unit: u8, address: u8) -> Result<Content, Failed> {
    Ok(Content::Answer(super::super::question::Answer::Modbus(vec![unit, address])))
}

#[test]
fn errands_and_polling_take_turns() {
    let mut master = Master::new(&port(&[1, 2]), Duration::ZERO);
    let errands: Vec<(u64, u8, u16)> = (0..4).map(|id| (id, 9, id as u16 + 50)).collect();
    let (asked, replies) = play(&mut master, &errands, ms(1000), |_| Some(ms(10)));
    assert_eq!(asked[..8], [(1, 1), (9, 50), (2, 1), (9, 51), (1, 1), (9, 52), (2, 1), (9, 53)]);
    let expected: Vec<_> = (0..4).map(|id| (ErrandId(id), registers(9, id as u8 + 50))).collect();
    assert_eq!(replies, expected);
}

/// A unit that answers after its timeout is asked by both; no answer may be taken for another question's.
#[test]
fn a_late_answer_to_an_errand_meets_no_reading_and_the_other_way_round() {
    for late in [250, 390, 600, 900] {
        let mut master = Master::new(&port(&[1, 2]), Duration::ZERO);
        let errands: Vec<(u64, u8, u16)> = (0..6).map(|id| (id, 1, id as u16 + 50)).collect();
        let delay = |unit| Some(ms(if unit == 1 { late } else { 10 }));
        let (asked, replies) = play(&mut master, &errands, ms(60_000), delay);
        assert_eq!(replies.len(), 6, "{late}");
        assert!(replies.iter().all(|(_, result)| *result == Err(Failed::Timeout)), "{late}: {replies:?}");
        assert!(asked.iter().filter(|(unit, _)| *unit == 2).count() > 300, "{late}");
    }
}

#[test]
fn errands_end_when_the_port_does_and_are_refused_while_it_is_away() {
    let mut master = Master::new(&port(&[]), Duration::ZERO);
    let away = |id| Action::Reply(ErrandId(id), Err(Failed::Closed(AWAY.into())));
    assert_eq!(master.handle(Event::Errand(ErrandId(1), errand(1, 1)), ms(0)), [away(1)]);
    let opened = master.handle(Event::Opened, ms(0));
    assert_eq!((opened, master.wakeup(), master.is_idle()), (Vec::new(), None, true));
    for id in 2..4 {
        assert!(master.handle(Event::Errand(ErrandId(id), errand(1, 1)), ms(1)).is_empty());
    }
    assert!(!master.is_idle());
    let closed = master.handle(Event::Closed, ms(30));
    // The first was on its way.
    assert_eq!(closed, [away(3), Action::Reply(ErrandId(2), Err(Failed::Lost))]);
    assert!(master.is_idle());
}

/// A valve that was to be closed until a moment: whoever waited gave up then, and the question went out all the same.
#[test]
fn an_errand_that_nobody_waits_for_is_not_asked_any_more() {
    let mut master = Master::new(&port(&[]), ms(0));
    let _ = master.handle(Event::Opened, ms(0));
    let mut sent = 0;
    let mut count = |actions: Vec<Action>| {
        sent += actions.iter().filter(|action| matches!(action, Action::Send(..))).count();
    };
    for id in [1, 2, 3] {
        count(master.handle(Event::Errand(ErrandId(id), errand(1, id as u16)), ms(0)));
    }
    assert_eq!(master.forget(|ErrandId(id)| id < 3), [ErrandId(2)], "the first one is being asked");
    let mut now = ms(0);
    while let Some(at) = master.wakeup() {
        now = at.max(now);
        count(master.handle(Event::Wakeup, now));
    }
    assert_eq!(sent, 2);
}

#[test]
fn errands_that_wait_are_bounded() {
    let mut master = Master::new(&port(&[]), Duration::ZERO);
    let _ = master.handle(Event::Opened, ms(0));
    let mut taken = 0;
    while master.has_room() {
        let _ = master.handle(Event::Errand(ErrandId(taken), errand(1, 1)), ms(0));
        taken += 1;
    }
    assert_eq!(taken, ERRANDS_MAX as u64 + 1, "one is being asked");
}

/// A frame count bit that comes twice asks for the old telegram again: somebody else's reading must not leave one behind.
#[test]
fn an_errand_to_an_mbus_meter_begins_its_frame_count_anew() {
    use crate::codec::mbus;
    use crate::device::serial::exchange::{Habits, Want};
    use crate::simulate::bus::{MbusMeter, Script};
    let point = Point {
        series: SeriesKey(1),
        source: Source::Mbus { item: "volume".into() },
        unit: String::new(),
        period: ms(5000),
        polled: true,
        writable: None,
    };
    let mut settings = port(&[1]);
    settings.meters[0].address = Address::Mbus(mbus::Address::Primary(5));
    settings.meters[0].points = vec![point];
    let errand = Exchange::new(&settings.meters[0], Want::Mbus, &mut Habits::default());
    let (mut errand, mut master) = (errand, Master::new(&settings, Duration::ZERO));
    let mut script = Script::new([MbusMeter::new(5, 12_345_678, 1)], false);
    let (mut now, mut wire, mut sent) = (Duration::ZERO, Vec::new(), Vec::new());
    let mut actions = master.handle(Event::Opened, now);
    while now < ms(14_000) {
        for action in std::mem::take(&mut actions) {
            if let Action::Send(device, _, frame) = action {
                sent.push((device.is_some(), frame[1]));
                let answers = script.hear(&frame, now, None);
                wire.extend(answers.into_iter().map(|(delay, bytes)| (now + ms(20) + delay, bytes)));
            }
        }
        let due = if errand.is_some() { ms(7000) } else { Duration::MAX };
        let at = master.wakeup().unwrap_or(Duration::MAX);
        let arrives = wire.first().map_or(Duration::MAX, |(at, _): &(Duration, Vec<u8>)| *at);
        now = now.max(at.min(arrives).min(due));
        actions = if now >= due {
            let errand = errand.take().expect("it is due");
            master.handle(Event::Errand(ErrandId(1), errand), now)
        } else if now >= arrives {
            let (_, bytes) = wire.remove(0);
            master.handle(Event::Bytes(&bytes), now)
        } else {
            master.handle(Event::Wakeup, now)
        };
    }
    // Reset, then two telegrams; the second round needs no reset, the third one does, after the errand.
    let expected = [
        (true, 0x40),
        (true, 0x7B),
        (true, 0x5B),
        (true, 0x7B),
        (true, 0x5B),
        (false, 0x40),
        (false, 0x7B),
        (false, 0x5B),
    ];
    assert_eq!(sent[..8], expected);
    assert_eq!(sent[8..11], [(true, 0x40), (true, 0x7B), (true, 0x5B)]);
}
