//! `smallbrain order`: a command of the city, on the command line.
//!
//! What is printed is one JSON object with everything that is needed to ask again: a call whose answer was lost is repeated with
//! the same `--request-id` and the same `--not-after`, written as a time, and changes nothing.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;
use tonic::Code;

use crate::clock::{Clock, SystemClock};
use crate::config::duration;
use crate::rules::command::Stage;
use crate::share::client::{PullError, Target};
use crate::share::orders::Orders;
use crate::wire::{self, v1};

/// Between two questions where it is.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Arguments of `order`.
#[derive(clap::Args, Debug, Clone)]
pub struct Args {
    /// http://127.0.0.1:50051, unix:/path or https://gateway:50051
    #[arg(long)]
    pub gateway: String,
    /// Id of the command
    pub command: String,
    /// One of its arguments; again for each
    #[arg(long = "arg", value_name = "NAME=VALUE", value_parser = argument)]
    pub arguments: Vec<(String, String)>,
    /// Not sent after this: from now on, or a time; at most 7 days off
    #[arg(long, value_name = "10m|RFC 3339", value_parser = not_after)]
    pub not_after: NotAfter,
    /// Only if the device is in this state
    #[arg(long, value_name = "STATE", default_value = "")]
    pub expect: String,
    /// Only whether it would be taken
    #[arg(long)]
    pub validate: bool,
    /// The approval to order it under, 32 hex digits [default: any that holds]
    #[arg(long, default_value = "")]
    pub approval: String,
    /// Id of the request, 1 to 128 bytes [default: a new one]
    #[arg(long)]
    pub request_id: Option<String>,
    /// Wait for its end
    #[arg(long)]
    pub wait: bool,
    /// PEM roots of the gateway's certificate
    #[arg(long)]
    pub ca: Option<PathBuf>,
    /// PEM chain of this caller
    #[arg(long, requires = "key")]
    pub cert: Option<PathBuf>,
    /// PEM key of this caller
    #[arg(long, requires = "cert")]
    pub key: Option<PathBuf>,
}

/// Shown below `order --help`.
pub const HELP: &str = "\
Examples:
  smallbrain order --gateway http://127.0.0.1:50051 valve-shut --not-after 10m --wait
  smallbrain order --gateway http://127.0.0.1:50051 lamp --arg level=low --not-after 10m --expect high --validate

The caller needs a line of the share list in lane result that carries the command. Exit code 1 when it is refused, does not
end well or nobody answers, 77 when the gateway does not let this caller in.";

/// Until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAfter {
    /// So long from now on.
    In(Duration),
    /// Milliseconds since 1970 UTC.
    At(i64),
}

impl NotAfter {
    fn ms(self, now_ms: i64) -> i64 {
        match self {
            NotAfter::In(lasts) => {
                now_ms.saturating_add(i64::try_from(lasts.as_millis()).unwrap_or(i64::MAX))
            }
            NotAfter::At(ms) => ms,
        }
    }
}

fn not_after(text: &str) -> Result<NotAfter, String> {
    if let Ok(lasts) = duration(text) {
        return Ok(NotAfter::In(lasts));
    }
    let time = text.parse::<jiff::Timestamp>();
    let help = "expected a duration (10m) or a time (2026-05-01T08:00:00+08:00)";
    time.map(|time| NotAfter::At(time.as_millisecond())).map_err(|_| help.to_owned())
}

fn argument(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Orders it once, and waits if that is wanted.
pub async fn run(args: &Args, out: &mut dyn Write) -> ExitCode {
    let now_ms = SystemClock::default().now().wall_ms;
    let request = request(args, now_ms);
    match order(args, &request, out).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            let told = json!({ "request_id": request.request_id, "not_after": time(&request) });
            // Nobody left to tell.
            let _ = writeln!(io::stderr(), "smallbrain order: {error}\nthe request was {told}");
            match error {
                PullError::Refused(status)
                    if matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated) =>
                {
                    ExitCode::from(77)
                }
                _ => ExitCode::from(1),
            }
        }
    }
}

/// False when it has ended, and not well.
async fn order(
    args: &Args,
    request: &v1::SubmitCommandRequest,
    out: &mut dyn Write,
) -> Result<bool, PullError> {
    let target = Target {
        gateway: args.gateway.clone(),
        ca: args.ca.clone(),
        certificate: args.cert.clone(),
        key: args.key.clone(),
    };
    let mut orders = Orders::connect(&target).await?;
    let taken = orders.submit(request.clone()).await?;
    let mut told = json!({
        "command_id": taken.command_id, "status": taken.status, "duplicate": taken.duplicate,
        "request_id": request.request_id, "not_after": time(request),
    });
    if args.wait && !args.validate {
        let end = loop {
            let stands = orders.command(&taken.command_id).await?;
            if let Some(end) = stands.result {
                break end;
            }
            sleep(ASK_EVERY).await;
        };
        told["done_at"] = end.done_at.as_ref().map_or(Value::Null, |at| rfc3339(wire::millis(at)).into());
        (told["status"], told["detail"]) = (end.status.into(), end.detail.into());
    }
    writeln!(out, "{told}")?;
    out.flush()?;
    Ok(!matches!(told["status"].as_str().and_then(Stage::named), Some(Stage::Failed | Stage::Expired)))
}

fn request(args: &Args, now_ms: i64) -> v1::SubmitCommandRequest {
    v1::SubmitCommandRequest {
        request_id: args.request_id.clone().unwrap_or_else(fresh),
        command: args.command.clone(),
        arguments: args.arguments.iter().cloned().collect(),
        not_after: Some(wire::timestamp(args.not_after.ms(now_ms))),
        approval_id: args.approval.clone(),
        validate_only: args.validate,
        expect_state: args.expect.clone(),
    }
}

/// 128 random bits as hex; empty without randomness, which the gateway refuses.
fn fresh() -> String {
    let mut bytes = [0; 16];
    match getrandom::fill(&mut bytes) {
        Ok(()) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        Err(_) => String::new(),
    }
}

fn time(request: &v1::SubmitCommandRequest) -> String {
    rfc3339(wire::millis(&request.not_after.unwrap_or_default()))
}

fn rfc3339(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| "-".into(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(more: &[&str]) -> Result<Args, clap::Error> {
        let fixed = ["order", "--gateway", "http://127.0.0.1:1", "lamp"];
        Line::try_parse_from(fixed.iter().chain(more)).map(|line| line.args)
    }

    #[test]
    fn what_is_written_is_what_is_asked() {
        let more = ["--not-after", "10m", "--arg", "level=low", "--arg", "note=a=b", "--request-id", "r-1"];
        let asked = request(&args(&more).expect("arguments"), 1_000);
        assert_eq!((&*asked.request_id, &*asked.command), ("r-1", "lamp"));
        assert_eq!(asked.not_after, Some(wire::timestamp(601_000)));
        let expected = [("level", "low"), ("note", "a=b")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(asked.arguments, expected.into());
    }

    #[test]
    fn a_repeated_call_says_the_time_that_was_printed() {
        let first = request(&args(&["--not-after", "10m"]).expect("arguments"), 1_000);
        let again = ["--not-after", &time(&first), "--request-id", &first.request_id];
        assert_eq!(request(&args(&again).expect("arguments"), 99_000), first);
        assert_eq!(first.request_id.len(), 32);
        for wrong in [&["--not-after", "soon"][..], &["--not-after", "1m", "--arg", "level"], &[]] {
            assert!(args(wrong).is_err(), "{wrong:?}");
        }
    }
}
