//! Profiles for emergencies (平战结合): signed files that add to the configuration from one moment to another, and are then
//! as if they had never been there.
//!
//! ```text
//! emergency.d/flood.toml       [profile] id, title, reason, from, until; then [[template]] [[device]] [[mapping]]
//!                              [[collect]] [[share]] [[aggregate]] [[alarm]]
//! emergency.d/flood.toml.sig   a line for each signer: name, a space, base64 of Ed25519 over the bytes of the file
//! ```
//! Guarantees: a profile is in force from `from` up to but without `until`, with the signatures of the quorum, and whole;
//! it adds and changes nothing; no line of the rest takes what is collected for it, so that it can be deleted again. One
//! that is not right is left out alone, with its faults ([`Standing::Refused`]), and the rest holds. Bounded: 32 files. The
//! text of a vote begins no TOML, so a signature of the one is none of the other. Deletes nothing: that is the spine's.

mod paper;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::fault::{Fault, Faults, Report, Span};
use super::source::{Source, Sources, text_of};
use super::values::Zone;
use super::{Config, Names};
use crate::ingest;
use crate::model::{DeviceId, Lane, LineId, Metric, SeriesKey};
use crate::store::purge::Scope;

/// Files of the directory that are read; one more is refused.
const FILES_MAX: usize = 32;
/// What `[emergency]` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where profiles lie.
    pub dir: PathBuf,
    /// Who may sign them: name and Ed25519 key.
    pub signers: Vec<(LineId, [u8; 32])>,
    /// How many of them have to.
    pub quorum: usize,
    /// The longest time from `from` to `until`, milliseconds.
    pub max_ms: i64,
}

/// What was found of profiles.
#[derive(Clone, Debug, Default)]
pub struct Emergencies {
    /// None without `[emergency]`.
    pub settings: Option<Settings>,
    /// By file name.
    pub profiles: Vec<Profile>,
}

/// One file of the directory.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The file, as it was found.
    pub file: PathBuf,
    /// What its head says; none where that cannot be read.
    pub head: Option<Head>,
    /// Who signed it, of those who may.
    pub signers: Vec<LineId>,
    /// Where it stands.
    pub standing: Standing,
}

/// The head of a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its id.
    pub id: LineId,
    /// In words.
    pub title: String,
    /// From when on, milliseconds since 1970 UTC.
    pub from_ms: i64,
    /// Until when.
    pub until_ms: i64,
    /// SHA-256 of the file.
    pub digest: [u8; 32],
}

/// Where a profile stands.
#[derive(Clone, Debug)]
pub enum Standing {
    /// It is left out, and why.
    Refused(Faults),
    /// Its time has not come.
    Waiting,
    /// It is part of the configuration; what it has added.
    InForce(Box<ingest::Emergency>),
    /// Its time is over.
    Over,
}

impl Emergencies {
    /// The next moment at which a profile begins or ends, milliseconds since 1970 UTC.
    #[must_use]
    pub fn due_ms(&self) -> Option<i64> {
        let due = |profile: &Profile| {
            let head = profile.head.as_ref()?;
            match profile.standing {
                Standing::Waiting => Some(head.from_ms),
                Standing::InForce(_) => Some(head.until_ms),
                Standing::Refused(_) | Standing::Over => None,
            }
        };
        self.profiles.iter().filter_map(due).min()
    }

    /// What is wrong with those that are left out.
    pub fn faults(&self) -> impl Iterator<Item = &Fault> {
        let refused = |profile: &Profile| matches!(profile.standing, Standing::Refused(_));
        self.profiles.iter().filter(move |profile| refused(profile)).flat_map(|profile| {
            match &profile.standing {
                Standing::Refused(faults) => faults.faults.as_slice(),
                _ => &[],
            }
        })
    }

    /// The ids of those in force.
    pub fn in_force(&self) -> impl Iterator<Item = &LineId> {
        let ids = self.profiles.iter().filter(|profile| matches!(profile.standing, Standing::InForce(_)));
        ids.filter_map(|profile| Some(&profile.head.as_ref()?.id))
    }
}

/// The files of the directory: profiles and what lies beside them as signatures, by name.
#[derive(Debug, Default)]
pub(crate) struct Found(Vec<(PathBuf, Result<String, String>, Option<String>)>);

impl Found {
    /// Reads them. A directory that is not there holds none yet.
    pub(crate) fn read(dir: &Path) -> Self {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> =
            names.filter(|name| name.ends_with(".toml") && !name.starts_with('.')).collect();
        names.sort();
        Self(names.into_iter().map(|name| one(dir.join(name))).collect())
    }

    /// SHA-256 over names, texts and signatures.
    pub(crate) fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for (path, text, signatures) in &self.0 {
            let text = text.as_ref().map_or_else(String::as_str, String::as_str);
            let signatures = signatures.as_deref().unwrap_or_default();
            for part in [path.as_os_str().as_encoded_bytes(), text.as_bytes(), signatures.as_bytes()] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
        }
        hash.finalize().into()
    }
}

