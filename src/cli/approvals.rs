//! `smallbrain approvals`: what was asked for, and the steps of people: ask, vote, revoke; and keys to vote with.
//!
//! Guarantees: a key never leaves this process, and a key file that others may read is not used; what is signed is what the
//! daemon shows, and it is shown. Everything else goes through the running daemon; nothing is decided here.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tonic::transport::Channel;

use super::alarms::{Daemon, ended, told};
use super::bus::{Lang, channel};
use super::onboard::plain;
use crate::approval::{Signer, bytes};
use crate::clock::{Clock, SystemClock};
use crate::config::duration;
use crate::model::LineId;
use crate::privacy::pseudonym::is_exposed;
use crate::wire::{self, v1};
use v1::approval_service_client::ApprovalServiceClient;

/// Longest answer, bytes: a thousand approvals.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Longest file of a key or a certificate, bytes.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Shown below `approvals --help`.
pub const HELP: &str = "\
Examples:
  smallbrain approvals
      what waits for votes and what holds
  smallbrain approvals key property-manager --role property.manager --out manager.key
      a key to vote with, and the lines of the configuration that let it
  smallbrain approvals request --share S-003 --consumer spiffe://brain.example/city/310115/brain/traffic \\
      --for 30d --as li.clerk --reason '早高峰研判'
  smallbrain approvals vote 5f1c…d486 yes --as property-manager --key manager.key
  smallbrain approvals revoke 5f1c…d486 --as property-manager --reason '用途已变更'

What is handed out under an approval stops with the next batch when it is revoked or its time is over.";

/// Arguments of `approvals`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// What to do; without it approvals are listed
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
    /// One with its votes
    #[command(after_help = "Example: smallbrain approvals show 5f1c…d486")]
    Show {
        /// Its id
        id: String,
    },
    /// Ask for one; it waits for votes
    #[command(after_help = "Example: smallbrain approvals request --share S-003 --consumer URI --for 30d \
                            --as li.clerk --reason '早高峰研判'")]
    Request(Ask),
    /// Vote, signed here with your key
    #[command(
        after_help = "Example: smallbrain approvals vote 5f1c…d486 yes --as property-manager --key manager.key"
    )]
    Vote(Vote),
    /// Take one back that is not over
    #[command(
        after_help = "Example: smallbrain approvals revoke 5f1c…d486 --as property-manager --reason '投诉'"
    )]
    Revoke {
        /// Its id
        id: String,
        /// Who says so
        #[arg(long = "as", value_name = "NAME")]
        name: String,
        /// Why
        #[arg(long)]
        reason: String,
    },
    /// Make a key to vote with, and print the lines that let it
    #[command(after_help = "Example: smallbrain approvals key property-manager --role property.manager")]
    Key {
        /// Who will have it
        name: LineId,
        /// What they are
        #[arg(long = "role")]
        roles: Vec<LineId>,
        /// Where it goes, for its owner alone; nothing is overwritten [default: NAME.key]
        #[arg(long)]
        out: Option<PathBuf>,
    },
}

#[derive(clap::Args, Clone, Debug)]
struct Ask {
    /// The line of the share list
    #[arg(long)]
    share: String,
    /// For whom
    #[arg(long)]
    consumer: String,
    /// For how long from now on; the line's tier has a limit
    #[arg(long = "for", value_parser = duration, value_name = "DURATION")]
    lasts: Duration,
    /// How often it may be made use of; a use is a minute of handing out [default: as often as one likes]
    #[arg(long)]
    uses: Option<u32>,
    /// PEM of the client certificate it is bound to [default: any of the consumer's]
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Who asks; who asks does not vote
    #[arg(long = "as", value_name = "NAME")]
    name: String,
    /// Why
    #[arg(long)]
    reason: String,
}

#[derive(clap::Args, Clone, Debug)]
struct Vote {
    /// Its id
    id: String,
    /// Your word
    vote: Word,
    /// Who you are, as the configuration calls you
    #[arg(long = "as", value_name = "NAME")]
    name: String,
    /// Your key: 32 bytes, raw or as hex, in a file of yours alone
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Why
    #[arg(long, default_value = "")]
    reason: String,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Yes,
    No,
}

