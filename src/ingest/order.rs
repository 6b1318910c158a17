//! Orders of the city on the one way through: what comes in, what is answered, why not.
//!
//! Guarantees: what is asked again within 30 days is answered the same and changes nothing. `Debug` shows nothing that the
//! consumer wrote. What it does not do: say who may order what; the share list and its approvals do.

use std::fmt;

use crate::approval::ApprovalId;
use crate::rules::command::{NotTaken, Order, Stage};

/// An order as it was checked at the door.
#[derive(Clone, PartialEq, Eq)]
pub struct Submission {
    /// What is ordered.
    pub order: Order,
    /// SHA-256 of the request without its id.
    pub digest: [u8; 32],
    /// The approval that it stands under, where its line has a tier.
    pub under: Option<ApprovalId>,
    /// Only whether it would be taken.
    pub validate_only: bool,
}

impl fmt::Debug for Submission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submission")
            .field("order", &self.order)
            .field("under", &self.under)
            .field("validate_only", &self.validate_only)
            .finish_non_exhaustive()
    }
}

/// What an order came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It would be taken.
    Valid,
    /// There is a run of it.
    Run {
        /** Its number. */
        id: u64,
        /** Where it was when it was first answered. */
        stage: Stage,
        /** The same request came before. */
        duplicate: bool,
    },
}

/// Why an order is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The request id has another content already.
    #[error("request_id was used for another request already: choose a new one")]
    Reused,
    /// No line gives it to the consumer, or no approval of the line's tier holds.
    #[error("no line of the share list gives this consumer the command now")]
    NotGiven,
    /// Of the command.
    #[error(transparent)]
    Command(#[from] NotTaken),
}

impl Refused {
    /// The word of the trail and of the trailer.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Refused::Reused => "request_reused",
            Refused::NotGiven => "not_listed",
            Refused::Command(NotTaken::Unknown(_)) => "command_unknown",
            Refused::Command(NotTaken::Arguments { .. } | NotTaken::Stateless(_)) => "malformed",
            Refused::Command(NotTaken::Late(_)) => "command_late",
            Refused::Command(NotTaken::State(_)) => "state_differs",
            Refused::Command(NotTaken::Interlock(_)) => "interlock",
            Refused::Command(NotTaken::Full(_)) => "commands_full",
        }
    }
}
