//! One cell of an open window: what is kept of its readings, and what it tells at the end.
//!
//! Guarantees: the order in which readings come changes nothing but which digits of equal numbers are told; sums are
//! exact or absent. It keeps only what its aggregate tells, and of that at most [`DISTINCT_MAX`] different values and as
//! many buckets as a decimal's range has. No value but numbers is kept: of a text there is its digest.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use sha2::{Digest, Sha256};
use sketches_ddsketch::{Config, DDSketch};

use super::statistic::{Statistic, Statistics};
use super::trail::Passage;
use super::windows::{Aggregate, Crowds};
use crate::model::crowd::{Crowd, MemberId, Share};
use crate::model::{Amount, DeviceId, Figure, Value};

/// Different values of a cell that are told apart; at the bound there are at least so many, and the cell is partial.
pub const DISTINCT_MAX: usize = 4096;
/// How far a quantile may be from the reading that has its rank, as a part of it.
const QUANTILE_ERROR: f64 = 0.01;
/// Numbers nearer to zero count as zero in a quantile.
const QUANTILE_MIN: f64 = 1e-9;
/// Enough for every decimal, so that no bucket is ever merged into another.
const QUANTILE_BUCKETS: u32 = 8192;

/// What tells two values apart: a number without trailing zeros, a flag, or the first half of a text's SHA-256.
pub(super) type Same = [u8; 17];
/// A bucket of a quantile: the sign, and the number of the power.
pub(super) type Bucket = (i8, i32);

/// One cell.
#[derive(Clone, Debug, Default)]
pub(super) struct Cell {
    pub(super) left_out: u64,
    pub(super) texts: u64,
    pub(super) numbers: Option<Numbers>,
    pub(super) more: Option<Box<More>>,
}

/// What the six plain statistics do not need; empty where the aggregate does not ask for it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct More {
    pub(super) distinct: BTreeSet<Same>,
    pub(super) distinct_capped: bool,
    pub(super) buckets: BTreeMap<Bucket, u64>,
    /// One more than there are edges: how many lie up to each, and above the last.
    pub(super) histogram: Box<[u64]>,
    pub(super) crowd: Crowd,
}

/// Who a reading is of, where each device is somebody, and the part of the window it lies in, a bit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Somebody {
    pub(super) member: Option<MemberId>,
    pub(super) part: u128,
}

/// By the number of a cell: what each device's counter grew by; none beyond a decimal.
pub(super) type Grown = BTreeMap<usize, BTreeMap<MemberId, Option<Decimal>>>;

/// The fold of a cell's numbers; of one at least.
#[derive(Clone, Debug)]
pub(super) struct Numbers {
    pub(super) count: u64,
    pub(super) sum: Option<Decimal>,
    pub(super) min: Decimal,
    pub(super) max: Decimal,
    pub(super) last: Decimal,
    pub(super) last_ms: i64,
}

impl Numbers {
    fn new(number: Decimal, time_ms: i64) -> Self {
        Self { count: 1, sum: Some(number), min: number, max: number, last: number, last_ms: time_ms }
    }

    fn add(&mut self, number: Decimal, time_ms: i64) {
        self.count += 1;
        self.sum = self.sum.and_then(|sum| exact_sum(sum, number));
        if number < self.min {
            self.min = number;
        }
        if number > self.max {
            self.max = number;
        }
        if time_ms >= self.last_ms {
            self.last = number;
            self.last_ms = time_ms;
        }
    }
}

/// `None` when the sum is beyond a decimal, or would have to be rounded to be one.
pub(super) fn exact_sum(one: Decimal, other: Decimal) -> Option<Decimal> {
    let sum = one.checked_add(other)?;
    // Rounding shows as a scale below that of the operands; next to a zero the other operand is the sum.
    let is_exact = one.is_zero() || other.is_zero() || sum.scale() == one.scale().max(other.scale());
    is_exact.then_some(sum)
}

/// A number or a flag as a number.
pub(super) fn number(value: &Value) -> Option<Decimal> {
    match value {
        Value::Number(number) => Some(*number),
        Value::Flag(flag) => Some(Decimal::from(u8::from(*flag))),
        Value::Text(_) => None,
    }
}

/// What an aggregate's cells keep beside their plain numbers.
#[derive(Clone, Debug)]
pub(super) struct Keeps {
    pub(super) distinct: bool,
    /// The buckets of the quantiles.
    pub(super) buckets: Option<Config>,
    pub(super) edges: Option<Box<[Decimal]>>,
    /// Whether it is known who is behind a cell.
    pub(super) crowd: bool,
}

