//! Approvals, in the transaction of what happens to them: their rows, and a row of the trail for each thing that happened
//! or was turned away.
//!
//! The trail gets ids, roles, counts and hashes: a name only of somebody whom the configuration knows, and no word of
//! anybody. Guarantees: what is granted is published only after the commit that says so; who may hand out asks the snapshot.

use serde_json::json;

use super::Spine;
use crate::approval::register::Done as Happened;
use crate::approval::{Approval, ApprovalId, Event, Grants, Line, Order, Refused, Register, vote};
use crate::audit::{Action, Entry, Outcome};
use crate::ingest::act::{self, Done};
use crate::model::{LineId, Stamp};
use crate::store::{Store, StoreError, Txn};

impl Spine {
    /// Takes up what the store kept of approvals; what ended while nobody looked ends now.
    pub(super) fn restore_approvals(&mut self, store: &mut Store, now: Stamp) -> Result<(), StoreError> {
        self.approvals = Register::restored(store.approvals_open()?, store.approvals_ended()?);
        if self.approvals.due_ms().is_some_and(|due| due <= now.wall_ms) {
            let mut txn = store.begin()?;
            self.approvals_tick(&mut txn, now)?;
            txn.commit()?;
        }
        self.name_granted(now);
        Ok(())
    }

    /// What holds, once after each change.
    pub fn take_grants(&mut self) -> Option<Grants> {
        self.approvals.take_grants()
    }

    pub(super) fn approvals_tick(&mut self, txn: &mut Txn<'_>, now: Stamp) -> Result<(), StoreError> {
        let happened = self.approvals.tick(now.wall_ms);
        if happened.is_empty() {
            return Ok(());
        }
        self.approvals_follow(txn, happened, None, now).map(drop)
    }

    /// Does what somebody wants with an approval.
    pub(super) fn approval(
        &mut self,
        txn: &mut Txn<'_>,
        order: &Order,
        now: Stamp,
    ) -> Result<Result<Done, act::Refused>, StoreError> {
        let (rules, now_ms) = (&self.plan.approval, now.wall_ms);
        let (id, done) = match order {
            Order::Request(request) => {
                let line = self.plan.shares.iter().find(|line| line.id == request.share);
                let line = line.map(|line| Line {
                    purpose: &line.purpose,
                    tier: line.tier.as_ref(),
                    is_theirs: line.consumers.contains(&request.consumer),
                });
                (request.id, self.approvals.request(request, line, rules, now_ms))
            }
            Order::Vote(ballot) => (ballot.approval, self.approvals.vote(ballot, rules, now_ms)),
            Order::Revoke(revocation) => (revocation.approval, self.approvals.revoke(revocation, now_ms)),
            Order::Use(id) => (*id, self.approvals.make_use(*id, now_ms)),
        };
        let refused = match done {
            Ok(happened) => {
                let stands = self.approvals_follow(txn, happened, Some(order), now)?;
                // A use that goes on writes nothing.
                let stands = stands.or_else(|| self.approvals.get(id).cloned());
                return Ok(stands
                    .map(|stands| Done::Approval(Box::new(stands)))
                    .ok_or(Refused::Unknown(id).into()));
            }
            // One that is over is known all the same.
            Err(Refused::Unknown(id)) => match txn.approval(id)? {
                Some(approval) => Refused::Over { id, state: approval.state },
                None => Refused::Unknown(id),
            },
            Err(refused) => refused,
        };
        let entry = self.turned_away(order, id, &refused);
        txn.audit(&entry, now)?;
        Ok(Err(refused.into()))
    }

    /// Writes what happened; the last approval of it.
    fn approvals_follow(
        &mut self,
        txn: &mut Txn<'_>,
        happened: Happened,
        order: Option<&Order>,
        now: Stamp,
    ) -> Result<Option<Approval>, StoreError> {
        let mut last = None;
        for (event, approval) in happened {
            txn.audit(&self.entry(&event, &approval, order), now)?;
            txn.set_approval(&approval)?;
            last = Some(approval);
        }
        self.name_granted(now);
        Ok(last)
    }

    /// What is sealed from now on names what is granted now.
    fn name_granted(&mut self, now: Stamp) {
        for line in self.plan.shares.iter_mut().filter(|line| line.tier.is_some()) {
            let granted = self.approvals.granted(&line.id, now.wall_ms);
            line.granted = granted.into_iter().map(|id| id.to_string()).collect();
        }
    }