/// A profile and its signatures.
fn one(path: PathBuf) -> (PathBuf, Result<String, String>, Option<String>) {
    let signatures = text_of(&signatures_of(&path)).ok();
    let text = text_of(&path);
    (path, text, signatures)
}

/// Where the signatures of a file are.
#[must_use]
pub fn signatures_of(file: &Path) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(".sig");
    path.into()
}

/// The configuration with every profile that is in force.
///
/// # Errors
/// What is wrong with the rest of it; a profile that is not right is in the configuration's [`Emergencies`].
pub(crate) fn load(
    sources: &Sources,
    report: Report,
    now_ms: i64,
    previous: Option<&Names>,
) -> Result<Config, Faults> {
    let base = Config::of(sources.clone(), report, now_ms, previous)?;
    let Some(settings) = base.emergency.settings.clone() else { return Ok(base) };
    let found = Found::read(&settings.dir);
    let version = super::Version { profiles: found.digest(), ..base.version };
    let mut whole =
        Whole { sources, now_ms, previous, joined: Vec::new(), in_force: Vec::new(), config: base };
    let mut profiles: Vec<Profile> = Vec::new();
    for (nth, (path, text, signatures)) in found.0.into_iter().enumerate() {
        let mut profile = whole.judge(path, &text, signatures.as_deref(), &settings);
        let id = profile.head.as_ref().map(|head| &head.id);
        let twice = |other: &Profile| other.head.as_ref().map(|head| &head.id) == id && id.is_some();
        if nth >= FILES_MAX {
            profile.refuse(format!("more than {FILES_MAX} profiles"), "remove those that are over");
        } else if let Some(first) = profiles.iter().find(|other| twice(other)) {
            profile.refuse(format!("the profile of {} again", first.file.display()), "an id of its own");
        } else {
            whole.join(&mut profile, text.unwrap_or_default());
        }
        profiles.push(profile);
    }
    let Whole { mut config, in_force, .. } = whole;
    config.emergency = Emergencies { settings: Some(settings), profiles };
    config.plan.emergency = in_force;
    config.version = version;
    Ok(config)
}

/// What a file would be as a profile of a configuration, wherever it lies, if its time were now.
///
/// # Errors
/// What is wrong with the configuration itself.
pub fn examine(path: &Path, file: &Path, now_ms: i64) -> Result<Profile, Faults> {
    let mut report = Report::default();
    let sources = Sources::read(path, &mut report);
    let config = Config::of(sources.clone(), report, now_ms, None)?;
    let (file, text, signatures) = one(file.to_owned());
    let Some(settings) = config.emergency.settings.clone() else {
        let mut profile = Profile { file, head: None, signers: Vec::new(), standing: Standing::Waiting };
        profile.refuse("the configuration has no [emergency]", "[emergency] with dir and signers");
        return Ok(profile);
    };
    let mut whole =
        Whole { sources: &sources, now_ms, previous: None, joined: Vec::new(), in_force: Vec::new(), config };
    let mut profile = whole.judge(file, &text, signatures.as_deref(), &settings);
    if matches!(profile.standing, Standing::Waiting)
        && let Some(head) = &profile.head
    {
        (whole.now_ms, profile.standing) = (head.from_ms, Standing::InForce(Box::new(empty(head, &[]))));
    }
    whole.join(&mut profile, text.unwrap_or_default());
    Ok(profile)
}

/// A configuration to which profiles are added, one by one.
struct Whole<'s> {
    sources: &'s Sources,
    now_ms: i64,
    previous: Option<&'s Names>,
    joined: Vec<Source>,
    in_force: Vec<ingest::Emergency>,
    config: Config,
}

impl Whole<'_> {
    /// What a file says of itself, and who vouches for it.
    fn judge(
        &self,
        file: PathBuf,
        text: &Result<String, String>,
        signatures: Option<&str>,
        settings: &Settings,
    ) -> Profile {
        let mut profile = Profile { file, head: None, signers: Vec::new(), standing: Standing::Over };
        let text = match text {
            Ok(text) => text,
            Err(why) => {
                profile.refuse(why.as_str(), "a readable TOML file");
                return profile;
            }
        };
        let mut report = Report::default();
        profile.head = paper::head(text, Zone(self.config.version.zone_ms), settings, &mut report);
        match paper::vouched(text, signatures, settings) {
            Ok(signers) => profile.signers = signers,
            Err(why) => {
                report.fault(Span::default(), why, "smallbrain emergency sign FILE --as NAME --key KEYFILE")
            }
        }
        let source = Source { path: profile.file.clone(), text: text.clone() };
        let faults = report.finish(&Sources { files: vec![source], ..Sources::default() });
        profile.standing = match &profile.head {
            Some(head) if faults.count() == 0 => match () {
                () if self.now_ms < head.from_ms => Standing::Waiting,
                () if self.now_ms < head.until_ms => {
                    Standing::InForce(Box::new(empty(head, &profile.signers)))
                }
                () => Standing::Over,
            },
            _ => Standing::Refused(faults),
        };
        profile
    }

    /// Adds a profile that is in force, or says why it cannot be.
    fn join(&mut self, profile: &mut Profile, text: String) {
        let (Standing::InForce(_), Some(head)) = (&profile.standing, &profile.head) else { return };
        let mut sources = self.sources.clone();
        sources.besides.push("profile".to_owned());
        sources.files.extend(self.joined.iter().cloned());
        let source = Source { path: profile.file.clone(), text };
        sources.files.push(source.clone());
        match Config::of(sources, Report::default(), self.now_ms, self.previous) {
            Err(faults) => profile.standing = Standing::Refused(faults),
            Ok(config) => {
                let added = added(&self.config, &config, head, &profile.signers);
                if let Some(taken) = taken(&self.config, &config, &added.series) {
                    let help = "a template of its own, with metrics of their own: what is collected for a profile is \
                                deleted at its end";
                    return profile.refuse(taken, help);
                }
                self.joined.push(source);
                self.in_force.push(added.clone());
                self.config = config;
                profile.standing = Standing::InForce(Box::new(added));
            }
        }
    }
}

