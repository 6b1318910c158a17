//! What conditions read: the newest value of a series, its quality, who is there, and numbers over a time back.
//!
//! A cell is one thing that is read; who compiles a condition asks for its cells once, and reads them by number.
//!
//! Guarantees: bounded by what was asked for, never by what is heard; a newest value is that of the reading that came
//! last, whatever its event time, so that a device whose clock is put back is not deaf; a lookback is by event time, from
//! the later of now and the newest reading, over at least the time asked for and at most 1/32 more, in at most
//! [`BUCKETS_MAX`] buckets; reading a cell costs no allocation and no more than its buckets. Given the same readings after
//! [`Memory::restore`], it answers as one that was never interrupted. Presence is not kept.
//!
//! What it does not do: judge readings, or hold texts of series that nothing reads. The caller hands in no past ones.

use std::collections::VecDeque;

use rust_decimal::Decimal;

use super::cel::{Lookback, Seen};
use crate::model::{Quality, Reading, SeriesKey, Value};

mod kept;
#[cfg(test)]
mod tests;

/// Buckets of a lookback: 32 are the time, and one is begun.
pub const BUCKETS_MAX: usize = 33;

/// A cell, by its number in this memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct CellId(pub u32);

/// What of a series is read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reads {
    /// The newest value that an alarm may look at.
    Value,
    /// The quality of the newest reading, whatever it is.
    Quality,
    /// Its believable numbers, so many milliseconds back.
    Over(Lookback, u64),
}

/// All cells. Has no `Debug`: a value may be personal.
#[derive(Clone, Default)]
pub struct Memory {
    cells: Vec<Cell>,
    /// By [`SeriesKey::index`].
    series: Vec<Series>,
    /// The cell of each device.
    devices: Vec<Option<CellId>>,
}

#[derive(Clone, Copy, Default, PartialEq)]
struct Series {
    /// Its first cell; each names the next one.
    first: Option<CellId>,
    newest_ms: Option<i64>,
}

#[derive(Clone, PartialEq)]
struct Cell {
    next: Option<CellId>,
    holds: Holds,
}

#[derive(Clone, PartialEq)]
enum Holds {
    Value(Option<Value>),
    Quality(Option<Quality>),
    Online(Option<bool>),
    Over(Box<Over>),
}

/// One lookback.
#[derive(Clone, PartialEq)]
struct Over {
    of: Lookback,
    over_ms: u64,
    /// In the order of time, and apart; the last one has the newest number.
    buckets: VecDeque<Bucket>,
    /// The newest number, also one that is long past: what comes next is compared with it.
    last: Option<(Decimal, i64)>,
}

/// The numbers of one 32nd of the time.
#[derive(Clone, PartialEq)]
struct Bucket {
    /// Its event times, divided by its width.
    index: i64,
    /// Of those that came in order.
    first: Option<(Decimal, i64)>,
    min: Decimal,
    max: Decimal,
    /// Positive changes into its numbers, that from the number before it too; the most there is when it is more.
    rise: Decimal,
}

impl Memory {
    /// The cell of what is read of a series; the same for the same.
    pub fn of_series(&mut self, series: SeriesKey, reads: Reads) -> CellId {
        if self.series.len() <= series.index() {
            self.series.resize(series.index() + 1, Series::default());
        }
        let first = self.series[series.index()].first;
        if let Some(known) = self.chain(first).find(|id| self.cell(*id).is_some_and(|cell| cell.is(reads))) {
            return known;
        }
        let holds = match reads {
            Reads::Value => Holds::Value(None),
            Reads::Quality => Holds::Quality(None),
            Reads::Over(of, over_ms) => Holds::Over(Box::new(Over::new(of, over_ms))),
        };
        let id = self.add(Cell { next: first, holds });
        self.series[series.index()].first = Some(id);
        id
    }

