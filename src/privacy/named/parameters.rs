//! Parameters as texts → what operators are made of, every fault noted.
//!
//! Guarantees: a fault names its parameter and what would be right, and never shows a key.

use std::collections::BTreeMap;
use std::fmt::Display;

use rust_decimal::Decimal;

use super::catalogue::Operator;
use super::rules::Threshold;
use crate::privacy::generalise::{Ages, Bands, Level, Places, Times, Unit, zone_ms};
use crate::privacy::intake::RUN_MIN;
use crate::privacy::protect::one::Dominance;
use crate::privacy::pseudonym::{Hash, MasterKey, Pseudonymiser, Scope, Subject, hex};
use crate::privacy::round::Rounder;
use crate::privacy::seal::Sealer;
use crate::privacy::truncate::Truncate;

/// Subjects at least where nothing else is said.
const K: u64 = 5;

/// What was given, and what is wrong with it.
pub(super) struct Given<'p> {
    operator: &'static Operator,
    parameters: &'p BTreeMap<String, String>,
    pub(super) faults: Vec<String>,
}

impl<'p> Given<'p> {
    /// Notes what the operator does not take, and what it lacks.
    pub(super) fn of(operator: &'static Operator, parameters: &'p BTreeMap<String, String>) -> Self {
        let mut given = Self { operator, parameters, faults: Vec::new() };
        let known = || operator.parameters.iter().map(|parameter| parameter.name);
        for name in parameters.keys().filter(|name| !known().any(|known| known == name.as_str())) {
            let all = known().collect::<Vec<_>>().join(", ");
            let help = if all.is_empty() { "it takes none".to_owned() } else { format!("it takes {all}") };
            given.faults.push(format!("{}: unknown parameter {name:?}; {help}", operator.name));
        }
        for parameter in operator.parameters.iter().filter(|parameter| parameter.required) {
            if !parameters.contains_key(parameter.name) {
                let fault =
                    format!("{}: missing parameter {}: {}", operator.name, parameter.name, parameter.about);
                given.faults.push(fault);
            }
        }
        given
    }

