//! Items against the tables, written down once more as what they read.

use proptest::prelude::*;

use super::{address, bytes, whole, wire};
use crate::codec::Item;
use crate::codec::dlt645::*;
use crate::model::Value;

/// `name=value unit`, `-` for no value.
fn shown(item: &Item) -> String {
    let value = match &item.value {
        None => "-".to_owned(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Flag(flag)) => flag.to_string(),
        Some(Value::Text(text)) => text.to_string(),
    };
    format!("{}={value} {}", item.name, item.unit).trim_end().to_owned()
}

fn shown_items(identifier: &str, data: &str) -> Option<Vec<String>> {
    let identifier = identifier.parse().expect("an identifier");
    items(identifier, &bytes(data)).ok().map(|items| items.iter().map(shown).collect())
}

#[test]
fn single_items_have_name_value_and_unit() {
    for (identifier, data, expected) in [
        ("00000000", "78563412", "combined_active_energy_total=123456.78 kWh"),
        ("00000000", "78563492", "combined_active_energy_total=-123456.78 kWh"),
        ("00010000", "78563492", "forward_active_energy_total=923456.78 kWh"),
        ("00010000", "ffffffff", "forward_active_energy_total=- kWh"),
        ("00020100", "01000000", "reverse_active_energy_tariff_1=0.01 kWh"),
        ("00033f00", "01000080", "combined_reactive_1_energy_tariff_63=-0.01 kvarh"),
        ("0004000c", "00000000", "combined_reactive_2_energy_total_settlement_12=0.00 kvarh"),
        ("00080201", "00010000", "quadrant_4_reactive_energy_tariff_2_settlement_1=1.00 kvarh"),
        ("00090000", "00010000", "forward_apparent_energy_total=1.00 kVAh"),
        ("000a0000", "00010000", "reverse_apparent_energy_total=1.00 kVAh"),
        ("00800000", "00010080", "associated_active_energy_total=-1.00 kWh"),
        ("00850000", "00010000", "copper_loss_active_energy_total=1.00 kWh"),
        ("00150000", "00010000", "phase_a_forward_active_energy=1.00 kWh"),
        ("00170000", "00010080", "phase_a_combined_reactive_1_energy=-1.00 kvarh"),
        ("00320001", "00010000", "phase_b_reverse_apparent_energy_settlement_1=1.00 kVAh"),
        ("00a80000", "00010000", "phase_b_associated_active_energy=1.00 kWh"),
        ("00c20000", "00010000", "phase_c_iron_loss_active_energy=1.00 kWh"),
        ("02010100", "3122", "voltage_a=223.1 V"),
        ("02010300", "ffff", "voltage_c=- V"),
        ("02020200", "341280", "current_b=-1.234 A"),
        ("02030000", "122500", "active_power_total=0.2512 kW"),
        ("02030300", "122580", "active_power_c=-0.2512 kW"),
        ("02040100", "122500", "reactive_power_a=0.2512 kvar"),
        ("02050000", "065000", "apparent_power_total=0.5006 kVA"),
        ("02060000", "0185", "power_factor_total=-0.501"),
        ("02070200", "0012", "phase_angle_b=120.0 deg"),
        ("02080100", "1203", "voltage_distortion_a=3.12 %"),
        ("02090300", "1203", "current_distortion_c=3.12 %"),
        ("020a0103", "1203", "voltage_harmonic_a_3=3.12 %"),
        ("020b0315", "1203", "current_harmonic_c_21=3.12 %"),
        ("02800001", "341200", "neutral_current=1.234 A"),
        ("02800002", "0050", "frequency=50.00 Hz"),
        ("02800003", "122580", "active_power_minute_average=-0.2512 kW"),
        ("02800004", "122500", "active_demand=0.2512 kW"),
        ("02800005", "122500", "reactive_demand=0.2512 kvar"),
        ("02800006", "122500", "apparent_demand=0.2512 kVA"),
        ("02800007", "3982", "meter_temperature=-23.9 Cel"),
        ("02800008", "6503", "clock_battery_voltage=3.65 V"),
        ("02800009", "6503", "outage_battery_voltage=3.65 V"),
        ("0280000a", "78563412", "battery_run_time=12345678 min"),
        ("03300d00", "270000", "cover_open_count=27"),
        ("03300e00", "010000", "terminal_cover_open_count=1"),
        ("04000102", "042222", "time=22:22:04"),
        ("04000102", "602222", "time=-"),
        ("04000401", "080202412200", "communication_address=002241020208"),
        ("04000402", "ffffffffffff", "meter_number=-"),
        ("04000404", "563032320000", "rated_voltage=220V"),
        ("04000405", "293036283500", "rated_current=5(60)"),
        ("04000406", "ffffffffffff", "max_current=-"),
        ("05060001", "0000091015", "daily_freeze_time=2015-10-09T00:00"),
        ("05060002", "0000311115", "daily_freeze_time_day_2=-"),
        ("1d000001", "000000", "relay_trip_count=0"),
        ("9010", "24541100", "forward_active_energy_total=1154.24 kWh"),
        ("9021", "24541100", "reverse_active_energy_tariff_1=1154.24 kWh"),
        ("9110", "24541100", "forward_reactive_energy_total=1154.24 kvarh"),
        ("912e", "24541100", "reverse_reactive_energy_tariff_14=1154.24 kvarh"),
        ("b611", "2002", "voltage_a=220 V"),
        ("b623", "3412", "current_c=12.34 A"),
        ("b630", "122580", "active_power_total=80.2512 kW"),
        ("b643", "3412", "reactive_power_c=12.34 kvar"),
        ("b650", "0010", "power_factor_total=1.000"),
        ("c011", "042222", "time=22:22:04"),
        ("c032", "123456789012", "meter_number=129078563412"),
        ("c033", "123456789012", "user_number=129078563412"),
        ("c034", "123456789012", "equipment_number=129078563412"),
    ] {
        assert_eq!(shown_items(identifier, data), Some(vec![expected.to_owned()]), "{identifier}");
        let identifier = identifier.parse().expect("an identifier");
        assert!(known(identifier));
        let names = item_names(identifier).expect("known");
        assert_eq!(names, [expected.split('=').next().unwrap_or_default()]);
        let plain = !names[0].contains(['1', '2', '3', '4', '5', '6', '7', '8', '9']);
        assert!(
            !plain || matches!(names[0], std::borrow::Cow::Borrowed(_)),
            "{identifier}: a fixed name is free"
        );
        for data in
            [bytes(data).split_last().map(|(_, rest)| rest.to_vec()), Some([bytes(data), vec![0]].concat())]
        {
            let data = data.expect("data");
            let length = ItemError::Length { identifier, bytes: data.len() };
            assert_eq!(items(identifier, &data), Err(length), "{identifier}");
        }
    }
}

