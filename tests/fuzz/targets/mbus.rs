//! M-Bus: frames, questions, telegrams of both data structures, items.

use std::collections::HashSet;

use rust_decimal::Decimal;
use smallbrain::codec::mbus::{
    FRAME_BYTES_MAX, Fixed, Frame, Function, Record, Request, SELECTED, items, records, scan,
};
use smallbrain::model::Value;

use super::feed::{Head, digits, each, feed, line, sum};

pub fn run(input: &[u8]) {
    let (head, line) = line(input, mend);
    feed(head, &line, FRAME_BYTES_MAX, |bytes| {
        each(scan(bytes), |len, frame| {
            whole(&bytes[..len], &frame);
            asked(head, &bytes[..len], &frame);
        })
    });
    telegram(&line[..line.len().min(253)]);
}

/// Lengths stay as they are where the line has so many bytes.
fn mend(line: &mut [u8]) {
    let mut at = 0;
    while let Some(start) = line[at..].iter().position(|byte| *byte == 0x68).map(|start| at + start) {
        let room = line.len() - start;
        if room < 9 {
            return;
        }
        let count = usize::from(line[start + 1]).min(room - 6);
        (line[start + 1], line[start + 2], line[start + 3]) = (count as u8, count as u8, 0x68);
        line[start + 4 + count] = sum(&line[start + 4..start + 4 + count]);
        line[start + 5 + count] = 0x16;
        at = start + 6 + count;
    }
}

fn whole(raw: &[u8], frame: &Frame<'_>) {
    let (control, address, content, user) = match *frame {
        Frame::Ack => return assert_eq!(raw, [0xE5]),
        Frame::Short { control, address } => {
            assert!(raw.len() == 5 && raw[0] == 0x10);
            (control, address, &raw[1..3], &[][..])
        }
        Frame::Long { control, address, data } => {
            assert_eq!((raw[0], raw[3], raw[1]), (0x68, 0x68, raw[2]), "start, start, lengths");
            assert_eq!(raw.len(), 6 + usize::from(raw[1]), "the length of a frame");
            (control, address, &raw[4..raw.len() - 2], data)
        }
    };
    assert_eq!((sum(content), 0x16), (raw[raw.len() - 2], raw[raw.len() - 1]), "checksum and end");
    assert_eq!(([control, address], user), ([content[0], content[1]], &content[2..]));
}

/// Questions near to what the frame answers, and what may be their answers.
fn asked(head: Head, raw: &[u8], frame: &Frame<'_>) {
    let (control, address, data) = match *frame {
        Frame::Ack | Frame::Short { .. } => (0, head[3], &[][..]),
        Frame::Long { control, address, data } => (control, address, data),
    };
    let to = match head[2] & 3 {
        0 => address,
        1 => address ^ 1,
        2 => SELECTED,
        _ => 254,
    };
    let number = data.get(1..5).map_or(0, |id| u32::from_le_bytes([id[0], id[1], id[2], id[3]]));
    let id = match head[2] >> 2 & 3 {
        0 => None,
        1 => Some(number),
        2 => Some(number | 0xF << (4 * (head[4] & 7))),
        _ => Some(number ^ 1 << (head[4] & 31)),
    };
    let ack = matches!(frame, Frame::Ack);
    for (request, expected) in [
        (Request::Reset { address: to }, ack.then_some(Ok((to, &[][..])))),
        (Request::Select { id: number }, ack.then_some(Ok((SELECTED, &[][..])))),
        (Request::Data { address: to, fcb: true, id }, expected(to, id, control, address, data)),
    ] {
        let got = request.answer(frame);
        assert!(!request.damaged(raw), "a good frame is not damaged");
        match &got {
            Some(Ok(answer)) => {
                assert_eq!(expected, Some(Ok((answer.address, &*answer.data))), "{request:?}");
                assert_eq!(answer.more, answer.telegram().is_ok_and(|telegram| telegram.more));
                telegram(&answer.data);
            }
            Some(Err(refusal)) => assert_eq!(expected, Some(Err(refusal.code)), "{request:?}"),
            None => assert_eq!(expected, None, "{request:?}"),
        }
    }
}

