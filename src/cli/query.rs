//! `smallbrain query`: a question of a gateway's catalogue, as the city asks it: one JSON object a window, and one at the end.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

use serde_json::json;

use super::gateway::{Gateway, answer, end};
use crate::share::client::PullError;
use crate::wire::{self, v1};
use v1::query_service_client::QueryServiceClient;

/// Bytes of a part of an answer.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Arguments of `query`.
#[derive(clap::Args, Debug, Clone)]
pub struct Args {
    #[command(flatten)]
    gateway: Gateway,
    /// The query's id, as `catalog --list query` shows it
    id: String,
    /// An argument of it; may be repeated; from=TIME and to=TIME are needed
    #[arg(long = "arg", value_name = "NAME=VALUE", value_parser = argument)]
    arguments: Vec<(String, String)>,
    /// What for: the purpose of the query's share line
    #[arg(long)]
    purpose: String,
    /// Id of the call for both logs, 1 to 128 bytes [default: made of this process]
    #[arg(long)]
    request: Option<String>,
}

/// Shown below `query --help`.
pub const HELP: &str = "\
Example:
  smallbrain query --gateway http://127.0.0.1:50051 Q-001 --purpose safety.gate \\
    --arg from=2026-11-21T00:00:00+08:00 --arg to=2026-11-22T00:00:00+08:00 --arg building=B1

One JSON object a line: {window_start, window_end, measures} for a window, {audit_row, budget_left} at the end. Exit code 1
when it is refused or nobody answers, 77 when the gateway does not let this caller in.";

fn argument(text: &str) -> Result<(String, String), String> {
    let (name, value) =
        text.split_once('=').ok_or("an argument is NAME=VALUE: from=2026-11-21T00:00:00+08:00")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Asks once, and prints the answer as it comes.
pub async fn run(args: &Args, out: &mut dyn Write) -> ExitCode {
    end("query", told(args, out).await)
}

async fn told(args: &Args, out: &mut dyn Write) -> Result<(), PullError> {
    let channel = args.gateway.target().connect().await?;
    let mut client = QueryServiceClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
    let mut parts = answer(client.query(asked(args))).await?;
    let mut end = None;
    while let Some(part) = parts.message().await? {
        for window in &part.windows {
            writeln!(out, "{}", wire::query_json(window))?;
        }
        end = Some(json!({ "audit_row": part.audit_row, "budget_left": part.budget_left }));
    }
    if let Some(end) = end {
        writeln!(out, "{end}")?;
    }
    Ok(out.flush()?)
}

fn asked(args: &Args) -> v1::QueryRequest {
    v1::QueryRequest {
        request_id: args.request.clone().unwrap_or_else(|| format!("query-{}", std::process::id())),
        query: args.id.clone(),
        arguments: args.arguments.iter().cloned().collect::<BTreeMap<_, _>>(),
        purpose: args.purpose.clone(),
    }
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

    #[test]
    fn arguments_are_names_and_values() {
        let line = ["query", "--gateway", "http://127.0.0.1:1", "Q-1", "--purpose", "p", "--arg"];
        let read =
            |argument| Line::try_parse_from(line.iter().chain([&argument])).map(|line| asked(&line.args));
        let question = read("building=B=1").expect("arguments");
        assert_eq!((question.query.as_str(), question.purpose.as_str()), ("Q-1", "p"));
        assert_eq!(question.arguments, BTreeMap::from([("building".to_owned(), "B=1".to_owned())]));
        assert!(read("building").is_err());
    }
}
