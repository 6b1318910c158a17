//! Data of an answer to named values.
//!
//! Guarantees: values are exact and keep the places of the format; data whose length does not belong to the identifier give
//! no value at all; digits above 9, impossible dates and FF, which meters send for what they do not have, are no value.
//!
//! Blocks (FF in DI2, DI1 or DI0; F in the lower half of a DI0 of 1997) hold their items in the order of the table. How
//! many tariffs a meter has, only the length of its answer says; whether a block of all quantities goes on behind the
//! last one with tariffs, too. Where a length has more than one reading, there are no values.

use std::borrow::Cow;

use rust_decimal::Decimal;

use super::table::{self, Quantity, Register, Row, Shape};
use super::{Edition, Identifier, time};
use crate::codec::Item;
use crate::codec::bcd::{is_bcd, number, pair};
use crate::model::Value;

/// FF in an identifier.
const BLOCK: u8 = 0xFF;
/// Settlement days before the present one, 01 to 0C.
const SETTLEMENTS: u8 = 12;
/// Tariffs, 01 to 3F; of 1997, 1 to E.
const TARIFFS_MAX: usize = 0x3F;
const TARIFFS_MAX_1997: usize = 0x0E;
/// Tariffs of a block whose length is not known, for [`item_names`].
const TARIFFS_NAMED: usize = 12;

/// Why data have no items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ItemError {
    /// No such row in the tables here.
    #[error("data identifier {0}: not among those whose items are known; read one that is")]
    Unknown(Identifier),
    /// Not what the identifier's items take.
    #[error("data identifier {identifier}: {bytes} bytes are not what its items take; the answer is dropped")]
    Length {
        /** What was read. */
        identifier: Identifier,
        /** Of the data, without the identifier. */
        bytes: usize,
    },
}

/// The values in `data`, which is [`super::Answer::data`] of a whole answer.
///
/// # Errors
/// An identifier that is not known; data of another length than the identifier's.
pub fn items(identifier: Identifier, data: &[u8]) -> Result<Vec<Item>, ItemError> {
    let rows = rows(identifier, Extent::Bytes(data.len()))?;
    let mut items = Vec::with_capacity(rows.len());
    for (row, bytes) in split(&rows, data) {
        let values = values(row.shape, bytes);
        // Of a row's items only the first is a quantity.
        let units = std::iter::once(row.unit).chain(std::iter::repeat(""));
        let named = row.names().zip(values).zip(units);
        items.extend(named.map(|((name, (value, _)), unit)| Item { name, value, unit }));
    }
    Ok(items)
}

/// Whether an item has no value because its digits are above 9, and not because the meter says that it has none.
#[must_use]
pub fn bad_digits(identifier: Identifier, data: &[u8]) -> bool {
    let rows = rows(identifier, Extent::Bytes(data.len())).unwrap_or_default();
    split(&rows, data).flat_map(|(row, bytes)| values(row.shape, bytes)).any(|(value, bytes)| {
        value.is_none() && bytes.iter().any(|byte| *byte != 0xFF) && !bytes.iter().all(|byte| is_bcd(*byte))
    })
}

/// Whether [`items`] knows the identifier.
#[must_use]
pub fn known(identifier: Identifier) -> bool {
    rows(identifier, Extent::Tariffs(0)).is_ok()
}

/// The names of an identifier's items; of a tariff block, total and 12 tariffs. None when it is not known.
#[must_use]
pub fn item_names(identifier: Identifier) -> Option<Vec<Cow<'static, str>>> {
    let rows = rows(identifier, Extent::Tariffs(TARIFFS_NAMED)).ok()?;
    Some(rows.iter().flat_map(Row::names).collect())
}

/// Bytes of the longest data of an identifier, without the identifier. None when it is not known.
pub(super) fn bytes_max(identifier: Identifier) -> Option<usize> {
    let rows = rows(identifier, Extent::Tariffs(TARIFFS_MAX)).ok()?;
    Some(rows.iter().map(|row| row.shape.bytes()).sum())
}

/// How far a block goes.
#[derive(Clone, Copy)]
enum Extent {
    /// As its length says, or not at all.
    Bytes(usize),
    /// All quantities with so many tariffs, at most.
    Tariffs(usize),
}