/// Asks and prints. Exit code 0, or 1 when nobody answers or the answer is no.
pub async fn run(args: &Args, out: &mut dyn Write) -> ExitCode {
    let daemon = &args.daemon;
    let result = match args.what.clone() {
        None => list(args, out).await,
        Some(What::Show { id }) => show(daemon, id, out).await,
        Some(What::Request(ask)) => request(daemon, ask, out).await,
        Some(What::Vote(vote)) => self::vote(daemon, vote, out).await,
        Some(What::Revoke { id, name, reason }) => revoke(daemon, id, name, reason, out).await,
        Some(What::Key { name, roles, out: path }) => key(daemon, &name, &roles, path, out),
    };
    ended("approvals", result)
}

async fn client(daemon: &Daemon) -> anyhow::Result<ApprovalServiceClient<Channel>> {
    let channel = channel(&daemon.socket).await.map_err(|cause| {
        anyhow::anyhow!("no daemon on {}: {cause}; --socket says where it listens", daemon.socket.display())
    })?;
    Ok(ApprovalServiceClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX))
}

async fn list(args: &Args, out: &mut dyn Write) -> anyhow::Result<()> {
    let daemon = &args.daemon;
    let request = v1::ListApprovalsRequest { all: args.all, limit: args.limit };
    let found = client(daemon).await?.list_approvals(request).await.map_err(told)?.into_inner();
    if found.approvals.is_empty() && !daemon.json {
        writeln!(out, "{}", daemon.lang.say("没有待审批或有效的审批", "no approval waits or holds"))?;
    }
    for approval in &found.approvals {
        line(daemon, found.zone_ms, approval, out)?;
    }
    Ok(out.flush()?)
}

async fn zone_ms(client: &mut ApprovalServiceClient<Channel>) -> anyhow::Result<i64> {
    let request = v1::ListApprovalsRequest { all: false, limit: 1 };
    Ok(client.list_approvals(request).await.map_err(told)?.into_inner().zone_ms)
}

async fn show(daemon: &Daemon, id: String, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut client = client(daemon).await?;
    let found = client.get_approval(v1::GetApprovalRequest { id }).await.map_err(told)?.into_inner();
    let approval = found.approval.context("the daemon answers without the approval")?;
    let zone_ms = zone_ms(&mut client).await?;
    whole(daemon, zone_ms, &approval, out)
}

async fn request(daemon: &Daemon, ask: Ask, out: &mut dyn Write) -> anyhow::Result<()> {
    let until = SystemClock::default().now().wall_ms;
    let until = until.saturating_add(i64::try_from(ask.lasts.as_millis()).unwrap_or(i64::MAX));
    let certificate = ask.certificate.as_deref().map(certificate).transpose()?;
    let request = v1::RequestApprovalRequest {
        share_item: ask.share,
        consumer: ask.consumer,
        certificate_sha256: certificate.map(Vec::from).unwrap_or_default(),
        requester: ask.name,
        reason: ask.reason,
        not_before: None,
        not_after: Some(wire::timestamp(until)),
        max_uses: ask.uses.unwrap_or(0),
    };
    let mut client = client(daemon).await?;
    let answer = client.request_approval(request).await.map_err(told)?.into_inner();
    let zone_ms = zone_ms(&mut client).await?;
    line(daemon, zone_ms, &answer.approval.unwrap_or_default(), out)?;
    Ok(out.flush()?)
}

async fn vote(daemon: &Daemon, vote: Vote, out: &mut dyn Write) -> anyhow::Result<()> {
    let signer = signer(&vote.key)?;
    let mut client = client(daemon).await?;
    let found = client.get_approval(v1::GetApprovalRequest { id: vote.id }).await.map_err(told)?.into_inner();
    let approval = found.approval.context("the daemon answers without the approval")?;
    let zone_ms = zone_ms(&mut client).await?;
    if !daemon.json {
        // What is signed, in full.
        whole(daemon, zone_ms, &approval, out)?;
    }
    let asked = wire::asked(&approval).context("what the daemon says of the approval is not whole")?;
    let id = approval.id.parse()?;
    let ballot = signer.ballot(id, &asked, vote.vote == Word::Yes, &vote.name, &vote.reason);
    let request = v1::VoteRequest {
        id: approval.id,
        yes: ballot.yes,
        name: vote.name,
        reason: vote.reason,
        signature: ballot.signature,
    };
    let answer = client.vote(request).await.map_err(told)?.into_inner();
    line(daemon, zone_ms, &answer.approval.unwrap_or_default(), out)?;
    Ok(out.flush()?)
}