#[test]
fn rows_of_more_than_one_item() {
    for (identifier, data, expected) in [
        (
            "01010000",
            "122500 3018 091015",
            &[
                "forward_active_max_demand_total=0.2512 kW",
                "forward_active_max_demand_time_total=2015-10-09T18:30",
            ][..],
        ),
        (
            "01030102",
            "122580 0000000000",
            &[
                "combined_reactive_1_max_demand_tariff_1_settlement_2=-0.2512 kvar",
                "combined_reactive_1_max_demand_time_tariff_1_settlement_2=-",
            ],
        ),
        (
            "011d0000",
            "122500 3018091015",
            &[
                "phase_a_forward_apparent_max_demand=0.2512 kVA",
                "phase_a_forward_apparent_max_demand_time=2015-10-09T18:30",
            ],
        ),
        ("04000101", "05091015", &["date=2015-10-09", "weekday=5"]),
        ("c010", "07301315", &["date=-", "weekday=-"]),
        (
            "c020",
            "14",
            &["status.battery_low=true", "status.active_reverse=true", "status.reactive_reverse=false"],
        ),
        (
            "04000503",
            "1400",
            &[
                "status_3.second_period_set=false",
                "status_3.auxiliary_supply=false",
                "status_3.battery_supply=true",
                "status_3.programming_allowed=false",
                "status_3.relay_open=true",
            ],
        ),
        (
            "04000505",
            "8101",
            &[
                "status_5.loss_of_voltage=true",
                "status_5.undervoltage=false",
                "status_5.overvoltage=false",
                "status_5.loss_of_current=false",
                "status_5.overcurrent=false",
                "status_5.overload=false",
                "status_5.reverse_flow=false",
                "status_5.phase_cut=true",
                "status_5.current_cut=true",
            ],
        ),
    ] {
        let expected: Vec<String> = expected.iter().map(|text| (*text).to_owned()).collect();
        assert_eq!(shown_items(identifier, data), Some(expected), "{identifier}");
    }
    let none = shown_items("04000501", "ffff").expect("known");
    assert!(none.len() == 5 && none.iter().all(|item| item.ends_with("=-")), "{none:?}");
    let asset = format!("{}{}", "353433 2d 5a48", "00".repeat(26));
    assert_eq!(shown_items("04000403", &asset), Some(vec!["asset_code=HZ-345".to_owned()]));
}

