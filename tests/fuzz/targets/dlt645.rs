//! DL/T 645: frames, questions of both editions, items, the clock.

use std::collections::HashSet;

use smallbrain::codec::Item;
use smallbrain::codec::bcd;
use smallbrain::codec::dlt645::{
    Address, Edition, FRAME_BYTES_MAX, Frame, Identifier, ItemError, Request, bad_digits, clock_ms, examine,
    item_names, items, known, scan,
};
use smallbrain::model::Value;

use super::feed::{Head, digits, each, feed, fits, is_address, line, sum};

const YEAR_2000_MS: i64 = 946_684_800_000;
const YEAR_2100_MS: i64 = 4_102_444_800_000;

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
    // A frame somewhere is one that the scan finds, unless another one is around it.
    if examine(&line).is_ok() {
        assert!(found, "what holds a frame is scanned to one");
    }
    numbers(head, &line);
    let edition = if head[3] & 1 == 0 { Edition::V2007 } else { Edition::V1997 };
    if let Some((identifier, data)) = Identifier::split(edition, &line) {
        named(identifier, &data[..data.len().min(200)]);
    }
}

/// Lengths stay as they are where the line has so many bytes.
fn mend(line: &mut [u8]) {
    let mut at = 0;
    while let Some(start) = line[at..].iter().position(|byte| *byte == 0x68).map(|start| at + start) {
        let room = line.len() - start;
        if room < 12 {
            return;
        }
        let count = usize::from(line[start + 9]).min(room - 12);
        line[start + 7] = 0x68;
        line[start + 9] = count as u8;
        line[start + 10 + count] = sum(&line[start..start + 10 + count]);
        line[start + 11 + count] = 0x16;
        at = start + 12 + count;
    }
}

fn whole(raw: &[u8], frame: &Frame<'_>) {
    let leader = raw.iter().take_while(|byte| **byte == 0xFE).count();
    let body = &raw[leader..];
    assert!(leader == frame.leader && leader <= 64);
    assert_eq!((body[0], body[7], body[body.len() - 1]), (0x68, 0x68, 0x16), "start, start, end");
    assert_eq!(body.len(), 12 + usize::from(body[9]), "the length of a frame");
    assert_eq!(sum(&body[..body.len() - 2]), body[body.len() - 2], "the checksum of a frame");
    assert!(is_address(&body[1..7]) && frame.address.wire() == body[1..7]);
    assert_eq!((frame.control, frame.raw()), (body[8], &body[10..body.len() - 2]));
    let data: Vec<u8> = frame.raw().iter().map(|byte| byte.wrapping_sub(0x33)).collect();
    assert_eq!(frame.data(), data);
}

/// A question near to what the frame answers, and what may be its answer.
fn asked(head: Head, raw: &[u8], frame: &Frame<'_>) {
    let (data, whose) = (frame.data(), frame.address.wire());
    let edition = if head[3] & 1 == 0 { Edition::V2007 } else { Edition::V1997 };
    let sent = Identifier::split(edition, &data).map_or(u32::from(head[6]), |(sent, _)| sent.number());
    let number = if head[2] & 1 == 0 { sent } else { sent ^ 1 << (head[6] % 32) };
    let identifier = match edition {
        Edition::V2007 => Identifier::v2007(number),
        Edition::V1997 => Identifier::v1997(number as u16),
    };
    let mut wire = whose;
    match head[2] >> 1 & 3 {
        0 => {}
        1 => wire[usize::from(head[4] % 6)] = 0xAA,
        2 => wire[usize::from(head[4] % 6)] ^= head[5] & 0x11,
        _ => wire = [0x99; 6],
    }
    let Some(address) = Address::from_wire(wire) else { return };
    let follow =
        Request::Follow { address, identifier, seq: data.last().copied().unwrap_or(0) ^ (head[7] & 1) };
    for request in [Request::Read { address, identifier }, follow, Request::ReadAddress { address }] {
        let got = request.answer(frame).map(|answer| match answer {
            Ok(answer) => Ok((answer.address.wire(), answer.more, answer.data)),
            Err(refusal) => Err(refusal.code),
        });
        assert_eq!(got, expected(&request, frame.control, whose, &data), "{request:?}");
        assert!(!request.damaged(raw), "a good frame is not damaged");
        if let (Request::Read { identifier, .. }, Some(Ok((_, _, data)))) = (&request, got) {
            named(*identifier, &data);
        }
    }
}

