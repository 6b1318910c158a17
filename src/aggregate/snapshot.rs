//! Open windows as bytes and back.
//!
//! ```text
//! "W1" · size_ms · zone_ms · by_device                            what the windows are windows of
//! n names:   metric · has device [· device] · unit                ascending, only those in use
//! n windows: start_ms · n cells: rank of the name · count · has sum [· sum] · min · max · last · last_ms
//! ```
//! Little endian; counts, ranks and the lengths before texts are u32, flags one byte, decimals the 16 bytes of
//! `Decimal::serialize`, which keep every digit and the scale.
//!
//! Guarantees: the same windows give the same bytes; any bytes are safe to decode. It has no checksum: that is the
//! store's. Only this gateway reads it again, so a change of format changes the first two bytes and nothing else; one
//! that an earlier build left behind is read, so that an update loses no open window.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::windows::{Aggregate, Cell, CellName, Numbers, OPEN_MAX, Open};

const FORMAT: &[u8] = b"W2";
/// A cell was its numbers alone.
const FORMAT_1: &[u8] = b"W1";
const BROKEN: &str = "the bytes are no snapshot of windows, or part of one";
const OTHER: &str = "the snapshot is of windows of another size, zone or kind of cells";

type Names = BTreeMap<CellName, usize>;

fn header(format: &[u8], aggregate: &Aggregate) -> Vec<u8> {
    let mut out = format.to_vec();
    out.extend(aggregate.size_ms.to_le_bytes());
    out.extend(aggregate.zone_ms.to_le_bytes());
    out.push(u8::from(aggregate.by_device));
    out
}

/// The open windows of one aggregate; `names` numbers the cells of `open`.
pub(super) fn encode(aggregate: &Aggregate, names: &Names, open: &BTreeMap<i64, Open>) -> Vec<u8> {
    fn in_use(cells: &Open, number: usize) -> Option<&Cell> {
        cells.get(number)?.as_ref()
    }
    let mut out = header(FORMAT, aggregate);
    let used: Vec<(&CellName, usize)> = names
        .iter()
        .map(|(name, number)| (name, *number))
        .filter(|(_, number)| open.values().any(|cells| in_use(cells, *number).is_some()))
        .collect();
    put_count(&mut out, used.len());
    for (CellName { metric, device, unit }, _) in &used {
        put_text(&mut out, metric.as_str());
        out.push(u8::from(device.is_some()));
        if let Some(device) = device {
            put_text(&mut out, device.as_str());
        }
        put_text(&mut out, unit);
    }
    put_count(&mut out, open.len());
    for (start_ms, cells) in open {
        out.extend(start_ms.to_le_bytes());
        put_count(&mut out, cells.iter().flatten().count());
        for (rank, (_, number)) in used.iter().enumerate() {
            if let Some(cell) = in_use(cells, *number) {
                put_count(&mut out, rank);
                put_cell(&mut out, cell);
            }
        }
    }
    out
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend(u32::try_from(count).expect("series are numbered by u32").to_le_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_count(out, text.len());
    out.extend(text.as_bytes());
}

fn put_cell(out: &mut Vec<u8>, cell: &Cell) {
    out.extend(cell.left_out.to_le_bytes());
    out.push(u8::from(cell.numbers.is_some()));
    let Some(Numbers { count, sum, min, max, last, last_ms }) = &cell.numbers else { return };
    out.extend(count.to_le_bytes());
    out.push(u8::from(sum.is_some()));
    for decimal in sum.iter().chain([min, max, last]) {
        out.extend(decimal.serialize());
    }
    out.extend(last_ms.to_le_bytes());
}

/// The names, numbered anew, and the windows.
///
/// # Errors
/// When the bytes are no snapshot, or one of an aggregate of another shape.
pub(super) fn decode(
    aggregate: &Aggregate,
    bytes: &[u8],
) -> Result<(Names, BTreeMap<i64, Open>), &'static str> {
    let format = [FORMAT, FORMAT_1].into_iter().find(|format| bytes.starts_with(format)).ok_or(BROKEN)?;
    let header = header(format, aggregate);
    let (theirs, body) = bytes.split_at_checked(header.len()).ok_or(BROKEN)?;
    if theirs != header {
        return Err(OTHER);
    }
    Input(body, format == FORMAT_1).windows().ok_or(BROKEN)
}

/// What is left to decode, and whether it is of the first format; every step is `None` at the end of the bytes.
struct Input<'a>(&'a [u8], bool);

impl<'a> Input<'a> {
    fn windows(mut self) -> Option<(Names, BTreeMap<i64, Open>)> {
        let mut names = Names::new();
        for number in 0..self.count()? {
            if names.insert(self.name()?, number).is_some() {
                return None;
            }
        }
        let mut open = BTreeMap::new();
        for _ in 0..self.count()? {
            let start_ms = i64::from_le_bytes(self.array()?);
            let mut cells: Open = vec![None; names.len()];
            for _ in 0..self.count()? {
                let rank = self.count()?;
                *cells.get_mut(rank)? = Some(self.cell()?);
            }
            open.insert(start_ms, cells);
            if open.len() > OPEN_MAX {
                return None;
            }
        }
        self.0.is_empty().then_some((names, open))
    }

    fn name(&mut self) -> Option<CellName> {
        let metric = self.text()?.parse().ok()?;
        let device = if self.flag()? { Some(self.text()?.parse().ok()?) } else { None };
        Some(CellName { metric, device, unit: self.text()?.to_owned() })
    }

    fn cell(&mut self) -> Option<Cell> {
        if self.1 {
            return Some(Cell { left_out: 0, numbers: Some(self.numbers()?) });
        }
        let left_out = u64::from_le_bytes(self.array()?);
        let numbers = if self.flag()? { Some(self.numbers()?) } else { None };
        Some(Cell { left_out, numbers })
    }

    fn numbers(&mut self) -> Option<Numbers> {
        Some(Numbers {
            count: u64::from_le_bytes(self.array()?),
            sum: if self.flag()? { Some(self.decimal()?) } else { None },
            min: self.decimal()?,
            max: self.decimal()?,
            last: self.decimal()?,
            last_ms: i64::from_le_bytes(self.array()?),
        })
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn count(&mut self) -> Option<usize> {
        usize::try_from(u32::from_le_bytes(self.array()?)).ok()
    }

    fn flag(&mut self) -> Option<bool> {
        match self.array()? {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = self.count()?;
        str::from_utf8(self.take(len)?).ok()
    }

    fn decimal(&mut self) -> Option<Decimal> {
        Some(Decimal::deserialize(self.array()?))
    }
}
