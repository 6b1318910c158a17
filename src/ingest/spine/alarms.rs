//! What the rule engine brings forth, in the transaction of what it follows from: rows, sealed events, notices in the
//! ledger; and what people, shells and the city do to it.
//!
//! Guarantees: an event and everything that follows from it are committed together or not at all; a run is handed out for
//! sending only by what was committed; every notice ends in a fate with its proof.

use std::collections::HashMap;

use super::Spine;
use crate::audit::{Action, Entry};
use crate::ingest::Plan;
use crate::ingest::act::{Act, Done, Errand, Feedback, Refused, Told};
use crate::model::{Actor, Consumer, DeviceId, Event, IncidentId, Lane, LineId, Seq, Stamp, Step};
use crate::rules::command::{self, Arguments, Run, Stage};
use crate::rules::engine::{Engine, Kept, MAINTENANCES_MAX, Numbers, Outcome};
use crate::rules::incident::{self, Incident, Order};
use crate::rules::notice::{Channel, Fate, Notice};
use crate::store::alarms::Feedback as Said;
use crate::store::{Store, StoreError, Txn};
use crate::wire;

/// Notices that may wait for one recipient; one more is dropped, and its ledger says so.
pub const WAITING_MAX: u64 = 1000;

/// Something that happened to an incident in a batch; for the log, after the commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlarmChange {
    /// Its number.
    pub incident: IncidentId,
    /// The alarm's id.
    pub alarm: LineId,
    /// The device.
    pub device: DeviceId,
    /// What happened.
    pub step: Step,
    /// Who did it: "gateway", "person" or "consumer".
    pub by: &'static str,
    /// When, milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// It was over already: the city said so too late, and nothing changed.
    pub is_late: bool,
}

/// What a batch leaves to be done once it is committed.
#[derive(Debug, Default)]
pub struct After {
    /// For the log.
    pub changes: Vec<AlarmChange>,
    /// To be sent.
    pub errands: Vec<Errand>,
    /// Whether the ledger of notices has changed.
    pub notices: bool,
}

/// What the spine keeps beside the engine.
#[derive(Default)]
pub(super) struct Alarms {
    /// Notices that wait, by recipient.
    waiting: HashMap<LineId, u64>,
    /// Where the newest event was sealed, by consumer.
    sealed: Vec<(Consumer, Seq)>,
    after: After,
}

impl Spine {
    /// Takes up what the store kept of alarms. After the folds: conditions read what they remember. `goes_on`: see
    /// [`Kept::goes_on`].
    pub(super) fn restore_alarms(
        &mut self,
        store: &mut Store,
        goes_on: bool,
        now: Stamp,
    ) -> Result<(), StoreError> {
        let longest = self.plan.rules.alarms.iter().map(|alarm| alarm.cooldown_ms).max().unwrap_or(0);
        let since_ms = now.wall_ms.saturating_sub(i64::try_from(longest).unwrap_or(i64::MAX));
        let triggers = store.triggers()?.into_iter().map(|row| (row.alarm, row.device, row.state));
        let closed =
            store.closed_last(since_ms)?.into_iter().map(|last| (last.alarm, last.device, last.changed_ms));
        let numbers = store.numbers()?;
        let (runs, withdrawn) = self.orders_left(store.runs_open()?, now);
        let kept = Kept {
            triggers: triggers.collect(),
            incidents: store.incidents_open()?,
            closed: closed.collect(),
            runs,
            maintenances: store.maintenances()?,
            numbers: Numbers {
                incident: numbers.incident,
                notice: numbers.notice,
                run: numbers.run,
                maintenance: numbers.maintenance,
            },
            goes_on,
        };
        self.alarms.waiting = store.waiting_notices()?.into_iter().collect();
        self.engine.restore(kept, now);
        self.engine.look_into_lists(now);
        let mut txn = store.begin()?;
        for run in &withdrawn {
            self.run(&mut txn, run, now)?;
        }
        self.follow(&mut txn, now)?;
        self.give_up(&mut txn, now)?;
        txn.commit()
    }

    /// Seals the fate of what waits for somebody who is not configured any more, or is reached in another way now: nothing
    /// would ever come of it.
    fn give_up(&mut self, txn: &mut Txn<'_>, now: Stamp) -> Result<(), StoreError> {
        for id in self.alarms.waiting.keys().cloned().collect::<Vec<_>>() {
            let recipient = self.plan.rules.recipients.iter().find(|recipient| recipient.id == id);
            let channel = recipient.map(|recipient| recipient.channel.clone());
            for notice in txn.waiting_notices_to(&id)? {
                let why = match &channel {
                    Some(Channel::Webhook) => continue,
                    Some(Channel::Lane(_)) if notice.seq.is_some() => continue,
                    Some(Channel::Command(_)) if notice.run.is_some() => continue,
                    Some(_) => "the recipient is reached in another way now",
                    None => "the recipient is no longer configured",
                };
                self.fate(txn, notice, Fate::Dropped, why.to_owned(), now)?;
            }
        }
        Ok(())
    }

