//! Frames, questions and items against samples, a second encoder and anything else.

use proptest::prelude::*;
use serde_json::Value as Json;

use super::*;
use crate::codec::Scan;
use crate::model::Value;

/// Independent of the codec.
fn framed(leader: usize, kind: u8, address: &str, control: u8, data: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x68, kind];
    let pair = |at: usize| u8::from_str_radix(&address[at..at + 2], 16).expect("digits");
    frame.extend((0..7).rev().map(|byte| pair(2 * byte)));
    frame.extend([control, u8::try_from(data.len()).expect("short")]);
    frame.extend(data);
    frame.push((frame.iter().map(|byte| u32::from(*byte)).sum::<u32>() % 256) as u8);
    frame.push(0x16);
    [vec![0xFE; leader], frame].concat()
}

fn bytes(hex: &str) -> Vec<u8> {
    let hex: String = hex.split_whitespace().collect();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect()
}

fn frame(bytes: &[u8]) -> Frame<'_> {
    match scan(bytes) {
        Scan::Frame { len, frame } if len == bytes.len() => frame,
        other => panic!("a frame, not {other:?}"),
    }
}

/// Type, address, control, data.
type Content = (u8, [u8; 7], u8, Vec<u8>);

fn content(frame: &Frame<'_>) -> Content {
    (frame.kind, frame.address.wire(), frame.control, frame.data.to_vec())
}

/// Reads a whole capture in the given pieces, the way a bus does.
fn frames(pieces: &[&[u8]]) -> Vec<Content> {
    let (mut buffer, mut found) = (Vec::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            let used = match scan(&buffer) {
                Scan::Need => break,
                Scan::Skip(count) => count,
                Scan::Frame { len, frame } => {
                    assert_eq!(len, frame.leader + 13 + frame.data.len());
                    found.push(content(&frame));
                    len
                }
            };
            assert!((1..=buffer.len()).contains(&used));
            buffer.drain(..used);
        }
        assert!(buffer.len() < FRAME_BYTES_MAX, "what waits is bounded");
    }
    found
}

/// The samples that hold a frame, without the garbage before it, and a heat meter's answer.
fn good() -> Vec<Vec<u8>> {
    let samples = include_str!("../../../tests/data/cjt188.jsonl").lines();
    let samples = samples.map(|line| serde_json::from_str::<Json>(line).expect("the samples are JSON"));
    let mut good: Vec<_> = samples
        .filter(|sample| sample["expect"]["valid"] == true)
        .map(|sample| {
            let garbage = sample["expect"]["garbage_before"].as_u64().unwrap_or(0);
            bytes(sample["hex"].as_str().expect("hex"))[usize::try_from(garbage).expect("few")..].to_vec()
        })
        .collect();
    assert_eq!(good.len(), 9, "the samples are there");
    good.push(framed(4, 0x20, "11000000000001", 0x81, &[&[0x1F, 0x90, 7], HEAT].concat()));
    good
}

const HEAT: &[u8] = &[
    0x00, 0x00, 0x10, 0x00, 0x05, 0x78, 0x56, 0x34, 0x12, 0x0A, 0x00, 0x12, 0x00, 0x00, 0x17, 0x12, 0x34,
    0x00, 0x00, 0x35, 0x99, 0x00, 0x00, 0x00, 0x2C, 0x55, 0x43, 0x00, 0x02, 0x01, 0x40, 0x56, 0x34, 0x12,
    0x59, 0x59, 0x23, 0x30, 0x06, 0x24, 0x20, 0x04, 0x00,
];

#[test]
fn a_frame_is_whole_with_its_last_byte_and_not_before() {
    for bytes in good() {
        for len in 0..bytes.len() {
            assert_eq!(scan(&bytes[..len]), Scan::Need, "{len} of {bytes:02x?}");
            assert!(examine(&bytes[..len]).is_err());
        }
        let whole = content(&frame(&bytes));
        let drops: Vec<_> = bytes.chunks(1).collect();
        assert_eq!(frames(&drops), std::slice::from_ref(&whole));
        assert_eq!(examine(&bytes).as_ref().map(content), Ok(whole));
    }
}

