//! Everybody around the gateway: people, the shells that tell and do, the city. What each does follows from the seed and
//! from what it is about, never from the order or the number of what it is asked.

use std::collections::HashMap;

use smallbrain::ingest::act::{Act, Errand, Feedback, Told};
use smallbrain::model::{Actor, Consumer, Stamp, Step};
use smallbrain::rules::command::{Run, Stage};
use smallbrain::rules::incident::{Incident, Order};
use smallbrain::rules::maintenance::Maintenance;
use smallbrain::rules::notice::Notice;

use crate::chance::Chance;

/// What an incident is, whatever its number.
pub(crate) fn key(incident: &Incident) -> (&str, &str, i64) {
    (incident.alarm.as_str(), incident.device.as_str(), incident.began_ms)
}

const STEPS: [Step; 5] = [Step::Confirmed, Step::Dispatched, Step::Handled, Step::Closed, Step::Noted];

/// What people do with the open incidents in a step.
pub(crate) fn orders(chance: Chance, step: u64, open: &[Incident]) -> Vec<Act> {
    let picked = open.iter().filter(|incident| chance.one_in(15, ("order", key(incident), step)));
    let order = |incident: &Incident| {
        let about = ("what", key(incident), step);
        let name = ["Zhang San", "Li Si", "Wang Wu"][chance.below(3, about) as usize];
        Act::Order(Order {
            incident: incident.id,
            step: STEPS[chance.below(5, ("step", about)) as usize],
            by: Actor::Person(name.into()),
            reason: if chance.one_in(9, ("why", about)) { "" } else { "as found" }.into(),
        })
    };
    let mut orders: Vec<Act> = picked.map(order).collect();
    // Somebody confirms at the same time, and one that nobody knows.
    if let (true, Some(first)) = (chance.one_in(10, ("again", step)), orders.first().cloned()) {
        orders.push(first);
    }
    orders
}

/// Work on devices: it begins, and sometimes ends early.
pub(crate) fn works(chance: Chance, step: u64, now: Stamp, going_on: &[Maintenance]) -> Vec<Act> {
    let mut works = Vec::new();
    if chance.one_in(40, ("work", step)) {
        let place = chance.below(20, ("place", step));
        works.push(Act::Maintain(Maintenance {
            id: 0,
            devices: ["*", "smoke-*", "door-*"][chance.below(3, ("devices", step)) as usize].into(),
            places: format!("B{place}/*"),
            from_ms: now.wall_ms,
            until_ms: now.wall_ms + 60_000 * (7 + chance.below(300, ("long", step)) as i64),
            by: "Zhang San".into(),
            reason: "works".into(),
        }));
    }
    let over = going_on.iter().filter(|work| chance.one_in(30, ("over", work.from_ms, step)));
    works.extend(over.map(|work| Act::Resume { maintenance: work.id, by: "Li Si".into() }));
    works
}

/// What a run is, whatever its number.
fn run_key<'r>(
    run: &'r Run,
    incidents: &'r HashMap<u64, Incident>,
) -> (&'r str, i64, Option<(&'r str, &'r str, i64)>) {
    let incident = run.incident.and_then(|id| incidents.get(&id.0));
    (run.command.as_str(), run.ordered_ms, incident.map(key))
}

/// People agree to runs that wait, some of them twice.
pub(crate) fn approvals(
    chance: Chance,
    step: u64,
    runs: &[Run],
    incidents: &HashMap<u64, Incident>,
) -> Vec<Act> {
    let mut acts = Vec::new();
    for run in runs.iter().filter(|run| run.stage == Stage::Waiting) {
        for name in ["Zhang San", "Li Si"] {
            if chance.one_in(4, ("agrees", run_key(run, incidents), name, step)) {
                acts.push(Act::Approve { run: run.id, by: name.into() });
            }
        }
    }
    acts
}

/// How sending errands ended; nobody ever knows of some.
pub(crate) fn sent(chance: Chance, step: u64, errands: Vec<Errand>) -> Vec<Act> {
    let end = |errand: Errand| match chance.below(5, ("ran", errand.run, step)) {
        0 => None,
        1 => Some(Act::Ran { run: errand.run, end: Err("the device does not answer".into()) }),
        _ => Some(Act::Ran { run: errand.run, end: Ok(()) }),
    };
    errands.into_iter().filter_map(end).collect()
}

/// How telling notices that are due ended.
pub(crate) fn told(chance: Chance, step: u64, now: Stamp, due: &[Notice]) -> Vec<Act> {
    let end = |notice: &Notice| {
        let about = ("told", notice.recipient.as_str(), notice.made_ms, notice.text.as_str(), step);
        let end = match chance.below(8, about) {
            0 => return None,
            1 => Told::Expired("nobody took it for a day".into()),
            2 | 3 => Told::Failed { why: "503".into(), again_ms: now.wall_ms + 600_000 },
            _ => Told::Delivered("200".into()),
        };
        Some(Act::Told { notices: vec![notice.id], end })
    };
    due.iter().filter_map(end).collect()
}

/// What the city says about a record that it got, sometimes twice.
pub(crate) fn feedback(
    chance: Chance,
    city: &Consumer,
    record: &str,
    about: (&str, &str, i64),
    step: &str,
) -> Vec<Act> {
    let about = ("city", about, step);
    if !chance.one_in(12, about) {
        return Vec::new();
    }
    let said = Act::Feedback(Feedback {
        consumer: city.clone(),
        request: format!("request-{record}"),
        record: record.to_owned(),
        step: STEPS[chance.below(5, ("says", about)) as usize],
        text: "seen by the street".into(),
    });
    if chance.one_in(3, ("twice", about)) { vec![said.clone(), said] } else { vec![said] }
}
