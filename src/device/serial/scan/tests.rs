//! Searches among simulated meters, in simulated time, through the port's own master.

use std::time::Duration;

use super::*;
use crate::device::serial::PortSettings;
use crate::device::serial::master::{Action, ErrandId, Event, Master};
use crate::model::Value;
use crate::simulate::bus::{
    Cjt188Meter, Dlt645Meter, Fault, MbusMeter, Order, Script, SimulatedMeter, SimulatedSlave,
};

fn search(protocol: Protocol) -> Search {
    Search { protocol, line: protocol.line(), response_timeout: None, units: 1..=250 }
}

/// What was found, what was noted, how long it took, and every frame sent.
struct Played {
    found: Vec<Found>,
    notes: Vec<String>,
    took: Duration,
    sent: Vec<Vec<u8>>,
}

impl Played {
    fn addresses(&self) -> Vec<String> {
        let name = |found: &Found| format!("{} {}", found.address.protocol(), found.address);
        self.found.iter().map(name).collect()
    }
}

fn play(searches: impl IntoIterator<Item = Search>, meters: Vec<SimulatedMeter>) -> Played {
    play_noisy(searches, meters, &[])
}

/// With `noise` behind whatever is sent.
fn play_noisy(
    searches: impl IntoIterator<Item = Search>,
    meters: Vec<SimulatedMeter>,
    noise: &[u8],
) -> Played {
    let settings = PortSettings {
        name: "roof".into(),
        path: "/dev/null".into(),
        line: Protocol::Modbus.line(),
        echo: false,
        set_clocks: false,
        zone_ms: 0,
        meters: Vec::new(),
    };
    let (mut master, mut script) = (Master::new(&settings, Duration::ZERO), Script::new(meters, false));
    let mut scan = Scan::new(searches);
    let (mut found, mut sent, mut now) = (Vec::new(), Vec::new(), Duration::ZERO);
    assert!(master.handle(Event::Opened, now).is_empty());
    while let Some(exchange) = scan.ask() {
        let mut wire: Vec<(Duration, Vec<u8>)> = Vec::new();
        let mut actions = master.handle(Event::Errand(ErrandId(1), exchange), now);
        let result = 'errand: loop {
            for action in actions {
                match action {
                    Action::Send(_, line, frame) => {
                        let end = now + line.wire(frame.len());
                        for (delay, bytes) in script.hear(&frame, now, Some(line.baud)) {
                            let arrives = end + delay + line.wire(bytes.len());
                            wire.push((arrives, bytes));
                        }
                        wire.extend((!noise.is_empty()).then(|| (end, noise.to_vec())));
                        sent.push(frame);
                    }
                    Action::Reply(_, result) => break 'errand result,
                    _ => {}
                }
            }
            wire.sort_by_key(|(at, _)| *at);
            let wakeup = master.wakeup().expect("a question ends");
            actions = match wire.first() {
                Some((at, _)) if *at <= wakeup => {
                    let (at, bytes) = wire.remove(0);
                    now = now.max(at);
                    master.handle(Event::Bytes(&bytes), now)
                }
                _ => {
                    now = now.max(wakeup);
                    master.handle(Event::Wakeup, now)
                }
            };
        };
        found.extend(scan.heard(result).expect("the port is open"));
    }
    assert_eq!(scan.progress(), None);
    assert_eq!(script.writes_seen(), 0, "a search only reads");
    Played { found, notes: scan.notes().to_vec(), took: now, sent }
}