impl Keeps {
    pub(super) fn of(aggregate: &Aggregate) -> Self {
        let Aggregate { statistics, edges, .. } = aggregate;
        let quantiles = statistics.iter().any(|statistic| matches!(statistic, Statistic::Quantile(_)));
        Self {
            distinct: statistics.has(Statistic::Distinct),
            buckets: quantiles.then(sketch),
            edges: statistics.has(Statistic::Histogram).then(|| edges.clone().into()),
            crowd: aggregate.crowds.is_some(),
        }
    }

    pub(super) fn anything(&self) -> bool {
        self.distinct || self.buckets.is_some() || self.edges.is_some() || self.crowd
    }
}

pub(super) fn sketch() -> Config {
    Config::new(QUANTILE_ERROR, QUANTILE_BUCKETS, QUANTILE_MIN)
}

impl Cell {
    /// Takes in a value that is believed.
    pub(super) fn add(&mut self, value: &Value, time_ms: i64, keeps: &Keeps, somebody: Somebody) {
        let number = number(value);
        match (number, &mut self.numbers) {
            (None, _) => self.texts += 1,
            (Some(number), Some(numbers)) => numbers.add(number, time_ms),
            (Some(number), none) => *none = Some(Numbers::new(number, time_ms)),
        }
        if keeps.anything() {
            self.more.get_or_insert_default().add(value, number, keeps, somebody);
        }
    }

    /// Who is behind it. What counts for dominance is what a counter grew by, where that is told; the sum of a device's
    /// numbers; or how often somebody was there.
    pub(super) fn crowd(
        &self,
        crowds: &Crowds,
        grown: Option<&BTreeMap<MemberId, Option<Decimal>>>,
    ) -> Crowd {
        let Some(known) = self.more.as_ref().map(|more| &more.crowd) else { return Crowd::default() };
        let weighed = |(id, share): (&MemberId, &Share)| {
            let weight = match grown.and_then(|grown| grown.get(id)) {
                Some(delta) => *delta,
                None if crowds.by_value => Some(Decimal::from(share.events)),
                None => share.weight,
            };
            (*id, Share { weight, ..*share })
        };
        Crowd::new(known.iter().map(weighed), known.is_capped())
    }

    /// What it tells, in the order of the statistics; `passage` is that of its series where it was asked for, over
    /// `expected_ms` of all of them together, and whether a time-weighted mean is meant.
    pub(super) fn figures(&self, aggregate: &Aggregate, order: Option<&Order>) -> Vec<Figure> {
        let mut figures = Vec::new();
        let mut told = |statistic: &str, le: Option<String>, amount: Option<Amount>| {
            let le = le.map(String::into_boxed_str);
            figures.extend(amount.map(|amount| Figure { statistic: statistic.into(), le, amount }));
        };
        let left_out = Some(Amount::Count(self.left_out)).filter(|_| self.left_out > 0);
        let statistics: &Statistics = &aggregate.statistics;
        // It stands behind the count, or first.
        let mut left_out = Some(left_out);
        for statistic in statistics.iter() {
            if statistic != Statistic::Count {
                told("left_out", None, left_out.take().flatten());
            }
            if statistic == Statistic::Histogram {
                for (le, count) in self.cumulative(&aggregate.edges) {
                    told("histogram", Some(le), Some(Amount::Count(count)));
                }
                continue;
            }
            told(&statistic.to_string(), None, self.amount(statistic, order));
        }
        told("left_out", None, left_out.take().flatten());
        figures
    }

