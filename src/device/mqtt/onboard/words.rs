//! Units and classes as devices write them → the words of the project. Pure.
//!
//! Guarantees: what comes out is a word of these tables, never a text that a device sent.

/// A unit as it is written, and in UCUM.
static UNITS: &[(&str, &str)] = &[
    ("°C", "Cel"),
    ("℃", "Cel"),
    ("C", "Cel"),
    ("°F", "[degF]"),
    ("℉", "[degF]"),
    ("% RH", "%RH"),
    ("lux", "lx"),
    ("m³", "m3"),
    ("m³/h", "m3/h"),
    ("l", "L"),
    ("µg/m³", "ug/m3"),
    ("μg/m³", "ug/m3"),
    ("mg/m³", "mg/m3"),
    ("m/s²", "m/s2"),
    ("度", "kWh"),
    ("°", "deg"),
    ("sec", "s"),
];

/// Units in UCUM.
static UCUM: &[&str] = &[
    "Cel", "[degF]", "K", "%", "%RH", "lx", "ppm", "ppb", "hPa", "Pa", "kPa", "bar", "mbar", "W", "kW", "MW",
    "Wh", "kWh", "MWh", "W.min", "V", "mV", "kV", "A", "mA", "Hz", "VA", "kVA", "var", "kvar", "kvarh", "J",
    "kJ", "MJ", "GJ", "m3", "L", "m3/h", "L/h", "L/min", "dBm", "dB", "deg", "m", "cm", "mm", "km", "m/s",
    "km/h", "m/s2", "mm/h", "g", "kg", "s", "ms", "min", "h", "d", "ug/m3", "mg/m3", "uS/cm", "B", "kB",
    "MB", "pH",
];

/// What Home Assistant calls what is measured, as far as it says how a point is to be treated.
static CLASSES: &[&str] = &[
    "apparent_power",
    "aqi",
    "atmospheric_pressure",
    "battery",
    "battery_charging",
    "carbon_dioxide",
    "carbon_monoxide",
    "cold",
    "connectivity",
    "current",
    "distance",
    "door",
    "duration",
    "energy",
    "enum",
    "frequency",
    "garage_door",
    "gas",
    "heat",
    "humidity",
    "illuminance",
    "light",
    "lock",
    "moisture",
    "motion",
    "moving",
    "occupancy",
    "opening",
    "ozone",
    "plug",
    "pm1",
    "pm10",
    "pm25",
    "power",
    "power_factor",
    "presence",
    "pressure",
    "problem",
    "reactive_power",
    "running",
    "safety",
    "signal_strength",
    "smoke",
    "sound",
    "speed",
    "tamper",
    "temperature",
    "timestamp",
    "update",
    "vibration",
    "volatile_organic_compounds",
    "voltage",
    "volume",
    "water",
    "weight",
    "window",
];

/// In UCUM; none of what is not known.
#[must_use]
pub(super) fn unit(written: &str) -> Option<&'static str> {
    let known = UNITS.iter().find(|(known, _)| *known == written).map(|(_, unit)| *unit);
    known.or_else(|| UCUM.iter().find(|known| **known == written).copied())
}

/// A class of Home Assistant; none of what is not known.
#[must_use]
pub(super) fn class(written: &str) -> Option<&'static str> {
    CLASSES.iter().find(|known| **known == written).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_words_come_out() {
        for (written, expected) in
            [("°C", Some("Cel")), ("Cel", Some("Cel")), ("%", Some("%")), ("13800138000", None), ("", None)]
        {
            assert_eq!(unit(written), expected, "{written}");
        }
        assert_eq!((class("door"), class("13800138000")), (Some("door"), None));
        assert!(UNITS.iter().all(|(_, unit)| UCUM.contains(unit)));
    }
}
