//! Incidents and everything about them: what triggers remember, the history, the ledger of notices, runs of commands,
//! maintenance, and what the city said.
//!
//! Guarantees: a number that was given is never given again, also after its row is gone; what belongs to an incident goes
//! with it; a position of lane alarm leads to its incident as long as that is there, trimmed or not. What it does not do:
//! decide what follows from what (the rule engine does), look at a clock, or hide anything: names of persons and what they
//! wrote lie here, and leave by the local socket alone.

pub mod queries;
mod rows;
#[cfg(test)]
mod tests;
pub(super) mod trim;

use std::fmt;

use rusqlite::{Connection, OptionalExtension};

use super::error::StoreError;
use super::{Store, Txn};
use crate::model::{Consumer, DeviceId, Event, IncidentId, LineId, Seq, Step};
use crate::rules::command::Run;
use crate::rules::incident::Incident;
use crate::rules::maintenance::Maintenance;
use crate::rules::notice::Notice;

/// What a consumer said about a record, and what came of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Feedback {
    /// Who.
    pub consumer: Consumer,
    /// Chosen by the consumer; once for each thing said.
    pub request: String,
    /// The record's id, as it was delivered.
    pub record: String,
    /// What is to become of the incident.
    pub step: Step,
    /// In words.
    pub text: Box<str>,
    /// When it came, milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// The incident it is about, where the record is of one.
    pub incident: Option<IncidentId>,
    /// What came of it, in words.
    pub outcome: String,
}

impl fmt::Debug for Feedback {
    /// Without what somebody wrote.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feedback")
            .field("consumer", &self.consumer)
            .field("record", &self.record)
            .field("step", &self.step)
            .field("incident", &self.incident)
            .finish_non_exhaustive()
    }
}

/// The state of a trigger that is not normal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TriggerRow {
    /// The alarm.
    pub alarm: LineId,
    /// The device.
    pub device: DeviceId,
    /// In the trigger's own words.
    pub state: String,
}

/// The highest number of each kind that was ever given; 0 before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Of incidents.
    pub incident: u64,
    /// Of events in the history.
    pub event: u64,
    /// Of notices.
    pub notice: u64,
    /// Of runs.
    pub run: u64,
    /// Of maintenances.
    pub maintenance: u64,
    /// Of feedback.
    pub feedback: u64,
}

impl Txn<'_> {
    /// Stores where a trigger stands; `None` is normal.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_trigger(
        &mut self,
        alarm: &LineId,
        device: &DeviceId,
        state: Option<&str>,
    ) -> Result<(), StoreError> {
        let names = (alarm.as_str(), device.as_str());
        match state {
            Some(state) => self
                .conn
                .prepare_cached("INSERT OR REPLACE INTO trigger VALUES (?, ?, ?)")?
                .execute((names.0, names.1, state))?,
            None => self
                .conn
                .prepare_cached("DELETE FROM trigger WHERE alarm = ? AND device = ?")?
                .execute(names)?,
        };
        Ok(())
    }

    /// Stores an incident as it is now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_incident(&mut self, incident: &Incident) -> Result<(), StoreError> {
        rows::put_incident(self.conn, incident)
    }

    /// An incident by its number.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn incident(&self, id: IncidentId) -> Result<Option<Incident>, StoreError> {
        incident(self.conn, id)
    }

    /// Adds to the history and tells the event's number.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn add_event(&mut self, event: &Event) -> Result<u64, StoreError> {
        rows::put_event(self.conn, event)
    }

    /// Stores a notice as it is now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_notice(&mut self, notice: &Notice) -> Result<(), StoreError> {
        rows::put_notice(self.conn, notice)
    }

    /// A notice by its number.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn notice(&self, id: u64) -> Result<Option<Notice>, StoreError> {
        one(self.conn, &rows::notices("id = ?1"), [id as i64], rows::notice)
    }

    /// The notices that wait for the end of a run.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn waiting_notices_of_run(&self, run: u64) -> Result<Vec<Notice>, StoreError> {
        let find = rows::notices("run = ?1 AND run IS NOT NULL AND fate = 'waiting' ORDER BY id");
        all(self.conn, &find, [run as i64], rows::notice)
    }

    /// The notices to a recipient that wait for the acknowledgement of a position of lane alarm up to this one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn waiting_notices_upto(&self, recipient: &LineId, upto: Seq) -> Result<Vec<Notice>, StoreError> {
        let find = rows::notices("recipient = ?1 AND fate = 'waiting' AND seq <= ?2 ORDER BY id");
        all(self.conn, &find, (recipient.as_str(), upto.0 as i64), rows::notice)
    }

    /// The notices that wait for a recipient, however it is reached.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn waiting_notices_to(&self, recipient: &LineId) -> Result<Vec<Notice>, StoreError> {
        let find = rows::notices("recipient = ?1 AND fate = 'waiting' ORDER BY id");
        all(self.conn, &find, [recipient.as_str()], rows::notice)
    }

    /// Stores a run as it is now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_run(&mut self, run: &Run) -> Result<(), StoreError> {
        rows::put_run(self.conn, run)
    }

    /// A run by its number.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn run(&self, id: u64) -> Result<Option<Run>, StoreError> {
        one(self.conn, &rows::runs("id = ?1"), [id as i64], rows::run)
    }

    /// Stores work that is going on.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_maintenance(&mut self, maintenance: &Maintenance) -> Result<(), StoreError> {
        rows::put_maintenance(self.conn, maintenance)
    }

    /// Forgets work that is over.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn drop_maintenance(&mut self, id: u64) -> Result<(), StoreError> {
        self.conn.prepare_cached("DELETE FROM maintenance WHERE id = ?")?.execute([id as i64])?;
        Ok(())
    }

    /// Remembers which incident a position of lane alarm is of.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn link_record(&mut self, seq: Seq, incident: IncidentId) -> Result<(), StoreError> {
        self.conn
            .prepare_cached("INSERT OR REPLACE INTO record_incident VALUES (?, ?)")?
            .execute((seq.0 as i64, incident.0 as i64))?;
        Ok(())
    }

    /// The incident that a position of lane alarm is of, trimmed or not.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn incident_of_record(&self, seq: Seq) -> Result<Option<IncidentId>, StoreError> {
        let find = "SELECT incident FROM record_incident WHERE seq = ?";
        let found: Option<i64> =
            self.conn.prepare_cached(find)?.query_row([seq.0 as i64], |row| row.get(0)).optional()?;
        Ok(found.map(|id| IncidentId(id.unsigned_abs())))
    }

    /// Adds what a consumer said and tells its number.
    ///
    /// # Errors
    /// [`StoreError`]; also when the consumer has said something under this request before ([`Txn::feedback`]).
    pub fn add_feedback(&mut self, feedback: &Feedback) -> Result<u64, StoreError> {
        rows::put_feedback(self.conn, feedback)
    }

    /// What a consumer said under a request, with its number.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn feedback(
        &self,
        consumer: &Consumer,
        request: &str,
    ) -> Result<Option<(u64, Feedback)>, StoreError> {
        let find = rows::feedbacks("consumer = ?1 AND request = ?2");
        one(self.conn, &find, (consumer.as_str(), request), rows::feedback)
    }
}

