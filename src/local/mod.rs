//! The buses, as the local socket offers them: find meters, read a point now, write a writable one.
//!
//! [`Buses`] knows the ports of this process and serves [`BusService`]; [`target`] makes questions of texts, [`search`] runs
//! scans, [`value`] makes texts of answers. Guarantees: every question goes through the port's [`Desk`], so it is asked
//! between two readings by the port's one master; nothing is written but what [`write`] makes of a writable point, and each
//! such call is counted, and logged with the caller's user id or the rule's run; one scan a port at a time. Who may open
//! the socket may do all of this. Values are for the person who asks: they reach neither log nor store.

pub mod alarms;
pub mod approvals;
pub mod command;
pub mod entry;
pub mod onboard;
pub mod search;
pub mod target;
pub mod topics;
pub mod value;

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tonic::transport::server::UdsConnectInfo;
use tonic::{Code, Request, Response, Status};

use crate::codec::cjt188::IdentifierOrder;
use crate::device::serial::exchange::{Content, Exchange, Habits, Want};
use crate::device::serial::master::Failed;
use crate::device::serial::question::Answer;
use crate::device::serial::scan::Scan;
use crate::device::serial::write::{self, WriteError};
use crate::device::serial::{Address, Counters, Desk, Meter, Point, PortSettings};
use crate::ingest;
use crate::model::{DeviceId, Metric, Value};
use crate::normalise::Kind;
use crate::wire::bus::bus_service_server::BusService;
use crate::wire::bus::{self as wire, read_request::What};
use search::Telling;
use target::Target;

/// One port of this process.
#[derive(Clone, Debug)]
pub struct Bus {
    /// What the configuration says of it.
    pub settings: Arc<PortSettings>,
    /// Where its questions are handed in.
    pub desk: Desk,
    /// What it has done.
    pub counters: Arc<Counters>,
}

/// The ports of this process, and the points of their meters; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Buses(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    known: RwLock<Known>,
    /// Serial number of CJ/T 188 questions.
    ser: AtomicU8,
}

#[derive(Clone, Debug, Default)]
struct Known {
    buses: Arc<[Bus]>,
    points: Arc<[Option<ingest::Point>]>,
}

impl Known {
    /// What the configuration calls a point.
    fn name(&self, point: &Point) -> Option<&ingest::Point> {
        self.points.get(point.series.index())?.as_ref()
    }

    fn bus(&self, name: &str) -> Result<&Bus, Status> {
        let ports = self.buses.iter().map(|bus| format!("{} ({})", bus.settings.name, bus.settings.path));
        self.buses.iter().find(|bus| bus.settings.name == name).ok_or_else(|| unknown("port", name, ports))
    }

    /// The points of a meter that have a name, and are this metric if one is asked for.
    fn points<'a>(
        &'a self,
        meter: &'a Meter,
        metric: &str,
    ) -> Result<Vec<(&'a Point, &'a ingest::Point)>, Status> {
        let named = || meter.points.iter().filter_map(|point| Some((point, self.name(point)?)));
        let found: Vec<_> =
            named().filter(|(_, named)| metric.is_empty() || named.metric.as_str() == metric).collect();
        if found.is_empty() {
            return Err(unknown("metric", metric, named().map(|(_, named)| named.metric.to_string())));
        }
        Ok(found)
    }
}

fn meter<'a>(bus: &'a Bus, device: &str) -> Result<&'a Meter, Status> {
    let meters = &bus.settings.meters;
    let known = || meters.iter().map(|meter| meter.device.to_string());
    meters
        .iter()
        .find(|meter| meter.device.as_str() == device)
        .ok_or_else(|| unknown("device", device, known()))
}

/// Names listed in an error at most.
const NAMES_MAX: usize = 20;

fn unknown(what: &str, name: &str, known: impl Iterator<Item = String>) -> Status {
    let mut known: Vec<String> = known.collect();
    let more = known.len().saturating_sub(NAMES_MAX);
    known.truncate(NAMES_MAX);
    let known = match (known.is_empty(), more) {
        (true, _) => "there is none".to_owned(),
        (_, 0) => format!("known: {}", known.join(", ")),
        _ => format!("known: {} and {more} more", known.join(", ")),
    };
    let name: String = name.chars().take(64).collect();
    Status::not_found(format!("no {what} {name:?}; {known}"))
}

/// What the end of a question means to a caller.
fn failed(failed: &Failed) -> Status {
    let code = match failed {
        Failed::Timeout => Code::DeadlineExceeded,
        Failed::Refused(_) => Code::FailedPrecondition,
        Failed::Damaged(_) | Failed::Unusable(_) => Code::DataLoss,
        Failed::Closed(_) | Failed::Lost => Code::Unavailable,
    };
    Status::new(code, failed.to_string())
}