fn expected(
    to: u8,
    id: Option<u32>,
    control: u8,
    address: u8,
    data: &[u8],
) -> Option<Result<(u8, &[u8]), u8>> {
    let ci = *data.first()?;
    if control & 0xCF != 0x08 || (to != address && !matches!(to, SELECTED | 254)) {
        return None;
    }
    match ci {
        0x70 => return Some(Err(data.get(1).copied().unwrap_or(0))),
        0x72 | 0x73 | 0x78 | 0x7A => {}
        _ => return None,
    }
    if let Some(asked) = id {
        let found = data.get(1..5).filter(|_| ci <= 0x73)?;
        let found = found.iter().rev().map(|byte| format!("{byte:02x}")).collect::<String>();
        let asked = format!("{asked:08x}");
        if !asked.chars().zip(found.chars()).all(|(asked, found)| asked == 'f' || asked == found) {
            return None;
        }
    }
    Some(Ok((address, data)))
}

/// A telegram is bounded by its bytes, its items have one name each, and a plain first record says what its bytes say.
fn telegram(data: &[u8]) {
    if let Ok(fixed) = Fixed::read(data) {
        assert_eq!((data[0], data.len(), fixed.counters().count()), (0x73, 17, 2));
    }
    let Ok(telegram) = records(data) else { return };
    assert!(telegram.records.len() <= data.len(), "a record has a byte");
    let own = telegram.records.iter().filter(|record| record.function == Function::Manufacturer).count();
    let more = telegram.records.iter().filter(|record| record.function == Function::More).count();
    assert_eq!((own <= 1, more), (true, usize::from(telegram.more)));
    let items = items(&telegram.records);
    let names: HashSet<_> = items.iter().map(|item| &item.name).collect();
    assert_eq!(names.len(), items.len(), "a name comes twice");
    assert_eq!(items.len(), telegram.records.len() - own - more);
    let header = match data[0] {
        0x72 => 13,
        0x7A => 5,
        0x78 => 1,
        _ => return,
    };
    if let (Some(record), Some(bytes)) = (telegram.records.first(), data.get(header..)) {
        first(record, bytes);
    }
}

/// A volume of m³ in a plain integer or BCD, without DIFE and VIFE.
fn first(record: &Record, bytes: &[u8]) {
    let [dif, vif @ 0x10..=0x16, data @ ..] = bytes else { return };
    if dif & 0xC0 != 0 {
        return;
    }
    let len = match dif & 0x0F {
        len @ 1..=4 => len,
        6 => 6,
        7 => 8,
        len @ 9..=0xC => len - 8,
        0xE => 6,
        _ => return,
    };
    let data = &data[..len.into()];
    let number = if dif & 8 == 0 { integer(data) } else { bcd(data) };
    let places = u32::from(0x16 - vif);
    let value = number.map(|number| Value::Number(Decimal::from_i128_with_scale(number, places)));
    assert_eq!(record.value, value, "{bytes:02x?}");
    assert_eq!((&*record.quantity, record.unit), ("Volume", "m^3"));
}

/// The most negative number is none.
fn integer(data: &[u8]) -> Option<i128> {
    let negative = data.last()? & 0x80 != 0;
    let mut wide = [if negative { 0xFF } else { 0 }; 16];
    wide[..data.len()].copy_from_slice(data);
    let number = i128::from_le_bytes(wide);
    (number != -(1 << (8 * data.len() - 1))).then_some(number)
}

/// An F in front is a minus.
fn bcd(data: &[u8]) -> Option<i128> {
    let (last, rest) = data.split_last()?;
    if last >> 4 != 0xF {
        return digits(data);
    }
    digits(&[rest, &[last & 0x0F]].concat()).map(|number| -number)
}
