//! `smallbrain emergency`: profiles for emergencies (平战结合) are signed, checked and listed here, without the daemon.
//!
//! Guarantees: a key never leaves this process, and a key file that others may read is not used; a signature is made over
//! the bytes of the file as it is, and put into the file beside it whole or not at all.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::approvals::signer;
use crate::clock::{Clock, SystemClock};
use crate::config::emergency::{Profile, Standing, examine, signatures_of};
use crate::config::{Config, Faults};
use crate::model::LineId;

/// Exit code of a profile or a configuration that is not right (`EX_CONFIG` of sysexits.h).
const FAULTY: u8 = 78;

/// Shown below `emergency --help`.
pub const HELP: &str = "\
Examples:
  smallbrain emergency sign flood.toml --as property-manager --key manager.key
      puts the signature into flood.toml.sig; whoever changes the file afterwards needs new ones
  smallbrain emergency check flood.toml --config /etc/smallbrain/config.toml
      whether it could be in force, and what it would add; exit code 0 or 78
  smallbrain emergency list --config /etc/smallbrain/config.toml
      what lies in the directory of [emergency], and where each stands

A key is made by `smallbrain approvals key NAME`.";

/// Arguments of `emergency`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    /// Sign a profile with your key
    #[command(
        after_help = "Example: smallbrain emergency sign flood.toml --as property-manager --key manager.key"
    )]
    Sign {
        /// The profile
        file: PathBuf,
        /// Your name, as [[person]] has it
        #[arg(long = "as", value_name = "NAME")]
        name: LineId,
        /// Your key: 32 bytes, raw or as hex, in a file of yours alone
        #[arg(long, value_name = "KEYFILE")]
        key: PathBuf,
    },
    /// Whether a profile could be in force, and what it would add
    #[command(
        after_help = "Example: smallbrain emergency check flood.toml --config /etc/smallbrain/config.toml"
    )]
    Check {
        /// The profile
        file: PathBuf,
        /// The configuration file
        #[arg(long)]
        config: PathBuf,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// The profiles of a configuration, and where each stands
    #[command(after_help = "Example: smallbrain emergency list --config /etc/smallbrain/config.toml")]
    List {
        /// The configuration file
        #[arg(long)]
        config: PathBuf,
        /// One JSON object a profile
        #[arg(long)]
        json: bool,
    },
}

/// Does it; the exit code is 78 when something of it is not right.
///
/// # Errors
/// A file that cannot be read or written, a key that cannot be used.
pub fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<u8> {
    let now_ms = SystemClock::default().now().wall_ms;
    match &args.what {
        What::Sign { file, name, key } => sign(file, name, key, out).map(|()| 0),
        What::Check { file, config, json } => match examine(config, file, now_ms) {
            Ok(profile) => told(&profile, *json, out),
            Err(faults) => wrong(&faults, out),
        },
        What::List { config, json } => match Config::load(config, now_ms, None) {
            Ok(config) => {
                let mut code = 0;
                for profile in &config.emergency.profiles {
                    code = code.max(told(profile, *json, out)?);
                }
                Ok(code)
            }
            Err(faults) => wrong(&faults, out),
        },
    }
}

fn sign(file: &Path, name: &LineId, key: &Path, out: &mut dyn Write) -> anyhow::Result<()> {
    let shown = file.display();
    let text = std::fs::read(file).with_context(|| format!("{shown}"))?;
    let signature = STANDARD.encode(signer(key)?.sign(&text));
    let path = signatures_of(file);
    let mut lines: BTreeMap<String, String> = BTreeMap::new();
    match std::fs::read_to_string(&path) {
        Ok(present) => {
            for line in present.lines().filter(|line| !line.trim().is_empty()) {
                let Some((name, signature)) = line.split_once(' ') else {
                    bail!("{}: not a name and a signature in each line; remove it", path.display());
                };
                lines.insert(name.to_owned(), signature.to_owned());
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("{}", path.display())),
    }
    lines.insert(name.to_string(), signature);
    let text: String = lines.iter().map(|(name, signature)| format!("{name} {signature}\n")).collect();
    let mut beside = path.clone().into_os_string();
    beside.push(".new");
    std::fs::write(&beside, text).with_context(|| format!("{}", Path::new(&beside).display()))?;
    std::fs::rename(&beside, &path).with_context(|| format!("{}", path.display()))?;
    writeln!(out, "{}: signed by {}", path.display(), lines.into_keys().collect::<Vec<_>>().join(", "))?;
    Ok(())
}

fn wrong(faults: &Faults, out: &mut dyn Write) -> anyhow::Result<u8> {
    write!(out, "{faults}")?;
    Ok(FAULTY)
}

fn told(profile: &Profile, as_json: bool, out: &mut dyn Write) -> anyhow::Result<u8> {
    let (standing, faults) = match &profile.standing {
        Standing::Refused(faults) => ("refused", Some(faults)),
        Standing::Waiting => ("waiting", None),
        Standing::InForce(_) => ("in force", None),
        Standing::Over => ("over", None),
    };
    let signers: Vec<&str> = profile.signers.iter().map(LineId::as_str).collect();
    let added = match &profile.standing {
        Standing::InForce(added) => Some(added),
        _ => None,
    };
    if as_json {
        let head = profile.head.as_ref();
        let line = json!({
            "file": profile.file,
            "id": head.map(|head| &head.id),
            "title": head.map(|head| &head.title),
            "from_ms": head.map(|head| head.from_ms),
            "until_ms": head.map(|head| head.until_ms),
            "signed_by": signers,
            "standing": standing,
            "points": added.map(|added| added.series.len()),
            "adds": added.map(|added| &added.scope),
            "faults": faults.map(|faults| &faults.faults),
        });
        writeln!(out, "{line}")?;
    } else {
        match &profile.head {
            Some(head) => {
                let (from, until) = (moment(head.from_ms), moment(head.until_ms));
                writeln!(out, "{}  {}  {from} to {until}  {standing}", head.id, head.title)?;
            }
            None => writeln!(out, "{}  {standing}", profile.file.display())?,
        }
        if !signers.is_empty() {
            writeln!(out, "  signed by {}", signers.join(", "))?;
        }
        if let Some(added) = added {
            let scope = &added.scope;
            let [devices, points, collects, shares, alarms] = [
                scope.devices.len(),
                added.series.len(),
                scope.collects.len(),
                scope.shares.len(),
                scope.alarms.len(),
            ];
            writeln!(
                out,
                "  devices {devices}, points {points}, collect lines {collects}, share lines {shares}, alarms {alarms}"
            )?;
        }
        if let Some(faults) = faults {
            write!(out, "{faults}")?;
        }
    }
    Ok(if faults.is_some() { FAULTY } else { 0 })
}

fn moment(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |at| at.to_string())
}
