//! Answers against captured frames, and what cannot be seen in one frame.

use super::super::bytes::hex;
use super::items::{Form, number};
use super::*;

const START: Duration = Duration::ZERO;

/// Asks; empty when it is silent.
fn ask(meter: &mut Dlt645Meter, sent: &[u8], twist: Twist) -> Vec<u8> {
    let (len, question) = question(sent).expect("a question");
    assert_eq!(len, sent.len());
    if meter.takes(&question) { meter.answer(&question, START, twist) } else { Vec::new() }
}

/// A question with a plain content, written lowest byte first.
fn asked(to: u64, control: u8, data: &str) -> Vec<u8> {
    frame(address(to), control, &hex(data))
}

/// What it says to a read of this identifier: control and plain data.
fn read(meter: &mut Dlt645Meter, identifier: u32) -> (u8, Vec<u8>) {
    let (control, size) = if meter.edition == Edition::V1997 { (0x01, 2) } else { (0x11, 4) };
    let sent = frame(address(meter.address), control, &identifier.to_le_bytes()[..size]);
    plain(&ask(meter, &sent, Twist::Right))
}

fn plain(answer: &[u8]) -> (u8, Vec<u8>) {
    (answer[8], answer[10..answer.len() - 2].iter().map(|byte| byte.wrapping_sub(0x33)).collect())
}

fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Captured answers. A number goes through the form of its item; where it cannot, its plain bytes are given.
#[test]
fn answers_are_those_of_the_samples() {
    enum Said {
        Number(i64),
        Bytes(&'static str),
    }
    use Said::{Bytes, Number};
    for (meter, identifier, said, sample) in [
        (Dlt645Meter::new(161, 1), 0x0203_0000, Number(2512), "68610100000000689107333336354558336b16"),
        (Dlt645Meter::new(161, 1), 0x0205_0000, Number(5006), "68610100000000689107333338353983338c16"),
        (Dlt645Meter::new(161, 1), 0x0206_0000, Number(501), "686101000000006891063333393534380916"),
        (
            Dlt645Meter::new(201_000_000_012, 1),
            0x0506_0001,
            Bytes("0000091015"),
            "681200000010206891093433393833333c4348b116",
        ),
        (
            Dlt645Meter::new(201_000_000_012, 1),
            0x0330_0D00,
            Number(27),
            "68120000001020689107334063365a33337616",
        ),
        (
            Dlt645Meter::new(201_000_000_012, 1),
            0x1D00_0001,
            Number(0),
            "68120000001020689107343333503333332d16",
        ),
        (
            Dlt645Meter::new(111_111_111_111, 1),
            0x0280_0007,
            Number(239),
            "681111111111116891063a33b3356c35c316",
        ),
        (
            Dlt645Meter::new(2_241_020_208, 1),
            0x0400_0402,
            Bytes("080202412200"),
            "6808020241220068910a353733373b35357455335116",
        ),
        (Dlt645Meter::new(1, 1), 0x0001_0000, Number(11_228_026), "680100000000006891083333343359b35544dc16"),
        (
            Dlt645Meter::new(201_806_020_003, 1),
            0x0000_0000,
            Number(11_924),
            "6803000206182068910833333333574c34338216",
        ),
        (
            Dlt645Meter::new(71_801_024_091, 1),
            0x0001_0000,
            Number(0),
            "689140020118076891083333343333333333f516",
        ),
        (
            Dlt645Meter::new(910_004_360_618, 1),
            0x0001_0000,
            Bytes("00000e00"),
            "681806360400916891083333343333334133f916",
        ),
        (
            Dlt645Meter::new(181_226_034_194, 1),
            0x0001_0000,
            Number(26),
            "68944103261218689108333334335933333350 16",
        ),
        (
            Dlt645Meter::new(1, 1),
            0x0001_0000,
            Bytes("1200000001"),
            "680100000000006891093333343345333333344a16",
        ),
        (
            Dlt645Meter::v1997(111_800_118_216, 1),
            0x9010,
            Number(115_424),
            "6816821100181168810643c3578744338416",
        ),
        (Dlt645Meter::v1997(63_295, 1), 0x9010, Number(36), "6895320600000068810643c3693333332c16"),
        (Dlt645Meter::v1997(63_295, 1), 0xB611, Number(0), "6895320600000068810444e93333b516"),
        (
            Dlt645Meter::v1997(201_708_176_934, 1),
            0xC011,
            Bytes("042222"),
            "68346917081720688105 44f33755556116",
        ),
    ] {
        let bytes = match (said, meter.items(identifier).as_deref()) {
            (Number(value), Some([items::Item::Number { form, .. }])) => number(value, *form),
            (Number(_), items) => panic!("{identifier:x} is {items:?}"),
            (Bytes(bytes), _) => hex(bytes),
        };
        let (control, size) = if meter.edition == Edition::V1997 { (0x01, 2) } else { (0x11, 4) };
        let question = frame(address(meter.address), control, &identifier.to_le_bytes()[..size]);
        let answer = ask(&mut meter.saying(identifier, &bytes), &question, Twist::Right);
        assert_eq!(text(&answer), sample.replace(' ', ""));
    }
}

#[test]
fn addresses_and_errors_are_those_of_the_samples() {
    let wildcard = hex("68aaaaaaaaaaaa681300df16");
    for (address, sample) in [
        (181_226_034_194, "68944103261218689306c7743659454beb16"),
        (332_316_420, "682064313203006893065397646536336f16"),
    ] {
        assert_eq!(text(&ask(&mut Dlt645Meter::new(address, 1), &wildcard, Twist::Right)), sample);
    }
    for (mut meter, question, twist, sample) in [
        (
            Dlt645Meter::new(201_000_000_012, 1),
            asked(201_000_000_012, 0x11, "0100ff0e"),
            Twist::Right,
            "6812000000102068d101351916",
        ),
        (
            Dlt645Meter::v1997(63_295, 1),
            asked(63_295, 0x01, "1fb7"),
            Twist::Right,
            "6895320600000068c101359416",
        ),
        (
            Dlt645Meter::new(123_456_781_012, 1),
            asked(123_456_781_012, 0x11, "0000ff01"),
            Twist::Refuse(1),
            "6812107856341268d101340c16",
        ),
    ] {
        assert_eq!(text(&ask(&mut meter, &question, twist)), sample);
    }
}

/// The clock, whose bytes stand in the order of the samples.
#[test]
fn date_time_and_freeze_follow_the_clock() {
    let mut meter =
        Dlt645Meter { clock: civil::date(2015, 10, 9).at(22, 22, 4, 0), ..Dlt645Meter::new(12, 1) };
    // A Friday.
    for (identifier, said) in [
        (0x0400_0101, "05091015"),
        (0x0400_0102, "042222"),
        (0x0506_0001, "0000091015"),
        (0x0400_0401, "120000000000"),
    ] {
        let (control, data) = read(&mut meter, identifier);
        assert_eq!(
            (control, &data[..4], text(&data[4..])),
            (0x91, &identifier.to_le_bytes()[..], said.into())
        );
    }
    let later = meter.content(0x0400_0102, Duration::from_secs(3600 * 2)).expect("a time");
    assert_eq!(text(&later), "042200");
    // Two hours on it is the 10th, and the freeze has what was counted until midnight.
    let midnight = Duration::from_secs(3600 * 24 - (22 * 3600 + 22 * 60 + 4));
    let day = Duration::from_secs(3600 * 20);
    let frozen = meter.content(0x0506_0101, day).expect("a freeze");
    assert_eq!(frozen, meter.content(0x0001_FF00, midnight).expect("a block"));
    meter.edition = Edition::V1997;
    assert_eq!(text(&read(&mut meter, 0xC010).1), "10c005091015");
    assert_eq!(text(&read(&mut meter, 0xC011).1), "11c0042222");
    assert_eq!(text(&read(&mut meter, 0xC032).1), "32c0120000000000");
}

#[test]
fn signs_are_in_the_top_bit() {
    let form = |signed| Form { bytes: 3, places: 4, signed, divisor: 1 };
    assert_eq!(number(-123_456, form(true)), [0x56, 0x34, 0x92]);
    assert_eq!(number(923_456, form(true)), [0x56, 0x34, 0x12]);
    assert_eq!(number(-923_456, form(false)), [0x56, 0x34, 0x92]);
    let meter = Dlt645Meter::new(1, 0);
    let power = meter.value(0x0203_0000, START).expect("a power");
    assert_eq!(power.to_string(), "-2.0000");
    assert_eq!(text(&meter.content(0x0203_0000, START).expect("a power")), "000082");
}

#[test]
fn a_block_holds_what_its_items_say_alone() {
    let at = Duration::from_secs(777);
    for meter in [
        Dlt645Meter::new(7, 3),
        Dlt645Meter::new(7, 3).fixed(),
        Dlt645Meter { tariffs: 2, ..Dlt645Meter::new(7, 4) },
    ] {
        for (block, items) in [
            (
                0x0001_FF00,
                (0..=u32::from(meter.tariffs)).map(|tariff| 0x0001_0000 | tariff << 8).collect::<Vec<_>>(),
            ),
            (0x0001_00FF, (0..=12).map(|day| 0x0001_0000 | day).collect()),
            (0x0201_FF00, vec![0x0201_0100, 0x0201_0200, 0x0201_0300]),
            (0x0202_FF00, vec![0x0202_0100, 0x0202_0200, 0x0202_0300]),
            (0x0203_FF00, vec![0x0203_0000, 0x0203_0100, 0x0203_0200, 0x0203_0300]),
            (0x0206_FF00, vec![0x0206_0000, 0x0206_0100, 0x0206_0200, 0x0206_0300]),
            (0x0400_05FF, (1..=7).map(|word| 0x0400_0500 | word).collect()),
        ] {
            let alone: Vec<u8> =
                items.iter().flat_map(|item| meter.content(*item, at).expect("an item")).collect();
            assert_eq!(meter.content(block, at), Some(alone), "{block:08x}");
        }
        let old = Dlt645Meter { edition: Edition::V1997, ..meter };
        let alone: Vec<u8> = (0..=u32::from(old.tariffs))
            .flat_map(|tariff| old.content(0x9010 | tariff, at).expect("an item"))
            .collect();
        assert_eq!(old.content(0x901F, at), Some(alone));
    }
    let single = Dlt645Meter { phases: 1, ..Dlt645Meter::new(7, 3) }.fixed();
    assert_eq!(text(&single.content(0x0201_FF00, at).expect("a block")), "1103ffffffff");
    assert_eq!(single.content(0x0201_0200, at), None);
    assert_eq!(single.value(0x0201_0100, at), Some(rust_decimal::Decimal::new(311, 1)));
}

#[test]
fn counters_add_up_and_only_rise() {
    let meter = Dlt645Meter::new(7, 4);
    let value = |identifier, second| meter.value(identifier, Duration::from_secs(second)).expect("an energy");
    let mut last = value(0x0001_0000, 0);
    for second in (1..100_000).step_by(997) {
        let total = value(0x0001_0000, second);
        assert!(total > last);
        last = total;
        let tariffs: rust_decimal::Decimal =
            (1..=4).map(|tariff| value(0x0001_0000 | tariff << 8, second)).sum();
        assert_eq!(tariffs, total);
        assert_eq!(value(0x0000_0000, second), total - value(0x0002_0000, second));
        assert_eq!(meter.energy(Duration::from_secs(second)), total);
    }
    assert!(value(0x0001_0000, 0) > value(0x0001_0001, 0) && value(0x0001_0001, 0) > value(0x0001_000C, 0));
}

/// No two items of a meter, and no two meters, say the same number.
#[test]
fn fixed_values_say_whose_they_are() {
    let identifiers = [
        0x0001_0000,
        0x0002_0000,
        0x0000_0000,
        0x0001_0100,
        0x0001_0001,
        0x0201_0100,
        0x0201_0200,
        0x0201_0300,
        0x0202_0100,
        0x0203_0000,
        0x0203_0100,
        0x0204_0000,
        0x0205_0000,
        0x0206_0000,
        0x0280_0002,
        0x0280_0007,
        0x0330_0D00,
        0x1D00_0001,
    ];
    let mut seen = std::collections::BTreeMap::new();
    for seed in 0..79 {
        let meter = Dlt645Meter::new(1, seed).fixed();
        for identifier in identifiers {
            let value = meter.value(identifier, START).expect("a number");
            let form = meter.items(identifier);
            let number = value.mantissa();
            assert_eq!(meter.value(identifier, Duration::from_secs(9999)), Some(value));
            assert!(number > 0 || seed == 0, "{form:?}");
            if seed > 0 {
                assert_eq!(seen.insert(number, (seed, identifier)), None, "{seed} {identifier:08x}");
            }
        }
    }
    let old = Dlt645Meter::v1997(1, 3).fixed();
    assert_eq!(text(&old.content(0xB611, START).expect("a voltage")), "1103");
}

#[test]
fn a_long_block_comes_in_frames() {
    let mut meter = Dlt645Meter::new(12, 3);
    let whole = meter.content(0x0001_FFFF, START).expect("a block");
    assert_eq!(whole.len(), 5 * 13 * 4);
    let (control, mut got) = read(&mut meter, 0x0001_FFFF);
    assert_eq!(control, 0xB1);
    let mut got = got.split_off(4);
    let follow = |sequence: u8| asked(12, 0x12, &format!("ffff0100{sequence:02x}"));
    let (control, data) = plain(&ask(&mut meter, &follow(1), Twist::Right));
    assert_eq!((control, &data[..4], data.last()), (0x92, &[0xFF, 0xFF, 1, 0][..], Some(&1)));
    got.extend_from_slice(&data[4..data.len() - 1]);
    assert_eq!(got, whole);
    for none in [0, 2, 255] {
        assert_eq!(plain(&ask(&mut meter, &follow(none), Twist::Right)), (0xD2, vec![2]), "{none}");
    }
    // In many short frames.
    let mut meter = Dlt645Meter { chunk: 8, ..meter };
    let mut got = read(&mut meter, 0x0001_FF00).1.split_off(4);
    for (sequence, expected) in [(1, 0xB2), (2, 0x92)] {
        let sent = asked(12, 0x12, &format!("00ff0100{sequence:02x}"));
        let (control, data) = plain(&ask(&mut meter, &sent, Twist::Right));
        assert_eq!((control, data.last()), (expected, Some(&sequence)));
        got.extend_from_slice(&data[4..data.len() - 1]);
    }
    assert_eq!(Some(got), meter.content(0x0001_FF00, START));
    meter.edition = Edition::V1997;
    assert_eq!(read(&mut meter, 0x901F).0, 0xA1);
    assert_eq!(plain(&ask(&mut meter, &asked(12, 0x02, "1f9002"), Twist::Right)).0, 0x82);
}

#[test]
fn who_answers_to_which_address() {
    let meter = Dlt645Meter::new(201_000_000_012, 1);
    let old = Dlt645Meter::v1997(201_000_000_012, 1);
    let ff = |text: &str| hex(text);
    for (address, new_answers, old_answers) in [
        ("120000001020", true, true),
        ("1200aaaaaaaa", true, true),
        ("aaaaaaaaaaaa", true, true),
        ("130000001020", false, false),
        ("1300aaaaaaaa", false, false),
        ("999999999999", false, true),
    ] {
        let to: [u8; 6] = ff(address).try_into().expect("six bytes");
        let new = ask(&mut meter.clone(), &frame(to, 0x11, &hex("00000100")), Twist::Right);
        assert_eq!(!new.is_empty(), new_answers, "{address}");
        assert!(new.is_empty() || new[1..7] == [0x12, 0, 0, 0, 0x10, 0x20], "with its real address");
        let said = ask(&mut old.clone(), &frame(to, 0x01, &hex("1090")), Twist::Right);
        assert_eq!(!said.is_empty(), old_answers, "{address}");
    }
    let foreign_edition = frame([0xAA; 6], 0x01, &hex("1090"));
    assert!(ask(&mut meter.clone(), &foreign_edition, Twist::Right).is_empty());
    assert!(ask(&mut old.clone(), &frame([0xAA; 6], 0x11, &hex("00000100")), Twist::Right).is_empty());
    assert!(ask(&mut old.clone(), &frame([0xAA; 6], 0x13, &[]), Twist::Right).is_empty());
}

#[test]
fn what_would_write_is_refused_or_not_answered_and_counts() {
    let mut meter = Dlt645Meter::new(12, 1);
    for control in [0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1A, 0x1B, 0x1C] {
        let answer = ask(&mut meter, &asked(12, control, "0001000102030405"), Twist::Right);
        assert_eq!(plain(&answer), (control | 0xC0, vec![4]));
    }
    for (to, control) in [([0x99; 6], 0x08), ([0x99; 6], 0x16), (address(12), 0x08)] {
        assert!(ask(&mut meter, &frame(to, control, &[0; 6]), Twist::Right).is_empty());
    }
    assert!(ask(&mut meter, &asked(13, 0x14, "0001000102030405"), Twist::Right).is_empty());
    assert_eq!(meter.writes_seen, 12);
    let mut old = Dlt645Meter::v1997(12, 1);
    assert_eq!(plain(&ask(&mut old, &asked(12, 0x04, "10c005091015"), Twist::Right)), (0xC4, vec![4]));
    assert_eq!(old.writes_seen, 1);
}

#[test]
fn a_twisted_answer_is_one_of_another_identifier() {
    let mut meter = Dlt645Meter::new(12, 1);
    for (asked_for, said) in [("00000100", "00000200"), ("00010102", "00000100")] {
        let answer = ask(&mut meter, &asked(12, 0x11, asked_for), Twist::OtherItem);
        assert_eq!(text(&plain(&answer).1[..4]), said);
    }
}
