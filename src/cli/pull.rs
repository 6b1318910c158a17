//! `smallbrain pull`: a city's client on the command line. JSON lines out, cursors in a file, everything verified; a witness
//! of the gateway's audit trail, if asked to.

mod witness;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use prost::Message;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use self::witness::WitnessFile;
use crate::clock::{Clock, SystemClock};
use crate::model::Lane;
use crate::share::client::{PullError, Puller, Settings, Target, Window, each};
use crate::share::position::{Mark, Position, Taken};
use crate::wire::{self, v1};

/// Arguments of `pull`.
#[derive(clap::Args, Debug, Clone)]
pub struct Args {
    /// http://127.0.0.1:50051, unix:/path or https://gateway:50051
    #[arg(long)]
    pub gateway: String,
    /// alarm, event, result, aggregate, audit or bulk; may be repeated; all that are granted without it
    #[arg(long, value_parser = lane)]
    pub lane: Vec<Lane>,
    /// Start after this position in each lane, instead of at the stored ack
    #[arg(long, conflicts_with = "state")]
    pub after: Option<u64>,
    /// Line of the share list; may be repeated; all that are granted without it
    #[arg(long)]
    pub share_item: Vec<String>,
    /// Go on at the head, and after a break of the line
    #[arg(long)]
    pub follow: bool,
    /// Acknowledge what was written out
    #[arg(long)]
    pub ack: bool,
    /// End after this many records
    #[arg(long)]
    pub limit: Option<u64>,
    /// Keep the cursors in this file, and go on from them
    #[arg(long)]
    pub state: Option<PathBuf>,
    /// Be a witness: append each new checkpoint of the gateway's audit trail to this file, and confirm it
    #[arg(long)]
    pub witness: Option<PathBuf>,
    /// The gateway's public audit key, as `smallbrain audit key` prints it: every checkpoint is verified with it
    #[arg(long, value_name = "HEX", value_parser = audit_key, requires = "witness")]
    pub audit_key: Option<[u8; 32]>,
    /// PEM roots of the gateway's certificate
    #[arg(long)]
    pub ca: Option<PathBuf>,
    /// PEM chain of this caller
    #[arg(long, requires = "key")]
    pub cert: Option<PathBuf>,
    /// PEM key of this caller
    #[arg(long, requires = "cert")]
    pub key: Option<PathBuf>,
    /// Only count: one JSON object at the end, with the rate, and how old alarms were when they came
    #[arg(long)]
    pub count_only: bool,
}

fn lane(text: &str) -> Result<Lane, String> {
    let known = Lane::ALL.into_iter().find(|lane| lane.as_str() == text);
    known.ok_or_else(|| "a lane is alarm, event, result, aggregate, audit or bulk".into())
}

fn audit_key(text: &str) -> Result<[u8; 32], String> {
    witness::unhex(text).ok_or_else(|| "a public key is 64 hexadecimal digits".into())
}

