//! The treatments of the collection list: what is done to a field, and what that is done with.
//!
//! Guarantees: a treatment has the parameters it needs and no others, fits the kind of its point, and does not keep what the
//! point's class forbids. Reads no file but the master key.

use std::path::PathBuf;

use super::Places;
use super::fleet::{Fleet, Point};
use crate::config::fault::{Report, Span};
use crate::config::raw::{self, Class, Do, Field, Root};
use crate::config::read::At;
use crate::config::values::Zone;
use crate::model::Metric;
use crate::normalise::Kind;
use crate::privacy::generalise::{self, Ages, Bands, Times, Unit};
use crate::privacy::intake::{Hierarchy, Treatment};
use crate::privacy::pseudonym::{Epoch, Hash, Length, MasterKey, Pseudonymiser, Scope, Settings};
use crate::privacy::round::Rounder;
use crate::privacy::seal::Sealer;
use crate::privacy::truncate::Truncate;
use crate::wire::Gateway;

/// Biometrics: refused at the door, whatever a line says (GOVERNANCE: never masked later, never stored).
const NEVER: [&str; 6] = ["face", "fingerprint", "voiceprint", "palmprint", "iris", "gait"];
/// Epochs whose keys are kept, this one among them, where nothing else is said.
const EPOCHS: u64 = 2;
const EPOCHS_MAX: u64 = 120;

/// What pseudonyms are made with.
pub(super) struct Keys<'k> {
    master: Option<MasterKey>,
    /// Whether a section says so at all.
    given: bool,
    hash: Hash,
    gateway: Option<&'k Gateway>,
    epoch: Epoch,
    keep: u32,
    zone: Zone,
}

impl<'k> Keys<'k> {
    /// Checks `[pseudonym]`.
    pub(super) fn of(
        root: &Root,
        places: &Places,
        gateway: Option<&'k Gateway>,
        zone: Zone,
        now_ms: i64,
        report: &mut Report,
    ) -> Self {
        let none = raw::Pseudonym::default();
        let raw = root.pseudonym.value().unwrap_or(&none);
        let length = raw.epoch.or(Length::Month);
        if let Some(destroy) = raw.destroy_after_epochs.get().filter(|_| length == Length::Endless) {
            let help = "names that stay for good have one key for good: an epoch, or no destroy_after_epochs";
            report.fault(destroy.span, "destroy_after_epochs with epoch = \"none\"", help);
        }
        let range = 1..=EPOCHS_MAX;
        let keep = report.bounded(&raw.destroy_after_epochs, EPOCHS, range, "destroy_after_epochs");
        Self {
            master: master(root, places, report),
            given: !root.pseudonym.is_absent(),
            hash: raw.hash.or(Hash::Sha256),
            gateway,
            epoch: Epoch::at(length, now_ms, zone.0),
            keep: keep as u32,
            zone,
        }
    }

    /// The epoch of the names that are made now.
    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Where the secrets of the epochs are; none where names do not end.
    pub(super) fn settings(&self, dir: PathBuf) -> Option<Settings> {
        (self.given && self.is_ending()).then_some(Settings { dir, epoch: self.epoch, keep: self.keep })
    }

    fn pseudonymiser(
        &self,
        table: &raw::Operator,
        span: Span,
        purpose: &str,
        report: &mut Report,
    ) -> Option<Pseudonymiser> {
        if !self.given {
            let help = "[pseudonym] with key = \"pseudonym.key\"";
            report.missing(span, "a pseudonym without a key", help);
        }
        let subject = report.need(&table.subject, table.at, "subject", "\"code\"")?.value;
        let epoch = self.epoch.to_string();
        // The gateway subscribes itself: a token of one purpose here means nothing to another gateway.
        let scope = Scope { purpose, subscriber: &self.gateway?.id, epoch: &epoch };
        let make = if self.is_ending() { Pseudonymiser::of_epoch } else { Pseudonymiser::new };
        Some(make(self.hash, self.master.as_ref()?, scope, subject))
    }

    fn is_ending(&self) -> bool {
        self.epoch.length() != Length::Endless
    }
}

