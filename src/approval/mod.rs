//! Approvals by tier (分级审批): who may let a consumer have what a line of the share list offers, until when, how often.
//!
//! ```text
//!            yes, and the quorum is there          revoke
//! pending ────────────────────────────► granted ────────────► revoked
//!    │ │ └── no, or no quorum can be ──► refused   │ └─ time ─► expired
//!    │ └──── time ─► expired    └── revoke ─► revoked  └ uses ─► used_up
//! ```
//! Guarantees: nothing is granted without the quorum of different people who hold a role of the tier, each with a signature
//! of their own over exactly what was asked, and with every role that must be among them; where duties are separated, who
//! asked does not vote. What has ended stays as it ended. Pure: time and random ids come in, and [`register::Register`]
//! tells what is to be written. Does not know what is in a line, and hands nothing out: the share server asks [`Grants`].

pub mod grants;
pub mod register;
pub mod vote;

use std::fmt;
use std::str::FromStr;

pub use grants::{Grant, Grants, Missing};
pub use register::{Event, Line, Order, Refused, Register, Request, Revocation};
pub use vote::{Ballot, Signer, Vote};

use crate::model::{Consumer, LineId};

/// A handle of 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ApprovalId(pub [u8; 16]);

impl fmt::Display for ApprovalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ApprovalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApprovalId({self})")
    }
}

/// A text that is no approval's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an approval's id has 32 hex digits, as `smallbrain approvals` shows it")]
pub struct IdError;

impl FromStr for ApprovalId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        bytes(text).map(Self).ok_or(IdError)
    }
}

/// Bytes of exactly as many pairs of hex digits.
#[must_use]
pub fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let read = |pair: &[u8; 2]| u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok();
    pairs.iter().map(read).collect::<Option<Vec<u8>>>()?.try_into().ok()
}

/// What it takes to let something out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    /// "T2".
    pub id: LineId,
    /// Roles that may vote.
    pub who: Vec<LineId>,
    /// How many people have to say yes; 0 is a standing grant, for which nobody is asked.
    pub quorum: usize,
    /// How long from the moment of asking an approval may reach at most, milliseconds.
    pub max_ms: i64,
    /// Roles each of which has to be among those who said yes.
    pub must_include: Vec<LineId>,
}

impl Tier {
    /// Whether nobody is asked.
    #[must_use]
    pub fn is_standing(&self) -> bool {
        self.quorum == 0
    }
}

/// Somebody who may vote. The name is what the trail shows; `Debug` does not.
#[derive(Clone, PartialEq, Eq)]
pub struct Person {
    /// How the trail calls them.
    pub name: LineId,
    /// What they are.
    pub roles: Vec<LineId>,
    /// Ed25519.
    pub public_key: [u8; 32],
}

impl fmt::Debug for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Person").field("roles", &self.roles).finish_non_exhaustive()
    }
}

/// What the configuration says of approvals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// The tiers, each once.
    pub tiers: Vec<Tier>,
    /// The people, each once.
    pub people: Vec<Person>,
    /// Whether who asks may not vote.
    pub separation: bool,
}

impl Rules {
    /// A tier by its id.
    #[must_use]
    pub fn tier(&self, id: &LineId) -> Option<&Tier> {
        self.tiers.iter().find(|tier| tier.id == *id)
    }

    /// A person by name.
    #[must_use]
    pub fn person(&self, name: &str) -> Option<&Person> {
        self.people.iter().find(|person| person.name.as_str() == name)
    }

    /// The role in which a person votes in a tier: one that must be included first.
    #[must_use]
    pub fn role<'p>(&self, tier: &Tier, person: &'p Person) -> Option<&'p LineId> {
        let theirs = || person.roles.iter().filter(|role| tier.who.contains(role));
        theirs().find(|role| tier.must_include.contains(role)).or_else(|| theirs().next())
    }

    /// Whether a person may vote in this tier on what `requester` asks for.
    #[must_use]
    pub fn is_eligible(&self, tier: &Tier, person: &Person, requester: &str) -> bool {
        let own = self.separation && person.name.as_str().eq_ignore_ascii_case(requester);
        !own && self.role(tier, person).is_some()
    }
}