/// One changed byte changes the sum. The exception is the length, which moves the place where the sum is looked for: of all
/// wrong lengths one in 65,536 finds its sum and the end byte there by chance. None does here, and no data hides a frame.
#[test]
fn one_wrong_byte_never_makes_another_frame() {
    for bytes in good() {
        let whole = content(&frame(&bytes));
        for at in 0..bytes.len() {
            for wrong in (0..=255).filter(|wrong| *wrong != bytes[at]) {
                let mut damaged = bytes.clone();
                damaged[at] = wrong;
                // A longer length waits for what the line carries next.
                for found in frames(&[&damaged, &[0; FRAME_BYTES_MAX]]) {
                    assert_eq!(found, whole, "{at} {wrong:02x}");
                }
            }
        }
    }
}

#[test]
fn what_cannot_be_a_frame_is_given_up_at_once() {
    for (hex, skipped) in [
        ("00", 1),
        ("000102", 3),
        ("00ff68", 2),
        ("00fe68", 1),
        ("fefe00", 3),
        ("fefe0000fe", 4),
        ("6868", 1),
        ("fe6850", 2),
        ("681a", 1),
        ("68101a", 1),
        ("6810 00000000000000 1f", 1),
        ("6810 00000000000000 21", 1),
        ("6810 00000000000000 e1", 1),
        ("6810 00000000000000 01 04", 1),
        ("6810 00000000000000 81 02", 1),
        ("6810 00000000000000 81 65", 1),
        ("6810 00000000000000 c1 05", 1),
        ("6810 00000000000000 01 03 901f00 2b 17", 1),
        ("6810 00000000000000 01 03 901f00 2c 16", 1),
    ] {
        assert_eq!(scan(&bytes(hex)), Scan::Skip(skipped), "{hex}");
    }
    for hex in ["", "fe", "fefefe", "fefe68", "6810", "6810aaaa", "6810 00000000000000 81 64"] {
        assert_eq!(scan(&bytes(hex)), Scan::Need, "{hex}");
    }
}

#[test]
fn a_leader_is_part_of_its_frame_up_to_a_bound() {
    let data = [0x90, 0x1F, 0xFE];
    for (leader, skipped) in [(0, 0), (1, 0), (64, 0), (65, 1), (400, 336)] {
        let bytes = framed(leader, 0x10, "98000000000012", 0x01, &data);
        if skipped > 0 {
            assert_eq!(scan(&bytes), Scan::Skip(skipped));
            assert_eq!(scan(&bytes[..leader]), Scan::Skip(skipped));
        }
        assert_eq!(frame(&bytes[skipped..]).leader, leader - skipped);
    }
}

#[test]
fn the_fault_told_is_that_of_the_start_byte_nearest_to_a_frame() {
    for (hex, fault) in [
        ("", Fault::Start),
        ("fefe", Fault::Start),
        ("6850 68", Fault::Truncated),
        ("6850", Fault::Malformed),
        ("68aa010005080081161f9000007698002c999999992c9999999999999900005f16", Fault::Malformed),
        ("68104433221100337801031f90008116 6810", Fault::Checksum { computed: 0x80, got: 0x81 }),
    ] {
        assert_eq!(examine(&bytes(hex)).map(|_| ()), Err(fault), "{hex}");
    }
}

fn address(text: &str) -> Address {
    text.parse().expect("an address")
}

fn read(kind: u8, whose: &str) -> Request {
    Request::Read {
        kind,
        address: address(whose),
        identifier: Identifier::READING,
        order: IdentifierOrder::HighFirst,
        ser: 1,
        leader: 0,
        any_ser: false,
    }
}

