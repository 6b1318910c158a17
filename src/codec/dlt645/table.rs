//! What stands behind an identifier: names, digits, sign and unit (DL/T 645-2007 App. A and C; what is read of 1997).
//!
//! One identifier without FF is one [`Row`]; blocks are put together from rows elsewhere. Times of loads and events are
//! not here: they are not read.

use std::borrow::Cow;

/// How an item's bytes are read, lowest digits first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Digits; when signed, the top bit of the last byte is the sign (App. A, notes 1 to 6).
    Number { bytes: usize, places: u32, signed: bool },
    /// XX.XXXX and the minute in which it was.
    Demand { signed: bool },
    /// mm hh DD MM YY.
    Minute,
    /// Weekday, 0 is Sunday, DD MM YY.
    Date,
    /// ss mm hh.
    Time,
    /// So many bytes of digits that are a name and not a number.
    Digits(usize),
    /// So many characters, the last one first.
    Ascii(usize),
    /// So many bytes of bits; these have names.
    Status(usize, &'static [u8]),
}

impl Shape {
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::Number { bytes, .. }
            | Self::Digits(bytes)
            | Self::Ascii(bytes)
            | Self::Status(bytes, _) => bytes,
            Self::Demand { .. } => 8,
            Self::Minute => 5,
            Self::Date => 4,
            Self::Time => 3,
        }
    }
}

/// One identifier without FF.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// Of its items: one, but value and time of a demand, date and weekday, the bits of a status word.
    names: &'static [&'static str],
    tariff: u8,
    /// Settlement, day or harmonic; 0 for none, and the word that stands before it.
    number: u8,
    word: &'static str,
    pub(super) shape: Shape,
    pub(super) unit: &'static str,
}

impl Row {
    const fn new(names: &'static [&'static str], shape: Shape, unit: &'static str) -> Self {
        Self { names, tariff: 0, number: 0, word: "", shape, unit }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = Cow<'static, str>> {
        let Self { names, tariff, number, word, .. } = *self;
        names.iter().map(move |name| match (tariff, number) {
            (0, 0) => Cow::Borrowed(*name),
            (0, _) => format!("{name}{word}{number}").into(),
            (_, 0) => format!("{}_tariff_{tariff}", stem(name)).into(),
            _ => format!("{}_tariff_{tariff}{word}{number}", stem(name)).into(),
        })
    }

    fn numbered(self, word: &'static str, number: u8) -> Self {
        Self { word, number, ..self }
    }
}