/// Where an approval stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// It waits for votes.
    Pending,
    /// It holds.
    Granted,
    /// Somebody whose word is needed said no, or too many did.
    Refused,
    /// It was taken back.
    Revoked,
    /// Its time is over.
    Expired,
    /// It was made use of as often as it may.
    UsedUp,
}

impl State {
    /// All of them.
    pub const ALL: [State; 6] =
        [State::Pending, State::Granted, State::Refused, State::Revoked, State::Expired, State::UsedUp];

    /// The name, as it is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            State::Pending => "pending",
            State::Granted => "granted",
            State::Refused => "refused",
            State::Revoked => "revoked",
            State::Expired => "expired",
            State::UsedUp => "used_up",
        }
    }

    /// The state of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// Whether nothing can follow.
    #[must_use]
    pub fn is_final(self) -> bool {
        !matches!(self, State::Pending | State::Granted)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is asked for. What voters sign is its [`digest`](Asked::digest).
#[derive(Clone, PartialEq, Eq)]
pub struct Asked {
    /// The line of the share list.
    pub share: LineId,
    /// For whom.
    pub consumer: Consumer,
    /// SHA-256 of the client certificate it is bound to.
    pub certificate: Option<[u8; 32]>,
    /// Who asks: a name, or a consumer's.
    pub requester: Box<str>,
    /// The line's purpose when it was asked for.
    pub purpose: String,
    /// The line's tier when it was asked for.
    pub tier: LineId,
    /// When, milliseconds since 1970 UTC.
    pub asked_ms: i64,
    /// It holds from here on, inclusive.
    pub not_before_ms: i64,
    /// It holds up to here, exclusive.
    pub not_after_ms: i64,
    /// How often it may be made use of; none for as often as one likes.
    pub max_uses: Option<u32>,
    /// Why, in words. For people on the spot alone.
    pub reason: Box<str>,
}

impl fmt::Debug for Asked {
    /// Without persons and what they wrote.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked")
            .field("share", &self.share)
            .field("consumer", &self.consumer)
            .field("tier", &self.tier)
            .field("not_before_ms", &self.not_before_ms)
            .field("not_after_ms", &self.not_after_ms)
            .field("max_uses", &self.max_uses)
            .finish_non_exhaustive()
    }
}

/// An approval with what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// Its handle.
    pub id: ApprovalId,
    /// What was asked for.
    pub asked: Asked,
    /// Where it stands.
    pub state: State,
    /// In the order they came; a person's only once.
    pub votes: Vec<Vote>,
    /// How often it was made use of.
    pub uses: u32,
    /// When a use last began, milliseconds since 1970 UTC.
    pub used_ms: Option<i64>,
    /// When it last changed, milliseconds since 1970 UTC.
    pub changed_ms: i64,
    /// Why it was revoked, in words; empty otherwise.
    pub revoked: Words,
}

/// What somebody said in ending an approval.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Words {
    /// Who.
    pub by: Box<str>,
    /// Why.
    pub reason: Box<str>,
}

impl fmt::Debug for Words {
    /// Without persons and what they wrote.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Words")
    }
}

/// How long one use lasts, milliseconds: what is handed out within it is the same use, whatever carries it.
pub const USE_MS: i64 = 60_000;

fn is_in_use(used_ms: Option<i64>, now_ms: i64) -> bool {
    used_ms.is_some_and(|used| (used..used.saturating_add(USE_MS)).contains(&now_ms))
}

impl Approval {
    /// Whether a use goes on at `now_ms`.
    #[must_use]
    pub fn is_in_use(&self, now_ms: i64) -> bool {
        is_in_use(self.used_ms, now_ms)
    }

    /// Whether another use may begin.
    #[must_use]
    pub fn has_uses_left(&self) -> bool {
        self.asked.max_uses.is_none_or(|most| self.uses < most)
    }
}
