//! `smallbrain enter`: reports of what no device measures (主动录入): one at a time, many from a CSV file, and their second
//! check.
//!
//! Everything goes through the running daemon; nothing is decided here.

mod shown;
mod table;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use jiff::tz::{Offset, TimeZone};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tonic::transport::Channel;

use super::alarms::{ended, told};
use super::bus::{Lang, SOCKET, channel};
use crate::wire::bus as wire;
use shown::Shown;
use wire::manual_entry_service_client::ManualEntryServiceClient;

/// Longest answer, bytes: a thousand entries.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Shown below `enter --help`.
pub const HELP: &str = "\
Examples:
  smallbrain enter C-010
      the form: what the line of the collection list takes
  smallbrain enter C-010 fever_cases=3 report_place=B3 --device clinic --by 医生甲 --role 社区医生 --reason 日报
  smallbrain enter C-010 fever_cases=2 --corrects 17 --by 医生甲 --role 社区医生 --reason '更正: 一例重复'
  smallbrain enter C-010 --csv reports.csv --by 医生甲 --role 社区医生 --reason 周报
      one report a row; the header names fields, and device and at if they differ by row; the same file again enters nothing
      twice
  smallbrain enter --waiting
  smallbrain enter --confirm 17 --by 站长乙 --role 站长
  smallbrain enter --refuse 17 --by 站长乙 --role 站长 --reason '与登记不符'

Times are RFC 3339, or \"2026-11-22 08:00\" in the gateway's zone. A name that is given is believed; it stands in the audit
trail. Exit code 1 when the daemon says no, or to a row of the file.";

/// Arguments of `enter`.
#[derive(clap::Args, Clone, Debug)]
#[command(group = clap::ArgGroup::new("what").args(["line", "waiting", "list", "confirm", "refuse"]).required(true))]
pub struct Args {
    /// The line of the collection list; alone its form is shown
    line: Option<String>,
    /// What is reported
    #[arg(value_name = "FIELD=VALUE", value_parser = pair, requires = "line")]
    values: Vec<(String, String)>,
    /// What it is about; may be left out where the form has one device
    #[arg(long, requires = "line")]
    device: Option<String>,
    /// When it was so, at most 31 days ago; without it now, or the time of what is corrected
    #[arg(long, requires = "line")]
    at: Option<String>,
    /// The entry that this puts right
    #[arg(long, requires = "line", value_name = "NUMBER")]
    corrects: Option<u64>,
    /// One report for each row of this file
    #[arg(long, requires = "line", conflicts_with_all = ["values", "corrects"], value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Name of this report, so that it is entered once however often it is sent; without it a new one
    #[arg(long, requires = "line", conflicts_with = "csv")]
    request: Option<String>,
    /// What waits for its second check
    #[arg(long)]
    waiting: bool,
    /// What was entered, the newest first
    #[arg(long)]
    list: bool,
    /// It is right: says somebody else than who entered it
    #[arg(long, value_name = "NUMBER")]
    confirm: Option<u64>,
    /// It is not right
    #[arg(long, value_name = "NUMBER")]
    refuse: Option<u64>,
    /// Who
    #[arg(long, default_value = "")]
    by: String,
    /// As what
    #[arg(long, default_value = "")]
    role: String,
    /// Why
    #[arg(long, default_value = "")]
    reason: String,
    /// The daemon's socket: gateway.socket of its configuration, in store.dir
    #[arg(long, default_value = SOCKET)]
    socket: PathBuf,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Language of what is printed
    #[arg(long, value_enum, default_value_t = Lang::Zh)]
    lang: Lang,
}

type Client = ManualEntryServiceClient<Channel>;

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("FIELD=VALUE: fever_cases=3".into()),
    }
}

/// Asks and prints. Exit code 0, or 1 when nobody answers, the answer is no, or a row of the file was not taken.
pub async fn run(args: &Args, out: &mut dyn Write) -> ExitCode {
    let mut whole = true;
    let result = go(args, &mut whole, out).await;
    let code = ended("enter", result);
    if whole { code } else { ExitCode::from(1) }
}

async fn go(args: &Args, whole: &mut bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let channel = channel(&args.socket).await.map_err(|cause| {
        anyhow::anyhow!("no daemon on {}: {cause}; --socket says where it listens", args.socket.display())
    })?;
    let mut client = Client::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
    match (&args.line, args.confirm, args.refuse) {
        (Some(line), ..) => {
            let request = wire::GetFormRequest { collect_item: line.clone() };
            let form = client.get_form(request).await.map_err(told)?.into_inner();
            match &args.csv {
                Some(path) => *whole = table::enter(args, &mut client, &form, path, out).await?,
                None if args.values.is_empty() => args.shown(form.zone_ms).form(out, &form)?,
                None => submit(args, &mut client, &form, out).await?,
            }
        }
        (None, Some(entry), _) => check(args, &mut client, entry, true, out).await?,
        (None, None, Some(entry)) => check(args, &mut client, entry, false, out).await?,
        (None, None, None) => {
            let request = wire::ListManualEntriesRequest { waiting: args.waiting, limit: 0 };
            let found = client.list_manual_entries(request).await.map_err(told)?.into_inner();
            args.shown(found.zone_ms).entries(out, &found.entries)?;
        }
    }
    Ok(out.flush()?)
}

