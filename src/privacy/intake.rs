//! The door inwards: one line of the collection list (归集清单) per field. Default deny.

use super::Cleared;
use super::generalise::Bands;
use super::pseudonym::Pseudonymiser;
use crate::model::{Loss, Reading};

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
    let _ = (treatment, reading);
    todo!()
}

/// A reading that the store gave back: it was cleared when it was stored. Only the store may say so.
pub(crate) fn restored(reading: Reading) -> Cleared<Reading> {
    Cleared(reading)
}
