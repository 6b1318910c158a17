//! All approvals that are not over, and what may follow what.
//!
//! Every order is answered with what has to be written, in order: an [`Event`] for each thing that happened. A refusal
//! changes nothing. Bounds: [`OPEN_MAX`] approvals that are not over; of one line and consumer one that waits.

use std::collections::{BTreeMap, HashMap};

use super::vote::{self, Ballot, Vote};
use super::{Approval, ApprovalId, Asked, Grants, Rules, State, Tier, Words};
use crate::model::{Consumer, LineId};

/// Approvals that are not over.
pub const OPEN_MAX: usize = 1000;

/// What somebody wants.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// An approval.
    Request(Box<Request>),
    /// To vote.
    Vote(Ballot),
    /// To take one back.
    Revoke(Revocation),
    /// To make use of one.
    Use(ApprovalId),
}

/// Somebody asks for an approval. Its `Debug` shows neither who nor what they wrote.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// Random, of the shell.
    pub id: ApprovalId,
    /// The line of the share list.
    pub share: LineId,
    /// For whom.
    pub consumer: Consumer,
    /// SHA-256 of the client certificate it is to be bound to.
    pub certificate: Option<[u8; 32]>,
    /// Who asks.
    pub requester: Box<str>,
    /// Why, in words.
    pub reason: Box<str>,
    /// From when, milliseconds since 1970 UTC; none for now.
    pub not_before_ms: Option<i64>,
    /// Until when, exclusive.
    pub not_after_ms: i64,
    /// How often it may be made use of.
    pub max_uses: Option<u32>,
    /// The user id of the caller on the spot; none for a consumer.
    pub uid: Option<u32>,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Request({}: {} for {})", self.id, self.share, self.consumer)
    }
}

/// Somebody takes an approval back. Its `Debug` shows neither who nor what they wrote.
#[derive(Clone, PartialEq, Eq)]
pub struct Revocation {
    /// Which.
    pub approval: ApprovalId,
    /// Who, and why.
    pub words: Words,
    /// The user id of the caller on the spot.
    pub uid: Option<u32>,
}

impl std::fmt::Debug for Revocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Revocation({})", self.approval)
    }
}

/// What the share list says of a line that an approval is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Line<'l> {
    /// Its purpose.
    pub purpose: &'l str,
    /// Its tier; none where the ledger has no say.
    pub tier: Option<&'l LineId>,
    /// Whether it names the consumer.
    pub is_theirs: bool,
}

/// Something that happened, with the approval as it is then.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Somebody asked.
    Asked,
    /// Somebody voted.
    Voted(Vote),
    /// The quorum is there.
    Granted,
    /// There will be none.
    Refused,
    /// It was taken back.
    Revoked,
    /// Its time is over.
    Expired,
    /// A use began.
    Used,
    /// The last use is over.
    UsedUp,
}

/// Why nothing was changed. Names no person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nobody knows it.
    #[error("no approval {0}; `smallbrain approvals --all` lists them")]
    Unknown(ApprovalId),
    /// The share list has no such line, or it does not name the consumer.
    #[error("line {0} of the share list does not name this consumer: give a line that does")]
    Line(LineId),
    /// The line needs none.
    #[error("line {0} needs no approval in the ledger: it has no tier, or a standing one")]
    Tier(LineId),
    /// One waits.
    #[error("approval {0} of this line and consumer waits for votes: vote on it, or revoke it first")]
    Waits(ApprovalId),
    /// There are as many as there may be.
    #[error("{OPEN_MAX} approvals are not over: revoke some first")]
    Full,
    /// A time that cannot be.
    #[error(
        "tier {tier} allows {days} days from now at most, from a beginning to a later end that is not past"
    )]
    Time {
        /** The line's tier. */
        tier: LineId,
        /** What it allows. */
        days: i64,
    },
    /// A number of uses that cannot be.
    #[error("max_uses = 0: at least 1, or none for as often as one likes")]
    Uses,
    /// Nothing can follow.
    #[error("approval {id} is {state}: ask for a new one")]
    Over {
        /** Which. */
        id: ApprovalId,
        /** Where it stands. */
        state: State,
    },
    /// The configuration has no such person.
    #[error("the configuration has no [[person]] of this name")]
    Person,
    /// A person without the role.
    #[error("this person has no role that votes in tier {0}")]
    Role(LineId),
    /// Two duties in one hand.
    #[error("who asked does not vote: somebody else has to")]
    Own,
    /// Two people are two people.
    #[error("this person has voted on approval {0} already")]
    Again(ApprovalId),
    /// Not theirs, or not of this.
    #[error(
        "the signature is not of this person's key over this approval: sign again with `smallbrain approvals vote`"
    )]
    Signature,
    /// No reason.
    #[error("say why")]
    Reason,
    /// It does not hold, or has been made use of as often as it may.
    #[error("approval {0} does not hold now")]
    NotHeld(ApprovalId),
}