#[test]
fn blocks_are_their_items_in_order() {
    let energy = |count: usize| "00010000".repeat(count);
    for (identifier, data, count, first, last) in [
        (
            "0001ff00",
            energy(1),
            1,
            "forward_active_energy_total=1.00 kWh",
            "forward_active_energy_total=1.00 kWh",
        ),
        (
            "0001ff00",
            energy(5),
            5,
            "forward_active_energy_total=1.00 kWh",
            "forward_active_energy_tariff_4=1.00 kWh",
        ),
        (
            "0001ff00",
            energy(64),
            64,
            "forward_active_energy_total=1.00 kWh",
            "forward_active_energy_tariff_63=1.00 kWh",
        ),
        (
            "0001ff03",
            energy(5),
            5,
            "forward_active_energy_total_settlement_3=1.00 kWh",
            "forward_active_energy_tariff_4_settlement_3=1.00 kWh",
        ),
        (
            "000100ff",
            energy(13),
            13,
            "forward_active_energy_total=1.00 kWh",
            "forward_active_energy_total_settlement_12=1.00 kWh",
        ),
        (
            "000102ff",
            energy(13),
            13,
            "forward_active_energy_tariff_2=1.00 kWh",
            "forward_active_energy_tariff_2_settlement_12=1.00 kWh",
        ),
        (
            "0001ffff",
            energy(39),
            39,
            "forward_active_energy_total=1.00 kWh",
            "forward_active_energy_tariff_2_settlement_12=1.00 kWh",
        ),
        (
            "00ff0000",
            energy(11),
            11,
            "combined_active_energy_total=1.00 kWh",
            "reverse_apparent_energy_total=1.00 kVAh",
        ),
        (
            "00ff0000",
            energy(69),
            69,
            "combined_active_energy_total=1.00 kWh",
            "phase_c_iron_loss_active_energy=1.00 kWh",
        ),
        (
            "00ff0100",
            energy(11),
            11,
            "combined_active_energy_tariff_1=1.00 kWh",
            "reverse_apparent_energy_tariff_1=1.00 kVAh",
        ),
        (
            "00ffff00",
            energy(55),
            55,
            "combined_active_energy_total=1.00 kWh",
            "reverse_apparent_energy_tariff_4=1.00 kVAh",
        ),
        (
            "00ffff00",
            energy(113),
            113,
            "combined_active_energy_total=1.00 kWh",
            "phase_c_iron_loss_active_energy=1.00 kWh",
        ),
        (
            "00ff00ff",
            energy(143),
            143,
            "combined_active_energy_total=1.00 kWh",
            "reverse_apparent_energy_total_settlement_12=1.00 kVAh",
        ),
        (
            "0101ff00",
            "0001003018091015".repeat(5),
            10,
            "forward_active_max_demand_total=0.0100 kW",
            "forward_active_max_demand_time_tariff_4=2015-10-09T18:30",
        ),
        ("0201ff00", "3122 ffff ffff".into(), 3, "voltage_a=223.1 V", "voltage_c=- V"),
        ("0202ff00", "341200 ffffff ffffff".into(), 3, "current_a=1.234 A", "current_c=- A"),
        (
            "0203ff00",
            "122500 122580 000000 000000".into(),
            4,
            "active_power_total=0.2512 kW",
            "active_power_c=0.0000 kW",
        ),
        ("0206ff00", "0010 0010 0010 0010".into(), 4, "power_factor_total=1.000", "power_factor_c=1.000"),
        ("020a02ff", "0001".repeat(21), 21, "voltage_harmonic_b_1=1.00 %", "voltage_harmonic_b_21=1.00 %"),
        ("020bff02", "0001".repeat(3), 3, "current_harmonic_a_2=1.00 %", "current_harmonic_c_2=1.00 %"),
        (
            "02ff0000",
            "000000".repeat(3) + "0010",
            4,
            "active_power_total=0.0000 kW",
            "power_factor_total=1.000",
        ),
        ("028000ff", "00".repeat(27), 10, "neutral_current=0.000 A", "battery_run_time=0 min"),
        (
            "040005ff",
            "0000".repeat(7),
            52,
            "status_1.interval_demand=false",
            "status_7.severe_current_unbalance=false",
        ),
        (
            "05060101",
            energy(5),
            5,
            "daily_freeze_forward_active_energy_total=1.00 kWh",
            "daily_freeze_forward_active_energy_tariff_4=1.00 kWh",
        ),
        (
            "0506013e",
            energy(2),
            2,
            "daily_freeze_forward_active_energy_total_day_62=1.00 kWh",
            "daily_freeze_forward_active_energy_tariff_1_day_62=1.00 kWh",
        ),
        (
            "901f",
            energy(5),
            5,
            "forward_active_energy_total=1.00 kWh",
            "forward_active_energy_tariff_4=1.00 kWh",
        ),
        (
            "911f",
            energy(15),
            15,
            "forward_reactive_energy_total=1.00 kvarh",
            "forward_reactive_energy_tariff_14=1.00 kvarh",
        ),
        ("b61f", "200220022002".into(), 3, "voltage_a=220 V", "voltage_c=220 V"),
        ("b63f", "000000".repeat(4), 4, "active_power_total=0.0000 kW", "active_power_c=0.0000 kW"),
    ] {
        let items = shown_items(identifier, &data).unwrap_or_default();
        assert_eq!(items.len(), count, "{identifier}");
        assert_eq!((&*items[0], &*items[count - 1]), (first, last), "{identifier}");
        let mut names: Vec<_> = items.iter().map(|item| item.split('=').next()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "{identifier}: each name once");
    }
}

