//! The real binary in a directory of its own: configuration, process, log, status, metrics, and verbs beside it.
//!
//! Guarantees: every wait ends, after `PATIENCE` with a panic that shows the log; a process does not outlive its test.
//! Addresses are taken with port 0, and read from the line that says "ready".

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// The program under test.
pub(crate) const SMALLBRAIN: &str = env!("CARGO_BIN_EXE_smallbrain");
/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at something that tells nobody.
const LOOK: Duration = Duration::from_millis(20);

/// Looks until there is something to see.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        std::thread::park_timeout(LOOK);
    }
}

/// What a process said when it was over.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: ExitStatus,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        Self { status: output.status, out: text(output.stdout), err: text(output.stderr) }
    }

    /// The exit code; none after a signal.
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Its lines of JSON.
    pub(crate) fn json(&self) -> Vec<Value> {
        let lines = self.out.lines();
        lines.map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("JSON: {line}"))).collect()
    }
}

/// Runs a command to its end.
pub(crate) fn finish(mut command: Command) -> Said {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (pid, (done, end)) = (Pid::from_child(&child), mpsc::channel());
    std::thread::spawn(move || done.send(child.wait_with_output()));
    match end.recv_timeout(PATIENCE) {
        Ok(output) => Said::of(output.expect("an end")),
        Err(_) => {
            kill_process(pid, Signal::KILL).expect("it is ours");
            panic!("no end after {PATIENCE:?}: {command:?}")
        }
    }
}

/// Runs a verb to its end.
pub(crate) fn smallbrain(args: &[&str]) -> Said {
    let mut command = Command::new(SMALLBRAIN);
    command.args(args);
    finish(command)
}

/// A directory with a configuration in it.
pub(crate) struct Site {
    dir: TempDir,
}

impl Site {
    /// With this text as its configuration, every listener of the example on a free port.
    pub(crate) fn new(text: &str) -> Self {
        // Short, for the socket in it.
        let site =
            Self { dir: tempfile::Builder::new().prefix("sb").tempdir_in("/tmp").expect("a directory") };
        site.swap(text);
        site
    }

    /// As config.example.toml has it.
    pub(crate) fn example() -> Self {
        Self::new(&example())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path("config.toml")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path("smallbrain-data")
    }

    /// A file that the configuration includes, once it is there.
    pub(crate) fn included(&self, name: &str) -> String {
        let dir = self.path("conf.d");
        std::fs::create_dir_all(&dir).expect("a directory");
        dir.join(name).display().to_string()
    }

    /// Replaces the configuration as careful editors do: written beside it, then renamed.
    pub(crate) fn swap(&self, text: &str) {
        let beside = self.path(".config.toml.new");
        std::fs::write(&beside, text).expect("a file");
        std::fs::rename(beside, self.config()).expect("a rename");
    }

    /// `smallbrain VERB --config` of this site.
    pub(crate) fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(SMALLBRAIN);
        command.arg(verb).arg("--config").arg(self.config());
        command
    }

    /// A running gateway.
    pub(crate) fn start(&self) -> Gateway {
        self.start_with(self.command("run"))
    }

    /// A running gateway of a command of its own.
    pub(crate) fn start_with(&self, mut command: Command) -> Gateway {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("the program starts");
        let log = Log::of(child.stderr.take().expect("stderr"));
        let ready = log.wait("ready", 1);
        let address = |name: &str| {
            let (_, rest) =
                ready.split_once(&format!("{name} ")).unwrap_or_else(|| panic!("{name}: {ready}"));
            let word = rest.split([',', ' ']).next().unwrap_or(rest);
            word.parse().unwrap_or_else(|_| panic!("{name}: {ready}"))
        };
        let (mqtt, share, metrics) = (address("mqtt"), address("share"), address("metrics"));
        Gateway { child, log, mqtt, share, metrics, socket: self.store().join("smallbrain.sock") }
    }
}

/// config.example.toml with every listener on a free port.
pub(crate) fn example() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.toml");
    let mut text = std::fs::read_to_string(path).expect("the example");
    for listen in
        ["listen = \"127.0.0.1:1883\"", "listen = \"127.0.0.1:50051\"", "listen = \"127.0.0.1:9464\""]
    {
        assert_eq!(text.matches(listen).count(), 1, "{listen}");
        text = text.replace(listen, "listen = \"127.0.0.1:0\"");
    }
    text
}

/// What a process writes, line by line as it comes.
#[derive(Clone)]
pub(crate) struct Log(Arc<(Mutex<Written>, Condvar)>);

#[derive(Default)]
struct Written {
    lines: Vec<String>,
    /// Nothing will follow.
    over: bool,
}

