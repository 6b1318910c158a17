//! Orders of the city, in the transaction of what follows from them: the run, the answer that is kept, the row of the trail,
//! the use of an approval, and in the end the record of lane result.
//!
//! Guarantees: an order that was answered has a run, and every run of one reaches its end and then has one record, in the
//! transaction of that end; a refused one changes nothing but the trail, and is there at most once a minute.

use serde_json::json;

use super::Spine;
use crate::approval::{self, ApprovalId};
use crate::audit::{Action, Entry, Outcome};
use crate::ingest::act::{Done, Refused};
use crate::ingest::order::{self, Submission, Taken};
use crate::model::{Lane, OrderEnd, Stamp};
use crate::privacy::release::{ShareLine, order_end};
use crate::rules::command::{Arguments, Order, Run, Stage};
use crate::store::replies::Reply;
use crate::store::{StoreError, Txn};
use crate::wire;

impl Spine {
    /// What the city orders: once, and then the same answer.
    pub(super) fn submit(
        &mut self,
        txn: &mut Txn<'_>,
        submission: &Submission,
        now: Stamp,
    ) -> Result<Result<Done, Refused>, StoreError> {
        let asked = &submission.order.asked;
        if let Some(reply) = txn.reply(&asked.consumer, &asked.request)? {
            return match reply.asked == submission.digest {
                true => Ok(Ok(Done::Order(answered(&reply.answer)?))),
                false => self.order_refused(txn, submission, order::Refused::Reused.into(), now),
            };
        }
        let weighed = self.line_of(submission, now).and_then(|_| self.weighed(&submission.order, now));
        if let Err(refused) = weighed {
            return self.order_refused(txn, submission, refused.into(), now);
        }
        if submission.validate_only {
            txn.audit(&self.order_entry(submission, "valid".to_owned()), now)?;
            return Ok(Ok(Done::Order(Taken::Valid)));
        }
        if let Some(id) = submission.under
            && let Err(refused) = self.approval(txn, &approval::Order::Use(id), now)?
        {
            return self.order_refused(txn, submission, refused, now);
        }
        let run = match self.engine.order_asked(&submission.order, now) {
            Ok(run) => run,
            Err(refused) => {
                return self.order_refused(txn, submission, order::Refused::from(refused).into(), now);
            }
        };
        txn.audit(&self.order_entry(submission, format!("run:{}", run.id)), now)?;
        let answer = json!({ "run": run.id, "stage": run.stage.as_str() }).to_string();
        let reply = Reply { asked: submission.digest, answer };
        txn.replied(&asked.consumer, &asked.request, &reply, now.wall_ms)?;
        Ok(Ok(Done::Order(Taken::Run { id: run.id, stage: run.stage, duplicate: false })))
    }

    fn weighed(&self, order: &Order, now: Stamp) -> Result<(), order::Refused> {
        self.engine.weigh(order, now).map(drop).map_err(order::Refused::from)
    }

    /// The line that gives the consumer the command, now that it is its turn.
    fn line_of(&self, submission: &Submission, now: Stamp) -> Result<&ShareLine, order::Refused> {
        let Order { command, asked, .. } = &submission.order;
        let mut lines = self.plan.shares.iter().filter(|line| line.id == asked.share);
        let line = lines.find(|line| line.carries_command(command, &asked.consumer, now.wall_ms));
        let line = line.ok_or(order::Refused::NotGiven)?;
        let holds = |id: ApprovalId| self.approvals.granted(&line.id, now.wall_ms).contains(&id);
        match (&line.tier, submission.under) {
            (Some(_), Some(id)) if holds(id) => Ok(line),
            (None, None) => Ok(line),
            _ => Err(order::Refused::NotGiven),
        }
    }

