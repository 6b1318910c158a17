//! Why a consumer does not get what it asks for, with the gRPC status of each reason.
//!
//! Guarantees: every status carries `google.rpc.ErrorInfo` (the reason in capitals, the domain `smallbrain`, and what helps to
//! go on), where waiting helps `RetryInfo` too, and the reason again in the trailer `smallbrain-reason`; also those that the
//! transport itself answers, once [`explained`] has seen them. No text of a person is in any of them.

use std::collections::HashMap;
use std::time::Duration;

use tonic::metadata::MetadataValue;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::approvals::refusal;
use crate::approval::{self, Missing};
use crate::ingest::order;
use crate::ingest::shared::Refused as SharedRefused;
use crate::ingest::{AckRefused, Stopped, WitnessRefused};
use crate::model::{Consumer, Epoch, Lane, LineId, Seq};
use crate::rules::command::NotTaken;
use crate::rules::incident;
use crate::store::reader::ReadError;
use crate::wire;

/// Who says so, in `ErrorInfo`.
pub const DOMAIN: &str = "smallbrain";
/// The trailer with a reason's name.
pub(super) const TRAILER: &str = "smallbrain-reason";
/// When to come back where nothing better is known.
const RETRY: Duration = Duration::from_secs(1);

/// A refusal. Its [`reason`](Refused::reason) travels in the trailer `smallbrain-reason` and counts in telemetry.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refused {
    /// The certificate does not say who the caller is.
    #[error("client certificate: {0}")]
    Identity(&'static str),
    /// No line of the share list that holds now names the consumer for what it asks.
    #[error("no line of the share list gives {0} what it asks for now: ask the gateway's operator for one")]
    NotListed(Consumer),
    /// A line of the share list names the consumer, and no approval of its tier holds.
    #[error("line {line} of the share list needs an approval of its tier, and {}", why(*missing))]
    Approval {
        /** Who asks. */
        consumer: Consumer,
        /** The line. */
        line: LineId,
        /** Why none holds. */
        missing: Missing,
    },
    /// Something about an approval that is not as it has to be.
    #[error(transparent)]
    Order(#[from] approval::Refused),
    /// What is for the people on the spot.
    #[error("{0} is for the gateway's local socket")]
    Local(&'static str),
    /// A frame or field that is not one.
    #[error("request: {0}")]
    Malformed(&'static str),
    /// A lane that this gateway does not fill.
    #[error(
        "lane {0} is none of this gateway's: it has 1 (alarm), 2 (event), 3 (aggregate), 4 (result), 5 (audit) and 6 (bulk)"
    )]
    Lane(i32),
    /// A cursor of another epoch.
    #[error(
        "the cursor is of epoch {theirs}, the store is in epoch {ours}: pull again from position 0 of {ours}"
    )]
    Epoch {
        /** Present epoch. */
        ours: Epoch,
        /** The cursor's. */
        theirs: Epoch,
    },
    /// A cursor ahead of the lane's head.
    #[error("lane {lane}: cursor {seq} is ahead of the head {head}")]
    Ahead {
        /** Lane. */
        lane: Lane,
        /** Asked. */
        seq: Seq,
        /** Newest. */
        head: Seq,
    },
    /// An ack that moves nothing.
    #[error(transparent)]
    Ack(#[from] AckRefused),
    /// A witnessed position that is not on the trail.
    #[error(transparent)]
    Witness(#[from] WitnessRefused),
    /// A record that is no alarm of this consumer.
    #[error(
        "record {0} is not an alarm of this consumer: give a record_id of the alarm lane as it was delivered"
    )]
    Record(String),
    /// An alarm with which that cannot be done.
    #[error(transparent)]
    Incident(#[from] incident::Refused),
    /// A list that is not taken.
    #[error(transparent)]
    Shared(#[from] SharedRefused),
    /// A key of a list that could name somebody.
    #[error(
        "a key looks like the number, plate or address of somebody: give the pseudonym that the gateway has for it"
    )]
    Personal,
    /// Feedback faster than it is taken.
    #[error("more than {0} a second: wait a second, and call again with the same request_id")]
    Rate(u32),
    /// More bytes than the consumer may take.
    #[error("the bytes that this consumer may take are used up: wait {wait_ms} ms")]
    Quota {
        /** How long until there are some again. */
        wait_ms: u64,
    },
    /// A message that is larger than the limit, as it comes or once it is unpacked.
    #[error("a message is at most 4 MiB, also once it is unpacked: send less at once")]
    TooLarge,
    /// An order that is not taken.
    #[error(transparent)]
    Command(#[from] order::Refused),
    /// An order that this consumer does not have.
    #[error("no order of this consumer has that command_id: give one as SubmitCommand answered it")]
    Run,
    /// A newer stream of the same consumer.
    #[error("a newer instance of this consumer opened a stream: stop one of the two")]
    Replaced,
    /// A query that is none of this consumer's.
    #[error("{0} has no query of this name: ListCatalog with list = \"query\" tells those it has")]
    QueryUnknown(Consumer),
    /// A query for another purpose than its line's.
    #[error("purpose: another one than that of the query's share line: ListCatalog tells it")]
    Purpose(Consumer),
    /// An argument of a query that cannot be.
    #[error("{0}")]
    Argument(String),
    /// A schema that this gateway does not write.
    #[error("no such schema: there are {}", wire::schema::NAMES.join(", "))]
    Schema,
    /// Why a query of the catalogue is not answered.
    #[error("query {0}: {1}")]
    Query(LineId, Box<Refused>),
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store has stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

fn why(missing: Missing) -> &'static str {
    match missing {
        Missing::None => "none holds for this consumer and certificate: call RequestApproval",
        Missing::Expired => "its time is over: call RequestApproval",
        Missing::Revoked => "it was revoked: ask the gateway's operator why",
        Missing::UsedUp => "it was made use of as often as it may: call RequestApproval",
    }
}