#[test]
fn questions_have_the_known_bytes() {
    use IdentifierOrder::{HighFirst, LowFirst};
    let known = |kind, whose, identifier, order, ser, leader| Request::Read {
        kind,
        address: address(whose),
        identifier,
        order,
        ser,
        leader,
        any_ser: false,
    };
    for (request, hex) in [
        (known(0x10, "12", Identifier::READING, HighFirst, 0, 0), "6810120000000000000103901f003d16"),
        (
            known(0x10, "AAAAAAAAAAAAAA", Identifier::READING, LowFirst, 1, 3),
            "fefefe6810aaaaaaaaaaaaaa01031f9001d216",
        ),
        (known(0x10, "12", Identifier::ADDRESS, HighFirst, 0, 0), "6810120000000000000303810a001b16"),
        (known(0x10, "12", Identifier::KEY_VERSION, HighFirst, 0, 0), "68101200000000000009038106001d16"),
    ] {
        assert_eq!(request.encode(), bytes(hex), "{hex}");
    }
    assert_eq!(known(0x10, "12", Identifier::READING, HighFirst, 0, 255).encode().len(), 32 + 16);
    let who = Request::ReadAddress { order: LowFirst, ser: 2 };
    assert_eq!(who.encode(), framed(32, 0xAA, "aaaaaaaaaaaaaa", 0x03, &[0x0A, 0x81, 2]));
    for (request, data) in [(read(0x10, "1"), 22), (read(0x20, "1"), 46), (read(0xAA, "1"), 46), (who, 46)] {
        assert_eq!(request.answer_bytes(), 4 + 13 + data);
    }
}

#[test]
fn an_answer_has_everything_of_its_question() {
    const WATER: &str = "00201809230001";
    let any_ser = |request: Request| match request {
        Request::Read { kind, address, identifier, order, ser, leader, .. } => {
            Request::Read { kind, address, identifier, order, ser, leader, any_ser: true }
        }
        other => other,
    };
    let who = Request::ReadAddress { order: IdentifierOrder::HighFirst, ser: 9 };
    let (high, low) = (&[0x90, 0x1F, 1, 5][..], &[0x1F, 0x90, 1, 5][..]);
    for (request, kind, whose, control, data, is_answer) in [
        (read(0x10, WATER), 0x10, WATER, 0x81, high, true),
        (read(0x10, WATER), 0x10, WATER, 0x81, low, true),
        (read(0xAA, WATER), 0x10, WATER, 0x81, high, true),
        (read(0x10, "AAAAAAAAAAAAAA"), 0x10, WATER, 0x81, high, true),
        (read(0x11, WATER), 0x10, WATER, 0x81, high, false),
        (read(0x10, "00201809230002"), 0x10, WATER, 0x81, high, false),
        (read(0x10, WATER), 0x10, "aaaaaaaaaaaaaa", 0x81, high, false),
        (read(0x10, WATER), 0x10, WATER, 0x01, &high[..3], false),
        (read(0x10, WATER), 0x10, WATER, 0x83, high, false),
        (read(0x10, WATER), 0x10, WATER, 0x84, high, false),
        (read(0x10, WATER), 0x10, WATER, 0x81, &[0x90, 0x1F, 2, 5], false),
        (any_ser(read(0x10, WATER)), 0x10, WATER, 0x81, &[0x90, 0x1F, 2, 5], true),
        (read(0x10, WATER), 0x10, WATER, 0x81, &[0xD1, 0x20, 1, 5], false),
        (read(0x10, WATER), 0x10, WATER, 0x81, &[0x90, 0x90, 1, 5], false),
        (who.clone(), 0x10, WATER, 0x83, &[0x0A, 0x81, 0], true),
        (who.clone(), 0x20, WATER, 0x83, &[0x81, 0x0A, 9], true),
        (who.clone(), 0x10, WATER, 0x81, &[0x81, 0x0A, 9], false),
        (who.clone(), 0x10, "aaaaaaaaaaaaaa", 0x83, &[0x81, 0x0A, 9], false),
        (who, 0x10, WATER, 0x03, &[0x81, 0x0A, 9], false),
    ] {
        let mut bytes = framed(2, kind, whose, control, data);
        let answer = request.answer(&frame(&bytes));
        assert!(!request.damaged(&bytes));
        let checksum = bytes.len() - 2;
        bytes[checksum] ^= 0x40;
        assert_eq!(request.damaged(&bytes), is_answer, "{request:?} {bytes:02x?}");
        let order = if data[0] & 0x80 != 0 { IdentifierOrder::HighFirst } else { IdentifierOrder::LowFirst };
        let expected = Answer { kind, address: address(whose), order, data: data[3..].to_vec() };
        assert_eq!(answer, is_answer.then_some(Ok(expected)), "{request:?} {data:02x?}");
    }
    assert!(!read(0x10, WATER).damaged(&framed(2, 0x10, WATER, 0x81, high)[..12]));
    // Refused bytes other than the sum are not "but for its checksum".
    let mut end = framed(2, 0x10, WATER, 0x81, high);
    end.pop();
    end.push(0x17);
    assert!(!read(0x10, WATER).damaged(&end));
}

