//! What the gateway tells devices on MQTT topics of its own: lists that the city shares, and what happens to incidents.
//!
//! ```text
//! smallbrain/lists/<list>                  retained: {"version":…,"not_after":…,"entries":[{"key":…,"not_before":…,"not_after":…}]}
//! smallbrain/incidents/<alarm>/<device>    {"incident":…,"step":…,"at":…,"by":"rule"|"person"|"city","late":false}
//! ```
//!
//! Guarantees: only what is committed is told; no name and no word of anybody is; a list that is over, too long for a packet
//! or nobody's any more is emptied and not left as it was. Nothing here is waited for by anybody: what finds no room is
//! dropped and counted. Who may read a topic is the front's matter, and nobody else may publish there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::device::mqtt::{Commands, Settings};
use crate::ingest::spine::AlarmChange;
use crate::rules::listed::{Entry, Held, Line, Lists};

/// Where lists are.
const LISTS: &str = "smallbrain/lists/";
/// The longest rest between two looks at what is retained.
const REST_MAX_MS: i64 = 60_000;
/// The shortest.
const REST_MIN_MS: i64 = 1_000;

/// What is counted.
#[derive(Debug, Default)]
pub struct Counters {
    steps: AtomicU64,
    dropped: AtomicU64,
    published: AtomicU64,
    unpublished: AtomicU64,
}

impl Counters {
    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        [
            ("mqtt_incident_steps_total", &self.steps),
            ("mqtt_incident_steps_dropped_total", &self.dropped),
            ("mqtt_lists_published", &self.published),
            ("mqtt_lists_unpublished", &self.unpublished),
        ]
        .into_iter()
        .map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }

    /// What is not good about it, in words.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        let unpublished = self.unpublished.load(Ordering::Relaxed);
        (unpublished > 0).then(|| {
            format!("shared lists: {unpublished} do not fit into mqtt.packet_max or mqtt.kept_max and are not published")
        })
    }
}

/// What there is to tell.
pub struct Sources {
    /// The lists of the configuration.
    pub lines: watch::Receiver<Arc<[Line]>>,
    /// As the city put them.
    pub lists: watch::Receiver<Lists>,
    /// What happened to incidents.
    pub steps: mpsc::Receiver<AlarmChange>,
    /// Whether that is to be told.
    pub settings: watch::Receiver<Arc<Settings>>,
}

/// Tells until `stop`, or until nothing is left to be told.
pub async fn serve(
    commands: Commands,
    mut sources: Sources,
    clock: Arc<dyn Clock>,
    counted: Arc<Counters>,
    stop: CancellationToken,
) {
    loop {
        let now_ms = clock.now().wall_ms;
        let (wanted, next_ms) = {
            let (lines, lists) = (sources.lines.borrow_and_update(), sources.lists.borrow_and_update());
            wanted(&lines, &lists, now_ms)
        };
        let unpublished = commands.retain(LISTS, &wanted);
        counted.published.store((wanted.len() - unpublished.len()) as u64, Ordering::Relaxed);
        let before = counted.unpublished.swap(unpublished.len() as u64, Ordering::Relaxed);
        if before != unpublished.len() as u64 && !unpublished.is_empty() {
            tracing::warn!(topics = ?unpublished, "shared lists that do not fit are not published");
        }
        let rest_ms = next_ms.saturating_sub(now_ms).clamp(REST_MIN_MS, REST_MAX_MS).unsigned_abs();
        let rest = tokio::time::sleep(Duration::from_millis(rest_ms));
        tokio::pin!(rest);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = sources.lines.changed() => if changed.is_err() { return } else { break },
                changed = sources.lists.changed() => if changed.is_err() { return } else { break },
                () = &mut rest => break,
                step = sources.steps.recv() => match step {
                    Some(step) => tell(&commands, &sources.settings.borrow(), &step, &counted),
                    None => return,
                },
            }
        }
    }
}

fn tell(commands: &Commands, settings: &Settings, change: &AlarmChange, counted: &Counters) {
    if !settings.tell_incidents {
        return;
    }
    let (topic, payload) = told(change);
    let count = if commands.tell(&topic, payload.as_bytes()) { &counted.steps } else { &counted.dropped };
    count.fetch_add(1, Ordering::Relaxed);
}

