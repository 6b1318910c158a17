//! `smallbrain alarms`: what is the matter, who was told, and the steps that people take: confirm, dispatch, handle, close.
//!
//! Everything goes through the running daemon; nothing is decided here.

pub mod shown;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use tonic::transport::Channel;

use super::bus::{Lang, SOCKET, channel};
use crate::config::duration;
use crate::wire::bus as wire;
use shown::Shown;
use wire::alarm_service_client::AlarmServiceClient;

/// Longest answer, bytes: a thousand notices or events.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Shown below `alarms --help`.
pub const HELP: &str = "\
Examples:
  smallbrain alarms
      what is open, the newest first, and where people work
  smallbrain alarms show 12
      everything about one: what happened, who was told, what was done, what the city said
  smallbrain alarms confirm 12 --by 王师傅
  smallbrain alarms close 12 --by 王师傅 --reason '误报, 已换探头'
  smallbrain alarms maintain --devices 'lift-*' --for 2h --by 电梯公司 --reason 年检";

/// How the daemon is asked, and how its answer is shown.
#[derive(clap::Args, Clone, Debug)]
pub struct Daemon {
    /// The daemon's socket: gateway.socket of its configuration, in store.dir
    #[arg(long, default_value = SOCKET, global = true)]
    pub socket: PathBuf,
    /// JSON instead of a table
    #[arg(long, global = true)]
    pub json: bool,
    /// Language of what is printed
    #[arg(long, value_enum, default_value_t = Lang::Zh, global = true)]
    pub lang: Lang,
}

impl Daemon {
    /// The way to its alarms.
    pub(super) async fn client(&self) -> anyhow::Result<AlarmServiceClient<Channel>> {
        let channel = channel(&self.socket).await.map_err(|cause| {
            anyhow::anyhow!("no daemon on {}: {cause}; --socket says where it listens", self.socket.display())
        })?;
        Ok(AlarmServiceClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX))
    }

    /// How answers of this zone are shown.
    pub(super) fn shown(&self, zone_ms: i64) -> Shown {
        Shown { lang: self.lang, json: self.json, zone_ms }
    }
}

/// What the service says no with.
pub(super) fn told(status: tonic::Status) -> anyhow::Error {
    anyhow::anyhow!("{}", status.message())
}

/// The exit code of a verb: 0, or 1 with the reason on stderr.
pub(super) fn ended(verb: &str, result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    let pipe = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    if error.downcast_ref::<io::Error>().is_some_and(pipe) {
        // `| head`.
        return ExitCode::SUCCESS;
    }
    // Nobody left to tell.
    let _ = writeln!(io::stderr(), "smallbrain {verb}: {error:#}");
    ExitCode::from(1)
}

/// Arguments of `alarms`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// What to do; without it what is open is listed
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(clap::Subcommand, Clone, Debug)]
enum What {
    /// Incidents, the newest first
    #[command(after_help = "Example: smallbrain alarms list --all --alarm 'door-*' --limit 20")]
    List(List),
    /// Everything about one incident
    #[command(after_help = "Example: smallbrain alarms show 12")]
    Show {
        /// Its number
        number: u64,
    },
    /// Somebody has seen it: nobody else is called
    #[command(after_help = "Example: smallbrain alarms confirm 12 --by 王师傅")]
    Confirm(Step),
    /// Somebody was sent
    #[command(after_help = "Example: smallbrain alarms dispatch 12 --by 值班室 --reason '老李去B3'")]
    Dispatch(Step),
    /// The work is done
    #[command(after_help = "Example: smallbrain alarms handle 12 --by 老李 --reason '已关门'")]
    Handle(Step),
    /// It is over, for good
    #[command(after_help = "Example: smallbrain alarms close 12 --by 值班室 --reason '已处置, 现场正常'")]
    Close(Words),
    /// Say something about it
    #[command(after_help = "Example: smallbrain alarms note 12 --by 老李 --reason '在等配件'")]
    Note(Words),
    /// Work begins: the alarms of what is worked on are suppressed until it ends
    #[command(after_help = MAINTAIN_HELP)]
    Maintain(Maintain),
    /// Work ends before its time
    #[command(after_help = "Example: smallbrain alarms resume 3 --by 电梯公司")]
    Resume {
        /// Number of the maintenance
        number: u64,
        /// Who says so
        #[arg(long)]
        by: String,
    },
}

const MAINTAIN_HELP: &str = "\
Example: smallbrain alarms maintain --places 'B3/*' --for 2h --by 物业 --reason '清洗水箱'

It ends by itself; what still holds then is raised.";