    fn entry(&self, event: &Event, approval: &Approval, order: Option<&Order>) -> Entry {
        let id = approval.id.to_string();
        let gateway = |action| Entry::gateway(action, &id);
        let entry = match event {
            Event::Asked => self.by(order, Action::ApprovalRequest, &id),
            Event::Voted(vote) => {
                Entry::by(vote.approver.as_str(), vote.role.as_str(), Action::ApprovalVote, &id)
            }
            Event::Granted => gateway(Action::ApprovalGrant),
            Event::Refused => gateway(Action::ApprovalRefuse),
            Event::Revoked => self.by(order, Action::ApprovalRevoke, &id),
            Event::Expired | Event::UsedUp => gateway(Action::ApprovalExpire),
            Event::Used => Entry::by(approval.asked.consumer.as_str(), "consumer", Action::ApprovalUse, &id),
        };
        let asked = &approval.asked;
        let mut detail = json!({ "state": approval.state.as_str(), "tier": asked.tier.as_str() });
        match event {
            Event::Asked => {
                detail["consumer"] = json!(asked.consumer.as_str());
                detail["digest"] = json!(hex(&asked.digest()));
                detail["not_before_ms"] = json!(asked.not_before_ms);
                detail["not_after_ms"] = json!(asked.not_after_ms);
                detail["max_uses"] = json!(asked.max_uses);
                detail["certificate"] = json!(asked.certificate.map(|hash| hex(&hash)));
            }
            Event::Voted(cast) => {
                detail["vote"] = json!(vote::word(cast.yes));
                detail["digest"] = json!(hex(&asked.digest()));
                detail["signature"] = json!(hex(&cast.signature));
            }
            Event::Used => detail["uses"] = json!(approval.uses),
            _ => {}
        }
        if let Some(uid) = order.and_then(uid) {
            detail["uid"] = json!(uid);
        }
        Entry {
            list: Some(self.line_ref(&asked.share)),
            purpose: Some(asked.purpose.clone()),
            approval: Some(id),
            detail: Some(detail.to_string()),
            ..entry
        }
    }

    fn turned_away(&self, order: &Order, id: ApprovalId, refused: &Refused) -> Entry {
        let text = id.to_string();
        let action = match order {
            Order::Request(_) => Action::ApprovalRequest,
            Order::Vote(_) => Action::ApprovalVote,
            Order::Revoke(_) => Action::ApprovalRevoke,
            Order::Use(_) => Action::ApprovalUse,
        };
        let share = match order {
            Order::Request(request) => Some(&request.share),
            _ => self.approvals.get(id).map(|approval| &approval.asked.share),
        };
        // A line that nobody knows is a text of the caller's.
        let share = share.filter(|share| self.plan.shares.iter().any(|line| line.id == **share));
        let detail = uid(order).map(|uid| json!({ "uid": uid }).to_string());
        let entry = Entry {
            list: share.map(|share| self.line_ref(share)),
            approval: Some(text.clone()),
            detail,
            ..self.by(Some(order), action, &text)
        };
        entry.not(Outcome::Denied, refused.word())
    }

    /// Who it was: a person of the configuration, a consumer of the share list, or nobody whom the gateway knows.
    fn by(&self, order: Option<&Order>, action: Action, id: &str) -> Entry {
        let (name, here) = match order {
            Some(Order::Request(request)) => (&*request.requester, request.uid.is_some()),
            Some(Order::Vote(ballot)) => (&*ballot.name, false),
            Some(Order::Revoke(revocation)) => (&*revocation.words.by, true),
            Some(Order::Use(_)) | None => ("gateway", false),
        };
        let is_consumer = || {
            self.plan.shares.iter().flat_map(|line| &line.consumers).any(|consumer| consumer.as_str() == name)
        };
        match order {
            Some(Order::Use(_)) | None => Entry::gateway(action, id),
            // On the spot a name is believed, not proved.
            _ if here && self.plan.approval.person(name).is_some() => Entry::by(name, "operator", action, id),
            _ if here => Entry::by("operator", "operator", action, id),
            _ if self.plan.approval.person(name).is_some() => Entry::by(name, "person", action, id),
            _ if is_consumer() => Entry::by(name, "consumer", action, id),
            _ => Entry::by("unknown", "unknown", action, id),
        }
    }

    fn line_ref(&self, share: &LineId) -> String {
        format!("share/{share}@{}", self.policy_version)
    }
}

fn uid(order: &Order) -> Option<u32> {
    match order {
        Order::Request(request) => request.uid,
        Order::Revoke(revocation) => revocation.uid,
        Order::Vote(_) | Order::Use(_) => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
