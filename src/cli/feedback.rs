//! `smallbrain feedback`: the city's word about an alarm, on the command line.
//!
//! The request id is made of what is said, unless one is given: the same words about the same record twice are one feedback,
//! so a call whose answer was lost is simply repeated.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;
use sha2::{Digest, Sha256};
use tonic::Code;

use super::bus::Lang;
use crate::share::client::{self, PullError, Target};
use crate::wire::v1;

/// Arguments of `feedback`.
#[derive(clap::Args, Debug, Clone)]
pub struct Args {
    /// http://127.0.0.1:50051, unix:/path or https://gateway:50051
    #[arg(long)]
    pub gateway: String,
    /// record_id of a record of the alarm, as `pull` shows it
    #[arg(long)]
    pub record: String,
    /// What has become of it on the city's side
    #[arg(long, value_parser = ["confirmed", "dispatched", "handled", "closed", "noted"])]
    pub step: String,
    /// In words, at most 1,000 bytes
    #[arg(long, default_value = "")]
    pub text: String,
    /// Id of the request, 1 to 128 bytes [default: made of the rest]
    #[arg(long)]
    pub request: Option<String>,
    /// PEM roots of the gateway's certificate
    #[arg(long)]
    pub ca: Option<PathBuf>,
    /// PEM chain of this caller
    #[arg(long, requires = "key")]
    pub cert: Option<PathBuf>,
    /// PEM key of this caller
    #[arg(long, requires = "cert")]
    pub key: Option<PathBuf>,
    /// One JSON object: {feedback_id, duplicate}
    #[arg(long)]
    pub json: bool,
    /// Language of what is printed
    #[arg(long, value_enum, default_value_t = Lang::Zh)]
    pub lang: Lang,
}

/// Shown below `feedback --help`.
pub const HELP: &str = "\
Examples:
  smallbrain feedback --gateway http://127.0.0.1:50051 --record 07…07-alarm-1 --step confirmed
  smallbrain feedback --gateway http://127.0.0.1:50051 --record 07…07-alarm-1 --step closed --text 已到场处置

The caller needs a line of the share list in lane alarm. The same call twice is kept once. Exit code 1 when it is refused
or nobody answers, 77 when the gateway does not let this caller in.";

/// Says it once.
pub async fn run(args: &Args, out: &mut dyn Write) -> ExitCode {
    match say(args, out).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody left to tell.
            let _ = writeln!(io::stderr(), "smallbrain feedback: {error}");
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

async fn say(args: &Args, out: &mut dyn Write) -> Result<(), PullError> {
    let target = Target {
        gateway: args.gateway.clone(),
        ca: args.ca.clone(),
        certificate: args.cert.clone(),
        key: args.key.clone(),
    };
    let told = client::feedback(&target, request(args)).await?;
    let v1::PushFeedbackResponse { feedback_id: id, duplicate } = told;
    match (args.json, args.lang, duplicate) {
        (true, ..) => writeln!(out, "{}", json!({ "feedback_id": id, "duplicate": duplicate }))?,
        (_, Lang::Zh, false) => writeln!(out, "反馈 {id} 已存盘")?,
        (_, Lang::Zh, true) => writeln!(out, "反馈 {id} 之前已收到, 没有变化")?,
        (_, Lang::En, false) => writeln!(out, "feedback {id} is on disk")?,
        (_, Lang::En, true) => writeln!(out, "feedback {id} came before, nothing has changed")?,
    }
    Ok(out.flush()?)
}

fn request(args: &Args) -> v1::PushFeedbackRequest {
    v1::PushFeedbackRequest {
        request_id: args.request.clone().unwrap_or_else(|| request_id(args)),
        in_reply_to: args.record.clone(),
        kind: args.step.clone(),
        text: args.text.clone(),
        ..v1::PushFeedbackRequest::default()
    }
}

/// The first 128 bits of a digest over what is said, as hex.
fn request_id(args: &Args) -> String {
    let mut digest = Sha256::new();
    for part in [&args.record, &args.step, &args.text] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
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
        let fixed = ["feedback", "--gateway", "http://127.0.0.1:1", "--record", "07-alarm-1"];
        Line::try_parse_from(fixed.iter().chain(more)).map(|line| line.args)
    }

    #[test]
    fn the_same_words_are_the_same_request() {
        let id = |more: &[&str]| request(&args(more).expect("arguments")).request_id;
        let noted = id(&["--step", "noted", "--text", "a"]);
        assert_eq!(noted, id(&["--text", "a", "--step", "noted"]));
        assert_eq!(noted.len(), 32);
        assert_ne!(noted, id(&["--step", "noted", "--text", "b"]));
        assert_ne!(noted, id(&["--step", "closed", "--text", "a"]));
        assert_eq!(id(&["--step", "noted", "--request", "r-1"]), "r-1");
        assert!(args(&["--step", "raised"]).is_err());
    }
}
