//! A scan on behalf of a caller: what it is to search, and the stream of what it finds.
//!
//! Guarantees: it runs only while the caller takes what it tells, one question at a time between the readings of the
//! schedule, and ends with the call.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::Stream;
use tonic::Status;

use super::target::{self, TargetError};
use super::{Bus, failed, value};
use crate::device::serial::protocol::UnknownProtocol;
use crate::device::serial::scan::{Found, Progress, Scan, Search};
use crate::device::serial::{Line, Meter, Protocol};
use crate::wire::bus::{self as wire, scan_response::News};

/// Speeds of one scan.
const BAUDS_MAX: usize = 8;

/// The last primary address of M-Bus; Modbus units end before.
const ADDRESS_MAX: u8 = 250;

/// What the port of a scanned path may be called in a configuration.
const PORT: &str = "bus-1";

/// A scan that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    /// A protocol.
    #[error(transparent)]
    Protocol(#[from] UnknownProtocol),
    /// A line or a timeout.
    #[error(transparent)]
    Line(#[from] TargetError),
    /// Too many.
    #[error("{0} bauds: at most {BAUDS_MAX} in one scan")]
    Bauds(usize),
    /// Units.
    #[error("units {0}-{1}: the first is not above the last, both are within 1 to 250 (247 for Modbus)")]
    Units(u32, u32),
}

/// What a request asks for: each protocol on each line, without a line in the usual one and those of `known` meters.
///
/// # Errors
/// [`SearchError`].
pub fn searches(request: &wire::ScanRequest, known: &[Meter]) -> Result<Vec<Search>, SearchError> {
    let asked: Result<Vec<Protocol>, _> = request.protocols.iter().map(|name| name.parse()).collect();
    let protocols = Some(asked?).filter(|asked| !asked.is_empty()).unwrap_or_else(|| Protocol::ALL.to_vec());
    let response_timeout = target::timeout(request.timeout_ms)?;
    if request.bauds.len() > BAUDS_MAX {
        return Err(SearchError::Bauds(request.bauds.len()));
    }
    let last = Some(request.unit_last).filter(|last| *last > 0).unwrap_or(ADDRESS_MAX.into());
    let first = request.unit_first.max(1);
    let units = match (u8::try_from(first), u8::try_from(last)) {
        (Ok(first), Ok(last @ ..=ADDRESS_MAX)) if first <= last => first..=last,
        _ => return Err(SearchError::Units(first, last)),
    };
    let mut searches: Vec<Search> = Vec::new();
    for protocol in protocols {
        for line in lines(protocol, request, known)? {
            let search = Search { protocol, line, response_timeout, units: units.clone() };
            if !searches.contains(&search) {
                searches.push(search);
            }
        }
    }
    Ok(searches)
}

fn lines(protocol: Protocol, request: &wire::ScanRequest, known: &[Meter]) -> Result<Vec<Line>, TargetError> {
    let usual = protocol.line();
    if request.bauds.is_empty() && request.parities.is_empty() {
        let own = known.iter().filter(|meter| meter.address.protocol() == protocol).map(|meter| meter.line);
        return Ok([usual].into_iter().chain(own).collect());
    }
    // Nothing told is told as nothing.
    let bauds = if request.bauds.is_empty() { &[0][..] } else { &request.bauds };
    let parities = if request.parities.is_empty() { &[String::new()][..] } else { &request.parities };
    let each = bauds.iter().flat_map(|baud| parities.iter().map(move |parity| (*baud, parity.clone())));
    each.map(|(baud, parity)| target::line(Some(&wire::Line { baud, parity, stop_bits: 0 }), usual)).collect()
}

/// What a scan tells, as it comes. It carries its own pump, which runs when the next news is asked for.
pub struct Telling {
    pump: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    news: mpsc::Receiver<Result<wire::ScanResponse, Status>>,
}

impl Telling {
    /// Runs `scan` on `bus`; the turn ends with the stream.
    #[must_use]
    pub fn of(bus: Bus, scan: Scan, turn: OwnedSemaphorePermit) -> Self {
        let (out, news) = mpsc::channel(1);
        let pump = async move {
            // Nobody who listens is the end of the scan, too.
            let _ = run(&bus, scan, &out).await;
            drop(turn);
        };
        Self { pump: Some(Box::pin(pump)), news }
    }
}

impl Stream for Telling {
    type Item = Result<wire::ScanResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.pump.as_mut().is_some_and(|pump| pump.as_mut().poll(context).is_ready()) {
            self.pump = None;
        }
        self.news.poll_recv(context)
    }
}

type Out = mpsc::Sender<Result<wire::ScanResponse, Status>>;

async fn run(
    bus: &Bus,
    mut scan: Scan,
    out: &Out,
) -> Result<(), mpsc::error::SendError<Result<wire::ScanResponse, Status>>> {
    let tell = |news| out.send(Ok(wire::ScanResponse { news: Some(news) }));
    let mut count = 0;
    while let Some(exchange) = scan.ask() {
        if let Some(progress) = scan.progress() {
            tell(News::Progress(as_progress(&progress))).await?;
        }
        match scan.heard(bus.desk.ask(exchange).await) {
            Ok(None) => {}
            Ok(Some(found)) => {
                count += 1;
                tell(News::Found(as_found(bus, &found))).await?;
            }
            Err(error) => return out.send(Err(failed(&error))).await,
        }
    }
    tell(News::Summary(wire::Summary { found: count, notes: scan.notes().to_vec() })).await
}

fn as_line(line: Line) -> wire::Line {
    wire::Line { baud: line.baud, parity: line.parity.to_string(), stop_bits: line.stop_bits.into() }
}

fn as_progress(progress: &Progress) -> wire::Progress {
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    wire::Progress {
        protocol: progress.protocol.name().into(),
        line: Some(as_line(progress.line)),
        asked: count(progress.asked),
        left: count(progress.left),
    }
}

fn as_found(bus: &Bus, found: &Found) -> wire::Found {
    let (protocol, address) = (found.address.protocol(), found.address.to_string());
    let own = |meter: &&Meter| meter.address.protocol() == protocol && meter.address.to_string() == address;
    let device = bus.settings.meters.iter().find(own).map(|meter| meter.device.to_string());
    let port = if bus.settings.name.contains('/') { PORT } else { &bus.settings.name };
    let facts =
        found.facts.iter().map(|(name, text)| wire::Fact { name: (*name).into(), text: text.clone() });
    wire::Found {
        line: Some(as_line(found.line)),
        device: device.unwrap_or_default(),
        facts: facts.collect(),
        values: found.items.iter().map(value::item).collect(),
        toml: found.toml(port),
        protocol: protocol.name().into(),
        address,
    }
}
