use super::search::{SearchError, searches};
use super::target::{Target, TargetError};
use super::*;
use crate::device::serial::{Line, Parity, Protocol};
use crate::model;
use crate::normalise::Kind;

fn meter_at(device: &str, address: Address, line: Line) -> Meter {
    let timing = address.protocol().timing(line, std::time::Duration::ZERO, None);
    let device = device.parse().expect("a device id");
    Meter { device, address, line, timing, watch_clock: false, points: Vec::new() }
}

fn fast(protocol: Protocol) -> Line {
    Line { baud: 19_200, ..protocol.line() }
}

#[test]
fn a_scan_is_every_protocol_on_its_usual_line_and_those_of_the_meters_there() {
    let known = [
        meter_at("a", Address::Modbus(1), fast(Protocol::Modbus)),
        meter_at("b", Address::Modbus(2), fast(Protocol::Modbus)),
        meter_at("c", Address::Modbus(3), Protocol::Modbus.line()),
    ];
    let lines = |request: wire::ScanRequest| {
        let searches = searches(&request, &known)?;
        Ok(searches.iter().map(|search| format!("{} {}", search.protocol, search.line)).collect::<Vec<_>>())
    };
    let text = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let all = ["dlt645 2400 8E1", "cjt188 2400 8E1", "modbus 9600 8N1", "modbus 19200 8N1", "mbus 2400 8E1"];
    assert_eq!(lines(wire::ScanRequest::default()), Ok(text(&all)));
    let some = wire::ScanRequest {
        protocols: text(&["mbus"]),
        bauds: vec![300, 2400],
        parities: text(&["even", "none"]),
        ..Default::default()
    };
    let four = ["mbus 300 8E1", "mbus 300 8N1", "mbus 2400 8E1", "mbus 2400 8N1"];
    assert_eq!(lines(some), Ok(text(&four)));
    for (request, error) in [
        (wire::ScanRequest { bauds: vec![1], ..Default::default() }, TargetError::Baud(1).into()),
        (wire::ScanRequest { bauds: vec![9600; 9], ..Default::default() }, SearchError::Bauds(9)),
        (wire::ScanRequest { unit_first: 9, unit_last: 8, ..Default::default() }, SearchError::Units(9, 8)),
        (wire::ScanRequest { unit_last: 251, ..Default::default() }, SearchError::Units(1, 251)),
        (wire::ScanRequest { timeout_ms: 30_001, ..Default::default() }, TargetError::Timeout(30_001).into()),
        (
            wire::ScanRequest { parities: text(&["mark"]), ..Default::default() },
            TargetError::Parity("mark".into()).into(),
        ),
    ] {
        assert_eq!(lines(request), Err(error));
    }
}

#[test]
fn a_stranger_is_asked_as_his_neighbours_are_and_a_known_meter_as_it_is_configured() {
    use crate::codec::cjt188::UnitPlace;
    use crate::device::serial::Cjt188;
    use wire::direct::Protocol::Cjt188 as Ask;
    let own = Cjt188 {
        address: "20241234567890".parse().expect("an address"),
        kind: 0x20,
        order: Some(IdentifierOrder::LowFirst),
        unit: UnitPlace::InFront,
        any_ser: true,
        leader: 20,
    };
    let line = Line { parity: Parity::None, ..fast(Protocol::Cjt188) };
    let known = [meter_at("heat-1", Address::Cjt188(own.clone()), line)];
    let ask = |address: &str, told: Option<wire::Line>| {
        let asked = wire::Cjt188 { address: address.into(), identifier: String::new() };
        let direct = wire::Direct { protocol: Some(Ask(asked)), line: told, timeout_ms: 0 };
        Target::of(&direct, &known).expect("a target").meter
    };
    for (address, is_known) in
        [("20241234567890", true), ("heat:20241234567890", true), ("gas:20241234567890", false)]
    {
        let meter = ask(address, None);
        assert_eq!(meter.address == Address::Cjt188(own.clone()), is_known, "{address}");
        assert_eq!(meter.line, line);
    }
    assert_eq!(ask("1", None).line, line);
    let told = wire::Line { baud: 1200, ..Default::default() };
    assert_eq!(ask("1", Some(told)).line, Line { baud: 1200, ..line });
}

#[test]
fn values_are_written_as_people_write_them() {
    for (kind, text, expected) in [
        (Kind::Number, "-21.50", Some("-21.50")),
        (Kind::Number, "1,5", None),
        (Kind::Number, "on", None),
        (Kind::Flag, "open", Some("true")),
        (Kind::Flag, "off", Some("false")),
        (Kind::Flag, "2", None),
        (Kind::Text, "on", Some("on")),
    ] {
        let value = value::parse(kind, text);
        assert_eq!(value.as_ref().map(value::text).as_deref(), expected, "{text}");
        assert_eq!(value.is_some_and(|value| matches!(value, model::Value::Text(_))), kind == Kind::Text);
    }
}

#[test]
fn an_unknown_name_lists_some_known_ones() {
    let names = |count: usize| (0..count).map(|number| format!("meter-{number}"));
    let told = |count| unknown("device", "x", names(count)).message().to_owned();
    assert_eq!(told(0), "no device \"x\"; there is none");
    assert_eq!(told(2), "no device \"x\"; known: meter-0, meter-1");
    assert!(told(100).ends_with("meter-19 and 80 more"), "{}", told(100));
}