    /// The cell of whether a device is there; devices are numbered densely by the caller.
    pub fn of_device(&mut self, device: u32) -> CellId {
        let index = device as usize;
        if self.devices.len() <= index {
            self.devices.resize(index + 1, None);
        }
        if let Some(known) = self.devices[index] {
            return known;
        }
        let id = self.add(Cell { next: None, holds: Holds::Online(None) });
        self.devices[index] = Some(id);
        id
    }

    /// Remembers a reading that is not of the past.
    pub fn reading(&mut self, reading: &Reading) {
        let Some(series) = self.series.get_mut(reading.series.index()) else { return };
        series.newest_ms =
            Some(series.newest_ms.map_or(reading.received_ms, |ms| ms.max(reading.received_ms)));
        let mut next = series.first;
        while let Some(cell) = next.and_then(|id| self.cells.get_mut(id.0 as usize)) {
            next = cell.next;
            cell.holds.reading(reading);
        }
    }

    /// Remembers whether a device is there.
    pub fn online(&mut self, device: u32, online: bool) {
        let cell = self.devices.get(device as usize).copied().flatten();
        if let Some(cell) = cell.and_then(|id| self.cells.get_mut(id.0 as usize)) {
            cell.holds = Holds::Online(Some(online));
        }
    }

    /// What a cell is at that time, milliseconds since 1970 UTC; `None` when nobody has said it yet.
    #[must_use]
    pub fn seen(&self, cell: CellId, now_ms: i64) -> Option<Seen<'_>> {
        match &self.cell(cell)?.holds {
            Holds::Value(value) => value.as_ref().map(|value| match value {
                Value::Number(number) => Seen::Number(*number),
                Value::Flag(flag) => Seen::Flag(*flag),
                Value::Text(text) => Seen::Text(text),
            }),
            Holds::Quality(quality) => quality.map(|quality| Seen::Text(quality.as_str())),
            Holds::Online(online) => online.map(Seen::Flag),
            Holds::Over(over) => over.seen(now_ms).map(Seen::Number),
        }
    }

    /// Whether anything of a series is read.
    #[must_use]
    pub fn reads(&self, series: SeriesKey) -> bool {
        self.series.get(series.index()).is_some_and(|series| series.first.is_some())
    }

    /// When a series that something reads was last heard, by the gateway's clock and of any quality: a device whose clock is
    /// behind is not silent. Milliseconds since 1970 UTC.
    #[must_use]
    pub fn newest_ms(&self, series: SeriesKey) -> Option<i64> {
        self.series.get(series.index())?.newest_ms
    }

    fn cell(&self, id: CellId) -> Option<&Cell> {
        self.cells.get(id.0 as usize)
    }

    fn add(&mut self, cell: Cell) -> CellId {
        let id = CellId(u32::try_from(self.cells.len()).expect("fewer cells than 2^32"));
        self.cells.push(cell);
        id
    }

    fn chain(&self, first: Option<CellId>) -> impl Iterator<Item = CellId> + '_ {
        std::iter::successors(first, |id| self.cell(*id)?.next)
    }
}

impl Cell {
    fn is(&self, reads: Reads) -> bool {
        match (&self.holds, reads) {
            (Holds::Value(_), Reads::Value) | (Holds::Quality(_), Reads::Quality) => true,
            (Holds::Over(over), Reads::Over(of, over_ms)) => over.of == of && over.over_ms == over_ms,
            _ => false,
        }
    }
}

impl Holds {
    fn reading(&mut self, reading: &Reading) {
        match self {
            Holds::Quality(quality) => *quality = Some(reading.quality),
            Holds::Value(value) if reading.quality.may_alarm() => match (value, &reading.value) {
                // A text that stays needs no new place.
                (Some(old), new) if old == new => {}
                (value, new) => *value = Some(new.clone()),
            },
            Holds::Over(over) if reading.quality.may_alarm() && reading.quality.is_believable() => {
                if let Value::Number(number) = reading.value {
                    over.number(number, reading.time_ms);
                }
            }
            Holds::Value(_) | Holds::Over(_) | Holds::Online(_) => {}
        }
    }
}

