//! What a memory keeps over a restart, as bytes.
//!
//! Little-endian. A version, and then for every cell that holds something: the series' own number (8), what is read
//! (1, and 8 for how far back), when the series was last heard (8), the length of what follows (4), and what it holds. Bytes
//! that end in the middle, or of another version, give what could be read of them.

use std::collections::VecDeque;

use rust_decimal::Decimal;

use super::{BUCKETS_MAX, Bucket, CellId, Holds, Memory, Over, Reads};
use crate::model::{Quality, SeriesKey, Value};
use crate::rules::cel::Lookback;

const VERSION: u8 = 1;
/// The codes of [`Reads`]; kept for good.
const LOOKBACKS: [Lookback; 4] = [Lookback::Lowest, Lookback::Highest, Lookback::Rise, Lookback::Rate];

impl Memory {
    /// What it holds of series that have a lasting number, for [`Memory::restore`]; presence is not in it.
    pub fn snapshot(&self, name: impl Fn(SeriesKey) -> Option<i64>) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        for (at, series) in self.series.iter().enumerate() {
            let Some(newest_ms) = series.newest_ms else { continue };
            let Some(name) = u32::try_from(at).ok().and_then(|at| name(SeriesKey(at))) else { continue };
            for cell in self.chain(series.first).filter_map(|id| self.cell(id)) {
                let (code, over_ms, held) = written(&cell.holds);
                bytes.extend(name.to_le_bytes());
                bytes.push(code);
                bytes.extend(over_ms.to_le_bytes());
                bytes.extend(newest_ms.to_le_bytes());
                bytes.extend(u32::try_from(held.len()).unwrap_or(u32::MAX).to_le_bytes());
                bytes.extend(held);
            }
        }
        bytes
    }

    /// Takes up what another memory kept, for the cells that this one has; the others are skipped.
    pub fn restore(&mut self, bytes: &[u8], find: impl Fn(i64) -> Option<SeriesKey>) {
        let Some((&VERSION, bytes)) = bytes.split_first() else { return };
        let mut left = Left(bytes);
        while self.restore_cell(&mut left, &find).is_some() {}
    }

    fn restore_cell(&mut self, left: &mut Left<'_>, find: &impl Fn(i64) -> Option<SeriesKey>) -> Option<()> {
        let (name, code, over_ms, newest_ms) = (left.i64()?, left.u8()?, left.u64()?, left.i64()?);
        let length = u32::from_le_bytes(left.array()?);
        let held = Left(left.bytes(usize::try_from(length).ok()?)?);
        let found = find(name).zip(reads(code, over_ms));
        if let Some((series, id)) = found.and_then(|(key, reads)| Some((key, self.find(key, reads)?))) {
            self.series[series.index()].newest_ms = Some(newest_ms);
            if let Some(holds) = read(code, over_ms, held) {
                self.cells[id.0 as usize].holds = holds;
            }
        }
        Some(())
    }

    fn find(&self, series: SeriesKey, reads: Reads) -> Option<CellId> {
        let first = self.series.get(series.index())?.first;
        self.chain(first).find(|id| self.cell(*id).is_some_and(|cell| cell.is(reads)))
    }
}

fn reads(code: u8, over_ms: u64) -> Option<Reads> {
    match code {
        0 => Some(Reads::Value),
        1 => Some(Reads::Quality),
        _ => Some(Reads::Over(*LOOKBACKS.get(usize::from(code) - 2)?, over_ms)),
    }
}

/// The code of what is read, how far back, and what it holds.
fn written(holds: &Holds) -> (u8, u64, Vec<u8>) {
    let mut held = Vec::new();
    match holds {
        Holds::Value(value) => {
            match value {
                None => {}
                Some(Value::Number(number)) => {
                    held.push(0);
                    held.extend(number.serialize());
                }
                Some(Value::Flag(flag)) => held.extend([1, u8::from(*flag)]),
                Some(Value::Text(text)) => {
                    held.push(2);
                    held.extend(text.as_bytes());
                }
            }
            (0, 0, held)
        }
        Holds::Quality(quality) => (1, 0, quality.iter().map(|quality| *quality as u8).collect()),
        // Not of a series.
        Holds::Online(_) => (u8::MAX, 0, held),
        Holds::Over(over) => {
            let mark = |(number, time_ms): (Decimal, i64), held: &mut Vec<u8>| {
                held.extend(number.serialize());
                held.extend(time_ms.to_le_bytes());
            };
            if let Some(last) = over.last {
                mark(last, &mut held);
            }
            for bucket in &over.buckets {
                held.extend(bucket.index.to_le_bytes());
                [bucket.min, bucket.max, bucket.rise].iter().for_each(|of| held.extend(of.serialize()));
                held.push(u8::from(bucket.first.is_some()));
                if let Some(first) = bucket.first {
                    mark(first, &mut held);
                }
            }
            let code = LOOKBACKS.iter().position(|of| *of == over.of).and_then(|at| u8::try_from(at).ok());
            (code.map_or(u8::MAX, |code| code + 2), over.over_ms, held)
        }
    }
}

fn read(code: u8, over_ms: u64, mut left: Left<'_>) -> Option<Holds> {
    match reads(code, over_ms)? {
        Reads::Value => {
            let value = match left.u8() {
                None => None,
                Some(0) => Some(Value::Number(left.decimal()?)),
                Some(1) => Some(Value::Flag(left.u8()? == 1)),
                Some(2) => Some(Value::Text(std::str::from_utf8(left.0).ok()?.into())),
                Some(_) => return None,
            };
            Some(Holds::Value(value))
        }
        Reads::Quality => Some(Holds::Quality(left.u8().map(Quality::from_code))),
        Reads::Over(of, over_ms) => {
            let mut over = Over { of, over_ms, buckets: VecDeque::new(), last: None };
            if !left.0.is_empty() {
                over.last = Some(left.mark()?);
            }
            while !left.0.is_empty() && over.buckets.len() < BUCKETS_MAX {
                over.buckets.push_back(left.bucket()?);
            }
            Some(Holds::Over(Box::new(over)))
        }
    }
}

/// Bytes that are not read yet.
struct Left<'a>(&'a [u8]);

impl<'a> Left<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    fn decimal(&mut self) -> Option<Decimal> {
        self.array().map(Decimal::deserialize)
    }

    fn mark(&mut self) -> Option<(Decimal, i64)> {
        Some((self.decimal()?, self.i64()?))
    }

    fn bucket(&mut self) -> Option<Bucket> {
        let index = self.i64()?;
        let (min, max, rise) = (self.decimal()?, self.decimal()?, self.decimal()?);
        let first = if self.u8()? == 1 { Some(self.mark()?) } else { None };
        Some(Bucket { index, first, min, max, rise })
    }
}
