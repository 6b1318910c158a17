//! `city.toml` as written → every fault at once, each with its place → complete [`Settings`].
//!
//! Guarantees: unknown keys are faults; paths are relative to the file that names them; passwords stay in the files and
//! addresses that have them and are never in a `Debug`. Does not read the registry: that is [`super::registry`]'s.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;

use crate::config::Faults;
use crate::config::fault::{Report, Span};
use crate::config::read::{Section, section, words};
use crate::config::source::{Sources, directory};
use crate::telemetry;

section! {
    /// Everything.
    Root, "the file", {
        collector: RawCollector,
        sink: RawSink,
        tls: RawTls,
    }
}

section! {
    /// The process.
    RawCollector, "[collector]", {
        name: String,
        registry: String,
        listen: SocketAddr,
        metrics: SocketAddr,
        start_spread: Duration,
        log: String,
    }
}

section! {
    /// Where records go.
    RawSink, "[sink]", {
        kind: Kind,
        dir: String,
        url: String,
        stream: String,
        subject: String,
        credentials: String,
        duplicate_window: Duration,
        format: Format,
        ca: String,
    }
}

section! {
    /// Who the collector is towards gateways.
    RawTls, "[tls]", {
        ca: String,
        certificate: String,
        key: String,
    }
}

/// The kinds of sinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Jsonl,
    Nats,
    Postgres,
}

words!(Kind, "jsonl" => Kind::Jsonl, "nats" => Kind::Nats, "postgres" => Kind::Postgres);

/// How a record is written into a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// As `smallbrain pull` prints it.
    #[default]
    Json,
    /// The serialised `smallbrain.v1.Record`.
    Protobuf,
}

words!(Format, "json" => Format::Json, "protobuf" => Format::Protobuf);

/// Files of a TLS identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// PEM roots of the other side.
    pub ca: Option<PathBuf>,
    /// PEM chain of this side.
    pub certificate: Option<PathBuf>,
    /// PEM key of this side.
    pub key: Option<PathBuf>,
}

/// Where records go.
#[derive(Clone, PartialEq, Eq)]
pub enum SinkSettings {
    /// JSON lines: a file per gateway and day below a directory.
    Jsonl {
        /** The directory. */
        dir: PathBuf,
    },
    /// NATS JetStream.
    Nats(Nats),
    /// PostgreSQL.
    Postgres {
        /** `postgres://…`; may hold a password. */
        url: String,
        /** PEM roots of the server: with them the line is TLS. */
        ca: Option<PathBuf>,
    },
}

/// NATS JetStream.
#[derive(Clone, PartialEq, Eq)]
pub struct Nats {
    /// `nats://host:4222`; may hold a password.
    pub url: String,
    /// The stream; made if it is missing.
    pub stream: String,
    /// First token of every subject.
    pub subject: String,
    /// A file of credentials.
    pub credentials: Option<PathBuf>,
    /// PEM roots of the server: with them the line is TLS.
    pub ca: Option<PathBuf>,
    /// How long the stream knows message ids; for a stream that is made.
    pub duplicate_window: Duration,
    /// What a message holds.
    pub format: Format,
}

impl fmt::Debug for SinkSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}

impl SinkSettings {
    /// As the configuration writes it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            SinkSettings::Jsonl { .. } => "jsonl",
            SinkSettings::Nats(_) => "nats",
            SinkSettings::Postgres { .. } => "postgres",
        }
    }
}

/// What the collector needs to know. Holds for the life of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The collector's name, towards gateways and other collectors.
    pub name: String,
    /// The registry's file.
    pub registry: PathBuf,
    /// Where /metrics is served.
    pub metrics: Option<SocketAddr>,
    /// Over how long the first connections are spread.
    pub start_spread: Duration,
    /// Level filter of the log.
    pub log: String,
    /// Where records go.
    pub sink: SinkSettings,
    /// Towards gateways whose line says nothing else.
    pub tls: Tls,
}

