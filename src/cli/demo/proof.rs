//! What the demo proves, from evidence that the daemon does not keep itself: the devices' list of acknowledgements, the
//! log read again from disk, the city's records.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rust_decimal::prelude::ToPrimitive;

use super::city::Knowledge;
use super::hook::Letter;
use super::incident::{Left, Rows};
use crate::ingest::spine::Ledger;
use crate::model::{Lane, SeriesKey, Stamp, Value};
use crate::simulate::{devices, load};
use crate::store::{Settings, Store, StoreError};

/// Metrics that lines of the demo's share list let out.
const LISTED: [&str; 9] =
    ["fire", "smoke", "temperature", "humidity", "volume", "energy", "voltage", "supply_temperature", "n"];
/// P4: an alarm is north within this, milliseconds.
const ALARM_MAX_MS: u64 = 2_000;

/// One promise, and whether it holds.
struct Promise {
    name: &'static str,
    holds: bool,
    evidence: String,
}

/// What is left of the story.
pub(super) struct Story {
    pub(super) rows: Rows,
    pub(super) letters: Vec<Letter>,
    /// Signs what the property management is told.
    pub(super) secret: String,
}

/// The table and the verdicts.
pub(super) struct Proof {
    rows: Vec<(String, String)>,
    promises: Vec<Promise>,
}

