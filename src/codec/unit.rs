//! Units of measurement and exact conversion between those of one quantity.
//!
//! Guarantees: a conversion is exact or it is none, no number goes through a float, and a power of ten moves the point and
//! nothing else: 170.47 L are 0.17047 m3, 170.00 L are 0.17000 m3. Units are written as UCUM has them where it has them,
//! with `m3` for its `m3`, `Cel` for degrees Celsius. Degrees Celsius and kelvins are not converted: a difference and a
//! temperature are different things.

use rust_decimal::Decimal;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quantity {
    Volume,
    Flow,
    Energy,
    Power,
    ReactiveEnergy,
    ReactivePower,
    ApparentEnergy,
    ApparentPower,
    Voltage,
    Current,
    Frequency,
    Ratio,
    Pressure,
    Length,
    Angle,
    Celsius,
    Kelvin,
    Hours,
    Minutes,
    Seconds,
}

/// One unit is `factor * 10^tens` of the least one of its quantity.
struct Unit {
    name: &'static str,
    quantity: Quantity,
    factor: i128,
    tens: i32,
}

const fn unit(name: &'static str, quantity: Quantity, factor: i128, tens: i32) -> Unit {
    Unit { name, quantity, factor, tens }
}

/// 1 Wh is 3600 J.
const WATT_HOUR: i128 = 36;

static UNITS: &[Unit] = &[
    unit("L", Quantity::Volume, 1, 0),
    unit("m3", Quantity::Volume, 1, 3),
    unit("L/h", Quantity::Flow, 1, 0),
    unit("m3/h", Quantity::Flow, 1, 3),
    unit("J", Quantity::Energy, 1, 0),
    unit("kJ", Quantity::Energy, 1, 3),
    unit("MJ", Quantity::Energy, 1, 6),
    unit("GJ", Quantity::Energy, 1, 9),
    unit("Wh", Quantity::Energy, WATT_HOUR, 2),
    unit("W.min", Quantity::Energy, 6, 1),
    unit("kWh", Quantity::Energy, WATT_HOUR, 5),
    unit("MWh", Quantity::Energy, WATT_HOUR, 8),
    unit("W", Quantity::Power, 1, 0),
    unit("kW", Quantity::Power, 1, 3),
    unit("MW", Quantity::Power, 1, 6),
    unit("varh", Quantity::ReactiveEnergy, 1, 0),
    unit("kvarh", Quantity::ReactiveEnergy, 1, 3),
    unit("var", Quantity::ReactivePower, 1, 0),
    unit("kvar", Quantity::ReactivePower, 1, 3),
    unit("VAh", Quantity::ApparentEnergy, 1, 0),
    unit("kVAh", Quantity::ApparentEnergy, 1, 3),
    unit("VA", Quantity::ApparentPower, 1, 0),
    unit("kVA", Quantity::ApparentPower, 1, 3),
    unit("mV", Quantity::Voltage, 1, 0),
    unit("V", Quantity::Voltage, 1, 3),
    unit("kV", Quantity::Voltage, 1, 6),
    unit("mA", Quantity::Current, 1, 0),
    unit("A", Quantity::Current, 1, 3),
    unit("Hz", Quantity::Frequency, 1, 0),
    unit("%", Quantity::Ratio, 1, 0),
    // Of SenML (RFC 8428 §12.1): relative humidity, what is left of a battery, a part of one.
    unit("%RH", Quantity::Ratio, 1, 0),
    unit("%EL", Quantity::Ratio, 1, 0),
    unit("/", Quantity::Ratio, 1, 2),
    unit("Pa", Quantity::Pressure, 1, 0),
    unit("hPa", Quantity::Pressure, 1, 2),
    unit("kPa", Quantity::Pressure, 1, 3),
    unit("bar", Quantity::Pressure, 1, 5),
    unit("MPa", Quantity::Pressure, 1, 6),
    unit("mm", Quantity::Length, 1, 0),
    unit("cm", Quantity::Length, 1, 1),
    unit("m", Quantity::Length, 1, 3),
    unit("deg", Quantity::Angle, 1, 0),
    unit("Cel", Quantity::Celsius, 1, 0),
    unit("K", Quantity::Kelvin, 1, 0),
    unit("h", Quantity::Hours, 1, 0),
    unit("min", Quantity::Minutes, 1, 0),
    unit("s", Quantity::Seconds, 1, 0),
];