async fn revoke(
    daemon: &Daemon,
    id: String,
    by: String,
    reason: String,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mut client = client(daemon).await?;
    let request = v1::RevokeRequest { id, by, reason };
    let answer = client.revoke(request).await.map_err(told)?.into_inner();
    let zone_ms = zone_ms(&mut client).await?;
    line(daemon, zone_ms, &answer.approval.unwrap_or_default(), out)?;
    Ok(out.flush()?)
}

/// Reads a short file.
fn read(path: &Path) -> anyhow::Result<(Vec<u8>, u32)> {
    let shown = path.display().to_string();
    let file = File::open(path).context(shown.clone())?;
    let mode = file.metadata().context(shown.clone())?.permissions().mode() & 0o777;
    let mut content = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut content).context(shown.clone())?;
    if content.len() as u64 > FILE_BYTES_MAX {
        bail!("{shown}: longer than {FILE_BYTES_MAX} bytes");
    }
    Ok((content, mode))
}

pub(super) fn signer(path: &Path) -> anyhow::Result<Signer> {
    let (content, mode) = read(path)?;
    let shown = path.display();
    if is_exposed(path, mode) {
        bail!("key file {shown}: mode {mode:04o} lets others use it; chmod 600 {shown}");
    }
    let hex = std::str::from_utf8(&content).ok().and_then(|text| bytes::<32>(text.trim()));
    let signer = match hex {
        Some(seed) => Signer::from_seed(&seed),
        None => Signer::from_seed(&content),
    };
    signer.with_context(|| format!("key file {shown}: not 32 bytes, raw or as 64 hex digits"))
}

/// SHA-256 of the first certificate of a PEM file.
fn certificate(path: &Path) -> anyhow::Result<[u8; 32]> {
    let text = String::from_utf8(read(path)?.0).unwrap_or_default();
    let body = text.split_once("-----BEGIN CERTIFICATE-----");
    let body = body.and_then(|(_, rest)| rest.split_once("-----END CERTIFICATE-----"));
    let digits: Option<String> = body.map(|(body, _)| body.split_whitespace().collect());
    let der = digits.and_then(|digits| STANDARD.decode(digits).ok());
    let der = der.with_context(|| format!("{}: no PEM certificate", path.display()))?;
    Ok(Sha256::digest(der).into())
}

fn key(
    daemon: &Daemon,
    name: &LineId,
    roles: &[LineId],
    path: Option<PathBuf>,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let path = path.unwrap_or_else(|| PathBuf::from(format!("{name}.key")));
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| anyhow::anyhow!("random numbers: {error}"))?;
    let signer = Signer::from_seed(&seed).context("the random numbers are no seed")?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| path.display().to_string())?;
    writeln!(file, "{}", hex(&seed))
        .and_then(|()| file.sync_all())
        .with_context(|| path.display().to_string())?;
    let (public_key, roles) = (hex(&signer.public_key()), roles.iter().map(LineId::as_str));
    if daemon.json {
        let key = json!({
            "name": name.as_str(),
            "roles": roles.collect::<Vec<_>>(),
            "public_key": public_key,
            "file": path.display().to_string(),
        });
        writeln!(out, "{key}")?;
        return Ok(out.flush()?);
    }
    let roles: Vec<String> = roles.map(|role| format!("{role:?}")).collect();
    let roles = if roles.is_empty() { "\"property.manager\"".to_owned() } else { roles.join(", ") };
    let shown = path.display();
    match daemon.lang {
        Lang::Zh => writeln!(out, "# 私钥在 {shown}, 只给本人; 下面的加进配置")?,
        Lang::En => {
            writeln!(out, "# the key is in {shown}, for its owner alone; this goes into the configuration")?
        }
    }
    writeln!(out, "[[person]]\nname = \"{name}\"\nroles = [{roles}]\npublic_key = \"{public_key}\"")?;
    Ok(out.flush()?)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const STATES: [(&str, &str); 6] = [
    ("pending", "待审批"),
    ("granted", "已批准"),
    ("refused", "已拒绝"),
    ("revoked", "已撤销"),
    ("expired", "已过期"),
    ("used_up", "已用完"),
];

fn state(lang: Lang, word: &str) -> String {
    let known = STATES.iter().find(|(name, _)| *name == word && lang == Lang::Zh);
    known.map_or_else(|| plain(word), |(_, chinese)| (*chinese).to_owned())
}

