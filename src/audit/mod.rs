//! The trail (使用痕迹): who did what with which data, under which line, on whose approval, and what came of it.
//!
//! Guarantees: a closed set of actions; every row is bound to all rows before it by a hash ([`chain`]), and now and then
//! to the gateway's key ([`checkpoint`]), so that whoever has seen a checkpoint notices every later change of what it
//! covers. Holds no value that a device told and no free text of a person: ids, counts and hashes. Pure. It does not
//! decide who may do what, and it cannot show what was never written: that every act writes its row in its own
//! transaction is the spine's part.

pub mod cadence;
pub mod chain;
pub mod checkpoint;
pub mod verify;

use std::fmt;

/// What can be done, by its name. The names are on disk and never change their meaning.
macro_rules! actions {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Everything the trail knows.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Action { $($(#[$doc])* $variant,)* }

        impl Action {
            /// All of them.
            pub const ALL: &[Action] = &[$(Action::$variant,)*];

            /// The name, as it is stored.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Action::$variant => $name,)* }
            }
        }
    };
}

actions! {
    /// The daemon began, with this configuration.
    ConfigLoad = "config.load",
    /// A line of the four lists is new, another or gone.
    ListChange = "list.change",
    /// Somebody asks for an approval.
    ApprovalRequest = "approval.request",
    /// Somebody votes.
    ApprovalVote = "approval.vote",
    /// It is granted.
    ApprovalGrant = "approval.grant",
    /// It is refused.
    ApprovalRefuse = "approval.refuse",
    /// It is taken back.
    ApprovalRevoke = "approval.revoke",
    /// Its time is over.
    ApprovalExpire = "approval.expire",
    /// It was made use of.
    ApprovalUse = "approval.use",
    /// Records were handed out.
    ShareDeliver = "share.deliver",
    /// A consumer has them.
    ShareAck = "share.ack",
    /// A consumer was turned away.
    ShareDeny = "share.deny",
    /// A catalogued query was answered.
    QueryRun = "query.run",
    /// A query was turned away.
    QueryDeny = "query.deny",
    /// Somebody looked at single readings on the spot.
    RawView = "raw.view",
    /// A name was given back for a token.
    Detokenise = "detokenise",
    /// A key was made.
    KeyCreate = "key.create",
    /// A key of a new time began.
    KeyRotate = "key.rotate",
    /// A key was destroyed.
    KeyDestroy = "key.destroy",
    /// A command was taken.
    CommandAccept = "command.accept",
    /// A command was turned away.
    CommandRefuse = "command.refuse",
    /// A command has ended.
    CommandDone = "command.done",
    /// The city said something about a record.
    FeedbackAccept = "feedback.accept",
    /// The city shared a list.
    SharedPut = "shared.put",
    /// A list that the city shared is over, or nobody's any more.
    SharedExpire = "shared.expire",
    /// Somebody entered something.
    ManualEntry = "manual.entry",
    /// Kept data was deleted because its time was over.
    RetentionDelete = "retention.delete",
    /// Records that were owed are lost.
    GapDeclare = "gap.declare",
    /// The clock jumped.
    ClockStep = "clock.step",
    /// A position of the trail was signed.
    AuditCheckpoint = "audit.checkpoint",
    /// A profile for an emergency began.
    EmergencyBegin = "emergency.begin",
    /// It ended, and what it had collected was deleted: the certificate of that.
    EmergencyPurge = "emergency.purge",
    /// The store is an older copy of itself, or its trail is shorter than it was.
    StoreFork = "store.fork",
}

impl Action {
    /// The action of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|action| action.as_str() == name)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Ok,
    /// It was not permitted.
    Denied,
    /// It went wrong.
    Error,
}

impl Outcome {
    /// The name, as it is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Denied => "denied",
            Outcome::Error => "error",
        }
    }
}

/// What a row says, without its place in the chain. Its `Debug` shows no person.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Who: "gateway", a consumer's name, or a person as the local socket was told.
    pub actor: String,
    /// As what: "gateway", "consumer", or the person's role.
    pub role: String,
    /// What.
    pub action: Action,
    /// With what: a record or a range "alarm:17-20", an approval, a list line.
    pub object: String,
    /// The line of the lists it was done under, "share/S-001@4".
    pub list: Option<String>,
    /// Why: the line's purpose.
    pub purpose: Option<String>,
    /// On whose approval.
    pub approval: Option<String>,
    /// What came of it.
    pub outcome: Outcome,
    /// Why not, by a machine's word.
    pub reason: Option<String>,
    /// More, as a JSON object of ids, counts and hashes.
    pub detail: Option<String>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { role, action, object, outcome, .. } = self;
        write!(f, "Entry({role}: {action} {object} {})", outcome.as_str())
    }
}

impl Entry {
    /// Something that the gateway itself did.
    #[must_use]
    pub fn gateway(action: Action, object: impl Into<String>) -> Self {
        Self::by("gateway", "gateway", action, object)
    }

    /// Something that somebody did.
    #[must_use]
    pub fn by(
        actor: impl Into<String>,
        role: impl Into<String>,
        action: Action,
        object: impl Into<String>,
    ) -> Self {
        Self {
            actor: actor.into(),
            role: role.into(),
            action,
            object: object.into(),
            list: None,
            purpose: None,
            approval: None,
            outcome: Outcome::Ok,
            reason: None,
            detail: None,
        }
    }

    /// The same, with more: a JSON object of ids, counts and hashes.
    #[must_use]
    pub fn with(self, detail: impl fmt::Display) -> Self {
        Self { detail: Some(detail.to_string()), ..self }
    }

    /// The same, of another outcome.
    #[must_use]
    pub fn not(self, outcome: Outcome, reason: impl Into<String>) -> Self {
        Self { outcome, reason: Some(reason.into()), ..self }
    }
}