#[derive(clap::Args, Clone, Debug, Default)]
struct List {
    /// Closed ones too
    #[arg(long)]
    all: bool,
    /// Only of devices like this; * stands for anything
    #[arg(long, default_value = "*")]
    device: String,
    /// Only alarms like this; * stands for anything
    #[arg(long, default_value = "*")]
    alarm: String,
    /// At most so many, up to 1000
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

#[derive(clap::Args, Clone, Debug)]
struct Step {
    /// Number of the incident
    number: u64,
    /// Who says so
    #[arg(long)]
    by: String,
    /// In words
    #[arg(long, default_value = "")]
    reason: String,
}

#[derive(clap::Args, Clone, Debug)]
struct Words {
    /// Number of the incident
    number: u64,
    /// Who says so
    #[arg(long)]
    by: String,
    /// Why, or what there is to say
    #[arg(long)]
    reason: String,
}

#[derive(clap::Args, Clone, Debug)]
#[group(required = true, multiple = true, args = ["devices", "places"])]
struct Maintain {
    /// Devices that are worked on; * stands for anything
    #[arg(long)]
    devices: Option<String>,
    /// Places that are worked at; with devices both have to fit
    #[arg(long)]
    places: Option<String>,
    /// For how long, at most 30d
    #[arg(long = "for", value_parser = duration, value_name = "DURATION")]
    lasts: Duration,
    /// Who says so
    #[arg(long)]
    by: String,
    /// Why
    #[arg(long)]
    reason: String,
}

/// Asks and prints. Exit code 0, or 1 when nobody answers or the answer is no.
pub async fn run(args: &Args, out: &mut dyn Write) -> ExitCode {
    let result = match args.what.clone().unwrap_or_else(open) {
        What::List(which) => list(&args.daemon, which, out).await,
        What::Show { number } => show(&args.daemon, number, out).await,
        What::Confirm(step) => order(&args.daemon, "confirmed", step, out).await,
        What::Dispatch(step) => order(&args.daemon, "dispatched", step, out).await,
        What::Handle(step) => order(&args.daemon, "handled", step, out).await,
        What::Close(words) => order(&args.daemon, "closed", words.into(), out).await,
        What::Note(words) => order(&args.daemon, "noted", words.into(), out).await,
        What::Maintain(work) => maintain(&args.daemon, work, out).await,
        What::Resume { number, by } => resume(&args.daemon, number, by, out).await,
    };
    ended("alarms", result)
}

fn open() -> What {
    What::List(List { limit: 100, ..List::default() })
}

impl From<Words> for Step {
    fn from(Words { number, by, reason }: Words) -> Self {
        Self { number, by, reason }
    }
}

async fn list(daemon: &Daemon, which: List, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut client = daemon.client().await?;
    let List { all, device, alarm, limit } = which;
    let request = wire::ListIncidentsRequest { all, device, alarm, limit };
    let found = client.list_incidents(request).await.map_err(told)?.into_inner();
    let work = client.list_maintenance(wire::ListMaintenanceRequest {}).await.map_err(told)?.into_inner();
    daemon.shown(found.zone_ms).incidents(out, &found.incidents, &work.maintenance)?;
    Ok(out.flush()?)
}

async fn show(daemon: &Daemon, incident: u64, out: &mut dyn Write) -> anyhow::Result<()> {
    let request = wire::ShowIncidentRequest { incident };
    let found = daemon.client().await?.show_incident(request).await.map_err(told)?.into_inner();
    daemon.shown(found.zone_ms).whole(out, &found)?;
    Ok(out.flush()?)
}

async fn order(daemon: &Daemon, step: &str, what: Step, out: &mut dyn Write) -> anyhow::Result<()> {
    let Step { number: incident, by, reason } = what;
    let request = wire::OrderStepRequest { incident, step: step.into(), by, reason };
    let answer = daemon.client().await?.order_step(request).await.map_err(told)?.into_inner();
    let incident = answer.incident.unwrap_or_default();
    daemon.shown(answer.zone_ms).stands(out, &incident)?;
    Ok(out.flush()?)
}

async fn maintain(daemon: &Daemon, work: Maintain, out: &mut dyn Write) -> anyhow::Result<()> {
    let request = wire::MaintainRequest {
        devices: work.devices.unwrap_or_default(),
        places: work.places.unwrap_or_default(),
        for_ms: u64::try_from(work.lasts.as_millis()).unwrap_or(u64::MAX),
        by: work.by,
        reason: work.reason,
    };
    let answer = daemon.client().await?.maintain(request).await.map_err(told)?.into_inner();
    daemon.shown(answer.zone_ms).maintenance(out, &answer.maintenance.unwrap_or_default())?;
    Ok(out.flush()?)
}

async fn resume(daemon: &Daemon, maintenance: u64, by: String, out: &mut dyn Write) -> anyhow::Result<()> {
    let request = wire::ResumeRequest { maintenance, by };
    daemon.client().await?.resume(request).await.map_err(told)?;
    daemon.shown(0).resumed(out, maintenance)?;
    Ok(out.flush()?)
}