impl Profile {
    fn refuse(&mut self, message: impl Into<String>, help: &str) {
        let mut report = Report::default();
        report.fault(Span::default(), message, help);
        let source = Source { path: self.file.clone(), text: String::new() };
        let faults = report.finish(&Sources { files: vec![source], ..Sources::default() });
        self.standing = Standing::Refused(faults);
    }
}

fn empty(head: &Head, signers: &[LineId]) -> ingest::Emergency {
    ingest::Emergency {
        id: head.id.clone(),
        digest: head.digest,
        from_ms: head.from_ms,
        until_ms: head.until_ms,
        signers: signers.to_vec(),
        series: Vec::new(),
        scope: Scope::default(),
    }
}

/// What the second configuration has and the first has not.
fn added(before: &Config, after: &Config, head: &Head, signers: &[LineId]) -> ingest::Emergency {
    fn new<T: Clone + Eq + std::hash::Hash>(
        before: impl Iterator<Item = T>,
        after: impl Iterator<Item = T>,
    ) -> Vec<T> {
        let known: HashSet<T> = before.collect();
        let mut seen = HashSet::new();
        after.filter(|one| !known.contains(one) && seen.insert(one.clone())).collect()
    }
    let collected = |config: &Config| -> HashSet<(DeviceId, Metric)> {
        let points = config.plan.points.iter().flatten().filter(|point| point.treatment.is_some());
        points.map(|point| (point.device.clone(), point.metric.clone())).collect()
    };
    let known = collected(before);
    let series = after.plan.points.iter().zip(0..).filter_map(|(point, index)| {
        let point = point.as_ref().filter(|point| point.treatment.is_some())?;
        (!known.contains(&(point.device.clone(), point.metric.clone()))).then_some(SeriesKey(index))
    });
    let devices = |config: &Config| -> Vec<DeviceId> {
        config.plan.points.iter().flatten().map(|point| point.device.clone()).collect()
    };
    let shares =
        |config: &Config| -> Vec<LineId> { config.plan.shares.iter().map(|line| line.id.clone()).collect() };
    let alarms = |config: &Config| -> Vec<LineId> {
        config.plan.rules.alarms.iter().map(|alarm| alarm.id.clone()).collect()
    };
    let aggregates = |config: &Config| -> Vec<LineId> {
        config.plan.aggregates.iter().map(|aggregate| aggregate.id.clone()).collect()
    };
    ingest::Emergency {
        series: series.collect(),
        scope: Scope {
            series: Vec::new(),
            devices: new(devices(before).into_iter(), devices(after).into_iter()),
            collects: new(before.collect.iter().cloned(), after.collect.iter().cloned()),
            shares: new(shares(before).into_iter(), shares(after).into_iter()),
            alarms: new(alarms(before).into_iter(), alarms(after).into_iter()),
            aggregates: new(aggregates(before).into_iter(), aggregates(after).into_iter()),
        },
        ..empty(head, signers)
    }
}

/// Says which line of the first configuration would take readings of the series, from where they could not be deleted.
fn taken(before: &Config, after: &Config, series: &[SeriesKey]) -> Option<String> {
    let points = series.iter().filter_map(|series| after.plan.points.get(series.index())?.as_ref());
    for point in points {
        let metric = &point.metric;
        let mut aggregates = point.aggregates.iter().map(|at| &after.plan.aggregates[*at].id);
        let is_known = |id: &&LineId| before.plan.aggregates.iter().any(|known| known.id == **id);
        if let Some(id) = aggregates.find(is_known) {
            return Some(format!("{metric} of {} would be in aggregate {id}", point.device));
        }
        let mut bulk = before.plan.shares.iter().filter(|line| line.lane == Lane::Bulk);
        if let Some(line) = bulk.find(|line| line.metrics.contains(metric)) {
            return Some(format!("{metric} of {} would be shared by {}", point.device, line.id));
        }
    }
    None
}