#[test]
fn a_length_that_is_none_or_more_than_one_thing_gives_nothing() {
    for (identifier, bytes) in [
        ("0001ff00", 0),
        ("0001ff00", 6),
        ("0001ff00", 65 * 4),
        ("000100ff", 12 * 4),
        ("0001ffff", 40 * 4),
        ("00ff0000", 12 * 4),
        ("00ff0000", 0),
        ("00ffff00", 0),
        // Ten demands and four tariffs, or forty and one.
        ("01ffff00", 50 * 8),
        ("0201ff00", 2),
        ("040005ff", 2),
        ("901f", 16 * 4),
        ("b63f", 16),
    ] {
        let identifier: Identifier = identifier.parse().expect("an identifier");
        assert_eq!(items(identifier, &vec![0; bytes]), Err(ItemError::Length { identifier, bytes }));
        assert!(known(identifier));
    }
    for identifier in [
        "ffffffff", "00014000", "0001000d", "000b0000", "00150100", "0015ff00", "01000000", "01800000",
        "01940000", "02010000", "02010400", "02010101", "020a0116", "020a0400", "0280000b", "02800100",
        "04000103", "04000508", "0506ff01", "05060000", "05060040", "05060100", "05060140", "05060901",
        "050600ff", "06000001", "1d000002", "9000", "9030", "90ff", "b610", "b614", "b660", "c01f", "c030",
        "ffff",
    ] {
        let identifier: Identifier = identifier.parse().expect("an identifier");
        assert_eq!(items(identifier, &[0; 4]), Err(ItemError::Unknown(identifier)));
        assert!(!known(identifier) && item_names(identifier).is_none());
    }
}

