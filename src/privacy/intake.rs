//! The door inwards: one line of the collection list (归集清单) per field.
//!
//! Guarantees: default deny; a treatment that cannot be applied to the value refuses it. Nothing raw of a treated field
//! goes on: only its value's replacement does. Pure.

use super::Cleared;
use super::generalise::{Ages, Bands, Places, Times};
use super::pseudonym::{Pseudonymiser, Secret};
use super::round::Rounder;
use super::seal::Sealer;
use super::truncate::Truncate;
use super::{identify, mask};
use crate::model::{Loss, Reading, Value};

/// Digits in a row that are masked in free text, whatever they are: a number that no detector knows may be a person's.
pub const RUN_MIN: usize = 7;

/// What happens to a field at the door.
#[derive(Clone, Debug)]
pub enum Treatment {
    /// Goes on as it is; a text in which somebody's number, plate or address is found does not go on at all.
    Keep,
    /// Goes on as it is, whatever it looks like: of texts that only look like somebody's number.
    Unchecked,
    /// Up its hierarchy.
    Generalise(Hierarchy),
    /// To multiples of a base.
    Round(Rounder),
    /// Its first characters.
    Truncate(Truncate),
    /// A display form with stars: for eyes, never for comparing.
    Mask(Form),
    /// Replaced by a keyed token.
    Pseudonym(Pseudonymiser),
    /// Sealed to a public key.
    Seal(Sealer),
    /// Free text without the numbers of people.
    Redact,
    /// Left out, counted.
    Drop,
    /// Of a class that is never taken (biometrics).
    Refuse,
}

/// What a value is generalised by.
#[derive(Clone, Debug)]
pub enum Hierarchy {
    /// Numbers.
    Bands(Bands),
    /// Times.
    Times(Times),
    /// Ages.
    Ages(Ages),
    /// Places.
    Places(Places),
}

/// What is masked; the form follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A person's name.
    Name,
    /// A resident id.
    IdCard,
    /// A mobile number.
    Mobile,
    /// A landline number.
    Landline,
    /// A vehicle plate.
    Plate,
    /// A bank card number.
    BankCard,
    /// An address.
    Address,
    /// An e-mail address.
    Email,
}

impl Form {
    /// The text with stars; all of them where it is not of the form.
    #[must_use]
    pub fn mask(self, text: &str) -> String {
        match self {
            Form::Name => mask::name_cn(text),
            Form::IdCard => mask::id_card(text),
            Form::Mobile => mask::mobile(text),
            Form::Landline => mask::landline(text),
            Form::Plate => mask::plate(text),
            Form::BankCard => mask::bank_card(text),
            Form::Address => mask::address(text),
            Form::Email => mask::email(text),
        }
    }
}

impl Treatment {
    /// Brings the secret of the epoch to pseudonyms that wait for it.
    pub fn mix(&mut self, secret: &Secret) {
        if let Treatment::Pseudonym(pseudonymiser) = self {
            pseudonymiser.mix(secret);
        }
    }

    /// What goes on of a value.
    ///
    /// # Errors
    /// Why nothing does.
    fn apply(&self, value: &Value) -> Result<Option<Value>, Loss> {
        let replaced = match self {
            Treatment::Keep if holds_a_person(value) => return Err(Loss::Personal),
            Treatment::Keep | Treatment::Unchecked => return Ok(None),
            Treatment::Drop => return Err(Loss::Policy),
            Treatment::Refuse => return Err(Loss::Refused),
            Treatment::Generalise(Hierarchy::Bands(bands)) => bands.apply(value),
            Treatment::Generalise(Hierarchy::Times(times)) => times.apply(value),
            Treatment::Generalise(Hierarchy::Ages(ages)) => ages.apply(value),
            Treatment::Generalise(Hierarchy::Places(places)) => places.apply(value),
            Treatment::Round(rounder) => rounder.apply(value),
            Treatment::Truncate(truncate) => truncate.apply(value),
            Treatment::Mask(form) => written(value).map(|text| Value::Text(form.mask(&text).into())),
            Treatment::Pseudonym(pseudonymiser) => pseudonymiser.apply(value),
            Treatment::Seal(sealer) => sealer.apply(value),
            Treatment::Redact => redacted(value),
        };
        replaced.map(Some).ok_or(Loss::Invalid)
    }
}

