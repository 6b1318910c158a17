//! `smallbrain lists`: the four lists of a configuration, without a daemon: what is open, the loop, and why a field may leave.
//!
//! Guarantees: writes nothing; the store beside is only read. Exit codes: 0 nothing is open, 1 something is, or there is no
//! such field, 78 the configuration does not load. What drifted apart while the gateway ran is told, and changes no exit code.

mod kept;
pub mod shown;

use std::io::{self, Write};
use std::path::PathBuf;

use self::shown::Shown;
use super::bus::Lang;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::lists::drift::drift;
use crate::lists::explain::explain;
use crate::lists::lint::lint;
use crate::lists::loops::{Loop, loops};
use crate::model::{LineId, Metric};
use crate::privacy::protect::Protect;
use crate::privacy::protect::table::Prediction;
use crate::spelling::nearest;
use crate::store::lists::observed_in;
use crate::store::loops::cases_in;
use crate::store::released::history_in;
use crate::store::shared::shared_in;

/// Shown below `lists --help`.
pub const HELP: &str = "\
Examples:
  smallbrain lists check --config config.example.toml
      every open end of the four lists, each with the next step; exit code 1 when there is one
  smallbrain lists show --config config.example.toml --lang en
      the loop: demand, collection, share, governance, demand
  smallbrain lists explain temperature --config config.example.toml
      where a field is taken, to whom it goes, or which rule denies it
  smallbrain lists shared permitted-plates --has 9f86d081 --config config.example.toml
      whether a list of the city has a key that holds now
  smallbrain lists loops --config config.example.toml
      what is open, late and returned, by governance line";

/// Exit code of a configuration that cannot be taken (`EX_CONFIG` of sysexits.h).
const FAULTY: u8 = 78;
/// Exit code when the output could not be written (`EX_SOFTWARE`).
const INTERNAL: u8 = 70;

/// Arguments of `lists`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand, Clone, Debug)]
enum What {
    /// What is open, and what drifted apart while the gateway ran
    #[command(after_help = "Example: smallbrain lists check --config config.example.toml")]
    Check(Of),
    /// The loop as a table: 需求 → 归集 → 共享 → 治理 → 需求
    #[command(after_help = "Example: smallbrain lists show --config config.example.toml --lang en")]
    Show(Of),
    /// Why a field may leave or not: to whom, in which form, on whose approval
    #[command(after_help = "Example: smallbrain lists explain temperature --config config.example.toml")]
    Explain {
        /// The name of a metric
        field: Metric,
        #[command(flatten)]
        of: Of,
    },
    /// Lists that the city shares: version, entries, until when
    #[command(
        after_help = "Example: smallbrain lists shared permitted-plates --has 9f86d081 --config config.example.toml"
    )]
    Shared {
        /// Only this list, with its keys
        id: Option<LineId>,
        /// Whether an entry with this key holds now: exit code 0, or 1 when none does
        #[arg(long, requires = "id")]
        has: Option<String>,
        #[command(flatten)]
        of: Of,
    },
    /// Open loops: what is open, late and returned, by governance line
    #[command(after_help = "Example: smallbrain lists loops --config config.example.toml --lang en")]
    Loops(Of),
}

/// Of which configuration, and how.
#[derive(clap::Args, Clone, Debug)]
struct Of {
    /// The configuration file
    #[arg(long)]
    config: PathBuf,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
    /// Language of what is printed
    #[arg(long, value_enum, default_value_t = Lang::Zh)]
    lang: Lang,
}

