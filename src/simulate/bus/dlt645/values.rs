//! What an electricity meter says over time, as exact numbers.

use rust_decimal::Decimal;

use super::super::bytes::{signature, wave};
use super::items::{Form, Item};
use super::*;

/// In the place of a settlement day: the last daily freeze.
pub(super) const MIDNIGHT: u8 = 0x0D;

impl Dlt645Meter {
    /// What it says for an identifier of one number, in the unit of the standard and with its places.
    #[must_use]
    pub fn value(&self, identifier: u32, elapsed: Duration) -> Option<Decimal> {
        match self.items(identifier)?[..] {
            [Item::Number { what, form }] => {
                Some(Decimal::new(self.number(what, form, elapsed), form.places))
            }
            _ => None,
        }
    }

    /// Forward active energy, total, in kWh.
    #[must_use]
    pub fn energy(&self, elapsed: Duration) -> Decimal {
        Decimal::new(self.quantity(0x0001_0000, elapsed), 2)
    }

    /// The plain bytes of an identifier's values; none when the meter does not have it.
    pub(super) fn content(&self, identifier: u32, elapsed: Duration) -> Option<Vec<u8>> {
        if let Some((_, bytes)) = self.said.iter().find(|(said, _)| *said == identifier) {
            return Some(bytes.clone());
        }
        Some(self.items(identifier)?.into_iter().flat_map(|item| self.bytes(item, elapsed)).collect())
    }

    /// In units of the last place of the form.
    pub(super) fn number(&self, what: u32, form: Form, elapsed: Duration) -> i64 {
        let value = self.quantity(what, elapsed);
        let value = if self.fixed { value } else { value / form.divisor };
        if form.signed { value } else { value.abs() }
    }

    /// In units of the last place that 2007 has for it.
    fn quantity(&self, what: u32, elapsed: Duration) -> i64 {
        let [group, kind, index, last] = what.to_be_bytes();
        match (self.fixed, group, kind) {
            (true, 0x00, _) => {
                let item = i64::from(kind) * 10_000 + i64::from(index) * 100 + i64::from(last);
                signature(self.seed, 0) * 10_000 + item
            }
            (true, 0x02, 0x80) => signature(self.seed, 90 + u64::from(last % 10)),
            (true, 0x02, _) => signature(self.seed, u64::from(kind * 10 + index)),
            (true, ..) => signature(self.seed, 81 + u64::from(index % 8)),
            (false, 0x00, _) => self.counted(kind, index, last, elapsed),
            (false, 0x02, 0x80) => self.other_than_phases(last, elapsed),
            (false, 0x02, _) => self.of_phase(kind, index, elapsed),
            (false, ..) => (self.seed % 100) as i64,
        }
    }

    /// Hundredths of kWh or kvarh. Tariffs add up to the total, and forward less reverse is the combined energy.
    fn counted(&self, kind: u8, tariff: u8, day: u8, elapsed: Duration) -> i64 {
        let counted_until = match day {
            MIDNIGHT => {
                let now = self.now(elapsed);
                let today = now.hour() as u64 * 3600 + now.minute() as u64 * 60 + now.second() as u64;
                elapsed.saturating_sub(Duration::from_secs(today))
            }
            _ => elapsed,
        };
        let forward = (self.begin() + counted_until.as_secs() * self.pace()) as i64;
        let total = match kind {
            0x00 => forward - forward / 10,
            0x01 => forward,
            0x02 => forward / 10,
            _ => forward / i64::from(kind),
        };
        let total = match day {
            1..=12 => total / 13 * i64::from(13 - day),
            _ => total,
        };
        let tariffs = i64::from(self.tariffs.max(1));
        match i64::from(tariff) {
            0 => total,
            last if last == tariffs => total - total / tariffs * (tariffs - 1),
            _ => total / tariffs,
        }
    }

    /// Total active power in tenths of a watt, between -2 and 6 kW.
    fn power(&self, elapsed: Duration) -> i64 {
        wave(self.seed, elapsed.as_secs()) * 80_000 / 600 - 20_000
    }

    fn of_phase(&self, kind: u8, phase: u8, elapsed: Duration) -> i64 {
        let power = self.power(elapsed);
        let share = |total: i64| match phase {
            0 => total,
            1 if self.phases <= 1 => total,
            3 => total - total / 3 * 2,
            _ => total / 3,
        };
        let noise = mix(self.seed ^ u64::from(phase) << 32 ^ elapsed.as_secs());
        match kind {
            0x01 => 2200 + (noise % 61) as i64 - 30,
            // At 220 V: tenths of a watt to thousandths of an ampere.
            0x02 => share(power) * 100 / 220,
            0x03 => share(power),
            0x04 => share(power) / 4,
            0x05 => share(power.abs() * 103 / 100),
            0x06 => 970 * if power < 0 { -1 } else { 1 },
            _ => 200 + (noise % 10) as i64,
        }
    }

    fn other_than_phases(&self, last: u8, elapsed: Duration) -> i64 {
        let noise = (mix(self.seed ^ elapsed.as_secs()) % 5) as i64;
        match last {
            0x01 => 10 + noise,
            0x02 => 4998 + noise,
            0x03 | 0x04 => self.power(elapsed),
            0x05 => self.power(elapsed) / 4,
            0x06 => self.power(elapsed).abs() * 103 / 100,
            0x07 => 170 + wave(self.seed, elapsed.as_secs()) * 80 / 600,
            0x08 | 0x09 => 360 + noise,
            _ => 1_000 + elapsed.as_secs() as i64 / 60,
        }
    }
}