impl Refused {
    /// Why, by a machine's word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Refused::Unknown(_) => "unknown",
            Refused::Line(_) => "not_listed",
            Refused::Tier(_) => "no_tier",
            Refused::Waits(_) => "waits",
            Refused::Full => "full",
            Refused::Time { .. } => "time",
            Refused::Uses => "uses",
            Refused::Over { .. } => "over",
            Refused::Person => "unknown_person",
            Refused::Role(_) => "role",
            Refused::Own => "own_request",
            Refused::Again(_) => "voted_already",
            Refused::Signature => "signature",
            Refused::Reason => "no_reason",
            Refused::NotHeld(_) => "not_held",
        }
    }
}

/// The approvals that are not over, and how the last of each line and consumer ended.
#[derive(Debug, Default)]
pub struct Register {
    open: BTreeMap<ApprovalId, Approval>,
    ended: HashMap<(LineId, Consumer), State>,
    /// Nothing ends by itself before.
    due_ms: Option<i64>,
    changed: bool,
}

/// What an order came to: each event with the approval as it is then.
pub type Done = Vec<(Event, Approval)>;

impl Register {
    /// Takes up what the store kept: those that are not over, and how the last of each line and consumer ended.
    #[must_use]
    pub fn restored(open: Vec<Approval>, ended: Vec<(LineId, Consumer, State)>) -> Self {
        let mut register = Self {
            open: open.into_iter().map(|approval| (approval.id, approval)).collect(),
            ended: ended.into_iter().map(|(share, consumer, state)| ((share, consumer), state)).collect(),
            due_ms: None,
            changed: true,
        };
        register.set_due();
        register
    }

    /// One that is not over.
    #[must_use]
    pub fn get(&self, id: ApprovalId) -> Option<&Approval> {
        self.open.get(&id)
    }

    /// The handles of what is granted for a line at `now_ms`, in their order.
    #[must_use]
    pub fn granted(&self, share: &LineId, now_ms: i64) -> Vec<ApprovalId> {
        let holds = |open: &&Approval| {
            open.state == State::Granted
                && open.asked.share == *share
                && (open.asked.not_before_ms..open.asked.not_after_ms).contains(&now_ms)
        };
        self.open.values().filter(holds).map(|approval| approval.id).collect()
    }

    /// What holds, once after each change.
    pub fn take_grants(&mut self) -> Option<Grants> {
        std::mem::take(&mut self.changed).then(|| Grants::of(self.open.values(), &self.ended))
    }

