//! Every type in every order, read and written.

use proptest::prelude::*;

use super::*;

const ORDERS: [Order; 4] = [Order::Abcd, Order::Cdab, Order::Badc, Order::Dcba];

fn text(kind: RegisterKind, data: &[u8]) -> Option<String> {
    match kind.read(data, 0, &[])? {
        Value::Number(number) => Some(number.to_string()),
        Value::Flag(flag) => Some(flag.to_string()),
        Value::Text(text) => Some(text.into()),
    }
}

#[test]
fn every_kind_in_every_order() {
    use RegisterKind::*;
    let orders = |[a, b, c, d]: [u8; 4]| [[a, b, c, d], [c, d, a, b], [b, a, d, c], [d, c, b, a]];
    for (bytes, order) in orders([0x12, 0x34, 0x56, 0x78]).into_iter().zip(ORDERS) {
        assert_eq!(text(U32(order), &bytes).as_deref(), Some("305419896"), "{order:?}");
    }
    for (bytes, order) in orders([0xFF, 0xFF, 0xFF, 0xFE]).into_iter().zip(ORDERS) {
        assert_eq!(text(I32(order), &bytes).as_deref(), Some("-2"), "{order:?}");
    }
    for (bytes, order) in orders([0x41, 0xC8, 0xCC, 0xCD]).into_iter().zip(ORDERS) {
        assert_eq!(text(F32(order), &bytes).as_deref(), Some("25.1"), "{order:?}");
    }
    let long: [[u8; 8]; 4] = [
        [1, 2, 3, 4, 5, 6, 7, 8],
        [7, 8, 5, 6, 3, 4, 1, 2],
        [2, 1, 4, 3, 6, 5, 8, 7],
        [8, 7, 6, 5, 4, 3, 2, 1],
    ];
    for (bytes, order) in long.into_iter().zip(ORDERS) {
        assert_eq!(text(U64(order), &bytes).as_deref(), Some("72623859790382856"), "{order:?}");
    }
}

#[test]
fn numbers_keep_their_digits_and_what_is_none_is_no_value() {
    use Order::Abcd;
    use RegisterKind::*;
    for (kind, data, expected) in [
        (U16, &[0xAB, 0xCD][..], Some("43981")),
        (I16, &[0xAB, 0xCD], Some("-21555")),
        (F16, &[0xB8, 0x14], Some("-0.509765625")),
        (F16, &[0x00, 0x01], Some("0.00000005960464477539063")),
        (F16, &[0x7C, 0x00], None),
        (BitOf(3), &[0x00, 0x08], Some("true")),
        (BitOf(15), &[0x7F, 0xFF], Some("false")),
        (BitOf(64), &[0, 0], None),
        (Bit, &[0b10], Some("false")),
        (U64(Abcd), &[0xFF; 8], Some("18446744073709551615")),
        (I64(Abcd), &[0x80, 0, 0, 0, 0, 0, 0, 0], Some("-9223372036854775808")),
        (F32(Abcd), &[0x3D, 0xCC, 0xCC, 0xCD], Some("0.1")),
        (F32(Abcd), &[0x80, 0, 0, 0], Some("0")),
        (F32(Abcd), &[0x7F, 0xC0, 0, 0], None),
        (F32(Abcd), &[0xFF, 0x80, 0, 0], None),
        (F32(Abcd), &[0x7F, 0x7F, 0xFF, 0xFF], None),
        (F64(Abcd), &[0x40, 0x5E, 0xDD, 0x2F, 0x1A, 0x9F, 0xBE, 0x77], Some("123.456")),
        (F64(Abcd), &[0x7F, 0xF8, 0, 0, 0, 0, 0, 0], None),
        (U32(Abcd), &[0, 1, 2], None),
        (Bcd16, &[0x12, 0x34], Some("1234")),
        (Bcd16, &[0x12, 0x3A], None),
        (Bcd32(Order::Cdab), &[0x56, 0x78, 0x12, 0x34], Some("12345678")),
        (Bcd64(Abcd), &[0x99; 8], Some("9999999999999999")),
        (Bcd64(Abcd), &[0xFF; 8], None),
        (HighByte, &[0xFE, 0x01], Some("254")),
        (LowByte, &[0xFE, 0x01], Some("1")),
        (HighI8, &[0xFE, 0x01], Some("-2")),
        (LowI8, &[0x01, 0x80], Some("-128")),
        (Text { registers: 2, order: Abcd }, b"AB 1", Some("AB 1")),
        (Text { registers: 2, order: Order::Badc }, b"BA1 ", Some("AB 1")),
        (Text { registers: 2, order: Order::Cdab }, b"1\0AB", Some("AB1")),
        (Text { registers: 2, order: Order::Dcba }, b"\0 BA", Some("AB")),
        (Text { registers: 2, order: Abcd }, b" \0 \0", None),
        (Text { registers: 2, order: Abcd }, b"A\0B ", None),
        (Text { registers: 1, order: Abcd }, &[0xB5, 0xE7], None),
        (Text { registers: 1, order: Abcd }, b"\x1B[", None),
        (Text { registers: 2, order: Abcd }, b"AB1", None),
    ] {
        assert_eq!(text(kind, data).as_deref(), expected, "{kind:?} {data:02x?}");
    }
}

