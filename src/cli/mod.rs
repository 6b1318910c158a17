//! The verbs: arguments in, an exit code out.
//!
//! Exit codes: 0 done, 1 could not, 2 usage, 70 the daemon ended early, 77 no permission, 78 the configuration is wrong.

pub mod alarms;
pub mod approvals;
pub mod audit;
pub mod bus;
pub mod catalog;
pub mod check;
pub mod commands;
pub mod decode;
pub mod demo;
pub mod desensitize;
pub mod device;
pub mod devices;
pub mod emergency;
pub mod enter;
pub mod events;
pub mod feedback;
pub mod gateway;
pub mod lists;
pub mod map;
pub mod onboard;
pub mod order;
pub mod pull;
pub mod query;
pub mod read;
pub mod rules;
pub mod scan;
pub mod send;
pub mod simulate;
pub mod status;
pub mod trace;
pub mod write;

use std::future::Future;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use desensitize::DesensitizeError;

use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::daemon::{self, DaemonError};
use crate::telemetry;

/// The community small brain: an edge gateway for residential compounds.
#[derive(Debug, Parser)]
#[command(name = "smallbrain", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// The daemon
    #[command(after_help = "Example: smallbrain run --config /etc/smallbrain/config.toml")]
    Run {
        /// The configuration file
        #[arg(long)]
        config: PathBuf,
    },
    /// The whole road in one process, with simulated devices and a city that is cut off in the middle
    #[command(after_help = "Example: smallbrain demo --seconds 24")]
    Demo(demo::Args),
    /// Everything that is wrong with a configuration, or what it says; exit code 0 or 78
    #[command(after_help = "Example: smallbrain check --config config.example.toml")]
    Check {
        /// The configuration file
        #[arg(long)]
        config: PathBuf,
        /// Faults and warnings as a JSON array
        #[arg(long)]
        json: bool,
    },
    /// How the running daemon is
    #[command(after_help = STATUS_EXAMPLES)]
    Status(status::Args),
    /// The devices of the configuration, or those that speak and are in none
    #[command(after_help = devices::HELP)]
    Devices(devices::Args),
    /// What is the matter, who was told, and the steps that people take
    #[command(after_help = alarms::HELP)]
    Alarms(alarms::Args),
    /// Profiles for emergencies: sign one, check one, list them
    #[command(after_help = emergency::HELP)]
    Emergency(emergency::Args),
    /// Report what no device measures, and check what others reported
    #[command(after_help = enter::HELP)]
    Enter(Box<enter::Args>),
    /// What happened to alarms, one line each
    #[command(after_help = events::HELP)]
    Events(events::Args),
    /// Who was told what, and what proves it
    #[command(after_help = events::NOTICES_HELP)]
    Notices(events::NoticesArgs),
    /// What rules made devices do, and what waits for people to agree
    #[command(after_help = commands::HELP)]
    Commands(commands::Args),
    /// Who may have what: what was asked for, and the steps of people: ask, vote, revoke
    #[command(after_help = approvals::HELP)]
    Approvals(approvals::Args),
    /// Whether the trail of what was done is whole, and its public key
    #[command(after_help = audit::HELP)]
    Audit(audit::Args),
    /// Who got a record, under which line, on whose approval, and what came of it
    #[command(after_help = trace::HELP)]
    Trace(trace::Args),
    /// Find the meters on a bus, and the lines of the configuration that would read them
    #[command(after_help = scan::HELP)]
    Scan(scan::Args),
    /// Read a point of a configured meter, or anything of any meter, now
    #[command(after_help = read::HELP)]
    Read(read::Args),
    /// Write a point that the configuration makes writable
    #[command(after_help = write::HELP)]
    Write(write::Args),
    /// Send a command to MQTT devices; one that sleeps gets it later
    #[command(after_help = send::HELP)]
    Send(send::Args),
    /// Pull sealed records from a gateway, as the city does
    #[command(after_help = PULL_EXAMPLES)]
    Pull(pull::Args),
    /// The four lists: what is open, the loop, and why a field may leave or not
    #[command(after_help = lists::HELP)]
    Lists(lists::Args),
    /// The cases of rules
    #[command(after_help = rules::HELP)]
    Rules(rules::Args),
    /// Say what has become of an alarm, as the city does
    #[command(after_help = feedback::HELP)]
    Feedback(feedback::Args),
    /// Have a device do something, as the city does
    #[command(after_help = order::HELP)]
    Order(order::Args),
    /// What a gateway has for this caller, as the city asks it: lines of the lists, commands, queries, schemas
    #[command(after_help = catalog::HELP)]
    Catalog(catalog::Args),
    /// Ask a gateway a question of its catalogue, as the city does
    #[command(after_help = query::HELP)]
    Query(query::Args),
    /// Devices and load that are not there
    #[command(after_help = "Example: smallbrain simulate mqtt --server 127.0.0.1:1883 --seconds 60")]
    Simulate(simulate::SimulateArgs),
    /// What captured bytes say
    Decode(decode::Args),
    /// What a mapping profile makes of an MQTT payload
    Map(map::Args),
    /// What an operator of desensitisation makes of values, for trying it out
    #[command(after_help = desensitize::help())]
    Desensitize(desensitize::Args),
    /// Credentials of MQTT devices, and lines for those that are unknown
    #[command(after_help = device::HELP)]
    Device(device::Args),
}

const STATUS_EXAMPLES: &str = "\
Examples:
  smallbrain status --lang en
  smallbrain status --socket smallbrain-data/smallbrain.sock --json";

