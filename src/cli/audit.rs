//! `smallbrain audit`: the check of the trail, and its public key. Offline: no daemon is asked.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use super::bus::Lang;
use crate::audit::verify::{CannotRun, Evidence, Line, Report, Verdict, verify};
use crate::ingest::trail::PUBLIC_FILE;

/// Shown below `audit --help`.
pub const HELP: &str = "\
Examples:
  smallbrain audit verify --store /var/lib/smallbrain --witness city.jsonl
      the store of a daemon, also while it runs, against what the city keeps
  smallbrain audit verify --copy copy.db --witness city.jsonl --key 3b6a27bc…
      a copy, somewhere else
  smallbrain audit key --store /var/lib/smallbrain
      the public key to give to the city

Exit codes of verify: 0 whole and witnessed; 1 could not run; 2 tampered, with the row; 3 whole as far as it goes, but
there is no witness, or a row has waited for one for more than 15 minutes. Without a witness nobody can tell a trail
that was cut or written anew.";

/// Arguments of `audit`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand, Clone, Debug)]
enum What {
    /// Whether the trail is whole
    #[command(
        after_help = "Example: smallbrain audit verify --store /var/lib/smallbrain --witness city.jsonl"
    )]
    Verify(Verify),
    /// The public keys that signed positions of the trail
    #[command(after_help = "Example: smallbrain audit key --store /var/lib/smallbrain")]
    Key {
        /// The store's directory
        #[arg(long)]
        store: PathBuf,
    },
}

#[derive(clap::Args, Clone, Debug)]
struct Verify {
    /// The store's directory; a daemon may be running on it
    #[arg(long, required_unless_present = "copy", conflicts_with = "copy")]
    store: Option<PathBuf>,
    /// A copy of its database
    #[arg(long)]
    copy: Option<PathBuf>,
    /// What a witness kept: one JSON object a line, as `pull --witness` writes them; may be repeated
    #[arg(long)]
    witness: Vec<PathBuf>,
    /// The gateway's public key, 64 hex digits; default: audit.pub beside the database
    #[arg(long)]
    key: Vec<String>,
    /// One JSON object
    #[arg(long)]
    json: bool,
    /// Language of what is printed
    #[arg(long, value_enum, default_value_t = Lang::Zh)]
    lang: Lang,
}

/// Checks or shows. The exit codes are in [`HELP`].
pub fn run(args: &Args, out: &mut dyn Write) -> ExitCode {
    let done = match &args.what {
        What::Verify(verify) => check(verify, out),
        What::Key { store } => key(store, out),
    };
    match done.and_then(|code| out.flush().map(|()| code).map_err(Into::into)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // Nobody left to tell.
            let _ = writeln!(io::stderr(), "smallbrain audit: {error:#}");
            ExitCode::from(1)
        }
    }
}

fn key(store: &Path, out: &mut dyn Write) -> anyhow::Result<u8> {
    let path = store.join(PUBLIC_FILE);
    let text = std::fs::read_to_string(&path).map_err(|error| {
        anyhow::anyhow!("{}: {error}: the daemon writes it at its first start", path.display())
    })?;
    write!(out, "{text}")?;
    Ok(0)
}

fn check(args: &Verify, out: &mut dyn Write) -> anyhow::Result<u8> {
    let beside = args.store.as_ref().map(|store| store.join("smallbrain.db"));
    let database = args.copy.clone().or(beside).unwrap_or_default();
    let evidence = Evidence {
        keys: keys(&args.key, &database.with_file_name(PUBLIC_FILE))?,
        checkpoints: true,
        witness: witness(&args.witness)?,
    };
    let report = verify(&database, &evidence)?;
    match args.json {
        true => writeln!(out, "{}", as_json(&report))?,
        false => write_report(out, &report, args.lang)?,
    }
    Ok(match report.verdict() {
        Verdict::Whole => 0,
        Verdict::Tampered => 2,
        Verdict::Unwitnessed => 3,
    })
}