type Said = Result<([u8; 6], bool, Vec<u8>), u8>;

fn expected(request: &Request, control: u8, whose: [u8; 6], data: &[u8]) -> Option<Said> {
    let (address, identifier, function) = match request {
        Request::Read { address, identifier } if identifier.edition() == Edition::V1997 => {
            (address, Some(*identifier), 0x01)
        }
        Request::Read { address, identifier } => (address, Some(*identifier), 0x11),
        Request::Follow { address, identifier, .. } => (address, Some(*identifier), 0x12),
        Request::ReadAddress { address } => (address, None, 0x13),
    };
    let old = identifier.is_some_and(|identifier| identifier.edition() == Edition::V1997);
    let is_from = |found: &[u8; 6]| {
        let any = old && address.wire() == [0x99; 6];
        !found.contains(&0xAA) && (any || fits(&address.wire(), found))
    };
    let more = control & 0x20 != 0;
    if control & 0x9F != 0x80 | function {
        return None;
    }
    if control & 0x40 != 0 {
        return (data.len() == 1 && is_from(&whose)).then(|| Err(data[0]));
    }
    let Some(identifier) = identifier else {
        let own: [u8; 6] = data.try_into().ok()?;
        let known = is_address(&own) && is_from(&own) && fits(&whose, &own) && !more;
        return known.then(|| Ok((own, false, own.to_vec())));
    };
    let mut wire = identifier.number().to_le_bytes().to_vec();
    wire.truncate(if old { 2 } else { 4 });
    let mut rest = data.strip_prefix(&wire[..]).filter(|_| is_from(&whose))?;
    if let Request::Follow { seq, .. } = request {
        rest = rest.strip_suffix(&[*seq])?;
    }
    Some(if more && old { Err(0) } else { Ok((whose, more, rest.to_vec())) })
}

/// Items of an identifier: as many as named, no name twice, a single number with the digits of its bytes.
fn named(identifier: Identifier, data: &[u8]) {
    let names = item_names(identifier);
    assert_eq!(names.is_some(), known(identifier), "{identifier}");
    let _ = bad_digits(identifier, data);
    let items = match items(identifier, data) {
        Ok(items) => items,
        Err(error) => {
            let unknown = matches!(error, ItemError::Unknown(_));
            assert_eq!(unknown, names.is_none(), "{identifier}");
            return;
        }
    };
    let unique: HashSet<_> = items.iter().map(|item| &item.name).collect();
    assert_eq!(unique.len(), items.len(), "{identifier}: a name comes twice");
    if let [Item { value: Some(Value::Number(number)), .. }] = &items[..] {
        let mut magnitude = data.to_vec();
        if let Some(last) = magnitude.last_mut().filter(|_| number.is_sign_negative()) {
            *last ^= 0x80;
        }
        let unsigned = digits(&magnitude);
        if let Some(last) = magnitude.last_mut() {
            *last &= 0x7F;
        }
        let shown = Some(number.mantissa().abs());
        assert!(shown == unsigned || shown == digits(&magnitude), "{identifier}: {number} of {data:02x?}");
    }
}

/// The decimals of all codecs, and the clock.
fn numbers(head: Head, line: &[u8]) {
    let bytes = &line[..line.len().min(14)];
    let places = u32::from(head[4] % 8);
    let got = bcd::number(bytes, places, false);
    let plain = digits(bytes);
    assert_eq!(got.map(|number| (number.mantissa(), number.scale())), plain.map(|plain| (plain, places)));
    if let Some((last, rest)) = bytes.split_last() {
        let magnitude = digits(&[rest, &[last & 0x7F]].concat());
        let signed = magnitude.map(|number| if *last >= 0x80 { -number } else { number });
        assert_eq!(bcd::number(bytes, places, true).map(|number| number.mantissa()), signed);
    }
    if let [date @ .., _, _, _] = &bytes[..bytes.len().min(7)]
        && let Some(ms) = clock_ms(date, &bytes[date.len()..date.len() + 3], 0)
    {
        assert!((YEAR_2000_MS..YEAR_2100_MS).contains(&ms), "a year of two digits");
        assert_eq!(clock_ms(date, &bytes[date.len()..date.len() + 3], 1), Some(ms - 1));
    }
}
