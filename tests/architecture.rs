//! The shape holds: layers import only from lower ones, and what has a single door has a single door.

use std::fs;
use std::path::{Path, PathBuf};

/// Lowest first; a module may use those of its own row and of rows above it in this list.
const LAYERS: &[&[&str]] = &[
    &["model", "clock", "backoff", "spelling"],
    &["codec", "normalise", "rules", "privacy", "aggregate", "telemetry", "audit", "approval", "lists"],
    &["wire"],
    &["store"],
    &["ingest"],
    &["device", "share", "notify"],
    &["local", "actuate"],
    &["config"],
    &["simulate"],
    &["daemon", "city"],
    &["cli"],
];

/// Within a row, who may use whom besides himself.
const NEIGHBOURS: &[(&str, &str)] = &[("aggregate", "privacy"), ("actuate", "local")];

/// A text, the files in which it may stand, and why.
const DOORS: &[(&str, &[&str], &str)] = &[
    ("Cleared(", &["src/privacy/"], "only privacy builds what store and lanes accept"),
    (
        "intake::restored",
        &["src/store/row.rs", "src/store/entries.rs"],
        "only the store gives back what was cleared",
    ),
    ("INSERT INTO reading", &["src/store/row.rs"], "one way into the log"),
    (
        "Connection::open",
        &["src/store/schema.rs", "src/audit/verify/"],
        "one place where the database is opened; who checks the trail has a way of his own, and only reads",
    ),
    ("INSERT INTO release_cell", &["src/store/released.rs"], "a cell is decided once"),
    (
        "restored(aggregate",
        &["src/privacy/", "src/store/released.rs"],
        "only the store gives back what was decided",
    ),
    (
        "SystemTime::now",
        &["src/clock.rs", "src/simulate/", "src/cli/"],
        "cores and shells take time from a Clock",
    ),
    ("include_proto!", &["src/wire"], "one border to the generated types"),
    (
        "Write::new(",
        &["src/codec/modbus/", "src/device/serial/write.rs"],
        "one place where a question that changes something is made",
    ),
    (
        "ValveCommand {",
        &["src/codec/cjt188/", "src/device/serial/write.rs"],
        "one place where a question that changes something is made",
    ),
    (
        "TimeBroadcast::new(",
        &["src/codec/dlt645/", "src/device/serial/write.rs"],
        "one place where a question that changes something is made",
    ),
    (
        "write::question(",
        &["src/local/"],
        "what is written is asked for on the local socket, and nowhere else",
    ),
    (
        "rumqttd::",
        &["src/device/mqtt/router.rs", "src/device/mqtt/observe.rs"],
        "the broker is only behind the front",
    ),
];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("src is readable") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every source but those that hold nothing but tests: (path from the root, text).
fn all() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    sources(&root.join("src"), &mut found);
    found.sort();
    found
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a source is text");
            let name = path.strip_prefix(root).expect("below the root").display().to_string();
            (name, text)
        })
        .filter(|(name, _)| !name.ends_with("/tests.rs"))
        .collect()
}

/// The code without comments and without its tests.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

fn module(name: &str) -> &str {
    let rest = name.strip_prefix("src/").unwrap_or(name);
    rest.split('/').next().unwrap_or(rest).trim_end_matches(".rs")
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&module))
}

#[test]
fn a_module_imports_only_from_lower_ones() {
    let mut wrong = Vec::new();
    for (name, text) in all() {
        let own = module(&name);
        let Some(own_layer) = layer(own) else { continue };
        for (number, line) in code(&text) {
            for part in line.split("crate::").skip(1) {
                let used: String = part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let Some(used_layer) = layer(&used) else { continue };
                let lower = used_layer < own_layer
                    || used == own
                    || NEIGHBOURS.contains(&(own, used.as_str()))
                    || (used_layer == own_layer && own_layer == 0);
                if !lower {
                    wrong.push(format!("{name}:{}: {own} uses {used}", number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_has_a_layer() {
    for (name, _) in all() {
        let own = module(&name);
        assert!(
            ["lib", "main", "bin"].contains(&own) || layer(own).is_some(),
            "{name}: put {own} into LAYERS"
        );
    }
}

#[test]
fn single_doors_are_single() {
    let mut wrong = Vec::new();
    for (name, text) in all() {
        for (door, allowed, why) in DOORS {
            if allowed.iter().any(|prefix| name.starts_with(prefix)) {
                continue;
            }
            for (number, line) in code(&text) {
                if line.contains(door) {
                    wrong.push(format!("{name}:{}: {door} — {why}", number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_is() {
    for (name, text) in all() {
        assert!(text.starts_with("//!"), "{name}: the first line says what the file is");
    }
}
