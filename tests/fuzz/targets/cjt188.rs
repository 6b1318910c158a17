//! CJ/T 188: frames, questions, the valve, items.

use rust_decimal::Decimal;
use smallbrain::codec::cjt188::{
    ANY_KIND, Address, FRAME_BYTES_MAX, Frame, Identifier, IdentifierOrder, LEADER, Refusal, Request,
    UnitPlace, ValveCommand, examine, item_names, items, looks_unit_first, scan,
};
use smallbrain::model::Value;

use super::feed::{Head, digits, each, feed, fits, is_address, line, sum};

pub fn run(input: &[u8]) {
    let (head, line) = line(input, mend);
    let mut found = false;
    feed(head, &line, FRAME_BYTES_MAX, |bytes| {
        each(scan(bytes), |len, frame| {
            found = true;
            whole(&bytes[..len], &frame);
            asked(head, &bytes[..len], &frame);
        })
    });
    if examine(&line).is_ok() {
        assert!(found, "what holds a frame is scanned to one");
    }
    reading(head[2], Identifier(u16::from_be_bytes([head[3], head[4]])), &line[..line.len().min(100)]);
}

/// Lengths stay as they are where the line has so many bytes.
fn mend(line: &mut [u8]) {
    let mut at = 0;
    while let Some(start) = line[at..].iter().position(|byte| *byte == 0x68).map(|start| at + start) {
        let room = line.len() - start;
        if room < 13 {
            return;
        }
        let count = usize::from(line[start + 10]).min(room - 13);
        line[start + 10] = count as u8;
        line[start + 11 + count] = sum(&line[start..start + 11 + count]);
        line[start + 12 + count] = 0x16;
        at = start + 13 + count;
    }
}

fn whole(raw: &[u8], frame: &Frame<'_>) {
    let leader = raw.iter().take_while(|byte| **byte == 0xFE).count();
    let body = &raw[leader..];
    assert!(leader == frame.leader && leader <= 64);
    assert_eq!((body[0], body[body.len() - 1]), (0x68, 0x16), "start and end");
    assert_eq!(body.len(), 13 + usize::from(body[10]), "the length of a frame");
    assert_eq!(sum(&body[..body.len() - 2]), body[body.len() - 2], "the checksum of a frame");
    assert!(is_address(&body[2..9]) && frame.address.wire() == body[2..9]);
    assert_eq!((frame.kind, frame.control, frame.data), (body[1], body[9], &body[11..body.len() - 2]));
}

/// What a question is about, in bytes.
struct Question {
    kind: u8,
    address: [u8; 7],
    function: u8,
    identifier: u16,
    ser: Option<u8>,
}