#[test]
fn a_refusal_says_why() {
    let request = read(0x10, "12");
    for (control, data, code, bits, lasting, text, advice) in [
        (0xC1, &[1, 0x00, 0x00][..], 0x00, vec![], false, "refused with status 0000", "say why; try"),
        (
            0xC1,
            &[1, 0x04, 0x00],
            0x04,
            vec!["battery_low"],
            false,
            "refused with status 0400",
            "battery is low",
        ),
        (
            0xC1,
            &[1, 0x03, 0x00],
            0x03,
            vec!["valve_abnormal"],
            false,
            "refused with status 0300",
            "its valve does not",
        ),
        (
            0xC1,
            &[1, 0x27, 0x01],
            0x27,
            vec!["valve_abnormal", "battery_low"],
            false,
            "refused with status 2701",
            "battery is low",
        ),
        (0xC1, &[1, 0xFF, 0xFF], 0xFF, vec![], false, "refused with status ffff", "say why; try"),
        (
            0xA1,
            &[0x90, 0x1F, 1, 7],
            0,
            vec!["more_data"],
            true,
            "answer has more data than one frame",
            "cannot ask for the rest",
        ),
    ] {
        let bytes = framed(0, 0x10, "00000000000012", control, data);
        let refusal = request.answer(&frame(&bytes)).and_then(Result::err).expect("a refusal");
        assert_eq!((refusal.code, refusal.is_lasting()), (code, lasting));
        assert_eq!((refusal.bits().collect::<Vec<_>>(), refusal.to_string()), (bits, text.to_owned()));
        assert!(refusal.advice().contains(advice), "{text}: {}", refusal.advice());
    }
    for (whose, control, data) in [
        ("00000000000012", 0xC1, &[2, 0, 0][..]),
        ("00000000000012", 0xC4, &[1, 0, 0]),
        ("00000000000013", 0xC1, &[1, 0, 0]),
        ("00000000000012", 0xA1, &[0x90, 0x1F, 2, 7]),
    ] {
        assert_eq!(request.answer(&frame(&framed(0, 0x10, whose, control, data))), None);
    }
}

#[test]
fn a_valve_command_is_answered_by_a_write_only() {
    let close = ValveCommand {
        kind: 0x10,
        address: address("00000019121301"),
        order: IdentifierOrder::HighFirst,
        ser: 1,
        open: false,
    };
    let sent = close.encode();
    assert_eq!(sent[32..], bytes("6810011312190000000404a01701991016"));
    assert_eq!(ValveCommand { open: true, ..close.clone() }.encode()[32 + 14], 0x55);
    let refusal = Refusal { code: 3, status: Some(Status([3, 0])) };
    for (control, data, expected) in [
        (0x84, &[0xA0, 0x17, 1][..], Some(Ok(()))),
        (0x84, &[0x17, 0xA0, 1, 0, 0], Some(Ok(()))),
        (0xC4, &[1, 3, 0], Some(Err(refusal))),
        (0x84, &[0xA0, 0x17, 2], None),
        (0x84, &[0xA0, 0x18, 1], None),
        (0x81, &[0xA0, 0x17, 1], None),
        (0x04, &[0xA0, 0x17, 1, 0x99], None),
    ] {
        let bytes = framed(0, 0x10, "00000019121301", control, data);
        assert_eq!(close.answers(&frame(&bytes)), expected, "{control:02x} {data:02x?}");
    }
}

#[test]
fn identifiers_are_known_by_their_high_byte() {
    use IdentifierOrder::{HighFirst, LowFirst};
    for (bytes, identifier, order) in [
        ([0x90, 0x1F], 0x901F, HighFirst),
        ([0x1F, 0x90], 0x901F, LowFirst),
        ([0x0A, 0x81], 0x810A, LowFirst),
        ([0x20, 0xD1], 0xD120, LowFirst),
        ([0xA0, 0x17], 0xA017, HighFirst),
        ([0x12, 0x34], 0x1234, HighFirst),
        ([0x90, 0x90], 0x9090, HighFirst),
    ] {
        assert_eq!(Identifier::from_wire(bytes), (Identifier(identifier), order));
        assert_eq!(Identifier(identifier).wire(order), bytes);
        assert_ne!(order, order.other());
    }
}

