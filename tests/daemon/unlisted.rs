//! Payloads at random, with fields that no list names, and everything that comes out of the process again.

use std::fs;

use rustix::process::Signal;

use super::device::Device;
use super::gateway::{Site, example};

/// Begins every text that no list names; nothing else in the test holds it.
const MARK: &str = "qzx7";
const MESSAGES: u64 = 3_000;

/// xorshift64*: the same payloads every time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }

    fn mark(&mut self) -> String {
        format!("{MARK}-{:08x}", self.below(1 << 32))
    }

    /// A value of any kind, nested to a depth.
    fn value(&mut self, depth: u64) -> String {
        match self.below(if depth == 0 { 4 } else { 6 }) {
            0 => format!("\"{}\"", self.mark()),
            1 => "null".to_owned(),
            2 => self.below(1 << 40).to_string(),
            3 => format!("\"\\u0000{}\\\\\\\"\"", self.mark()),
            4 => format!("[{},{}]", self.value(depth - 1), self.value(depth - 1)),
            _ => format!("{{\"{}\":{}}}", self.mark(), self.value(depth - 1)),
        }
    }

    /// A message of a thermometer: what it may say, in the middle of what it may not.
    fn message(&mut self) -> String {
        let listed = match self.below(4) {
            0 => format!("\"temperature\":{}", self.value(2)),
            1 => format!("\"humidity\":\"{}\"", self.mark()),
            _ => format!("\"temperature\":{}", self.below(80)),
        };
        let mut fields: Vec<String> = (0..self.below(6))
            .map(|_| format!("\"{}\":{}", self.mark(), self.value(3)))
            .chain([listed])
            .collect();
        let at = self.below(fields.len() as u64) as usize;
        let last = fields.len() - 1;
        fields.swap(at, last);
        let whole = format!("{{{}}}", fields.join(","));
        match self.below(8) {
            0 => whole[..whole.char_indices().nth(whole.chars().count() / 2).map_or(0, |(at, _)| at)]
                .to_owned(),
            1 => self.value(3),
            _ => whole,
        }
    }
}

#[test]
fn not_a_byte_that_no_list_names_comes_out_again() {
    let text = example().replacen("log = \"info\"", "log = \"debug\"", 1)
        + "\n[[share]]\nid = \"S-bulk\"\npurpose = \"test.bulk\"\nlane = \"bulk\"\ndevices = true\n\
           consumers = [\"spiffe://brain.example/city/310115/brain/yiwangtongguan\"]\n\
           metrics = [\"temperature\", \"humidity\"]\napproval = \"2026-099\"\n";
    let site = Site::new(&text);
    let gateway = site.start();
    let mut device = Device::of(gateway.mqtt, "thermometer-1");
    let mut random = Random(0x5eed);
    for turn in 0..MESSAGES {
        let topic = if turn % 50 == 0 {
            format!("compound/{}/up", random.mark())
        } else {
            format!("compound/thermometer-{}/up", 1 + turn % 3)
        };
        device.publish(&topic, random.message());
    }
    let told = gateway.metrics();
    assert!(told["smallbrain_ingest_stored_total"] > MESSAGES / 8, "{told:?}");
    assert!(told["smallbrain_ingest_lost_total{reason=\"malformed\"}"] > 0, "{told:?}");
    let socket = |args: &[&str]| format!("{:?}", gateway.ask(args));
    let sockets = [
        format!("{told:?}"),
        gateway.status().to_string(),
        socket(&["devices"]),
        socket(&["alarms"]),
        socket(&["events"]),
        format!("{:?}", ["alarm", "aggregate", "bulk"].map(|lane| gateway.pull(lane))),
    ];
    assert!(sockets[5].contains("temperature"), "the readings are shared");
    let log = gateway.log.clone();
    assert_eq!(gateway.stop(Signal::TERM), Some(0));
    for (index, out) in sockets.iter().enumerate() {
        assert!(!out.contains(MARK), "socket {index}: {out}");
    }
    assert!(!log.text().contains(MARK), "the log");
    let held = |path: &std::path::Path| {
        let bytes = fs::read(path).expect("a file");
        bytes.windows(MARK.len()).any(|window| window == MARK.as_bytes())
    };
    for entry in fs::read_dir(site.store()).expect("the store") {
        let path = entry.expect("an entry").path();
        assert!(path.is_dir() || !held(&path), "{}", path.display());
    }
}