    /// Writes what follows from what the engine has just taken.
    pub(super) fn follow(&mut self, txn: &mut Txn<'_>, now: Stamp) -> Result<(), StoreError> {
        for outcome in self.engine.take() {
            match outcome {
                Outcome::Trigger(alarm, device, state) => {
                    txn.set_trigger(&alarm, &device, state.as_deref())?
                }
                Outcome::Event(event, incident) => self.event(txn, &event, &incident, now)?,
                Outcome::Incident(incident) => txn.set_incident(&incident)?,
                Outcome::Notice(notice) => self.notice(txn, notice, now)?,
                Outcome::Run(run) => self.run(txn, &run, now)?,
                Outcome::Send(run) => self.send(run),
                Outcome::Maintenance(work, true) => txn.set_maintenance(&work)?,
                Outcome::Maintenance(work, false) => txn.drop_maintenance(work.id)?,
            }
        }
        Ok(())
    }

    fn event(
        &mut self,
        txn: &mut Txn<'_>,
        event: &Event,
        incident: &Incident,
        now: Stamp,
    ) -> Result<(), StoreError> {
        txn.set_incident(incident)?;
        txn.add_event(event)?;
        self.alarms.sealed.clear();
        for share in self.plan.shares.iter().filter(|share| share.lane == Lane::Alarm) {
            let Some(cleared) = share.event(event, now.wall_ms) else { continue };
            let (gateway, manual) = (&self.plan.gateway, self.manual.device(&incident.device));
            let sealed = wire::event(gateway, share, self.policy_version, &cleared, manual, now.wall_ms);
            let seq = txn.seal(Lane::Alarm, &sealed, now.wall_ms)?;
            txn.link_record(seq, event.incident)?;
            self.alarms.sealed.extend(share.consumers.iter().map(|consumer| (consumer.clone(), seq)));
        }
        self.alarms.after.changes.push(AlarmChange {
            incident: event.incident,
            alarm: event.alarm.clone(),
            device: incident.device.clone(),
            step: event.step,
            by: event.by.kind(),
            at_ms: event.at_ms,
            is_late: false,
        });
        Ok(())
    }

    /// A new notice: one that cannot be told has its fate at once.
    fn notice(&mut self, txn: &mut Txn<'_>, mut notice: Notice, now: Stamp) -> Result<(), StoreError> {
        self.alarms.after.notices = true;
        if notice.fate != Fate::Waiting {
            return txn.set_notice(&notice);
        }
        let recipient = self.plan.rules.recipients.iter().find(|recipient| recipient.id == notice.recipient);
        let mut lost = None;
        if let Some(Channel::Lane(consumer)) = recipient.map(|recipient| &recipient.channel) {
            let sealed = self.alarms.sealed.iter().find(|(other, _)| other == consumer);
            notice.seq = sealed.map(|(_, seq)| *seq);
            if notice.seq.is_none() {
                lost = Some("no line of the share list carries it to the recipient".to_owned());
            }
        }
        let waiting = self.alarms.waiting.entry(notice.recipient.clone()).or_default();
        if *waiting >= WAITING_MAX {
            lost = Some(format!("{WAITING_MAX} notices wait for the recipient"));
        }
        if let Some(why) = lost {
            end(&mut notice, Fate::Dropped, why, now);
            return txn.set_notice(&notice);
        }
        *waiting += 1;
        txn.set_notice(&notice)?;
        // An interlock may have ended the run before there was a notice of it.
        match notice.run.map(|run| txn.run(run)).transpose()?.flatten() {
            Some(run) if run.stage.is_final() => self.run_ended(txn, &run, now),
            _ => Ok(()),
        }
    }

    /// Seals the fate of a notice that waits.
    pub(super) fn fate(
        &mut self,
        txn: &mut Txn<'_>,
        mut notice: Notice,
        fate: Fate,
        proof: String,
        now: Stamp,
    ) -> Result<(), StoreError> {
        if let Some(waiting) = self.alarms.waiting.get_mut(&notice.recipient) {
            *waiting = waiting.saturating_sub(1);
        }
        end(&mut notice, fate, proof, now);
        self.alarms.after.notices = true;
        txn.set_notice(&notice)
    }