/// What the data of an identifier hold, one after the other. With [`Extent::Bytes`], exactly that many bytes.
fn rows(identifier: Identifier, extent: Extent) -> Result<Vec<Row>, ItemError> {
    let [di0, di1, di2, di3] = identifier.number().to_le_bytes();
    let length = |bytes| ItemError::Length { identifier, bytes };
    let block = match (identifier.edition(), di3, di2) {
        (Edition::V2007, 0x00, _) => Block::registers(Register::Energy, di2, di1, di0),
        (Edition::V2007, 0x01, _) => Block::registers(Register::Demand, di2, di1, di0),
        (Edition::V2007, 0x05, 0x06) if di1 != 0 => Block::daily(di1, di0),
        (Edition::V1997, ..) => Block::registers_1997(di1, di0),
        _ => None,
    };
    if let Some(block) = block {
        return match extent {
            Extent::Bytes(bytes) => block.of_bytes(bytes).ok_or(length(bytes)),
            Extent::Tariffs(count) => Ok(block.rows(&block.quantities, count.min(block.tariffs_max))),
        };
    }
    let rows = fixed(identifier);
    match extent {
        _ if rows.is_empty() => Err(ItemError::Unknown(identifier)),
        Extent::Bytes(bytes) if rows.iter().map(|row| row.shape.bytes()).sum::<usize>() != bytes => {
            Err(length(bytes))
        }
        _ => Ok(rows),
    }
}

/// Rows that do not depend on the length.
fn fixed(identifier: Identifier) -> Vec<Row> {
    let number = identifier.number();
    let [di0, di1, di2, di3] = number.to_le_bytes();
    match (identifier.edition(), di3) {
        (Edition::V1997, _) if di1 == 0xB6 => {
            let variable = |phase| table::variable_1997(di0 >> 4, phase);
            match di0 & 0x0F {
                0x0F => (0..=3).filter_map(variable).collect(),
                phase => variable(phase).into_iter().collect(),
            }
        }
        (Edition::V1997, _) => table::single_1997(number).into_iter().collect(),
        (Edition::V2007, 0x02) => {
            let each = |byte: u8, all: &[u8]| if byte == BLOCK { all.to_vec() } else { vec![byte] };
            let orders: Vec<u8> = (0..=table::HARMONIC_MAX).collect();
            let (phases, orders) = (each(di1, &[0, 1, 2, 3]), each(di0, &orders));
            let mut rows = Vec::new();
            for di2 in each(di2, &table::VARIABLES) {
                for di1 in &phases {
                    rows.extend(orders.iter().filter_map(|di0| table::variable(di2, *di1, *di0)));
                }
            }
            rows
        }
        (Edition::V2007, _) if number == 0x0400_05FF => table::STATUS.to_vec(),
        (Edition::V2007, _) => table::single(number).into_iter().collect(),
    }
}

/// Energies or demands: days, in each of them quantities, in each of them total and tariffs.
struct Block {
    register: Register,
    quantities: Vec<&'static Quantity>,
    /// A block of all quantities may end behind those with tariffs.
    may_end_early: bool,
    days: std::ops::RangeInclusive<u8>,
    /// The one asked for; none for a block of total and tariffs.
    tariff: Option<u8>,
    tariffs_max: usize,
}

impl Block {
    fn registers(register: Register, di2: u8, di1: u8, di0: u8) -> Option<Self> {
        let days = match di0 {
            BLOCK => 0..=SETTLEMENTS,
            0..=SETTLEMENTS => di0..=di0,
            _ => return None,
        };
        let tariff = match di1 {
            BLOCK => None,
            tariff if usize::from(tariff) <= TARIFFS_MAX => Some(tariff),
            _ => return None,
        };
        let all = di2 == BLOCK;
        let needs_tariffs = if all { tariff.is_some_and(|tariff| tariff > 0) } else { tariff != Some(0) };
        let asked = register.quantities().filter(|quantity| all || quantity.code == di2);
        let quantities: Vec<_> = asked.filter(|quantity| !needs_tariffs || quantity.has_tariffs()).collect();
        let may_end_early = all && !needs_tariffs;
        let block = Self { register, quantities, may_end_early, days, tariff, tariffs_max: TARIFFS_MAX };
        (!block.quantities.is_empty()).then_some(block)
    }

    /// Total and tariffs of one of the last 62 days.
    fn daily(di1: u8, di0: u8) -> Option<Self> {
        let quantity = Register::Daily.quantities().find(|quantity| quantity.code == di1)?;
        let day = Some(di0).filter(|day| (1..=62).contains(day)).map(table::past_day)?;
        Some(Self {
            register: Register::Daily,
            quantities: vec![quantity],
            may_end_early: false,
            days: day..=day,
            tariff: None,
            tariffs_max: TARIFFS_MAX,
        })
    }

    fn registers_1997(di1: u8, di0: u8) -> Option<Self> {
        let quantity = table::quantity_1997(di1, di0 >> 4)?;
        let tariff = Some(di0 & 0x0F).filter(|tariff| *tariff != 0x0F);
        Some(Self {
            register: Register::Energy,
            quantities: vec![quantity],
            may_end_early: false,
            days: 0..=0,
            tariff,
            tariffs_max: TARIFFS_MAX_1997,
        })
    }

