//! Frames, questions and times against captured frames and against an encoder of their own.

mod items;

use proptest::prelude::*;
use serde_json::Value as Json;

use super::*;
use crate::codec::Scan;

const METER: [u8; 6] = [0x12, 0x00, 0x00, 0x00, 0x10, 0x20];

/// An encoder that shares nothing with the codec.
fn wire(address: [u8; 6], control: u8, plain: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x68];
    frame.extend(address);
    frame.extend([0x68, control, u8::try_from(plain.len()).expect("a short frame")]);
    frame.extend(plain.iter().map(|byte| (u16::from(*byte) + 0x33) as u8));
    let sum: u32 = frame.iter().map(|byte| u32::from(*byte)).sum();
    frame.extend([(sum % 256) as u8, 0x16]);
    frame
}

fn bytes(hex: &str) -> Vec<u8> {
    let hex: Vec<char> = hex.chars().filter(|character| *character != ' ').collect();
    let digit = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).expect("hex");
    hex.chunks(2).map(digit).collect()
}

fn samples() -> Vec<Vec<u8>> {
    let lines = include_str!("../../../tests/data/dlt645.jsonl").lines();
    let samples = lines.map(|line| serde_json::from_str::<Json>(line).expect("the samples are JSON"));
    samples.map(|sample| bytes(sample["hex"].as_str().expect("hex"))).collect()
}

/// What the bus sees of a frame.
type Seen = (Address, u8, Vec<u8>);

fn seen(frame: &Frame<'_>) -> Seen {
    (frame.address, frame.control, frame.data())
}

fn whole(bytes: &[u8]) -> Frame<'_> {
    match scan(bytes) {
        Scan::Frame { len, frame } if len == bytes.len() => frame,
        other => panic!("{bytes:02x?}: {other:?}"),
    }
}