/// Pulls until the heads (or for ever with `--follow`), a signal, or an error told on stderr: exit code 1, or 77 when
/// the gateway does not let this caller in.
pub async fn run(args: &Args, out: &mut (dyn Write + Send)) -> ExitCode {
    match pull(args, out).await {
        Ok(()) => ExitCode::SUCCESS,
        // A reader that has enough, `| head`, is no error.
        Err(PullError::Taker(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody left to tell.
            let _ = writeln!(io::stderr(), "smallbrain pull: {error}");
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

async fn pull(args: &Args, out: &mut (dyn Write + Send)) -> Result<(), PullError> {
    let mut puller = Puller::new(settings(args), start(args)?);
    if let Some(path) = &args.witness {
        let (mut file, book) = WitnessFile::open(path, args.audit_key)?;
        puller = puller.witness(book, move |made| file.keep(made));
    }
    let stop = CancellationToken::new();
    let began = Instant::now();
    let mut total = Taken::default();
    let clock = SystemClock::default();
    let mut alarms = Ages { since_ms: clock.now().wall_ms, ages: Vec::new() };
    let taker = each(|batch: &v1::RecordBatch, taken: Taken, position: &Position| {
        total.records += taken.records;
        total.bytes += taken.bytes;
        total.lost += taken.lost;
        total.withheld += taken.withheld;
        match args.count_only {
            true => alarms.add(batch, clock.now().wall_ms),
            false => write_batch(out, batch)?,
        }
        if let Some(path) = &args.state {
            save(path, position)?;
        }
        Ok(ControlFlow::Continue(()))
    });
    let end = tokio::select! {
        end = puller.run(&stop, taker) => end,
        () = interrupted() => Ok(()),
    };
    if args.count_only {
        let seconds = began.elapsed().as_secs_f64();
        let rate = total.records as f64 / seconds;
        let summary = json!({
            "records": total.records, "bytes": total.bytes, "lost": total.lost, "withheld": total.withheld,
            "seconds": seconds, "records_per_second": rate.round(),
            "alarms": alarms.ages.len(), "alarm_p50_ms": alarms.quantile(50), "alarm_p99_ms": alarms.quantile(99),
        });
        writeln!(out, "{summary}")?;
    }
    out.flush()?;
    end
}

/// How old alarms of now were when they came, milliseconds; one clock on both sides makes them true.
struct Ages {
    since_ms: i64,
    ages: Vec<i64>,
}

/// Ages that are kept.
const AGES_MAX: usize = 1 << 20;

impl Ages {
    fn add(&mut self, batch: &v1::RecordBatch, now_ms: i64) {
        if wire::lane(batch.lane) != Some(Lane::Alarm) {
            return;
        }
        let bodies =
            batch.records.iter().filter_map(|record| v1::RecordBody::decode(record.body.clone()).ok());
        let millis = |at: prost_types::Timestamp| at.seconds * 1000 + i64::from(at.nanos) / 1_000_000;
        let observed = bodies.filter_map(|body| body.observed_at.map(millis));
        let left = AGES_MAX.saturating_sub(self.ages.len());
        self.ages.extend(observed.filter(|at| *at >= self.since_ms).map(|at| now_ms - at).take(left));
    }

    /// The age that so many of a hundred do not exceed; none without alarms.
    fn quantile(&mut self, percent: usize) -> Option<i64> {
        self.ages.sort_unstable();
        let at = (self.ages.len() * percent).div_ceil(100).checked_sub(1)?;
        self.ages.get(at).copied()
    }
}

fn settings(args: &Args) -> Settings {
    Settings {
        target: Target {
            gateway: args.gateway.clone(),
            ca: args.ca.clone(),
            certificate: args.cert.clone(),
            key: args.key.clone(),
        },
        instance: format!("pull-{}", std::process::id()),
        lanes: args.lane.clone(),
        share_items: args.share_item.clone(),
        follow: args.follow,
        ack: args.ack,
        limit: args.limit,
        window: Window::default(),
    }
}

/// Where to start: the state file's cursors, `--after`, or what the gateway has stored.
fn start(args: &Args) -> Result<Position, PullError> {
    if let Some(path) = &args.state {
        match fs::read(path) {
            Ok(bytes) => {
                let wrong = |error| io::Error::other(format!("state file {}: {error}", path.display()));
                return Ok(serde_json::from_slice(&bytes).map_err(wrong)?);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io::Error::other(format!("{}: {error}", path.display())).into()),
        }
    }
    let Some(seq) = args.after else { return Ok(Position::default()) };
    let lanes = if args.lane.is_empty() { &Lane::ALL[..] } else { &args.lane };
    let marks = lanes.iter().map(|lane| (*lane, Mark { seq, hash: None }));
    Ok(Position { epoch: None, lanes: marks.collect::<BTreeMap<_, _>>() })
}

/// Replaces the file as a whole: after a power cut it holds the old cursors or the new ones.
fn save(path: &Path, position: &Position) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let mut file = File::create(&beside)?;
    serde_json::to_writer(&mut file, position)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// The batch as JSON lines, in the order of positions; flushed, because the cursor moves past it.
fn write_batch(out: &mut dyn Write, batch: &v1::RecordBatch) -> io::Result<()> {
    let lane = wire::lane(batch.lane).map_or("unknown", Lane::as_str);
    let mut gaps = batch.gaps.iter().peekable();
    for record in &batch.records {
        while let Some(gap) = gaps.next_if(|gap| gap.from_seq < record.seq) {
            write_gap(out, lane, gap)?;
        }
        let body = match v1::RecordBody::decode(record.body.clone()) {
            Ok(body) => wire::body_json(&body),
            Err(error) => json!({ "malformed": error.to_string() }),
        };
        let line = json!({
            "lane": lane, "seq": record.seq, "record_id": record.record_id, "share_item": record.share_item,
            "schema": record.schema, "body": body,
        });
        writeln!(out, "{line}")?;
    }
    for gap in gaps {
        write_gap(out, lane, gap)?;
    }
    if batch.withheld > 0 {
        writeln!(
            out,
            "{}",
            json!({ "lane": lane, "withheld": batch.withheld, "through": batch.through_seq })
        )?;
    }
    out.flush()
}

fn write_gap(out: &mut dyn Write, lane: &str, gap: &v1::Gap) -> io::Result<()> {
    let mut told = json!({ "from": gap.from_seq, "to": gap.to_seq, "reason": gap.reason });
    for (name, at) in [("first_sealed", &gap.first_sealed), ("last_sealed", &gap.last_sealed)] {
        if let Some(at) = at {
            told[name] = wire::event_time(at).into();
        }
    }
    writeln!(out, "{}", json!({ "lane": lane, "gap": told }))
}

/// SIGINT or SIGTERM; where they cannot be watched the default action of the system stays.
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        _ => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_file_is_replaced_as_a_whole_and_read_back() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("cursors.json");
        let mut position = Position { epoch: Some("07".repeat(16)), ..Position::default() };
        for seq in [5, 6] {
            position.lanes.insert(Lane::Alarm, Mark { seq, hash: Some("ab".repeat(32)) });
            save(&path, &position).expect("saved");
        }
        let args = Args {
            gateway: String::new(),
            lane: vec![],
            after: None,
            share_item: vec![],
            follow: false,
            ack: false,
            limit: None,
            state: Some(path.clone()),
            witness: None,
            audit_key: None,
            ca: None,
            cert: None,
            key: None,
            count_only: false,
        };
        assert_eq!(start(&args).expect("read"), position);
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 1, "nothing is left beside it");
        fs::write(&path, "{").expect("written");
        assert!(start(&args).expect_err("no JSON").to_string().contains("cursors.json"));
        let after = Args { state: None, after: Some(9), lane: vec![Lane::Bulk], ..args };
        let start = start(&after).expect("start");
        assert_eq!(start.lanes, BTreeMap::from([(Lane::Bulk, Mark { seq: 9, hash: None })]));
    }

    #[test]
    fn records_and_gaps_come_out_in_order() {
        let record = |seq| v1::Record { seq, record_id: format!("e-bulk-{seq}"), ..v1::Record::default() };
        let batch = v1::RecordBatch {
            lane: wire::lane_number(Lane::Bulk),
            first_seq: 1,
            records: vec![record(1), record(4)],
            through_seq: 7,
            gaps: vec![
                v1::Gap {
                    from_seq: 2,
                    to_seq: 3,
                    reason: "budget".into(),
                    lost_records: 2,
                    ..v1::Gap::default()
                },
                v1::Gap {
                    from_seq: 5,
                    to_seq: 5,
                    reason: "corrupt".into(),
                    lost_records: 1,
                    ..v1::Gap::default()
                },
            ],
            withheld: 2,
            ..v1::RecordBatch::default()
        };
        let mut out = Vec::new();
        write_batch(&mut out, &batch).expect("written");
        let lines: Vec<serde_json::Value> = String::from_utf8(out)
            .expect("text")
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        let told: Vec<String> = lines
            .iter()
            .map(|line| match (&line["seq"], &line["gap"]["from"]) {
                (serde_json::Value::Null, serde_json::Value::Null) => {
                    format!("withheld {}", line["withheld"])
                }
                (serde_json::Value::Null, from) => format!("gap {from}"),
                (seq, _) => format!("record {seq}"),
            })
            .collect();
        assert_eq!(told, ["record 1", "gap 2", "record 4", "gap 5", "withheld 2"]);
    }
}
