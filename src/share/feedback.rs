//! What the city says about an alarm: checked here, kept and acted on by the one way through.
//!
//! Guarantees: only a consumer that holds a line in the alarm lane now is heard, and no more than [`RATE`] of it; what is
//! answered with a number is on disk; the same request twice changes nothing and is answered the same (the writer keeps the
//! answers). The text reaches neither log nor error. Does not say what a step does to an alarm: `rules::incident` does.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::Pages;
use super::batch::{Caller, Wanted};
use super::calls::Shell;
use super::refused::Refused;
use crate::ingest::Stopped;
use crate::ingest::act::{self, Act, Done, Feedback};
use crate::model::{Consumer, Lane, Step};
use crate::privacy::release::ShareLine;
use crate::rules::listed::Line;
use crate::rules::rate::{Bucket, Rate};
use crate::wire::v1;

/// Calls of one consumer.
const RATE: Rate = Rate { per_second: 10, burst: 10 };
/// Bytes of a request's or a record's id.
const ID_MAX: usize = 128;
/// Bytes of a text.
const TEXT_MAX: usize = 1000;

/// How much each consumer has said lately, over all listeners; bounded by the consumers of the share list and of shared lists.
#[derive(Debug, Default)]
pub(super) struct Said(Mutex<HashMap<Consumer, Bucket>>);

impl Said {
    /// Whether one more call is within the rate.
    fn one_more(&self, consumer: &Consumer, lines: &[ShareLine], lists: &[Line], mono_ms: u64) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !said.contains_key(consumer) {
            said.retain(|known, _| {
                lines.iter().any(|line| line.consumers.contains(known))
                    || lists.iter().any(|line| line.consumers.contains(known))
            });
        }
        said.entry(consumer.clone()).or_insert_with(|| Bucket::new(RATE)).take(RATE, mono_ms)
    }
}

/// What a call says.
fn parse(consumer: Consumer, asked: v1::PushFeedbackRequest) -> Result<Feedback, Refused> {
    let step = match Step::named(&asked.kind) {
        Some(step @ (Step::Confirmed | Step::Dispatched | Step::Handled | Step::Closed | Step::Noted)) => {
            step
        }
        _ => {
            return Err(Refused::Malformed("kind has to be confirmed, dispatched, handled, closed or noted"));
        }
    };
    let fits = |id: &str| (1..=ID_MAX).contains(&id.len());
    let wrong = [
        (!fits(&asked.request_id), "request_id has to have 1 to 128 bytes"),
        (!fits(&asked.in_reply_to), "in_reply_to has to be the record_id of an alarm, as it was delivered"),
        (asked.text.len() > TEXT_MAX, "text is longer than 1000 bytes"),
        (
            !asked.payload.is_empty() || !asked.schema.is_empty(),
            "payload and schema are not used yet: leave them empty",
        ),
    ];
    if let Some((_, what)) = wrong.into_iter().find(|(is_wrong, _)| *is_wrong) {
        return Err(Refused::Malformed(what));
    }
    Ok(Feedback {
        consumer,
        request: asked.request_id,
        record: asked.in_reply_to,
        step,
        text: asked.text.into(),
    })
}

impl<P: Pages> Shell<P> {
    /// Holds that a consumer says no more than [`RATE`].
    pub(super) fn within_rate(&self, consumer: &Consumer) -> Result<(), Refused> {
        let mono_ms = self.city.clock.now().mono_ms;
        let within = self.said.one_more(consumer, &self.lines(), &self.city.shared.borrow(), mono_ms);
        if within { Ok(()) } else { Err(Refused::Rate(RATE.per_second)) }
    }

    /// Takes a consumer's word; answers when it is on disk.
    pub(super) async fn feedback(
        &self,
        caller: Caller,
        asked: v1::PushFeedbackRequest,
    ) -> Result<v1::PushFeedbackResponse, Refused> {
        let (force, now) = (self.force(), self.city.clock.now());
        let wanted = Wanted::everything(caller);
        let rights = wanted.rights(&force, now.wall_ms);
        if !rights.lane(Lane::Alarm) {
            return Err(rights.refusal());
        }
        let consumer = wanted.caller.consumer.clone();
        self.within_rate(&consumer)?;
        let feedback = parse(consumer.clone(), asked)?;
        let step = feedback.step;
        match self.city.intake.act(Act::Feedback(feedback)).await? {
            Ok(Done::Feedback { id, duplicate }) => {
                self.city.counters.feedback(duplicate);
                tracing::info!(%consumer, %step, id, duplicate, "the city says something about an alarm");
                Ok(v1::PushFeedbackResponse { feedback_id: id.to_string(), duplicate })
            }
            Err(act::Refused::Record(record)) => Err(Refused::Record(record)),
            Err(act::Refused::Incident(why)) => Err(why.into()),
            // Feedback is answered in no other way: one that is could not be told apart from nothing stored.
            Ok(_) | Err(_) => Err(Stopped.into()),
        }
    }
}
