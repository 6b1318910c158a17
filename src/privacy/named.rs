//! Operators and validators by their names, with their parameters as texts: what `smallbrain desensitize` runs.
//!
//! Guarantees: an unknown operator, an unknown, missing or wrong parameter is told before the first value, all of them at
//! once; a value that an operator cannot be applied to gives null, never itself; a mask of it is all stars. No error shows
//! a value or a key. Keys that come as parameters are for trying out.

mod catalogue;
mod parameters;
mod rules;

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde_json::{Number, Value as Json, json};

pub use catalogue::{OPERATORS, Operator, Parameter};
use catalogue::{of_name, operator_names};
use parameters::Given;

use super::generalise::{Ages, Bands, Places, Times};
use super::intake::Form;
use super::protect::one::Dominance;
use super::pseudonym::Pseudonymiser;
use super::round::Rounder;
use super::seal::Sealer;
use super::truncate::Truncate;
use super::{hash, identify};
use crate::model::Value;

/// Why nothing is applied.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NamedError {
    /// No operator of that name.
    #[error("operator {name:?} is not known{near}; there are: {list}", near = did_you_mean(name), list = operator_names())]
    Operator {
        /** As asked for. */
        name: String,
    },
    /// Everything that is wrong with its parameters.
    #[error("{}", faults.join("\n"))]
    Parameters {
        /** A line each. */
        faults: Vec<String>,
    },
}

fn did_you_mean(name: &str) -> String {
    let near = crate::spelling::nearest(name, OPERATORS.iter().map(|operator| operator.name));
    near.map_or_else(String::new, |near| format!(": did you mean {near}?"))
}

/// An operator with its parameters.
#[derive(Debug)]
pub struct Named(What);

/// What each name stands for.
enum What {
    Mask(Form),
    Pseudonym(Pseudonymiser),
    Sm3,
    HmacSha256(Vec<u8>),
    HmacSm3(Vec<u8>),
    Bands(Bands),
    Times(Times),
    Ages(Ages),
    Places(Places),
    Round(Rounder),
    Truncate(Truncate),
    Seal(Sealer),
    Threshold(rules::Threshold),
    Complementary(rules::Threshold),
    Dominance(Dominance),
    Detect,
    Digits(usize),
    Is(fn(&str) -> bool),
}

impl std::fmt::Debug for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Some hold keys.
        f.write_str("What")
    }
}

impl Named {
    /// The operator of a name with its parameters.
    ///
    /// # Errors
    /// [`NamedError`], with everything that is wrong.
    pub fn new(name: &str, parameters: &BTreeMap<String, String>) -> Result<Self, NamedError> {
        let operator = of_name(name).ok_or_else(|| NamedError::Operator { name: name.into() })?;
        let mut given = Given::of(operator, parameters);
        let what = what(operator.name, &mut given);
        match what {
            Some(what) if given.faults.is_empty() => Ok(Self(what)),
            _ => Err(NamedError::Parameters { faults: given.faults }),
        }
    }

    /// What it makes of one JSON value; null where it cannot be applied.
    #[must_use]
    pub fn apply(&self, input: &Json) -> Json {
        match &self.0 {
            What::Mask(form) => match input {
                Json::Null => Json::Null,
                // What is no text is masked as a text that is not of the form.
                input => form.mask(&written(input).unwrap_or_default()).into(),
            },
            What::Is(valid) => written(input).is_some_and(|text| valid(&text)).into(),
            What::Sm3 => text(input).map_or(Json::Null, |text| hash::sm3(text.as_bytes()).into()),
            What::HmacSha256(key) => {
                text(input).map_or(Json::Null, |text| hash::hmac_sha256(key, text.as_bytes()).into())
            }
            What::HmacSm3(key) => {
                text(input).map_or(Json::Null, |text| hash::hmac_sm3(key, text.as_bytes()).into())
            }
            What::Pseudonym(pseudonymiser) => replaced(input, |value| pseudonymiser.apply(value)),
            What::Bands(bands) => replaced(input, |value| bands.apply(value)),
            What::Times(times) => replaced(input, |value| times.apply(value)),
            What::Ages(ages) => replaced(input, |value| ages.apply(value)),
            What::Places(places) => replaced(input, |value| places.apply(value)),
            What::Round(rounder) => replaced(input, |value| rounder.apply(value)),
            What::Truncate(truncate) => replaced(input, |value| truncate.apply(value)),
            What::Seal(sealer) => replaced(input, |value| sealer.apply(value)),
            What::Threshold(threshold) => threshold.cell(input),
            What::Complementary(threshold) => threshold.cells(input),
            What::Dominance(rule) => rules::dominance(*rule, input),
            What::Detect => text(input).map_or(Json::Null, detected),
            What::Digits(run_min) => {
                text(input).map_or(Json::Null, |text| identify::fail_closed_digits(text, *run_min).into())
            }
        }
    }
}

