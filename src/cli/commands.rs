//! `smallbrain commands`: what rules and the city made devices do, and what waits for people to agree.

use std::io::Write;
use std::process::ExitCode;

use super::alarms::{Daemon, ended, told};
use crate::wire::bus as wire;

/// Shown below `commands --help`.
pub const HELP: &str = "\
Examples:
  smallbrain commands
      what is not over: what waits for somebody to agree, and what is on its way
  smallbrain commands approve 7 --by 值班经理";

/// Arguments of `commands`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// What to do; without it runs are listed
    #[command(subcommand)]
    what: Option<What>,
    /// Those that are over too
    #[arg(long)]
    all: bool,
    /// The newest so many, up to 1000
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(clap::Subcommand, Clone, Debug)]
enum What {
    /// Agree to a run that waits for people
    #[command(after_help = "Example: smallbrain commands approve 7 --by 值班经理")]
    Approve {
        /// Number of the run
        number: u64,
        /// Who agrees
        #[arg(long)]
        by: String,
    },
}

/// Asks and prints. Exit code 0, or 1 when nobody answers or the answer is no.
pub async fn run(args: &Args, out: &mut dyn Write) -> ExitCode {
    let result = match args.what.clone() {
        Some(What::Approve { number, by }) => approve(&args.daemon, number, by, out).await,
        None => list(args, out).await,
    };
    ended("commands", result)
}

async fn list(args: &Args, out: &mut dyn Write) -> anyhow::Result<()> {
    let daemon = &args.daemon;
    let request = wire::ListRunsRequest { all: args.all, limit: args.limit };
    let found = daemon.client().await?.list_runs(request).await.map_err(told)?.into_inner();
    if found.runs.is_empty() && !daemon.json {
        writeln!(out, "{}", daemon.lang.say("没有命令", "no commands"))?;
    }
    let shown = daemon.shown(found.zone_ms);
    for run in &found.runs {
        shown.run(out, run)?;
    }
    Ok(out.flush()?)
}

async fn approve(daemon: &Daemon, run: u64, by: String, out: &mut dyn Write) -> anyhow::Result<()> {
    let request = wire::ApproveRunRequest { run, by };
    let answer = daemon.client().await?.approve_run(request).await.map_err(told)?.into_inner();
    daemon.shown(answer.zone_ms).run(out, &answer.run.unwrap_or_default())?;
    Ok(out.flush()?)
}
