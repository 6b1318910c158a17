//! The devices: the load generator with reconnect, and its ledger, which lies outside of the store and is written before
//! an acknowledgement counts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use smallbrain::simulate::load::{self, Counters, LoadError, Report, Settings};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::gateway::{DEADLINE, Site, until};

/// Devices that publish until they are stopped.
pub(crate) struct Devices {
    counters: Arc<Counters>,
    stop: CancellationToken,
    run: JoinHandle<Result<Report, LoadError>>,
    ledger: PathBuf,
}

impl Devices {
    /// So many connections with windows of 16 publishes of `size` bytes.
    pub(crate) fn start(runtime: &Runtime, site: &Site, connections: u32, size: usize) -> Self {
        let ledger = site.dir.join("ledger");
        let settings = Settings {
            server: site.mqtt.to_string(),
            connections,
            size,
            reconnect: true,
            ledger: Some(ledger.clone()),
            drain: DEADLINE,
            ..Settings::default()
        };
        let (counters, stop) = (Arc::new(Counters::default()), CancellationToken::new());
        let run = runtime.spawn(load::run(settings, counters.clone(), stop.clone()));
        Self { counters, stop, run, ledger }
    }

    pub(crate) fn acked(&self) -> u64 {
        self.counters.acked.load(Relaxed)
    }

    /// Waits until so many more are acknowledged.
    pub(crate) fn wait(&self, more: u64) {
        let enough = self.acked() + more;
        until("acknowledgements", || self.acked() >= enough);
    }

    /// Bytes of the ledger now.
    pub(crate) fn ledger_bytes(&self) -> usize {
        std::fs::metadata(&self.ledger).map_or(0, |file| file.len() as usize)
    }

    /// Waits until nothing of a dead gateway can come any more.
    pub(crate) fn cut_off(&self) {
        until("every device has noticed", || self.counters.open.load(Relaxed) == 0);
    }

    /// No new publishes; waits for the last acknowledgements.
    pub(crate) fn finish(self, runtime: &Runtime) -> Report {
        self.stop.cancel();
        let report = runtime.block_on(self.run).expect("no panic").expect("the ledger can be written");
        assert_eq!(report.acked, report.sent, "everything sent is acknowledged in the end: {report}");
        assert!(report.clean(), "acknowledgements out of order or unknown: {report}");
        report
    }
}

/// What the ledger says: the sequences of each device, and whether each acknowledgement counts.
pub(crate) type Acked = BTreeMap<String, BTreeMap<u64, bool>>;

/// Reads the ledger; a line that begins inside of one of the `doubtful` ranges of bytes does not count.
pub(crate) fn ledger(dir: &Path, doubtful: &[std::ops::Range<usize>]) -> Acked {
    let text = std::fs::read_to_string(dir.join("ledger")).expect("a ledger");
    let mut acked = Acked::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let (device, n) = line.trim_end().split_once(' ').expect("device and sequence");
        let counts = !doubtful.iter().any(|range| range.contains(&at));
        let before = acked.entry(device.into()).or_default().insert(n.parse().expect("a number"), counts);
        assert_eq!(before, None, "acknowledged twice: {line}");
        at += line.len();
    }
    acked
}

/// The last sequence of each device.
pub(crate) fn last(acked: &Acked) -> BTreeMap<String, u64> {
    let last = |sequences: &BTreeMap<u64, bool>| Some(*sequences.last_key_value()?.0);
    acked.iter().filter_map(|(device, sequences)| Some((device.clone(), last(sequences)?))).collect()
}
