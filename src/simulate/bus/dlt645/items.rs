//! What stands behind an identifier: which items, in which order and form.
//!
//! Source: DL/T 645-2007 appendix A; DL/T 645-1997. An identifier of 1997 stands for the same quantity as one of 2007,
//! mostly with fewer digits.

use super::super::bytes::{bcd, date, time};
use super::*;

/// One item of an answer. `what` is always an identifier of 2007.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Number {
        what: u32,
        form: Form,
    },
    /// Of a phase that the meter does not have.
    Missing(usize),
    Date,
    Time,
    /// When the last daily freeze was: midnight.
    Midnight,
    Address,
    /// One of the words 1 to 7.
    Status(u8),
    /// The one byte of 1997.
    Status1997,
}

/// How a number is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) bytes: usize,
    pub(super) places: u32,
    /// The top bit says that it is below zero.
    pub(super) signed: bool,
    /// Of the number of 2007, in an item of 1997.
    pub(super) divisor: i64,
}

fn form(bytes: usize, places: u32, signed: bool) -> Form {
    Form { bytes, places, signed, divisor: 1 }
}

/// A number, lowest byte first.
pub(super) fn number(value: i64, form: Form) -> Vec<u8> {
    let mut bytes = bcd(value.unsigned_abs(), form.bytes);
    if let Some(top) = bytes.last_mut()
        && form.signed
    {
        *top = *top & 0x7F | u8::from(value < 0) << 7;
    }
    bytes
}

impl Dlt645Meter {
    /// The items of an identifier of the meter's edition; none when it has no such identifier.
    pub(super) fn items(&self, identifier: u32) -> Option<Vec<Item>> {
        match self.edition {
            Edition::V2007 => self.items_2007(identifier),
            Edition::V1997 => self.items_1997(identifier),
        }
    }

    fn items_2007(&self, identifier: u32) -> Option<Vec<Item>> {
        let [group, kind, index, last] = identifier.to_be_bytes();
        let one = |item| Some(vec![item]);
        match (group, kind, index, last) {
            (0x00, 0x00..=0x0A, _, _) => {
                let tariffs = range(index, 0, self.tariffs.min(63))?;
                let days = range(last, 0, 12)?;
                let signed = matches!(kind, 0x00 | 0x03 | 0x04);
                let item = |day, tariff| Item::Number {
                    what: u32::from_be_bytes([0, kind, tariff, day]),
                    form: form(4, 2, signed),
                };
                Some(days.flat_map(|day| tariffs.clone().map(move |tariff| item(day, tariff))).collect())
            }
            (0x02, 0x01..=0x07, _, 0) => {
                let (first, form) = match kind {
                    0x01 | 0x07 => (1, form(2, 1, false)),
                    0x02 => (1, form(3, 3, true)),
                    0x03 | 0x04 => (0, form(3, 4, true)),
                    0x05 => (0, form(3, 4, false)),
                    _ => (0, form(2, 3, true)),
                };
                self.of_phases(kind, range(index, first, 3)?, form)
            }
            (0x02, 0x80, 0x00, 0x01..=0x0A) => {
                let form = match last {
                    0x01 => form(3, 3, false),
                    0x02 | 0x08 | 0x09 => form(2, 2, false),
                    0x03..=0x06 => form(3, 4, true),
                    0x07 => form(2, 1, true),
                    _ => form(4, 0, false),
                };
                one(Item::Number { what: identifier, form })
            }
            (0x03, 0x30, 0x0D | 0x0E, 0x00) | (0x1D, 0x00, 0x00, 0x01) => {
                one(Item::Number { what: identifier, form: form(3, 0, false) })
            }
            (0x04, 0x00, 0x01, 0x01) => one(Item::Date),
            (0x04, 0x00, 0x01, 0x02) => one(Item::Time),
            (0x04, 0x00, 0x04, 0x01 | 0x02) => one(Item::Address),
            (0x04, 0x00, 0x05, _) => Some(range(last, 1, 7)?.map(Item::Status).collect()),
            (0x05, 0x06, 0x00, 0x01) => one(Item::Midnight),
            (0x05, 0x06, 0x01, 0x01) => {
                let frozen = |tariff| Item::Number {
                    what: u32::from_be_bytes([0, 1, tariff, values::MIDNIGHT]),
                    form: form(4, 2, false),
                };
                Some((0..=self.tariffs.min(63)).map(frozen).collect())
            }
            _ => None,
        }
    }