/// A value as people write it; flags are nobody's.
fn written(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text.to_string()),
        Value::Number(number) => Some(number.normalize().to_string()),
        Value::Flag(_) => None,
    }
}

/// Whether detection finds somebody in a text. Most texts are states and codes, too short for any number.
fn holds_a_person(value: &Value) -> bool {
    matches!(value, Value::Text(text) if names_a_person(text))
}

/// Whether somebody's number, plate or address is found in a text.
#[must_use]
pub fn names_a_person(text: &str) -> bool {
    let is_short =
        text.is_ascii() && !text.contains('@') && text.bytes().filter(u8::is_ascii_digit).count() < RUN_MIN;
    !is_short && !identify::detect(text).spans.is_empty()
}

fn redacted(value: &Value) -> Option<Value> {
    let Value::Text(text) = value else { return None };
    let labelled = identify::detect(text).redacted;
    Some(Value::Text(identify::fail_closed_digits(&labelled, RUN_MIN).into()))
}

/// Applies the field's treatment; `None` means that no line of the list names the field.
///
/// # Errors
/// Why the reading is not kept: unlisted, dropped by policy, refused, or not of the kind that the operator needs.
pub fn clear(treatment: Option<&Treatment>, reading: Reading) -> Result<Cleared<Reading>, Loss> {
    let Some(value) = treatment.ok_or(Loss::Unlisted)?.apply(&reading.value)? else {
        return Ok(Cleared(reading));
    };
    Ok(Cleared(Reading { value, ..reading }))
}

/// A reading that the store gave back: it was cleared when it was stored. Only the store may say so.
pub(crate) fn restored(reading: Reading) -> Cleared<Reading> {
    Cleared(reading)
}

#[cfg(test)]
mod tests {
    use rust_decimal::Decimal;

    use super::super::generalise::{Level, Unit};
    use super::super::pseudonym::{Hash, MasterKey, Scope, Subject};
    use super::*;
    use crate::model::{Quality, SeriesKey};

    fn reading(value: Value) -> Reading {
        Reading {
            series: SeriesKey(3),
            value,
            time_ms: 1,
            received_ms: 2,
            device_time: true,
            quality: Quality::Retained,
        }
    }