    fn get(&self, name: &str) -> Option<&'p str> {
        self.parameters.get(name).map(String::as_str)
    }

    fn fault(&mut self, name: &str, why: impl Display) {
        self.faults.push(format!("{}: {name}: {why}", self.operator.name));
    }

    /// The result, or its fault noted.
    fn take<T, E: Display>(&mut self, name: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|why| self.fault(name, why)).ok()
    }

    fn whole(&mut self, name: &str, default: u64) -> Option<u64> {
        let Some(text) = self.get(name) else { return Some(default) };
        self.take(name, text.trim().parse().map_err(|_| format!("{text:?} is no whole number from 0 up")))
    }

    fn decimal(&mut self, name: &str, text: &str) -> Option<Decimal> {
        self.take(name, Decimal::from_str_exact(text.trim()).map_err(|_| format!("{text:?} is no number")))
    }

    pub(super) fn pseudonymiser(&mut self, operator: &str) -> Option<Pseudonymiser> {
        let hash = if operator == "pseudonym_hmac_sm3" { Hash::Sm3 } else { Hash::Sha256 };
        let master = self.get("master_key_hex").map(MasterKey::from_hex);
        let master = master.and_then(|master| self.take("master_key_hex", master));
        let subject = self.get("type").map(|name| {
            let all = || Subject::ALL.map(Subject::as_str).join(", ");
            Subject::of(name).ok_or_else(|| format!("{name:?} is not known; there are {}", all()))
        });
        let subject = subject.and_then(|subject| self.take("type", subject));
        for name in ["purpose", "subscriber", "epoch"] {
            match self.get(name) {
                Some("") => self.fault(name, "it is empty: tokens that anybody can link"),
                Some(text) if text.contains('|') => {
                    self.fault(name, "it has a |, which separates the parts of the key")
                }
                _ => {}
            }
        }
        let scope = Scope {
            purpose: self.get("purpose")?,
            subscriber: self.get("subscriber")?,
            epoch: self.get("epoch")?,
        };
        Some(Pseudonymiser::new(hash, &master?, scope, subject?))
    }

    pub(super) fn key(&mut self) -> Option<Vec<u8>> {
        let given = ["key_hex", "key", "key_utf8"].map(|name| self.get(name).map(|text| (name, text)));
        let mut given = given.into_iter().flatten();
        let key = match (given.next(), given.next()) {
            (Some(("key_hex", digits)), None) => {
                hex(digits.trim().as_bytes()).ok_or("no hex digits, two for a byte")
            }
            (Some((_, text)), None) => Ok(text.as_bytes().to_vec()),
            (None, _) => Err("missing: key_hex, or key as a text"),
            (Some(_), Some(_)) => Err("given twice: key_hex or key"),
        };
        let key = key.and_then(|key| if key.is_empty() { Err("it is empty") } else { Ok(key) });
        self.take("key", key)
    }

    pub(super) fn bands(&mut self) -> Option<Bands> {
        let text = self.get("bands")?;
        let bounds: Option<Vec<Decimal>> =
            text.split(',').map(|bound| self.decimal("bands", bound)).collect();
        self.take("bands", Bands::new(bounds?))
    }

    pub(super) fn times(&mut self) -> Option<Times> {
        let zone = self.take("tz", zone_ms(self.get("tz").unwrap_or("Asia/Shanghai")));
        let unit = self.get("unit").map(Unit::new);
        let unit = unit.and_then(|unit| self.take("unit", unit));
        Some(Times { unit: unit?, zone_ms: zone? })
    }

    pub(super) fn ages(&mut self) -> Option<Ages> {
        let ages = Ages::new(self.get("bands")?);
        self.take("bands", ages)
    }

    pub(super) fn places(&mut self) -> Option<Places> {
        let name = self.get("level")?;
        let all = || Level::ALL.map(Level::as_str).join(", ");
        let level = Level::of(name).ok_or_else(|| format!("{name:?} is not known; there are {}", all()));
        self.take("level", level).map(Places)
    }

    pub(super) fn rounder(&mut self) -> Option<Rounder> {
        let base = self.get("base")?;
        let base = self.decimal("base", base)?;
        self.take("base", Rounder::new(base))
    }

    pub(super) fn truncate(&mut self) -> Option<Truncate> {
        self.get("keep")?;
        let keep = self.whole("keep", 0)?;
        self.take("keep", Truncate::new(keep))
    }

    pub(super) fn sealer(&mut self) -> Option<Sealer> {
        let sealer = Sealer::new(self.get("to")?);
        self.take("to", sealer)
    }

    pub(super) fn threshold(&mut self) -> Option<Threshold> {
        let k = self.whole("k", K);
        if k == Some(0) {
            self.fault("k", "0 hides nobody: at least 1, better 5");
        }
        let zero_public = match self.get("zero") {
            Some("public") => true,
            None | Some("hidden" | "suppress") => false,
            Some(other) => {
                self.fault("zero", format!("{other:?}: \"public\" or \"hidden\""));
                false
            }
        };
        Some(Threshold { k: k?, zero_public })
    }

    pub(super) fn dominance(&mut self) -> Option<Dominance> {
        let given = ["p", "dominance", "k"].map(|name| self.get(name).map(|text| (name, text)));
        let mut given = given.into_iter().flatten();
        let (name, text) = match (given.next(), given.next()) {
            (Some(only), None) => only,
            (None, _) => {
                self.fault("p", "missing: what the largest contributor may have, as 50%; or n and k");
                return None;
            }
            (Some((name, _)), Some((other, _))) => {
                self.fault(name, format!("given with {other}: one of the two"));
                return None;
            }
        };
        let largest = self.whole("n", 1);
        if largest == Some(0) {
            self.fault("n", "0 contributors have nothing: at least 1");
        }
        let percent = match text.trim().strip_suffix('%') {
            Some(percent) => self.decimal(name, percent)?,
            // Nobody means less than a hundredth: 0.5 is a half.
            None => match self.decimal(name, text)? {
                part if part <= Decimal::ONE => part * Decimal::ONE_HUNDRED,
                percent => percent,
            },
        };
        if percent <= Decimal::ZERO || percent > Decimal::ONE_HUNDRED {
            self.fault(name, format!("{text:?} is no share between 0 and 100 %"));
            return None;
        }
        Some(Dominance { largest: usize::try_from(largest?).unwrap_or(usize::MAX), percent })
    }

    pub(super) fn run_min(&mut self) -> Option<usize> {
        let run = self.whole("min_run", RUN_MIN as u64)?;
        if run == 0 {
            self.fault("min_run", "0: at least 1");
        }
        usize::try_from(run).ok()
    }
}
