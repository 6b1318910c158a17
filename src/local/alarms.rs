//! Incidents, as the local socket tells them and takes orders about them.
//!
//! Guarantees: what is told is what is committed; what is ordered goes the one way through and is answered after its
//! commit; every order is logged with the caller's user id, and without the name or the words that came with it. Who may
//! open the socket may do all of this; the name that is given is believed. What it does not do: decide what may follow
//! what (the rule engine does).

mod told;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Response, Status};

use crate::clock::Clock;
use crate::ingest::act::{Act, Done, Refused};
use crate::ingest::{Intake, Stopped};
use crate::model::{Actor, DeviceId, IncidentId, LineId, Place, Step};
use crate::rules::incident::{self, Order};
use crate::rules::maintenance::Maintenance;
use crate::rules::plan::Plan;
use crate::store::alarms::queries::{Events, Incidents, Notices, ROWS_MAX};
use crate::store::reader::{ReadError, Reader};
use crate::wire::bus as wire;
use crate::wire::bus::alarm_service_server::AlarmService;

/// Longest name of a person, characters.
const NAME_MAX: usize = 64;
/// Longest reason, characters.
const REASON_MAX: usize = 500;
/// Longest maintenance: who forgets to end it gets the alarms back, milliseconds.
const MAINTENANCE_MS_MAX: u64 = 30 * 86_400_000;

/// The service; clones are the same.
#[derive(Clone)]
pub struct Alarms(Arc<Inner>);

struct Inner {
    reader: Reader,
    intake: Intake,
    clock: Arc<dyn Clock>,
    known: RwLock<Arc<Known>>,
}

/// What the configuration in force says of alarms and devices.
#[derive(Default)]
struct Known {
    /// Title and advice by alarm.
    alarms: HashMap<LineId, (String, String)>,
    places: HashMap<DeviceId, Place>,
    zone_ms: i64,
}

impl Alarms {
    /// Over the store and the writer of this process.
    #[must_use]
    pub fn new(reader: Reader, intake: Intake, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner { reader, intake, clock, known: RwLock::default() }))
    }

    /// Takes the alarms and places of the configuration in force, in place of those before.
    pub fn set(&self, plan: &Plan) {
        let alarms = plan.alarms.iter().map(|alarm| {
            let words = (alarm.title.clone(), alarm.advice.clone());
            (alarm.id.clone(), words)
        });
        let places = plan.devices.iter().filter_map(|(device, known)| {
            let place = known.place.clone()?;
            Some((device.clone(), place))
        });
        let known = Known { alarms: alarms.collect(), places: places.collect(), zone_ms: plan.zone_ms };
        *self.0.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
    }

    fn known(&self) -> Arc<Known> {
        self.0.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn act(&self, act: Act) -> Result<Done, Status> {
        match self.0.intake.act(act).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(refused(&error)),
            Err(stopped @ Stopped) => Err(Status::unavailable(stopped.to_string())),
        }
    }
}

fn refused(error: &Refused) -> Status {
    let text = error.to_string();
    match error {
        Refused::Incident(incident::Refused::Unknown(_)) | Refused::Maintenance(_) | Refused::Run(_) => {
            Status::not_found(text)
        }
        _ => Status::failed_precondition(text),
    }
}

pub(super) fn unread(error: ReadError) -> Status {
    Status::unavailable(error.to_string())
}

/// The writer answered something that is no answer to this.
fn beside() -> Status {
    Status::internal("the store answered something else; `smallbrain alarms` shows what is")
}

/// Who is behind the socket, as the system knows it.
fn uid<T>(request: &Request<T>) -> String {
    let caller = request.extensions().get::<UdsConnectInfo>().and_then(|info| info.peer_cred);
    caller.map_or_else(|| "unknown".to_owned(), |caller| caller.uid().to_string())
}

fn rows(limit: u32) -> usize {
    match limit {
        0 => ROWS_MAX,
        limit => ROWS_MAX.min(limit as usize),
    }
}

fn pattern(text: String) -> String {
    if text.is_empty() { "*".into() } else { text }
}

/// Words of a person: one line.
fn words(what: &str, text: &str, most: usize) -> Result<Box<str>, Status> {
    let text = text.trim();
    let count = text.chars().count();
    if count > most {
        return Err(Status::invalid_argument(format!("{what}: {count} characters; at most {most}")));
    }
    if text.chars().any(char::is_control) {
        return Err(Status::invalid_argument(format!(
            "{what}: one line of text, without control characters"
        )));
    }
    Ok(text.into())
}