#[test]
fn absent_is_compared_in_the_order_of_the_value() {
    let kind = RegisterKind::U32(Order::Cdab);
    assert_eq!(kind.read(&[0xFF, 0xFF, 0x7F, 0xFF], 0, &[0x7FFF_FFFF]), None);
    assert_eq!(RegisterKind::I16.read(&[0, 0, 0x80, 0x00], 1, &[0x7FFF, 0x8000]), None);
    assert!(RegisterKind::I16.read(&[0, 0, 0x80, 0x00], 0, &[0x7FFF, 0x8000]).is_some());
    assert_eq!(RegisterKind::BitOf(0).read(&[0xFF, 0xFF], 0, &[0xFFFF]), None);
    assert_eq!(RegisterKind::LowByte.read(&[0x00, 0xFF], 0, &[0xFF]), None);
    assert_eq!(RegisterKind::HighI8.read(&[0x80, 0xFF], 0, &[0x80]), None);
    assert!(RegisterKind::Bcd16.read(&[0x99, 0x99], 0, &[0xFFFF]).is_some());
    assert_eq!(RegisterKind::U16.read(&[0, 0], usize::MAX, &[]), None);
}

#[test]
fn types_have_names() {
    use RegisterKind::*;
    let text = |registers| Text { registers, order: Order::Abcd };
    for (name, kind) in [
        ("u16", Some(U16)),
        ("f16", Some(F16)),
        ("i64", Some(I64(Order::Abcd))),
        ("bcd32", Some(Bcd32(Order::Abcd))),
        ("low_byte", Some(LowByte)),
        ("bit", Some(Bit)),
        ("bit0", Some(BitOf(0))),
        ("bit15", Some(BitOf(15))),
        ("bit16", None),
        ("bit+1", None),
        ("text:1", Some(text(1))),
        ("text:125", Some(text(125))),
        ("text:126", None),
        ("text:0", None),
        ("text", None),
        ("U16", None),
        ("", None),
    ] {
        assert_eq!(name.parse::<RegisterKind>().ok(), kind, "{name:?}");
    }
    for (name, kind) in NAMED {
        assert_eq!(name.parse(), Ok(kind));
        assert!(RegisterKind::NAMES.split(", ").any(|listed| listed == name), "{name} is listed");
    }
    assert_eq!(RegisterKind::named("f32", Order::Cdab), Some(F32(Order::Cdab)));
    assert_eq!(RegisterKind::named("u16", Order::Cdab), None);
    assert_eq!(RegisterKind::named("u16", Order::Abcd), Some(U16));
    let swapped = Text { registers: 4, order: Order::Badc };
    assert_eq!(RegisterKind::named("text:4", Order::Badc), Some(swapped));
    let error = "int8".parse::<RegisterKind>().expect_err("no type").to_string();
    assert!(error.starts_with("unknown type \"int8\": one of u16, i16, "), "{error}");
}