    /// The one reading of so many bytes.
    fn of_bytes(&self, bytes: usize) -> Option<Vec<Row>> {
        let row = self.register.row(self.quantities.first()?, 0, 0);
        let day = row.shape.bytes() * self.days.clone().count();
        let fields = bytes.checked_div(day).filter(|fields| fields * day == bytes)?;
        let tariffs = |quantities: &[&'static Quantity]| {
            if self.tariff.is_some() {
                return (fields == quantities.len()).then_some(0);
            }
            let beyond = fields.checked_sub(quantities.len())?;
            let count = beyond.checked_div(counted(quantities))?;
            (count * counted(quantities) == beyond && count <= self.tariffs_max).then_some(count)
        };
        let whole = &self.quantities[..];
        let early = self.may_end_early.then(|| &whole[..counted(whole)]);
        match (tariffs(whole), early.and_then(tariffs)) {
            (Some(count), None) => Some(self.rows(whole, count)),
            (None, Some(count)) => Some(self.rows(early?, count)),
            _ => None,
        }
    }

    fn rows(&self, quantities: &[&'static Quantity], tariffs: usize) -> Vec<Row> {
        let mut rows = Vec::new();
        for day in self.days.clone() {
            for quantity in quantities {
                let tariffs = match self.tariff {
                    Some(tariff) => tariff..=tariff,
                    None if quantity.has_tariffs() => 0..=tariffs as u8,
                    None => 0..=0,
                };
                rows.extend(tariffs.map(|tariff| self.register.row(quantity, tariff, day)));
            }
        }
        rows
    }
}

/// How many of them have tariffs; they come first.
fn counted(quantities: &[&Quantity]) -> usize {
    quantities.iter().take_while(|quantity| quantity.has_tariffs()).count()
}

/// Each row with its bytes; the rows take exactly the data.
fn split<'d>(rows: &[Row], mut data: &'d [u8]) -> impl Iterator<Item = (Row, &'d [u8])> {
    rows.iter().map_while(move |row| {
        let (bytes, rest) = data.split_at_checked(row.shape.bytes())?;
        data = rest;
        Some((*row, bytes))
    })
}

/// The values of a row, each with its bytes, in the order of the row's names.
fn values(shape: Shape, bytes: &[u8]) -> Vec<(Option<Value>, &[u8])> {
    let text = |text: Option<String>| text.map(|text| Value::Text(text.into()));
    match shape {
        Shape::Number { places, signed, .. } => {
            vec![(number(bytes, places, signed).map(Value::Number), bytes)]
        }
        Shape::Demand { signed } => {
            let (power, at) = bytes.split_at(3);
            vec![(number(power, 4, signed).map(Value::Number), power), (text(minute(at)), at)]
        }
        Shape::Minute => vec![(text(minute(bytes)), bytes)],
        Shape::Date => {
            let &[weekday, day, month, year] = bytes else { return Vec::new() };
            let date = time::date(year, month, day).map(|date| date.to_string());
            let weekday = pair(weekday).filter(|weekday| *weekday < 7);
            vec![
                (text(date), &bytes[1..]),
                (weekday.map(|day| Value::Number(Decimal::from(day))), &bytes[..1]),
            ]
        }
        Shape::Time => {
            let &[second, minute, hour] = bytes else { return Vec::new() };
            let time = time::time(hour, minute, second);
            vec![(text(time.map(|time| time.strftime("%H:%M:%S").to_string())), bytes)]
        }
        Shape::Digits(_) => {
            let digits = || bytes.iter().rev().map(|byte| format!("{byte:02x}")).collect();
            vec![(text(bytes.iter().all(|byte| is_bcd(*byte)).then(digits)), bytes)]
        }
        Shape::Ascii(_) => vec![(text(ascii(bytes)), bytes)],
        Shape::Status(_, bits) => {
            let word = bytes.iter().rev().fold(0_u16, |word, byte| word << 8 | u16::from(*byte));
            let there = bytes.iter().any(|byte| *byte != 0xFF);
            bits.iter().map(|bit| (there.then_some(Value::Flag(word >> bit & 1 == 1)), bytes)).collect()
        }
    }
}

/// `2015-10-09T00:00`.
fn minute(bytes: &[u8]) -> Option<String> {
    let &[minute, hour, day, month, year] = bytes else { return None };
    let at = time::date(year, month, day)?.to_datetime(time::time(hour, minute, 0)?);
    Some(at.strftime("%Y-%m-%dT%H:%M").to_string())
}

/// The last character first, filled with blanks or zeros.
fn ascii(bytes: &[u8]) -> Option<String> {
    let fill = |character: char| matches!(character, '\0' | ' ');
    let text: String = bytes.iter().rev().map(|byte| char::from(*byte)).collect();
    let text = text.trim_matches(fill);
    let printable = text.chars().all(|character| matches!(character, ' '..='~'));
    (printable && !text.is_empty()).then(|| text.to_owned())
}
