//! The value of a point out of what a meter said.
//!
//! Guarantees: exact; a value in a unit that is not the point's, and does not convert exactly to it, is withheld.

use super::exchange::Content;
use super::{Point, Source};
use crate::codec::{Item, unit};
use crate::model::Value;

/// Why a point has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withheld {
    /// The meter says that it has none.
    Absent,
    /// The answer does not hold such an item.
    Missing,
    /// It came in a unit that is not known, or does not convert exactly to the point's.
    Unit,
}

/// The value of `point` in an answer to a question that was asked for it.
///
/// # Errors
/// [`Withheld`].
pub fn value(point: &Point, content: &Content) -> Result<Value, Withheld> {
    match (&point.source, content) {
        (Source::Modbus { address, kind, absent, .. }, Content::Registers { start, data }) => {
            let at = usize::from(address.checked_sub(*start).ok_or(Withheld::Missing)?);
            kind.read(data, at, absent).ok_or(Withheld::Absent)
        }
        (Source::Dlt645 { item: None, .. }, Content::Items { items, .. }) => match &items[..] {
            [only] => converted(only, &point.unit),
            _ => Err(Withheld::Missing),
        },
        (
            Source::Dlt645 { item: Some(name), .. }
            | Source::Cjt188 { item: name, .. }
            | Source::Mbus { item: name },
            Content::Items { items, .. },
        ) => {
            let item = items.iter().find(|item| item.name == name.as_str()).ok_or(Withheld::Missing)?;
            converted(item, &point.unit)
        }
        _ => Err(Withheld::Missing),
    }
}

fn converted(item: &Item, wanted: &str) -> Result<Value, Withheld> {
    match item.value.clone().ok_or(Withheld::Absent)? {
        Value::Number(number) if !wanted.is_empty() => {
            unit::convert(number, item.unit, wanted).map(Value::Number).ok_or(Withheld::Unit)
        }
        value => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::codec::modbus::{RegisterKind, Table};
    use crate::model::SeriesKey;

    fn point(source: Source, unit: &str) -> Point {
        let period = Duration::from_secs(10);
        Point { series: SeriesKey(1), source, unit: unit.to_owned(), period, polled: true, writable: None }
    }

    fn items(items: &[(&'static str, Option<&str>, &'static str)]) -> Content {
        let item = |(name, value, unit): &(&'static str, Option<&str>, &'static str)| Item {
            name: (*name).into(),
            value: value.map(|text| Value::Number(text.parse().expect("a number in a test"))),
            unit,
        };
        Content::Items { items: items.iter().map(item).collect(), clock_ms: None }
    }

    #[test]
    fn registers_are_found_by_their_address() {
        let register = |address, absent: &[u64]| {
            let kind = RegisterKind::U16;
            point(Source::Modbus { table: Table::Holding, address, kind, absent: absent.to_vec() }, "V")
        };
        let content = Content::Registers { start: 4, data: vec![0, 1, 0x7F, 0xFF] };
        assert_eq!(value(&register(4, &[]), &content), Ok(Value::Number(1.into())));
        assert_eq!(value(&register(5, &[0x7FFF]), &content), Err(Withheld::Absent));
        assert_eq!(value(&register(6, &[]), &content), Err(Withheld::Absent));
        assert_eq!(value(&register(3, &[]), &content), Err(Withheld::Missing));
        assert_eq!(value(&register(4, &[]), &items(&[])), Err(Withheld::Missing));
    }

    #[test]
    fn items_are_found_by_name_and_come_in_the_unit_of_the_point() {
        let named = |item: &str, unit| {
            let identifier = crate::codec::cjt188::Identifier::READING;
            point(Source::Cjt188 { identifier, item: item.to_owned() }, unit)
        };
        let content =
            items(&[("volume", Some("170.47"), "L"), ("flow", None, "m3/h"), ("odd", Some("1"), "")]);
        let shown = |point: &Point| match value(point, &content) {
            Ok(Value::Number(number)) => number.to_string(),
            other => format!("{other:?}"),
        };
        for (item, unit, expected) in [
            ("volume", "L", "170.47"),
            ("volume", "m3", "0.17047"),
            ("volume", "", "170.47"),
            ("volume", "kWh", "Err(Unit)"),
            ("odd", "m3", "Err(Unit)"),
            ("flow", "m3/h", "Err(Absent)"),
            ("nothing", "m3", "Err(Missing)"),
        ] {
            assert_eq!(shown(&named(item, unit)), expected, "{item} in {unit}");
        }
    }

    #[test]
    fn without_a_name_there_must_be_one_item() {
        let identifier = crate::codec::dlt645::Identifier::v2007(0x0001_0000);
        let point = point(Source::Dlt645 { identifier, item: None }, "kWh");
        let one = [("forward_active_energy_total", Some("1.00"), "kWh")];
        assert!(value(&point, &items(&one)).is_ok());
        assert_eq!(value(&point, &items(&[one[0], one[0]])), Err(Withheld::Missing));
    }
}
