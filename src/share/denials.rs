//! Which refusals get a row in the trail. Pure but for its lock.
//!
//! Guarantees: at most one row a minute for a caller and a reason, and at most [`CALLERS_MAX`] of them a minute, so that
//! whoever knocks cannot fill the disk. What gets no row is counted, and the next row of the same caller says how many there
//! were.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::refused::Refused;
use crate::ingest::handout::Denied;
use crate::model::{Consumer, LineId};

/// Between two rows of one caller and reason, milliseconds.
const EVERY_MS: u64 = 60_000;
/// Callers and reasons that are told apart at once.
const CALLERS_MAX: usize = 64;

#[derive(Debug)]
struct Last {
    written_ms: u64,
    unwritten: u64,
}

/// Who, why, and whether it was a query.
type Key = (Option<Consumer>, &'static str, bool);

/// The refusals of the last minute.
#[derive(Debug, Default)]
pub(super) struct Denials(Mutex<HashMap<Key, Last>>);

/// Who may not, and which query it asked; none of a refusal for another cause.
fn denied(refused: &Refused) -> Option<(Option<Consumer>, Option<LineId>)> {
    match refused {
        Refused::Identity(_) => Some((None, None)),
        Refused::NotListed(consumer) | Refused::Approval { consumer, .. } => {
            Some((Some(consumer.clone()), None))
        }
        Refused::Query(query, inner) => match &**inner {
            Refused::NotListed(consumer)
            | Refused::Approval { consumer, .. }
            | Refused::QueryUnknown(consumer)
            | Refused::Purpose(consumer) => Some((Some(consumer.clone()), Some(query.clone()))),
            _ => None,
        },
        _ => None,
    }
}

impl Denials {
    /// The row of a refusal that says that its caller may not; `Ok(None)` for any other.
    ///
    /// # Errors
    /// The refusal is only counted this time.
    pub(super) fn row(&self, refused: &Refused, mono_ms: u64) -> Result<Option<Denied>, ()> {
        let Some((consumer, query)) = denied(refused) else { return Ok(None) };
        let reason = refused.reason();
        let key = (consumer.clone(), reason, query.is_some());
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_recent = |last: &Last| mono_ms.saturating_sub(last.written_ms) < EVERY_MS;
        if let Some(last) = known.get_mut(&key) {
            if is_recent(last) {
                last.unwritten += 1;
                return Err(());
            }
            let unwritten = std::mem::take(&mut last.unwritten);
            last.written_ms = mono_ms;
            return Ok(Some(Denied { consumer, reason, query, unwritten }));
        }
        if known.len() >= CALLERS_MAX {
            known.retain(|_, last| is_recent(last));
        }
        if known.len() >= CALLERS_MAX {
            return Err(());
        }
        known.insert(key, Last { written_ms: mono_ms, unwritten: 0 });
        Ok(Some(Denied { consumer, reason, query, unwritten: 0 }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stranger(number: usize) -> Refused {
        Refused::NotListed(format!("spiffe://else/{number}").parse().expect("consumer"))
    }

    fn asked(refused: Refused) -> Refused {
        Refused::Query("Q-1".parse().expect("id"), Box::new(refused))
    }

    #[test]
    fn a_caller_gets_one_row_a_minute_and_it_says_what_it_leaves_out() {
        let denials = Denials::default();
        let told = |refused: &Refused, at_ms| match denials.row(refused, at_ms) {
            Ok(Some(denied)) => format!("{} after {}", denied.reason, denied.unwritten),
            Ok(None) => "none".to_owned(),
            Err(()) => "counted".to_owned(),
        };
        let identity = Refused::Identity("none came");
        let ungranted = Refused::Approval {
            consumer: "spiffe://else/1".parse().expect("consumer"),
            line: "S-1".parse().expect("id"),
            missing: crate::approval::Missing::Revoked,
        };
        let cases = [
            (stranger(1), 0, "not_listed after 0"),
            (stranger(1), 1, "counted"),
            (stranger(2), 1, "not_listed after 0"),
            (identity.clone(), 1, "identity after 0"),
            (identity, 2, "counted"),
            (stranger(1), 59_999, "counted"),
            (stranger(1), 60_000, "not_listed after 2"),
            (stranger(1), 60_001, "counted"),
            (ungranted.clone(), 1, "approval_revoked after 0"),
            (ungranted, 2, "counted"),
            (Refused::Malformed("a frame"), 1, "none"),
            (asked(stranger(1)), 60_001, "not_listed after 0"),
            (asked(Refused::Argument("no".into())), 1, "none"),
            (Refused::Rate(10), 1, "none"),
        ];
        for (number, (refused, at_ms, expected)) in cases.into_iter().enumerate() {
            assert_eq!(told(&refused, at_ms), expected, "case {number}");
        }
    }

    #[test]
    fn however_many_knock_a_minute_has_only_so_many_rows() {
        let denials = Denials::default();
        for minute in 0..3 {
            let rows = (0..10_000)
                .filter(|number| matches!(denials.row(&stranger(*number), minute * EVERY_MS), Ok(Some(_))));
            assert_eq!(rows.count(), CALLERS_MAX, "minute {minute}");
        }
    }
}
