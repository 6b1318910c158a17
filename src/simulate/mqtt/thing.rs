//! What a simulated device has to tell, whichever convention it speaks: values that wander from a seed, and times as
//! devices write them. No clock.

use jiff::Timestamp;
use jiff::tz::Offset;
use rust_decimal::Decimal;

use crate::simulate::devices::Random;

/// Where devices that tell no zone are, hours east of UTC.
const ZONE_H: i8 = 8;

/// One device.
pub(super) struct Thing {
    pub(super) name: String,
    /// From 0.
    pub(super) index: usize,
    /// How often it has spoken, this time included.
    pub(super) round: u64,
    pub(super) random: Random,
    /// Open, on, wet.
    pub(super) on: bool,
    centi: i64,
    energy_wh: i64,
}

impl Thing {
    pub(super) fn new(noun: &str, index: usize, seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(1 << 16).wrapping_add(index as u64));
        let centi = 1_500 + below(&mut random, 1_000);
        let energy_wh = below(&mut random, 10_000_000);
        Self { name: format!("{noun}-{}", index + 1), index, round: 0, random, on: false, centi, energy_wh }
    }

    /// A number from 0 on.
    pub(super) fn below(&mut self, bound: u64) -> i64 {
        below(&mut self.random, bound)
    }

    /// Whether it is one of every `count` rounds.
    pub(super) fn every(&self, count: u64) -> bool {
        self.round.is_multiple_of(count)
    }

    /// Hundredths of a degree, below zero too.
    pub(super) fn centi(&mut self) -> i64 {
        self.centi = (self.centi + self.below(61) - 30).clamp(-1_500, 4_500);
        self.centi
    }

    /// Degrees, with two digits.
    pub(super) fn temperature(&mut self) -> String {
        fixed(self.centi(), 2)
    }

    /// Tenths of a per cent.
    pub(super) fn per_mille(&mut self) -> i64 {
        300 + self.below(500)
    }

    /// Per cent, with one digit.
    pub(super) fn humidity(&mut self) -> String {
        fixed(self.per_mille(), 1)
    }

    /// Watt-hours, never falling.
    pub(super) fn energy_wh(&mut self) -> i64 {
        self.energy_wh += self.below(50);
        self.energy_wh
    }

    /// Per cent, slowly falling.
    pub(super) fn battery(&self) -> u64 {
        100 - (self.round / 50).min(60)
    }

    /// Sometimes the other way round.
    pub(super) fn flip(&mut self) -> bool {
        self.on ^= self.below(3) == 0;
        self.on
    }
}

fn below(random: &mut Random, bound: u64) -> i64 {
    i64::try_from(random.below(bound)).unwrap_or(i64::MAX)
}

/// A number of so many places, `-0.50`.
pub(super) fn fixed(digits: i64, places: u32) -> String {
    Decimal::new(digits, places).to_string()
}

/// The same without zeros at the end, as languages print floats.
pub(super) fn float(digits: i64, places: u32) -> String {
    Decimal::new(digits, places).normalize().to_string()
}

/// Down to the second.
pub(super) fn whole_second(ms: i64) -> i64 {
    ms.div_euclid(1_000) * 1_000
}

/// A civil time `hours` east of UTC in the directives of `strftime`.
fn civil(ms: i64, hours: i8, form: &str) -> String {
    let at = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH);
    Offset::constant(hours).to_datetime(at).strftime(form).to_string()
}

/// In UTC.
pub(super) fn utc(ms: i64, form: &str) -> String {
    civil(ms, 0, form)
}

/// Where the device is.
pub(super) fn local(ms: i64, form: &str) -> String {
    civil(ms, ZONE_H, form)
}