/// `name=value unit`, `-` for no value.
fn shown(reading: &Reading<'_>) -> Vec<String> {
    let value = |value: &Option<Value>| match value {
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Flag(flag)) => flag.to_string(),
        Some(Value::Text(text)) => text.to_string(),
        None => "-".into(),
    };
    reading.items.iter().map(|item| format!("{}={} {}", item.name, value(&item.value), item.unit)).collect()
}

#[test]
fn a_heat_meter_says_all_this() {
    let reading = items(0x20, Identifier::READING, HEAT, UnitPlace::Behind).expect("the right length");
    let expected = [
        "settlement_heat=1000.00 kWh",
        "current_heat=12345678 MWh",
        "power=12.00 kW",
        "flow=0.3412 m3/h",
        "volume=0.99 m3",
        "supply_temperature=43.55 Cel",
        "return_temperature=4001.02 Cel",
        "work_hours=123456 h",
        "battery_low=true ",
        "valve_open=true ",
        "valve_abnormal=false ",
    ];
    assert_eq!(shown(&reading), expected);
    assert_eq!(reading.clock.map(|clock| clock.to_string()).as_deref(), Some("2024-06-30T23:59:59"));
    assert_eq!(reading.sent[1], Sent { unit_code: Some(0x0A), digits: &[0x78, 0x56, 0x34, 0x12] });
    assert_eq!(reading.sent[5].unit_code, None);
    // A meter that says "any type" is known by the length.
    assert_eq!(items(0xAA, Identifier::READING, HEAT, UnitPlace::Behind).as_ref(), Ok(&reading));
    // The same with the units in front.
    let mut front = HEAT.to_vec();
    front[..25].chunks_mut(5).for_each(|field| field.rotate_right(1));
    let turned = items(0x20, Identifier::READING, &front, UnitPlace::InFront).expect("the right length");
    assert_eq!(shown(&turned), expected);
    assert!(looks_unit_first(&front) && !looks_unit_first(HEAT) && !looks_unit_first(&front[..4]));
    assert_eq!(
        item_names(0x21, Identifier::READING),
        expected.map(|item| item.split('=').next().unwrap_or(""))
    );
}

#[test]
fn a_unit_gives_its_scale_and_what_is_unknown_no_value() {
    for (field, expected) in [
        ("78563412 2c", "123456.78 m3"),
        ("78563412 29", "123456.78 L"),
        ("00000000 2c", "0.00 m3"),
        ("78563412 01", "123456.78 J"),
        ("78563412 02", "123456.78 Wh"),
        ("78563412 05", "123456.78 kWh"),
        ("78563412 08", "123456.78 MWh"),
        ("78563412 0a", "12345678 MWh"),
        ("78563412 0b", "123456.78 kJ"),
        ("78563412 0e", "123456.78 MJ"),
        ("78563412 11", "123456.78 GJ"),
        ("78563412 13", "12345678 GJ"),
        ("78563412 14", "123456.78 W"),
        ("78563412 17", "123456.78 kW"),
        ("78563412 1a", "123456.78 MW"),
        ("78563412 32", "123456.78 L/h"),
        ("78563412 35", "123456.78 m3/h"),
        ("78563412 00", "- "),
        ("78563412 ff", "- "),
        ("ffffffff 2c", "- m3"),
        ("7856341a 2c", "- m3"),
        ("ffffffff ff", "- "),
    ] {
        let data = bytes(field);
        for (kind, identifier, name) in [
            (0x10, "d120", "history_volume_1"),
            (0x30, "d12b", "history_volume_12"),
            (0x20, "d121", "history_heat_2"),
        ] {
            let identifier = identifier.parse().expect("an identifier");
            let reading = items(kind, identifier, &data, UnitPlace::Behind).expect("the right length");
            assert_eq!(shown(&reading), [format!("{name}={expected}")]);
            assert_eq!((reading.status, reading.clock, reading.clock_bytes), (None, None, None));
            assert_eq!(item_names(kind, identifier), [name]);
        }
    }
}

