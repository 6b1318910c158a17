//! The verbs of `smallbrain-city`: arguments in, an exit code out.
//!
//! Exit codes: 0 done, 1 could not, 2 usage, 78 the configuration or the registry is wrong.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::collector::{self, CollectorError};
use super::registry::Registry;
use super::settings::{Settings, start_logs};
use crate::config::Faults;

/// Exit code of a configuration that cannot be taken (`EX_CONFIG` of sysexits.h).
const FAULTY: u8 = 78;

/// The city's collector: pulls from many gateways, and hands everything to JSON lines, NATS JetStream or PostgreSQL.
#[derive(Debug, Parser)]
#[command(name = "smallbrain-city", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// The collector
    #[command(after_help = "Example: smallbrain-city run --config /etc/smallbrain/city.toml")]
    Run {
        /// The configuration file
        #[arg(long)]
        config: PathBuf,
    },
    /// Everything that is wrong with a configuration and its registry; exit code 0 or 78
    #[command(after_help = "Example: smallbrain-city check --config docs/city.example.toml")]
    Check {
        /// The configuration file
        #[arg(long)]
        config: PathBuf,
    },
}

/// Runs the command line.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::parse().verb {
        Verb::Run { config } => run(&config),
        Verb::Check { config } => check(&config, &mut io::stdout()),
    }
}

fn check(path: &Path, out: &mut impl Write) -> ExitCode {
    let loaded = Settings::load(path).and_then(|settings| {
        let registry = Registry::load(&settings.registry, &settings.tls)?;
        Ok((settings, registry))
    });
    let told = match &loaded {
        Ok((settings, registry)) => {
            let gateways = registry.gateways.len();
            writeln!(out, "{}: {gateways} gateways into {}", settings.name, settings.sink.kind())
        }
        Err(faults) => write!(out, "{faults}"),
    };
    match (told, loaded) {
        (Err(_), _) => ExitCode::from(1),
        (Ok(()), Ok(_)) => ExitCode::SUCCESS,
        (Ok(()), Err(_)) => ExitCode::from(FAULTY),
    }
}

fn run(path: &Path) -> ExitCode {
    let settings = match Settings::load(path) {
        Ok(settings) => settings,
        Err(faults) => return faulty(&faults),
    };
    if let Err(error) = start_logs(&settings) {
        return failed(&error);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let end = runtime.block_on(async {
        let (reload, stop) = (Arc::new(Notify::new()), CancellationToken::new());
        tokio::spawn(signals(reload.clone(), stop.clone()));
        collector::run(settings, reload, stop).await
    });
    // Files that are being written are finished; a line that hangs does not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    match end {
        Ok(()) => ExitCode::SUCCESS,
        Err(CollectorError::Registry(faults)) => faulty(&faults),
        Err(error) => failed(&error),
    }
}

/// SIGTERM and SIGINT end the collector, SIGHUP has it look at the registry.
async fn signals(reload: Arc<Notify>, stop: CancellationToken) {
    let watched =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()));
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)) = watched else {
        tracing::warn!("signals are not watched, the system's default holds");
        return;
    };
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => reload.notify_one(),
        }
    }
    stop.cancel();
}

fn faulty(faults: &Faults) -> ExitCode {
    // Nobody left to tell.
    let _ = write!(io::stderr(), "{faults}");
    ExitCode::from(FAULTY)
}

fn failed(error: &dyn std::fmt::Display) -> ExitCode {
    // Nobody left to tell.
    let _ = writeln!(io::stderr(), "smallbrain-city: {error}");
    ExitCode::from(1)
}