    fn amount(&self, statistic: Statistic, order: Option<&Order>) -> Option<Amount> {
        let numbers = self.numbers.as_ref();
        let exact = |decimal: Option<Decimal>| decimal.map(Amount::Exact);
        match statistic {
            Statistic::Count => Some(Amount::Count(self.count())),
            Statistic::Sum => exact(numbers?.sum),
            Statistic::Min => exact(Some(numbers?.min)),
            Statistic::Max => exact(Some(numbers?.max)),
            Statistic::Last => exact(Some(numbers?.last)),
            Statistic::Mean if order.is_some_and(|order| order.time_mean) => {
                let Passage { area, area_ms, .. } = order?.passage;
                area?.checked_div(Decimal::from(area_ms))?.to_f64().map(Amount::Near)
            }
            Statistic::Mean => {
                numbers?.sum?.checked_div(Decimal::from(numbers?.count))?.to_f64().map(Amount::Near)
            }
            Statistic::Delta => {
                exact(order?.passage.delta.filter(|_| order.is_some_and(|o| o.passage.steps > 0)))
            }
            Statistic::Distinct => {
                let count = self.more.as_ref().map_or(0, |more| more.distinct.len());
                Some(Amount::Count(count as u64))
            }
            Statistic::Quantile(tenths) => self.quantile(tenths).map(Amount::Near),
            Statistic::Coverage => order?.percent(order?.passage.covered_ms),
            Statistic::Online => order?.percent(order?.passage.heard_ms),
            Statistic::Histogram => None,
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.texts + self.numbers.as_ref().map_or(0, |numbers| numbers.count)
    }

    /// Whether a number of it is a bound, or not of all that came.
    pub(super) fn is_partial(&self) -> bool {
        self.left_out > 0 || self.more.as_ref().is_some_and(|more| more.distinct_capped)
    }

    fn cumulative(&self, edges: &[Decimal]) -> Vec<(String, u64)> {
        let Some(more) = self.more.as_ref().filter(|more| !more.histogram.is_empty()) else {
            return Vec::new();
        };
        let names = edges.iter().map(Decimal::to_string).chain(["+Inf".to_owned()]);
        let sums = more.histogram.iter().scan(0_u64, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        names.zip(sums).collect()
    }

    fn quantile(&self, tenths: u16) -> Option<f64> {
        let numbers = self.numbers.as_ref()?;
        let config = sketch();
        let mut sketch = DDSketch::new(config);
        for ((sign, key), count) in &self.more.as_ref()?.buckets {
            sketch.add_with_count(f64::from(*sign) * config.value(*key), *count);
        }
        let estimate = sketch.quantile(f64::from(tenths) / 1000.0).ok()??;
        Some(estimate.max(numbers.min.to_f64()?).min(numbers.max.to_f64()?))
    }
}

impl More {
    fn add(&mut self, value: &Value, number: Option<Decimal>, keeps: &Keeps, somebody: Somebody) {
        if keeps.crowd
            && let Some(share) = self.crowd.member(somebody.member.unwrap_or_else(|| same(value)))
        {
            share.events += 1;
            share.parts |= somebody.part;
            share.weight = share.weight.and_then(|sum| sum.checked_add(number.unwrap_or_default()));
        }
        if keeps.distinct {
            let same = same(value);
            if self.distinct.len() < DISTINCT_MAX {
                self.distinct.insert(same);
            } else if !self.distinct_capped {
                self.distinct_capped = !self.distinct.contains(&same);
            }
        }
        let Some(number) = number else { return };
        if let Some(bucket) = keeps.buckets.as_ref().and_then(|config| bucket(config, number)) {
            *self.buckets.entry(bucket).or_default() += 1;
        }
        if let Some(edges) = &keeps.edges {
            if self.histogram.is_empty() {
                self.histogram = vec![0; edges.len() + 1].into();
            }
            self.histogram[edges.partition_point(|edge| *edge < number)] += 1;
        }
    }
}

/// Who a device is, where each device is somebody.
pub(super) fn member(device: &DeviceId) -> MemberId {
    let mut member = [3; 17];
    member[1..].copy_from_slice(&Sha256::digest(device.as_str().as_bytes())[..16]);
    member
}

fn same(value: &Value) -> Same {
    let mut same = [0; 17];
    match value {
        Value::Number(number) => {
            let plain = number.normalize();
            same[1..].copy_from_slice(&plain.serialize());
        }
        Value::Flag(flag) => same[..2].copy_from_slice(&[1, u8::from(*flag)]),
        Value::Text(text) => {
            same[0] = 2;
            same[1..].copy_from_slice(&Sha256::digest(text.as_bytes())[..16]);
        }
    }
    same
}

fn bucket(config: &Config, number: Decimal) -> Option<Bucket> {
    let number = number.to_f64()?;
    Some(match number {
        _ if number > QUANTILE_MIN => (1, config.key(number)),
        _ if number < -QUANTILE_MIN => (-1, config.key(-number)),
        _ => (0, 0),
    })
}

/// The steps of all series of a cell together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    pub(super) passage: Passage,
    /// Windows' lengths of all series that are expected to tell something.
    pub(super) expected_ms: i64,
    pub(super) time_mean: bool,
    pub(super) disordered: u64,
}

impl Order {
    pub(super) const NONE: Self =
        Self { passage: Passage::NONE, expected_ms: 0, time_mean: false, disordered: 0 };

    /// To two places.
    fn percent(&self, part_ms: i64) -> Option<Amount> {
        let percent = Decimal::from(part_ms)
            .checked_mul(Decimal::ONE_HUNDRED)?
            .checked_div(Decimal::from(self.expected_ms))?;
        Some(Amount::Percent(percent.round_dp(2).normalize()))
    }
}
