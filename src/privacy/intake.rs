//! The door inwards: one line of the collection list (归集清单) per field.
//!
//! Guarantees: default deny; a treatment that cannot be applied to the value refuses it. Nothing raw of a treated field
//! goes on: only its value's replacement does. Pure.

use super::Cleared;
use super::generalise::Bands;
use super::pseudonym::Pseudonymiser;
use crate::model::{Loss, Reading, Value};

/// What happens to a field at the door.
#[derive(Clone, Debug)]
pub enum Treatment {
    /// Goes on as it is.
    Keep,
    /// Into bands.
    Generalise(Bands),
    /// Replaced by a keyed token.
    Pseudonym(Pseudonymiser),
    /// Left out, counted.
    Drop,
    /// Of a class that is never taken (biometrics).
    Refuse,
}

/// Applies the field's treatment; `None` means that no line of the list names the field.
///
/// # Errors
/// Why the reading is not kept: unlisted, dropped by policy, refused, or not of the kind that the operator needs.
pub fn clear(treatment: Option<&Treatment>, reading: Reading) -> Result<Cleared<Reading>, Loss> {
    match treatment {
        None => Err(Loss::Unlisted),
        Some(Treatment::Keep) => Ok(Cleared(reading)),
        Some(Treatment::Generalise(bands)) => replaced(bands.apply(&reading.value), reading),
        Some(Treatment::Pseudonym(pseudonymiser)) => replaced(pseudonymiser.apply(&reading.value), reading),
        Some(Treatment::Drop) => Err(Loss::Policy),
        Some(Treatment::Refuse) => Err(Loss::Refused),
    }
}

fn replaced(value: Option<Value>, reading: Reading) -> Result<Cleared<Reading>, Loss> {
    let value = value.ok_or(Loss::Invalid)?;
    Ok(Cleared(Reading { value, ..reading }))
}

/// A reading that the store gave back: it was cleared when it was stored. Only the store may say so.
pub(crate) fn restored(reading: Reading) -> Cleared<Reading> {
    Cleared(reading)
}

#[cfg(test)]
mod tests {
    use rust_decimal::Decimal;

    use super::super::pseudonym::{MasterKey, Subject};
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
        let keep = Treatment::Keep;
        let generalise = Treatment::Generalise(Bands::new(vec![Decimal::ZERO]).expect("one bound"));
        let pseudonym = Treatment::Pseudonym(Pseudonymiser::new(
            &master,
            "traffic-flow",
            "city-brain",
            "2026-11",
            Subject::Mobile,
        ));
        let number = || Value::Number(Decimal::from(7));
        let text = |text: &str| Value::Text(text.into());
        let cases = [
            (None, number(), Err(Loss::Unlisted)),
            (Some(&keep), text("E07"), Ok(text("E07"))),
            (Some(&generalise), number(), Ok(text("0+"))),
            (Some(&generalise), Value::Number(Decimal::from(-1)), Err(Loss::Invalid)),
            (Some(&generalise), text("7"), Err(Loss::Invalid)),
            (Some(&pseudonym), text("138 0013 8000"), Ok(text("p1_2zf5yendmy777beoiv2uj2jg6q"))),
            (Some(&pseudonym), Value::Flag(true), Err(Loss::Invalid)),
            (Some(&Treatment::Drop), number(), Err(Loss::Policy)),
            (Some(&Treatment::Refuse), number(), Err(Loss::Refused)),
        ];
        for (index, (treatment, value, expected)) in cases.into_iter().enumerate() {
            let got = clear(treatment, reading(value)).map(|cleared| cleared.get().clone());
            assert_eq!(got, expected.map(reading), "case {index}");
        }
    }

    #[test]
    fn what_is_restored_is_what_was_stored() {
        let kept = clear(Some(&Treatment::Keep), reading(Value::Flag(true)));
        assert_eq!(kept, Ok(restored(reading(Value::Flag(true)))));
    }
}