impl Store {
    /// Triggers that are not normal; one whose names this build would not take is left out.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn triggers(&self) -> Result<Vec<TriggerRow>, StoreError> {
        let found = all(&self.conn, "SELECT alarm, device, state FROM trigger", [], |row| {
            let (alarm, device): (String, String) = (row.get(0)?, row.get(1)?);
            let state = row.get(2)?;
            let names = alarm.parse().ok().zip(device.parse().ok());
            Ok(names.map(|(alarm, device)| TriggerRow { alarm, device, state }))
        })?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Incidents that are not closed, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn incidents_open(&self) -> Result<Vec<Incident>, StoreError> {
        all(&self.conn, &rows::incidents("life <> 'closed' ORDER BY id"), [], rows::incident)
    }

    /// An incident by its number.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn incident(&self, id: IncidentId) -> Result<Option<Incident>, StoreError> {
        incident(&self.conn, id)
    }

    /// Of each (alarm, device) the incident that was closed last, where that is after a moment (milliseconds since 1970
    /// UTC): what a cool-down is measured from.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn closed_last(&self, after_ms: i64) -> Result<Vec<Incident>, StoreError> {
        let find = rows::incidents(
            "life = 'closed' AND changed_ms > ?1 AND id = (SELECT o.id FROM incident o
             WHERE o.alarm = incident.alarm AND o.device = incident.device AND o.life = 'closed'
             ORDER BY o.changed_ms DESC, o.id DESC LIMIT 1) ORDER BY id",
        );
        all(&self.conn, &find, [after_ms], rows::incident)
    }

    /// The highest numbers ever given.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn numbers(&self) -> Result<Numbers, StoreError> {
        let mut numbers = Numbers::default();
        let mut statement = self.conn.prepare("SELECT name, seq FROM sqlite_sequence")?;
        let mut found = statement.query([])?;
        while let Some(row) = found.next()? {
            let last = row.get::<_, i64>(1)?.unsigned_abs();
            match row.get_ref(0)?.as_str().unwrap_or("") {
                "incident" => numbers.incident = last,
                "history" => numbers.event = last,
                "notice" => numbers.notice = last,
                "run" => numbers.run = last,
                "maintenance" => numbers.maintenance = last,
                "feedback" => numbers.feedback = last,
                _ => {}
            }
        }
        Ok(numbers)
    }

    /// Runs that are not over, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn runs_open(&self) -> Result<Vec<Run>, StoreError> {
        let find = rows::runs("stage IN ('waiting', 'accepted', 'sent') ORDER BY id");
        all(&self.conn, &find, [], rows::run)
    }

    /// Work that is going on, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn maintenances(&self) -> Result<Vec<Maintenance>, StoreError> {
        all(&self.conn, rows::MAINTENANCES, [], rows::maintenance)
    }

    /// How many notices wait, by recipient.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn waiting_notices(&self) -> Result<Vec<(LineId, u64)>, StoreError> {
        let count = "SELECT recipient, count(*) FROM notice WHERE fate = 'waiting' GROUP BY recipient";
        all(&self.conn, count, [], |row| {
            Ok((rows::name(row, 0, "notice.recipient")?, row.get::<_, i64>(1)?.unsigned_abs()))
        })
    }
}

fn incident(conn: &Connection, id: IncidentId) -> Result<Option<Incident>, StoreError> {
    one(conn, &rows::incidents("id = ?1"), [id.0 as i64], rows::incident)
}

/// Every row of an answer.
fn all<T>(
    conn: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
    read: impl Fn(&rusqlite::Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut found = statement.query(params)?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        rows.push(read(row)?);
    }
    Ok(rows)
}

/// The first row of an answer.
fn one<T>(
    conn: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
    read: impl Fn(&rusqlite::Row<'_>) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut found = statement.query(params)?;
    found.next()?.map(read).transpose()
}
