//! A bus as `scan` and `read` see it: a port of the running daemon, or a path that this process opens by itself.
//!
//! Both are the same service ([`Buses`]) over the same port task; only the way to it differs. A path that the running daemon
//! has is not opened.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::clock::SystemClock;
use crate::device::serial::{self, Counters, Desk, PortSettings, Protocol};
use crate::ingest::{Intake, Request as ForWriter};
use crate::local::{Bus as Known, Buses};
use crate::share::client::{PullError, Target};
use crate::wire::bus as wire;
use wire::bus_service_client::BusServiceClient;
use wire::bus_service_server::BusService as _;

/// The socket of the installed service.
pub const SOCKET: &str = "/var/lib/smallbrain/smallbrain.sock";

/// Requests of a port task without meters: none.
const QUEUE: usize = 1;

/// The language of what is printed around values. What a port or a meter says stays as it is.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lang {
    /// Chinese.
    Zh,
    /// English.
    En,
}

impl Lang {
    /// One of the two.
    #[must_use]
    pub fn say<'a>(self, chinese: &'a str, english: &'a str) -> &'a str {
        match self {
            Self::Zh => chinese,
            Self::En => english,
        }
    }
}

/// Why a bus cannot be asked, or what came of it.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// A name, and nobody who knows it.
    #[error(
        "{what}: the daemon does not answer ({cause}); is it running, and does it listen on {socket}?{hint}"
    )]
    NoDaemon {
        /** Asked for. */
        what: String,
        /** Where. */
        socket: PathBuf,
        /** By the connection. */
        cause: PullError,
        /** What else there is. */
        hint: &'static str,
    },
    /// A path that the daemon has.
    #[error(
        "{path}: the running daemon reads this port as {name}; give that name, and its meters are read on in between"
    )]
    Taken {
        /** Asked for. */
        path: String,
        /** Of the port. */
        name: String,
    },
    /// `--echo` for a port that has its own.
    #[error("--echo is for a path like /dev/ttyUSB0; port {0} has it in the configuration: echo = true")]
    Echo(String),
    /// A Modbus unit that is no number.
    #[error("unit {0:?}: slaves have addresses 1 to 247")]
    Unit(String),
    /// The service says no.
    #[error("{}", .0.message())]
    Refused(Box<Status>),
    /// A question was sent that writes, and nobody says that it was obeyed.
    #[error("{}", .0.message())]
    Unconfirmed(Box<Status>),
    /// The output.
    #[error("output: {0}")]
    Output(#[from] io::Error),
}

impl From<Status> for BusError {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

impl BusError {
    /// Told behind the name of the verb on stderr; gives the exit code.
    #[must_use]
    pub fn tell(&self, verb: &str, lang: Lang) -> ExitCode {
        // Nobody left to tell.
        let _ = writeln!(io::stderr(), "smallbrain {verb}: {}", self.text(lang));
        ExitCode::from(self.exit_code())
    }

    /// In Chinese what kind of thing happened, and what exactly behind it in English.
    #[must_use]
    pub fn text(&self, lang: Lang) -> String {
        match lang {
            Lang::Zh => format!("{}: {self}", self.in_chinese()),
            Lang::En => self.to_string(),
        }
    }

    fn in_chinese(&self) -> &'static str {
        match self {
            Self::NoDaemon { .. } => "连不上服务",
            Self::Taken { .. } => "服务正在使用这个串口",
            Self::Echo(_) | Self::Unit(_) => "参数不对",
            Self::Unconfirmed(_) => "没有得到确认, 不知道是否已写入, 先读一次再决定",
            Self::Output(_) => "输出出错",
            Self::Refused(status) => match status.code() {
                Code::DeadlineExceeded => "没有应答",
                Code::InvalidArgument => "参数不对",
                Code::NotFound => "没有这个名称",
                Code::FailedPrecondition => "被拒绝",
                Code::DataLoss => "应答无法使用",
                Code::ResourceExhausted => "有人正在搜索",
                _ => "串口或服务不可用",
            },
        }
    }

    /// 2 for what cannot be meant, 0 for a reader that has enough, 1 for the rest.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Echo(_) | Self::Unit(_) => 2,
            Self::Refused(status) if status.code() == Code::InvalidArgument => 2,
            // `| head`.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            _ => 1,
        }
    }
}

/// How a line is set, as arguments of a verb that asks one meter.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct LineArgs {
    /// Bits a second [default: as the meters of the protocol on this port, or 9600 for Modbus and 2400 for meters]
    #[arg(long)]
    pub baud: Option<u32>,
    /// none, even or odd [default: likewise, or none for Modbus and even for meters]
    #[arg(long)]
    pub parity: Option<String>,
    /// How long the meter may take to answer, as 800ms or 2s
    #[arg(long, value_parser = milliseconds)]
    pub timeout: Option<u32>,
}