impl Log {
    fn of(stream: impl Read + Send + 'static) -> Self {
        let log = Self(Arc::default());
        let written = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                written.now().lines.push(line);
                written.0.1.notify_all();
            }
            written.now().over = true;
            written.0.1.notify_all();
        });
        log
    }

    fn now(&self) -> MutexGuard<'_, Written> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything so far.
    pub(crate) fn text(&self) -> String {
        self.now().lines.join("\n")
    }

    /// Waits for the `nth` line with a text, and gives it.
    pub(crate) fn wait(&self, text: &str, nth: usize) -> String {
        let found = |lines: &[String]| lines.iter().filter(|line| line.contains(text)).nth(nth - 1).cloned();
        let waits = |written: &mut Written| found(&written.lines).is_none() && !written.over;
        let waited = self.0.1.wait_timeout_while(self.now(), PATIENCE, waits);
        let (written, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let lines = &written.lines;
        found(lines).unwrap_or_else(|| panic!("no {nth}. {text:?} in the log:\n{}", lines.join("\n")))
    }
}

/// A running gateway; killed when it goes.
pub(crate) struct Gateway {
    child: Child,
    pub(crate) log: Log,
    pub(crate) mqtt: SocketAddr,
    pub(crate) share: SocketAddr,
    pub(crate) metrics: SocketAddr,
    pub(crate) socket: PathBuf,
}

impl Gateway {
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is ours");
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        until("the gateway's end", || self.child.try_wait().expect("it is ours"))
    }

    /// Ends it by a signal: its exit code, none when the signal killed it.
    pub(crate) fn stop(mut self, signal: Signal) -> Option<i32> {
        self.signal(signal);
        let status = self.wait();
        assert!(status.code().is_some() || status.signal() == Some(signal.as_raw()), "{status}");
        status.code()
    }

    /// Its state, as `smallbrain status --json` tells it.
    pub(crate) fn status(&self) -> Value {
        let said = smallbrain(&["status", "--json", "--socket", &self.socket.display().to_string()]);
        assert_eq!(said.code(), Some(0), "{said:?}\n{}", self.log.text());
        said.json().remove(0)
    }

    /// A verb that asks this gateway, to its end.
    pub(crate) fn ask(&self, args: &[&str]) -> Said {
        let socket = self.socket.display().to_string();
        smallbrain(&[args, &["--socket", &socket]].concat())
    }

    /// What is not as it should be, from the status.
    pub(crate) fn degraded(&self) -> Vec<String> {
        let status = self.status();
        let lines = status["degraded"].as_array().expect("a list");
        lines.iter().map(|line| line.as_str().expect("text").to_owned()).collect()
    }

    /// Everything that is granted in a lane, from the first position on; each a line of JSON.
    pub(crate) fn pull(&self, lane: &str) -> Vec<Value> {
        let said = smallbrain(&["pull", "--gateway", &self.url(), "--lane", lane, "--after", "0"]);
        assert_eq!(said.code(), Some(0), "{said:?}\n{}", self.log.text());
        said.json()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.share)
    }

    /// Every sample of /metrics by its name and labels. The page is held against the text format on the way.
    pub(crate) fn metrics(&self) -> BTreeMap<String, u64> {
        let mut stream = TcpStream::connect(self.metrics).expect("metrics");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, page) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("text/plain; version=0.0.4"), "{head}");
        samples(page)
    }

    /// One sample.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let metrics = self.metrics();
        *metrics.get(name).unwrap_or_else(|| panic!("no {name} in {metrics:?}"))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may be over.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A page of the Prometheus text format 0.0.4, read strictly: a TYPE before the samples of each name, names and labels
/// of the allowed characters, nothing twice, counters and only they in `_total`.
fn samples(page: &str) -> BTreeMap<String, u64> {
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == ':')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
    };
    let is_label = |label: &str| {
        label.split_once('=').is_some_and(|(name, value)| {
            is_name(name) && value.len() >= 2 && value.starts_with('"') && value.ends_with('"')
        })
    };
    assert!(page.ends_with('\n'), "the last line ends");
    let (mut types, mut samples) = (BTreeMap::new(), BTreeMap::new());
    for line in page.lines() {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            let (name, kind) = declared.split_once(' ').unwrap_or_else(|| panic!("{line}"));
            assert!(is_name(name) && ["counter", "gauge"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert_eq!(types.insert(name, kind), None, "declared twice: {line}");
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        let (name, labels) = series.split_at(series.find('{').unwrap_or(series.len()));
        assert!(types.contains_key(name), "no TYPE before {line}");
        let inner = labels.strip_prefix('{').map_or("", |labels| labels.strip_suffix('}').unwrap_or("{"));
        assert!(inner.split(',').all(|label| label.is_empty() || is_label(label)), "{line}");
        let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
        assert_eq!(samples.insert(series.to_owned(), value), None, "twice: {line}");
    }
    assert!(!samples.is_empty(), "an empty page");
    samples
}
