//! Questions about incidents to the reading thread: for people, for the shells that tell and do, for the status.
//!
//! Guarantees: an answer is of one moment, newest first where nothing else is said, and of at most [`ROWS_MAX`] rows.

use super::{Feedback, all, one, rows};
use crate::model::{Event, IncidentId, LineId};
use crate::rules::command::Run;
use crate::rules::incident::Incident;
use crate::rules::maintenance::Maintenance;
use crate::rules::notice::Notice;
use crate::rules::pattern::fits;
use crate::store::StoreError;
use crate::store::reader::{ReadError, Reader};

/// Rows of an answer at most.
pub const ROWS_MAX: usize = 1000;

/// Which incidents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incidents {
    /// Only those that are not closed.
    pub open: bool,
    /// Pattern of the alarm's id, in which `*` stands for anything.
    pub alarm: String,
    /// Pattern of the device, likewise.
    pub device: String,
    /// Only those that changed at or after this, milliseconds since 1970 UTC.
    pub since_ms: Option<i64>,
    /// At most so many.
    pub limit: usize,
}

impl Default for Incidents {
    /// All that are open.
    fn default() -> Self {
        Self { open: true, alarm: "*".into(), device: "*".into(), since_ms: None, limit: ROWS_MAX }
    }
}

/// Which events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// Only those after the event of this number, oldest first; without it the newest, newest first.
    pub after: Option<u64>,
    /// Only those of this time or later, milliseconds since 1970 UTC.
    pub since_ms: Option<i64>,
    /// At most so many.
    pub limit: usize,
}

/// Which notices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notices {
    /// Only those that wait.
    pub waiting: bool,
    /// Only those to this recipient.
    pub recipient: Option<LineId>,
    /// Only those about this incident.
    pub incident: Option<IncidentId>,
    /// At most so many.
    pub limit: usize,
}

fn limit(wanted: usize) -> i64 {
    wanted.min(ROWS_MAX) as i64
}