#[test]
fn a_clock_that_cannot_be_is_none_and_the_rest_counts() {
    for (clock, expected) in [
        ("31012211051520", Some("2015-05-11T22:01:31")),
        ("00000029022420", Some("2024-02-29T00:00:00")),
        ("00000029022320", None),
        ("20200528205824", None),
        ("60202000000000", None),
        ("00000000000000", None),
        ("ffffffffffffff", None),
        ("99999999999999", None),
        ("00000001017019", None),
        ("60000001012420", None),
        ("00000a01012420", None),
    ] {
        let data = [bytes("00230100 2c 00000000 2c"), bytes(clock), bytes("0000")].concat();
        let reading = items(0x10, Identifier::READING, &data, UnitPlace::Behind).expect("the right length");
        assert_eq!(reading.clock.map(|clock| clock.to_string()).as_deref(), expected, "{clock}");
        assert_eq!(reading.clock_bytes.map(|raw| raw.to_vec()), Some(bytes(clock)));
        assert_eq!(shown(&reading)[0], "current_volume=123.00 m3");
    }
}

#[test]
fn the_status_is_flags() {
    for (status, valve, flags) in [
        ([0x00, 0x00], Some(Valve::Open), ["false", "true", "false"]),
        ([0x01, 0x00], Some(Valve::Closed), ["false", "false", "false"]),
        ([0x21, 0x84], Some(Valve::Closed), ["false", "false", "false"]),
        ([0x02, 0x00], Some(Valve::Abnormal), ["false", "-", "true"]),
        ([0x03, 0x00], Some(Valve::Abnormal), ["false", "-", "true"]),
        ([0xE4, 0xFF], Some(Valve::Open), ["true", "true", "false"]),
        ([0xFF, 0xFF], None, ["-", "-", "-"]),
    ] {
        let data = [&[0; 17][..], &status].concat();
        let reading = items(0x30, Identifier::READING, &data, UnitPlace::Behind).expect("the right length");
        assert_eq!(reading.status, Some(Status(status)));
        assert_eq!(Status(status).valve(), valve, "{status:02x?}");
        let names = ["battery_low", "valve_open", "valve_abnormal"];
        let expected: Vec<_> =
            names.iter().zip(flags).map(|(name, flag)| format!("{name}={flag} ")).collect();
        assert_eq!(shown(&reading)[2..], expected);
    }
}

#[test]
fn a_wrong_length_or_an_unknown_identifier_gives_no_items() {
    let identifier = |text: &str| text.parse::<Identifier>().expect("an identifier");
    for (kind, name, right) in [(0x10, "901f", 19), (0x20, "901f", 43), (0x10, "d120", 5), (0x20, "d12b", 5)]
    {
        for got in (0..97).filter(|got| *got != right) {
            let error = ItemError::Length { identifier: identifier(name), expected: right, got };
            assert_eq!(items(kind, identifier(name), &vec![0; got], UnitPlace::Behind), Err(error));
        }
    }
    for (kind, name) in [
        (0x40, "901f"),
        (0xAA, "901f"),
        (0x10, "8102"),
        (0x10, "8105"),
        (0x10, "d11f"),
        (0x10, "d12c"),
        (0x10, "810a"),
        (0x10, "0000"),
    ] {
        let error = ItemError::Unknown { kind, identifier: identifier(name) };
        assert_eq!(items(kind, identifier(name), &[0; 7], UnitPlace::Behind), Err(error));
        assert_eq!(item_names(kind, identifier(name)).is_empty(), kind != 0xAA, "{kind:02x} {name}");
    }
    let address = items(0x10, Identifier::ADDRESS, &[], UnitPlace::Behind).expect("the frame says it");
    assert_eq!(shown(&address), Vec::<String>::new());
    let any = item_names(0xAA, Identifier::READING);
    assert!(any.contains(&"current_volume") && any.contains(&"current_heat"));
    assert_eq!(any.iter().filter(|name| **name == "battery_low").count(), 1);
}

fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let likely = prop::sample::select(vec![0x68, 0xFE, 0x16, 0x10, 0x81, 0x03]);
    proptest::collection::vec(prop_oneof![any::<u8>(), likely], 0..80)
}

