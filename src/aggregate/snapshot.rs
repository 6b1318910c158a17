//! Open windows as bytes and back.
//!
//! ```text
//! "W3" · size_ms · zone_ms · by_device · statistics · n edges                what the windows are windows of
//! "W4" · size_ms · zone_ms · by · statistics · n edges · has crowds [· by_value]
//! n names:   metric · has device [· device] · unit [W4: · has place [· place]]  ascending, only those in use
//! n lines:   name · pace · has known [· known]                               ascending, only those in use
//! n windows: start_ms · n cells: rank of the name · cell · n trails: rank of the line · trail
//!
//! cell:    left_out · texts · has numbers [· count · has sum [· sum] · min · max · last · last_ms] · has more [· more]
//! more:    n different values: 17 bytes · capped · n buckets: sign · key · count · n counts of the histogram [W4: · crowd]
//! crowd:   n members: 17 bytes · events · has weight [· weight] · parts (16 bytes) · capped
//! pace:    time_mean · has period [· period_ms] · has silence [· silence_ms]
//! known:   has number [· time_ms · number] · heard_ms
//! trail:   has folded [· first_ms · has first [· first] · known · passage] · n marks: time_ms · has number [· number]
//!          · believed · disordered
//! passage: steps · has delta [· delta] · has area [· area] · area_ms · covered_ms · heard_ms
//! ```
//! Little endian; counts, ranks and the lengths before texts are u32, flags one byte, decimals the 16 bytes of
//! `Decimal::serialize`, which keep every digit and the scale.
//!
//! Guarantees: the same windows give the same bytes; any bytes are safe to decode. It has no checksum: that is the
//! store's. Only this gateway reads it again, so a change of format changes the first two bytes and nothing else; one
//! that an earlier build left behind is read where the aggregate has the statistics of then, so that an update loses no
//! open window. "W4" is of aggregates by building, and of those that know who is behind their cells.

use rust_decimal::Decimal;

use super::cell::{Cell, DISTINCT_MAX, More, Numbers, sketch};
use super::statistic::Statistics;
use super::trail::{Folded, Known, Mark, Pace, Passage, RECENT_MAX, Trail};
use super::windows::{Aggregate, By, CellName, Line, OPEN_MAX, Open, State};
use crate::model::crowd::{Crowd, MEMBERS_MAX, Share};

const FORMAT: &[u8] = b"W4";
/// Neither buildings nor crowds; still what is written without them.
const FORMAT_3: &[u8] = b"W3";
/// Six statistics, and no order of readings.
const FORMAT_2: &[u8] = b"W2";
/// And a cell was its numbers alone.
const FORMAT_1: &[u8] = b"W1";
const BROKEN: &str = "the bytes are no snapshot of windows, or part of one";
const OTHER: &str = "the snapshot is of windows of another size, zone, kind of cells or statistics";

fn header(format: &[u8], aggregate: &Aggregate) -> Vec<u8> {
    let mut out = Output { bytes: format.to_vec(), format: FORMAT };
    out.i64(aggregate.size_ms);
    out.i64(aggregate.zone_ms);
    match format {
        FORMAT => out.bytes.push(aggregate.by as u8),
        _ => out.flag(aggregate.by == By::Device),
    }
    if [FORMAT, FORMAT_3].contains(&format) {
        out.text(&aggregate.statistics.to_string());
        out.count(aggregate.edges.len());
        aggregate.edges.iter().for_each(|edge| out.decimal(*edge));
    }
    if format == FORMAT {
        out.some(aggregate.crowds.as_ref(), |out, crowds| out.flag(crowds.by_value));
    }
    out.bytes
}

