//! The configuration: TOML as written → every fault at once, each with its place → a complete [`Config`].
//!
//! Guarantees: a `Config` is whole and consistent, or there is none; unknown keys are faults; a point keeps its
//! [`SeriesKey`] over reloads. Reads the files it is made of and the secrets it names; writes nothing but the keys of epochs, when asked to.

mod check;
pub mod emergency;
pub(crate) mod fault;
mod library;
pub mod outage;
mod raw;
pub(crate) mod read;
pub(crate) mod source;
mod values;
pub mod watch;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use crate::spelling::duration;
pub use fault::{Fault, Faults};

use crate::device::{http, mqtt, serial};
use crate::model::{DeviceId, LineId, Metric, SeriesKey};
use crate::privacy::pseudonym::{self, Epoch, RingError, Turned};
use crate::{ingest, notify, share, store, telemetry, wire};

/// Everything that one set of files says, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who and where the gateway is.
    pub gateway: wire::Gateway,
    /// The store.
    pub store: store::Settings,
    /// The trail.
    pub trail: ingest::trail::Settings,
    /// Deliveries that wait for the writer at most.
    pub queue: usize,
    /// The MQTT front; none without `[mqtt]`.
    pub mqtt: Option<mqtt::Settings>,
    /// The HTTP intake; none without `[http]`.
    pub http: Option<http::Settings>,
    /// The serial ports.
    pub ports: Vec<serial::PortSettings>,
    /// The lines of the collection list; the share list is in `share`.
    pub collect: Vec<LineId>,
    /// The spine.
    pub plan: ingest::Plan,
    /// Where the keys of epochs are; none without pseudonyms that end with one.
    pub pseudonyms: Option<pseudonym::Settings>,
    /// Where the webhooks of recipients are.
    pub notify: notify::Settings,
    /// The city's side; without `[share_server]` nobody listens.
    pub share: share::Settings,
    /// The cities that are dialled.
    pub uplinks: Vec<share::dial::Uplink>,
    /// Logs and metrics.
    pub telemetry: telemetry::Settings,
    /// The local socket of the command line.
    pub socket: PathBuf,
    /// What was read, the named file first.
    pub files: Vec<PathBuf>,
    /// The series of every point, present and past.
    pub names: Names,
    /// What is allowed but may not be meant.
    pub warnings: Vec<Fault>,
    /// The profiles for emergencies that were found; what is in force of them is in all of the above.
    pub emergency: emergency::Emergencies,
    /// What a watch compares with.
    pub(crate) version: Version,
}

/// What decides whether a reload could give something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    /// SHA-256 over the files.
    pub(crate) digest: [u8; 32],
    /// SHA-256 over the profiles for emergencies and their signatures.
    pub(crate) profiles: [u8; 32],
    /// The gateway's offset from UTC, milliseconds.
    pub(crate) zone_ms: i64,
    /// The epoch of the pseudonyms' key.
    pub(crate) epoch: Epoch,
}

impl Config {
    /// Reads and checks a file, what it includes, and the profiles for emergencies that are in force. `now_ms` (milliseconds since 1970 UTC) decides the key epoch of
    /// pseudonyms and which permissions have ended; `previous` are the names of the configuration this one replaces.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn load(path: &Path, now_ms: i64, previous: Option<&Names>) -> Result<Config, Faults> {
        let mut report = fault::Report::default();
        let sources = source::Sources::read(path, &mut report);
        emergency::load(&sources, report, now_ms, previous)
    }

    /// What [`load`](Self::load) would give if `more` stood at the end of `file`: one that it reads, or would read if it
    /// were there. Writes nothing.
    ///
    /// # Errors
    /// Everything that would be wrong, at once; also when `file` is or would be no part of the configuration.
    pub fn with(path: &Path, now_ms: i64, file: &Path, more: &str) -> Result<Config, Faults> {
        let mut report = fault::Report::default();
        let mut sources = source::Sources::read(path, &mut report);
        sources.append(file, more, &mut report);
        Self::of(sources, report, now_ms, None)
    }

    /// What texts would give if they were files, the first of them the named one. Reads none, also of those that `include`
    /// names. The keys `besides` at the top of a text are somebody else's.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn of_texts(texts: Vec<(PathBuf, String)>, besides: &[&str], now_ms: i64) -> Result<Config, Faults> {
        let files = texts.into_iter().map(|(path, text)| source::Source { path, text }).collect();
        let besides = besides.iter().map(|key| (*key).to_owned()).collect();
        let sources = source::Sources { files, besides, ..source::Sources::default() };
        Self::of(sources, fault::Report::default(), now_ms, None)
    }

    pub(crate) fn of(
        mut sources: source::Sources,
        mut report: fault::Report,
        now_ms: i64,
        previous: Option<&Names>,
    ) -> Result<Config, Faults> {
        let (digest, own) = (sources.digest(), sources.files.len());
        let mut root = raw::Root::read(&sources, &mut report);
        library::complete(&mut root, &mut sources, &mut report);
        let names = previous.cloned().unwrap_or_default();
        let places = check::Places::of(&sources.files[0].path);
        let lines = check::closed::Lines::of(&sources);
        let config = check::config(&root, &places, now_ms, names, &lines, &mut report);
        if let Some(config) = &config {
            lines.warn(&config.plan.lists, &mut report);
        }
        let Faults { faults, warnings, more } = report.finish(&sources);
        match config {
            Some(mut config) if faults.is_empty() => {
                config.files = sources.files[..own].iter().map(|file| file.path.clone()).collect();
                config.version.digest = digest;
                config.plan.lists_digest = check::lists::digest(&sources);
                Arc::make_mut(&mut config.plan.lists).digest = config.plan.lists_digest;
                config.warnings = warnings;
                Ok(config)
            }
            _ => Err(Faults { faults, warnings, more }),
        }
    }

    /// Brings the key of the epoch to the pseudonyms, and destroys those that are no longer kept: before that, pseudonyms
    /// are lost as invalid. The only thing here that writes: to `keys` below the store.
    ///
    /// # Errors
    /// [`RingError`]; then nothing has its key.
    pub fn turn_keys(&mut self) -> Result<Turned, RingError> {
        let Some(settings) = &self.pseudonyms else { return Ok(Turned::default()) };
        let (secret, turned) = settings.turn()?;
        self.plan.mix(&secret);
        Ok(turned)
    }

    /// The sections in which `new` differs and a live reload does not reach; empty when it reaches everything.
    #[must_use]
    pub fn restart_needed(&self, new: &Config) -> Vec<&'static str> {
        let listen = |config: &Config| config.mqtt.as_ref().map(|mqtt| mqtt.listen);
        let tls = |config: &Config| config.mqtt.as_ref().map(|mqtt| mqtt.tls.clone());
        let server =
            |config: &Config| (config.share.listeners.clone(), config.share.limits, config.share.reflection);
        let limits = |config: &Config| config.mqtt.as_ref().map(|mqtt| mqtt.limits);
        let differs = [
            ("gateway", self.gateway != new.gateway || self.version.zone_ms != new.version.zone_ms),
            ("gateway.socket", self.socket != new.socket),
            ("store", self.store != new.store),
            ("audit", self.trail != new.trail),
            ("ingest.queue", self.queue != new.queue),
            ("mqtt.listen", listen(self) != listen(new)),
            ("mqtt.tls", tls(self) != tls(new)),
            ("mqtt limits", limits(self).zip(limits(new)).is_some_and(|(old, new)| old != new)),
            ("http", self.http != new.http),
            ("share_server", server(self) != server(new)),
            ("telemetry", self.telemetry != new.telemetry),
        ];
        differs.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
    }
}