/// Reads a capture in the given pieces, the way a bus does; the end of it is the end of all waiting.
fn frames(pieces: &[&[u8]]) -> Vec<Seen> {
    let (mut buffer, mut found) = (Vec::new(), Vec::new());
    for (at, piece) in pieces.iter().enumerate() {
        buffer.extend_from_slice(piece);
        while !buffer.is_empty() {
            let used = match scan(&buffer) {
                Scan::Need if at + 1 < pieces.len() => break,
                Scan::Need => 1,
                Scan::Skip(count) => count,
                Scan::Frame { len, frame } => {
                    found.push(seen(&frame));
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

#[test]
fn a_sample_is_a_frame_with_its_last_byte_and_not_before() {
    for sample in samples() {
        whole(&sample);
        for end in 0..sample.len() {
            assert_eq!(scan(&sample[..end]), Scan::Need, "{sample:02x?} to {end}");
            assert_eq!(frames(&[&sample[..end]]), [], "{sample:02x?} to {end}");
            assert!(examine(&sample[..end]).is_err());
        }
    }
}

/// A sum sees every single wrong byte, but a wrong length moves the sum: none of the samples holds its own sum and an end
/// byte at another place.
#[test]
fn one_wrong_byte_is_never_another_frame() {
    for sample in samples() {
        let good = seen(&whole(&sample));
        for at in 0..sample.len() {
            for wrong in (0..=255).filter(|wrong| *wrong != sample[at]) {
                let mut damaged = sample.clone();
                damaged[at] = wrong;
                for found in frames(&[&damaged]) {
                    assert_eq!(found, good, "{sample:02x?}: {wrong:02x} at {at}");
                }
            }
        }
    }
}

#[test]
fn what_cannot_be_a_frame_is_seen_early() {
    for (front, expected) in [
        ("", Scan::Need),
        ("fefe", Scan::Need),
        ("00112268", Scan::Skip(3)),
        ("fefe0068", Scan::Skip(3)),
        ("686a", Scan::Skip(1)),
        ("fe68999f", Scan::Skip(2)),
        ("68aaaaaaaaaa", Scan::Need),
        ("6812000000102069", Scan::Skip(1)),
        ("681200000010206851", Scan::Skip(1)),
        ("681200000010206831", Scan::Skip(1)),
        ("681200000010206811 33", Scan::Skip(1)),
        ("681200000010206811 32", Scan::Need),
        ("681200000010206891 c9", Scan::Skip(1)),
        ("681200000010206891 c8", Scan::Need),
    ] {
        assert_eq!(scan(&bytes(front)), expected, "{front}");
    }
    let mut long = vec![0xFE; 70];
    long.extend(wire(METER, 0x91, &[0, 0, 1, 0]));
    assert_eq!(scan(&long), Scan::Skip(6));
    assert_eq!(whole(&long[6..]).leader, 64);
    let longest = wire(METER, 0xB1, &[0x22; 200]);
    assert_eq!(whole(&longest).data(), [0x22; 200]);
    assert!(longest.len() + 64 == FRAME_BYTES_MAX);
}

#[test]
fn a_whole_frame_inside_a_damaged_one_is_found() {
    let inner = wire(METER, 0x91, &[0, 0, 1, 0, 0x26, 0, 0, 0]);
    let mut outer = wire(METER, 0x91, &[0; 60]);
    outer[20..20 + inner.len()].copy_from_slice(&inner);
    assert_eq!(frames(&[&outer]), [seen(&whole(&inner))]);
}

#[test]
fn a_fault_is_told_by_the_best_candidate() {
    let good = wire(METER, 0x91, &[0, 0, 1, 0]);
    let mut wrong_sum = good.clone();
    wrong_sum[14] ^= 0x0F;
    let mut wrong_end = good.clone();
    wrong_end[15] = 0x17;
    for (bytes, reason) in [
        (&wrong_sum[..], "checksum"),
        (&wrong_end, "malformed"),
        (&good[..9], "truncated"),
        (&[0, 1, 2], "malformed"),
        (&[], "malformed"),
    ] {
        assert_eq!(examine(bytes).expect_err("no frame").reason, reason, "{bytes:02x?}");
    }
    let fault = examine(&wrong_sum).expect_err("no frame");
    assert_eq!((fault.computed, fault.got), (Some(good[14]), Some(good[14] ^ 0x0F)));
    let shown = format!("{:?}", whole(&wire(METER, 0x91, &[0, 0, 1, 0, 0x78, 0x56, 0x34, 0x12])));
    assert!(shown.contains("201000000012") && !shown.contains("171"), "no data: {shown}");
}

fn meter() -> Address {
    Address::from_wire(METER).expect("digits")
}

fn read(address: &str, identifier: &str) -> Request {
    let address = address.parse().expect("an address");
    Request::Read { address, identifier: identifier.parse().expect("an identifier") }
}

#[test]
fn questions_have_the_known_bytes() {
    let identifier: Identifier = "00010000".parse().expect("an identifier");
    for (request, hex) in [
        (read("260305510020", "00010000"), "fefefefe68200051050326681104333334335116"),
        (Request::ReadAddress { address: Address::ANY }, "fefefefe68aaaaaaaaaaaa681300df16"),
        (read("63295", "9010"), "fefefefe689532060000006801 02 43c3 a6 16"),
        (
            Request::Follow { address: meter(), identifier, seq: 2 },
            "fefefefe68 120000001020 68 12 05 33333433 35 2b 16",
        ),
    ] {
        assert_eq!(request.encode(), bytes(hex), "{request:?}");
        assert_eq!(request.answer(&whole(&request.encode())), None, "an echo is no answer");
    }
}

#[test]
fn answers_have_address_function_identifier_and_number_of_the_question() {
    let plain = [0x00, 0x00, 0x01, 0x00, 0x78, 0x56, 0x34, 0x12];
    let identifier = "00010000".parse().expect("an identifier");
    let follow = |seq| Request::Follow { address: meter(), identifier, seq };
    let numbered = [0x00, 0x00, 0x01, 0x00, 0x78, 0x56, 0x02];
    let is_answered = |request: &Request, control, plain: &[u8]| {
        request.answer(&whole(&wire(METER, control, plain))).map(|answer| answer.is_ok())
    };
    for (request, control, plain, expected) in [
        (read("201000000012", "00010000"), 0x91, &plain[..], Some(true)),
        (read("AAAAAAAAAAAA", "00010000"), 0x91, &plain, Some(true)),
        (read("AAAAAAAA0012", "00010000"), 0x91, &plain, Some(true)),
        (read("AAAAAAAA0013", "00010000"), 0x91, &plain, None),
        (read("201000000013", "00010000"), 0x91, &plain, None),
        (read("201000000012", "00020000"), 0x91, &plain, None),
        (read("201000000012", "00010000"), 0x92, &plain, None),
        (read("201000000012", "00010000"), 0x81, &plain, None),
        (read("201000000012", "00010000"), 0x80, &plain, None),
        (read("201000000012", "00010000"), 0x00, &plain, None),
        (read("201000000012", "00010000"), 0x11, &plain, None),
        (read("201000000012", "00010000"), 0x91, &plain[..3], None),
        (read("201000000012", "00010000"), 0xD1, &[2], Some(false)),
        (read("201000000013", "00010000"), 0xD1, &[2], None),
        (read("201000000012", "00010000"), 0xD2, &[2], None),
        (read("201000000012", "00010000"), 0xD1, &[], None),
        (read("201000000012", "9010"), 0x81, &[0x10, 0x90, 0x24, 0x54, 0x11, 0x00], Some(true)),
        (read("999999999999", "9010"), 0x81, &[0x10, 0x90, 0x24, 0x54, 0x11, 0x00], Some(true)),
        (read("999999999999", "00010000"), 0x91, &plain, None),
        (read("201000000012", "9010"), 0xC1, &[2], Some(false)),
        (read("201000000012", "901f"), 0xA1, &[0x1F, 0x90, 0x24, 0x54], Some(false)),
        (follow(2), 0x92, &numbered, Some(true)),
        (follow(1), 0x92, &numbered, None),
        (follow(2), 0x91, &numbered, None),
        (follow(2), 0xD2, &[1], Some(false)),
        (Request::ReadAddress { address: Address::ANY }, 0x93, &METER, Some(true)),
        (Request::ReadAddress { address: meter() }, 0x93, &METER, Some(true)),
        (Request::ReadAddress { address: Address::ANY }, 0x93, &[0x13, 0, 0, 0, 0x10, 0x20], None),
        (Request::ReadAddress { address: Address::ANY }, 0x93, &METER[..5], None),
        (Request::ReadAddress { address: Address::ANY }, 0x93, &[0xAA; 6], None),
    ] {
        assert_eq!(is_answered(&request, control, plain), expected, "{request:?} {control:02x} {plain:02x?}");
    }
    let first = read("AAAAAAAAAAAA", "00010000").answer(&whole(&wire(METER, 0xB1, &plain)));
    let data = plain[4..].to_vec();
    assert_eq!(first, Some(Ok(Answer { address: meter(), more: true, data })));
    let last = follow(2).answer(&whole(&wire(METER, 0x92, &numbered)));
    assert_eq!(last, Some(Ok(Answer { address: meter(), more: false, data: vec![0x78, 0x56] })));
    let who = Request::ReadAddress { address: Address::ANY }.answer(&whole(&wire([0xAA; 6], 0x93, &METER)));
    let data = METER.to_vec();
    assert_eq!(who, Some(Ok(Answer { address: meter(), more: false, data })));
    assert!(!format!("{who:?}").contains("18"), "no data");
}

#[test]
fn a_damaged_answer_is_known_as_such() {
    let request = read("201000000012", "00010000");
    let good = wire(METER, 0x91, &[0x00, 0x00, 0x01, 0x00, 0x78, 0x56, 0x34, 0x12]);
    let with = |at: usize, flip: u8| {
        let mut bytes = good.clone();
        bytes[at] ^= flip;
        bytes
    };
    for (bytes, damaged) in [
        (with(15, 1), true),
        (with(18, 1), true),
        (with(19, 1), true),
        (with(1, 1), false),
        (with(8, 1), false),
        (with(10, 1), false),
        (good.clone(), false),
        (good[..19].to_vec(), false),
    ] {
        assert_eq!(request.damaged(&bytes), damaged, "{bytes:02x?}");
    }
}

#[test]
fn a_refusal_says_why_and_whether_it_lasts() {
    for (edition, code, bits, is_lasting) in [
        (Edition::V2007, 0x02, &["no_requested_data"][..], true),
        (Edition::V2007, 0x01, &["other_error"], false),
        (Edition::V2007, 0x44, &["unauthorised", "tariffs_exceeded"], false),
        (Edition::V2007, 0x80, &[], false),
        (Edition::V1997, 0x02, &["invalid_data_identifier"], true),
        (Edition::V1997, 0x0D, &["illegal_data", "wrong_password"], false),
    ] {
        let refusal = Refusal::new(edition, code);
        assert_eq!(refusal.bits(), bits, "{refusal}");
        assert_eq!(refusal.texts().len(), bits.len());
        assert_eq!(refusal.is_lasting(), is_lasting, "{refusal}");
    }
    assert_eq!(Refusal::new(Edition::V2007, 2).to_string(), "error 02: the meter has no such item");
    let frame = wire(METER, 0xA1, &[0x1F, 0x90, 0x24, 0x54]);
    let Some(Err(refusal)) = read("201000000012", "901f").answer(&whole(&frame)) else { panic!("a refusal") };
    assert!(refusal.is_lasting() && refusal.bits() == ["incomplete"]);
}

#[test]
fn the_longest_answer_is_known() {
    for (identifier, bytes) in [
        ("00010000", 8 + 12 + 8),
        ("0001ff00", 8 + 12 + 200),
        ("0201ff00", 8 + 12 + 10),
        ("9010", 8 + 12 + 6),
        ("901f", 8 + 12 + 62),
        ("ffffffff", 8 + 12 + 200),
    ] {
        assert_eq!(read("1", identifier).answer_bytes(), bytes, "{identifier}");
    }
    assert_eq!(Request::ReadAddress { address: Address::ANY }.answer_bytes(), 26);
}

#[test]
fn the_clock_of_a_meter_is_local_and_of_this_century() {
    const ZONE_MS: i64 = 8 * 3_600_000;
    for (date, time, expected) in [
        ("05091015", "000008", Some(1_444_348_800_000)),
        ("04290200", "595923", Some(951_839_999_000)),
        ("00010170", "000000", Some(3_155_731_200_000)),
        ("01300215", "000000", None),
        ("01000015", "000000", None),
        ("ffffffff", "ffffff", None),
        ("0501011a", "000000", None),
        ("05091015", "000024", None),
        ("05091015", "600000", None),
        ("091015", "000000", None),
        ("05091015", "0000", None),
    ] {
        assert_eq!(clock_ms(&bytes(date), &bytes(time), ZONE_MS), expected, "{date} {time}");
    }
}

#[test]
fn the_time_goes_to_everybody() {
    let broadcast = TimeBroadcast::new(1_444_348_805_000, 8 * 3_600_000).expect("this century");
    let expected = [vec![0xFE; 4], wire([0x99; 6], 0x08, &[0x05, 0x00, 0x08, 0x09, 0x10, 0x15])].concat();
    assert_eq!(broadcast.encode(), expected);
    for utc_ms in [946_684_799_999, 4_102_444_800_000, i64::MAX, i64::MIN] {
        assert_eq!(TimeBroadcast::new(utc_ms, 0), None, "{utc_ms}");
    }
    assert!(
        TimeBroadcast::new(946_684_800_000, 0).is_some()
            && TimeBroadcast::new(4_102_444_799_999, 0).is_some()
    );
}

fn address() -> impl Strategy<Value = [u8; 6]> {
    proptest::array::uniform6((0..100u8).prop_map(|number| ((number / 10) << 4) | (number % 10)))
}

proptest! {
    #[test]
    fn any_bytes_in_any_split_end_and_the_split_does_not_matter(
        bytes in proptest::collection::vec(
            prop_oneof![any::<u8>(), Just(0x68), Just(0xFE), Just(0x11), Just(0x91), 0..10u8], 0..600),
        at in 0..600usize,
    ) {
        let (head, tail) = bytes.split_at(at.min(bytes.len()));
        prop_assert_eq!(frames(&[&bytes]), frames(&[head, tail]));
        let _ = examine(&bytes);
    }

    #[test]
    fn a_frame_is_found_in_garbage(
        sample in proptest::sample::select(samples()),
        before in proptest::collection::vec(any::<u8>(), 0..80),
        behind in proptest::collection::vec(any::<u8>(), 0..80),
        at in 0..200usize,
    ) {
        let good = seen(&whole(&sample));
        let capture = [before, sample, behind].concat();
        let (head, tail) = capture.split_at(at.min(capture.len()));
        prop_assert!(frames(&[head, tail]).contains(&good));
        prop_assert!(examine(&capture).is_ok());
    }

    #[test]
    fn what_is_sealed_is_opened(
        address in address(),
        leader in 0..8usize,
        data in proptest::collection::vec(any::<u8>(), 0..=200),
    ) {
        let bytes = [vec![0xFE; leader], wire(address, 0x91, &data)].concat();
        let frame = whole(&bytes);
        prop_assert_eq!(frame.leader, leader);
        prop_assert_eq!(seen(&frame), (Address::from_wire(address).expect("digits"), 0x91, data));
    }

    #[test]
    fn the_broadcast_time_is_the_clock(ms in 946_684_800_000i64..4_102_444_800_000) {
        let sent = TimeBroadcast::new(ms, 0).expect("this century").encode();
        let plain = whole(&sent).data();
        let [second, minute, hour, day, month, year] = plain[..] else { panic!("six bytes") };
        prop_assert_eq!(clock_ms(&[0, day, month, year], &[second, minute, hour], 0), Some(ms / 1000 * 1000));
    }
}
