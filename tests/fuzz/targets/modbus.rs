//! Modbus RTU: frames of both directions, questions, writes, inquiries, registers.

use rust_decimal::Decimal;
use smallbrain::codec::modbus::{
    Body, Direction, FRAME_BYTES_MAX, Finding, Frame, IDENTITY_BYTES_MAX, Inquiry, Order, RegisterKind,
    Request, Table, Write, Written, scan,
};
use smallbrain::model::Value;

use super::feed::{Head, digits, each, feed, line};

const TABLES: [Table; 4] = [Table::Coil, Table::Discrete, Table::Holding, Table::Input];

pub fn run(input: &[u8]) {
    let (head, line) = line(input, mend);
    for direction in [Direction::Request, Direction::Response] {
        feed(head, &line, FRAME_BYTES_MAX, |bytes| {
            each(scan(bytes, direction), |len, frame| {
                whole(&bytes[..len], &frame);
                if direction == Direction::Response {
                    read(head, &bytes[..len], &frame);
                    written(head, &bytes[..len], &frame);
                    inquired(head, &bytes[..len], &frame);
                }
            })
        });
    }
    registers(&line, head[7].into());
}

/// All of the line is one frame.
fn mend(line: &mut [u8]) {
    if let Some((content, seal)) = line.split_last_chunk_mut::<2>() {
        *seal = crc(content);
    }
}

/// Bit by bit, as in Modbus over Serial Line V1.02 §6.2.2.
pub fn crc(bytes: &[u8]) -> [u8; 2] {
    let mut crc = 0xFFFF_u16;
    for byte in bytes {
        crc ^= u16::from(*byte);
        for _ in 0..8 {
            let carry = crc & 1 == 1;
            crc >>= 1;
            if carry {
                crc ^= 0xA001;
            }
        }
    }
    crc.to_le_bytes()
}

fn whole(raw: &[u8], frame: &Frame<'_>) {
    let (content, seal) = raw.split_last_chunk::<2>().expect("a frame has a checksum");
    assert_eq!(crc(content), *seal, "the checksum of a frame");
    assert_eq!((frame.unit, frame.function), (raw[0], raw[1] & 0x7F));
    match frame.body {
        Body::Bits(data) | Body::Registers(data) | Body::Server(data) => {
            assert_eq!((usize::from(raw[2]), data), (data.len(), &content[3..]));
        }
        Body::Exception(exception) => assert!(raw[1] >= 0x80 && exception.0 == raw[2] && raw.len() == 5),
        Body::WriteMany { data, .. } | Body::ReadWrite { data, .. } => assert!(content.ends_with(data)),
        Body::Identification { objects, .. } => {
            let bytes: usize = objects.iter().map(|(_, content)| 2 + content.len()).sum();
            assert_eq!(bytes, content.len() - 8, "the objects fill the frame");
        }
        _ => {}
    }
}

/// A question near to what the frame answers.
fn read(head: Head, raw: &[u8], frame: &Frame<'_>) {
    let unit = raw[0] ^ (head[2] & 1);
    let table = TABLES[usize::from((raw[1].wrapping_sub(1) ^ (head[2] >> 1 & 1)) & 3)];
    let bytes = if raw[1] < 0x80 { u16::from(raw[2]) } else { u16::from(head[3]) };
    let count = (if table.is_bits() { 8 * bytes } else { bytes / 2 }).saturating_sub((head[3] & 15).into());
    let Ok(request) = Request::new(unit, table, head[4].into(), count) else { return };
    let asked = if table.is_bits() { usize::from(count).div_ceil(8) } else { 2 * usize::from(count) };
    let expected = match raw[1] {
        _ if raw[0] != unit => None,
        function if function == 0x80 | table.function() => Some(Err(raw[2])),
        function if function == table.function() && usize::from(raw[2]) == asked => {
            Some(Ok(&raw[3..raw.len() - 2]))
        }
        _ => None,
    };
    assert_eq!(request.answer(frame).map(|answer| answer.map_err(|exception| exception.0)), expected);
    assert!(!request.damaged(raw), "a good frame is not damaged");
    if let Some(Ok(data)) = expected {
        assert_eq!(raw.len(), request.answer_bytes());
        registers(data, head[5].into());
    }
}

fn written(head: Head, raw: &[u8], frame: &Frame<'_>) {
    let start = u16::from_be_bytes([raw[2], raw[3]]) ^ u16::from(head[2] >> 2 & 1);
    let value =
        raw.get(4..6).map_or(0, |pair| u16::from_be_bytes([pair[0], pair[1]])) ^ u16::from(head[3] & 1);
    for written in [
        Written::Coil(value & 0xFF00 != 0),
        Written::Register(value),
        Written::Registers(vec![7; usize::from(value % 130)]),
    ] {
        let Ok(write) = Write::new(raw[0] ^ (head[2] & 1), start, written) else { continue };
        let sent = write.encode();
        let content = &sent[..6];
        let expected = match raw[..] {
            [unit, function, code, _, _] if unit == sent[0] && function == 0x80 | sent[1] => Some(Err(code)),
            _ => (raw.len() == 8 && raw[..6] == *content).then_some(Ok(())),
        };
        assert_eq!(write.answers(frame).map(|answer| answer.map_err(|exception| exception.0)), expected);
    }
}

