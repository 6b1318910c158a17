//! `smallbrain write`: sets one writable point, through the running daemon and nothing else.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use tonic::{Code, Status};

use super::bus::{BusError, Lang, SOCKET, connect};
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
    /// Language of what is printed
    #[arg(long, value_enum, default_value_t = Lang::Zh)]
    pub lang: Lang,
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
            let told = args
                .lang
                .say("没有写入; 加 --yes 就不再询问", "nothing was written; --yes writes without asking");
            // Nobody left to tell.
            let _ = writeln!(io::stderr(), "smallbrain write: {told}");
            return ExitCode::from(1);
        }
        Err(error) => Err(error.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.tell("write", args.lang),
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
    let Args { device, metric, value, .. } = args;
    match args.lang {
        Lang::Zh => write!(io::stderr(), "把 {device} 的 {metric} 写成 {value}? [y/N] ")?,
        Lang::En => write!(io::stderr(), "write {value} to {metric} of {device}? [y/N] ")?,
    }
    let mut answer = String::new();
    input.lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

async fn write(args: &Args, out: &mut dyn Write) -> Result<(), BusError> {
    let Args { device, metric, value, socket, lang, .. } = args.clone();
    let what = format!("{device} {metric}");
    let client = connect(&socket).await;
    let mut client = client.map_err(|cause| BusError::NoDaemon { what, socket, cause, hint: "" })?;
    let answer = client.write(wire::WriteRequest { device, metric, value }).await;
    let told = answer.map_err(unconfirmed)?.into_inner().told;
    writeln!(out, "{} {}: {}", args.device, args.metric, lang.say("已写入, 表已确认", &told))?;
    Ok(out.flush()?)
}

/// A meter that did not answer as it should may have obeyed.
fn unconfirmed(status: Status) -> BusError {
    match status.code() {
        Code::DeadlineExceeded | Code::DataLoss => BusError::Unconfirmed(Box::new(status)),
        _ => status.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_from_a_write_that_nobody_confirms() {
        for (code, exit, chinese) in [
            (Code::DeadlineExceeded, 1, "不知道是否已写入, 先读一次再决定"),
            (Code::DataLoss, 1, "不知道是否已写入, 先读一次再决定"),
            (Code::FailedPrecondition, 1, "被拒绝"),
            (Code::InvalidArgument, 2, "参数不对"),
        ] {
            let error = unconfirmed(Status::new(code, "the meter said so"));
            assert_eq!((error.exit_code(), error.text(Lang::En).as_str()), (exit, "the meter said so"));
            let told = error.text(Lang::Zh);
            assert!(told.contains(chinese) && told.ends_with(": the meter said so"), "{told}");
        }
    }
}