/// One file and the tables in it.
pub(super) fn read<T: Section>(path: &Path, report: &mut Report) -> (Sources, T) {
    let sources = Sources::read(path, report);
    let mut root = T::default();
    if let Some(source) = sources.files.first() {
        let (table, errors) = DeTable::parse_recoverable(&source.text);
        // One broken line gives several errors, of which the first is the cause.
        if let Some(error) = errors.first() {
            let span = Span::of(0, error.span().unwrap_or_default());
            report.unreadable(span, error.message(), "valid TOML: https://toml.io");
        }
        root.fill(table.get_ref(), 0, report);
    }
    (sources, root)
}

/// Whether a word can be a part of subjects, keys and file names.
pub(super) fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// What a word is.
pub(super) const WORD: &str = "1 to 64 letters, digits, - and _";

impl Settings {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn load(path: &Path) -> Result<Self, Faults> {
        let mut report = Report::default();
        let (sources, root) = read::<Root>(path, &mut report);
        let settings = root.check(&directory(path), &mut report);
        let found = report.finish(&sources);
        match settings {
            Some(settings) if found.count() == 0 => Ok(settings),
            _ => Err(found),
        }
    }
}

impl Root {
    fn check(&self, base: &Path, report: &mut Report) -> Option<Settings> {
        let none = RawCollector { at: self.at, ..RawCollector::default() };
        let raw = report.need(&self.collector, self.at, "collector", "{ name = \"brain-1\" }");
        let raw = raw.map_or(&none, |at| &at.value);
        let name = report.need(&raw.name, raw.at, "name", "\"brain-1\"");
        if let Some(name) = name.filter(|name| !is_word(&name.value)) {
            report.fault(name.span, format!("{:?} is no name of a collector", name.value), WORD);
        }
        if let Some(listen) = raw.listen.get() {
            let help = "leave the key out: gateways are pulled so far";
            report.fault(listen.span, "this build does not take links of gateways", help);
        }
        if let Some(metrics) = raw.metrics.get().filter(|at| !at.value.ip().is_loopback()) {
            report.fault(
                metrics.span,
                "metrics are served without TLS",
                "a loopback address: \"127.0.0.1:9465\"",
            );
        }
        let registry = report.need(&raw.registry, raw.at, "registry", "\"gateways.toml\"");
        let sink = report.need(&self.sink, self.at, "sink", "{ kind = \"jsonl\", dir = \"records\" }");
        let sink = sink.and_then(|at| at.value.check(base, report));
        let tls = self.tls.value().map_or_else(Tls::default, |raw| raw.check(base, report));
        Some(Settings {
            name: name?.value.clone(),
            registry: base.join(&registry?.value),
            metrics: raw.metrics.value().copied(),
            start_spread: raw.start_spread.or(Duration::from_secs(30)),
            log: raw.log.or("info".to_owned()),
            sink: sink?,
            tls,
        })
    }
}

impl RawTls {
    fn check(&self, base: &Path, report: &mut Report) -> Tls {
        if self.certificate.is_absent() != self.key.is_absent() {
            report.fault(self.at, "certificate and key go together", "both of them, or none");
        }
        let path = |text: &String| base.join(text);
        Tls {
            ca: self.ca.value().map(path),
            certificate: self.certificate.value().map(path),
            key: self.key.value().map(path),
        }
    }
}

impl RawSink {
    fn check(&self, base: &Path, report: &mut Report) -> Option<SinkSettings> {
        let kind = report.need(&self.kind, self.at, "kind", "\"jsonl\"")?.value;
        self.only_of(kind, report);
        let url = |report: &mut Report, example: &str| {
            report.need(&self.url, self.at, "url", example).map(|at| at.value.clone())
        };
        let path = |text: &String| base.join(text);
        match kind {
            Kind::Jsonl => {
                let dir = report.need(&self.dir, self.at, "dir", "\"records\"")?;
                Some(SinkSettings::Jsonl { dir: base.join(&dir.value) })
            }
            Kind::Nats => {
                let url = url(report, "\"nats://127.0.0.1:4222\"");
                for word in [&self.stream, &self.subject] {
                    if let Some(wrong) = word.get().filter(|at| !is_word(&at.value)) {
                        report.fault(wrong.span, format!("{:?} is no name of one", wrong.value), WORD);
                    }
                }
                Some(SinkSettings::Nats(Nats {
                    url: url?,
                    stream: self.stream.or("smallbrain".to_owned()),
                    subject: self.subject.or("smallbrain".to_owned()),
                    credentials: self.credentials.value().map(path),
                    ca: self.ca.value().map(path),
                    duplicate_window: self.duplicate_window.or(Duration::from_secs(3600)),
                    format: self.format.or(Format::Json),
                }))
            }
            Kind::Postgres => Some(SinkSettings::Postgres {
                url: url(report, "\"postgres://smallbrain@127.0.0.1/smallbrain\"")?,
                ca: self.ca.value().map(path),
            }),
        }
    }