#[test]
fn names_of_blocks_do_not_wait_for_an_answer() {
    for (identifier, count) in
        [("0001ff00", 13), ("000100ff", 13), ("0101ff00", 26), ("901f", 13), ("0201ff00", 3)]
    {
        let names = item_names(identifier.parse().expect("an identifier")).expect("known");
        assert_eq!(names.len(), count, "{identifier}");
    }
}

#[test]
fn digits_that_are_none_are_told_from_no_value() {
    for (identifier, data, bad) in [
        ("00010000", "00000e00", true),
        ("00010000", "ffffffff", false),
        ("0201ff00", "3122 ffff ffff", false),
        ("0201ff00", "3122 ffff ff0f", true),
        ("01010000", "122500 0000000000", false),
        ("04000101", "05091a15", true),
        ("04000101", "05091315", false),
        ("00010000", "000e", false),
    ] {
        assert_eq!(
            bad_digits(identifier.parse().expect("an identifier"), &bytes(data)),
            bad,
            "{identifier} {data}"
        );
    }
}

proptest! {
    #[test]
    fn any_data_of_any_identifier_make_values_or_none(
        number in prop_oneof![
            any::<u32>(),
            (0..6u32, proptest::array::uniform3(prop_oneof![Just(0xFFu32), 0..4u32, any::<u8>().prop_map(u32::from)]))
                .prop_map(|(di3, [di2, di1, di0])| di3 << 24 | di2 << 16 | di1 << 8 | di0),
        ],
        data in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        for identifier in [Identifier::v2007(number), Identifier::v1997(number as u16)] {
            let read = items(identifier, &data);
            prop_assert_eq!(matches!(read, Err(ItemError::Unknown(_))), !known(identifier));
            prop_assert_eq!(item_names(identifier).is_some(), known(identifier));
            let _ = bad_digits(identifier, &data);
            let request = Request::Read { address: Address::ANY, identifier };
            prop_assert!(request.answer_bytes() < FRAME_BYTES_MAX);
        }
    }

    #[test]
    fn an_energy_goes_through(digits in 0..80_000_000u32, negative: bool, address in address()) {
        let mut plain = vec![0, 0, 0, 0];
        plain.extend((0..4).map(|at| digits / 100u32.pow(at) % 100).map(|pair| (((pair / 10) << 4) | (pair % 10)) as u8));
        plain[7] |= if negative { 0x80 } else { 0 };
        let bytes = wire(address, 0x91, &plain);
        let identifier = Identifier::v2007(0);
        let request = Request::Read { address: Address::from_wire(address).expect("digits"), identifier };
        let Some(Ok(answer)) = request.answer(&whole(&bytes)) else { panic!("an answer") };
        let items = items(identifier, &answer.data).expect("four bytes");
        let sign = if negative && digits > 0 { "-" } else { "" };
        let expected = format!("combined_active_energy_total={sign}{}.{:02} kWh", digits / 100, digits % 100);
        prop_assert_eq!(items.iter().map(shown).collect::<Vec<_>>(), [expected]);
    }
}