impl Args {
    fn shown(&self, zone_ms: i64) -> Shown {
        Shown { lang: self.lang, json: self.json, zone_ms }
    }

    /// A report under this form.
    fn report(
        &self,
        form: &wire::GetFormResponse,
        request_id: String,
        device: &str,
        at: Option<&str>,
        values: Map<String, Value>,
    ) -> anyhow::Result<wire::SubmitManualEntryRequest> {
        Ok(wire::SubmitManualEntryRequest {
            request_id,
            collect_item: form.collect_item.clone(),
            device: device.to_owned(),
            payload: Value::Object(values).to_string(),
            at_ms: at.map(|at| moment(at, form.zone_ms)).transpose()?,
            operator: self.by.clone(),
            role: self.role.clone(),
            reason: self.reason.clone(),
            corrects: self.corrects,
        })
    }
}

async fn submit(
    args: &Args,
    client: &mut Client,
    form: &wire::GetFormResponse,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mut values = Map::new();
    for (name, value) in &args.values {
        if values.insert(name.clone(), Value::String(value.clone())).is_some() {
            anyhow::bail!("{name} is given twice");
        }
    }
    let request = match &args.request {
        Some(request) => request.clone(),
        None => {
            let mut bytes = [0; 16];
            getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no random number: {error}"))?;
            hex(&bytes)
        }
    };
    let device = args.device.as_deref().unwrap_or_default();
    let report = args.report(form, request, device, args.at.as_deref(), values)?;
    let done = client.submit_manual_entry(report).await.map_err(told)?.into_inner();
    Ok(args.shown(done.zone_ms).submitted(out, &done)?)
}

async fn check(
    args: &Args,
    client: &mut Client,
    entry: u64,
    agree: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let (by, role, reason) = (args.by.clone(), args.role.clone(), args.reason.clone());
    let request = wire::ConfirmManualEntryRequest { entry, by, role, agree, reason };
    let done = client.confirm_manual_entry(request).await.map_err(told)?.into_inner();
    Ok(args.shown(done.zone_ms).checked(out, &done.entry.unwrap_or_default())?)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A row's name: the same file and row give the same one, however often the file is read.
fn row_request(file: &str, number: usize, row: &csv::StringRecord) -> String {
    let mut hash = Sha256::new();
    for text in [file, &number.to_string()].into_iter().chain(row) {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    format!("csv-{}", hex(&hash.finalize()[..16]))
}

/// RFC 3339, or without a zone in the gateway's.
fn moment(text: &str, zone_ms: i64) -> anyhow::Result<i64> {
    let text = text.trim();
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(at.as_millisecond());
    }
    let offset = i32::try_from(zone_ms / 1000).ok().and_then(|s| Offset::from_seconds(s).ok());
    let zone = TimeZone::fixed(offset.unwrap_or(Offset::UTC));
    let at = text.parse::<jiff::civil::DateTime>().ok().and_then(|at| at.to_zoned(zone).ok());
    let at =
        at.ok_or_else(|| anyhow::anyhow!("a time is \"2026-11-22 08:00\" or \"2026-11-22T08:00:00+08:00\""))?;
    Ok(at.timestamp().as_millisecond())
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
    fn one_thing_at_a_time() {
        let parse =
            |line: &str| Line::try_parse_from(line.split(' ').map(str::to_owned)).map(|line| line.args);
        for (line, good) in [
            ("enter", false),
            ("enter C-1", true),
            ("enter C-1 a=1 b=甲=乙 --by a --role b --reason c", true),
            ("enter C-1 a", false),
            ("enter C-1 =1", false),
            ("enter C-1 --csv f", true),
            ("enter C-1 a=1 --csv f", false),
            ("enter --waiting", true),
            ("enter --waiting --list", false),
            ("enter C-1 --confirm 1", false),
            ("enter --confirm 1 --by a", true),
            ("enter --device clinic", false),
        ] {
            assert_eq!(parse(line).is_ok(), good, "{line}");
        }
        let values = parse("enter C-1 a=1 b=甲=乙").map(|args| args.values).expect("good");
        assert_eq!(values[1], ("b".to_owned(), "甲=乙".to_owned()));
    }

    #[test]
    fn times_are_of_the_gateways_zone_unless_they_say_their_own() {
        let zone_ms = 8 * 3_600_000;
        for (text, ms) in [
            ("1970-01-01T00:00:01Z", Some(1000)),
            ("1970-01-01T08:00:01+08:00", Some(1000)),
            ("1970-01-01 08:00:01", Some(1000)),
            ("1970-01-01 08:01", Some(60_000)),
            (" 1970-01-02 ", Some(16 * 3_600_000)),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(moment(text, zone_ms).ok(), ms, "{text:?}");
        }
    }

    #[test]
    fn a_row_of_a_file_has_one_name() {
        let row = |cells: &[&str]| csv::StringRecord::from(cells.to_vec());
        let name = row_request("a.csv", 1, &row(&["1", "2"]));
        assert_eq!(name, row_request("a.csv", 1, &row(&["1", "2"])));
        for other in [
            row_request("b.csv", 1, &row(&["1", "2"])),
            row_request("a.csv", 2, &row(&["1", "2"])),
            row_request("a.csv", 1, &row(&["12", ""])),
            row_request("a.csv", 1, &row(&["1", "3"])),
        ] {
            assert_ne!(name, other);
        }
        assert!(name.len() <= 128 && name.is_ascii());
    }
}