    /// Somebody asks.
    ///
    /// # Errors
    /// [`Refused`]; nothing is changed.
    pub fn request(
        &mut self,
        request: &Request,
        line: Option<Line<'_>>,
        rules: &Rules,
        now_ms: i64,
    ) -> Result<Done, Refused> {
        let line = line.filter(|line| line.is_theirs).ok_or_else(|| Refused::Line(request.share.clone()))?;
        let tier = line.tier.and_then(|tier| rules.tier(tier)).filter(|tier| !tier.is_standing());
        let tier = tier.ok_or_else(|| Refused::Tier(request.share.clone()))?;
        let same = |open: &&Approval| {
            open.state == State::Pending
                && open.asked.share == request.share
                && open.asked.consumer == request.consumer
        };
        if let Some(waits) = self.open.values().find(same) {
            return Err(Refused::Waits(waits.id));
        }
        if self.open.len() >= OPEN_MAX || self.open.contains_key(&request.id) {
            return Err(Refused::Full);
        }
        let (from, until) = (request.not_before_ms.unwrap_or(now_ms).max(now_ms), request.not_after_ms);
        if until <= from || until.saturating_sub(now_ms) > tier.max_ms {
            return Err(Refused::Time { tier: tier.id.clone(), days: tier.max_ms / 86_400_000 });
        }
        if request.max_uses == Some(0) {
            return Err(Refused::Uses);
        }
        if request.reason.is_empty() {
            return Err(Refused::Reason);
        }
        let approval = Approval {
            id: request.id,
            asked: Asked {
                share: request.share.clone(),
                consumer: request.consumer.clone(),
                certificate: request.certificate,
                requester: request.requester.clone(),
                purpose: line.purpose.to_owned(),
                tier: tier.id.clone(),
                asked_ms: now_ms,
                not_before_ms: from,
                not_after_ms: until,
                max_uses: request.max_uses,
                reason: request.reason.clone(),
            },
            state: State::Pending,
            votes: Vec::new(),
            uses: 0,
            used_ms: None,
            changed_ms: now_ms,
            revoked: Words::default(),
        };
        let done = vec![(Event::Asked, approval.clone())];
        self.put(approval);
        Ok(done)
    }

    /// Somebody votes.
    ///
    /// # Errors
    /// [`Refused`]; nothing is changed.
    pub fn vote(&mut self, ballot: &Ballot, rules: &Rules, now_ms: i64) -> Result<Done, Refused> {
        let mut approval = self.open(ballot.approval, now_ms)?.clone();
        if approval.state != State::Pending {
            return Err(Refused::Over { id: approval.id, state: approval.state });
        }
        let person = rules.person(&ballot.name).ok_or(Refused::Person)?;
        let tier = rules.tier(&approval.asked.tier).filter(|tier| !tier.is_standing());
        let tier = tier.ok_or_else(|| Refused::Tier(approval.asked.share.clone()))?;
        // First, so that nobody learns by a name alone what its owner may do.
        if !vote::is_signed(ballot, &approval.asked, &person.public_key) {
            return Err(Refused::Signature);
        }
        let role = rules.role(tier, person).ok_or_else(|| Refused::Role(tier.id.clone()))?;
        if !rules.is_eligible(tier, person, &approval.asked.requester) {
            return Err(Refused::Own);
        }
        if approval.votes.iter().any(|vote| vote.approver == person.name) {
            return Err(Refused::Again(approval.id));
        }
        let vote = Vote {
            approver: person.name.clone(),
            role: role.clone(),
            yes: ballot.yes,
            at_ms: now_ms,
            reason: ballot.reason.clone(),
            signature: ballot.signature.clone(),
        };
        approval.votes.push(vote.clone());
        approval.changed_ms = now_ms;
        let mut done = vec![(Event::Voted(vote), approval.clone())];
        if let Some(state) = outcome(&approval, tier, rules) {
            approval.state = state;
            let event = if state == State::Granted { Event::Granted } else { Event::Refused };
            done.push((event, approval.clone()));
        }
        self.put(approval);
        Ok(done)
    }

    /// Somebody takes one back.
    ///
    /// # Errors
    /// [`Refused`]; nothing is changed.
    pub fn revoke(&mut self, revocation: &Revocation, now_ms: i64) -> Result<Done, Refused> {
        let mut approval = self.open(revocation.approval, now_ms)?.clone();
        if revocation.words.reason.is_empty() {
            return Err(Refused::Reason);
        }
        approval.state = State::Revoked;
        approval.revoked = revocation.words.clone();
        approval.changed_ms = now_ms;
        let done = vec![(Event::Revoked, approval.clone())];
        self.put(approval);
        Ok(done)
    }