pub(super) fn name(text: &str) -> Result<Box<str>, Status> {
    let name = words("by", text, NAME_MAX)?;
    if name.is_empty() {
        return Err(Status::invalid_argument("by: say who you are"));
    }
    Ok(name)
}

#[tonic::async_trait]
impl AlarmService for Alarms {
    async fn list_incidents(
        &self,
        request: Request<wire::ListIncidentsRequest>,
    ) -> Result<Response<wire::ListIncidentsResponse>, Status> {
        let wire::ListIncidentsRequest { all, device, alarm, limit } = request.into_inner();
        let which = Incidents {
            open: !all,
            alarm: pattern(alarm),
            device: pattern(device),
            since_ms: None,
            limit: rows(limit),
        };
        let (known, found) = (self.known(), self.0.reader.incidents(which).await.map_err(unread)?);
        let incidents = found.iter().map(|incident| known.incident(incident)).collect();
        Ok(Response::new(wire::ListIncidentsResponse { incidents, zone_ms: known.zone_ms }))
    }

    async fn show_incident(
        &self,
        request: Request<wire::ShowIncidentRequest>,
    ) -> Result<Response<wire::ShowIncidentResponse>, Status> {
        let id = IncidentId(request.into_inner().incident);
        let (known, reader) = (self.known(), &self.0.reader);
        let found = reader.incident(id).await.map_err(unread)?;
        let incident = found.ok_or_else(|| refused(&incident::Refused::Unknown(id).into()))?;
        let which = Notices { incident: Some(id), limit: ROWS_MAX, ..Notices::default() };
        let history = reader.history(id).await.map_err(unread)?;
        let mut notices = reader.notices(which).await.map_err(unread)?;
        notices.reverse();
        let runs = reader.runs_of(id).await.map_err(unread)?;
        let feedback = reader.feedback_of(id).await.map_err(unread)?;
        Ok(Response::new(wire::ShowIncidentResponse {
            advice: known.advice(&incident.alarm),
            incident: Some(known.incident(&incident)),
            history: history.iter().map(|(id, event)| known.event(*id, event)).collect(),
            notices: notices.into_iter().map(told::notice).collect(),
            runs: runs.into_iter().map(told::run).collect(),
            feedback: feedback.into_iter().map(told::feedback).collect(),
            zone_ms: known.zone_ms,
        }))
    }

    async fn order_step(
        &self,
        request: Request<wire::OrderStepRequest>,
    ) -> Result<Response<wire::OrderStepResponse>, Status> {
        let uid = uid(&request);
        let wire::OrderStepRequest { incident, step, by, reason } = request.into_inner();
        let by_hand = [Step::Confirmed, Step::Dispatched, Step::Handled, Step::Closed, Step::Noted];
        let step = Step::named(&step).filter(|step| by_hand.contains(step)).ok_or_else(|| {
            Status::invalid_argument("step: one of confirmed, dispatched, handled, closed, noted")
        })?;
        let (by, reason) = (Actor::Person(name(&by)?), words("reason", &reason, REASON_MAX)?);
        let order = Order { incident: IncidentId(incident), step, by, reason };
        let done = self.act(Act::Order(order)).await;
        tracing::info!(uid, incident, %step, ok = done.is_ok(), "somebody takes an incident a step on");
        let Done::Incident(incident) = done? else { return Err(beside()) };
        let known = self.known();
        let incident = Some(known.incident(&incident));
        Ok(Response::new(wire::OrderStepResponse { incident, zone_ms: known.zone_ms }))
    }

    async fn list_events(
        &self,
        request: Request<wire::ListEventsRequest>,
    ) -> Result<Response<wire::ListEventsResponse>, Status> {
        let wire::ListEventsRequest { after, since_ms, limit } = request.into_inner();
        let which = Events { after, since_ms, limit: rows(limit) };
        let (known, found) = (self.known(), self.0.reader.events(which).await.map_err(unread)?);
        let events = found.iter().map(|(id, event)| known.event(*id, event)).collect();
        Ok(Response::new(wire::ListEventsResponse { events, zone_ms: known.zone_ms }))
    }