const PULL_EXAMPLES: &str = "\
Examples:
  smallbrain pull --gateway http://127.0.0.1:50051
      everything that is granted, from the stored ack to the head
  smallbrain pull --gateway http://127.0.0.1:50051 --lane alarm --follow --ack --state alarms.json
      alarms as they come; what was written out is acknowledged, and the next run goes on behind it
  smallbrain pull --gateway https://gateway:50051 --follow --ack --witness gateway.jsonl --audit-key 3b6a27bc…
      the same as a witness: every signed position of the audit trail is kept, and a trail that was cut, changed or put
      back ends with exit code 1

One JSON object a line: {lane, seq, record_id, share_item, schema, body} for a record, {lane, gap: {from, to, reason}} for
a loss, {lane, withheld, through} for positions of other consumers. Density, ids and hashes are verified; what does not
hold ends with exit code 1.";

/// Runs the command line.
#[must_use]
pub fn main() -> ExitCode {
    let verb = Cli::parse().verb;
    let mut out = io::stdout();
    match verb {
        Verb::Run { config } => run(&config),
        Verb::Demo(args) => logged(|| {
            within(async {
                match demo::run(&args, &mut out).await {
                    Ok(true) => ExitCode::SUCCESS,
                    Ok(false) => ExitCode::from(1),
                    Err(error) => failed("demo", &error),
                }
            })
        }),
        Verb::Check { config, json } => ExitCode::from(check::run(&config, json, &mut out)),
        Verb::Status(args) => within(status::run(&args, &mut out)),
        Verb::Devices(args) => within(devices::run(&args, &mut out)),
        Verb::Alarms(args) => within(alarms::run(&args, &mut out)),
        Verb::Emergency(args) => match emergency::run(&args, &mut out) {
            Ok(code) => ExitCode::from(code),
            Err(error) => failed("emergency", &error),
        },
        Verb::Enter(args) => within(enter::run(&args, &mut out)),
        Verb::Events(args) => within(events::run(&args, &mut out)),
        Verb::Notices(args) => within(events::notices(&args, &mut out)),
        Verb::Commands(args) => within(commands::run(&args, &mut out)),
        Verb::Approvals(args) => within(approvals::run(&args, &mut out)),
        Verb::Audit(args) => audit::run(&args, &mut out),
        Verb::Trace(args) => trace::run(&args, &mut out),
        Verb::Scan(args) => within(scan::run(&args, &mut out)),
        Verb::Read(args) => within(read::run(&args, &mut out)),
        Verb::Write(args) => within(write::run(&args, &mut out)),
        Verb::Send(args) => within(send::run(&args, &mut out)),
        Verb::Pull(args) => logged(|| within(pull::run(&args, &mut io::BufWriter::new(out)))),
        Verb::Lists(args) => ExitCode::from(lists::run(&args, &mut out)),
        Verb::Rules(args) => ExitCode::from(rules::run(&args, &mut out)),
        Verb::Feedback(args) => within(feedback::run(&args, &mut out)),
        Verb::Order(args) => within(order::run(&args, &mut out)),
        Verb::Catalog(args) => within(catalog::run(&args, &mut out)),
        Verb::Query(args) => within(query::run(&args, &mut out)),
        Verb::Simulate(args) => logged(|| {
            within(async {
                match simulate::run(args, &mut out).await {
                    Ok(()) => ExitCode::SUCCESS,
                    Err(error) => failed("simulate", &error),
                }
            })
        }),
        Verb::Decode(args) => match decode::main(&args, io::stdin().lock(), io::BufWriter::new(out.lock())) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed("decode", &error.into()),
        },
        Verb::Map(args) => match map::main(&args, io::stdin().lock(), out.lock()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed("map", &error.into()),
        },
        Verb::Desensitize(args) => {
            let (input, output) = (io::stdin().lock(), io::BufWriter::new(out.lock()));
            match desensitize::main(&args, input, output, io::stderr()) {
                Ok(whole) => ExitCode::from(u8::from(!whole)),
                Err(error @ DesensitizeError::Io(_)) => failed("desensitize", &error.into()),
                Err(error) => {
                    failed("desensitize", &error.into());
                    ExitCode::from(2)
                }
            }
        }
        Verb::Device(args) => match args.from_pending() {
            Some((pending, name, write)) => within(onboard::add(pending, name, write, &mut out)),
            None => match device::run(&args, &mut out) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => failed("device", &error),
            },
        },
    }
}

/// `smallbrain run`.
fn run(path: &Path) -> ExitCode {
    let config = match Config::load(path, SystemClock::default().now().wall_ms, None) {
        Ok(config) => config,
        Err(faults) => return ended(&DaemonError::Config(faults)),
    };
    if let Err(error) = telemetry::start_logs(&config.telemetry.log) {
        return failed("run", &anyhow::anyhow!(error));
    }
    within(async {
        match daemon::run(path, config).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => ended(&error),
        }
    })
}

fn ended(error: &DaemonError) -> ExitCode {
    // Nobody left to tell.
    let _ = writeln!(io::stderr(), "smallbrain: {error}");
    ExitCode::from(error.exit_code())
}

fn failed(verb: &str, error: &anyhow::Error) -> ExitCode {
    // Nobody left to tell.
    let _ = writeln!(io::stderr(), "smallbrain {verb}: {error:#}");
    ExitCode::from(1)
}

/// With warnings on stderr; RUST_LOG says otherwise.
fn logged(verb: impl FnOnce() -> ExitCode) -> ExitCode {
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "error".into());
    match telemetry::start_logs(&filter) {
        Ok(()) => verb(),
        Err(error) => failed("logs", &anyhow::anyhow!(error)),
    }
}

fn within(task: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(task);
            // A thread that waits for input must not keep the process.
            runtime.shutdown_background();
            code
        }
        Err(error) => failed("runtime", &error.into()),
    }
}
