//! `simulate`: devices that are not there. The load generator of the benchmarks and crash tests, a few MQTT
//! devices, devices that speak the conventions of the mapping profiles, and meters on a serial bus.

mod bus;
mod profiles;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::simulate::{devices, load};

/// Arguments of `simulate`.
#[derive(Debug, Args)]
pub struct SimulateArgs {
    /// What to simulate.
    #[command(subcommand)]
    pub what: Simulation,
}

/// What can be simulated.
#[derive(Debug, Subcommand)]
pub enum Simulation {
    /// Many MQTT connections that publish as fast as the acks come, or at a rate; every ack is checked
    #[command(after_help = LOAD_EXAMPLES)]
    Load(LoadArgs),
    /// A few doors, thermometers, smoke detectors and water meters over MQTT
    #[command(after_help = MQTT_EXAMPLES)]
    Mqtt(MqttArgs),
    /// MQTT devices that speak the convention of a mapping profile; what they have said is printed at the end
    #[command(after_help = profiles::EXAMPLES)]
    Profile(profiles::ProfileArgs),
    /// Meters of Modbus, DL/T 645, CJ/T 188 and M-Bus on a pseudo-terminal; the path to open is the first line
    #[command(after_help = bus::EXAMPLES)]
    Bus(bus::BusArgs),
}

const LOAD_EXAMPLES: &str = "\
Examples:
  smallbrain simulate load --server 127.0.0.1:1883 --connections 50 --window 16 --seconds 10
      as much as the server takes, for ten seconds
  smallbrain simulate load --rate 500 --reconnect --ledger acked.txt
      500 readings a second until Ctrl-C; acked.txt names each acknowledged one as \"device sequence\",
      and a server that dies is waited for
  smallbrain simulate load --connections 2000 --rate 2000 --flood 1 --deaf 1 --seconds 20
      what two that misbehave do to the acks of the others

Device load-1 publishes on compound/load-1/up, load-2 on compound/load-2/up, and so on.
It fails when the server acknowledged out of order or what was never sent.";

const MQTT_EXAMPLES: &str = "\
Examples:
  smallbrain simulate mqtt --server 127.0.0.1:1883 --seconds 60
  smallbrain simulate mqtt --doors 4 --thermometers 0 --user '{device}' --password-file devices.key

Device door-1 publishes on compound/door-1/up; cards, names and telephone numbers are made up, and listed at the end.";

/// Arguments of `simulate load`.
#[derive(Debug, Args)]
pub struct LoadArgs {
    #[command(flatten)]
    target: Target,
    /// Topics are PREFIX/<device>/up
    #[arg(long, default_value = "compound")]
    prefix: String,
    /// Connections, one device each
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Unacknowledged publishes of each connection
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    window: u16,
    /// Publishes a second over all connections [default: as fast as the acks come]
    #[arg(long, value_parser = positive)]
    rate: Option<f64>,
    /// End after this many publishes over all connections
    #[arg(long)]
    count: Option<u64>,
    /// Bytes of a payload
    #[arg(long, default_value_t = 150)]
    size: usize,
    /// What a device's name begins with
    #[arg(long, default_value = "load-")]
    device: String,
    /// First sequence of each device; take a higher one for a second run on the same store
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Connect again when the server goes away, and send again what it did not acknowledge
    #[arg(long)]
    reconnect: bool,
    /// Append a line "device sequence" for each acknowledged publish
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// Threads
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    threads: u32,
    /// Connections besides that publish as fast as their sockets take it
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1000))]
    flood: u32,
    /// Subscribers besides that never read what is published to them
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1000))]
    deaf: u32,
}

/// Arguments of `simulate mqtt`.
#[derive(Debug, Args)]
pub struct MqttArgs {
    #[command(flatten)]
    target: Target,
    /// Topics are PREFIX/<device>/up
    #[arg(long, default_value = "compound")]
    prefix: String,
    /// Doors
    #[arg(long, default_value_t = 2)]
    doors: u16,
    /// Thermometers
    #[arg(long, default_value_t = 3)]
    thermometers: u16,
    /// Smoke detectors
    #[arg(long, default_value_t = 1)]
    smoke: u16,
    /// Water meters
    #[arg(long, default_value_t = 1)]
    water: u16,
    /// Seconds between two publishes of a device
    #[arg(long, default_value_t = 1.0, value_parser = positive)]
    period: f64,
    /// The same seed says the same things
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Where to publish, as whom, for how long.
#[derive(Debug, Args)]
struct Target {
    /// host:port of the server
    #[arg(long, default_value = "127.0.0.1:1883")]
    server: String,
    /// User name; {device} in it is the device's name
    #[arg(long)]
    user: Option<String>,
    /// File with the password; {device} in it is the device's name
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// End after this long [default: Ctrl-C]
    #[arg(long, value_parser = positive)]
    seconds: Option<f64>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number <= 1e9 => Ok(number),
        _ => Err("a number above 0".into()),
    }
}

