//! Alarms that are told and acted on: the configuration for it, and what must be true of incidents, notices and runs
//! after any number of kills. As the judge it reads the tables through SQL of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::process::Command;

use toml::{Table, Value};

use super::client::{Client, Event};
use super::gateway::{self, CITY, Site, until};
use super::judge::{self, Database};
use super::webhook::Hook;

/// Recipients besides the webhooks: the lane, and a command.
const OTHERS: [&str; 2] = ["city", "stairs"];
/// The commands of a raised alarm.
const COMMANDS: [&str; 3] = ["siren", "unanswered", "unapproved"];
/// Where the siren listens.
const TOPIC: &str = "bench/siren/down";

/// Everybody is told of what is raised and closed; of the commands one is done, one is never answered, and to one nobody
/// agrees.
pub(crate) fn told(config: &mut Table, hooks: &[(&str, Hook)]) {
    let alarm = gateway::first(config, "alarm");
    alarm.insert("commands".into(), Value::Array(COMMANDS.map(Value::from).into()));
    let mut extra = format!(
        r#"
        [[recipient]]
        id = "city"
        role = "street"
        consumer = "{CITY}"
        [[recipient]]
        id = "stairs"
        role = "resident"
        command = "siren"
        [[command]]
        id = "siren"
        device = "load-1"
        publish = {{ topic = "{TOPIC}", payload = "ON" }}
        [[command]]
        id = "unanswered"
        device = "load-2"
        publish = {{ topic = "{TOPIC}", payload = "?" }}
        expect = "humidity > 1000"
        expires = "1s"
        [[command]]
        id = "unapproved"
        device = "load-3"
        publish = {{ topic = "{TOPIC}", payload = "!" }}
        level = 1
        expires = "1s"
        "#
    );
    for (id, hook) in hooks {
        let url = hook.url();
        extra +=
            &format!("\n[[recipient]]\nid = \"{id}\"\nrole = \"police\"\nwebhook = {{ url = \"{url}\" }}\n");
    }
    let to: Vec<&str> = hooks.iter().map(|(id, _)| *id).chain(OTHERS).collect();
    extra += &format!("\n[[route]]\nsteps = [\"raised\", \"closed\"]\nto = {to:?}\n");
    gateway::add(config, &extra);
}

/// A siren subscribes and goes away; its session stays.
pub(crate) fn listens(site: &Site) {
    let mut siren = Client::new(site.mqtt, 4, "siren");
    until("the siren is let in", || siren.connect());
    siren.subscribe(TOPIC);
    until("the siren hears", || siren.turn().iter().any(|event| matches!(event, Event::Subscribed(2))));
    siren.leave(true);
}

/// Waits until nobody is to be told anything and no run is open.
pub(crate) fn quiet(site: &Site) {
    for verb in [&["notices", "--waiting"][..], &["commands"]] {
        until("nothing waits", || {
            let mut command = Command::new(gateway::binary());
            command.args(verb).args(["--limit", "1", "--json", "--socket"]).arg(site.socket());
            let said = command.output().expect("it runs");
            assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
            said.stdout.is_empty()
        });
    }
}

/// What was found, in numbers.
#[derive(Default)]
pub(crate) struct Found {
    incidents: u64,
    notices: usize,
    repeated: usize,
    refused: usize,
    runs: BTreeMap<String, usize>,
    fates: BTreeMap<String, usize>,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Found { incidents, notices, repeated, refused, runs, fates } = self;
        write!(
            f,
            "{incidents} incidents, {notices} notices {fates:?}, {repeated} messages taken again, {refused} not \
             taken, runs {runs:?}"
        )
    }
}

/// Holds incidents, notices and runs against the log, and what the webhooks took against the ledger.
pub(crate) fn judge(database: &Database, hooks: &[(&str, Hook)], kills: u64) -> Found {
    let mut found = Found::default();
    let events = incidents(database, &mut found);
    runs(database, &events, &mut found);
    notices(database, &events, hooks, &mut found);
    for (id, hook) in hooks {
        let again = repeated(hook);
        assert!(again as u64 <= kills, "{id} got {again} messages again, with {kills} kills");
        found.repeated += again;
        found.refused += hook.refused();
    }
    assert!(found.incidents > 0 && found.notices > 0, "too little happened: {found}");
    found
}

/// The history is what follows from the log, one incident after the other of each device; gives the steps of each.
fn incidents(database: &Database, found: &mut Found) -> BTreeMap<u64, Vec<String>> {
    let history = database.rows("SELECT incident, step, device FROM history ORDER BY id", |row| {
        Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get::<_, String>(1)?, row.get::<_, String>(2)?))
    });
    let mut open: HashMap<String, u64> = HashMap::new();
    let mut events: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    let mut told: BTreeMap<u16, Vec<bool>> = BTreeMap::new();
    for (incident, step, device) in &history {
        let changes = told.entry(database.device(device)).or_default();
        match step.as_str() {
            "raised" => {
                found.incidents += 1;
                assert_eq!(*incident, found.incidents, "numbers are dense");
                assert_eq!(open.insert(device.clone(), *incident), None, "{device} has two open incidents");
                changes.push(true);
            }
            "cleared" => {
                assert_eq!(open.get(device), Some(incident), "{device}: what is cleared is open");
                changes.push(false);
            }
            "closed" => assert_eq!(open.remove(device), Some(*incident), "{device}: closed once"),
            other => panic!("nothing makes an incident {other} here"),
        }
        events.entry(*incident).or_default().push(step.clone());
    }
    judge::alarms(&database.readings, &told);
    let still = database.integer("SELECT count(*) FROM incident WHERE life <> 'closed'");
    assert_eq!(still.unsigned_abs(), open.len() as u64, "incidents that are open");
    let cycles = [&["raised"][..], &["raised", "cleared", "closed"]];
    assert!(events.values().all(|steps| cycles.iter().any(|cycle| steps == cycle)), "{events:?}");
    let sealed = database.integer("SELECT head FROM lane WHERE lane = 'alarm'");
    assert_eq!(sealed.unsigned_abs(), history.len() as u64, "each event is in the lane once");
    events
}