    fn order_entry(&self, submission: &Submission, object: String) -> Entry {
        let Order { command, asked, .. } = &submission.order;
        let line = self.plan.shares.iter().find(|line| line.id == asked.share);
        let paper = line.map(|line| line.approval.clone()).filter(|paper| !paper.is_empty());
        let detail = json!({ "command": command.as_str(), "arguments": asked.arguments });
        Entry {
            list: Some(format!("share/{}@{}", asked.share, self.policy_version)),
            purpose: line.map(|line| line.purpose.clone()),
            approval: submission.under.map(|id| id.to_string()).or(paper),
            ..Entry::by(asked.consumer.as_str(), "consumer", Action::CommandAccept, object).with(detail)
        }
    }

    fn order_refused(
        &mut self,
        txn: &mut Txn<'_>,
        submission: &Submission,
        refused: Refused,
        now: Stamp,
    ) -> Result<Result<Done, Refused>, StoreError> {
        let word = match &refused {
            Refused::Order(refused) => refused.word(),
            Refused::Approval(refused) => refused.word(),
            _ => "refused",
        };
        let Order { command, asked, .. } = &submission.order;
        if self.refusals.is_told(&asked.consumer, Action::CommandRefuse, now) {
            let known = self.plan.rules.commands.iter().any(|known| known.id == *command);
            // A command that nobody knows is a text of the caller's, and so are its arguments.
            let object = if known { format!("command:{command}") } else { "command".to_owned() };
            let entry = Entry::by(asked.consumer.as_str(), "consumer", Action::CommandRefuse, object);
            txn.audit(&entry.not(Outcome::Denied, word), now)?;
        }
        Ok(Err(refused))
    }

    /// Of the runs that a store kept those that go on, and those that end because who asked for them may not any more.
    pub(super) fn orders_left(&self, runs: Vec<Run>, now: Stamp) -> (Vec<Run>, Vec<Run>) {
        let (mut left, mut withdrawn) = (Vec::new(), Vec::new());
        for mut run in runs {
            let gone = self.is_gone(&run) && run.withdrawn(now.wall_ms);
            if gone { &mut withdrawn } else { &mut left }.push(run);
        }
        (left, withdrawn)
    }

    fn is_gone(&self, run: &Run) -> bool {
        let Some(asked) = &run.asked else { return false };
        let command = self.plan.rules.commands.iter().find(|command| command.id == run.command);
        let is_given =
            |line: &ShareLine| line.id == asked.share && line.gives_command(&run.command, &asked.consumer);
        // What is no command any more the engine ends.
        let is_doable = |arguments: &Arguments| command.is_none_or(|known| known.doing(arguments).is_some());
        !self.plan.shares.iter().any(is_given) || !is_doable(&asked.arguments)
    }

    /// The record of an order that is over.
    pub(super) fn order_ended(&mut self, txn: &mut Txn<'_>, run: &Run, now: Stamp) -> Result<(), StoreError> {
        let Some(asked) = &run.asked else { return Ok(()) };
        let end = order_end(OrderEnd {
            run: run.id,
            command: run.command.clone(),
            request: asked.request.clone(),
            status: run.stage.as_str(),
            detail: run.told(),
            at_ms: run.changed_ms,
        });
        let line = self.plan.shares.iter().find(|line| line.id == asked.share);
        let (gateway, version) = (&self.plan.gateway, self.policy_version);
        let sealed = wire::result(gateway, &asked.share, line, version, &end, now.wall_ms);
        txn.seal(Lane::Result, &sealed, now.wall_ms).map(drop)
    }
}

/// An answer that was kept.
fn answered(kept: &str) -> Result<Taken, StoreError> {
    let read = || {
        let value: serde_json::Value = serde_json::from_str(kept).ok()?;
        let (id, stage) = (value["run"].as_u64()?, Stage::named(value["stage"].as_str()?)?);
        Some(Taken::Run { id, stage, duplicate: true })
    };
    read().ok_or_else(|| StoreError::Damaged("reply.answer is not what an order was answered".into()))
}

#[cfg(test)]
mod tests;