#[test]
fn what_fits_exactly_is_written_and_nothing_else() {
    use RegisterKind::*;
    let number = |text: &str| Value::Number(text.parse().expect("a decimal"));
    let text = |text: &str| Value::Text(text.into());
    let four = Text { registers: 2, order: Order::Badc };
    for (kind, value, expected) in [
        (U16, number("65535"), Some(vec![0xFFFF])),
        (U16, number("7.00"), Some(vec![7])),
        (U16, number("65536"), None),
        (U16, number("-1"), None),
        (U16, number("0.5"), None),
        (I16, number("-32768"), Some(vec![0x8000])),
        (I16, number("32768"), None),
        (U32(Order::Cdab), number("305419896"), Some(vec![0x5678, 0x1234])),
        (I32(Order::Dcba), number("-2"), Some(vec![0xFEFF, 0xFFFF])),
        (F32(Order::Abcd), number("25.1"), Some(vec![0x41C8, 0xCCCD])),
        (F32(Order::Badc), number("25.10"), Some(vec![0xC841, 0xCDCC])),
        (F32(Order::Abcd), number("16777217"), None),
        (F32(Order::Abcd), number("0.123456789"), None),
        (F64(Order::Abcd), number("123.456"), Some(vec![0x405E, 0xDD2F, 0x1A9F, 0xBE77])),
        (U64(Order::Abcd), number("18446744073709551615"), Some(vec![0xFFFF; 4])),
        (U64(Order::Abcd), number("18446744073709551616"), None),
        (Bcd16, number("1234"), Some(vec![0x1234])),
        (Bcd16, number("10000"), None),
        (Bcd64(Order::Abcd), number("10000000000000000"), None),
        (four, text("ABC"), Some(vec![0x4241, 0x0043])),
        (four, text("ABCDE"), None),
        (four, text("电"), None),
        (four, text(""), None),
        (U16, Value::Flag(true), None),
        (U16, text("1"), None),
        (F16, number("1"), None),
        (HighByte, number("1"), None),
        (BitOf(0), number("1"), None),
        (Bit, Value::Flag(true), None),
    ] {
        let written = kind.write(&value);
        assert_eq!(written, expected, "{kind:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_at_any_place_make_a_value_or_none(
        data in proptest::collection::vec(any::<u8>(), 0..40),
        at in 0..2100usize,
        bit in any::<u8>(),
    ) {
        for order in ORDERS {
            let text = RegisterKind::Text { registers: at as u16, order };
            let named = NAMED.map(|(_, kind)| kind.in_order(order));
            for kind in named.into_iter().chain([RegisterKind::BitOf(bit), text]) {
                let _ = kind.read(&data, at, &[]);
            }
        }
    }

    #[test]
    fn what_is_read_can_be_written_back(data in proptest::collection::vec(any::<u8>(), 8..9)) {
        use RegisterKind::*;
        for order in ORDERS {
            for kind in [U16, I16, U32(order), I32(order), U64(order), I64(order), Bcd16, Bcd32(order), Bcd64(order)] {
                let Some(value) = kind.read(&data, 0, &[]) else { continue };
                let written = kind.write(&value).expect("it was there");
                let bytes: Vec<u8> = written.iter().flat_map(|register| register.to_be_bytes()).collect();
                prop_assert_eq!(&bytes[..], &data[..bytes.len()]);
            }
        }
    }

    #[test]
    fn a_float_reads_back(float in -1e20f32..1e20) {
        let Some(Value::Number(number)) = RegisterKind::F32(Order::Abcd).read(&float.to_be_bytes(), 0, &[]) else {
            panic!("a number")
        };
        if float.abs() > 1e-15 {
            prop_assert_eq!(number.to_string().parse::<f32>().expect("a decimal is a float"), float);
        }
    }
}