impl Buses {
    /// Takes the ports and the points by series, in place of those before.
    pub fn set(&self, buses: Vec<Bus>, points: Vec<Option<ingest::Point>>) {
        let known = Known { buses: buses.into(), points: points.into() };
        *self.0.known.write().unwrap_or_else(PoisonError::into_inner) = known;
    }

    fn known(&self) -> Known {
        self.0.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn habits(&self) -> Habits {
        Habits::numbered(self.0.ser.fetch_add(1, Ordering::Relaxed))
    }

    /// Asks a meter; one of CJ/T 188 whose order of identifiers is not known in both orders.
    async fn ask(&self, desk: &Desk, meter: &Meter, want: &Want) -> Result<Content, Failed> {
        let exchange = |meter: &Meter| {
            let exchange = Exchange::new(meter, want.clone(), &mut self.habits());
            exchange.ok_or_else(|| Failed::Unusable("the meter speaks another protocol".into()))
        };
        let content = desk.ask(exchange(meter)?).await;
        match (&meter.address, &content) {
            (Address::Cjt188(own), Err(Failed::Timeout)) if own.order.is_none() => {
                let mut own = own.clone();
                own.order = Some(IdentifierOrder::LowFirst);
                let other = Meter { address: Address::Cjt188(own), ..meter.clone() };
                desk.ask(exchange(&other)?).await
            }
            _ => content,
        }
    }

    /// The name of the port that a device is on; none for a device on no port.
    #[must_use]
    pub fn port_of(&self, device: &DeviceId) -> Option<String> {
        let known = self.known();
        let on = |bus: &&Bus| bus.settings.meters.iter().any(|meter| meter.device == *device);
        known.buses.iter().find(on).map(|bus| bus.settings.name.clone())
    }

    /// Writes a point for a rule: the same as [`BusService::write`] for a person. When the future is dropped before the
    /// question was asked, it is not asked any more.
    ///
    /// # Errors
    /// As of the call; the message says what was wrong, and whether it may have been written all the same.
    pub async fn set_point(&self, device: &DeviceId, metric: &Metric, value: &Value) -> Result<(), Status> {
        self.find(device.as_str(), metric.as_str())?.write(Some(value)).await.map(|_| ())
    }

    /// Where a point of a device is.
    fn find(&self, device: &str, metric: &str) -> Result<Found, Status> {
        let known = self.known();
        let owner = known.buses.iter().find_map(|bus| Some((bus, meter(bus, device).ok()?)));
        let Some((bus, meter)) = owner else {
            let meters = known.buses.iter().flat_map(|bus| bus.settings.meters.iter());
            let known = meters.map(|meter| meter.device.to_string());
            return Err(unknown("device on a serial port", device, known));
        };
        let [(point, named)] = known.points(meter, metric)?[..] else {
            return Err(Status::invalid_argument("which metric to write has to be told"));
        };
        let kind = named.rule.kind;
        Ok(Found { bus: bus.clone(), meter: meter.clone(), point: point.clone(), kind })
    }

    async fn read_configured(
        &self,
        bus: &Bus,
        asked: &wire::Configured,
    ) -> Result<wire::ReadResponse, Status> {
        let known = self.known();
        let meter = meter(bus, &asked.device)?;
        let points = known.points(meter, &asked.metric)?;
        let mut answers: Vec<(Want, Result<Content, Failed>)> = Vec::new();
        let (mut values, mut clock) = (Vec::new(), String::new());
        for (point, named) in points {
            let Some(want) = Want::of(&meter.address, &point.source) else {
                values.push(value::none(
                    named.metric.as_str(),
                    &named.unit,
                    "no question can reach the point",
                ));
                continue;
            };
            let at = match answers.iter().position(|(known, _)| *known == want) {
                Some(at) => at,
                None => {
                    let answer = self.ask(&bus.desk, meter, &want).await;
                    if let Err(closed @ (Failed::Closed(_) | Failed::Lost)) = &answer {
                        return Err(failed(closed));
                    }
                    answers.push((want, answer));
                    answers.len() - 1
                }
            };
            values.push(match &answers[at].1 {
                Ok(content) => {
                    clock = value::clock(content).unwrap_or(clock);
                    value::of_point(point, named, content)
                }
                Err(failed) => value::none(named.metric.as_str(), &named.unit, &failed.to_string()),
            });
        }
        match answers.iter().find_map(|(_, answer)| answer.as_ref().err()) {
            Some(first) if answers.iter().all(|(_, answer)| answer.is_err()) => Err(failed(first)),
            _ => Ok(wire::ReadResponse { values, clock }),
        }
    }

    async fn read_direct(&self, bus: &Bus, direct: &wire::Direct) -> Result<wire::ReadResponse, Status> {
        let target = Target::of(direct, &bus.settings.meters);
        let target = target.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let content = match &target.raw {
            Some(asked) => bus.desk.ask(Exchange::single(asked.clone())).await,
            None => self.ask(&bus.desk, &target.meter, &target.want).await,
        };
        let content = content.map_err(|error| failed(&error))?;
        let clock = value::clock(&content).unwrap_or_default();
        Ok(wire::ReadResponse { values: value::of_target(&target, &content), clock })
    }
}

/// One point of one meter, and the way to it.
struct Found {
    bus: Bus,
    meter: Meter,
    point: Point,
    kind: Kind,
}

impl Found {
    /// The only way to a write: what it gives is the meter's word. Counted; the caller logs who asked.
    async fn write(&self, value: Option<&Value>) -> Result<&'static str, Status> {
        self.bus.counters.line.writes.add(1);
        let question = write::writable(&self.meter, &self.point)
            .and(value.ok_or(WriteError::Kind))
            .and_then(|value| write::question(&self.meter, &self.point, value));
        match question {
            Ok(question) => match self.bus.desk.ask(Exchange::single(question)).await {
                Ok(Content::Answer(Answer::Written)) => Ok("the meter confirms it"),
                Ok(_) => Err(Status::data_loss("the meter answered something else; read the point")),
                Err(Failed::Timeout | Failed::Damaged(_) | Failed::Lost) => Err(Status::deadline_exceeded(
                    "no answer: it is not known whether it was written; read the point before trying again",
                )),
                Err(error) => Err(failed(&error)),
            },
            Err(error @ WriteError::Kind) => Err(Status::invalid_argument(error.to_string())),
            Err(error) => Err(Status::failed_precondition(error.to_string())),
        }
    }
}