/// What one aggregate remembers.
pub(super) fn encode(aggregate: &Aggregate, state: &State) -> Vec<u8> {
    fn at<T>(table: &[Option<T>], number: usize) -> Option<&T> {
        table.get(number)?.as_ref()
    }
    let State { names, line_names, lines, open } = state;
    let format = format_of(aggregate);
    let mut out = Output { bytes: header(format, aggregate), format };
    let is_used =
        |(_, number): &(&CellName, &usize)| open.values().any(|open| at(&open.cells, **number).is_some());
    let used: Vec<(&CellName, &usize)> = names.iter().filter(is_used).collect();
    out.count(used.len());
    used.iter().for_each(|(name, _)| out.name(name));
    let is_used = |(_, number): &(&CellName, &usize)| {
        lines[**number].known.is_some() || open.values().any(|open| at(&open.trails, **number).is_some())
    };
    let used_lines: Vec<(&CellName, &usize)> = line_names.iter().filter(is_used).collect();
    out.count(used_lines.len());
    for (name, number) in &used_lines {
        let Line { pace: Pace { time_mean, period_ms, silence_ms }, known, .. } = &lines[**number];
        out.name(name);
        out.flag(*time_mean);
        out.some(*period_ms, Output::i64);
        out.some(*silence_ms, Output::i64);
        out.some(*known, Output::known);
    }
    out.count(open.len());
    for (start_ms, Open { cells, trails }) in open {
        out.i64(*start_ms);
        out.count(cells.iter().flatten().count());
        for (rank, (_, number)) in used.iter().enumerate() {
            if let Some(cell) = at(cells, **number) {
                out.count(rank);
                out.cell(cell);
            }
        }
        out.count(trails.iter().flatten().count());
        for (rank, (_, number)) in used_lines.iter().enumerate() {
            if let Some(trail) = at(trails, **number) {
                out.count(rank);
                out.trail(trail);
            }
        }
    }
    out.bytes
}

fn format_of(aggregate: &Aggregate) -> &'static [u8] {
    match (aggregate.by, &aggregate.crowds) {
        (By::Device | By::Compound, None) => FORMAT_3,
        _ => FORMAT,
    }
}

/// What is written so far.
struct Output {
    bytes: Vec<u8>,
    format: &'static [u8],
}

impl Output {
    fn count(&mut self, count: usize) {
        self.bytes.extend(u32::try_from(count).expect("series are numbered by u32").to_le_bytes());
    }

    fn u64(&mut self, number: u64) {
        self.bytes.extend(number.to_le_bytes());
    }

    fn i64(&mut self, number: i64) {
        self.bytes.extend(number.to_le_bytes());
    }

    fn flag(&mut self, flag: bool) {
        self.bytes.push(u8::from(flag));
    }

    fn text(&mut self, text: &str) {
        self.count(text.len());
        self.bytes.extend(text.as_bytes());
    }

    fn decimal(&mut self, decimal: Decimal) {
        self.bytes.extend(decimal.serialize());
    }

    fn some<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Self, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            put(self, value);
        }
    }

    fn name(&mut self, CellName { metric, device, unit, place }: &CellName) {
        self.text(metric.as_str());
        self.some(device.as_ref(), |out, device| out.text(device.as_str()));
        self.text(unit);
        if self.format == FORMAT {
            self.some(place.as_ref(), |out, place| out.text(place.as_str()));
        }
    }

    fn cell(&mut self, Cell { left_out, texts, numbers, more }: &Cell) {
        self.u64(*left_out);
        self.u64(*texts);
        self.some(numbers.as_ref(), |out, Numbers { count, sum, min, max, last, last_ms }| {
            out.u64(*count);
            out.some(*sum, Self::decimal);
            [min, max, last].into_iter().for_each(|decimal| out.decimal(*decimal));
            out.i64(*last_ms);
        });
        self.some(more.as_ref(), |out, more| {
            let More { distinct, distinct_capped, buckets, histogram, crowd } = &**more;
            out.count(distinct.len());
            distinct.iter().for_each(|same| out.bytes.extend(same));
            out.flag(*distinct_capped);
            out.count(buckets.len());
            for ((sign, key), count) in buckets {
                out.bytes.extend(sign.to_le_bytes());
                out.bytes.extend(key.to_le_bytes());
                out.u64(*count);
            }
            out.count(histogram.len());
            histogram.iter().for_each(|count| out.u64(*count));
            if out.format == FORMAT {
                out.crowd(crowd);
            }
        });
    }

    fn crowd(&mut self, crowd: &Crowd) {
        self.count(crowd.iter().count());
        for (id, Share { events, weight, parts }) in crowd.iter() {
            self.bytes.extend(id);
            self.u64(*events);
            self.some(*weight, Self::decimal);
            self.bytes.extend(parts.to_le_bytes());
        }
        self.flag(crowd.is_capped());
    }

    fn timed(&mut self, (time_ms, number): (i64, Decimal)) {
        self.i64(time_ms);
        self.decimal(number);
    }

    fn known(&mut self, Known { number, heard_ms }: Known) {
        self.some(number, Self::timed);
        self.i64(heard_ms);
    }

    fn trail(&mut self, Trail { folded, recent, believed, disordered }: &Trail) {
        self.some(folded.as_ref(), |out, Folded { first_ms, first, last, passage }| {
            let Passage { steps, delta, area, area_ms, covered_ms, heard_ms } = passage;
            out.i64(*first_ms);
            out.some(*first, Self::timed);
            out.known(*last);
            out.u64(*steps);
            out.some(*delta, Self::decimal);
            out.some(*area, Self::decimal);
            [area_ms, covered_ms, heard_ms].into_iter().for_each(|part_ms| out.i64(*part_ms));
        });
        self.count(recent.len());
        for Mark { time_ms, number } in recent {
            self.i64(*time_ms);
            self.some(*number, Self::decimal);
        }
        self.u64(*believed);
        self.u64(*disordered);
    }
}