fn stem(name: &'static str) -> &'static str {
    name.strip_suffix("_total").unwrap_or(name)
}

const fn number(bytes: usize, places: u32, signed: bool) -> Shape {
    Shape::Number { bytes, places, signed }
}

/// What energies and demands are counted of: DI2 of DI3 = 00 and 01 (tables A.1 and A.2).
pub(super) struct Quantity {
    pub(super) code: u8,
    energy: [&'static str; 1],
    /// Where the table has a demand.
    demand: [&'static str; 2],
    daily: [&'static str; 1],
    class: Class,
    signed: bool,
}

impl Quantity {
    /// Whether it is counted by tariff, too: phases and the parts of the active energy are not.
    pub(super) fn has_tariffs(&self) -> bool {
        matches!(self.code, 0x00..=0x0A | FORWARD_REACTIVE_1997 | REVERSE_REACTIVE_1997)
    }

    fn has_demand(&self) -> bool {
        (1..0x80).contains(&self.code)
    }
}

#[derive(Clone, Copy)]
enum Class {
    Active,
    Reactive,
    Apparent,
}

impl Class {
    fn energy_unit(self) -> &'static str {
        match self {
            Self::Active => "kWh",
            Self::Reactive => "kvarh",
            Self::Apparent => "kVAh",
        }
    }

    fn power_unit(self) -> &'static str {
        match self {
            Self::Active => "kW",
            Self::Reactive => "kvar",
            Self::Apparent => "kVA",
        }
    }
}

macro_rules! quantity {
    ($code:expr, [$($stem:literal),+], $total:literal, $class:ident, $signed:literal) => {
        Quantity {
            code: $code,
            energy: [concat!($($stem,)+ "_energy", $total)],
            demand: [concat!($($stem,)+ "_max_demand", $total), concat!($($stem,)+ "_max_demand_time", $total)],
            daily: [concat!("daily_freeze_", $($stem,)+ "_energy", $total)],
            class: Class::$class,
            signed: $signed,
        }
    };
}

/// A phase's quantities: ten from `$low`, seven from `$high`.
macro_rules! phase {
    ($letter:literal, $low:literal, $high:literal) => {
        [
            quantity!($low, ["phase_", $letter, "_forward_active"], "", Active, false),
            quantity!($low + 1, ["phase_", $letter, "_reverse_active"], "", Active, false),
            quantity!($low + 2, ["phase_", $letter, "_combined_reactive_1"], "", Reactive, true),
            quantity!($low + 3, ["phase_", $letter, "_combined_reactive_2"], "", Reactive, true),
            quantity!($low + 4, ["phase_", $letter, "_quadrant_1_reactive"], "", Reactive, false),
            quantity!($low + 5, ["phase_", $letter, "_quadrant_2_reactive"], "", Reactive, false),
            quantity!($low + 6, ["phase_", $letter, "_quadrant_3_reactive"], "", Reactive, false),
            quantity!($low + 7, ["phase_", $letter, "_quadrant_4_reactive"], "", Reactive, false),
            quantity!($low + 8, ["phase_", $letter, "_forward_apparent"], "", Apparent, false),
            quantity!($low + 9, ["phase_", $letter, "_reverse_apparent"], "", Apparent, false),
            quantity!($high, ["phase_", $letter, "_associated_active"], "", Active, true),
            quantity!($high + 1, ["phase_", $letter, "_forward_fundamental_active"], "", Active, false),
            quantity!($high + 2, ["phase_", $letter, "_reverse_fundamental_active"], "", Active, false),
            quantity!($high + 3, ["phase_", $letter, "_forward_harmonic_active"], "", Active, false),
            quantity!($high + 4, ["phase_", $letter, "_reverse_harmonic_active"], "", Active, false),
            quantity!($high + 5, ["phase_", $letter, "_copper_loss_active"], "", Active, false),
            quantity!($high + 6, ["phase_", $letter, "_iron_loss_active"], "", Active, false),
        ]
    };
}

static TOTALS: [Quantity; 18] = [
    quantity!(0x00, ["combined_active"], "_total", Active, true),
    quantity!(0x01, ["forward_active"], "_total", Active, false),
    quantity!(0x02, ["reverse_active"], "_total", Active, false),
    quantity!(0x03, ["combined_reactive_1"], "_total", Reactive, true),
    quantity!(0x04, ["combined_reactive_2"], "_total", Reactive, true),
    quantity!(0x05, ["quadrant_1_reactive"], "_total", Reactive, false),
    quantity!(0x06, ["quadrant_2_reactive"], "_total", Reactive, false),
    quantity!(0x07, ["quadrant_3_reactive"], "_total", Reactive, false),
    quantity!(0x08, ["quadrant_4_reactive"], "_total", Reactive, false),
    quantity!(0x09, ["forward_apparent"], "_total", Apparent, false),
    quantity!(0x0A, ["reverse_apparent"], "_total", Apparent, false),
    quantity!(0x80, ["associated_active"], "_total", Active, true),
    quantity!(0x81, ["forward_fundamental_active"], "_total", Active, false),
    quantity!(0x82, ["reverse_fundamental_active"], "_total", Active, false),
    quantity!(0x83, ["forward_harmonic_active"], "_total", Active, false),
    quantity!(0x84, ["reverse_harmonic_active"], "_total", Active, false),
    quantity!(0x85, ["copper_loss_active"], "_total", Active, false),
    quantity!(0x86, ["iron_loss_active"], "_total", Active, false),
];

static PHASES: [[Quantity; 17]; 3] =
    [phase!("a", 0x15, 0x94), phase!("b", 0x29, 0xA8), phase!("c", 0x3D, 0xBC)];

/// 1997 counts reactive energy by direction; codes that 2007 does not use.
const FORWARD_REACTIVE_1997: u8 = 0x10;
const REVERSE_REACTIVE_1997: u8 = 0x20;
static REACTIVE_1997: [Quantity; 2] = [
    quantity!(FORWARD_REACTIVE_1997, ["forward_reactive"], "_total", Reactive, false),
    quantity!(REVERSE_REACTIVE_1997, ["reverse_reactive"], "_total", Reactive, false),
];

/// Energy (DI3 = 00), max demand (01) or the energy of a daily freeze (05 06).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Register {
    Energy,
    Demand,
    Daily,
}

impl Register {
    /// The quantities it has, in the order of the table, which is the order of a block.
    pub(super) fn quantities(self) -> impl Iterator<Item = &'static Quantity> {
        TOTALS.iter().chain(PHASES.iter().flatten()).filter(move |quantity| match self {
            Self::Energy => true,
            Self::Demand => quantity.has_demand(),
            Self::Daily => (0x01..=0x08).contains(&quantity.code),
        })
    }

    pub(super) fn row(self, quantity: &'static Quantity, tariff: u8, past: u8) -> Row {
        let energy = number(4, 2, quantity.signed);
        let row = match self {
            Self::Energy => Row::new(&quantity.energy, energy, quantity.class.energy_unit())
                .numbered("_settlement_", past),
            Self::Demand => {
                let shape = Shape::Demand { signed: quantity.signed };
                Row::new(&quantity.demand, shape, quantity.class.power_unit()).numbered("_settlement_", past)
            }
            Self::Daily => {
                Row::new(&quantity.daily, energy, quantity.class.energy_unit()).numbered("_day_", past)
            }
        };
        Row { tariff, ..row }
    }
}

