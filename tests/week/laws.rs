//! What has to hold of a week that is over, and of two that have to be the same.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use smallbrain::model::{Actor, Event, IncidentId, Lane, Life, Seq, Step};
use smallbrain::rules::command::{Run, Stage};
use smallbrain::rules::notice::{Fate, Notice};
use smallbrain::store::Store;
use smallbrain::store::alarms::queries::{Events, ROWS_MAX};
use smallbrain::store::reader::Reader;

/// Alarms that no share line carries.
const UNSHARED: [&str; 2] = ["office-hot", "door-gone"];

/// Everything that was ever told.
pub(crate) struct Told {
    events: Vec<(u64, Event)>,
    notices: Vec<Notice>,
    runs: Vec<Run>,
    /// Positions of the records of lane alarm.
    records: Vec<Seq>,
    /// How many of them the city found to be of each incident.
    pulled: HashMap<IncidentId, u64>,
    incidents: u64,
    feedback: u64,
}

/// Reads all of it.
pub(crate) async fn read(reader: &Reader, store: &Store, pulled: HashMap<IncidentId, u64>) -> Told {
    let mut events: Vec<(u64, Event)> = Vec::new();
    loop {
        let after = events.last().map_or(0, |(number, _)| *number);
        let which = Events { after: Some(after), since_ms: None, limit: ROWS_MAX };
        let more = reader.events(which).await.expect("events");
        if more.is_empty() {
            break;
        }
        events.extend(more);
    }
    let ids: BTreeSet<IncidentId> = events.iter().map(|(_, event)| event.incident).collect();
    let (mut notices, mut runs) = (Vec::new(), Vec::new());
    for id in ids {
        let which = smallbrain::store::alarms::queries::Notices {
            incident: Some(id),
            limit: ROWS_MAX,
            ..Default::default()
        };
        notices.extend(reader.notices(which).await.expect("notices"));
        runs.extend(reader.runs_of(id).await.expect("runs"));
    }
    notices.sort_by_key(|notice| notice.id);
    runs.sort_by_key(|run| run.id);
    let numbers = store.numbers().expect("numbers");
    let mut records = Vec::new();
    loop {
        let after = records.last().copied().unwrap_or_default();
        let page = store.page(Lane::Alarm, after, 1_000, 1 << 22).expect("a page");
        if page.records.is_empty() {
            break;
        }
        records.extend(page.records.iter().map(|record| record.seq));
    }
    let (incidents, feedback) = (numbers.incident, numbers.feedback);
    Told { records, events, notices, runs, pulled, incidents, feedback }
}

/// Every law of one week.
pub(crate) fn hold(told: &Told) {
    lives(told);
    let Told { records, events, notices, runs, pulled, incidents, .. } = told;
    dense("event", events.iter().map(|(number, _)| *number));
    dense("notice", notices.iter().map(|notice| notice.id));
    dense("run", runs.iter().map(|run| run.id));
    dense("record", records.iter().map(|seq| seq.0));
    let ids: BTreeSet<u64> = events.iter().map(|(_, event)| event.incident.0).collect();
    assert_eq!(ids.len() as u64, *incidents, "an incident without an event");
    dense("incident", ids.into_iter());
    for run in runs {
        assert!(run.stage.is_final(), "{run:?}");
        assert!(!run.detail.is_empty(), "{run:?}");
    }
    for notice in notices {
        let is_told = notice.fate != Fate::Waiting && notice.done_ms.is_some() && !notice.proof.is_empty();
        assert!(is_told, "{notice:?}");
    }
    let mut sealed: HashMap<IncidentId, u64> = HashMap::new();
    for (_, event) in events.iter().filter(|(_, event)| !UNSHARED.contains(&event.alarm.as_str())) {
        *sealed.entry(event.incident).or_default() += 1;
    }
    assert_eq!(records.len() as u64, sealed.values().sum::<u64>(), "records are events");
    for (id, count) in pulled {
        assert!(*count <= sealed[id], "incident {id} has more records than events");
    }
    let past = events.iter().find(|(_, event)| event.alarm.as_str() == "fence-tamper");
    assert_eq!(past, None, "what was long ago is an alarm");
}

fn dense(what: &str, numbers: impl Iterator<Item = u64>) {
    for (number, expected) in numbers.zip(1..) {
        assert_eq!(number, expected, "{what}");
    }
}

