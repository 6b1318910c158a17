//! Serial in, as a whole: schedule, bus discipline and simulated slaves in simulated time; and once on a real pty.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use smallbrain::clock::SystemClock;
use smallbrain::codec::cjt188::{self, UnitPlace};
use smallbrain::codec::dlt645::Identifier;
use smallbrain::codec::modbus::{RegisterKind, Table};
use smallbrain::device::serial::master::{Action, Event, Master};
use smallbrain::device::serial::{
    Address, Cjt188, Counters, Desk, Line, Meter, Parity, Point, PortSettings, Source, Timing, serve,
};
use smallbrain::ingest::{Delivery, Intake, Request as ForWriter};
use smallbrain::model::{SeriesKey, Value};
use smallbrain::simulate::bus::{
    Cjt188Item, Cjt188Meter, Dlt645Meter, Fault, Script, Signal, SimulatedBus, SimulatedMeter, SimulatedSlave,
};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const TIMEOUT: Duration = Duration::from_millis(200);

const LINE: Line = Line { baud: 115_200, parity: Parity::None, stop_bits: 1 };

/// Two points that cannot be merged, so that the same unit is asked two questions of the same form.
const ADDRESSES: [u16; 2] = [0, 100];

fn meter(unit: u8, period: Duration) -> Meter {
    let point = |address: u16| Point {
        series: SeriesKey(series(unit, address)),
        source: Source::Modbus {
            table: Table::Holding,
            address,
            kind: RegisterKind::U16,
            absent: Vec::new(),
        },
        unit: String::new(),
        period,
        polled: true,
        writable: None,
    };
    let ms = Duration::from_millis;
    Meter {
        device: format!("slave-{unit}").parse().expect("a device id"),
        address: Address::Modbus(unit),
        line: LINE,
        timing: Timing::of(LINE, ms(20), ms(50), TIMEOUT),
        watch_clock: false,
        points: ADDRESSES.iter().map(|address| point(*address)).collect(),
    }
}

fn port(path: &Path, units: &[u8], period: Duration) -> PortSettings {
    PortSettings {
        name: "roof".into(),
        path: path.to_string_lossy().into_owned(),
        line: LINE,
        echo: false,
        set_clocks: false,
        zone_ms: 0,
        meters: units.iter().map(|unit| meter(*unit, period)).collect(),
    }
}

fn series(unit: u8, address: u16) -> u32 {
    u32::from(unit) * 1000 + u32::from(address)
}

/// Every register says whose it is, so that a value in the wrong place is seen.
fn slave(unit: u8) -> SimulatedSlave {
    let own = |address| (address, Signal::Fixed(series(unit, address) as u16));
    let registers = ADDRESSES.into_iter().map(own).collect();
    SimulatedSlave { registers, ..SimulatedSlave::new(unit, u64::from(unit)) }
}

/// Plays the port's task without I/O; gives every sample with its time, and how many answers were late.
fn play(
    settings: &PortSettings,
    meters: impl IntoIterator<Item = impl Into<SimulatedMeter>>,
    echo: bool,
    until: Duration,
) -> (Vec<(Duration, u32, Value)>, usize) {
    let mut master = Master::new(settings, Duration::ZERO);
    let mut script = Script::new(meters, echo);
    let (mut wire, mut samples, mut late) = (Vec::<(Duration, Vec<u8>)>::new(), Vec::new(), 0);
    let mut now = Duration::ZERO;
    let mut actions = master.handle(Event::Opened, now);
    while now < until {
        for action in actions {
            match action {
                Action::Send(_, line, frame) => {
                    let answers = script.hear(&frame, now, Some(line.baud)).into_iter();
                    wire.extend(answers.map(|(delay, bytes)| (now + delay, bytes)));
                }
                Action::Read(_, _, said) => {
                    let said = said.samples.into_iter();
                    samples.extend(said.map(|sample| (now, sample.series.0, sample.value)));
                }
                Action::Late(_) => late += 1,
                Action::Reply(..) | Action::Foreign | Action::Corrupt(_) | Action::Discarded(_) => {}
            }
        }
        wire.sort_by_key(|(at, _)| *at);
        let arrives = wire.first().map(|(at, _)| *at);
        let next = arrives.into_iter().chain(master.wakeup()).min().unwrap_or(until);
        now = now.max(next);
        actions = if arrives == Some(next) {
            let (_, bytes) = wire.remove(0);
            master.handle(Event::Bytes(&bytes), now)
        } else {
            master.handle(Event::Wakeup, now)
        };
    }
    (samples, late)
}