/// What one aggregate remembers, names numbered anew.
///
/// # Errors
/// When the bytes are no snapshot, or one of an aggregate of another shape.
pub(super) fn decode(aggregate: &Aggregate, bytes: &[u8]) -> Result<State, &'static str> {
    let known = [FORMAT, FORMAT_3, FORMAT_2, FORMAT_1];
    let format = known.into_iter().find(|format| bytes.starts_with(format)).ok_or(BROKEN)?;
    let is_older = ![FORMAT, FORMAT_3].contains(&format);
    let has_more = format_of(aggregate) == FORMAT;
    if is_older && aggregate.statistics != Statistics::default() || has_more != (format == FORMAT) {
        return Err(OTHER);
    }
    let header = header(format, aggregate);
    let (theirs, body) = bytes.split_at_checked(header.len()).ok_or(BROKEN)?;
    if theirs != header {
        return Err(OTHER);
    }
    Input { left: body, format, aggregate }.state().ok_or(BROKEN)
}

/// What is left to decode; every step is `None` at the end of the bytes.
struct Input<'a> {
    left: &'a [u8],
    format: &'static [u8],
    aggregate: &'a Aggregate,
}

impl<'a> Input<'a> {
    fn state(mut self) -> Option<State> {
        let mut state = State::default();
        for number in 0..self.count()? {
            if state.names.insert(self.name()?, number).is_some() {
                return None;
            }
        }
        let names = state.names.len();
        let lines = if self.has_order() { self.count()? } else { 0 };
        for number in 0..lines {
            let (name, line) = self.line(&mut state)?;
            state.lines.push(line);
            if state.line_names.insert(name, number).is_some() {
                return None;
            }
        }
        for _ in 0..self.count()? {
            let start_ms = i64::from_le_bytes(self.array()?);
            let mut open = Open { cells: vec![None; names], trails: vec![None; lines] };
            for _ in 0..self.count()? {
                let rank = self.count()?;
                *open.cells.get_mut(rank)? = Some(self.cell()?);
            }
            let trails = if self.has_order() { self.count()? } else { 0 };
            for _ in 0..trails {
                let rank = self.count()?;
                *open.trails.get_mut(rank)? = Some(self.trail()?);
            }
            state.open.insert(start_ms, open);
            if state.open.len() > OPEN_MAX {
                return None;
            }
        }
        self.left.is_empty().then_some(state)
    }

    /// Whether the format knows more than six statistics.
    fn has_order(&self) -> bool {
        [FORMAT, FORMAT_3].contains(&self.format)
    }

    fn name(&mut self) -> Option<CellName> {
        let metric = self.text()?.parse().ok()?;
        let device = if self.flag()? { Some(self.text()?.parse().ok()?) } else { None };
        let unit = self.text()?.to_owned();
        let place = self.format == FORMAT && self.flag()?;
        let place = if place { Some(self.text()?.parse().ok()?) } else { None };
        Some(CellName { metric, device, unit, place })
    }

    fn line(&mut self, state: &mut State) -> Option<(CellName, Line)> {
        let name = self.name()?;
        let cells = state.cells(&name, self.aggregate.by);
        let pace = Pace {
            time_mean: self.flag()?,
            period_ms: if self.flag()? { Some(self.i64()?) } else { None },
            silence_ms: if self.flag()? { Some(self.i64()?) } else { None },
        };
        let known = if self.flag()? { Some(self.known()?) } else { None };
        Some((name, Line { cells, pace, known, expected: true }))
    }

