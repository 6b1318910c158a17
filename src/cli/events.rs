//! `smallbrain events`: what happened to all incidents, one line each, and what happens now; `smallbrain notices`: who was
//! told what, and what proves it.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use super::alarms::{Daemon, ended, told};
use crate::clock::{Clock, SystemClock};
use crate::config::duration;
use crate::wire::bus as wire;

/// How often `--follow` asks.
const EVERY: Duration = Duration::from_secs(1);

/// Shown below `events --help`.
pub const HELP: &str = "\
Examples:
  smallbrain events --since 1h
  smallbrain events --follow --json
      one JSON object a line, as it happens";

/// Shown below `notices --help`.
pub const NOTICES_HELP: &str = "\
Examples:
  smallbrain notices --waiting
  smallbrain notices --recipient property --limit 20";

/// Arguments of `events`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Not older than this: "30m", "1h", "7d"
    #[arg(long, value_parser = duration)]
    since: Option<Duration>,
    /// The newest so many, up to 1000
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Go on with what happens from now on, until it is interrupted
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    daemon: Daemon,
}

/// Arguments of `notices`.
#[derive(clap::Args, Clone, Debug)]
pub struct NoticesArgs {
    /// Only those that are not delivered yet
    #[arg(long)]
    waiting: bool,
    /// Only those to this recipient
    #[arg(long)]
    recipient: Option<String>,
    /// The newest so many, up to 1000
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    #[command(flatten)]
    daemon: Daemon,
}

/// Asks and prints. Exit code 0, or 1 when nobody answers.
pub async fn run(args: &Args, out: &mut dyn Write) -> ExitCode {
    ended("events", events(args, out).await)
}

/// Asks and prints. Exit code 0, or 1 when nobody answers.
pub async fn notices(args: &NoticesArgs, out: &mut dyn Write) -> ExitCode {
    ended("notices", list_notices(args, out).await)
}

async fn events(args: &Args, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut client = args.daemon.client().await?;
    let since = args.since.map(|since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
    let since_ms = since.map(|ms| SystemClock::default().now().wall_ms.saturating_sub(ms));
    // What happens between the two questions is in the second answer.
    let newest = wire::ListEventsRequest { limit: 1, ..Default::default() };
    let newest = client.list_events(newest).await.map_err(told)?.into_inner().events;
    let mut last = newest.first().map_or(0, |event| event.id);
    let request = wire::ListEventsRequest { after: None, since_ms, limit: args.limit };
    let mut found = client.list_events(request).await.map_err(told)?.into_inner();
    found.events.reverse();
    loop {
        let shown = args.daemon.shown(found.zone_ms);
        for event in &found.events {
            shown.event(out, event)?;
            last = last.max(event.id);
        }
        out.flush()?;
        if !args.follow {
            return Ok(());
        }
        if found.events.is_empty() {
            tokio::time::sleep(EVERY).await;
        }
        let request = wire::ListEventsRequest { after: Some(last), since_ms: None, limit: 0 };
        found = client.list_events(request).await.map_err(told)?.into_inner();
    }
}

async fn list_notices(args: &NoticesArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let NoticesArgs { waiting, recipient, limit, daemon } = args.clone();
    let recipient = recipient.unwrap_or_default();
    let request = wire::ListNoticesRequest { waiting, recipient, limit };
    let found = daemon.client().await?.list_notices(request).await.map_err(told)?.into_inner();
    let shown = daemon.shown(found.zone_ms);
    if found.notices.is_empty() && !daemon.json {
        writeln!(out, "{}", daemon.lang.say("没有通知", "no notices"))?;
    }
    for notice in &found.notices {
        shown.notice(out, notice)?;
    }
    Ok(out.flush()?)
}