fn inquired(head: Head, raw: &[u8], frame: &Frame<'_>) {
    let unit = raw[0] ^ (head[2] & 1);
    for inquiry in [Inquiry::status(unit), Inquiry::server(unit), Inquiry::identification(unit)] {
        let Ok(mut inquiry) = inquiry else { return };
        let mut asked = 0;
        while let Some(answer) = inquiry.answer(frame) {
            let sent = inquiry.encode();
            assert_eq!((raw[0], raw[1] & 0x7F), (sent[0], sent[1]), "unit and function");
            assert!(!inquiry.damaged(raw), "a good frame is not damaged");
            let (texts, next) = match answer {
                Err(exception) => {
                    assert_eq!((raw[1], raw[2]), (sent[1] | 0x80, exception.0));
                    break;
                }
                Ok(Finding::Status(status)) => {
                    assert_eq!(status, raw[2]);
                    break;
                }
                Ok(Finding::Server(server)) => (vec![server.text], None),
                Ok(Finding::Identity { identity, next }) => {
                    (vec![identity.vendor, identity.product, identity.revision], next)
                }
            };
            for text in texts.into_iter().flatten() {
                assert!(!text.is_empty() && text.len() <= IDENTITY_BYTES_MAX);
                assert!(!text.chars().any(char::is_control), "nothing moves a cursor");
            }
            asked += 1;
            assert!(asked <= 3, "what is asked on for ends");
            let Some(next) = next else { break };
            inquiry = next;
        }
    }
}

/// Every type at one place: integers and BCD say what the bytes say, and what is written is what was read.
fn registers(data: &[u8], at: usize) {
    const KINDS: [&str; 19] = [
        "u16",
        "i16",
        "f16",
        "u32",
        "i32",
        "f32",
        "u64",
        "i64",
        "f64",
        "bcd16",
        "bcd32",
        "bcd64",
        "high_byte",
        "low_byte",
        "high_i8",
        "low_i8",
        "bit",
        "bit11",
        "text:3",
    ];
    for name in KINDS {
        for order in [Order::Abcd, Order::Cdab, Order::Badc, Order::Dcba] {
            let Some(kind) = RegisterKind::named(name, order) else { continue };
            let value = kind.read(data, at, &[]);
            if kind == RegisterKind::Bit {
                assert_eq!(value.is_some(), at < 8 * data.len());
                continue;
            }
            let bytes = data.get(2 * at..).and_then(|rest| rest.get(..2 * usize::from(kind.width())));
            let Some(bytes) = bytes else {
                assert!(value.is_none(), "{name} beyond the end");
                continue;
            };
            let bytes = ordered(bytes, order);
            if let Some(expected) = number(name, &bytes) {
                assert_eq!(value, expected.map(Value::Number), "{name} {order:?} {bytes:02x?}");
            }
            let Some(value) = value else { continue };
            same_float(name, &bytes, &value);
            let Some(registers) = kind.write(&value) else { continue };
            let again: Vec<u8> = registers.iter().flat_map(|register| register.to_be_bytes()).collect();
            assert_eq!(kind.read(&again, 0, &[]), Some(value), "{name} {order:?} is written as it was read");
        }
    }
}

/// In the order ABCD.
fn ordered(bytes: &[u8], order: Order) -> Vec<u8> {
    let mut pairs: Vec<&[u8]> = bytes.chunks(2).collect();
    if matches!(order, Order::Cdab | Order::Dcba) {
        pairs.reverse();
    }
    let swapped = matches!(order, Order::Badc | Order::Dcba);
    pairs.iter().flat_map(|pair| if swapped { [pair[1], pair[0]] } else { [pair[0], pair[1]] }).collect()
}

/// What the bytes of an exact type say.
fn number(name: &str, bytes: &[u8]) -> Option<Option<Decimal>> {
    let unsigned = bytes.iter().fold(0_i128, |number, byte| number << 8 | i128::from(*byte));
    let signed = if bytes[0] >= 0x80 { unsigned - (1 << (8 * bytes.len())) } else { unsigned };
    let little: Vec<u8> = bytes.iter().rev().copied().collect();
    let number = match name {
        "u16" | "u32" | "u64" => Some(unsigned),
        "i16" | "i32" | "i64" => Some(signed),
        "bcd16" | "bcd32" | "bcd64" => digits(&little),
        "high_byte" => Some(bytes[0].into()),
        "low_byte" => Some(bytes[1].into()),
        "high_i8" => Some((bytes[0] as i8).into()),
        "low_i8" => Some((bytes[1] as i8).into()),
        _ => return None,
    };
    Some(number.map(|number| Decimal::from_i128_with_scale(number, 0)))
}

/// The decimal of a float reads back as the same float, unless it needs more than 28 places.
fn same_float(name: &str, bytes: &[u8], value: &Value) {
    let Value::Number(number) = value else { return };
    let (got, float) = match *bytes {
        [a, b, c, d] if name == "f32" => {
            let float = f32::from_be_bytes([a, b, c, d]);
            (number.to_string().parse::<f32>().map(f64::from), f64::from(float))
        }
        [a, b, c, d, e, f, g, h] if name == "f64" => {
            (number.to_string().parse(), f64::from_be_bytes([a, b, c, d, e, f, g, h]))
        }
        _ => return,
    };
    assert!(float.abs() < 1e-8 || got == Ok(float), "{name}: {number} is not {float}");
}