impl LineArgs {
    /// For a request; none where nothing is told.
    #[must_use]
    pub fn line(&self) -> Option<wire::Line> {
        let told = self.baud.is_some() || self.parity.is_some();
        told.then(|| wire::Line {
            // 0 is no speed, and not "as usual": a speed that was told is judged.
            baud: self.baud.map_or(0, |baud| baud.max(1)),
            parity: self.parity.clone().unwrap_or_default(),
            stop_bits: 0,
        })
    }
}

/// `800ms`, `2s`.
///
/// # Errors
/// What would be right.
pub fn milliseconds(text: &str) -> Result<u32, String> {
    let number = |digits: &str| digits.parse::<u32>().ok().filter(|number| *number > 0);
    let seconds = || number(text.strip_suffix('s')?)?.checked_mul(1000);
    let told = text.strip_suffix("ms").map_or_else(seconds, number);
    told.ok_or_else(|| "a duration like 800ms or 2s".to_owned())
}

/// News of a scan.
pub type News = Pin<Box<dyn Stream<Item = Result<wire::ScanResponse, Status>> + Send>>;

/// The way to one bus.
pub enum Bus {
    /// Through the daemon.
    Daemon(BusServiceClient<Channel>),
    /// By this process.
    Own(Own),
}

/// A port task of this process. Ends with it.
pub struct Own {
    buses: Buses,
    stop: CancellationToken,
    task: JoinHandle<()>,
    /// Held: a port whose writer is gone ends.
    _writer: tokio::sync::mpsc::Receiver<ForWriter>,
    _settings: watch::Sender<Arc<PortSettings>>,
}

impl Drop for Own {
    fn drop(&mut self) {
        self.stop.cancel();
        self.task.abort();
    }
}

/// A client of the daemon behind a socket.
///
/// # Errors
/// [`PullError`] when nobody answers.
pub async fn connect(socket: &Path) -> Result<BusServiceClient<Channel>, PullError> {
    channel(socket).await.map(BusServiceClient::new)
}

/// A connection to the daemon.
///
/// # Errors
/// [`PullError`]: nobody listens there.
pub async fn channel(socket: &Path) -> Result<Channel, PullError> {
    let target = Target { gateway: format!("unix:{}", socket.display()), ..Target::default() };
    target.connect().await
}

impl Bus {
    /// The way to `port`: what has a slash is a path, anything else a name. With `echo`, the adapter of a path hears
    /// itself.
    ///
    /// # Errors
    /// [`BusError`].
    pub async fn open(port: &str, echo: bool, socket: &Path) -> Result<Self, BusError> {
        let named = !port.contains('/');
        if named && echo {
            return Err(BusError::Echo(port.to_owned()));
        }
        let client = connect(socket).await;
        if named {
            let socket = socket.to_owned();
            let hint = " A path like /dev/ttyUSB0 is opened without it";
            let no_daemon = |cause| BusError::NoDaemon { what: port.to_owned(), socket, cause, hint };
            return client.map(Self::Daemon).map_err(no_daemon);
        }
        if let Ok(mut client) = client
            && let Ok(ports) = client.list_ports(wire::ListPortsRequest {}).await
        {
            let real = |path: &str| std::fs::canonicalize(path).unwrap_or_else(|_| path.into());
            let ports = ports.into_inner().ports;
            if let Some(taken) = ports.into_iter().find(|known| real(&known.path) == real(port)) {
                return Err(BusError::Taken { path: port.to_owned(), name: taken.name });
            }
        }
        Ok(Self::Own(Own::start(port, echo)))
    }

    /// Reads.
    ///
    /// # Errors
    /// [`BusError::Refused`].
    pub async fn read(&mut self, request: wire::ReadRequest) -> Result<wire::ReadResponse, BusError> {
        let answer = match self {
            Self::Daemon(client) => client.read(request).await,
            Self::Own(own) => own.buses.read(Request::new(request)).await,
        };
        Ok(answer?.into_inner())
    }

    /// Scans.
    ///
    /// # Errors
    /// [`BusError::Refused`].
    pub async fn scan(&mut self, request: wire::ScanRequest) -> Result<News, BusError> {
        Ok(match self {
            Self::Daemon(client) => Box::pin(client.scan(request).await?.into_inner()),
            Self::Own(own) => Box::pin(own.buses.scan(Request::new(request)).await?.into_inner()),
        })
    }
}

