//! The codec against captured telegrams, and against bytes of chance. The encoders here know nothing of the codec.

use proptest::prelude::*;
use rust_decimal::Decimal;
use serde_json::Value as Json;

use super::*;
use crate::codec::{Item, Scan};
use crate::model::Value;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().filter(|digit| !digit.is_whitespace()).collect();
    let pair = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).expect("hex digits");
    digits.chunks(2).map(pair).collect()
}

fn samples() -> Vec<Vec<u8>> {
    let lines = include_str!("../../../tests/data/mbus.jsonl").lines();
    lines
        .map(|line| {
            let sample: Json = serde_json::from_str(line).expect("the samples are JSON");
            bytes(sample["hex"].as_str().expect("hex"))
        })
        .collect()
}

/// A frame around control, address and user data.
fn sealed(content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).expect("a short telegram");
    let sum = content.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    [&[0x68, length, length, 0x68], content, &[sum as u8, 0x16]].concat()
}

/// Reads a whole capture in the given pieces, the way a bus does.
fn frames(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
    let (mut buffer, mut found) = (Vec::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            let used = match scan(&buffer) {
                Scan::Need => break,
                Scan::Skip(count) => count,
                Scan::Frame { len, .. } => {
                    found.push(buffer[..len].to_vec());
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

fn frame(bytes: &[u8]) -> Frame<'_> {
    let Scan::Frame { len, frame } = scan(bytes) else { panic!("a frame: {bytes:02x?}") };
    assert_eq!(len, bytes.len());
    frame
}

/// The items of records without a header.
fn read(hex: &str) -> Vec<Item> {
    let telegram = records(&[&[0x78], bytes(hex).as_slice()].concat());
    items(&telegram.unwrap_or_else(|error| panic!("{hex}: {error}")).records)
}

fn shown(value: &Option<Value>) -> String {
    match value {
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Text(text)) => text.to_string(),
        Some(Value::Flag(_)) | None => "none".into(),
    }
}

#[test]
fn a_frame_is_one_when_its_last_byte_is_there() {
    for sample in samples() {
        for len in 0..sample.len() {
            assert_eq!(scan(&sample[..len]), Scan::Need, "{len} of {sample:02x?}");
        }
        assert!(matches!(frame(&sample), Frame::Long { control: 0x08, .. }));
    }
}

#[test]
fn what_cannot_be_a_frame_is_skipped_at_once() {
    for (hex, expected) in [
        ("", Scan::Need),
        ("00", Scan::Skip(1)),
        ("FE", Scan::Skip(1)),
        ("10 08", Scan::Skip(1)),
        ("10 7B 01", Scan::Need),
        ("10 7B 01 7C 17", Scan::Skip(1)),
        ("10 7B 01 7D 16", Scan::Skip(1)),
        ("68 02", Scan::Skip(1)),
        ("68 1F 1E", Scan::Skip(1)),
        ("68 1F 1F 69", Scan::Skip(1)),
        ("68 1F 1F 68 99", Scan::Skip(1)),
        ("68 1F 1F 68 38", Scan::Need),
    ] {
        assert_eq!(scan(&bytes(hex)), expected, "{hex}");
    }
    assert_eq!(frame(&[0xE5]), Frame::Ack);
    assert_eq!(frame(&bytes("10 7B 01 7C 16")), Frame::Short { control: 0x7B, address: 1 });
    let longest = sealed(&[[0x08, 1, 0x78].as_slice(), &[0x2F; 252]].concat());
    assert_eq!(longest.len(), FRAME_BYTES_MAX);
    assert!(matches!(frame(&longest), Frame::Long { .. }));
}

/// A sum sees every change of one byte; two changes that cancel out, as two bytes that change places, it does not see.
#[test]
fn one_wrong_byte_never_makes_an_answer() {
    let question = Request::Data { address: SELECTED, fcb: true, id: None };
    for sample in samples().into_iter().filter(|sample| sample.len() < 48) {
        assert!(question.answer(&frame(&sample)).is_some());
        for at in 0..sample.len() {
            let mut damaged = sample.clone();
            for change in 1..=255 {
                damaged[at] = sample[at] ^ change;
                for found in frames(&[&damaged]) {
                    assert_eq!(question.answer(&frame(&found)), None, "{damaged:02x?}");
                }
            }
        }
    }
}

#[test]
fn questions_have_the_known_bytes_and_their_echo_is_no_answer() {
    for (request, expected) in [
        (Request::Reset { address: 1 }, "10 40 01 41 16"),
        (Request::Reset { address: SELECTED }, "10 40 FD 3D 16"),
        (Request::Data { address: 1, fcb: true, id: None }, "10 7B 01 7C 16"),
        (Request::Data { address: 1, fcb: false, id: None }, "10 5B 01 5C 16"),
        (Request::Select { id: 0x1234_5678 }, "68 0B 0B 68 53 FD 52 78 56 34 12 FF FF FF FF B2 16"),
    ] {
        let sent = request.encode();
        assert_eq!(sent, bytes(expected));
        assert_eq!(request.answer(&frame(&sent)), None);
        let acknowledged = request.answer(&Frame::Ack).is_some_and(|answer| answer.is_ok());
        assert_eq!(acknowledged, !matches!(request, Request::Data { .. }), "{request:?}");
    }
}

#[test]
fn an_answer_comes_from_the_slave_that_was_asked() {
    let data = |address, id| Request::Data { address, fcb: true, id };
    let telegram = [0x72, 0x78, 0x56, 0x34, 0x12, 0x24, 0x40, 1, 7, 0x55, 0, 0, 0, 0x03, 0x13, 0x15, 0x31, 0];
    // Whether it answers, and whether it would be counted as a damaged answer with a wrong checksum.
    for (control, address, request, answers, damaged) in [
        (0x08, 2, data(2, None), true, true),
        (0x38, 2, data(2, None), true, true),
        (0x08, 3, data(2, None), false, false),
        (0x53, 2, data(2, None), false, false),
        (0x08, 2, data(SELECTED, None), true, true),
        (0x08, 2, data(SELECTED, Some(0x1234_5678)), true, true),
        (0x08, 2, data(SELECTED, Some(0x1234_56FF)), true, true),
        (0x08, 2, data(SELECTED, Some(0x1234_5679)), false, true),
        (0x08, 2, data(2, Some(0x1234_5679)), false, true),
        (0x08, 2, Request::Reset { address: 2 }, false, false),
        (0x08, 2, Request::Select { id: 0x1234_5678 }, false, false),
    ] {
        let mut sent = sealed(&[&[control, address], telegram.as_slice()].concat());
        let answer = request.answer(&frame(&sent));
        assert_eq!(answer.is_some(), answers, "{control:02x} {address} {request:?}");
        if let Some(answer) = answer {
            let answer = answer.expect("no refusal");
            assert_eq!((answer.address, answer.more, &answer.data[..]), (2, false, &telegram[..]));
        }
        assert!(!request.damaged(&sent), "nothing is wrong with it");
        let checksum = sent.len() - 2;
        sent[checksum] ^= 1;
        assert_eq!(request.damaged(&sent), damaged, "{control:02x} {address} {request:?}");
    }
    let other = sealed(&[0x08, 2, 0x51, 0]);
    assert_eq!(data(2, None).answer(&frame(&other)), None);
}

#[test]
fn a_refusal_has_its_text_and_says_whether_to_ask_again() {
    let question = Request::Data { address: 1, fcb: false, id: Some(0x1234_5678) };
    for (content, text, lasting) in [
        (&[0x08, 1, 0x70, 2][..], "buffer too long, truncated", true),
        (&[0x08, 1, 0x70, 8], "application too busy", false),
        (&[0x08, 1, 0x70], "unspecified error", false),
        (&[0x08, 1, 0x70, 0x57], "reserved error", false),
    ] {
        let Some(Err(refusal)) = question.answer(&frame(&sealed(content))) else { panic!("a refusal") };
        assert_eq!((refusal.text(), refusal.is_lasting()), (text, lasting));
    }
}

#[test]
fn more_telegrams_are_told() {
    for (records, more) in
        [("04 13 01 00 00 00 1F", true), ("04 13 01 00 00 00 0F 1F", false), ("1F 01 02", true)]
    {
        let sent = sealed(&[&[0x08, 1, 0x78], bytes(records).as_slice()].concat());
        let question = Request::Data { address: 1, fcb: true, id: None };
        let Some(Ok(answer)) = question.answer(&frame(&sent)) else { panic!("an answer") };
        assert_eq!(answer.more, more, "{records}");
        assert_eq!(answer.telegram().expect("records").more, more, "{records}");
    }
}

#[test]
fn values_are_exact_and_what_is_invalid_is_none() {
    for (hex, expected) in [
        ("01 13 FF", "-0.001"),
        ("01 13 80", "none"),
        ("02 10 01 00", "0.000001"),
        ("03 17 FF FF 7F", "83886070"),
        ("06 06 FF FF FF FF FF 7F", "140737488355327000"),
        ("07 03 FF FF FF FF FF FF FF 7F", "9223372036854775807"),
        ("07 03 00 00 00 00 00 00 00 80", "none"),
        ("09 5B 99", "99"),
        ("0A 5A 34 F2", "-23.4"),
        ("0A 5A 34 B2", "none"),
        ("0C 13 FF FF FF FF", "none"),
        ("0E 16 12 90 78 56 34 12", "123456789012"),
        ("05 2B CD CC C8 41", "25.1"),
        ("05 2E CD CC C8 41", "25100"),
        ("05 28 00 00 00 80", "0.000"),
        ("05 2B 00 00 C0 7F", "none"),
        ("05 2B FF FF 7F 7F", "none"),
        ("01 23 02", "172800"),
        ("00 13", "none"),
        ("08 13", "none"),
        ("02 FD 17 00 80", "32768"),
        ("0D 78 03 63 62 61", "abc"),
        ("0D 78 01 FC", "ü"),
        ("0D 78 00", "none"),
        ("0D 13 C2 45 23", "2.345"),
        ("0D 13 D2 45 23", "-2.345"),
        ("0D 13 E3 FF FF FF", "-0.001"),
        ("0D 06 E0", "none"),
        ("0D 13 F0 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00", "none"),
        ("04 6D 0A 0C CD 13", "2014-03-13T12:10:00"),
        ("04 6D 8A 0C CD 13", "none"),
        ("04 6D FF FF FF FF", "none"),
        ("04 6D 3F 1F CD 13", "none"),
        ("02 6C DF 1C", "2014-12-31"),
        ("02 6C 00 00", "none"),
        ("02 6C FE F2", "none"),
        ("03 6D 1E 0A 17", "23:10:30"),
        ("03 6D 1E 0A 18", "none"),
        ("06 6D 1E 0A 0C CD 13 00", "2014-03-13T12:10:30"),
        ("0A 6C 34 12", "none"),
        ("04 93 74 01 00 00 00", "0.00001"),
        ("04 93 7D 01 00 00 00", "1"),
        ("04 93 18 01 00 00 00", "none"),
        ("04 93 F0 F0 F0 F0 F0 70 01 00 00 00", "none"),
    ] {
        let items = read(hex);
        assert_eq!(items.len(), 1, "{hex}");
        assert_eq!(shown(&items[0].value), expected, "{hex}");
    }
}

#[test]
fn items_have_names_and_units() {
    for (hex, expected) in [
        ("04 13 00000000", "volume m3"),
        ("44 13 00000000", "volume_1 m3"),
        ("DA 02 3B 1301", "volume_flow_max_5 m3/h"),
        ("8B 60 04 371802", "energy_tariff_2_device_1 Wh"),
        ("21 5A 00", "flow_temperature_min Cel"),
        ("31 5E 00", "return_temperature Cel"),
        ("01 61 00", "temperature_difference K"),
        ("01 A7 3E 00", "operating_time_base s"),
        ("01 FD 49 00", "voltage V"),
        ("01 FD D9 FC 02 00", "current_l2 A"),
        ("01 AB FC 7E 00", "power_x7c7e W"),
        ("01 83 3C 00", "energy_negative Wh"),
        ("01 90 28 00", "volume_per_input_pulse_0 "),
        ("01 83 FF 22 00", "energy_manufacturer_x22 Wh"),
        ("01 FF 22 00", "manufacturer_specific_x22 "),
        ("01 EF 5A 00", "unknown_vif_0x6f_x5a "),
        ("01 FD 71 00", "unknown_vif_0xfd71 "),
        ("01 FC 03 48 52 25 74 00", "text_rh "),
        ("01 7C 00 00", "text "),
        ("01 FB 1A 00", "relative_humidity %"),
        ("01 6E 00", "h_c_a "),
    ] {
        let shown: Vec<_> = read(hex).iter().map(|item| format!("{} {}", item.name, item.unit)).collect();
        assert_eq!(shown, [expected], "{hex}");
    }
}

/// What a meter counts during an error must not take the name of its counter, in whatever order it sends them.
#[test]
fn a_value_during_an_error_is_none_and_gives_way() {
    let items = read("31 13 05 01 13 06 31 13 07 01 13 08");
    let shown: Vec<_> = items.iter().map(|item| format!("{} {}", item.name, shown(&item.value))).collect();
    assert_eq!(shown, ["volume_n3 none", "volume 0.006", "volume_n4 none", "volume_n2 0.008"]);
}

#[test]
fn what_is_no_telegram_says_why() {
    let header = "72 78563412 2440 01 07 55 00 00";
    for (hex, expected) in [
        ("", Error::Header),
        ("72 7856", Error::Header),
        ("7A 01 00 00", Error::Header),
        ("51 00", Error::Unknown(0x51)),
        (&format!("{header} 05 03 13 153100"), Error::Encrypted(5)),
        ("7A 01 00 00 05 03 13 153100", Error::Encrypted(5)),
        ("78 03 13 153100 03", Error::Truncated(2)),
        ("78 03 13 1531", Error::Truncated(1)),
        ("78 83", Error::Truncated(1)),
        ("78 0D 78", Error::Truncated(1)),
        ("78 0D 78 05 41", Error::Truncated(1)),
        ("78 0D 78 FF", Error::Malformed(1)),
        ("78 3F", Error::Malformed(1)),
        ("78 8B 8B8B8B8B8B8B8B8B8B8B 60 04 371802", Error::Malformed(1)),
        ("73 78563412 0A 00 E9 7E 01000000 350100", Error::Truncated(1)),
        ("73 78563412 0A 00 E9 7E 01000000 35010000 00", Error::Malformed(2)),
    ] {
        assert_eq!(records(&bytes(hex)).map(|_| ()), Err(expected), "{hex}");
    }
    let plain = records(&bytes(&format!("{header} 00 2F 2F 03 13 153100 2F"))).expect("records");
    let Some(Header { id: 0x1234_5678, maker: Some(maker), .. }) = plain.header else { panic!("a header") };
    assert_eq!((maker.letters.as_str(), maker.version, plain.records.len()), ("PAD", 1, 1));
}

#[test]
fn the_counters_of_old_meters_are_scaled() {
    for (status, units, counters, expected) in [
        ("00", "E9 7E", "01000000 35010000", ["volume 0.001 m3", "volume_1 0.135 m3"]),
        ("01", "05 14", "FFFFFFFF 00010000", ["energy -1000 Wh", "power 256 W"]),
        ("03", "13 38", "01000000 10270000", ["energy_1 100000000000 J", "temperature_1 10.000 Cel"]),
        ("00", "2F 3A", "0000000A 01000000", ["volume_flow none m3/h", "unknown none "]),
    ] {
        let data = bytes(&format!("73 78563412 0A {status} {units} {counters}"));
        let telegram = records(&data).expect("counters");
        let item = |item: &Item| format!("{} {} {}", item.name, shown(&item.value), item.unit);
        let shown: Vec<_> = items(&telegram.records).iter().map(item).collect();
        assert_eq!(shown, expected, "{units}");
    }
}

#[test]
fn what_is_printed_for_a_log_holds_no_values() {
    let content = bytes("08 01 78 0C 13 67 45 23 01 0D FD 11 03 43 42 41 0F AA BB CC");
    let sent = sealed(&content);
    let question = Request::Data { address: 1, fcb: true, id: None };
    let Some(Ok(answer)) = question.answer(&frame(&sent)) else { panic!("an answer") };
    let telegram = answer.telegram().expect("records");
    assert_eq!(telegram.records.len(), 3);
    let printed = format!("{:?} {answer:?} {telegram:?}", frame(&sent));
    for value in ["1234", "ABC", "AA BB", "67", "170"] {
        assert!(!printed.contains(value), "{printed}");
    }
}

/// A record by its parts, and what it must read as.
#[derive(Clone, Debug)]
struct Made {
    bytes: Vec<u8>,
    name: String,
    value: Decimal,
}

/// Volumes of every size, as integers and as digits.
fn made() -> impl Strategy<Value = Made> {
    let parts = (0..32u64, 0..4u64, 0..2u64, 0..3u8, 0..8u8, 0..9_999_999i64, any::<bool>(), any::<bool>());
    parts.prop_map(|(storage, tariff, device, function, size, number, negative, digits)| {
        let dif = function << 4 | (storage as u8 & 1) << 6 | if digits { 0x0C } else { 0x04 };
        let dife = (storage >> 1) as u8 | (tariff as u8) << 4 | (device as u8) << 6;
        let signed = if negative { -number } else { number };
        let mut bytes = if dife == 0 { vec![dif] } else { vec![dif | 0x80, dife] };
        bytes.push(0x10 + size);
        if digits {
            let mut rest = number;
            for place in 0..4 {
                let high = if place == 3 && negative { 0xF0 } else { ((rest / 10 % 10) << 4) as u8 };
                bytes.push((rest % 10) as u8 | high);
                rest /= 100;
            }
        } else {
            bytes.extend((signed as i32).to_le_bytes());
        }
        let mut name = format!("volume{}", ["", "_max", "_min"][usize::from(function)]);
        for (label, number) in [("", storage), ("tariff_", tariff), ("device_", device)] {
            if number > 0 {
                name += &format!("_{label}{number}");
            }
        }
        let value = match u32::from(size) {
            size @ 0..=6 => Decimal::new(signed, 6 - size),
            _ => Decimal::new(signed * 10, 0),
        };
        Made { bytes, name, value }
    })
}

proptest! {
    #[test]
    fn any_bytes_in_any_split_end_and_the_split_does_not_matter(
        bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(0x68), Just(0x10), Just(0x08)], 0..600),
        at in 0..600usize,
    ) {
        let (head, tail) = bytes.split_at(at.min(bytes.len()));
        prop_assert_eq!(frames(&[&bytes]), frames(&[head, tail]));
    }

    #[test]
    fn a_frame_is_found_in_garbage(
        before in proptest::collection::vec(any::<u8>(), 0..40),
        number in any::<proptest::sample::Index>(),
    ) {
        let samples = samples();
        let sample = &samples[number.index(samples.len())];
        // Garbage that begins like the longest frame is given up when it could have ended.
        let found = frames(&[&before, sample, &[0; FRAME_BYTES_MAX]]);
        prop_assert!(found.contains(sample));
    }

    /// The crate that splits the records is run on anything a line can carry.
    #[test]
    fn any_telegram_has_records_or_an_error(
        ci in prop_oneof![Just(0x72), Just(0x73), Just(0x78), Just(0x7A), any::<u8>()],
        data in proptest::collection::vec(
            prop_oneof![any::<u8>(), 0..0x10u8, Just(0xFD), Just(0x7C), Just(0x8D)],
            0..252,
        ),
    ) {
        let telegram = records(&[&[ci], data.as_slice()].concat());
        let items = telegram.iter().flat_map(|telegram| items(&telegram.records));
        let names: Vec<_> = items.map(|item| item.name).collect();
        let unique: std::collections::HashSet<_> = names.iter().collect();
        prop_assert_eq!(unique.len(), names.len());
    }

    #[test]
    fn what_is_written_is_read(made in proptest::collection::vec(made(), 1..20)) {
        let records = made.iter().flat_map(|made| made.bytes.clone()).collect();
        let sent = sealed(&[vec![0x08, 1, 0x78], records].concat());
        let question = Request::Data { address: 1, fcb: true, id: None };
        let Some(Ok(answer)) = question.answer(&frame(&sent)) else { panic!("an answer") };
        let items = items(&answer.telegram().expect("records").records);
        prop_assert_eq!(items.len(), made.len());
        for (item, made) in items.iter().zip(&made) {
            let again = format!("{}_n", made.name);
            prop_assert!(item.name == made.name || item.name.starts_with(&again));
            prop_assert_eq!(shown(&item.value), made.value.to_string());
        }
    }
}