    async fn list_notices(
        &self,
        request: Request<wire::ListNoticesRequest>,
    ) -> Result<Response<wire::ListNoticesResponse>, Status> {
        let wire::ListNoticesRequest { waiting, recipient, limit } = request.into_inner();
        let recipient = Some(recipient).filter(|id| !id.is_empty()).map(|id| id.parse()).transpose();
        let recipient = recipient.map_err(|error| Status::invalid_argument(format!("recipient: {error}")))?;
        let which = Notices { waiting, recipient, incident: None, limit: rows(limit) };
        let notices = self.0.reader.notices(which).await.map_err(unread)?;
        let notices = notices.into_iter().map(told::notice).collect();
        Ok(Response::new(wire::ListNoticesResponse { notices, zone_ms: self.known().zone_ms }))
    }

    async fn list_runs(
        &self,
        request: Request<wire::ListRunsRequest>,
    ) -> Result<Response<wire::ListRunsResponse>, Status> {
        let wire::ListRunsRequest { all, limit } = request.into_inner();
        let runs = self.0.reader.runs(!all, rows(limit)).await.map_err(unread)?;
        let runs = runs.into_iter().map(told::run).collect();
        Ok(Response::new(wire::ListRunsResponse { runs, zone_ms: self.known().zone_ms }))
    }

    async fn approve_run(
        &self,
        request: Request<wire::ApproveRunRequest>,
    ) -> Result<Response<wire::ApproveRunResponse>, Status> {
        let uid = uid(&request);
        let wire::ApproveRunRequest { run, by } = request.into_inner();
        let done = self.act(Act::Approve { run, by: name(&by)? }).await;
        tracing::info!(uid, run, ok = done.is_ok(), "somebody agrees to a run of a command");
        let Done::Run(run) = done? else { return Err(beside()) };
        let zone_ms = self.known().zone_ms;
        Ok(Response::new(wire::ApproveRunResponse { run: Some(told::run(run)), zone_ms }))
    }

    async fn list_maintenance(
        &self,
        _: Request<wire::ListMaintenanceRequest>,
    ) -> Result<Response<wire::ListMaintenanceResponse>, Status> {
        let found = self.0.reader.maintenances().await.map_err(unread)?;
        let maintenance = found.into_iter().map(told::maintenance).collect();
        Ok(Response::new(wire::ListMaintenanceResponse { maintenance, zone_ms: self.known().zone_ms }))
    }

    async fn maintain(
        &self,
        request: Request<wire::MaintainRequest>,
    ) -> Result<Response<wire::MaintainResponse>, Status> {
        let uid = uid(&request);
        let wire::MaintainRequest { devices, places, for_ms, by, reason } = request.into_inner();
        if devices.is_empty() && places.is_empty() {
            return Err(Status::invalid_argument("say which devices or places are worked on; '*' is all"));
        }
        if for_ms == 0 || for_ms > MAINTENANCE_MS_MAX {
            return Err(Status::invalid_argument("for: longer than nothing, and at most 30 days"));
        }
        let from_ms = self.0.clock.now().wall_ms;
        let maintenance = Maintenance {
            id: 0,
            devices: pattern(words("devices", &devices, 128)?.into()),
            places: pattern(words("places", &places, 128)?.into()),
            from_ms,
            until_ms: from_ms.saturating_add(for_ms as i64),
            by: name(&by)?,
            reason: words("reason", &reason, REASON_MAX)?,
        };
        let done = self.act(Act::Maintain(maintenance)).await;
        tracing::info!(uid, devices, places, for_ms, ok = done.is_ok(), "somebody begins maintenance");
        let Done::Maintenance(maintenance) = done? else { return Err(beside()) };
        let maintenance = Some(told::maintenance(maintenance));
        Ok(Response::new(wire::MaintainResponse { maintenance, zone_ms: self.known().zone_ms }))
    }

    async fn resume(
        &self,
        request: Request<wire::ResumeRequest>,
    ) -> Result<Response<wire::ResumeResponse>, Status> {
        let uid = uid(&request);
        let wire::ResumeRequest { maintenance, by } = request.into_inner();
        let done = self.act(Act::Resume { maintenance, by: name(&by)? }).await;
        tracing::info!(uid, maintenance, ok = done.is_ok(), "somebody ends maintenance");
        done.map(|_| Response::new(wire::ResumeResponse {}))
    }
}

#[cfg(test)]
mod tests;