/// Energies of 1997 by DI1 and the upper half of DI0: 901x, 902x, 911x, 912x.
pub(super) fn quantity_1997(class: u8, direction: u8) -> Option<&'static Quantity> {
    match (class, direction) {
        (0x90, 1) => Some(&TOTALS[1]),
        (0x90, 2) => Some(&TOTALS[2]),
        (0x91, 1) => Some(&REACTIVE_1997[0]),
        (0x91, 2) => Some(&REACTIVE_1997[1]),
        _ => None,
    }
}

/// What is measured of three phases, and mostly in total.
struct Phased {
    /// DI2 of DI3 = 02 (table A.3), or 1997's DI1 = B6 by the upper half of DI0.
    code: u8,
    /// Total, where there is one, and phases A, B, C.
    names: &'static [&'static str],
    shape: Shape,
    unit: &'static str,
}

impl Phased {
    /// 0 is the total.
    fn row(&self, phase: u8) -> Option<Row> {
        let at = (usize::from(phase) + self.names.len()).checked_sub(4)?;
        Some(Row::new(self.names.get(at..=at)?, self.shape, self.unit))
    }
}

const VOLTAGE: &[&str] = &["voltage_a", "voltage_b", "voltage_c"];
const CURRENT: &[&str] = &["current_a", "current_b", "current_c"];
const ACTIVE_POWER: &[&str] = &["active_power_total", "active_power_a", "active_power_b", "active_power_c"];
const REACTIVE_POWER: &[&str] =
    &["reactive_power_total", "reactive_power_a", "reactive_power_b", "reactive_power_c"];
const APPARENT_POWER: &[&str] =
    &["apparent_power_total", "apparent_power_a", "apparent_power_b", "apparent_power_c"];
const POWER_FACTOR: &[&str] = &["power_factor_total", "power_factor_a", "power_factor_b", "power_factor_c"];

/// Current, power, power factor: the top bit is the direction (A.3, notes).
static PHASED: [Phased; 9] = [
    Phased { code: 0x01, names: VOLTAGE, shape: number(2, 1, false), unit: "V" },
    Phased { code: 0x02, names: CURRENT, shape: number(3, 3, true), unit: "A" },
    Phased { code: 0x03, names: ACTIVE_POWER, shape: number(3, 4, true), unit: "kW" },
    Phased { code: 0x04, names: REACTIVE_POWER, shape: number(3, 4, true), unit: "kvar" },
    Phased { code: 0x05, names: APPARENT_POWER, shape: number(3, 4, true), unit: "kVA" },
    Phased { code: 0x06, names: POWER_FACTOR, shape: number(2, 3, true), unit: "" },
    Phased {
        code: 0x07,
        names: &["phase_angle_a", "phase_angle_b", "phase_angle_c"],
        shape: number(2, 1, false),
        unit: "deg",
    },
    Phased {
        code: 0x08,
        names: &["voltage_distortion_a", "voltage_distortion_b", "voltage_distortion_c"],
        shape: number(2, 2, false),
        unit: "%",
    },
    Phased {
        code: 0x09,
        names: &["current_distortion_a", "current_distortion_b", "current_distortion_c"],
        shape: number(2, 2, false),
        unit: "%",
    },
];

