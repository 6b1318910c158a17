//! A profile as a paper: what it says of itself, that it holds nothing else than it may, and who signed it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use toml::de::DeTable;

use super::{Head, Settings};
use crate::approval::vote::has_signed;
use crate::config::check::lists::until_ms;
use crate::config::fault::{Report, Span};
use crate::config::library;
use crate::config::raw::{self, Root};
use crate::config::read::{At, Key, Node, Read};
use crate::config::values::{Until, Zone};
use crate::model::LineId;

/// What a profile may hold besides its head.
const ADDS: [&str; 7] = ["template", "device", "mapping", "collect", "share", "aggregate", "alarm"];

/// The head, and that the rest is what a profile may hold.
pub(super) fn head(text: &str, zone: Zone, settings: &Settings, report: &mut Report) -> Option<Head> {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors.iter().take(1) {
        let span = Span::of(0, error.span().unwrap_or_default());
        report.unreadable(span, error.message(), "valid TOML: https://toml.io");
    }
    let mut profile: Key<raw::Profile> = Key::Absent;
    for (key, value) in table.get_ref() {
        let name: &str = key.get_ref();
        let node = Node { value: value.get_ref(), span: Span::of(0, value.span()) };
        match name {
            "profile" => profile.take(name, &node, report),
            _ if ADDS.contains(&name) => {}
            _ => {
                let message = format!("`{name}` in a profile");
                let help = format!(
                    "[profile] and {}: it adds, and changes nothing",
                    ADDS.map(|key| format!("[[{key}]]")).join(" ")
                );
                report.fault(Span::of(0, key.span()), message, help);
            }
        }
    }
    shadows(table.get_ref(), report);
    if profile.is_absent() {
        report.missing(
            Span::default(),
            "missing section [profile]",
            "[profile] with id, title, reason, from and until",
        );
    }
    let raw = profile.value()?;
    let id = report.need(&raw.id, raw.at, "id", "\"flood-2026-07\"");
    let title = report.need(&raw.title, raw.at, "title", "\"High water 防汛\"");
    report.need(&raw.reason, raw.at, "reason", "\"street order 2026-31\"");
    let from = report.need(&raw.from, raw.at, "from", "\"2026-07-01T08:00:00+08:00\"");
    let until = report.need(&raw.until, raw.at, "until", "\"2026-07-05T08:00:00+08:00\"");
    let from_ms = from.map(|from| from_ms(from.value, zone));
    let until_ms = until.map(|until| until_ms(until.value, zone));
    if let (Some(from_ms), Some(to_ms)) = (from_ms, until_ms) {
        let span = raw.until.span_or(raw.at);
        if to_ms <= from_ms {
            report.fault(span, "until is not after from", "a later moment");
        } else if to_ms.saturating_sub(from_ms) > settings.max_ms {
            let hours = settings.max_ms / 3_600_000;
            report.fault(span, "the profile is too long", format!("at most {hours} h ([emergency] max)"));
        }
    }
    Some(Head {
        id: id?.value.clone(),
        title: title?.value.clone(),
        from_ms: from_ms?,
        until_ms: until_ms?,
        digest: Sha256::digest(text).into(),
    })
}

/// Holds that no template takes the place of one of the library, which others may use.
fn shadows(table: &DeTable<'_>, report: &mut Report) {
    let mut root = Root::default();
    let Some(value) = table.get("template") else { return };
    let node = Node { value: value.get_ref(), span: Span::of(0, value.span()) };
    // What is wrong with them is told when they are part of the whole.
    root.template = Read::read(&node, &mut Report::default())
        .map_or(Key::Absent, |value| Key::Is(At { value, span: node.span }));
    for name in root.template.list().iter().filter_map(|template| template.name.get()) {
        if library::names().any(|library| library == name.value.as_str()) {
            let message = format!("template {} is one of the library", name.value);
            report.fault(name.span, message, "a name of its own");
        }
    }
}

fn from_ms(from: Until, zone: Zone) -> i64 {
    match from {
        Until::Moment(ms) => ms,
        // A day begins where the day before it ends.
        Until::Day(day) => day.yesterday().map_or(i64::MIN, |before| until_ms(Until::Day(before), zone)),
    }
}

/// Who signed the text, when they are enough.
pub(super) fn vouched(
    text: &str,
    signatures: Option<&str>,
    settings: &Settings,
) -> Result<Vec<LineId>, String> {
    let Some(signatures) = signatures else { return Err("it is not signed".to_owned()) };
    let mut signers: Vec<LineId> = Vec::new();
    let lines = signatures.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    for (nth, line) in lines {
        let wrong = |why: &str| Err(format!("line {} of the signatures: {why}", nth + 1));
        let Some((name, signature)) = line.trim().split_once(' ') else {
            return wrong("not a name and a signature");
        };
        let Some((name, key)) = settings.signers.iter().find(|(signer, _)| signer.as_str() == name) else {
            return wrong("nobody who may sign");
        };
        let signature = STANDARD.decode(signature.trim()).unwrap_or_default();
        if !has_signed(text.as_bytes(), &signature, key) {
            return wrong("the signature is not of this file");
        }
        if signers.contains(name) {
            return wrong("a second one of the same person");
        }
        signers.push(name.clone());
    }
    if signers.len() < settings.quorum {
        return Err(format!("signed by {} of {}", signers.len(), settings.quorum));
    }
    Ok(signers)
}
