//! `smallbrain-city` from outside: real gateways, JSON lines, a collector that is killed, a registry that changes.
#![cfg(feature = "city")]

#[allow(dead_code)]
#[path = "daemon/device.rs"]
mod device;
#[allow(dead_code)]
#[path = "daemon/gateway.rs"]
mod gateway;

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use device::Device;
use gateway::{Gateway, Site, example, finish, until};

const CITY: &str = env!("CARGO_BIN_EXE_smallbrain-city");

/// A collector's files.
struct Brain {
    dir: tempfile::TempDir,
}

impl Brain {
    fn new() -> Self {
        let brain = Self { dir: tempfile::tempdir().expect("a directory") };
        let text = "[collector]\nname = 'brain'\nregistry = 'gateways.toml'\nstart_spread = '1ms'\n\
                    [sink]\nkind = 'jsonl'\ndir = 'records'\n";
        fs::write(brain.config(), text).expect("a file");
        brain
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("city.toml")
    }

    /// Replaces the registry.
    fn registry(&self, gateways: &[(&str, &Gateway)]) {
        let lines = gateways.iter().map(|(id, gateway)| {
            format!("[[gateway]]\nid = '{id}'\npull = '{}'\nlanes = ['alarm', 'bulk']\n", gateway.url())
        });
        self.registry_text(&lines.collect::<String>());
    }

    fn registry_text(&self, text: &str) {
        let beside = self.dir.path().join(".new");
        fs::write(&beside, text).expect("a file");
        fs::rename(beside, self.dir.path().join("gateways.toml")).expect("a rename");
    }

    fn start(&self) -> Collector {
        let log = self.dir.path().join("log");
        let err = File::options().create(true).append(true).open(&log).expect("a log");
        let mut command = Command::new(CITY);
        command.arg("run").arg("--config").arg(self.config());
        command.env_remove("JOURNAL_STREAM");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(err).spawn();
        Collector { child: child.expect("the program starts"), log }
    }

    /// The lines of a gateway's files; a line that is being written is none yet.
    fn lines(&self, id: &str) -> Vec<Value> {
        let mut files: Vec<PathBuf> = self.files(id);
        files.sort();
        let texts = files.iter().map(|path| fs::read_to_string(path).expect("text")).collect::<String>();
        texts.split_inclusive('\n').filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn files(&self, id: &str) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.dir.path().join("records").join(id)) else { return Vec::new() };
        let paths = entries.map(|entry| entry.expect("an entry").path());
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "jsonl")).collect()
    }

    fn ids(&self, id: &str, lane: &str) -> Vec<String> {
        ids(&self.lines(id), lane)
    }
}

fn ids(lines: &[Value], lane: &str) -> Vec<String> {
    let records = lines.iter().filter(|line| line["lane"] == lane);
    records.filter_map(|line| line["record_id"].as_str().map(str::to_owned)).collect()
}

/// A running collector; killed when it goes.
struct Collector {
    child: Child,
    log: PathBuf,
}

impl Collector {
    fn told(&self, text: &str) -> bool {
        fs::read_to_string(&self.log).is_ok_and(|log| log.contains(text))
    }

    fn stop(mut self, signal: Signal) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), signal).expect("it is ours");
        until("the collector's end", || self.child.try_wait().expect("it is ours")).code()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // It may be over.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn site() -> Site {
    Site::new(&example().replace("bulk_age_max = \"5s\"", "bulk_age_max = \"1s\""))
}

fn alarm(gateway: &Gateway, on: bool) {
    Device::of(gateway.mqtt, "smoke").publish("compound/smoke-1/up", format!(r#"{{"alarm":{on}}}"#));
    let mut thermometer = Device::of(gateway.mqtt, "thermometer");
    for tenths in 0..20 {
        let payload = format!(r#"{{"temperature":{}.{}}}"#, 20 + tenths / 10, tenths % 10);
        thermometer.publish("compound/thermometer-1/up", payload);
    }
}

fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new().append(true).open(path).expect("a file");
    file.write_all(text.as_bytes()).expect("written");
}

#[test]
fn every_record_is_there_once_after_the_collector_was_killed() {
    let (north, south) = (site(), site());
    let gateways = [("north", north.start()), ("south", south.start())];
    let brain = Brain::new();
    brain.registry(&[("north", &gateways[0].1)]);
    let collector = brain.start();
    gateways.iter().for_each(|(_, gateway)| alarm(gateway, true));
    until("records of north", || (brain.ids("north", "bulk").len() == 1).then_some(()));
    assert!(brain.lines("south").is_empty());
    // A faulty registry changes nothing, the next good one does.
    brain.registry_text("[[gateway]]\nid = 'south'\n");
    until("the fault", || collector.told("registry is wrong").then_some(()));
    brain.registry(&[("north", &gateways[0].1), ("south", &gateways[1].1)]);
    until("records of south", || (brain.ids("south", "bulk").len() == 1).then_some(()));
    assert_eq!(collector.stop(Signal::KILL), None);
    // What a power cut would leave.
    append(&brain.files("north")[0], "{\"lane\":\"alarm\",\"se");
    gateways.iter().for_each(|(_, gateway)| alarm(gateway, false));
    let collector = brain.start();
    for (id, gateway) in &gateways {
        until("what came meanwhile", || (brain.ids(id, "bulk").len() >= 2).then_some(()));
        for lane in ["alarm", "bulk"] {
            until("everything", || (brain.ids(id, lane).len() as u64 >= head(gateway, lane)).then_some(()));
        }
    }
    assert_eq!(collector.stop(Signal::TERM), Some(0));
    for (id, gateway) in &gateways {
        for lane in ["alarm", "bulk"] {
            let lines = brain.lines(id);
            let seqs: Vec<u64> = lines
                .iter()
                .filter(|line| line["lane"] == lane)
                .filter_map(|line| line["seq"].as_u64())
                .collect();
            let all: Vec<u64> = (1..=head(gateway, lane)).collect();
            assert_eq!(seqs, all, "{id} {lane}: each once, in order");
            let once: BTreeSet<String> = ids(&lines, lane).into_iter().collect();
            assert_eq!(once.len(), seqs.len(), "{id} {lane}");
        }
    }
}

/// The newest position of a lane.
fn head(gateway: &Gateway, lane: &str) -> u64 {
    let status = gateway.status();
    let lanes = status["lanes"].as_array().expect("lanes");
    let lane = lanes.iter().find(|told| told["lane"] == lane).unwrap_or_else(|| panic!("{lane}: {status}"));
    lane["head"].as_u64().expect("a position")
}

#[test]
fn a_wrong_configuration_is_told_and_ends_with_78() {
    let brain = Brain::new();
    let check = || {
        let mut command = Command::new(CITY);
        command.arg("check").arg("--config").arg(brain.config());
        finish(command)
    };
    brain.registry_text("[[gateway]]\nid = 'a'\npull = 'http://10.0.0.1:1'\n");
    let said = check();
    assert_eq!(said.code(), Some(78), "{said:?}");
    assert!(said.out.contains("gateways.toml:3:"), "{}", said.out);
    brain.registry_text("[[gateway]]\nid = 'a'\npull = 'https://a:1'\n");
    let said = check();
    assert_eq!(said.code(), Some(0), "{said:?}");
    assert!(said.out.contains("1 gateways into jsonl"), "{}", said.out);
}