    /// A key that another kind has does nothing here, which whoever wrote it does not mean.
    fn only_of(&self, kind: Kind, report: &mut Report) {
        let spans = [
            ("dir", self.dir.get().map(|at| at.span), &[Kind::Jsonl][..]),
            ("url", self.url.get().map(|at| at.span), &[Kind::Nats, Kind::Postgres]),
            ("ca", self.ca.get().map(|at| at.span), &[Kind::Nats, Kind::Postgres]),
            ("stream", self.stream.get().map(|at| at.span), &[Kind::Nats]),
            ("subject", self.subject.get().map(|at| at.span), &[Kind::Nats]),
            ("credentials", self.credentials.get().map(|at| at.span), &[Kind::Nats]),
            ("duplicate_window", self.duplicate_window.get().map(|at| at.span), &[Kind::Nats]),
            ("format", self.format.get().map(|at| at.span), &[Kind::Nats]),
        ];
        for (key, span, kinds) in spans {
            if let Some(span) = span.filter(|_| !kinds.contains(&kind)) {
                report.fault(span, format!("`{key}` is for another kind of sink"), "leave it out");
            }
        }
    }
}

/// Starts the log as the settings say.
///
/// # Errors
/// When the filter is none.
pub(super) fn start_logs(settings: &Settings) -> Result<(), String> {
    // The client of NATS tells of every connection at info.
    telemetry::start_logs(&format!("async_nats=warn,tokio_postgres=warn,{}", settings.log))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Settings, Faults> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("city.toml");
        std::fs::write(&path, text).expect("a file");
        Settings::load(&path)
    }

    #[test]
    fn the_example_is_whole() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/city.example.toml");
        let settings = Settings::load(&path).unwrap_or_else(|faults| panic!("{faults}"));
        assert_eq!(settings.start_spread, Duration::from_secs(30));
        assert_eq!(settings.sink.kind(), "jsonl");
        let registry = crate::city::registry::Registry::load(&settings.registry, &settings.tls);
        assert!(registry.is_ok(), "{registry:?}");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let good = "[collector]\nname = 'a'\nregistry = 'g.toml'\n[sink]\nkind = 'jsonl'\ndir = 'd'\n";
        assert!(load(good).is_ok());
        let swap = |from: &str, to: &str| good.replace(from, to);
        let cases = [
            (swap("name = 'a'", "name = 'a b'"), 2, "no name of a collector"),
            (swap("name = 'a'", "nam = 'a'"), 2, "unknown key `nam`"),
            (swap("kind = 'jsonl'", "kind = 'jsonx'"), 5, "unknown word"),
            (swap("dir = 'd'", "url = 'x'"), 6, "another kind"),
            (swap("kind = 'jsonl'", "kind = 'nats'\nurl = 'u'\nsubject = 'a.b'"), 7, "no name of one"),
            (swap("name = 'a'", "name = 'a'\nmetrics = '0.0.0.0:1'"), 3, "without TLS"),
            (swap("name = 'a'", "name = 'a'\nlisten = '0.0.0.0:1'"), 3, "does not take links"),
            (format!("{good}[tls]\nkey = 'k'\n"), 7, "go together"),
        ];
        for (text, line, says) in cases {
            let faults = load(&text).expect_err(&text);
            let told = faults.faults.iter().any(|fault| fault.line == line && fault.message.contains(says));
            assert!(told, "{text}\n{faults}");
        }
    }

    #[test]
    fn a_debug_shows_no_password() {
        let url = "postgres://u:secret@h/d".to_owned();
        assert_eq!(format!("{:?}", SinkSettings::Postgres { url, ca: None }), "postgres");
    }
}