/// The registry of this process: (device, metric) → series. Grows only; a name that comes back gets its old number.
#[derive(Clone, Debug, Default)]
pub struct Names {
    devices: HashMap<DeviceId, HashMap<Metric, SeriesKey>>,
    count: u32,
}

impl Names {
    /// The number of a point, if it ever had one.
    #[must_use]
    pub fn get(&self, device: &str, metric: &str) -> Option<SeriesKey> {
        self.devices.get(device)?.get(metric).copied()
    }

    /// How many points there have been.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there has been none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn intern(&mut self, device: &DeviceId, metric: &Metric) -> SeriesKey {
        let next = SeriesKey(self.count);
        let series = *self.devices.entry(device.clone()).or_default().entry(metric.clone()).or_insert(next);
        self.count += u32::from(series == next);
        series
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::source::{Source, Sources};
    use super::*;

    const EXAMPLE: &str = include_str!("../../config.example.toml");

    fn of(text: String) -> Result<Config, Faults> {
        let files = vec![Source { path: "smallbrain.toml".into(), text }];
        let sources = Sources { files, ..Sources::default() };
        Config::of(sources, fault::Report::default(), 1_795_190_400_000, None)
    }

    fn words() -> Vec<&'static str> {
        EXAMPLE.split([' ', '\n', ',']).filter(|word| !word.is_empty()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// Words taken out, doubled, exchanged; characters put in: a configuration or faults with places, never a panic.
        #[test]
        fn a_mutated_example_never_panics(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..5_u8), 1..6),
            stray in "[\\[\\]{}\"'=#.,\n0-9a-z门\u{0}]{1,3}",
        ) {
            let mut text = EXAMPLE.replace("\n#", "\n");
            for (at, other, change) in changes {
                let words = words();
                let (word, other) = (words[at.index(words.len())], words[other.index(words.len())]);
                text = match change {
                    0 => text.replacen(word, "", 1),
                    1 => text.replace(word, other),
                    2 => text.replacen(word, &format!("{word}{stray}"), 1),
                    3 => text.replacen(word, &format!("{word} {word}"), 1),
                    _ => text[..text.floor_char_boundary(at.index(text.len() + 1))].to_owned(),
                };
            }
            let lines = text.lines().count();
            if let Err(faults) = of(text) {
                prop_assert!(faults.count() > 0 && !faults.to_string().is_empty());
                prop_assert!(faults.faults.iter().all(|fault| fault.line >= 1 && fault.line <= lines + 1));
            }
        }

        #[test]
        fn a_line_of_the_example_may_say_anything(line in any::<prop::sample::Index>(), value in "\\PC{0,20}") {
            let mut lines: Vec<String> = EXAMPLE.lines().map(str::to_owned).collect();
            let at = line.index(lines.len());
            if let Some((key, _)) = lines[at].clone().split_once('=') {
                lines[at] = format!("{key}= {value}");
            }
            let _ = of(lines.join("\n"));
        }
    }
}