fn master(root: &Root, places: &Places, report: &mut Report) -> Option<MasterKey> {
    let raw = root.pseudonym.value()?;
    let key = report.need(&raw.key, raw.at, "key", "\"pseudonym.key\"")?;
    let path = places.secret(&key.value);
    match MasterKey::from_file(&path) {
        Ok(master) => Some(master),
        Err(error) => {
            let help = "a file of its owner alone (mode 0600) with the key, beside this file or a systemd credential";
            report.fault(key.span, error.to_string(), help);
            None
        }
    }
}

fn is_never(metric: &Metric) -> bool {
    metric.as_str().split('.').any(|part| NEVER.contains(&part))
}

/// Holds that a point is not collected as its class forbids.
pub(super) fn classed(point: &Point, field: &At<Option<Field>>, report: &mut Report) {
    let Some(what) = field.value.as_ref().and_then(Field::what) else { return };
    let metric = &point.metric;
    match point.class {
        // The beginning of a name or a rounded age is still somebody's.
        Class::Personal if matches!(what, Do::Keep | Do::Round | Do::Truncate) => {
            let help = "\"drop\", or { do = \"pseudonym\" }, \"generalise\", \"mask\", \"seal\" or \"redact\": \
                        personal data is not kept as it is";
            report.twice(field.span, point.span, format!("{metric} is personal"), help);
        }
        Class::Biometric if !is_never(metric) && !matches!(what, Do::Refuse | Do::Drop) => {
            let help = "\"refuse\": biometrics are never taken, in no form";
            report.twice(field.span, point.span, format!("{metric} is biometric"), help);
        }
        Class::Operational | Class::Household | Class::Personal | Class::Biometric => {}
    }
}

/// What a field's line says, made ready; `None` when a fault was told.
pub(super) fn treatment(
    metric: &Metric,
    field: &At<&Field>,
    fleet: &Fleet<'_>,
    keys: &Keys<'_>,
    purpose: &str,
    report: &mut Report,
) -> Option<Treatment> {
    let empty = raw::Operator { at: field.span, ..Default::default() };
    let table = match field.value {
        Field::Word(_) => &empty,
        Field::Table(table) => table,
    };
    if let (Field::Table(table), None) = (field.value, field.value.what()) {
        report.need(&table.what, table.at, "do", "\"pseudonym\"");
    }
    let what = field.value.what()?;
    if is_never(metric) && !matches!(what, Do::Refuse | Do::Drop) {
        let message = format!("{metric} is biometric");
        report.fault(field.span, message, "\"refuse\": biometrics are never taken, in no form");
    }
    strays(table, what, report);
    if let Some((_, kind, _)) = fleet.metrics.get(metric) {
        fitting(metric, *kind, what, table, field.span, report);
    }
    Some(match what {
        Do::Keep if table.unchecked.or(false) => Treatment::Unchecked,
        Do::Keep => Treatment::Keep,
        Do::Drop => Treatment::Drop,
        Do::Refuse => Treatment::Refuse,
        Do::Redact => Treatment::Redact,
        Do::Generalise => Treatment::Generalise(hierarchy(table, keys.zone, report)?),
        Do::Mask => Treatment::Mask(report.need(&table.form, table.at, "as", "\"plate\"")?.value),
        Do::Pseudonym => Treatment::Pseudonym(keys.pseudonymiser(table, field.span, purpose, report)?),
        Do::Round => {
            let base = report.need(&table.base, table.at, "base", "5")?;
            Treatment::Round(made(Rounder::new(base.value), base.span, "above zero: base = 5", report)?)
        }
        Do::Truncate => {
            let keep = report.need(&table.keep, table.at, "keep", "3")?;
            Treatment::Truncate(made(Truncate::new(keep.value), keep.span, "keep = 3", report)?)
        }
        Do::Seal => {
            let to = report.need(&table.to, table.at, "to", "\"age1...\"")?;
            let help = "the public key of who may open it; its secret half has no business here";
            Treatment::Seal(made(Sealer::new(&to.value), to.span, help, report)?)
        }
    })
}