    fn cell(&mut self) -> Option<Cell> {
        if self.format == FORMAT_1 {
            return Some(Cell { numbers: Some(self.numbers()?), ..Cell::default() });
        }
        let left_out = self.u64()?;
        let texts = if self.has_order() { self.u64()? } else { 0 };
        let numbers = if self.flag()? { Some(self.numbers()?) } else { None };
        let more = self.has_order() && self.flag()?;
        let more = if more { Some(Box::new(self.more()?)) } else { None };
        Some(Cell { left_out, texts, numbers, more })
    }

    fn numbers(&mut self) -> Option<Numbers> {
        Some(Numbers {
            count: self.u64()?,
            sum: self.maybe_decimal()?,
            min: self.decimal()?,
            max: self.decimal()?,
            last: self.decimal()?,
            last_ms: self.i64()?,
        })
    }

    fn more(&mut self) -> Option<More> {
        let mut more = More::default();
        for _ in 0..self.count()? {
            more.distinct.insert(self.array()?);
        }
        more.distinct_capped = self.flag()?;
        let config = sketch();
        for _ in 0..self.count()? {
            let [sign] = self.array()?;
            let bucket = (i8::from_le_bytes([sign]), i32::from_le_bytes(self.array()?));
            let most = config.key(Decimal::MAX.try_into().ok()?);
            let least = config.key(config.min_possible());
            if !(-1..=1).contains(&bucket.0) || !(least.min(0)..=most).contains(&bucket.1) {
                return None;
            }
            more.buckets.insert(bucket, self.u64()?);
        }
        let counts = self.count()?;
        if more.distinct.len() > DISTINCT_MAX || ![0, self.aggregate.edges.len() + 1].contains(&counts) {
            return None;
        }
        more.histogram = (0..counts).map(|_| self.u64()).collect::<Option<_>>()?;
        if self.format == FORMAT {
            more.crowd = self.crowd()?;
        }
        Some(more)
    }

    fn crowd(&mut self) -> Option<Crowd> {
        let count = self.count()?;
        if count > MEMBERS_MAX {
            return None;
        }
        let mut members = Vec::new();
        for _ in 0..count {
            let id = self.array()?;
            let share = Share {
                events: self.u64()?,
                weight: self.maybe_decimal()?,
                parts: u128::from_le_bytes(self.array()?),
            };
            members.push((id, share));
        }
        Some(Crowd::new(members, self.flag()?))
    }

    fn known(&mut self) -> Option<Known> {
        Some(Known { number: self.timed()?, heard_ms: self.i64()? })
    }

    fn timed(&mut self) -> Option<Option<(i64, Decimal)>> {
        Some(if self.flag()? { Some((self.i64()?, self.decimal()?)) } else { None })
    }

    fn trail(&mut self) -> Option<Trail> {
        let folded = if self.flag()? { Some(self.folded()?) } else { None };
        let marks = self.count()?;
        if marks > RECENT_MAX {
            return None;
        }
        let mark = |input: &mut Self| Some(Mark { time_ms: input.i64()?, number: input.maybe_decimal()? });
        let recent = (0..marks).map(|_| mark(self)).collect::<Option<_>>()?;
        Some(Trail { folded, recent, believed: self.u64()?, disordered: self.u64()? })
    }

    fn folded(&mut self) -> Option<Folded> {
        Some(Folded {
            first_ms: self.i64()?,
            first: self.timed()?,
            last: self.known()?,
            passage: Passage {
                steps: self.u64()?,
                delta: self.maybe_decimal()?,
                area: self.maybe_decimal()?,
                area_ms: self.i64()?,
                covered_ms: self.i64()?,
                heard_ms: self.i64()?,
            },
        })
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.left.split_at_checked(len)?;
        self.left = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn count(&mut self) -> Option<usize> {
        usize::try_from(u32::from_le_bytes(self.array()?)).ok()
    }

    /// A count of readings; no gateway lives to see more, and sums of them have room.
    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.array()?)).filter(|count| *count < 1 << 48)
    }

    fn i64(&mut self) -> Option<i64> {
        Some(i64::from_le_bytes(self.array()?))
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
        Some(Decimal::deserialize(self.array()?)).filter(|decimal| decimal.scale() <= Decimal::MAX_SCALE)
    }

    fn maybe_decimal(&mut self) -> Option<Option<Decimal>> {
        Some(if self.flag()? { Some(self.decimal()?) } else { None })
    }
}