impl Refused {
    /// All reasons, in the order of the counters.
    pub const REASONS: [&'static str; 34] = [
        "identity",
        "not_listed",
        "malformed",
        "epoch_changed",
        "ahead_of_head",
        "hash_mismatch",
        "stream_replaced",
        "read",
        "stopped",
        "record_unknown",
        "alarm_past",
        "rate",
        "audit_fork",
        "approval_missing",
        "approval_expired",
        "approval_revoked",
        "approval_used_up",
        "approval_order",
        "local_only",
        "quota",
        "message_too_large",
        "request_reused",
        "command_unknown",
        "command_late",
        "state_differs",
        "interlock",
        "commands_full",
        "query_unknown",
        "purpose",
        "argument",
        "schema_unknown",
        "list_old",
        "list_full",
        "personal",
    ];

    /// The reason's name.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Refused::Identity(_) => "identity",
            Refused::NotListed(_) | Refused::Command(order::Refused::NotGiven) => "not_listed",
            Refused::Malformed(_) | Refused::Lane(_) => "malformed",
            Refused::Epoch { .. } | Refused::Ack(AckRefused::Epoch { .. }) => "epoch_changed",
            Refused::Ahead { .. } | Refused::Ack(AckRefused::Ahead { .. }) => "ahead_of_head",
            Refused::Ack(AckRefused::Hash { .. }) => "hash_mismatch",
            Refused::Replaced => "stream_replaced",
            Refused::Read(_) => "read",
            Refused::Stopped(_) => "stopped",
            Refused::Record(_) => "record_unknown",
            Refused::Incident(_) => "alarm_past",
            Refused::Rate(_) => "rate",
            Refused::Witness(_) => "audit_fork",
            Refused::Approval { missing: Missing::None, .. } => "approval_missing",
            Refused::Approval { missing: Missing::Expired, .. } => "approval_expired",
            Refused::Approval { missing: Missing::Revoked, .. } => "approval_revoked",
            Refused::Approval { missing: Missing::UsedUp, .. } => "approval_used_up",
            Refused::Order(_) => "approval_order",
            Refused::Local(_) => "local_only",
            Refused::Quota { .. } => "quota",
            Refused::TooLarge => "message_too_large",
            Refused::Command(order::Refused::Reused) => "request_reused",
            Refused::Command(order::Refused::Command(refused)) => match refused {
                NotTaken::Arguments { .. } | NotTaken::Stateless(_) => "malformed",
                NotTaken::Unknown(_) => "command_unknown",
                NotTaken::Late(_) => "command_late",
                NotTaken::State(_) => "state_differs",
                NotTaken::Interlock(_) => "interlock",
                NotTaken::Full(_) => "commands_full",
            },
            Refused::Run => "command_unknown",
            Refused::QueryUnknown(_) => "query_unknown",
            Refused::Purpose(_) => "purpose",
            Refused::Argument(_) => "argument",
            Refused::Schema => "schema_unknown",
            Refused::Query(_, inner) => inner.reason(),
            Refused::Shared(SharedRefused::NotTheirs(_)) => "not_listed",
            Refused::Shared(SharedRefused::Old { .. }) => "list_old",
            Refused::Shared(SharedRefused::Full { .. }) => "list_full",
            Refused::Shared(SharedRefused::Reused) => "request_reused",
            Refused::Personal => "personal",
        }
    }

    /// The reason's index in [`Refused::REASONS`].
    #[must_use]
    pub fn index(&self) -> usize {
        let reason = self.reason();
        Self::REASONS.iter().position(|known| *known == reason).unwrap_or(0)
    }

    fn code(&self) -> Code {
        match self.reason() {
            "identity" => Code::Unauthenticated,
            "not_listed" | "local_only" => Code::PermissionDenied,
            "approval_missing" | "approval_expired" | "approval_revoked" | "approval_used_up" => {
                Code::PermissionDenied
            }
            "approval_order" | "list_old" => Code::FailedPrecondition,
            "malformed" | "personal" | "request_reused" | "purpose" | "argument" => Code::InvalidArgument,
            "epoch_changed" => Code::FailedPrecondition,
            "ahead_of_head" => Code::OutOfRange,
            "hash_mismatch" | "audit_fork" => Code::DataLoss,
            "stream_replaced" => Code::Aborted,
            "record_unknown" | "command_unknown" | "query_unknown" | "schema_unknown" => Code::NotFound,
            "alarm_past" | "command_late" | "state_differs" | "interlock" => Code::FailedPrecondition,
            "rate" | "quota" | "message_too_large" | "commands_full" | "list_full" => Code::ResourceExhausted,
            _ => Code::Unavailable,
        }
    }

    /// How long to wait before the same again may go well; `None` where waiting does not help.
    fn retry(&self, code: Code) -> Option<Duration> {
        match self {
            Refused::TooLarge => None,
            Refused::Quota { wait_ms } => Some(Duration::from_millis(*wait_ms)),
            _ => matches!(code, Code::ResourceExhausted | Code::Unavailable).then_some(RETRY),
        }
    }

    /// What a machine needs to go on.
    fn facts(&self) -> HashMap<String, String> {
        let facts: Vec<(&str, String)> = match self {
            Refused::Epoch { ours, .. } | Refused::Ack(AckRefused::Epoch { ours, .. }) => {
                vec![("epoch", ours.to_string()), ("resume_seq", "0".to_owned())]
            }
            Refused::Ahead { lane, head, .. } | Refused::Ack(AckRefused::Ahead { lane, head, .. }) => {
                vec![("lane", lane.to_string()), ("head_seq", head.0.to_string())]
            }
            Refused::Approval { line, .. } => vec![("share_item", line.to_string())],
            Refused::Order(order) => vec![("approval", order.word().to_owned())],
            Refused::Lane(lane) => vec![("lane", lane.to_string())],
            Refused::Rate(per_second) => vec![("calls_per_second", per_second.to_string())],
            _ => Vec::new(),
        };
        facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

fn details(reason: &str, facts: HashMap<String, String>, retry: Option<Duration>) -> ErrorDetails {
    let mut details = ErrorDetails::new();
    details.set_error_info(reason.to_ascii_uppercase(), DOMAIN, facts);
    if retry.is_some() {
        details.set_retry_info(retry);
    }
    details
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Status {
        let mut status = match &refused {
            Refused::Order(order) => refusal(order),
            _ => Status::new(refused.code(), refused.to_string()),
        };
        let (code, mut metadata) = (status.code(), std::mem::take(status.metadata_mut()));
        metadata.insert(TRAILER, MetadataValue::from_static(refused.reason()));
        let details = details(refused.reason(), refused.facts(), refused.retry(code));
        Status::with_error_details_and_metadata(code, status.message(), details, metadata)
    }
}

/// What the transport says by itself (a message too large, bytes that are no message, a method that is none), as the
/// contract says it, and the reason's name. `None` for what has a reason already.
pub(super) fn explained(status: &Status) -> Option<(Status, &'static str)> {
    if status.code() == Code::Ok || status.metadata().contains_key(TRAILER) {
        return None;
    }
    let (code, reason) = match status.code() {
        Code::OutOfRange | Code::ResourceExhausted => (Code::ResourceExhausted, "message_too_large"),
        Code::Internal | Code::InvalidArgument => (Code::InvalidArgument, "malformed"),
        Code::Unimplemented => (Code::Unimplemented, "unimplemented"),
        Code::Cancelled | Code::DeadlineExceeded => (Code::DeadlineExceeded, "deadline"),
        code => (code, "transport"),
    };
    let retry = (code == Code::Unavailable).then_some(RETRY);
    let mut metadata = status.metadata().clone();
    metadata.insert(TRAILER, MetadataValue::from_static(reason));
    let details = details(reason, HashMap::new(), retry);
    Some((Status::with_error_details_and_metadata(code, status.message(), details, metadata), reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_says_its_reason_to_machines_too() {
        let epoch = |byte| Epoch([byte; 16]);
        let consumer: Consumer = "spiffe://city.example/one".parse().expect("consumer");
        let cases = [
            (Refused::Identity("none came"), "IDENTITY", vec![], None),
            (Refused::NotListed(consumer), "NOT_LISTED", vec![], None),
            (
                Refused::Epoch { ours: epoch(1), theirs: epoch(2) },
                "EPOCH_CHANGED",
                vec![("epoch", "01".repeat(16)), ("resume_seq", "0".into())],
                None,
            ),
            (
                Refused::Ahead { lane: Lane::Alarm, seq: Seq(9), head: Seq(3) },
                "AHEAD_OF_HEAD",
                vec![("head_seq", "3".into()), ("lane", "alarm".into())],
                None,
            ),
            (Refused::Rate(10), "RATE", vec![("calls_per_second", "10".into())], Some(1_000)),
            (Refused::Quota { wait_ms: 77 }, "QUOTA", vec![], Some(77)),
            (Refused::TooLarge, "MESSAGE_TOO_LARGE", vec![], None),
            (Refused::Stopped(Stopped), "STOPPED", vec![], Some(1_000)),
        ];
        for (refused, reason, facts, wait_ms) in cases {
            let trailer = refused.reason();
            let status = Status::from(refused);
            let told = status.get_details_error_info().expect("an ErrorInfo");
            let mut metadata: Vec<_> = told.metadata.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
            metadata.sort();
            assert_eq!((told.reason.as_str(), told.domain.as_str()), (reason, DOMAIN));
            assert_eq!(metadata, facts, "{reason}");
            let retry = status.get_details_retry_info().and_then(|retry| retry.retry_delay);
            assert_eq!(retry, wait_ms.map(Duration::from_millis), "{reason}");
            assert_eq!(status.metadata().get(TRAILER).map(|word| word.as_bytes()), Some(trailer.as_bytes()));
            assert!(explained(&status).is_none(), "it says so already");
        }
    }

    #[test]
    fn what_the_transport_says_gets_a_reason() {
        for (status, code, reason) in [
            (Status::out_of_range("too large"), Code::ResourceExhausted, "MESSAGE_TOO_LARGE"),
            (Status::resource_exhausted("a bomb"), Code::ResourceExhausted, "MESSAGE_TOO_LARGE"),
            (Status::internal("no message"), Code::InvalidArgument, "MALFORMED"),
            (Status::unimplemented(""), Code::Unimplemented, "UNIMPLEMENTED"),
            (Status::cancelled("timeout"), Code::DeadlineExceeded, "DEADLINE"),
            (Status::not_found("service"), Code::NotFound, "TRANSPORT"),
        ] {
            let (told, _) = explained(&status).expect("explained");
            assert_eq!(told.code(), code, "{reason}");
            assert_eq!(told.get_details_error_info().map(|info| info.reason), Some(reason.to_owned()));
        }
        assert!(explained(&Status::ok("")).is_none());
    }
}