impl Reader {
    /// Incidents, the newest first.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn incidents(&self, which: Incidents) -> Result<Vec<Incident>, ReadError> {
        self.ask(move |conn| {
            let open = if which.open { "life <> 'closed' AND" } else { "" };
            let find = rows::incidents(&format!("{open} changed_ms >= ?1 ORDER BY id DESC"));
            let mut statement = conn.prepare_cached(&find)?;
            let mut found = statement.query([which.since_ms.unwrap_or(i64::MIN)])?;
            let (mut incidents, limit) = (Vec::new(), which.limit.min(ROWS_MAX));
            while incidents.len() < limit {
                let Some(row) = found.next()? else { break };
                let names = (row.get_ref(1)?.as_str(), row.get_ref(2)?.as_str());
                let (Ok(alarm), Ok(device)) = names else {
                    return Err(StoreError::Damaged("incident: a name that is no text".into()));
                };
                if fits(&which.alarm, alarm) && fits(&which.device, device) {
                    incidents.push(rows::incident(row)?);
                }
            }
            Ok(incidents)
        })
        .await
    }

    /// One incident.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn incident(&self, id: IncidentId) -> Result<Option<Incident>, ReadError> {
        self.ask(move |conn| super::incident(conn, id)).await
    }

    /// The history of an incident, oldest first, with the numbers of the events; the newest [`ROWS_MAX`].
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn history(&self, incident: IncidentId) -> Result<Vec<(u64, Event)>, ReadError> {
        self.ask(move |conn| {
            let find = rows::events("incident = ?1 ORDER BY id DESC LIMIT ?2");
            let mut events = all(conn, &find, (incident.0 as i64, limit(ROWS_MAX)), rows::event)?;
            events.reverse();
            Ok(events)
        })
        .await
    }

    /// Events of all incidents, with their numbers, in the order that [`Events::after`] says.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn events(&self, which: Events) -> Result<Vec<(u64, Event)>, ReadError> {
        self.ask(move |conn| {
            let order = if which.after.is_some() { "ASC" } else { "DESC" };
            let find = rows::events(&format!("id > ?1 AND at_ms >= ?2 ORDER BY id {order} LIMIT ?3"));
            let after = which.after.unwrap_or(0) as i64;
            all(conn, &find, (after, which.since_ms.unwrap_or(i64::MIN), limit(which.limit)), rows::event)
        })
        .await
    }

    /// Notices, the newest first.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn notices(&self, which: Notices) -> Result<Vec<Notice>, ReadError> {
        self.ask(move |conn| {
            let waiting = if which.waiting { "fate = 'waiting' AND" } else { "" };
            let of = if which.incident.is_some() { "incident = ?2" } else { "?2 IS NULL" };
            let to = if which.recipient.is_some() { "recipient = ?1" } else { "?1 IS NULL" };
            let find = rows::notices(&format!("{waiting} {to} AND {of} ORDER BY id DESC LIMIT ?3"));
            let (recipient, incident) =
                (which.recipient.as_ref().map(|id| id.as_str()), which.incident.map(|id| id.0 as i64));
            all(conn, &find, (recipient, incident, limit(which.limit)), rows::notice)
        })
        .await
    }

    /// The notices to a recipient that wait and are due: what is critical first, then the oldest.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn due_notices(
        &self,
        recipient: &LineId,
        now_ms: i64,
        most: usize,
    ) -> Result<Vec<Notice>, ReadError> {
        let recipient = recipient.clone();
        self.ask(move |conn| {
            let find =
                rows::notices("recipient = ?1 AND fate = 'waiting' AND due_ms <= ?2 ORDER BY severity <> 'critical', id LIMIT ?3");
            all(conn, &find, (recipient.as_str(), now_ms, limit(most)), rows::notice)
        })
        .await
    }

    /// When the next notice to a recipient is due, milliseconds since 1970 UTC; none when none waits.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn next_due(&self, recipient: &LineId) -> Result<Option<i64>, ReadError> {
        let recipient = recipient.clone();
        self.ask(move |conn| {
            let find = "SELECT min(due_ms) FROM notice WHERE recipient = ? AND fate = 'waiting'";
            Ok(conn.prepare_cached(find)?.query_row([recipient.as_str()], |row| row.get(0))?)
        })
        .await
    }

    /// Runs of commands, the newest first; only those that are not over, or all.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn runs(&self, open: bool, most: usize) -> Result<Vec<Run>, ReadError> {
        self.ask(move |conn| {
            let open = if open { "stage IN ('waiting', 'accepted', 'sent')" } else { "true" };
            all(conn, &rows::runs(&format!("{open} ORDER BY id DESC LIMIT ?1")), [limit(most)], rows::run)
        })
        .await
    }

    /// The runs for an incident, oldest first.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn runs_of(&self, incident: IncidentId) -> Result<Vec<Run>, ReadError> {
        self.ask(move |conn| {
            let find = rows::runs("incident = ?1 ORDER BY id LIMIT ?2");
            all(conn, &find, (incident.0 as i64, limit(ROWS_MAX)), rows::run)
        })
        .await
    }

    /// One run.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn run(&self, id: u64) -> Result<Option<Run>, ReadError> {
        self.ask(move |conn| one(conn, &rows::runs("id = ?1"), [id as i64], rows::run)).await
    }

    /// Work that is going on, oldest first.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn maintenances(&self) -> Result<Vec<Maintenance>, ReadError> {
        self.ask(|conn| all(conn, rows::MAINTENANCES, [], rows::maintenance)).await
    }

    /// What consumers said about an incident, oldest first, with the numbers.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn feedback_of(&self, incident: IncidentId) -> Result<Vec<(u64, Feedback)>, ReadError> {
        self.ask(move |conn| {
            let find = rows::feedbacks("incident = ?1 ORDER BY id LIMIT ?2");
            all(conn, &find, (incident.0 as i64, limit(ROWS_MAX)), rows::feedback)
        })
        .await
    }
}