impl Over {
    fn new(of: Lookback, over_ms: u64) -> Self {
        Self { of, over_ms, buckets: VecDeque::new(), last: None }
    }

    fn span_ms(&self) -> i64 {
        i64::try_from(self.over_ms).unwrap_or(i64::MAX)
    }

    fn index(&self, time_ms: i64) -> i64 {
        let width_ms = i64::try_from(self.over_ms.div_ceil(32).max(1)).unwrap_or(i64::MAX);
        time_ms.div_euclid(width_ms)
    }

    fn number(&mut self, number: Decimal, time_ms: i64) {
        let index = self.index(time_ms);
        let Some((before, _)) = self.last.filter(|(_, newest_ms)| time_ms >= *newest_ms) else {
            return match self.last {
                Some(_) => self.out_of_order(number, index),
                None => self.next(number, time_ms, index, Decimal::ZERO),
            };
        };
        let rise = number.checked_sub(before).unwrap_or(Decimal::MAX).max(Decimal::ZERO);
        // A fall beyond a decimal is one too.
        let rise = if number > before { rise } else { Decimal::ZERO };
        self.next(number, time_ms, index, rise);
    }

    /// One that is newer than all others.
    fn next(&mut self, number: Decimal, time_ms: i64, index: i64, rise: Decimal) {
        self.last = Some((number, time_ms));
        match self.buckets.back_mut().filter(|bucket| bucket.index == index) {
            Some(bucket) => {
                bucket.merge(number);
                bucket.rise = bucket.rise.saturating_add(rise);
            }
            None => {
                let first = Some((number, time_ms));
                self.buckets.push_back(Bucket { index, first, min: number, max: number, rise });
                let oldest = index.saturating_sub(BUCKETS_MAX as i64 - 1);
                while self.buckets.front().is_some_and(|bucket| bucket.index < oldest) {
                    self.buckets.pop_front();
                }
            }
        }
    }

    fn out_of_order(&mut self, number: Decimal, index: i64) {
        let newest = self.buckets.back().map_or(index, |bucket| bucket.index);
        if index <= newest.saturating_sub(BUCKETS_MAX as i64) {
            return;
        }
        match self.buckets.binary_search_by_key(&index, |bucket| bucket.index) {
            Ok(at) => self.buckets[at].merge(number),
            Err(at) => {
                let rise = Decimal::ZERO;
                self.buckets.insert(at, Bucket { index, first: None, min: number, max: number, rise });
            }
        }
    }

    fn seen(&self, now_ms: i64) -> Option<Decimal> {
        let (newest, newest_ms) = self.last?;
        let after_ms = now_ms.max(newest_ms).saturating_sub(self.span_ms());
        // The first millisecond that counts.
        let oldest = self.index(after_ms.saturating_add(1));
        let mut inside = self.buckets.iter().skip_while(|bucket| bucket.index < oldest);
        match self.of {
            Lookback::Lowest => inside.map(|bucket| bucket.min).min(),
            Lookback::Highest => inside.map(|bucket| bucket.max).max(),
            Lookback::Rise => inside.map(|bucket| bucket.rise).reduce(Decimal::saturating_add),
            Lookback::Rate => {
                let (first, first_ms) = inside.find_map(|bucket| bucket.first)?;
                let elapsed_ms = newest_ms.checked_sub(first_ms).filter(|ms| *ms > 0)?;
                let change = newest.checked_sub(first)?.checked_mul(Decimal::ONE_THOUSAND)?;
                change.checked_div(Decimal::from(elapsed_ms))
            }
        }
    }
}

impl Bucket {
    fn merge(&mut self, number: Decimal) {
        self.min = self.min.min(number);
        self.max = self.max.max(number);
    }
}