/// Along the arrows of a life only, and never two at once.
fn lives(told: &Told) {
    let mut lives: BTreeMap<IncidentId, Life> = BTreeMap::new();
    let mut open: BTreeMap<(&str, &str), IncidentId> = BTreeMap::new();
    for (number, event) in &told.events {
        let device = event.device.as_ref().map_or("", |device| device.as_str());
        let of = (event.alarm.as_str(), device);
        let before = lives.insert(event.incident, event.life);
        assert!(may_follow(before, event.life), "event {number}: {before:?} to {:?}", event.life);
        if before.is_none() {
            let other = open.insert(of, event.incident);
            assert_eq!(other, None, "event {number}: a second incident of {of:?}");
        }
        if event.life == Life::Closed {
            assert_eq!(open.remove(&of), Some(event.incident), "event {number}");
        }
    }
}

fn may_follow(before: Option<Life>, after: Life) -> bool {
    use Life::{Closed, Confirmed, Dispatched, Handled, PreAlarm, Raised, Suppressed};
    let work = [Confirmed, Dispatched, Handled, Closed];
    match before {
        None => [PreAlarm, Raised, Suppressed].contains(&after),
        Some(Closed) => false,
        Some(PreAlarm) => [PreAlarm, Raised, Suppressed, Confirmed, Closed].contains(&after),
        Some(Suppressed) => [Suppressed, Raised, Closed].contains(&after),
        Some(Raised) => after == Raised || work.contains(&after),
        Some(Confirmed) => work.contains(&after),
        Some(Dispatched) => work[1..].contains(&after),
        Some(Handled) => work[2..].contains(&after),
    }
}

/// What has to be the same, however often the process died: told by (alarm, device), in order.
pub(crate) fn same(straight: &Told, broken: &Told) {
    let (left, right) = (histories(straight), histories(broken));
    for (of, history) in &left {
        let other = right.get(of).map_or(&[][..], |history| history);
        let differs = history.iter().zip(other).position(|(left, right)| left != right);
        let at = differs.unwrap_or(history.len().min(other.len()));
        assert!(
            history == other,
            "{of:?}, event {at} of {} and {}:\n{:#?}\n{:#?}",
            history.len(),
            other.len(),
            &history[at.saturating_sub(2).min(history.len())..(at + 2).min(history.len())],
            &other[at.saturating_sub(2).min(other.len())..(at + 2).min(other.len())],
        );
    }
    assert!(left.keys().eq(right.keys()), "histories of what never happened");
    let told = |told: &Told| {
        let mut told: Vec<String> = told.notices.iter().map(drafted).collect();
        told.sort();
        told
    };
    assert_eq!(told(straight), told(broken), "who is to be told");
    assert_eq!((straight.runs.len(), straight.feedback), (broken.runs.len(), broken.feedback));
}

fn drafted(notice: &Notice) -> String {
    let Notice { alarm, step, recipient, made_ms, due_ms, text, .. } = notice;
    format!("{alarm} {step} {recipient} {made_ms} {due_ms} {text}")
}

fn histories(told: &Told) -> BTreeMap<(&str, &str), Vec<String>> {
    let mut histories: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for (_, event) in &told.events {
        let device = event.device.as_ref().map_or("", |device| device.as_str());
        let Event { step, life, active, at_ms, by, reason, .. } = event;
        let is_numbered = reason.starts_with("maintenance");
        let reason = if is_numbered { "maintenance" } else { reason };
        let by = match by {
            Actor::Gateway => "gateway",
            Actor::Person(name) => name,
            Actor::Consumer(consumer) => consumer.as_str(),
        };
        let told = format!("{step} {life} {active} {at_ms} {by} {reason}");
        histories.entry((event.alarm.as_str(), device)).or_default().push(told);
    }
    histories
}

/// A week in which little was tried cannot pass.
pub(crate) fn everything_happened(told: &Told) {
    let alarms: BTreeSet<&str> = told.events.iter().map(|(_, event)| event.alarm.as_str()).collect();
    assert_eq!(alarms.len(), 29, "all but one of what never was now: {alarms:?}");
    let steps: BTreeSet<Step> = told.events.iter().map(|(_, event)| event.step).collect();
    assert_eq!(steps.len(), Step::ALL.len(), "{steps:?}");
    for why in ["inhibit typhoon", "inhibit feast", "inhibit test", "maintenance", "cooldown"] {
        assert!(told.events.iter().any(|(_, event)| event.reason.starts_with(why)), "{why}");
    }
    for stage in [Stage::Done, Stage::Failed, Stage::Expired] {
        assert!(told.runs.iter().any(|run| run.stage == stage), "{stage}");
    }
    for fate in [Fate::Delivered, Fate::Expired, Fate::Dropped] {
        assert!(told.notices.iter().any(|notice| notice.fate == fate), "{}", fate.as_str());
    }
    assert!(told.feedback > 0);
}