proptest! {
    #[test]
    fn any_bytes_in_any_split_end_and_the_split_does_not_matter(
        bytes in proptest::collection::vec(garbage(), 0..8),
        at in any::<prop::sample::Index>(),
    ) {
        let bytes = bytes.concat();
        let _ = examine(&bytes);
        let (head, tail) = bytes.split_at(at.index(bytes.len() + 1));
        prop_assert_eq!(frames(&[&bytes]), frames(&[head, tail]));
    }

    #[test]
    fn a_frame_in_garbage_is_found(
        before in garbage(),
        behind in garbage(),
        pick in any::<prop::sample::Index>(),
    ) {
        let good = good();
        let bytes = &good[pick.index(good.len())];
        // What begins in the garbage and waits is resolved by what comes next.
        let line = [&before[..], bytes, &behind, &[0; FRAME_BYTES_MAX]].concat();
        prop_assert!(frames(&[&line]).contains(&content(&frame(bytes))));
        prop_assert!(examine(&line).is_ok());
    }

    #[test]
    fn what_another_encoder_writes_is_read(
        kind in prop::sample::select(vec![0x10, 0x13, 0x30]),
        whose in "[0-9]{14}",
        current in 0..=99_999_999_u32,
        settled in 0..=99_999_999_u32,
        ser in any::<u8>(),
        swapped in any::<bool>(),
        in_front in any::<bool>(),
        leader in 0..20usize,
        (year, month, day) in (0..100u8, 1..=12u8, 1..=28u8),
        (hour, minute, second) in (0..24u8, 0..60u8, 0..60u8),
        status in any::<[u8; 2]>(),
    ) {
        let digits = |number: u32| bytes(&format!("{:08x}", u32::from_str_radix(&number.to_string(), 16)
            .expect("digits").swap_bytes()));
        let metered = |number: u32| match in_front {
            true => [vec![0x2C], digits(number)].concat(),
            false => [digits(number), vec![0x2C]].concat(),
        };
        let identifier = if swapped { [0x1F, 0x90] } else { [0x90, 0x1F] };
        let clock = format!("{second:02}{minute:02}{hour:02}{day:02}{month:02}{year:02}20");
        let data = [&identifier[..], &[ser], &metered(current), &metered(settled), &bytes(&clock), &status].concat();
        let wire = framed(leader, kind, &whose, 0x81, &data);
        let request = Request::Read {
            kind: ANY_KIND,
            address: address(&whose),
            identifier: Identifier::READING,
            order: IdentifierOrder::HighFirst,
            ser,
            leader: LEADER,
            any_ser: false,
        };
        let answer = request.answer(&frame(&wire)).and_then(Result::ok).expect("the answer");
        prop_assert_eq!(answer.order == IdentifierOrder::LowFirst, swapped);
        prop_assert_eq!(answer.address.to_string(), whose);
        let place = if in_front { UnitPlace::InFront } else { UnitPlace::Behind };
        let reading = items(answer.kind, Identifier::READING, &answer.data, place).expect("the right length");
        let volume = |name: &str, number: u32| format!("{name}={}.{:02} m3", number / 100, number % 100);
        prop_assert_eq!(&shown(&reading)[..2], [volume("current_volume", current),
            volume("settlement_volume", settled)]);
        let time = format!("20{year:02}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
        prop_assert_eq!(reading.clock.map(|clock| clock.to_string()), Some(time));
        prop_assert_eq!(reading.status, Some(Status(status)));
        prop_assert!(request.answer_bytes() >= wire.len() - leader);
        prop_assert_eq!(request.answer(&frame(&request.encode())), None, "an echo");
    }

    #[test]
    fn no_data_panics(kind in any::<u8>(), identifier in any::<u16>(), data in proptest::collection::vec(any::<u8>(), 0..100)) {
        for identifier in [Identifier(identifier), Identifier::READING, Identifier(0xD125)] {
            for place in [UnitPlace::Behind, UnitPlace::InFront] {
                let names = item_names(kind, identifier);
                if let Ok(reading) = items(kind, identifier, &data, place) && kind != ANY_KIND {
                    let read: Vec<_> = reading.items.iter().map(|item| item.name.as_ref()).collect();
                    prop_assert_eq!(read, names);
                }
            }
        }
        let _ = looks_unit_first(&data);
    }
}