/// What a constructor gave, or its fault noted.
fn made<T, E: Into<String>>(result: Result<T, E>, span: Span, help: &str, report: &mut Report) -> Option<T> {
    result.map_err(|why| report.fault(span, why, help)).ok()
}

/// Notes the parameters of other treatments.
fn strays(table: &raw::Operator, what: Do, report: &mut Report) {
    let given = [
        ("subject", table.subject.get().map(|at| at.span), Do::Pseudonym),
        ("as", table.form.get().map(|at| at.span), Do::Mask),
        ("to", table.to.get().map(|at| at.span), Do::Seal),
        ("bands", table.bands.get().map(|at| at.span), Do::Generalise),
        ("time", table.time.get().map(|at| at.span), Do::Generalise),
        ("age", table.age.get().map(|at| at.span), Do::Generalise),
        ("place", table.place.get().map(|at| at.span), Do::Generalise),
        ("base", table.base.get().map(|at| at.span), Do::Round),
        ("keep", table.keep.get().map(|at| at.span), Do::Truncate),
        ("unchecked", table.unchecked.get().map(|at| at.span), Do::Keep),
    ];
    for (name, span, of) in given {
        if let Some(span) = span.filter(|_| what != of) {
            let help = "subject for \"pseudonym\"; as for \"mask\"; to for \"seal\"; bands, time, age or place for \
                        \"generalise\"; base for \"round\"; keep for \"truncate\"; unchecked for \"keep\"";
            report.fault(span, format!("{name} with another treatment"), help);
        }
    }
}

/// Holds that a treatment is of the kind of its point.
fn fitting(metric: &Metric, kind: Kind, what: Do, table: &raw::Operator, span: Span, report: &mut Report) {
    let texts = !table.time.is_absent() || !table.place.is_absent();
    let (fits, help) = match what {
        Do::Generalise if texts => (kind == Kind::Text, "times and places are texts"),
        Do::Generalise => (kind == Kind::Number, "bands are of numbers"),
        Do::Round => (kind == Kind::Number, "numbers are rounded"),
        Do::Truncate | Do::Redact => (kind == Kind::Text, "a text is cut or redacted"),
        Do::Mask => (kind != Kind::Flag, "texts and numbers are masked"),
        Do::Pseudonym => (kind != Kind::Flag, "pseudonyms are of texts and numbers"),
        Do::Keep | Do::Seal | Do::Drop | Do::Refuse => (true, ""),
    };
    let is = match kind {
        Kind::Flag => "a flag",
        Kind::Number => "no text",
        Kind::Text => "no number",
    };
    if !fits {
        report.fault(span, format!("{metric} is {is}"), help);
    }
}

fn hierarchy(table: &raw::Operator, zone: Zone, report: &mut Report) -> Option<Hierarchy> {
    let given = [
        table.bands.get().map(|at| at.span),
        table.time.get().map(|at| at.span),
        table.age.get().map(|at| at.span),
        table.place.get().map(|at| at.span),
    ];
    let absent =
        table.bands.is_absent() && table.time.is_absent() && table.age.is_absent() && table.place.is_absent();
    if absent {
        let help =
            "for example bands = [0, 18, 60], time = \"30min\", age = \"0-17,18+\" or place = \"building\"";
        report.missing(table.at, "generalised by nothing", help);
    }
    if let Some(second) = given.into_iter().flatten().nth(1) {
        report.fault(second, "generalised twice", "one of bands, time, age and place");
        return None;
    }
    if let Some(bands) = table.bands.get() {
        let bounds = bands.value.iter().map(|bound| bound.value).collect();
        return made(Bands::new(bounds), bands.span, "ascending bounds: [0, 18, 60]", report)
            .map(Hierarchy::Bands);
    }
    if let Some(time) = table.time.get() {
        let unit = made(Unit::new(&time.value), time.span, "for example time = \"30min\"", report)?;
        return Some(Hierarchy::Times(Times { unit, zone_ms: zone.0 }));
    }
    if let Some(age) = table.age.get() {
        return made(Ages::new(&age.value), age.span, "ascending bands, both ends inclusive", report)
            .map(Hierarchy::Ages);
    }
    table.place.get().map(|level| Hierarchy::Places(generalise::Places(level.value)))
}