fn find(name: &str) -> Option<&'static Unit> {
    UNITS.iter().find(|unit| unit.name == name)
}

/// Whether the unit is in the table.
#[must_use]
pub fn is_known(unit: &str) -> bool {
    find(unit).is_some()
}

/// Whether the units measure the same, so that [`convert`] has an answer for some values; a unit does so with itself,
/// known or not.
#[must_use]
pub fn same_quantity(a: &str, b: &str) -> bool {
    a == b || find(a).zip(find(b)).is_some_and(|(a, b)| a.quantity == b.quantity)
}

/// Whether [`convert`] has an answer for every value that has room for it: not where a third would have to be written.
#[must_use]
pub fn is_exact(from: &str, to: &str) -> bool {
    convert(Decimal::ONE, from, to).is_some()
}

/// `value` in the unit `to`: as it is when the units are the same, none when they measure different things, when one is
/// not known, and when the result has no exact decimal of 28 places (1 J in Wh).
#[must_use]
pub fn convert(value: Decimal, from: &str, to: &str) -> Option<Decimal> {
    if from == to {
        return Some(value);
    }
    let (from, to) = find(from).zip(find(to)).filter(|(from, to)| from.quantity == to.quantity)?;
    let (mut digits, mut places) = (value.mantissa(), value.scale().cast_signed());
    if from.factor != to.factor {
        digits = digits.checked_mul(from.factor)?;
        (digits, places) = divide(digits, places, to.factor)?;
    }
    places -= from.tens - to.tens;
    while places < 0 {
        digits = digits.checked_mul(10)?;
        places += 1;
    }
    while places > Decimal::MAX_SCALE.cast_signed() && digits % 10 == 0 {
        digits /= 10;
        places -= 1;
    }
    Decimal::try_from_i128_with_scale(digits, u32::try_from(places).ok()?).ok()
}