    fn items_1997(&self, identifier: u32) -> Option<Vec<Item>> {
        let [_, _, group, item] = identifier.to_be_bytes();
        let (kind, index) = (item >> 4, item & 0x0F);
        let every = |index, most| if index == 0x0F { 0..=most } else { index..=index };
        match (group, kind) {
            (0x90 | 0x91, 1 | 2) if index == 0x0F || index <= self.tariffs => {
                // 9010 and 9020 are active, 9110 and 9120 reactive; forward and reverse.
                let what = if group == 0x90 { kind } else { kind + 2 };
                let item = |tariff| Item::Number {
                    what: u32::from_be_bytes([0, what, tariff, 0]),
                    form: form(4, 2, false),
                };
                Some(every(index, self.tariffs.min(14)).map(item).collect())
            }
            (0xB6, 1..=5) => {
                let (what, first, form) = match kind {
                    1 => (1, 1, Form { divisor: 10, ..form(2, 0, false) }),
                    2 => (2, 1, Form { divisor: 10, ..form(2, 2, false) }),
                    3 => (3, 0, form(3, 4, false)),
                    4 => (4, 0, Form { divisor: 100, ..form(2, 2, false) }),
                    _ => (6, 0, form(2, 3, false)),
                };
                let phases = if index == 0x0F { first..=3 } else { range(index, first, 3)? };
                self.of_phases(what, phases, form)
            }
            (0xC0, 1) if index < 2 => Some(vec![if index == 0 { Item::Date } else { Item::Time }]),
            (0xC0, 2) if index == 0 => Some(vec![Item::Status1997]),
            (0xC0, 3) if index == 2 => Some(vec![Item::Address]),
            _ => None,
        }
    }

    /// Phases 1 to 3, and 0 for their sum. A single-phase meter has the first only; in a block FF stands for the others.
    fn of_phases(&self, kind: u8, phases: std::ops::RangeInclusive<u8>, form: Form) -> Option<Vec<Item>> {
        let alone = phases.start() == phases.end();
        phases
            .map(|phase| match phase <= self.phases.max(1) {
                true => Some(Item::Number { what: u32::from_be_bytes([2, kind, phase, 0]), form }),
                false => (!alone).then_some(Item::Missing(form.bytes)),
            })
            .collect()
    }

    /// The plain bytes of an item.
    pub(super) fn bytes(&self, item: Item, elapsed: Duration) -> Vec<u8> {
        let now = self.now(elapsed);
        match item {
            Item::Number { what, form } => number(self.number(what, form, elapsed), form),
            Item::Missing(bytes) => vec![0xFF; bytes],
            Item::Date => [&[now.weekday().to_sunday_zero_offset() as u8], &date(now)[..]].concat(),
            Item::Time => time(now).to_vec(),
            Item::Midnight => [&[0, 0], &date(now)[..]].concat(),
            Item::Address => address::<6>(self.address).to_vec(),
            Item::Status(word) => self.status[usize::from(word) - 1].to_le_bytes().to_vec(),
            Item::Status1997 => vec![self.status[0] as u8],
        }
    }
}

/// The numbers that one byte of an identifier stands for: itself, or all of them for FF.
fn range(byte: u8, first: u8, last: u8) -> Option<std::ops::RangeInclusive<u8>> {
    match byte {
        0xFF => Some(first..=last),
        one => (first..=last).contains(&one).then_some(one..=one),
    }
}
