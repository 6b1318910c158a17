//! The real binary as a child process: started, watched until it says READY as systemd would, killed or stopped.
//!
//! Every site has a loopback address of its own, so that no other process is in its way and no reconnecting device
//! takes the listener's port for its own end. What a child is told to do it is told by signals alone.

use std::fs::File;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use toml::{Table, Value};

/// For everything that has to happen at all.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);
/// Who pulls, as benches/crash.toml names it.
pub(crate) const CITY: &str = "spiffe://city.example/bench";
/// Above this humidity, in tenths, the alarm is raised; at or below it is cleared.
pub(crate) const HUMID: i64 = 600;
/// Windows of the aggregate, milliseconds.
pub(crate) const WINDOW_MS: i64 = 1_000;

/// A place for one gateway: its files and addresses, whatever becomes of the process.
pub(crate) struct Site {
    /// Outside of the store: configuration, log, ledger.
    pub(crate) dir: PathBuf,
    pub(crate) store: PathBuf,
    pub(crate) mqtt: SocketAddr,
    pub(crate) share: SocketAddr,
    file: PathBuf,
    config: Table,
}

impl Site {
    /// A site in `dir` with its store in `store`; `change` has the last word about the configuration.
    pub(crate) fn new(dir: &Path, store: &Path, change: impl FnOnce(&mut Table)) -> Self {
        let host = loopback();
        let mut site = Self {
            dir: dir.to_owned(),
            store: store.to_owned(),
            mqtt: free(host),
            share: free(host),
            file: dir.join("smallbrain.toml"),
            config: include_str!("../../benches/crash.toml").parse().expect("it is TOML"),
        };
        site.place();
        rules(&mut site.config);
        change(&mut site.config);
        std::fs::write(&site.file, site.config.to_string()).expect("the configuration is written");
        site
    }

    fn place(&mut self) {
        let config = &mut self.config;
        set(config, "store", "dir", self.store.to_str().expect("a plain path"));
        set(config, "store", "reserve", "1 MiB");
        set(config, "mqtt", "listen", self.mqtt.to_string());
        let mut loopback = Table::new();
        loopback.insert("listen".into(), self.share.to_string().into());
        loopback.insert("consumer".into(), CITY.into());
        set(config, "share_server", "loopback", loopback);
    }

    /// Points of a message.
    pub(crate) fn points(&self) -> u64 {
        array(&self.config, "template", "point")
    }

    /// Points of a message that the city gets one by one.
    pub(crate) fn shared(&self) -> u64 {
        array(&self.config, "share", "metrics")
    }

    /// The same gateway under other addresses, for a second one on the same store.
    pub(crate) fn twin(&self) -> Site {
        let dir = self.dir.join("twin");
        std::fs::create_dir(&dir).expect("a directory");
        Site::new(&dir, &self.store, |_| {})
    }

    /// Starts the gateway.
    pub(crate) fn start(&self) -> Gateway {
        let notify = self.dir.join("notify");
        // What the last one had to say is of no interest any more.
        let _ = std::fs::remove_file(&notify);
        let told = UnixDatagram::bind(&notify).expect("a socket for READY");
        let log = File::options().create(true).append(true).open(self.log()).expect("a log");
        let child = Command::new(binary())
            .arg("run")
            .arg("--config")
            .arg(&self.file)
            .env("NOTIFY_SOCKET", &notify)
            .env_remove("JOURNAL_STREAM")
            .env_remove("WATCHDOG_USEC")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        Gateway { child, told, log: self.log(), began: Instant::now() }
    }

    /// Starts the gateway and waits until it is ready.
    pub(crate) fn run(&self) -> Gateway {
        let gateway = self.start();
        assert!(
            gateway.ready(DEADLINE),
            "the gateway is not ready after {DEADLINE:?}\n{}",
            gateway.last_words()
        );
        gateway
    }

    fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// The local socket of `smallbrain status`.
    pub(crate) fn socket(&self) -> PathBuf {
        self.store.join("smallbrain.sock")
    }
}

/// A running gateway; it does not outlive this.
pub(crate) struct Gateway {
    child: Child,
    told: UnixDatagram,
    log: PathBuf,
    pub(crate) began: Instant,
}

impl Gateway {
    /// Waits for READY, at most so long. Panics when the process ends before.
    pub(crate) fn ready(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut message = [0; 512];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            self.told.set_read_timeout(Some(left.min(Duration::from_millis(200)))).expect("a timeout");
            match self.told.recv(&mut message) {
                Ok(length) if message[..length].starts_with(b"READY=1") => return true,
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    let pid = i32::try_from(self.child.id()).expect("a pid");
                    assert!(is_alive(pid), "the gateway ended before it was ready\n{}", self.last_words());
                }
                Err(error) => panic!("the socket for READY: {error}"),
            }
        }
    }

    /// `kill -9`, now.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it was alive or is at least ours");
        self.child.wait().expect("it is our child");
    }

    /// SIGTERM; how it ended, and how long that took.
    pub(crate) fn stop(mut self) -> (ExitStatus, Duration) {
        let began = Instant::now();
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("it is alive");
        (self.wait(), began.elapsed())
    }

    /// Waits until it ends by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut end = None;
        until("the gateway ends", || {
            end = self.child.try_wait().expect("it is our child");
            end.is_some()
        });
        end.expect("it has just ended")
    }

    /// The end of its log.
    pub(crate) fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Dead already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a child runs: a zombie does not.
fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

/// Waits until something holds; panics after [`DEADLINE`].
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < DEADLINE, "waited {DEADLINE:?} for this: {what}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// An address of 127.0.0.0/8 that nobody else uses.
fn loopback() -> Ipv4Addr {
    let random = getrandom::u32().expect("random numbers");
    let [a, b, c, _] = random.to_le_bytes();
    Ipv4Addr::new(127, a.max(1), b, c.clamp(1, 254))
}

fn free(host: Ipv4Addr) -> SocketAddr {
    let listener = TcpListener::bind((IpAddr::V4(host), 0)).expect("a loopback port");
    listener.local_addr().expect("bound")
}

/// What benches/crash.toml has not: an alarm, an aggregate, their share lines; and records that are soon full.
fn rules(config: &mut Table) {
    set(config, "ingest", "bulk_rows_max", 50);
    set(config, "ingest", "bulk_age_max", "300ms");
    let extra = format!(
        r#"
        [[alarm]]
        id = "humid"
        when = "humidity > {}"
        severity = "minor"

        [[aggregate]]
        id = "A-1s"
        metrics = ["temperature"]
        size = "{}s"
        lateness = "1s"
        by = "device"

        [[share]]
        id = "S-alarm"
        purpose = "bench"
        lane = "alarm"
        consumers = ["{CITY}"]
        metrics = ["humidity"]
        devices = true
        carries = ["humid"]
        approval = "bench"

        [[share]]
        id = "S-window"
        purpose = "bench"
        lane = "aggregate"
        consumers = ["{CITY}"]
        metrics = ["temperature"]
        devices = true
        carries = ["A-1s"]
        approval = "bench"
        "#,
        HUMID / 10,
        WINDOW_MS / 1000,
    );
    add(config, &extra);
    add_point(config, "humidity", "/humidity", false);
}

/// More tables of arrays.
pub(crate) fn add(config: &mut Table, extra: &str) {
    let extra: Table = extra.parse().expect("it is TOML");
    for (name, value) in extra {
        let Value::Array(tables) = value else { unreachable!("only arrays of tables") };
        match config.get_mut(&name) {
            Some(Value::Array(there)) => there.extend(tables),
            _ => drop(config.insert(name, Value::Array(tables))),
        }
    }
}

/// One more number of the one template, collected as it is; shared on the bulk lane or not.
pub(crate) fn add_point(config: &mut Table, metric: &str, pointer: &str, shared: bool) {
    let mut point = Table::new();
    for (key, text) in [("metric", metric), ("kind", "number"), ("json", pointer)] {
        point.insert(key.into(), text.into());
    }
    let points = first(config, "template").get_mut("point").and_then(Value::as_array_mut);
    points.expect("points").push(Value::Table(point));
    let fields = first(config, "collect").get_mut("fields").and_then(Value::as_table_mut);
    fields.expect("fields").insert(metric.into(), "keep".into());
    if shared {
        let metrics = first(config, "share").get_mut("metrics").and_then(Value::as_array_mut);
        metrics.expect("metrics").push(metric.into());
    }
}

/// Topics `exact/{device}/up`, whose readings have no time of their own.
pub(crate) fn map_without_time(config: &mut Table) {
    let mut mapping = first(config, "mapping").clone();
    mapping.remove("time");
    mapping.insert("topic".into(), "exact/{device}/up".into());
    let mappings = config.get_mut("mapping").and_then(Value::as_array_mut);
    mappings.expect("mappings").push(Value::Table(mapping));
}

/// The first line of the share list once more, under another id.
pub(crate) fn share_again(config: &mut Table, id: &str) {
    let mut line = first(config, "share").clone();
    line.insert("id".into(), id.into());
    let lines = config.get_mut("share").and_then(Value::as_array_mut);
    lines.expect("lines").push(Value::Table(line));
}

/// The first of an array of tables.
pub(crate) fn first<'c>(config: &'c mut Table, name: &str) -> &'c mut Table {
    let tables = config.get_mut(name).and_then(Value::as_array_mut);
    tables.and_then(|tables| tables.first_mut()).and_then(Value::as_table_mut).expect("it is there")
}

/// How long an array in the first of an array of tables is.
fn array(config: &Table, name: &str, key: &str) -> u64 {
    config[name][0][key].as_array().map_or(0, Vec::len) as u64
}

/// A key of a table.
pub(crate) fn set(config: &mut Table, table: &str, key: &str, value: impl Into<Value>) {
    let table = config.get_mut(table).and_then(Value::as_table_mut).expect("it is there");
    table.insert(key.into(), value.into());
}

/// The program under test: the one that was built with the tests, or the one that SMALLBRAIN names.
pub(crate) fn binary() -> std::ffi::OsString {
    std::env::var_os("SMALLBRAIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_smallbrain").into())
}