#[tonic::async_trait]
impl BusService for Buses {
    type ScanStream = Telling;

    async fn list_ports(
        &self,
        _: Request<wire::ListPortsRequest>,
    ) -> Result<Response<wire::ListPortsResponse>, Status> {
        let known = self.known();
        let ports = known.buses.iter().map(|bus| wire::Port {
            name: bus.settings.name.clone(),
            path: bus.settings.path.clone(),
            devices: bus.settings.meters.iter().map(|meter| meter.device.to_string()).collect(),
        });
        Ok(Response::new(wire::ListPortsResponse { ports: ports.collect() }))
    }

    async fn scan(&self, request: Request<wire::ScanRequest>) -> Result<Response<Telling>, Status> {
        let (known, request) = (self.known(), request.into_inner());
        let bus = known.bus(&request.port)?;
        let searches = search::searches(&request, &bus.settings.meters);
        let searches = searches.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let Some(turn) = bus.desk.scan_turn() else {
            let port = &request.port;
            return Err(Status::resource_exhausted(format!(
                "port {port} is being scanned already: wait for the end of that scan, or end it"
            )));
        };
        Ok(Response::new(Telling::of(bus.clone(), Scan::new(searches), turn)))
    }

    async fn read(
        &self,
        request: Request<wire::ReadRequest>,
    ) -> Result<Response<wire::ReadResponse>, Status> {
        let (known, request) = (self.known(), request.into_inner());
        let bus = known.bus(&request.port)?;
        let answer = match &request.what {
            Some(What::Configured(asked)) => self.read_configured(bus, asked).await,
            Some(What::Direct(direct)) => self.read_direct(bus, direct).await,
            None => {
                Err(Status::invalid_argument("what to read: a device of the configuration, or an address"))
            }
        };
        answer.map(Response::new)
    }

    async fn write(
        &self,
        request: Request<wire::WriteRequest>,
    ) -> Result<Response<wire::WriteResponse>, Status> {
        let caller = request.extensions().get::<UdsConnectInfo>().and_then(|info| info.peer_cred);
        let uid = caller.map_or_else(|| "unknown".to_owned(), |caller| caller.uid().to_string());
        let request = request.into_inner();
        let wire::WriteRequest { device, metric, value: text } = &request;
        let found = self.find(device, metric)?;
        let value = value::parse(found.kind, text);
        // What a text says may be somebody's name; a number that was set is not.
        let shown = match &value {
            Some(value) if !value::is_text(value) => value::text(value),
            _ => "a text".to_owned(),
        };
        let port = found.bus.settings.name.clone();
        tracing::info!(uid, port, device, metric, value = shown, "somebody asks to write a point");
        let told = found.write(value.as_ref()).await;
        let outcome = told.as_ref().copied().unwrap_or_else(|status| status.message());
        tracing::info!(uid, port, device, metric, outcome, "the write has ended");
        told.map(|told| Response::new(wire::WriteResponse { port, told: told.to_owned() }))
    }
}

#[cfg(test)]
mod tests;