/// By order, DI0 = 1 to 21.
static HARMONICS: [Phased; 2] = [
    Phased {
        code: 0x0A,
        names: &["voltage_harmonic_a", "voltage_harmonic_b", "voltage_harmonic_c"],
        shape: number(2, 2, false),
        unit: "%",
    },
    Phased {
        code: 0x0B,
        names: &["current_harmonic_a", "current_harmonic_b", "current_harmonic_c"],
        shape: number(2, 2, false),
        unit: "%",
    },
];

/// Orders of harmonics in table A.3.
pub(super) const HARMONIC_MAX: u8 = 0x15;

/// 0280 0001 to 000A.
static METER: [Row; 10] = [
    Row::new(&["neutral_current"], number(3, 3, true), "A"),
    Row::new(&["frequency"], number(2, 2, false), "Hz"),
    Row::new(&["active_power_minute_average"], number(3, 4, true), "kW"),
    Row::new(&["active_demand"], number(3, 4, true), "kW"),
    Row::new(&["reactive_demand"], number(3, 4, true), "kvar"),
    Row::new(&["apparent_demand"], number(3, 4, true), "kVA"),
    Row::new(&["meter_temperature"], number(2, 1, true), "Cel"),
    Row::new(&["clock_battery_voltage"], number(2, 2, false), "V"),
    Row::new(&["outage_battery_voltage"], number(2, 2, false), "V"),
    Row::new(&["battery_run_time"], number(4, 0, false), "min"),
];

/// DI2 of DI3 = 02, in the order of the table.
pub(super) const VARIABLES: [u8; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 0x0A, 0x0B, 0x80];

/// Instantaneous values: DI3 = 02.
pub(super) fn variable(di2: u8, di1: u8, di0: u8) -> Option<Row> {
    match (di2, di1, di0) {
        (0x80, 0, 1..) => METER.get(usize::from(di0) - 1).copied(),
        (0x0A | 0x0B, 1..=3, 1..=HARMONIC_MAX) => {
            Some(HARMONICS[usize::from(di2 - 0x0A)].row(di1)?.numbered("_", di0))
        }
        (_, 0..=3, 0) => PHASED.iter().find(|group| group.code == di2)?.row(di1),
        _ => None,
    }
}

macro_rules! phase_status {
    ($word:literal) => {
        &[
            concat!("status_", $word, ".loss_of_voltage"),
            concat!("status_", $word, ".undervoltage"),
            concat!("status_", $word, ".overvoltage"),
            concat!("status_", $word, ".loss_of_current"),
            concat!("status_", $word, ".overcurrent"),
            concat!("status_", $word, ".overload"),
            concat!("status_", $word, ".reverse_flow"),
            concat!("status_", $word, ".phase_cut"),
            concat!("status_", $word, ".current_cut"),
        ]
    };
}

/// 04000501 to 07 (App. C): words 4, 5, 6 are phases A, B, C.
pub(super) static STATUS: [Row; 7] = [
    Row::new(
        &[
            "status_1.interval_demand",
            "status_1.clock_battery_low",
            "status_1.outage_battery_low",
            "status_1.active_reverse",
            "status_1.reactive_reverse",
        ],
        Shape::Status(2, &[1, 2, 3, 4, 5]),
        "",
    ),
    Row::new(
        &[
            "status_2.active_reverse_a",
            "status_2.active_reverse_b",
            "status_2.active_reverse_c",
            "status_2.reactive_reverse_a",
            "status_2.reactive_reverse_b",
            "status_2.reactive_reverse_c",
        ],
        Shape::Status(2, &[0, 1, 2, 4, 5, 6]),
        "",
    ),
    Row::new(
        &[
            "status_3.second_period_set",
            "status_3.auxiliary_supply",
            "status_3.battery_supply",
            "status_3.programming_allowed",
            "status_3.relay_open",
        ],
        Shape::Status(2, &[0, 1, 2, 3, 4]),
        "",
    ),
    Row::new(phase_status!("4"), Shape::Status(2, &[0, 1, 2, 3, 4, 5, 6, 7, 8]), ""),
    Row::new(phase_status!("5"), Shape::Status(2, &[0, 1, 2, 3, 4, 5, 6, 7, 8]), ""),
    Row::new(phase_status!("6"), Shape::Status(2, &[0, 1, 2, 3, 4, 5, 6, 7, 8]), ""),
    Row::new(
        &[
            "status_7.voltage_sequence",
            "status_7.current_sequence",
            "status_7.voltage_unbalance",
            "status_7.current_unbalance",
            "status_7.auxiliary_supply_lost",
            "status_7.power_down",
            "status_7.demand_exceeded",
            "status_7.power_factor_low",
            "status_7.severe_current_unbalance",
        ],
        Shape::Status(2, &[0, 1, 2, 3, 4, 5, 6, 7, 8]),
        "",
    ),
];

