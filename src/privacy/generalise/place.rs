//! Places up a fixed hierarchy: room, unit, building, compound, committee, street, county.
//!
//! A place is written `division|compound|building|unit|room`, the division with its twelve digits (6 of GB/T 2260, 3 of
//! GB/T 10114, 3 of the committee); it may end after the compound.
//!
//! Guarantees: nothing below the level is left; a text that is no such place gives nothing.

use crate::model::Value;

/// Digits of a division.
const DIVISION: usize = 12;
/// Parts of a place at most.
const PARTS_MAX: usize = 5;

/// How much of a place is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// `division|compound|building`.
    Building,
    /// `division|compound`.
    Compound,
    /// The twelve digits of the residents' committee.
    Committee,
    /// The nine digits of the street, town or township.
    Street,
    /// The six digits of the county.
    County,
}

impl Level {
    /// All of them, from the small to the large.
    pub const ALL: [Level; 5] =
        [Level::Building, Level::Compound, Level::Committee, Level::Street, Level::County];

    /// Its name in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Building => "building",
            Level::Compound => "compound",
            Level::Committee => "committee",
            Level::Street => "street",
            Level::County => "county",
        }
    }

    /// The level of a name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == name)
    }
}

/// Places up to one level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places(pub Level);

impl Places {
    /// The place at the level; `None` for what is no place, or has no such level.
    #[must_use]
    pub fn apply(&self, value: &Value) -> Option<Value> {
        let Value::Text(text) = value else { return None };
        let parts: Vec<&str> = text.trim().split('|').map(str::trim).collect();
        let (division, local) = parts.split_first()?;
        let is_division = division.len() == DIVISION && division.bytes().all(|byte| byte.is_ascii_digit());
        if !is_division || parts.len() > PARTS_MAX || local.is_empty() {
            return None;
        }
        let named = |parts: usize| {
            let kept = local.get(..parts)?;
            kept.iter().all(|part| !part.is_empty()).then(|| format!("{division}|{}", kept.join("|")))
        };
        let place = match self.0 {
            Level::Building => named(2)?,
            Level::Compound => named(1)?,
            Level::Committee => (*division).to_owned(),
            Level::Street => division[..9].to_owned(),
            Level::County => division[..6].to_owned(),
        };
        Some(Value::Text(place.into()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROOM: &str = "310115013007|C0012|B3|2|0401";

    fn place(level: Level, text: &str) -> Option<String> {
        match Places(level).apply(&Value::Text(text.into())) {
            Some(Value::Text(place)) => Some(place.into()),
            _ => None,
        }
    }

    #[test]
    fn levels() {
        for (level, text, expected) in [
            (Level::Building, ROOM, Some("310115013007|C0012|B3")),
            (Level::Compound, ROOM, Some("310115013007|C0012")),
            (Level::Committee, ROOM, Some("310115013007")),
            (Level::Street, ROOM, Some("310115013")),
            (Level::County, ROOM, Some("310115")),
            (Level::Building, " 310115013007 | C0012 | B3 ", Some("310115013007|C0012|B3")),
            (Level::Compound, "310115013007|C0012", Some("310115013007|C0012")),
            (Level::Building, "310115013007|C0012", None),
            (Level::Building, "310115013007|C0012||2|0401", None),
            (Level::Compound, "310115013007||B3", None),
            (Level::Committee, "310115013007||B3", Some("310115013007")),
            (Level::County, "310115013007", None),
            (Level::County, "31011501300|C0012", None),
            (Level::County, "31011501300X|C0012", None),
            (Level::County, "３１０１１５０１３００７|C0012", None),
            (Level::County, "310115013007|C0012|B3|2|0401|x", None),
            (Level::County, "3号楼401室", None),
            (Level::County, "", None),
        ] {
            assert_eq!(place(level, text).as_deref(), expected, "{level:?} {text}");
        }
        assert_eq!(Places(Level::County).apply(&Value::Flag(true)), None);
    }

    #[test]
    fn every_level_has_one_name() {
        for level in Level::ALL {
            assert_eq!(Level::of(level.as_str()), Some(level));
        }
        assert_eq!(Level::of("room"), None);
    }

    proptest! {
        /// Two rooms of a building cannot be told apart at its level or above.
        #[test]
        fn nothing_below_the_level(unit in "[0-9A-Z]{0,4}", room in "[0-9A-Z]{0,6}", index in 0..5_usize) {
            let text = format!("310115013007|C0012|B3|{unit}|{room}");
            prop_assert_eq!(place(Level::ALL[index], &text), place(Level::ALL[index], ROOM));
        }
    }
}
