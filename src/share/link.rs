//! Push mode: the gateway dials the city, and one stream carries what StreamingPull and the calls would.
//!
//! [`exchange`] says what a frame of the city means, as a pure machine, [`again`] when to dial next, `gateway` is the shell
//! around both on the gateway's side, [`city`] the other end, [`counters`] what is counted.
//!
//! Guarantees: the messages, rights, limits and errors are those of the services, because the same code answers; at most
//! [`CALLS_MAX`] calls are under way, their replies wait beside the frames of the session and never ahead of more than one of
//! them, and every queue is bounded. Starts no task.

pub mod again;
pub mod city;
pub mod counters;
pub mod exchange;
mod gateway;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::wire::v1;

pub use gateway::{Version, hold};

/// The version of the protocol that both ends speak.
pub const VERSION: &str = "smallbrain.v1";
/// Calls under way on one link.
pub const CALLS_MAX: usize = 16;
/// How long hello and welcome may take, each.
pub const GREETING: Duration = Duration::from_secs(10);
/// The longest that a call may take; a long poll waits 60 s.
pub const CALL_MAX: Duration = Duration::from_secs(70);
/// Whose reasons they are.
const DOMAIN: &str = "smallbrain";
/// Where the reason stands besides.
const REASON: &str = "smallbrain-reason";

/// What a status says, as it travels on a link.
#[must_use]
pub fn told(status: &Status) -> v1::RpcStatus {
    let details = status.get_error_details();
    let trailer = status.metadata().get(REASON).and_then(|reason| reason.to_str().ok());
    let info = details.error_info();
    v1::RpcStatus {
        code: status.code() as i32,
        message: status.message().to_owned(),
        reason: info.map_or(trailer.unwrap_or_default(), |info| &info.reason).to_ascii_uppercase(),
        metadata: info.map(|info| info.metadata.clone().into_iter().collect()).unwrap_or_default(),
        retry_after: details
            .retry_info()
            .and_then(|retry| retry.retry_delay)
            .and_then(|delay| delay.try_into().ok()),
    }
}

/// The status that travelled; none where it was a polite end.
#[must_use]
pub fn status(told: v1::RpcStatus) -> Option<Status> {
    let code = Code::from_i32(told.code);
    if code == Code::Ok {
        return None;
    }
    let metadata: BTreeMap<String, String> = told.metadata;
    let mut details =
        ErrorDetails::with_error_info(&told.reason, DOMAIN, metadata.into_iter().collect::<HashMap<_, _>>());
    if let Some(after) = told.retry_after.and_then(|after| Duration::try_from(after).ok()) {
        details.set_retry_info(Some(after));
    }
    let mut status = Status::with_error_details(code, told.message, details);
    if let Ok(reason) = told.reason.to_ascii_lowercase().parse() {
        status.metadata_mut().insert(REASON, reason);
    }
    Some(status)
}

/// A reason of the link itself.
fn plain(code: Code, reason: &'static str, message: impl Into<String>) -> v1::RpcStatus {
    v1::RpcStatus {
        code: code as i32,
        message: message.into(),
        reason: reason.to_ascii_uppercase(),
        ..v1::RpcStatus::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::refused::Refused;

    #[test]
    fn a_status_is_the_same_after_the_way() {
        let refused = Status::from(Refused::Rate(10));
        let back = status(told(&refused)).expect("not polite");
        assert_eq!((back.code(), back.message()), (refused.code(), refused.message()));
        assert_eq!(told(&back).reason, "RATE");
        assert_eq!(back.metadata().get(REASON), refused.metadata().get(REASON));
        let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(7)));
        let busy = Status::with_error_details(Code::Unavailable, "busy", details);
        let back = status(told(&busy)).expect("not polite");
        let retry = back.get_error_details().retry_info().and_then(|retry| retry.retry_delay);
        assert_eq!(retry, Some(Duration::from_secs(7)));
        assert!(status(v1::RpcStatus::default()).is_none());
        assert_eq!(
            status(v1::RpcStatus { code: 99, ..Default::default() }).map(|s| s.code()),
            Some(Code::Unknown)
        );
    }
}