    #[test]
    fn every_treatment() {
        let master = MasterKey::new(&(0..32).collect::<Vec<u8>>()).expect("32 different bytes");
        let scope = Scope { purpose: "traffic-flow", subscriber: "city-brain", epoch: "2026-11" };
        let keep = Treatment::Keep;
        let bands = Bands::new(vec![Decimal::ZERO]).expect("one bound");
        let bands = Treatment::Generalise(Hierarchy::Bands(bands));
        let times = Times { unit: Unit::Day, zone_ms: 28_800_000 };
        let times = Treatment::Generalise(Hierarchy::Times(times));
        let ages = Ages::new("0-6,7-17,18+").expect("good bands");
        let ages = Treatment::Generalise(Hierarchy::Ages(ages));
        let places = Treatment::Generalise(Hierarchy::Places(Places(Level::Building)));
        let round = Treatment::Round(Rounder::new(Decimal::from(5)).expect("above zero"));
        let truncate = Treatment::Truncate(Truncate::new(2).expect("a number"));
        let plate = Treatment::Mask(Form::Plate);
        let pseudonymiser = Pseudonymiser::new(Hash::Sha256, &master, scope, Subject::Mobile);
        let pseudonym = Treatment::Pseudonym(pseudonymiser);
        let waiting = Pseudonymiser::of_epoch(Hash::Sha256, &master, scope, Subject::Mobile);
        let waiting = Treatment::Pseudonym(waiting);
        let number = || Value::Number(Decimal::from(7));
        let text = |text: &str| Value::Text(text.into());
        let cases = [
            (None, number(), Err(Loss::Unlisted)),
            (Some(&keep), text("E07"), Ok(text("E07"))),
            (Some(&keep), text("报修 13800138000"), Err(Loss::Personal)),
            (Some(&keep), text("沪A12345"), Err(Loss::Personal)),
            (Some(&keep), text("13800138000"), Err(Loss::Personal)),
            (Some(&keep), text("a@b.example"), Err(Loss::Personal)),
            (Some(&keep), text("门已打开"), Ok(text("门已打开"))),
            (Some(&Treatment::Unchecked), text("13800138000"), Ok(text("13800138000"))),
            (Some(&bands), number(), Ok(text("0+"))),
            (Some(&bands), Value::Number(Decimal::from(-1)), Err(Loss::Invalid)),
            (Some(&bands), text("7"), Err(Loss::Invalid)),
            (Some(&times), text("2026-11-21T16:49:37Z"), Ok(text("2026-11-22"))),
            (Some(&times), text("yesterday"), Err(Loss::Invalid)),
            (Some(&ages), number(), Ok(text("7-17"))),
            (Some(&ages), Value::Number(Decimal::from(200)), Err(Loss::Invalid)),
            (Some(&places), text("310115013007|C0012|B3|2|0401"), Ok(text("310115013007|C0012|B3"))),
            (Some(&places), text("B3/0401"), Err(Loss::Invalid)),
            (Some(&round), number(), Ok(Value::Number(Decimal::from(5)))),
            (Some(&truncate), text("E07-4711"), Ok(text("E0"))),
            (Some(&truncate), text("13800138000"), Err(Loss::Invalid)),
            (Some(&plate), text("沪AD12345"), Ok(text(&mask::plate("沪AD12345")))),
            (Some(&plate), Value::Flag(true), Err(Loss::Invalid)),
            (Some(&pseudonym), text("138 0013 8000"), Ok(text("p1_2zf5yendmy777beoiv2uj2jg6q"))),
            (Some(&pseudonym), Value::Flag(true), Err(Loss::Invalid)),
            (Some(&waiting), text("138 0013 8000"), Err(Loss::Invalid)),
            (Some(&Treatment::Redact), text("业主13800138000请回复"), Ok(text("业主[mobile]请回复"))),
            (Some(&Treatment::Redact), text("编号110105199003071234"), Ok(text("编号******************"))),
            (Some(&Treatment::Redact), number(), Err(Loss::Invalid)),
            (Some(&Treatment::Drop), number(), Err(Loss::Policy)),
            (Some(&Treatment::Refuse), number(), Err(Loss::Refused)),
        ];
        for (index, (treatment, value, expected)) in cases.into_iter().enumerate() {
            let got = clear(treatment, reading(value)).map(|cleared| cleared.get().clone());
            assert_eq!(got, expected.map(reading), "case {index}");
        }
    }

    #[test]
    fn what_is_sealed_is_not_what_came() {
        let identity = age::x25519::Identity::generate();
        let seal = Treatment::Seal(Sealer::new(&identity.to_public().to_string()).expect("a recipient"));
        let cleared = clear(Some(&seal), reading(Value::Text("13800138000".into()))).expect("sealed");
        assert!(matches!(&cleared.get().value, Value::Text(text) if text.starts_with("age:")));
    }

    #[test]
    fn what_is_restored_is_what_was_stored() {
        let kept = clear(Some(&Treatment::Keep), reading(Value::Flag(true)));
        assert_eq!(kept, Ok(restored(reading(Value::Flag(true)))));
    }
}