const DATE: Row = Row::new(&["date", "weekday"], Shape::Date, "");
const TIME: Row = Row::new(&["time"], Shape::Time, "");
const METER_NUMBER: Row = Row::new(&["meter_number"], Shape::Digits(6), "");

/// What is in no group, of 2007.
pub(super) fn single(number: u32) -> Option<Row> {
    let count = self::number(3, 0, false);
    Some(match number {
        0x0330_0D00 => Row::new(&["cover_open_count"], count, ""),
        0x0330_0E00 => Row::new(&["terminal_cover_open_count"], count, ""),
        0x0400_0101 => DATE,
        0x0400_0102 => TIME,
        0x0400_0401 => Row::new(&["communication_address"], Shape::Digits(6), ""),
        0x0400_0402 => METER_NUMBER,
        0x0400_0403 => Row::new(&["asset_code"], Shape::Ascii(32), ""),
        0x0400_0404 => Row::new(&["rated_voltage"], Shape::Ascii(6), ""),
        0x0400_0405 => Row::new(&["rated_current"], Shape::Ascii(6), ""),
        0x0400_0406 => Row::new(&["max_current"], Shape::Ascii(6), ""),
        0x0400_0501..=0x0400_0507 => STATUS[(number - 0x0400_0501) as usize],
        0x0506_0001..=0x0506_003E => {
            Row::new(&["daily_freeze_time"], Shape::Minute, "").numbered("_day_", past_day(number as u8))
        }
        0x1D00_0001 => Row::new(&["relay_trip_count"], count, ""),
        _ => return None,
    })
}

/// The number in the names of the daily freeze that DI0 asks for: the last one has none.
pub(super) fn past_day(di0: u8) -> u8 {
    if di0 == 1 { 0 } else { di0 }
}

/// 1997's DI1 = B6, in whole volts and without directions.
static PHASED_1997: [Phased; 5] = [
    Phased { code: 1, names: VOLTAGE, shape: number(2, 0, false), unit: "V" },
    Phased { code: 2, names: CURRENT, shape: number(2, 2, false), unit: "A" },
    Phased { code: 3, names: ACTIVE_POWER, shape: number(3, 4, false), unit: "kW" },
    Phased { code: 4, names: REACTIVE_POWER, shape: number(2, 2, false), unit: "kvar" },
    Phased { code: 5, names: POWER_FACTOR, shape: number(2, 3, false), unit: "" },
];

/// 1997's instantaneous values: B6 and DI0 by halves.
pub(super) fn variable_1997(group: u8, phase: u8) -> Option<Row> {
    PHASED_1997.iter().find(|phased| phased.code == group)?.row(phase)
}

/// What is in no group, of 1997.
pub(super) fn single_1997(number: u32) -> Option<Row> {
    Some(match number {
        0xC010 => DATE,
        0xC011 => TIME,
        0xC020 => Row::new(
            &["status.battery_low", "status.active_reverse", "status.reactive_reverse"],
            Shape::Status(1, &[2, 4, 5]),
            "",
        ),
        0xC032 => METER_NUMBER,
        0xC033 => Row::new(&["user_number"], Shape::Digits(6), ""),
        0xC034 => Row::new(&["equipment_number"], Shape::Digits(6), ""),
        _ => return None,
    })
}