    /// Something is handed out under one: a use begins, unless one goes on.
    ///
    /// # Errors
    /// [`Refused`]; nothing is changed.
    pub fn make_use(&mut self, id: ApprovalId, now_ms: i64) -> Result<Done, Refused> {
        let mut approval = self.open(id, now_ms)?.clone();
        let holds = approval.state == State::Granted && approval.asked.not_before_ms <= now_ms;
        if !holds {
            return Err(Refused::NotHeld(id));
        }
        if approval.is_in_use(now_ms) {
            return Ok(Vec::new());
        }
        if !approval.has_uses_left() {
            return Err(Refused::NotHeld(id));
        }
        approval.uses += 1;
        approval.used_ms = Some(now_ms);
        approval.changed_ms = now_ms;
        let done = vec![(Event::Used, approval.clone())];
        self.put(approval);
        Ok(done)
    }

    /// What time has ended.
    pub fn tick(&mut self, now_ms: i64) -> Done {
        if self.due_ms.is_none_or(|due| now_ms < due) {
            return Vec::new();
        }
        let mut done = Vec::new();
        let over: Vec<Approval> =
            self.open.values().filter(|open| ends_ms(open) <= now_ms).cloned().collect();
        for mut approval in over {
            let expired = approval.asked.not_after_ms <= now_ms;
            let (state, event) =
                if expired { (State::Expired, Event::Expired) } else { (State::UsedUp, Event::UsedUp) };
            approval.state = state;
            approval.changed_ms = now_ms;
            done.push((event, approval.clone()));
            self.put(approval);
        }
        done
    }

    /// When something ends by itself, milliseconds since 1970 UTC.
    #[must_use]
    pub fn due_ms(&self) -> Option<i64> {
        self.due_ms
    }

    fn open(&self, id: ApprovalId, now_ms: i64) -> Result<&Approval, Refused> {
        let approval = self.open.get(&id).ok_or(Refused::Unknown(id))?;
        if approval.asked.not_after_ms <= now_ms {
            return Err(Refused::Over { id, state: State::Expired });
        }
        Ok(approval)
    }

    fn put(&mut self, approval: Approval) {
        self.changed = true;
        let key = (approval.asked.share.clone(), approval.asked.consumer.clone());
        if approval.state.is_final() {
            self.open.remove(&approval.id);
            self.ended.insert(key, approval.state);
        } else {
            if approval.state == State::Granted {
                self.ended.remove(&key);
            }
            self.open.insert(approval.id, approval);
        }
        self.set_due();
    }

    fn set_due(&mut self) {
        self.due_ms = self.open.values().map(ends_ms).min();
    }
}

/// When an approval ends by itself.
fn ends_ms(approval: &Approval) -> i64 {
    let spent = approval.used_ms.filter(|_| !approval.has_uses_left());
    let used_up = spent.map_or(i64::MAX, |used| used.saturating_add(super::USE_MS));
    used_up.min(approval.asked.not_after_ms)
}

/// Where the votes lead; none while it is open. Only people who may vote now count, so a role that was taken away takes
/// its vote along.
fn outcome(approval: &Approval, tier: &Tier, rules: &Rules) -> Option<State> {
    let requester = &approval.asked.requester;
    let eligible = || rules.people.iter().filter(|person| rules.is_eligible(tier, person, requester));
    let vote = |name: &LineId| approval.votes.iter().find(|vote| vote.approver == *name).map(|vote| vote.yes);
    let holds = |roles: &[LineId], role: &LineId| roles.contains(role);
    let yes: Vec<_> = eligible().filter(|person| vote(&person.name) == Some(true)).collect();
    let needed = || tier.must_include.iter();
    let whole = needed().all(|role| yes.iter().any(|person| holds(&person.roles, role)));
    if yes.len() >= tier.quorum && whole {
        return Some(State::Granted);
    }
    let no = |person: &&super::Person| vote(&person.name) == Some(false);
    let veto = eligible().filter(no).any(|person| needed().any(|role| holds(&person.roles, role)));
    let left = eligible().filter(|person| vote(&person.name).is_none()).count();
    (veto || yes.len() + left < tier.quorum).then_some(State::Refused)
}

#[cfg(test)]
mod tests;