/// Questions near to what the frame answers, and what may be their answers.
fn asked(head: Head, raw: &[u8], frame: &Frame<'_>) {
    let (data, whose) = (frame.data, frame.address.wire());
    let order = if head[3] & 1 == 0 { IdentifierOrder::HighFirst } else { IdentifierOrder::LowFirst };
    let mut sent = [data[0], data[1]];
    if head[3] & 1 == 1 {
        sent.reverse();
    }
    let identifier = Identifier(u16::from_be_bytes(sent) ^ u16::from(head[3] >> 1 & 1));
    let kind = if head[2] & 1 == 1 { ANY_KIND } else { frame.kind ^ (head[2] >> 1 & 1) };
    // In a refusal the serial number stands first.
    let ser = data[if frame.is_error() { 0 } else { 2 }] ^ (head[2] >> 2 & 1);
    let mut wire = whose;
    match head[2] >> 4 & 3 {
        1 => wire[usize::from(head[4] % 7)] = 0xAA,
        2 => wire[usize::from(head[4] % 7)] ^= head[5] & 0x11,
        _ => {}
    }
    let Some(address) = Address::from_wire(wire) else { return };
    let any_ser = head[2] >> 3 & 1 == 1;
    let function = match identifier.0 {
        0x810A => 0x03,
        0x8106 => 0x09,
        _ => 0x01,
    };
    let own = |function, identifier: Identifier, ser| Question {
        kind,
        address: wire,
        function,
        identifier: identifier.0,
        ser,
    };
    let first = Request::ReadAddress { order, ser };
    let any = Question { kind: ANY_KIND, address: [0xAA; 7], function: 0x03, identifier: 0x810A, ser: None };
    let read = Request::Read { kind, address, identifier, order, ser, leader: LEADER, any_ser };
    for (request, question, named) in [
        (read, own(function, identifier, (!any_ser).then_some(ser)), true),
        (first, any, !frame.address.is_wildcard()),
    ] {
        let got = request.answer(frame).map(|answer| match answer {
            Ok(answer) => {
                assert_eq!((answer.kind, answer.address), (frame.kind, frame.address));
                let order = answer.order;
                reading(answer.kind, identifier, &answer.data);
                Ok((order, answer.data))
            }
            Err(refusal) => Err(refused(refusal)),
        });
        assert_eq!(got, expected(&question, order, frame).filter(|_| named), "{request:?}");
        assert!(!request.damaged(raw), "a good frame is not damaged");
    }
    let valve = ValveCommand { kind, address, order, ser, open: head[6] & 1 == 1 };
    let got = valve.answers(frame).map(|answer| answer.map_err(refused));
    let taken = expected(&own(0x04, Identifier::VALVE, Some(ser)), order, frame);
    assert_eq!(got, taken.map(|answer| answer.map(|_| ())), "{valve:?}");
}

fn refused(refusal: Refusal) -> (u8, bool) {
    (refusal.code, refusal.is_incomplete())
}

type Said = Result<(IdentifierOrder, Vec<u8>), (u8, bool)>;

fn expected(question: &Question, order: IdentifierOrder, frame: &Frame<'_>) -> Option<Said> {
    let (control, data) = (frame.control, frame.data);
    let theirs = control & 0x9F == 0x80 | question.function
        && (question.kind == ANY_KIND || question.kind == frame.kind)
        && fits(&question.address, &frame.address.wire());
    let numbered = |ser: u8| question.ser.is_none_or(|asked| asked == ser);
    if !theirs {
        return None;
    }
    if control & 0x40 != 0 {
        return (data.len() == 3 && numbered(data[0])).then(|| Err((data[1], false)));
    }
    let high = question.identifier.to_be_bytes();
    let mut orders = [(IdentifierOrder::HighFirst, high), (IdentifierOrder::LowFirst, [high[1], high[0]])];
    if order == IdentifierOrder::LowFirst {
        orders.reverse();
    }
    let (order, _) = orders.into_iter().find(|(_, wire)| data[..2] == *wire)?;
    if !numbered(data[2]) {
        return None;
    }
    Some(if control & 0x20 != 0 { Err((0, true)) } else { Ok((order, data[3..].to_vec())) })
}

/// Values have the digits that were sent, or there are none.
fn reading(kind: u8, identifier: Identifier, data: &[u8]) {
    let names = item_names(kind, identifier);
    for place in [UnitPlace::Behind, UnitPlace::InFront] {
        let Ok(reading) = items(kind, identifier, data, place) else { continue };
        assert!(data.is_empty() || reading.items.iter().all(|item| names.contains(&&*item.name)));
        for (item, sent) in reading.items.iter().zip(&reading.sent) {
            match (&item.value, digits(sent.digits)) {
                (Some(Value::Number(number)), Some(digits)) => {
                    assert_eq!(number.mantissa(), digits, "{}", item.name);
                    assert!(*number <= Decimal::from(99_999_999) && number.scale() <= 4);
                }
                (None, digits) => assert!(digits.is_none() || item.unit.is_empty(), "{}", item.name),
                _ => panic!("{}: a value of what is no number", item.name),
            }
        }
        if let Some(status) = reading.status {
            assert!(data.ends_with(&status.0));
        }
        if let Some(clock) = reading.clock {
            assert!((2000..2100).contains(&clock.year()), "a year of two digits");
        }
    }
    let _ = looks_unit_first(data);
}