    fn run(&mut self, txn: &mut Txn<'_>, run: &Run, now: Stamp) -> Result<(), StoreError> {
        let before = txn.run(run.id)?.map(|run| run.stage);
        txn.set_run(run)?;
        self.run_told(txn, before, run, now)?;
        if !run.stage.is_final() {
            return Ok(());
        }
        self.order_ended(txn, run, now)?;
        self.run_ended(txn, run, now)
    }

    /// What a run that is over proves.
    fn run_ended(&mut self, txn: &mut Txn<'_>, run: &Run, now: Stamp) -> Result<(), StoreError> {
        for notice in txn.waiting_notices_of_run(run.id)? {
            let fate = if run.stage == Stage::Done { Fate::Delivered } else { Fate::Dropped };
            let proof = format!("run {} is {}: {}", run.id, run.stage.as_str(), run.detail);
            self.fate(txn, notice, fate, proof, now)?;
        }
        Ok(())
    }

    fn send(&mut self, id: u64) {
        let Some(run) = self.engine.run(id) else { return };
        let commands = &self.plan.rules.commands;
        let Some(command) = commands.iter().find(|command| command.id == run.command) else { return };
        let none = Arguments::new();
        let arguments = run.asked.as_ref().map_or(&none, |asked| &asked.arguments);
        let Some(action) = command.doing(arguments) else { return };
        self.alarms.after.errands.push(Errand {
            run: id,
            device: command.device.clone(),
            action: action.clone(),
            expires_ms: run.expires_ms,
        });
    }

    /// A consumer has acknowledged the alarm lane up to a position: what it was told there has arrived.
    ///
    /// # Errors
    /// [`StoreError`]; the spine must be opened anew then.
    pub fn acknowledged(
        &mut self,
        txn: &mut Txn<'_>,
        consumer: &Consumer,
        upto: Seq,
        now: Stamp,
    ) -> Result<(), StoreError> {
        let theirs = Channel::Lane(consumer.clone());
        let recipients = self.plan.rules.recipients.iter().filter(|recipient| recipient.channel == theirs);
        for recipient in recipients.map(|recipient| recipient.id.clone()).collect::<Vec<_>>() {
            if self.alarms.waiting.get(&recipient).is_none_or(|waiting| *waiting == 0) {
                continue;
            }
            for notice in txn.waiting_notices_upto(&recipient, upto)? {
                let proof = format!("acknowledged: lane alarm up to {upto}");
                self.fate(txn, notice, Fate::Delivered, proof, now)?;
            }
        }
        Ok(())
    }

    /// Does what somebody wants.
    ///
    /// # Errors
    /// [`StoreError`]; the spine must be opened anew then. The inner error when nothing was changed.
    pub fn act(
        &mut self,
        txn: &mut Txn<'_>,
        act: &Act,
        now: Stamp,
    ) -> Result<Result<Done, Refused>, StoreError> {
        let done = match act {
            Act::Order(order) => self.engine.order(order, now).map(Done::Incident).map_err(Refused::from),
            Act::Maintain(work) => {
                let work = self.engine.maintain(work, now).map(Done::Maintenance);
                work.ok_or(Refused::Maintenances(MAINTENANCES_MAX))
            }
            Act::Resume { maintenance, by: _ } => {
                let work = self.engine.resume(*maintenance).map(Done::Maintenance);
                work.ok_or(Refused::Maintenance(*maintenance))
            }
            Act::Approve { run, by } => match self.engine.approve(*run, by, now) {
                None => Err(Refused::Run(*run)),
                Some(Err(command::Refused::NotWaiting)) => Err(Refused::Run(*run)),
                Some(Err(command::Refused::Again)) => Err(Refused::Again(*run)),
                Some(Ok(run)) => Ok(Done::Run(run)),
            },
            Act::Ran { run, end } => {
                // One that has ended meanwhile stays as it ended.
                let _ = self.engine.ran(*run, end, now);
                Ok(Done::Noted)
            }
            Act::Told { notices, end } => {
                self.notices_told(txn, notices, end, now)?;
                Ok(Done::Noted)
            }
            Act::Feedback(feedback) => self.feedback(txn, feedback, now)?,
            Act::SharedList(put) => self.put_list(txn, put, now)?,
            Act::Approval(order) => self.approval(txn, order, now)?,
            Act::Submit(submission) => self.submit(txn, submission, now)?,
            Act::Enter(submission) => self.enter(txn, submission, now)?,
            Act::Check(check) => self.check_entry(txn, check, now)?,
            Act::Delivered(delivered) => {
                txn.audit(&delivered.entry(), now)?;
                return Ok(Ok(Done::Noted));
            }
            Act::Queried(queried) => return Ok(Ok(Done::Row(txn.audit(&queried.entry(), now)?))),
            Act::Keys(turned) => {
                self.keys_told(txn, turned, now)?;
                return Ok(Ok(Done::Noted));
            }
            Act::Denied(denied) => {
                txn.audit(&denied.entry(), now)?;
                return Ok(Ok(Done::Noted));
            }
        };
        self.follow(txn, now)?;
        Ok(done)
    }