/// Runs the verb; gives the exit code.
pub fn run(args: &Args, out: &mut dyn Write) -> u8 {
    let (What::Check(of)
    | What::Show(of)
    | What::Loops(of)
    | What::Explain { of, .. }
    | What::Shared { of, .. }) = &args.what;
    let now_ms = SystemClock::default().now().wall_ms;
    let config = match Config::load(&of.config, now_ms, None) {
        Ok(config) => config,
        Err(faults) => {
            // Nobody left to tell.
            let _ = writeln!(io::stderr(), "{faults}");
            return FAULTY;
        }
    };
    let shown = Shown { lang: of.lang, json: of.json, zone_ms: config.plan.rules.zone_ms };
    let told = match &args.what {
        What::Check(_) => check(&config, shown, now_ms, out),
        What::Show(_) => shown.cycle(&config.plan.lists, out).map(|()| 0),
        What::Loops(_) => open_loops(&config, shown, now_ms, out),
        What::Shared { id, has, .. } => shared(&config, id.as_ref(), has.as_deref(), shown, now_ms, out),
        What::Explain { field, .. } => answer(&config, field, shown, now_ms, out),
    };
    told.unwrap_or(INTERNAL)
}

fn check(config: &Config, shown: Shown, now_ms: i64, out: &mut dyn Write) -> io::Result<u8> {
    let lists = &config.plan.lists;
    let findings = lint(lists);
    let observed = observed_in(&config.store.dir, lists, now_ms);
    let drift = observed.map(|observed| observed.map(|observed| drift(lists, &observed, now_ms)));
    shown.check(lists, &findings, &drift, &predicted(config), out)?;
    Ok(u8::from(!findings.is_empty()))
}

/// How many windows a prediction is made of.
const WINDOWS: usize = 1000;

/// What the rules of protected aggregates would hold back of what there was; an aggregate that several lines carry once.
fn predicted(config: &Config) -> Vec<(LineId, Prediction)> {
    let mut predicted: Vec<(LineId, Prediction)> = Vec::new();
    for share in &config.plan.shares {
        let Some(Protect::Sdc(rule)) = &share.protect else { continue };
        for aggregate in &share.carries {
            if predicted.iter().any(|(known, _)| known == aggregate) {
                continue;
            }
            // A store that cannot be read is told beside this, as drift that cannot be.
            let history = history_in(&config.store.dir, aggregate, WINDOWS).unwrap_or_default();
            let history = history.iter().map(|past| (&past.subjects[..], past.total));
            predicted.push((aggregate.clone(), rule.predicted(history)));
        }
    }
    predicted
}

/// What the store knows of the loops; exit code 1 when something is overdue.
fn open_loops(config: &Config, shown: Shown, now_ms: i64, out: &mut dyn Write) -> io::Result<u8> {
    let cases = cases_in(&config.store.dir).map_err(io::Error::other)?;
    let told = loops(&config.plan.lists, &cases, now_ms);
    shown.loops(&told, out)?;
    Ok(u8::from(told.iter().any(Loop::is_overdue)))
}

/// The lists that the store has; exit code 1 when what was asked for is not there or does not hold.
fn shared(
    config: &Config,
    id: Option<&LineId>,
    has: Option<&str>,
    shown: Shown,
    now_ms: i64,
    out: &mut dyn Write,
) -> io::Result<u8> {
    let mut lists = shared_in(&config.store.dir).map_err(io::Error::other)?;
    lists.retain(|(head, _)| id.is_none_or(|id| head.list == *id));
    if let Some(key) = has {
        let holds = lists.first().and_then(|(head, held)| held.holds(key, now_ms).filter(|_| !head.over));
        shown.holds(holds, out)?;
        return Ok(u8::from(holds != Some(true)));
    }
    shown.shared(&config.plan.rules.shared, &lists, id.is_some(), now_ms, out)?;
    Ok(u8::from(id.is_some() && lists.is_empty()))
}

fn answer(config: &Config, field: &Metric, shown: Shown, now_ms: i64, out: &mut dyn Write) -> io::Result<u8> {
    let lists = &config.plan.lists;
    let explained = explain(lists, field, now_ms);
    let is_known = !explained.points.is_empty() || !explained.forbidden.is_empty();
    let near = nearest(field.as_str(), lists.points.iter().map(|point| point.metric.as_str()));
    shown.explained(&explained, near.filter(|_| !is_known), out)?;
    Ok(u8::from(!is_known))
}