fn ms(time: Option<&prost_types::Timestamp>) -> i64 {
    time.map_or(0, wire::millis)
}

/// One line of the table, or all of it as JSON.
fn line(daemon: &Daemon, zone_ms: i64, approval: &v1::Approval, out: &mut dyn Write) -> anyhow::Result<()> {
    if daemon.json {
        writeln!(out, "{}", all(approval))?;
        return Ok(());
    }
    let yes = approval.votes.iter().filter(|vote| vote.yes).count();
    let no = approval.votes.len() - yes;
    let uses = match approval.max_uses {
        0 => approval.uses.to_string(),
        most => format!("{}/{most}", approval.uses),
    };
    let until = daemon.shown(zone_ms).format(ms(approval.not_after.as_ref()), "%Y-%m-%d %H:%M");
    let [id, share, consumer, tier] =
        [&approval.id, &approval.share_item, &approval.consumer, &approval.tier].map(|text| plain(text));
    let state = state(daemon.lang, &approval.state);
    match daemon.lang {
        Lang::Zh => writeln!(
            out,
            "{id}  {state}  {share} {tier}  至 {until}  同意 {yes}, 反对 {no}  使用 {uses}  {consumer}",
        )?,
        Lang::En => writeln!(
            out,
            "{id}  {state}  {share} {tier}  until {until}  yes {yes}, no {no}  uses {uses}  {consumer}",
        )?,
    }
    Ok(())
}

fn whole(daemon: &Daemon, zone_ms: i64, approval: &v1::Approval, out: &mut dyn Write) -> anyhow::Result<()> {
    line(daemon, zone_ms, approval, out)?;
    if !daemon.json {
        let (lang, shown) = (daemon.lang, daemon.shown(zone_ms));
        let time = |time: Option<&prost_types::Timestamp>| shown.format(ms(time), "%Y-%m-%d %H:%M:%S");
        let rows = [
            (lang.say("用途", "purpose"), plain(&approval.purpose)),
            (lang.say("申请人", "asked by"), plain(&approval.requester)),
            (lang.say("申请时间", "asked at"), time(approval.asked.as_ref())),
            (lang.say("起", "from"), time(approval.not_before.as_ref())),
            (lang.say("止", "until"), time(approval.not_after.as_ref())),
            (lang.say("理由", "reason"), plain(&approval.reason)),
            (lang.say("绑定证书", "certificate"), hex(&approval.certificate_sha256)),
            (lang.say("撤销人", "revoked by"), plain(&approval.revoked_by)),
            (lang.say("撤销理由", "why"), plain(&approval.revoked_reason)),
        ];
        for (name, text) in rows.into_iter().filter(|(_, text)| !text.is_empty()) {
            writeln!(out, "  {name}: {text}")?;
        }
        for vote in &approval.votes {
            let word = if vote.yes { lang.say("同意", "yes") } else { lang.say("不同意", "no") };
            let (name, role, at) = (plain(&vote.approver), plain(&vote.role), time(vote.at.as_ref()));
            writeln!(out, "  {at} {name} ({role}): {word} {}", plain(&vote.reason))?;
        }
    }
    Ok(out.flush()?)
}

fn all(approval: &v1::Approval) -> Value {
    let votes = approval.votes.iter().map(|vote| {
        json!({
            "approver": vote.approver,
            "role": vote.role,
            "vote": if vote.yes { "yes" } else { "no" },
            "at_ms": ms(vote.at.as_ref()),
            "reason": vote.reason,
            "signature": hex(&vote.signature),
        })
    });
    json!({
        "id": approval.id,
        "share_item": approval.share_item,
        "consumer": approval.consumer,
        "certificate_sha256": hex(&approval.certificate_sha256),
        "requester": approval.requester,
        "purpose": approval.purpose,
        "tier": approval.tier,
        "state": approval.state,
        "asked_ms": ms(approval.asked.as_ref()),
        "not_before_ms": ms(approval.not_before.as_ref()),
        "not_after_ms": ms(approval.not_after.as_ref()),
        "max_uses": approval.max_uses,
        "uses": approval.uses,
        "changed_ms": ms(approval.changed.as_ref()),
        "reason": approval.reason,
        "votes": votes.collect::<Vec<_>>(),
        "revoked_by": approval.revoked_by,
        "revoked_reason": approval.revoked_reason,
    })
}