/// Steps of an incident that are told.
fn told_of(steps: &[String]) -> impl Iterator<Item = &str> {
    steps.iter().map(String::as_str).filter(|step| *step != "cleared")
}

/// Each raised incident had its commands once, each notice to the siren its own; all of them are over.
fn runs(database: &Database, events: &BTreeMap<u64, Vec<String>>, found: &mut Found) {
    let runs = database.rows("SELECT id, command, incident, stage, detail FROM run ORDER BY id", |row| {
        let numbers = (row.get::<_, i64>(0)?.unsigned_abs(), row.get::<_, i64>(2)?.unsigned_abs());
        Ok((numbers, row.get::<_, String>(1)?, row.get::<_, String>(3)?, row.get::<_, String>(4)?))
    });
    let mut ordered: BTreeMap<(u64, String), usize> = BTreeMap::new();
    for (at, ((id, incident), command, stage, detail)) in runs.into_iter().enumerate() {
        assert_eq!(id, at as u64 + 1, "numbers are dense");
        let expected: &[&str] = match command.as_str() {
            "siren" => &["done", "failed"],
            "unanswered" => &["expired", "failed"],
            _ => &["expired"],
        };
        // All devices are in step, one siren takes 16 errands at once, and after a kill it is not there at once.
        let why = [
            "the gateway stopped while",
            "too many errands wait",
            "its time was over",
            "nobody hears that topic",
        ];
        let is_told = stage != "failed" || why.iter().any(|why| detail.contains(why));
        assert!(expected.contains(&stage.as_str()) && is_told, "run {id} of {command} is {stage}: {detail}");
        *found.runs.entry(format!("{command} {stage}: {detail}")).or_default() += 1;
        *ordered.entry((incident, command)).or_default() += 1;
    }
    let mut due = BTreeMap::new();
    for (incident, steps) in events {
        for command in COMMANDS {
            let more = if command == "siren" { told_of(steps).count() } else { 0 };
            due.insert((*incident, command.to_owned()), 1 + more);
        }
    }
    assert_eq!(ordered, due, "runs by incident and command");
}

/// Everybody's notice of each step is in the ledger once and has a fate; what is delivered was taken, and nothing else was.
fn notices(
    database: &Database,
    events: &BTreeMap<u64, Vec<String>>,
    hooks: &[(&str, Hook)],
    found: &mut Found,
) {
    let ledger = "SELECT id, incident, step, recipient, fate, proof FROM notice ORDER BY id";
    let ledger = database.rows(ledger, |row| {
        let numbers = (row.get::<_, i64>(0)?.unsigned_abs(), row.get::<_, i64>(1)?.unsigned_abs());
        let text = |at| row.get::<_, String>(at);
        Ok((numbers, text(2)?, text(3)?, text(4)?, text(5)?))
    });
    let mut due = BTreeSet::new();
    for (incident, steps) in events {
        for recipient in hooks.iter().map(|(id, _)| *id).chain(OTHERS) {
            due.extend(told_of(steps).map(|step| (*incident, step.to_owned(), recipient.to_owned())));
        }
    }
    let mut delivered: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    for (at, ((id, incident), step, recipient, fate, proof)) in ledger.into_iter().enumerate() {
        assert_eq!(id, at as u64 + 1, "numbers are dense");
        let key = (incident, step, recipient);
        assert!(due.remove(&key), "notice {id} is once too often: {key:?}");
        let why = ["notices wait for the recipient", "is failed"];
        match fate.as_str() {
            "delivered" => assert!(!proof.is_empty(), "notice {id} has no proof"),
            "dropped" => {
                assert!(why.iter().any(|why| proof.contains(why)), "notice {id} is dropped: {proof}")
            }
            other => panic!("notice {id} to {} is {other}: {proof}", key.2),
        }
        if fate == "delivered" {
            delivered.entry(key.2).or_default().insert(id);
        }
        found.notices += 1;
        *found.fates.entry(fate).or_default() += 1;
    }
    assert!(due.is_empty(), "nobody is told of these: {due:?}");
    for (id, hook) in hooks {
        let taken: BTreeSet<u64> = hook.notices().into_iter().collect();
        assert_eq!(
            &taken,
            delivered.entry((*id).to_owned()).or_default(),
            "what {id} has and the ledger says"
        );
    }
}

/// Messages with something that was taken before; one that is the same message again has its key again.
fn repeated(hook: &Hook) -> usize {
    let (mut known, mut keys, mut count) = (BTreeSet::<u64>::new(), HashMap::new(), 0);
    for letter in hook.taken() {
        let numbers: Vec<u64> =
            letter.notices().iter().map(|notice| notice["id"].as_u64().expect("a number")).collect();
        let is_again = numbers.iter().any(|number| known.contains(number));
        count += usize::from(is_again);
        known.extend(&numbers);
        let key = letter.field("idempotency-key").expect("a key").to_owned();
        let before = keys.insert(numbers.clone(), key.clone());
        assert!(before.is_none_or(|before| before == key), "the same notices {numbers:?} under two keys");
    }
    count
}