/// A quotient by a number that two places make a divisor of 100 but for its odd part; none with a remainder.
fn divide(digits: i128, places: i32, by: i128) -> Option<(i128, i32)> {
    (0..=2).find_map(|more| {
        let shifted = digits.checked_mul(10_i128.pow(more))?;
        (shifted % by == 0).then(|| (shifted / by, places + more.cast_signed()))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decimal(text: &str) -> Decimal {
        text.parse().expect("a decimal")
    }

    #[test]
    fn conversions_are_exact_or_none() {
        for (value, from, to, expected) in [
            ("170.47", "L", "m3", Some("0.17047")),
            ("170.00", "L", "m3", Some("0.17000")),
            ("0.17047", "m3", "L", Some("170.47")),
            ("1", "m3", "L", Some("1000")),
            ("1.5", "m3", "L", Some("1500")),
            ("12.3456", "m3/h", "L/h", Some("12345.6")),
            ("1", "kWh", "MJ", Some("3.6")),
            ("1.00", "kWh", "MJ", Some("3.600")),
            ("-2", "MWh", "GJ", Some("-7.2")),
            ("1", "Wh", "J", Some("3600")),
            ("3.6", "MJ", "kWh", Some("1")),
            ("1.8", "GJ", "MWh", Some("0.5")),
            ("0.9", "MJ", "kWh", Some("0.25")),
            ("1", "GJ", "MWh", None),
            ("1", "J", "Wh", None),
            ("0.00", "J", "kWh", Some("0.0000000")),
            ("0.2512", "kW", "W", Some("251.2")),
            ("5", "kvarh", "varh", Some("5000")),
            ("3300", "mV", "V", Some("3.300")),
            ("23.9", "Cel", "Cel", Some("23.9")),
            ("23.9", "Cel", "K", None),
            ("1", "kWh", "kvarh", None),
            ("1", "kWh", "kW", None),
            ("1", "ppm", "ppm", Some("1")),
            ("1", "ppm", "%", None),
            ("60", "min", "h", None),
            ("46.5", "%RH", "%", Some("46.5")),
            ("0.465", "/", "%", Some("46.5")),
            ("1", "W.min", "J", Some("60")),
            ("60", "W.min", "kWh", Some("0.0010")),
            ("5", "W.min", "Wh", None),
            ("1013.2", "hPa", "kPa", Some("101.32")),
            ("83", "cm", "m", Some("0.83")),
            ("79228162514264337593543950335", "m3", "L", None),
            ("0.0000000000000000000000000001", "L", "m3", None),
            ("0.0000000000000000000000001000", "L", "m3", Some("0.0000000000000000000000000001")),
        ] {
            let converted = convert(decimal(value), from, to).map(|value| value.to_string());
            assert_eq!(converted.as_deref(), expected, "{value} {from} in {to}");
        }
    }

    #[test]
    fn units_of_one_quantity_are_known_to_be() {
        for (a, b, same) in [
            ("L", "m3", true),
            ("GJ", "kWh", true),
            ("Cel", "K", false),
            ("kW", "kWh", false),
            ("kWh", "kvarh", false),
            ("ppm", "ppm", true),
            ("ppm", "L", false),
            ("", "", true),
        ] {
            assert_eq!(same_quantity(a, b), same, "{a} {b}");
            assert_eq!(same_quantity(b, a), same, "{b} {a}");
        }
        for (from, to, exact) in [
            ("mV", "V", true),
            ("kWh", "MJ", true),
            ("MJ", "kWh", false),
            ("W.min", "kWh", false),
            ("W.min", "J", true),
            ("ppm", "ppm", true),
            ("Cel", "K", false),
        ] {
            assert_eq!(is_exact(from, to), exact, "{from} {to}");
        }
        assert!(is_known("m3") && !is_known("M3") && !is_known(""));
        for (number, unit) in UNITS.iter().enumerate() {
            assert!(
                UNITS[..number].iter().all(|other| other.name != unit.name),
                "{} stands twice",
                unit.name
            );
        }
    }

    proptest! {
        #[test]
        fn there_and_back_is_the_same(
            digits in -10_i128.pow(15)..10_i128.pow(15),
            places in 0..9u32,
            from in 0..UNITS.len(),
            to in 0..UNITS.len(),
        ) {
            let value = Decimal::try_from_i128_with_scale(digits, places).expect("a decimal");
            let (from, to) = (UNITS[from].name, UNITS[to].name);
            match convert(value, from, to) {
                Some(converted) => prop_assert_eq!(convert(converted, to, from), Some(value)),
                None => prop_assert!(!same_quantity(from, to) || digits % 9 != 0),
            }
        }

        /// By another road: decimal arithmetic.
        #[test]
        fn a_factor_is_what_it_says(digits in 0..10_i128.pow(12), places in 0..9u32, pick in 0..5usize) {
            let value = Decimal::try_from_i128_with_scale(digits, places).expect("a decimal");
            let (from, to, factor) = [
                ("L", "m3", "0.001"),
                ("kWh", "MJ", "3.6"),
                ("MWh", "J", "3600000000"),
                ("MW", "kW", "1000"),
                ("mA", "A", "0.001"),
            ][pick];
            prop_assert_eq!(convert(value, from, to), value.checked_mul(decimal(factor)));
        }

        #[test]
        fn no_value_panics(digits in any::<i128>(), places in 0..29u32, from in 0..UNITS.len(), to in 0..UNITS.len()) {
            let digits = digits >> 32;
            if let Ok(value) = Decimal::try_from_i128_with_scale(digits, places) {
                let _ = convert(value, UNITS[from].name, UNITS[to].name);
            }
        }
    }
}