impl Target {
    fn user(&self) -> anyhow::Result<Option<load::User>> {
        let Some(name) = self.user.clone() else { return Ok(None) };
        let password = match &self.password_file {
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("password file {}", path.display()))?;
                Some(text.trim_end_matches(['\r', '\n']).to_owned())
            }
            None => None,
        };
        Ok(Some(load::User { name, password }))
    }

    fn duration(&self) -> Option<Duration> {
        self.seconds.map(Duration::from_secs_f64)
    }

    /// Host and port.
    fn address(&self) -> anyhow::Result<(String, u16)> {
        let server = &self.server;
        let (host, port) =
            server.rsplit_once(':').with_context(|| format!("server {server}: give it as host:port"))?;
        Ok((host.into(), port.parse().with_context(|| format!("server {server}: port {port:?}"))?))
    }

    /// Cancels when the time is over; it is over too when somebody else cancels.
    async fn end(&self, stop: &CancellationToken) {
        // Err is the regular end: the time is over.
        let _ = tokio::time::timeout(self.duration().unwrap_or(Duration::MAX), stop.cancelled()).await;
        stop.cancel();
    }
}

/// Runs the simulation to its end, or to the first SIGINT or SIGTERM, and prints what it did.
///
/// # Errors
/// What kept it from running; a server that broke the protocol.
pub async fn run(args: SimulateArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let _ended = stop.clone().drop_guard();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let simulation = async {
        match args.what {
            Simulation::Load(args) => run_load(args, out, stop.clone()).await,
            Simulation::Mqtt(args) => run_mqtt(args, out, stop.clone()).await,
            Simulation::Profile(args) => args.run(out, stop.clone()).await,
            Simulation::Bus(args) => {
                tokio::select! {
                    played = args.play() => Ok(played?),
                    () = stop.cancelled() => Ok(()),
                }
            }
        }
    };
    let signals = async {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        stop.cancel();
        std::future::pending().await
    };
    tokio::select! { result = simulation => result, () = signals => Ok(()) }
}

async fn run_load(args: LoadArgs, out: &mut impl Write, stop: CancellationToken) -> anyhow::Result<()> {
    let settings = load::Settings {
        user: args.target.user()?,
        duration: args.target.duration(),
        server: args.target.server,
        prefix: args.prefix,
        connections: args.connections,
        window: args.window,
        rate: args.rate,
        count: args.count,
        size: args.size,
        device: args.device,
        first: args.first,
        reconnect: args.reconnect,
        ledger: args.ledger,
        threads: args.threads,
        flood: args.flood,
        deaf: args.deaf,
        ..load::Settings::default()
    };
    let report = load::run(settings, Arc::default(), stop).await?;
    if args.target.json {
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
    } else {
        writeln!(out, "{report}")?;
    }
    if !report.clean() {
        bail!("the server sent {} acks out of order and {} unknown", report.out_of_order, report.unknown);
    }
    Ok(())
}

async fn run_mqtt(args: MqttArgs, out: &mut impl Write, stop: CancellationToken) -> anyhow::Result<()> {
    let server = &args.target.server;
    let (host, port) = args.target.address()?;
    let settings = devices::Settings {
        host,
        port,
        user: args.target.user()?,
        prefix: args.prefix.clone(),
        counts: [args.doors, args.thermometers, args.smoke, args.water],
        period: Duration::from_secs_f64(args.period),
        seed: args.seed,
        ..devices::Settings::default()
    };
    let counters = Arc::<devices::Counters>::default();
    let devices = devices::run(settings, Arc::clone(&counters), stop.clone());
    let (report, ()) = tokio::join!(devices, args.target.end(&stop));
    if args.target.json {
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
    } else {
        let names = report.personal.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
        let (published, acked, disconnects) = (report.published, report.acked, report.disconnects);
        writeln!(out, "{published} published, {acked} acked, {disconnects} disconnects")?;
        writeln!(out, "personal values sent: {names}")?;
    }
    if report.acked < counters.published.load(Relaxed) {
        bail!("{server} did not acknowledge {} of {}", report.published - report.acked, report.published);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    #[derive(Debug, Parser)]
    struct Top {
        #[command(flatten)]
        args: SimulateArgs,
    }

    #[test]
    fn the_examples_in_the_help_are_accepted() {
        Top::command().debug_assert();
        let mut seen = 0;
        for text in [LOAD_EXAMPLES, MQTT_EXAMPLES, profiles::EXAMPLES, bus::EXAMPLES] {
            for line in text.lines().filter_map(|line| line.trim().strip_prefix("smallbrain ")) {
                let words = line.split(' ').map(|word| word.trim_matches('\''));
                Top::try_parse_from(words).expect("an example of the help");
                seen += 1;
            }
        }
        assert_eq!(seen, 11);
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            "simulate load --window 0",
            "simulate load --connections 0",
            "simulate load --rate 0",
            "simulate load --rate NaN",
            "simulate load --seconds -1",
            "simulate load --password-file x",
            "simulate mqtt --period 0",
            "simulate profile",
            "simulate profile hikvision_isapi_time",
            "simulate profile tasmota --devices 0",
            "simulate profile tasmota --prefix x",
            "simulate",
        ] {
            assert!(Top::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_named() {
        let args = Top::try_parse_from("simulate load --server 127.0.0.1:1 --seconds 1".split(' '));
        let error =
            run(args.expect("good arguments").args, &mut Vec::new()).await.expect_err("nobody listens");
        assert!(error.to_string().starts_with("server 127.0.0.1:1, device load-1: "), "{error}");
    }
}
