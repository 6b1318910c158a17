//! Why a consumer does not get what it asks for, with the gRPC status of each reason.

use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use super::approvals::refusal;
use crate::approval::{self, Missing};
use crate::ingest::shared::Refused as SharedRefused;
use crate::ingest::{AckRefused, Stopped, WitnessRefused};
use crate::model::{Consumer, Epoch, Lane, LineId, Seq};
use crate::rules::incident;
use crate::store::reader::ReadError;

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
    /// A newer stream of the same consumer.
    #[error("a newer instance of this consumer opened a stream: stop one of the two")]
    Replaced,
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
    pub const REASONS: [&'static str; 23] = [
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
        "list_old",
        "list_full",
        "personal",
        "request_reused",
    ];

    /// The reason's index in [`Refused::REASONS`].
    #[must_use]
    pub fn index(&self) -> usize {
        match self {
            Refused::Identity(_) => 0,
            Refused::NotListed(_) => 1,
            Refused::Malformed(_) | Refused::Lane(_) => 2,
            Refused::Epoch { .. } | Refused::Ack(AckRefused::Epoch { .. }) => 3,
            Refused::Ahead { .. } | Refused::Ack(AckRefused::Ahead { .. }) => 4,
            Refused::Ack(AckRefused::Hash { .. }) => 5,
            Refused::Replaced => 6,
            Refused::Read(_) => 7,
            Refused::Stopped(_) => 8,
            Refused::Record(_) => 9,
            Refused::Incident(_) => 10,
            Refused::Rate(_) => 11,
            Refused::Witness(_) => 12,
            Refused::Approval { missing: Missing::None, .. } => 13,
            Refused::Approval { missing: Missing::Expired, .. } => 14,
            Refused::Approval { missing: Missing::Revoked, .. } => 15,
            Refused::Approval { missing: Missing::UsedUp, .. } => 16,
            Refused::Order(_) => 17,
            Refused::Local(_) => 18,
            Refused::Shared(SharedRefused::NotTheirs(_)) => 1,
            Refused::Shared(SharedRefused::Old { .. }) => 19,
            Refused::Shared(SharedRefused::Full { .. }) => 20,
            Refused::Personal => 21,
            Refused::Shared(SharedRefused::Reused) => 22,
        }
    }

    /// The reason's name.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        Self::REASONS[self.index()]
    }

    fn code(&self) -> Code {
        match self.reason() {
            "identity" => Code::Unauthenticated,
            "not_listed" | "local_only" => Code::PermissionDenied,
            "approval_missing" | "approval_expired" | "approval_revoked" | "approval_used_up" => {
                Code::PermissionDenied
            }
            "approval_order" | "list_old" => Code::FailedPrecondition,
            "malformed" | "personal" | "request_reused" => Code::InvalidArgument,
            "epoch_changed" => Code::FailedPrecondition,
            "ahead_of_head" => Code::OutOfRange,
            "hash_mismatch" | "audit_fork" => Code::DataLoss,
            "stream_replaced" => Code::Aborted,
            "record_unknown" => Code::NotFound,
            "alarm_past" => Code::FailedPrecondition,
            "rate" | "list_full" => Code::ResourceExhausted,
            _ => Code::Unavailable,
        }
    }
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Status {
        if let Refused::Order(order) = &refused {
            let mut status = refusal(order);
            let reason = MetadataValue::from_static(refused.reason());
            status.metadata_mut().insert("smallbrain-reason", reason);
            return status;
        }
        let mut status = Status::new(refused.code(), refused.to_string());
        status.metadata_mut().insert("smallbrain-reason", MetadataValue::from_static(refused.reason()));
        status
    }
}
