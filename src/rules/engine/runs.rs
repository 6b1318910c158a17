//! Runs of commands: ordered by incidents, held by people and interlocks, ended by what the device says or by time.

use super::{Engine, Outcome};
use crate::model::{IncidentId, Stamp};
use crate::rules::cel::Verdict;
use crate::rules::command::{Next, NotTaken, ORDERS_MAX, Order, Refused, Run, Stage};
use crate::rules::due::Due;

impl Engine {
    /// Orders a run of a command of the plan; sends it at once where nobody has to agree. Gives its number.
    pub(super) fn order_run(&mut self, command: usize, incident: Option<IncidentId>, now: Stamp) -> u64 {
        let run = Run::ordered(self.numbers.run + 1, &self.plan.commands[command], incident, now.wall_ms);
        self.begin_run(run, now)
    }

    fn begin_run(&mut self, run: Run, now: Stamp) -> u64 {
        let id = run.id;
        self.numbers.run = id;
        let due = Due::at(now, run.expires_ms);
        let is_accepted = run.stage == Stage::Accepted;
        self.runs.insert(id, (run, due));
        if is_accepted {
            self.send(id, now)
        } else {
            self.run_changed(id)
        }
        id
    }

    /// Whether an order of a consumer would be taken now; gives the command's index.
    ///
    /// # Errors
    /// Why not.
    pub fn weigh(&self, order: &Order, now: Stamp) -> Result<usize, NotTaken> {
        let id = &order.command;
        let found = self.plan.commands.iter().position(|command| command.id == *id);
        let at = found.ok_or_else(|| NotTaken::Unknown(id.clone()))?;
        let command = &self.plan.commands[at];
        if command.doing(&order.asked.arguments).is_none() {
            return Err(NotTaken::Arguments { command: id.clone(), takes: command.takes() });
        }
        if order.expect_state.is_some() && command.state.is_none() {
            return Err(NotTaken::Stateless(id.clone()));
        }
        if order.not_after_ms <= now.wall_ms {
            return Err(NotTaken::Late(id.clone()));
        }
        let state = self.states[at].and_then(|cell| self.memory.seen(cell, now.wall_ms));
        if order.state_is(state) == Some(false) {
            return Err(NotTaken::State(id.clone()));
        }
        if self.interlock(at, now).is_some_and(|verdict| verdict != Verdict::Holds) {
            return Err(NotTaken::Interlock(id.clone()));
        }
        if self.runs.values().filter(|(run, _)| run.asked.is_some()).count() >= ORDERS_MAX {
            return Err(NotTaken::Full(ORDERS_MAX));
        }
        Ok(at)
    }

    /// Takes an order of a consumer; sends it at once where nobody has to agree.
    ///
    /// # Errors
    /// As [`Engine::weigh`]: nothing has changed.
    pub fn order_asked(&mut self, order: &Order, now: Stamp) -> Result<Run, NotTaken> {
        let at = self.weigh(order, now)?;
        let run = Run::asked(self.numbers.run + 1, &self.plan.commands[at], order, now.wall_ms);
        let id = self.begin_run(run.clone(), now);
        Ok(self.told_run(id).unwrap_or(run))
    }

    /// A run as the newest outcome has it: one that has ended is not open any more.
    fn told_run(&self, id: u64) -> Option<Run> {
        self.out.iter().rev().find_map(|outcome| match outcome {
            Outcome::Run(run) if run.id == id => Some(run.clone()),
            _ => None,
        })
    }

    /// Somebody agrees to a run. None when there is no such run; the inner error when he cannot.
    pub fn approve(&mut self, id: u64, by: &str, now: Stamp) -> Option<Result<Run, Refused>> {
        let (run, _) = self.runs.get_mut(&id)?;
        let command = self.plan.commands.iter().find(|command| command.id == run.command)?;
        match run.approved(command, by, now.wall_ms) {
            Err(why) => {
                // One whose time was over has ended with it.
                if run.stage.is_final() {
                    self.run_changed(id);
                }
                return Some(Err(why));
            }
            Ok(true) => self.send(id, now),
            Ok(false) => self.run_changed(id),
        }
        self.told_run(id).map(Ok)
    }

    /// What became of sending a run. None when it has ended already.
    pub fn ran(&mut self, id: u64, end: &Result<(), String>, now: Stamp) -> Option<()> {
        let command = self.command_of(id)?;
        let expected = self.expects(command, now);
        let (run, _) = self.runs.get_mut(&id)?;
        if run.ran(end, expected, now.wall_ms) {
            self.run_changed(id);
        }
        Some(())
    }

    fn command_of(&self, id: u64) -> Option<usize> {
        let (run, _) = self.runs.get(&id)?;
        self.plan.commands.iter().position(|command| command.id == run.command)
    }

    pub(super) fn send(&mut self, id: u64, now: Stamp) {
        let Some(command) = self.command_of(id) else { return };
        let interlock = self.interlock(command, now);
        let Some((run, _)) = self.runs.get_mut(&id) else { return };
        let next = run.sending(interlock, now.wall_ms);
        if next != Next::Nothing {
            self.run_changed(id);
        }
        if next == Next::Send {
            self.out.push(Outcome::Send(id));
        }
    }

    /// What the interlock of a command comes to; none where it has none.
    fn interlock(&self, command: usize, now: Stamp) -> Option<Verdict> {
        let interlock = self.gates[command].0.as_ref().zip(self.plan.commands[command].interlock.as_ref());
        interlock.map(|(bound, condition)| bound.verdict(condition, &self.memory, &self.lists, now.wall_ms))
    }

    /// What the expected state of a command comes to; none where it has none.
    fn expects(&self, command: usize, now: Stamp) -> Option<Verdict> {
        let expect = self.gates[command].1.as_ref().zip(self.plan.commands[command].expect.as_ref());
        expect.map(|(bound, condition)| bound.verdict(condition, &self.memory, &self.lists, now.wall_ms))
    }

    /// Looks whether what runs are to bring about is there.
    pub(super) fn expected(&mut self, now: Stamp) {
        let waits = |(run, _): &&(Run, Due)| run.stage == Stage::Sent;
        let waiting: Vec<u64> = self.runs.values().filter(waits).map(|(run, _)| run.id).collect();
        for id in waiting {
            let Some(command) = self.command_of(id) else { continue };
            let Some(verdict) = self.expects(command, now) else { continue };
            let Some((run, _)) = self.runs.get_mut(&id) else { continue };
            if run.expected(verdict, now.wall_ms) {
                self.run_changed(id);
            }
        }
    }

    /// Ends what has run out of time.
    pub(super) fn runs_pass(&mut self, now: Stamp) {
        let over = |(_, due): &&(Run, Due)| due.is_over(now);
        let over: Vec<u64> = self.runs.values().filter(over).map(|(run, _)| run.id).collect();
        for id in over {
            let Some((run, _)) = self.runs.get_mut(&id) else { continue };
            if run.expire(now.wall_ms) {
                self.run_changed(id);
            }
        }
    }

    pub(super) fn run_changed(&mut self, id: u64) {
        let Some((run, _)) = self.runs.get(&id) else { return };
        let run = run.clone();
        if run.stage.is_final() {
            self.runs.remove(&id);
        }
        self.out.push(Outcome::Run(run));
    }
}