impl Own {
    /// The same task as the daemon's, without meters.
    fn start(path: &str, echo: bool) -> Self {
        let settings = Arc::new(PortSettings {
            name: path.to_owned(),
            path: path.to_owned(),
            line: Protocol::Modbus.line(),
            echo,
            set_clocks: false,
            zone_ms: 0,
            meters: Vec::new(),
        });
        let (desk, errands) = Desk::new();
        let counters = Arc::new(Counters::new(path));
        let buses = Buses::default();
        let known = Known { settings: settings.clone(), desk, counters: counters.clone() };
        buses.set(vec![known], Vec::new());
        let (intake, writer) = Intake::channel(QUEUE);
        let (settings, told) = watch::channel(settings);
        let stop = CancellationToken::new();
        let clock = Arc::new(SystemClock::default());
        let task = tokio::spawn(serial::serve(told, intake, clock, counters, errands, stop.clone()));
        Self { buses, stop, task, _writer: writer, _settings: settings }
    }
}

/// A value with its unit, or why there is none.
#[must_use]
pub fn shown(value: &wire::Value, lang: Lang) -> String {
    match &value.value {
        Some(text) if value.unit.is_empty() => text.clone(),
        Some(text) => format!("{text} {}", value.unit),
        None => format!("{} ({})", lang.say("无值", "no value"), value.why),
    }
}

/// A value as JSON: exact decimals are strings.
#[must_use]
pub fn as_json(value: &wire::Value) -> serde_json::Value {
    let mut object = serde_json::json!({ "name": value.name, "value": value.value, "unit": value.unit });
    if !value.why.is_empty() {
        object["why"] = value.why.clone().into();
    }
    object
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;
    use tokio_stream::StreamExt as _;

    use super::*;
    use crate::simulate::bus::{Cjt188Meter, Fault, Order, SimulatedBus, SimulatedMeter, SimulatedSlave};
    use wire::direct::Protocol as Ask;
    use wire::read_request::What;

    const LIMIT: Duration = Duration::from_secs(30);

    async fn line(meters: Vec<SimulatedMeter>) -> (SimulatedBus, Bus, String) {
        let simulated = SimulatedBus::start(meters, false, None).expect("a pty");
        let path = simulated.path().display().to_string();
        let bus =
            Bus::open(&path, false, Path::new("/nonexistent/socket")).await.expect("a path needs no daemon");
        (simulated, bus, path)
    }

    async fn read(bus: &mut Bus, port: &str, ask: Ask) -> Result<wire::ReadResponse, BusError> {
        let direct = wire::Direct { protocol: Some(ask), line: None, timeout_ms: 300 };
        let request = wire::ReadRequest { port: port.into(), what: Some(What::Direct(direct)) };
        timeout(LIMIT, bus.read(request)).await.expect("in time")
    }

    #[tokio::test]
    async fn a_meter_of_either_order_is_read_and_damage_is_told_from_silence() {
        let mut water = Cjt188Meter::new(0x10, 20_241_234_567_890, 2).fixed();
        water.order = Some(Order::LowFirst);
        let corrupt = SimulatedSlave::new(7, 3).with(Fault::Corrupt, 1);
        let (_simulated, mut bus, path) = line(vec![water.into(), corrupt.into()]).await;
        let ask = |identifier: &str| {
            Ask::Cjt188(wire::Cjt188 { address: "20241234567890".into(), identifier: identifier.into() })
        };
        let reading = read(&mut bus, &path, ask("")).await.expect("a reading");
        assert!(reading.values.iter().any(|value| value.name == "current_volume" && value.value.is_some()));
        assert_eq!(reading.clock.len(), "2026-01-01T08:00:00".len());
        let modbus = |unit| Ask::Modbus(wire::Modbus { unit, register: "holding:0".into() });
        for (unit, text) in [(7, "damaged"), (8, "no answer")] {
            let error = read(&mut bus, &path, modbus(unit)).await.expect_err("no reading");
            assert!(error.to_string().contains(text), "{error}");
        }
    }

    #[tokio::test]
    async fn a_port_is_scanned_once_at_a_time_and_a_scan_that_nobody_takes_is_over() {
        let (_simulated, mut bus, path) = line(Vec::new()).await;
        let request = wire::ScanRequest { port: path, ..Default::default() };
        let mut first = bus.scan(request.clone()).await.expect("a scan");
        let news = timeout(LIMIT, first.next()).await.expect("in time");
        assert!(news.is_some_and(|news| news.is_ok()));
        let second = bus.scan(request.clone()).await.map(|_| ());
        assert!(second.is_err_and(|error| error.to_string().contains("being scanned already")));
        drop(first);
        assert!(bus.scan(request).await.is_ok());
    }

    #[test]
    fn durations_have_a_unit() {
        for (text, expected) in
            [("800ms", Some(800)), ("2s", Some(2000)), ("2", None), ("0s", None), ("5000000s", None)]
        {
            assert_eq!(milliseconds(text).ok(), expected, "{text}");
        }
    }
}