/// Wrong values, and how many right ones a unit gave.
fn judge(samples: &[(Duration, u32, Value)]) -> (usize, impl Fn(u8) -> usize) {
    let wrong = samples.iter().filter(|(_, series, value)| *value != Value::Number((*series).into())).count();
    let whose: Vec<u32> = samples.iter().map(|(_, series, _)| series / 1000).collect();
    (wrong, move |unit| whose.iter().filter(|whose| **whose == u32::from(unit)).count())
}

#[test]
fn a_fault_of_one_slave_is_its_own_and_no_value_is_ever_somebody_elses() {
    let settings = port(Path::new("/dev/null"), &[1, 2, 3], Duration::from_secs(1));
    let minute = Duration::from_secs(60);
    // What slave 2 does at every question, and whether values come from it.
    for (fault, speaks) in [
        (Fault::Dead, false),
        (Fault::Late(TIMEOUT * 11 / 10), false),
        (Fault::Late(TIMEOUT * 19 / 10), false),
        (Fault::Late(TIMEOUT * 3), false),
        (Fault::Late(TIMEOUT * 49 / 10), false),
        (Fault::GarbageBefore(40), true),
        (Fault::GarbageAfter(40), true),
        (Fault::Corrupt, false),
        (Fault::WrongAddress, false),
        (Fault::ForeignFirst, true),
        (Fault::Short, false),
        (Fault::Babble, false),
        (Fault::Refuse(2), false),
        (Fault::Refuse(6), false),
        (Fault::Refuse(11), false),
    ] {
        for echo in [false, true] {
            let settings = PortSettings { echo, ..settings.clone() };
            let slaves = vec![slave(1), slave(2).with(fault, 1), slave(3)];
            let (samples, late) = play(&settings, slaves, echo, minute);
            let (wrong, answers) = judge(&samples);
            assert_eq!(wrong, 0, "{fault:?}");
            assert_eq!(answers(2) > 0, speaks, "{fault:?}");
            assert!(
                answers(1) > 105 && answers(3) > 105,
                "{fault:?}: {} and {} of 120",
                answers(1),
                answers(3)
            );
            let soon = matches!(fault, Fault::Late(delay) if delay < TIMEOUT * 2);
            // Noise may hide an answer until its time is over.
            assert!(late > 0 || !soon, "{fault:?}");
            assert!(late == 0 || soon || fault == Fault::Babble, "{fault:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_all_slaves_do_no_value_is_wrong(
        faults in proptest::collection::vec((0..9u8, 1..5u32, 11..49u32, any::<u8>()), 1..5),
        echo in any::<bool>(),
        configured in any::<bool>(),
    ) {
        let slaves = faults.iter().zip(1..).map(|((kind, every, tenths, count), unit)| {
            let fault = match kind {
                0 => Fault::Dead,
                1 => Fault::Late(TIMEOUT * *tenths / 10),
                2 => Fault::GarbageBefore(*count),
                3 => Fault::GarbageAfter(*count),
                4 => Fault::Corrupt,
                5 => Fault::WrongAddress,
                6 => Fault::ForeignFirst,
                7 => Fault::Short,
                _ => Fault::Babble,
            };
            slave(unit).with(fault, *every)
        });
        let units: Vec<u8> = (1..=faults.len() as u8).collect();
        let settings = PortSettings { echo: configured, ..port(Path::new("/dev/null"), &units, Duration::from_millis(300)) };
        let (samples, _) = play(&settings, slaves, echo, Duration::from_secs(60));
        let (wrong, _) = judge(&samples);
        prop_assert!(wrong == 0, "{wrong} of {}", samples.len());
    }
}

/// A protocol of the mixed bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaks {
    Dlt645,
    Cjt188,
    Modbus,
}

const ALL: [Speaks; 3] = [Speaks::Dlt645, Speaks::Cjt188, Speaks::Modbus];

/// A meter of its own line settings with one point, its double, and what the point must always say.
fn mixed(speaks: Speaks, number: u8, fault: Option<Fault>) -> (Meter, SimulatedMeter, Value) {
    let slow = Line { baud: 2400, parity: Parity::Even, stop_bits: 1 };
    let fast = Line { baud: 9600, parity: Parity::None, stop_bits: 1 };
    let ms = Duration::from_millis;
    let seed = u64::from(number);
    let (address, source, unit, line, timing, double, value) = match speaks {
        Speaks::Dlt645 => {
            let double = Dlt645Meter::new(201_000_000_000 + seed, seed).fixed().at(slow.baud);
            let double = fault.map_or(double.clone(), |fault| double.with(fault, 1));
            let address = Address::Dlt645(format!("{}", double.address).parse().expect("an address"));
            let source = Source::Dlt645 { identifier: Identifier::v2007(0x0001_0000), item: None };
            let value = double.energy(Duration::ZERO);
            (address, source, "kWh", slow, Timing::of(slow, ms(20), ms(500), ms(1000)), double.into(), value)
        }
        Speaks::Cjt188 => {
            let double = Cjt188Meter::new(0x10, 805_000_000 + seed, seed).fixed().at(slow.baud);
            let double = fault.map_or(double.clone(), |fault| double.with(fault, 1));
            let address = Address::Cjt188(Cjt188 {
                address: format!("{}", double.address).parse().expect("an address"),
                kind: 0x10,
                order: None,
                unit: UnitPlace::Behind,
                any_ser: false,
                leader: 4,
            });
            let identifier = cjt188::Identifier::READING;
            let source = Source::Cjt188 { identifier, item: "current_volume".into() };
            let value = double.value(Cjt188Item::Volume, Duration::ZERO);
            (address, source, "m3", slow, Timing::of(slow, ms(20), ms(500), ms(1000)), double.into(), value)
        }
        Speaks::Modbus => {
            let double = slave(number).at(fast.baud);
            let double = fault.map_or(double.clone(), |fault| double.with(fault, 1));
            let source = Source::Modbus {
                table: Table::Holding,
                address: 0,
                kind: RegisterKind::U16,
                absent: Vec::new(),
            };
            let value = series(number, 0).into();
            let timing = Timing::of(fast, ms(20), ms(50), ms(1000));
            (Address::Modbus(number), source, "", fast, timing, SimulatedMeter::from(double), value)
        }
    };
    let device = format!("meter-{number}").parse().expect("a device id");
    let point = Point {
        series: SeriesKey(number.into()),
        source,
        unit: unit.into(),
        period: Duration::from_secs(10),
        polled: true,
        writable: None,
    };
    let watch_clock = speaks == Speaks::Dlt645;
    (Meter { device, address, line, timing, watch_clock, points: vec![point] }, double, Value::Number(value))
}

/// An hour of one bus: three healthy meters, one of each protocol, beside a dead, a late, a noisy, an echoing and a
/// preamble-heavy one, which take turns in the protocols they speak.
#[test]
fn in_an_hour_of_a_bad_bus_no_value_is_wrong_and_the_healthy_keep_their_rate() {
    let faults = [
        Fault::Dead,
        Fault::Late(Duration::from_millis(1500)),
        Fault::GarbageBefore(60),
        Fault::Echo,
        Fault::Preamble(0xFE, 60),
    ];
    for turn in 0..3 {
        let healthy = ALL.into_iter().zip(1..).map(|(speaks, number)| mixed(speaks, number, None));
        let bad = faults.into_iter().enumerate().zip(4..);
        let bad = bad.map(|((at, fault), number)| mixed(ALL[(at + turn) % 3], number, Some(fault)));
        let all: Vec<_> = healthy.chain(bad).collect();
        let settings = PortSettings {
            meters: all.iter().map(|(meter, ..)| meter.clone()).collect(),
            ..port(Path::new("/dev/null"), &[], Duration::ZERO)
        };
        let doubles: Vec<SimulatedMeter> = all.iter().map(|(_, double, _)| double.clone()).collect();
        let (samples, late) = play(&settings, doubles, false, Duration::from_secs(3600));
        let mut counts = HashMap::new();
        for (at, series, value) in samples {
            assert_eq!(value, all[series as usize - 1].2, "turn {turn}: meter {series} at {at:?}");
            *counts.entry(series).or_insert(0) += 1;
        }
        let count = |number: u32| counts.get(&number).copied().unwrap_or(0);
        // 360 in an hour.
        for number in 1..=3 {
            assert!(count(number) >= 342, "turn {turn}: healthy meter {number} said {}", count(number));
        }
        assert_eq!((count(4), count(5)), (0, 0), "the dead and the late one say nothing");
        assert!(late > 0);
        for number in 6..=8 {
            assert!(count(number) >= 300, "turn {turn}: meter {number} said {}", count(number));
        }
    }
}

/// The writer's end: answers every delivery at once.
async fn delivery(writer: &mut mpsc::Receiver<ForWriter>) -> Delivery {
    loop {
        let request = timeout(Duration::from_secs(20), writer.recv()).await.expect("in time");
        if let ForWriter::Deliver(delivery, stored) = request.expect("the port is alive") {
            stored.send(()).expect("the port waits for its receipts");
            return delivery;
        }
    }
}

async fn heard(writer: &mut mpsc::Receiver<ForWriter>, wanted: u32) {
    loop {
        for sample in delivery(writer).await.samples {
            assert_eq!(sample.value, Value::Number(sample.series.0.into()));
            if sample.series == SeriesKey(wanted) {
                return;
            }
        }
    }
}

#[tokio::test]
async fn reading_goes_on_after_the_adapter_was_unplugged_and_the_settings_changed() {
    let directory = tempfile::tempdir().expect("a directory");
    let link = directory.path().join("adapter");
    let plug = |units: [u8; 2]| {
        SimulatedBus::start(units.map(slave).to_vec(), false, Some(link.clone())).expect("a pty")
    };
    // The line is never idle: new settings have to be taken all the same.
    let period = Duration::from_millis(10);
    let (change, settings) = watch::channel(Arc::new(port(&link, &[1], period)));
    let (intake, mut writer) = Intake::channel(8);
    let counters = Arc::new(Counters::new("roof"));
    let stop = CancellationToken::new();
    let clock = Arc::new(SystemClock::default());
    let (_desk, errands) = Desk::new();
    let task = tokio::spawn(serve(settings, intake, clock, counters.clone(), errands, stop.clone()));

    // The adapter comes after the daemon.
    tokio::task::yield_now().await;
    let bus = plug([1, 2]);
    heard(&mut writer, series(1, 100)).await;

    bus.unplug().await;
    assert!(!link.exists());
    let bus = plug([1, 2]);
    heard(&mut writer, series(1, 0)).await;
    let gone = async {
        while counters.line.reopened.get() == 0 {
            heard(&mut writer, series(1, 0)).await;
        }
    };
    timeout(Duration::from_secs(20), gone).await.expect("it is opened again");

    change.send_replace(Arc::new(port(&link, &[1, 2], period)));
    let taken = heard(&mut writer, series(2, 100));
    timeout(Duration::from_secs(20), taken).await.expect("a line that is never idle takes new settings");

    let all = counters.all();
    let value = |name: &str| all.iter().find(|(metric, _)| metric.starts_with(name)).map(|(_, value)| *value);
    assert!(value("serial_answers_total") > Some(2) && value("serial_open") == Some(1), "{all:?}");

    stop.cancel();
    timeout(Duration::from_secs(5), task).await.expect("it stops").expect("it does not panic");
    drop(bus);
}
