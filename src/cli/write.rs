//! `smallbrain write`: sets one writable point, through the running daemon and nothing else.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use super::bus::{BusError, SOCKET, connect};
use crate::wire::bus as wire;

/// Arguments of `write`.
#[derive(clap::Args, Debug, Clone)]
pub struct Args {
    /// A device of the configuration
    pub device: String,
    /// One of its metrics
    pub metric: String,
    /// As a reading, in the unit of the point: a number, or on, off, open, closed
    #[arg(allow_negative_numbers = true)]
    pub value: String,
    /// Do not ask first
    #[arg(long)]
    pub yes: bool,
    /// The daemon's socket
    #[arg(long, default_value = SOCKET)]
    pub socket: PathBuf,
}

/// Shown below `write --help`.
pub const HELP: &str = "\
Examples:
  smallbrain write pump-1 setpoint 21.5
  smallbrain write water-3 valve_open closed --yes

Everything is read-only until its point says writable in the configuration, with limits. The daemon writes, between two
readings, and logs who asked for what; the answer is the meter's. Exit code 1 when it is refused or not confirmed.";

/// Writes once.
pub async fn run(args: &Args, out: &mut dyn Write) -> ExitCode {
    let done = match confirmed(args) {
        Ok(true) => write(args, out).await,
        Ok(false) => {
            // Nobody left to tell.
            let _ =
                writeln!(io::stderr(), "smallbrain write: nothing was written; --yes writes without asking");
            return ExitCode::from(1);
        }
        Err(error) => Err(error.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody left to tell.
            let _ = writeln!(io::stderr(), "smallbrain write: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// Asks the person at the terminal; without one there is nobody to ask.
fn confirmed(args: &Args) -> io::Result<bool> {
    if args.yes {
        return Ok(true);
    }
    let input = io::stdin();
    if !input.is_terminal() {
        return Ok(false);
    }
    write!(io::stderr(), "write {} to {} of {}? [y/N] ", args.value, args.metric, args.device)?;
    let mut answer = String::new();
    input.lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

async fn write(args: &Args, out: &mut dyn Write) -> Result<(), BusError> {
    let Args { device, metric, value, socket, .. } = args.clone();
    let what = format!("{device} {metric}");
    let client = connect(&socket).await;
    let mut client = client.map_err(|cause| BusError::NoDaemon { what, socket, cause, hint: "" })?;
    let answer = client.write(wire::WriteRequest { device, metric, value }).await?.into_inner();
    writeln!(out, "{} {}: {}", args.device, args.metric, answer.told)?;
    Ok(out.flush()?)
}