impl Proof {
    pub(super) fn collect(
        dir: &Path,
        friendly: &devices::Report,
        heavy: &load::Report,
        (ledger, meters): (Ledger, &[(&'static str, u64)]),
        heads: [u64; Lane::ALL.len()],
        story: &Story,
        city: &mut Knowledge,
    ) -> anyhow::Result<Self> {
        let acked = acknowledged(&dir.join("acked.txt"))?;
        let stored = logged(dir, acked.keys())?;
        let trail = open(dir.join("store"))?.begin()?.audit_head().seq;
        let witnessed = city.trail.newest().map_or(0, |newest| newest.head.seq);
        let missing: usize = acked
            .iter()
            .map(|(device, sequences)| match stored.get(device) {
                Some(found) => sequences.difference(found).count(),
                None => sequences.len(),
            })
            .sum();
        let mut gone = city.bodies.clone();
        story.letters.iter().for_each(|letter| gone.extend_from_slice(&letter.body));
        let raw = raw_values(&dir.join("store"), &friendly.personal, gone)?;
        let left = Left {
            rows: &story.rows,
            letters: &story.letters,
            words: &city.words,
            secret: story.secret.as_bytes(),
            personal: &friendly.personal,
        };
        let faults = left.faults();
        city.latencies_ms.sort_unstable();
        let p99 = percentile(&city.latencies_ms, 99);
        let unlisted: Vec<_> =
            city.metrics.iter().filter(|metric| !LISTED.contains(&metric.as_str())).collect();
        let delivered: u64 = city.delivered.iter().sum();
        let (sealed, gaps) = (heads.iter().sum::<u64>(), city.gaps.iter().sum::<u64>());
        let owed = sealed - delivered.min(sealed) - gaps.min(sealed - delivered.min(sealed));

        let mut rows: Vec<(String, String)> = vec![
            ("published".into(), (friendly.published + heavy.sent).to_string()),
            ("acknowledged".into(), (friendly.acked + heavy.acked).to_string()),
            ("readings received".into(), ledger.received.to_string()),
            ("readings stored".into(), ledger.stored.to_string()),
        ];
        rows.extend(meters.iter().map(|(meter, count)| (format!("readings of {meter}"), count.to_string())));
        rows.extend(ledger.lost.iter().map(|(loss, count)| (format!("lost: {loss}"), count.to_string())));
        rows.extend([
            ("late for their window".into(), ledger.late.to_string()),
            ("records sealed".into(), sealed.to_string()),
            ("records delivered".into(), delivered.to_string()),
            ("readings in bulk records".into(), city.readings.to_string()),
            ("declared gaps".into(), gaps.to_string()),
            ("still owed".into(), owed.to_string()),
            ("delivered twice".into(), city.duplicates.to_string()),
            ("raw personal values found".into(), raw.to_string()),
            ("trail".into(), format!("{trail} rows, witnessed to {witnessed}")),
            (format!("alarms during catch-up ({})", city.latencies_ms.len()), format!("p99 {p99} ms")),
        ]);
        let count: usize = acked.values().map(BTreeSet::len).sum();
        let promises = vec![
            Promise {
                name: "P1 acknowledged means on disk",
                holds: missing == 0 && count > 0 && heavy.acked as usize == count,
                evidence: format!("{count} acknowledged publishes looked up in the log, {missing} missing"),
            },
            Promise {
                name: "P2 exactly-once effect",
                holds: city.conflicts == 0 && city.duplicates == 0 && delivered > 0 && owed == 0,
                evidence: format!(
                    "{delivered} record ids, {} twice, {} with other bytes",
                    city.duplicates, city.conflicts
                ),
            },
            Promise {
                name: "P3 no silent loss",
                holds: ledger.holds() && sealed == delivered + owed + gaps,
                evidence: format!(
                    "received {} = stored {} + lost {}; sealed {sealed} = delivered {delivered} + owed {owed} + gaps {gaps}",
                    ledger.received,
                    ledger.stored,
                    ledger.lost.total()
                ),
            },
            Promise {
                name: "P4 alarms first",
                holds: !city.latencies_ms.is_empty() && p99 <= ALARM_MAX_MS,
                evidence: format!("p99 {p99} ms behind a backlog of the time cut off"),
            },
            Promise {
                name: "P5 nothing leaves unless listed",
                holds: unlisted.is_empty() && !city.metrics.is_empty(),
                evidence: format!("{} metrics at the city, not listed: {unlisted:?}", city.metrics.len()),
            },
            Promise {
                name: "P6 no raw personal data at rest",
                holds: raw == 0 && !friendly.personal.is_empty(),
                evidence: format!(
                    "{} raw values sent, found in files, records and letters: {raw}",
                    friendly.personal.len()
                ),
            },
            Promise {
                name: "   every meter on the bus is read",
                holds: meters.len() == super::METERS.len() && meters.iter().all(|(_, count)| *count > 0),
                evidence: "Modbus RTU, DL/T 645 and CJ/T 188 at their own line settings".into(),
            },
            Promise {
                name: "   one alarm, from sensor to closed",
                holds: faults.is_empty(),
                evidence: match &faults[..] {
                    [] => left.evidence(),
                    faults => format!("{}: {}", left.evidence(), faults.join(", ")),
                },
            },
        ];
        Ok(Self { rows, promises })
    }

    pub(super) fn holds(&self) -> bool {
        self.promises.iter().all(|promise| promise.holds)
    }

    pub(super) fn write(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        writeln!(out)?;
        for (name, value) in &self.rows {
            writeln!(out, "{name:<34} {value:>12}")?;
        }
        writeln!(out)?;
        for Promise { name, holds, evidence } in &self.promises {
            writeln!(out, "{} {name:<36} {evidence}", if *holds { "ok  " } else { "FAIL" })?;
        }
        Ok(out.flush()?)
    }
}

/// The load generator's own list: device → acknowledged sequences.
fn acknowledged(path: &Path) -> anyhow::Result<BTreeMap<String, BTreeSet<u64>>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let mut acked: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    for line in text.lines() {
        let (device, sequence) = line.split_once(' ').with_context(|| format!("line {line:?}"))?;
        acked.entry(device.to_owned()).or_default().insert(sequence.parse()?);
    }
    Ok(acked)
}

/// The store in a directory of its own, as an auditor opens it.
pub(super) fn open(dir: PathBuf) -> Result<Store, StoreError> {
    let settings = Settings {
        dir,
        bytes_max: 1 << 40,
        reserve_bytes: 0,
        group_window: std::time::Duration::ZERO,
        retention: std::time::Duration::MAX,
        promises: crate::store::room::Promises::of(1 << 40),
    };
    Store::open(settings, [0; 32], Stamp { wall_ms: 0, mono_ms: 0 })
}

/// The same from the log: device → sequences that are stored.
fn logged<'d>(
    dir: &Path,
    devices: impl Iterator<Item = &'d String>,
) -> anyhow::Result<BTreeMap<String, BTreeSet<u64>>> {
    let mut store = open(dir.join("store"))?;
    let devices: Vec<String> = devices.cloned().collect();
    let ids = store.series(devices.iter().map(|device| (device.as_str(), "n")))?;
    let keys: HashMap<_, _> = ids.into_iter().zip((0_u32..).map(SeriesKey)).collect();
    let mut stored: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    store.replay(
        0,
        |id| keys.get(&id).copied(),
        |row| {
            let Some(reading) = row.reading else { return };
            let reading = reading.get();
            if let Value::Number(number) = reading.value
                && let Some(sequence) = number.to_u64()
            {
                stored.entry(devices[reading.series.index()].clone()).or_default().insert(sequence);
            }
        },
    )?;
    Ok(stored)
}

/// How many of the values that only devices should know stand in a file of the store or in what has left it.
fn raw_values(store: &Path, personal: &BTreeSet<String>, gone: Vec<u8>) -> anyhow::Result<usize> {
    let mut evidence = vec![gone];
    for entry in std::fs::read_dir(store).with_context(|| store.display().to_string())? {
        let path = entry?.path();
        if path.is_file() {
            evidence.push(std::fs::read(&path).with_context(|| path.display().to_string())?);
        }
    }
    let found = |value: &&String| evidence.iter().any(|bytes| contains(bytes, value.as_bytes()));
    Ok(personal.iter().filter(found).count())
}

pub(super) fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    let Some((first, rest)) = needle.split_first() else { return false };
    bytes.iter().enumerate().any(|(at, byte)| byte == first && bytes[at + 1..].starts_with(rest))
}

fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_the_nearest_rank() {
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!((percentile(&hundred, 99), percentile(&hundred, 50), percentile(&[], 99)), (99, 50, 0));
        assert_eq!(percentile(&[7], 99), 7);
    }

    #[test]
    fn a_raw_value_is_found_wherever_it_stands() {
        assert!(contains(b"xx13800138000", b"13800138000") && contains(b"13800138000", b"13800138000"));
        assert!(!contains(b"1380013800", b"13800138000"));
    }
}
