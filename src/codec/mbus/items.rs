//! Names of the values of a telegram, for configurations.
//!
//! A name is the quantity in lower case with `_` between its words, and behind it, each only where it is not the default:
//! what VIFE make of the quantity (`per_input_pulse_0`, `positive`, `l1`, `future`, `manufacturer`; an unknown one as its
//! code, `x5a`), `max` or `min`, the storage number, `tariff_N`, `device_N`. So: `volume`, `volume_1`, `volume_flow_max_5`,
//! `energy_tariff_2`, `power_device_1`. A text that the meter sends in the quantity's place is behind `text_`. Whatever would
//! have the name of an earlier one gets `_n2`, `_n3` … behind it.
//!
//! Guarantees: names are unique among the records given, and the same for the same telegram; a value during an error, or of
//! a day that does not exist, is none. What only the manufacturer knows is no item.

use std::collections::HashSet;
use std::fmt::Write as _;

use jiff::civil;

use super::telegram::{Function, Record};
use crate::codec::Item;
use crate::model::Value;

/// The items of the records of a telegram, or of several of them one after the other, in their order: one for each record
/// but the manufacturer's own, which is always the last of its telegram.
pub fn items<'a>(records: impl IntoIterator<Item = &'a Record>) -> Vec<Item> {
    let own = |record: &&Record| !matches!(record.function, Function::Manufacturer | Function::More);
    let records: Vec<&Record> = records.into_iter().filter(own).collect();
    let names = unique_names(&records);
    let item = |(record, name): (&Record, String)| Item {
        name: name.into(),
        value: value(record),
        unit: unit(record),
    };
    records.into_iter().zip(names).map(item).collect()
}

/// A record of an error takes the name that one without error leaves it.
fn unique_names(records: &[&Record]) -> Vec<String> {
    let mut order: Vec<usize> = (0..records.len()).collect();
    order.sort_by_key(|at| records[*at].function == Function::Error);
    let mut taken = HashSet::new();
    let mut names = vec![String::new(); records.len()];
    for at in order {
        let name = name(records[at]);
        let numbered = (2..).map(|number| format!("{name}_n{number}"));
        let mut free = std::iter::once(name.clone()).chain(numbered);
        names[at] = free.find(|name| taken.insert(name.clone())).unwrap_or_default();
    }
    names
}

fn name(record: &Record) -> String {
    let mut name = String::from(if record.plain_text { "text" } else { "" });
    let words = record.quantity.split(|character: char| !character.is_ascii_alphanumeric());
    for word in words.filter(|word| !word.is_empty()) {
        add(&mut name, word);
    }
    name.make_ascii_lowercase();
    if name.is_empty() {
        name.push_str("unknown");
    }
    if !record.qualifier.is_empty() {
        add(&mut name, &record.qualifier);
    }
    match record.function {
        Function::Maximum => add(&mut name, "max"),
        Function::Minimum => add(&mut name, "min"),
        _ => {}
    }
    for (label, number) in [
        ("", record.storage),
        ("tariff_", record.tariff.unwrap_or(0)),
        ("device_", record.device.unwrap_or(0)),
    ] {
        if number > 0 {
            write!(name, "_{label}{number}").expect("a string takes everything");
        }
    }
    name
}

fn add(name: &mut String, word: &str) {
    if !name.is_empty() {
        name.push('_');
    }
    name.push_str(word);
}

fn value(record: &Record) -> Option<Value> {
    let value = record.value.as_ref().filter(|_| record.function != Function::Error)?;
    match value {
        Value::Text(text) if record.moment && !exists(text) => None,
        value => Some(value.clone()),
    }
}

/// "Every day" and the like, which need what is no day or year, are no moments.
fn exists(moment: &str) -> bool {
    match moment.len() {
        8 => moment.parse::<civil::Time>().is_ok(),
        _ => moment.starts_with("20") && moment.parse::<civil::DateTime>().is_ok(),
    }
}

fn unit(record: &Record) -> &'static str {
    match record.unit {
        _ if record.other_unit => "",
        "m^3" => "m3",
        "m^3/h" => "m3/h",
        "m^3/min" => "m3/min",
        "m^3/s" => "m3/s",
        "°C" => "Cel",
        "-" | "Units for H.C.A." | "Currency units" => "",
        unit => unit,
    }
}