fn number(found: &Found, item: &str) -> String {
    let item = found.items.iter().find(|known| known.name == item);
    match item.and_then(|item| item.value.as_ref()) {
        Some(Value::Number(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

#[test]
fn one_meter_of_each_protocol_is_found_with_what_it_says() {
    let meters = vec![
        Dlt645Meter::new(201_000_000_012, 1).fixed().into(),
        Cjt188Meter::new(0x10, 20_241_234_567_890, 2).fixed().into(),
        SimulatedSlave::new(7, 3).into(),
        MbusMeter::new(5, 12_345_678, 4).fixed().into(),
    ];
    let played = play(Protocol::ALL.map(search), meters);
    assert_eq!(played.addresses(), ["dlt645 201000000012", "cjt188 20241234567890", "modbus 7", "mbus 5"]);
    let [electricity, water, slave, heat] = &played.found[..] else { panic!("four") };
    assert_eq!(electricity.fact("edition"), Some("2007"));
    assert_ne!(number(electricity, "forward_active_energy_total"), "None");
    assert_eq!(
        (water.fact("meter_type"), water.fact("identifier_order")),
        (Some("cold-water"), Some("901f"))
    );
    assert_ne!(number(water, "current_volume"), "None");
    assert_eq!(slave.fact("register_0"), Some("answers"));
    assert_eq!((heat.fact("identification"), heat.fact("manufacturer")), (Some("12345678"), Some("SBM")));
    assert_ne!(number(heat, "volume"), "None");
    let guessed = played.found.iter().map(|found| found.toml("bus-1").contains("# A guess: "));
    assert_eq!(guessed.collect::<Vec<_>>(), [true, false, true, true], "a water meter says that it is one");
    assert!(played.notes.is_empty(), "{:?}", played.notes);
    assert!(played.took < Duration::from_secs(300), "{:?}", played.took);
}

#[test]
fn an_empty_line_is_searched_to_the_end_and_nothing_is_found() {
    let played = play(Protocol::ALL.map(search), Vec::new());
    assert!(played.found.is_empty() && played.notes.is_empty());
    assert!((500..520).contains(&played.sent.len()), "{}", played.sent.len());
    assert!(played.took < Duration::from_secs(300), "{:?}", played.took);
}

#[test]
fn electricity_meters_that_answer_at_once_are_told_apart() {
    for (addresses, most) in [
        // In the low two digits, behind them, and at the very top.
        (&[201_000_000_012, 201_000_000_013, 201_000_000_099][..], 120),
        (&[201_000_000_012, 201_000_007_712], 240),
        (&[112_233_445_566, 212_233_445_566], 630),
    ] {
        let meters = addresses.iter().zip(1..).map(|(address, seed)| Dlt645Meter::new(*address, seed).into());
        let played = play([search(Protocol::Dlt645)], meters.collect());
        let mut found = played.addresses();
        found.sort();
        assert_eq!(found, addresses.iter().map(|address| format!("dlt645 {address}")).collect::<Vec<_>>());
        assert!(played.found.iter().all(|found| found.fact("edition") == Some("2007")));
        assert!(played.sent.len() < most, "{} questions", played.sent.len());
        assert!(matches!(&played.notes[..], [note] if note.contains("at once")), "{:?}", played.notes);
    }
}

/// Meters that answer one after the other do not spoil each other's answers: the second is no late answer, but a meter.
#[test]
fn a_second_meter_that_answers_later_is_not_overheard() {
    let mut slow = Dlt645Meter::new(201_000_000_013, 2);
    slow.manner.delay = Duration::from_millis(400);
    let played =
        play([search(Protocol::Dlt645)], vec![Dlt645Meter::new(201_000_000_012, 1).into(), slow.into()]);
    assert_eq!(played.addresses(), ["dlt645 201000000012", "dlt645 201000000013"]);
}

#[test]
fn meters_of_1997_are_found_and_told() {
    let one = play([search(Protocol::Dlt645)], vec![Dlt645Meter::v1997(201_000_000_012, 1).into()]);
    assert_eq!(one.addresses(), ["dlt645 201000000012"]);
    assert_eq!(one.found[0].fact("edition"), Some("1997"));
    assert!(one.found[0].toml("bus-1").contains("template = \"dlt645-1997\""));
}

#[test]
fn two_meters_with_one_address_end_the_search_with_a_note() {
    let twin = |seed| Dlt645Meter::new(201_000_000_012, seed).into();
    let played = play([search(Protocol::Dlt645)], vec![twin(1), twin(77)]);
    assert!(played.sent.len() <= QUESTIONS_MAX);
    assert!(played.notes.iter().any(|note| note.contains("same address")), "{:?}", played.notes);
}

#[test]
fn noise_of_a_turning_line_is_no_crowd() {
    let played = play_noisy(
        [search(Protocol::Dlt645)],
        vec![Dlt645Meter::new(201_000_000_012, 1).into()],
        &[0, 0xFF, 0],
    );
    assert_eq!(played.addresses(), ["dlt645 201000000012"]);
    assert!(played.sent.len() < 10 && played.notes.is_empty());
}

#[test]
fn a_line_that_babbles_ends_the_search_too() {
    let noise: Vec<u8> = (0..40_u8).map(|byte| byte.wrapping_mul(7) | 1).collect();
    for protocol in Protocol::ALL {
        let played = play_noisy([search(protocol)], Vec::new(), &noise);
        assert!(played.found.is_empty(), "{protocol}: {:?}", played.addresses());
        assert!(played.sent.len() <= 2 * QUESTIONS_MAX, "{protocol}: {}", played.sent.len());
        assert!(played.notes.iter().any(|note| note.contains("damaged")), "{protocol}: {:?}", played.notes);
    }
}

#[test]
fn habits_of_water_and_heat_meters_are_found_out() {
    let mut low = Cjt188Meter::new(0x11, 20_241_234_567_890, 2);
    low.order = Some(Order::LowFirst);
    let mut stubborn = Cjt188Meter::new(0x10, 20_241_234_567_890, 2);
    stubborn.constant_ser = Some(9);
    let mut heat = Cjt188Meter::new(0x20, 20_241_234_567_890, 2);
    heat.unit_first = true;
    for (meter, fact, value, line) in [
        (low, "identifier_order", "1f90", "identifier_order = \"1f90\""),
        (stubborn, "any_serial", "true", "any_serial = true"),
        (heat, "unit_first", "true", "unit_first = true"),
    ] {
        let played = play([search(Protocol::Cjt188)], vec![meter.into()]);
        assert_eq!(played.addresses(), ["cjt188 20241234567890"]);
        assert_eq!(played.found[0].fact(fact), Some(value));
        let toml = played.found[0].toml("bus-1");
        assert!(toml.contains(line), "{toml}");
    }
}

/// Answers that lie over each other may make a frame of an address that nobody has.
#[test]
fn water_meters_that_answer_at_once_are_told_and_nobody_else() {
    for (first, second) in (1..=8).flat_map(|first| (first + 1..=9).map(move |second| (first, second))) {
        let crowd = [first, second].map(|address| Cjt188Meter::new(0x10, address, 2).into());
        let played = play([search(Protocol::Cjt188)], crowd.to_vec());
        assert!(!played.notes.is_empty() || !played.found.is_empty());
        let own = |found: &Found| {
            [first, second].map(|own| format!("{own:014}")).contains(&found.address.to_string())
        };
        assert!(played.found.iter().all(own), "{first} {second}: {:?}", played.addresses());
    }
}

#[test]
fn a_slave_that_only_refuses_is_a_slave_and_one_behind_a_silent_gateway_is_none() {
    let units = |units| Search { units, ..search(Protocol::Modbus) };
    let refusing = |code| SimulatedSlave::new(7, 3).with(Fault::Refuse(code), 1).into();
    let played = play([units(5..=9)], vec![refusing(2)]);
    assert_eq!(played.addresses(), ["modbus 7"]);
    assert_eq!(played.found[0].fact("register_0"), Some("refused with code 2: illegal data address"));
    assert!(play([units(5..=9)], vec![refusing(0x0B)]).found.is_empty());
    assert!(play([units(8..=9)], vec![refusing(2)]).found.is_empty());
    assert_eq!(
        play([units(247..=247)], vec![SimulatedSlave::new(247, 3).into()]).addresses(),
        ["modbus 247"]
    );
}

#[test]
fn heat_meters_are_found_by_number_where_their_primary_addresses_are_the_same() {
    // Two at one primary address, and a third one alone.
    let meters = [(1, 12_345_678, 1), (1, 12_345_699, 22), (9, 87_654_321, 3)];
    let meters = meters.map(|(primary, id, seed)| MbusMeter::new(primary, id, seed).into());
    let played = play([search(Protocol::Mbus)], meters.to_vec());
    assert_eq!(played.addresses(), ["mbus 1", "mbus 9", "mbus 12345678", "mbus 12345699"]);
    assert_eq!(played.found[0].fact("telegram"), Some("damaged"));
    assert!(played.found[2].toml("bus-1").contains("address = \"12345678\""));
}

#[test]
fn lines_are_tried_one_after_the_other_and_a_meter_is_found_once() {
    let fast = Line { baud: 9600, ..Protocol::Dlt645.line() };
    let searches = || [search(Protocol::Dlt645), Search { line: fast, ..search(Protocol::Dlt645) }];
    let meter = Dlt645Meter::new(201_000_000_012, 1);
    let deaf = play(searches(), vec![meter.clone().at(9600).into()]);
    assert_eq!((deaf.found.len(), deaf.found[0].line), (1, fast));
    assert_eq!(
        deaf.found[0].toml("bus-1"),
        "[[device]]\nid = \"electricity-201000000012\"\n# A guess: the meter does not say whether it has one phase or \
         three (dlt645-three-phase). All templates: docs/devices.md, part 4.\ntemplate = \"dlt645-single-phase\"\n\
         port = \"bus-1\"\naddress = \"201000000012\"\nbaud = 9600\n"
    );
    let both = play(searches(), vec![meter.into()]);
    assert_eq!((both.found.len(), both.found[0].line), (1, Protocol::Dlt645.line()));
    // A crowd that was told apart at one speed is no damage at the next.
    let crowd = [12, 13].map(|address| Dlt645Meter::new(address, 1).into());
    let crowd = play(searches(), crowd.to_vec());
    assert_eq!(crowd.found.len(), 2);
    assert!(matches!(&crowd.notes[..], [note] if note.contains("shortened addresses")), "{:?}", crowd.notes);
}

#[test]
fn a_port_that_goes_ends_the_scan() {
    let mut scan = Scan::new([search(Protocol::Mbus)]);
    assert!(scan.ask().is_some());
    let progress = scan.progress().expect("it is on");
    assert_eq!((progress.protocol, progress.asked, progress.left), (Protocol::Mbus, 1, 251));
    let closed = || Failed::Closed("the adapter is away".into());
    assert_eq!(scan.heard(Err(closed())), Err(closed()));
}