    fn notices_told(
        &mut self,
        txn: &mut Txn<'_>,
        notices: &[u64],
        told: &Told,
        now: Stamp,
    ) -> Result<(), StoreError> {
        for id in notices {
            let Some(mut notice) = txn.notice(*id)?.filter(|notice| notice.fate == Fate::Waiting) else {
                continue;
            };
            notice.tries += 1;
            match told {
                Told::Delivered(proof) => self.fate(txn, notice, Fate::Delivered, proof.clone(), now)?,
                Told::Expired(why) => self.fate(txn, notice, Fate::Expired, why.clone(), now)?,
                Told::Failed { why, again_ms } => {
                    notice.proof.clone_from(why);
                    notice.due_ms = notice.due_ms.max(*again_ms);
                    txn.set_notice(&notice)?;
                }
            }
        }
        Ok(())
    }

    /// What the city says about a record: once, and then the same answer.
    fn feedback(
        &mut self,
        txn: &mut Txn<'_>,
        feedback: &Feedback,
        now: Stamp,
    ) -> Result<Result<Done, Refused>, StoreError> {
        if let Some((id, _)) = txn.feedback(&feedback.consumer, &feedback.request)? {
            return Ok(Ok(Done::Feedback { id, duplicate: true }));
        }
        let unknown = || Ok(Err(Refused::Record(feedback.record.clone())));
        let Some(seq) = txn.seq_of(Lane::Alarm, &feedback.record) else { return unknown() };
        let Some(incident) = txn.incident_of_record(seq)? else { return unknown() };
        let Some(Incident { alarm, device, .. }) = txn.incident(incident)? else { return unknown() };
        if !self.plan.shares.iter().any(|share| share.carries_alarm(&alarm, &feedback.consumer, now.wall_ms))
        {
            return unknown();
        }
        let order = Order {
            incident,
            step: feedback.step,
            by: Actor::Consumer(feedback.consumer.clone()),
            reason: feedback.text.clone(),
        };
        let outcome = match self.engine.order(&order, now) {
            Ok(_) => "taken".to_owned(),
            // What comes too late is kept all the same: somebody has said it.
            Err(incident::Refused::Past(..) | incident::Refused::Unknown(_)) => "late".to_owned(),
            Err(refused) => return Ok(Err(refused.into())),
        };
        let Feedback { consumer, request, record, step, text } = feedback.clone();
        let at_ms = now.wall_ms;
        if outcome == "late" {
            let by = order.by.kind();
            self.alarms.after.changes.push(AlarmChange {
                incident,
                alarm,
                device,
                step,
                by,
                at_ms,
                is_late: true,
            });
        }
        let kept = Said { consumer, request, record, step, text, at_ms, incident: Some(incident), outcome };
        let id = txn.add_feedback(&kept)?;
        let entry = Entry::by(kept.consumer.as_str(), "consumer", Action::FeedbackAccept, kept.record);
        let detail = serde_json::json!({
            "feedback": id, "step": kept.step.as_str(), "incident": incident.0, "outcome": kept.outcome,
        });
        txn.audit(&entry.with(detail), now)?;
        Ok(Ok(Done::Feedback { id, duplicate: false }))
    }

    /// What is to be done after the commit.
    pub fn take_after(&mut self) -> After {
        std::mem::take(&mut self.alarms.after)
    }
}

fn end(notice: &mut Notice, fate: Fate, proof: String, now: Stamp) {
    notice.fate = fate;
    notice.proof = proof;
    notice.done_ms = Some(now.wall_ms);
}

/// An engine for the points of a plan.
pub(super) fn engine(plan: &Plan) -> Engine {
    let names = plan.points.iter().zip(0..).filter_map(|(point, index)| {
        let point = point.as_ref()?;
        Some(((point.device.clone(), point.metric.clone()), crate::model::SeriesKey(index)))
    });
    let names: HashMap<_, _> = names.collect();
    Engine::new(plan.rules.clone(), |device, metric| names.get(&(device.clone(), metric.clone())).copied())
}