/// [`Named::new`] and [`Named::apply`] of one value.
///
/// # Errors
/// [`NamedError`].
pub fn apply(name: &str, parameters: &BTreeMap<String, String>, input: &Json) -> Result<Json, NamedError> {
    Ok(Named::new(name, parameters)?.apply(input))
}

/// `None` when a fault is noted.
fn what(name: &str, given: &mut Given<'_>) -> Option<What> {
    Some(match name {
        "mask_name_cn" => What::Mask(Form::Name),
        "mask_id_card" => What::Mask(Form::IdCard),
        "mask_mobile" => What::Mask(Form::Mobile),
        "mask_landline" => What::Mask(Form::Landline),
        "mask_plate" => What::Mask(Form::Plate),
        "mask_bank_card" => What::Mask(Form::BankCard),
        "mask_address" => What::Mask(Form::Address),
        "mask_email" => What::Mask(Form::Email),
        "pseudonym_hmac_sha256" | "pseudonym_hmac_sm3" => What::Pseudonym(given.pseudonymiser(name)?),
        "sm3" => What::Sm3,
        "hmac_sha256" => What::HmacSha256(given.key()?),
        "hmac_sm3" => What::HmacSm3(given.key()?),
        "generalise_number" => What::Bands(given.bands()?),
        "generalise_time" => What::Times(given.times()?),
        "generalise_age" => What::Ages(given.ages()?),
        "generalise_place" => What::Places(given.places()?),
        "round_base" => What::Round(given.rounder()?),
        "truncate" => What::Truncate(given.truncate()?),
        "seal" => What::Seal(given.sealer()?),
        "k_threshold" => What::Threshold(given.threshold()?),
        "complementary_1d" => What::Complementary(given.threshold()?),
        "dominance" => What::Dominance(given.dominance()?),
        "detect_and_label" => What::Detect,
        "fail_closed_digits" => What::Digits(given.run_min()?),
        "id18" => What::Is(identify::id18),
        "id15" => What::Is(identify::id15),
        "uscc18" => What::Is(identify::uscc18),
        "plate" => What::Is(identify::plate),
        "mobile_cn" => What::Is(identify::mobile_cn),
        "landline_cn" => What::Is(identify::landline_cn),
        "luhn" => What::Is(identify::luhn),
        // The catalogue has no other; a test holds that.
        _ => return None,
    })
}

fn text(input: &Json) -> Option<&str> {
    input.as_str()
}

/// A text, or a number as it is written.
fn written(input: &Json) -> Option<String> {
    match input {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn decimal(number: &Number) -> Option<Decimal> {
    let text = number.to_string();
    Decimal::from_str_exact(&text).or_else(|_| Decimal::from_scientific(&text)).ok()
}

/// A decimal as a JSON number; null where that would be another number.
fn number(decimal: Decimal) -> Json {
    let text = decimal.normalize().to_string();
    match serde_json::from_str::<Number>(&text) {
        Ok(number) if self::decimal(&number).is_some_and(|back| back == decimal) => Json::Number(number),
        _ => Json::Null,
    }
}

fn replaced(input: &Json, operator: impl FnOnce(&Value) -> Option<Value>) -> Json {
    let value = match input {
        Json::String(text) => Some(Value::Text(text.as_str().into())),
        Json::Number(number) => decimal(number).map(Value::Number),
        Json::Bool(flag) => Some(Value::Flag(*flag)),
        _ => None,
    };
    match value.and_then(|value| operator(&value)) {
        Some(Value::Text(text)) => Json::String(text.into()),
        Some(Value::Number(decimal)) => number(decimal),
        Some(Value::Flag(flag)) => flag.into(),
        None => Json::Null,
    }
}

fn detected(text: &str) -> Json {
    let detected = identify::detect(text);
    let spans: Vec<Json> = detected
        .spans
        .iter()
        .map(|span| json!({ "type": span.kind, "start": span.start, "end": span.end, "text": span.text }))
        .collect();
    json!({ "spans": spans, "redacted": detected.redacted })
}

#[cfg(test)]
mod tests;