/// Those given, or those in a file that need not be there.
fn keys(given: &[String], file: &Path) -> Result<Vec<Vec<u8>>, CannotRun> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let lines: Vec<&str> = match given {
        [] => text.lines().filter(|line| !line.trim().is_empty()).collect(),
        given => given.iter().map(String::as_str).collect(),
    };
    lines
        .into_iter()
        .map(|line| public(line).ok_or_else(|| CannotRun(format!("key {line:?}: 64 hex digits are needed"))))
        .collect()
}

fn public(digits: &str) -> Option<Vec<u8>> {
    let (pairs, []) = digits.trim().as_bytes().as_chunks::<2>() else { return None };
    let bytes = pairs.iter().map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok());
    bytes.collect::<Option<Vec<u8>>>().filter(|bytes| bytes.len() == 32)
}

fn witness(files: &[PathBuf]) -> Result<Option<Vec<Line>>, CannotRun> {
    let mut lines = Vec::new();
    for file in files {
        let cannot = |why: String| CannotRun(format!("{}: {why}", file.display()));
        let text = std::fs::read_to_string(file).map_err(|error| cannot(error.to_string()))?;
        lines.extend(Line::all(&text).map_err(|error| cannot(error.to_string()))?);
    }
    Ok((!files.is_empty()).then_some(lines))
}

fn verdict(report: &Report, lang: Lang) -> &'static str {
    match (report.verdict(), report.witnessed) {
        (Verdict::Whole, _) => lang.say("完整, 有见证", "whole and witnessed"),
        (Verdict::Tampered, _) => lang.say("已被改动", "tampered"),
        (Verdict::Unwitnessed, None) => lang.say(
            "链条完整, 无见证: 截尾和重写查不出来",
            "whole, without a witness: a trail that was cut or written anew looks like this too",
        ),
        (Verdict::Unwitnessed, Some(_)) => {
            lang.say("链条完整, 见证已过期", "whole, but the witness is too far behind")
        }
    }
}

fn as_json(report: &Report) -> serde_json::Value {
    let faults = report.faults.iter().map(|fault| json!({ "row": fault.row, "what": fault.what }));
    let verdict = match report.verdict() {
        Verdict::Whole => "whole",
        Verdict::Tampered => "tampered",
        Verdict::Unwitnessed => "unwitnessed",
    };
    json!({
        "verdict": verdict, "origin": report.origin, "rows": report.rows, "trimmed": report.trimmed,
        "head": report.head, "checkpoints": report.checkpoints, "witnessed": report.witnessed,
        "lag_seconds": report.lag_ms / 1000, "faults": faults.collect::<Vec<_>>(),
        "more_faults": report.more_faults, "notes": report.notes,
    })
}

fn write_report(out: &mut dyn Write, report: &Report, lang: Lang) -> io::Result<()> {
    writeln!(out, "{}: {}", lang.say("结论", "verdict"), verdict(report, lang))?;
    writeln!(out, "{}: {}", lang.say("痕迹链", "trail"), report.origin)?;
    writeln!(
        out,
        "{}: {} ({} {})",
        lang.say("行数", "rows"),
        report.rows,
        lang.say("已删除前", "trimmed up to"),
        report.trimmed
    )?;
    writeln!(out, "{}: {}", lang.say("签名位置", "signed positions"), report.checkpoints)?;
    let witnessed = report.witnessed.map_or_else(|| "-".into(), |size| size.to_string());
    writeln!(
        out,
        "{}: {witnessed} ({} {} s)",
        lang.say("见证到", "witnessed up to"),
        lang.say("落后", "behind by"),
        report.lag_ms / 1000
    )?;
    for fault in &report.faults {
        let row = fault.row.map_or_else(String::new, |row| format!("{} {row}: ", lang.say("第", "row")));
        writeln!(out, "! {row}{}", fault.what)?;
    }
    if report.more_faults > 0 {
        writeln!(out, "! … {} {}", report.more_faults, lang.say("处", "more"))?;
    }
    report.notes.iter().try_for_each(|note| writeln!(out, "  {note}"))
}