/// The topic of a step, and what is told there.
fn told(change: &AlarmChange) -> (String, String) {
    let AlarmChange { incident, alarm, device, step, by, at_ms, is_late } = change;
    let by = match *by {
        "consumer" => "city",
        "person" => "person",
        _ => "rule",
    };
    let payload = json!({
        "incident": incident.0, "step": step.as_str(), "at": at(*at_ms), "by": by, "late": is_late,
    });
    (format!("smallbrain/incidents/{alarm}/{device}"), payload.to_string())
}

/// What has to be retained, by topic, and when that changes by time alone, milliseconds since 1970 UTC.
fn wanted(lines: &[Line], lists: &Lists, now_ms: i64) -> (BTreeMap<String, Vec<u8>>, i64) {
    let published = lines.iter().filter(|line| line.publish);
    let held = published.filter_map(|line| Some((line, lists.get(&line.id)?)));
    let mut next_ms = i64::MAX;
    let mut wanted = BTreeMap::new();
    for (line, held) in held.filter(|(_, held)| !held.is_over(now_ms)) {
        next_ms = next_ms.min(held.next_ms(now_ms).unwrap_or(i64::MAX));
        wanted.insert(format!("{LISTS}{}", line.id), listed(held, now_ms).to_string().into_bytes());
    }
    (wanted, next_ms)
}

fn listed(held: &Held, now_ms: i64) -> Value {
    let entry = |Entry { key, from_ms, until_ms }: Entry| {
        let mut told = json!({ "key": key });
        for (name, ms) in [("not_before", from_ms), ("not_after", until_ms)] {
            if let Some(ms) = ms {
                told[name] = at(ms).into();
            }
        }
        told
    };
    let entries: Vec<Value> = held.entries(now_ms).into_iter().map(entry).collect();
    json!({ "version": held.version(), "not_after": at(held.until_ms()), "entries": entries })
}

/// RFC 3339 in UTC.
fn at(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| String::new(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{IncidentId, Step};

    fn line(id: &str, publish: bool) -> Line {
        let id = id.parse().expect("id");
        let (title, purpose) = (String::new(), "parking".into());
        Line { id, title, consumers: Vec::new(), entries_max: 10, purpose, publish }
    }

    #[test]
    fn only_published_lists_that_hold_are_retained_without_what_is_over() {
        let entry = |key: &str, until_ms| Entry { key: key.into(), from_ms: None, until_ms };
        let held = Arc::new(Held::new(7, 90_000, [entry("b", Some(60_000)), entry("a", None)]));
        let lines = [line("open", true), line("inside", false), line("never-put", true)];
        let lists: Lists = ["open", "inside", "not-configured"]
            .into_iter()
            .map(|id| (id.parse().expect("id"), held.clone()))
            .collect();
        let both = r#"{"entries":[{"key":"a"},{"key":"b","not_after":"1970-01-01T00:01:00Z"}],"not_after":"1970-01-01T00:01:30Z","version":7}"#;
        let one = r#"{"entries":[{"key":"a"}],"not_after":"1970-01-01T00:01:30Z","version":7}"#;
        for (now_ms, told, next_ms) in
            [(0, Some(both), 60_000), (60_000, Some(one), 90_000), (90_000, None, i64::MAX)]
        {
            let (found, next) = wanted(&lines, &lists, now_ms);
            let found: Vec<(String, Value)> = found
                .into_iter()
                .map(|(topic, payload)| (topic, serde_json::from_slice(&payload).expect("JSON")))
                .collect();
            let told = told
                .map(|told| ("smallbrain/lists/open".to_owned(), serde_json::from_str(told).expect("JSON")));
            assert_eq!((found, next), (told.into_iter().collect(), next_ms), "at {now_ms}");
        }
    }

    #[test]
    fn a_step_is_told_by_the_kind_of_who_did_it() {
        for (by, told_by) in [("gateway", "rule"), ("person", "person"), ("consumer", "city")] {
            let change = AlarmChange {
                incident: IncidentId(3),
                alarm: "fire".parse().expect("id"),
                device: "smoke-1".parse().expect("id"),
                step: Step::Confirmed,
                by,
                at_ms: 1000,
                is_late: false,
            };
            let (topic, payload) = told(&change);
            let payload: Value = serde_json::from_str(&payload).expect("JSON");
            assert_eq!(topic, "smallbrain/incidents/fire/smoke-1");
            assert_eq!(
                payload,
                json!({"incident": 3, "step": "confirmed", "at": "1970-01-01T00:00:01Z", "by": told_by, "late": false})
            );
        }
    }
}
