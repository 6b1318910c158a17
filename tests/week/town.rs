//! The town of the week: 200 devices in 20 places, a mast and a siren, 30 alarms of every kind, who is told, what is done.

use std::fmt::Write;
use std::path::Path;

use smallbrain::config::Config;

/// Places.
pub(crate) const PLACES: usize = 20;
/// Monday, 2026-09-21, 00:00 in the gateway's zone, milliseconds since 1970 UTC.
pub(crate) const START_MS: i64 = 1_789_920_000_000;

/// A kind of device: its name, how many stand at a place, and its metrics as (name, kind).
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) count: usize,
    pub(crate) metrics: &'static [(&'static str, &'static str)],
}

pub(crate) const KINDS: [Kind; 6] = [
    Kind { name: "door", count: 2, metrics: &[("open", "flag"), ("battery", "number")] },
    Kind { name: "climate", count: 2, metrics: &[("temperature", "number"), ("humidity", "number")] },
    Kind { name: "smoke", count: 2, metrics: &[("smoke", "flag"), ("density", "number")] },
    Kind { name: "water", count: 1, metrics: &[("flow", "number"), ("volume", "number")] },
    Kind {
        name: "pump",
        count: 1,
        metrics: &[("level", "number"), ("pressure", "number"), ("power", "number"), ("status", "text")],
    },
    Kind { name: "fence", count: 2, metrics: &[("intrusion", "flag"), ("tamper", "flag")] },
];

/// The configuration, as it would be read from a file in that directory.
pub(crate) fn config(dir: &Path) -> Config {
    let town = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/week/town.toml");
    let mut text = std::fs::read_to_string(town).expect("the town");
    for Kind { name, count, metrics } in &KINDS {
        let point = |(metric, kind): &(&str, &str)| {
            let range = if *metric == "power" { ", min = 0, max = 100, outside = 'flag'" } else { "" };
            format!("{{ metric = '{metric}', kind = '{kind}', json = '/{metric}'{range} }}")
        };
        let points: Vec<String> = metrics.iter().map(point).collect();
        let points = points.join(", ");
        writeln!(text, "[[template]]\nname = '{name}'\npoint = [{points}]").expect("a string");
        for number in 1..=count * PLACES {
            let place = (number - 1) % PLACES;
            writeln!(
                text,
                "[[device]]\nid = '{name}-{number}'\ntemplate = '{name}'\nplace = 'B{place}/lobby'"
            )
            .expect("a string");
        }
    }
    let path = dir.join("smallbrain.toml");
    std::fs::write(&path, text).expect("written");
    Config::load(&path, START_MS, None).unwrap_or_else(|faults| panic!("{faults}"))
}
