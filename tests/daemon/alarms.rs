//! Alarms from the sensor to the end: who is told, what people and the city do, what devices are made to do, maintenance, and a
//! configuration that changes under open incidents.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::device::Device;
use super::gateway::{Gateway, Said, Site, example, smallbrain, until};
use super::webhook::{Hook, Mood};

const CITY: &str = "spiffe://brain.example/city/310115/brain/yiwangtongguan";

/// A siren that says whether it sounds, and a line that lets the city see alarms of humidity.
const SIREN: &str = r#"
[[template]]
name = "siren"
[[template.point]]
metric = "siren"
kind = "flag"
json = "/siren"

[[mapping]]
topic = "compound/{device}/up"
template = "siren"

[[device]]
id = "siren-1"
template = "siren"
place = "B3/lobby"

[[collect]]
id = "C-900"
templates = ["siren"]
purpose = "safety.siren"
fields = { siren = "keep" }
"#;

/// The alarm of all of these tests.
fn steam(more: &str) -> String {
    format!(
        "\n[[alarm]]\nid = \"steam\"\ntitle = \"Steam 蒸汽\"\nadvice = \"关闭阀门\"\nseverity = \"major\"\n{more}\n"
    )
}

fn shared() -> String {
    format!(
        r#"
        [[share]]
        id = "S-009"
        purpose = "safety.damp"
        lane = "alarm"
        consumers = ["{CITY}"]
        metrics = ["humidity"]
        devices = true
        places = true
        carries = ["steam"]
        approval = "2026-016"
        "#
    )
}

/// A recipient with a webhook.
pub(super) fn recipient(id: &str, role: &str, hook: &Hook) -> String {
    let url = hook.url();
    format!("\n[[recipient]]\nid = \"{id}\"\nrole = \"{role}\"\nwebhook = {{ url = \"{url}\" }}\n")
}

/// A verb that has to go well, and what it says.
pub(super) fn done(gateway: &Gateway, args: &[&str]) -> Value {
    let said = gateway.ask(&[args, &["--json"]].concat());
    assert_eq!(said.code(), Some(0), "{args:?}: {said:?}\n{}", gateway.log.text());
    said.json().first().cloned().unwrap_or(Value::Null)
}

fn refused(said: &Said, why: &str) {
    assert!(said.code() == Some(1) && said.err.contains(why), "{why}: {said:?}");
}

/// What is open.
pub(super) fn open(gateway: &Gateway) -> Vec<Value> {
    done(gateway, &["alarms"])["incidents"].as_array().expect("a list").clone()
}

fn show(gateway: &Gateway, incident: u64) -> Value {
    done(gateway, &["alarms", "show", &incident.to_string()])
}

/// What a webhook was told, line by line.
fn texts(hook: &Hook) -> Vec<String> {
    let letters = hook.taken();
    let notices = letters.iter().flat_map(|letter| letter.notices());
    notices.map(|notice| notice["text"].as_str().expect("a text").to_owned()).collect()
}

/// A member of each of a list, as text.
fn each(list: &Value, member: &str) -> Vec<String> {
    let text = |one: &Value| one[member].as_str().unwrap_or("-").to_owned();
    list.as_array().expect("a list").iter().map(text).collect()
}

/// Waits until a part of what is shown of an incident is as it is to be.
fn wait_for(gateway: &Gateway, incident: u64, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    let shown = std::cell::RefCell::new(Value::Null);
    let look = || {
        let now = show(gateway, incident);
        let is = is(&now);
        *shown.borrow_mut() = now.clone();
        is.then_some(now)
    };
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| until(what, look)));
    found.unwrap_or_else(|_| panic!("{what}: {}\n{}", shown.borrow(), gateway.log.text()))
}

fn wet(gateway: &Gateway, device: &str, humidity: u32) {
    let payload = format!(r#"{{"humidity":{humidity}}}"#);
    Device::of(gateway.mqtt, "meter").publish(&format!("compound/{device}/up"), payload);
}

/// One step and its state after another, as the city sees them.
fn steps_of(records: &[Value]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let event = |record: &Value| record["body"]["event"].clone();
    let events = records.iter().map(event);
    events.map(|event| (text(&event["attributes"]["step"]), text(&event["state"]))).collect()
}

#[test]
fn an_alarm_goes_from_the_sensor_to_the_webhook_to_people_and_to_its_end() {
    let (property, police) = (Hook::new(Mood::Takes), Hook::new(Mood::Takes));
    let route = r#"
        [[recipient]]
        id = "city"
        role = "street"
        consumer = "spiffe://brain.example/city/310115/brain/yiwangtongguan"
        [[route]]
        alarms = ["steam"]
        steps = ["raised", "cleared", "confirmed", "dispatched", "handled", "closed"]
        to = ["property", "police", "city"]
        [[command]]
        id = "siren-on"
        device = "siren-1"
        publish = { topic = "compound/siren-1/down", payload = "ON" }
        expect = "siren"
        [[command]]
        id = "siren-off"
        device = "siren-1"
        publish = { topic = "compound/siren-1/down", payload = "OFF" }
        expect = "!siren"
    "#;
    let alarm = steam("when = \"humidity > 90\"\ncommands = [\"siren-on\"]\ncommands_end = [\"siren-off\"]");
    let told = recipient("property", "property", &property) + &recipient("police", "police", &police);
    let site = Site::new(&[example().as_str(), SIREN, &alarm, &shared(), &told, route].concat());
    let gateway = site.start();
    let mut siren = Device::of(gateway.mqtt, "siren");
    siren.subscribe("compound/siren-1/down", 1);
    wet(&gateway, "thermometer-1", 95);
    let commanded = |siren: &mut Device, payload: &str, state: bool| {
        let command = ("compound/siren-1/down".to_owned(), payload.as_bytes().to_vec());
        assert_eq!(siren.delivery(), command);
        Device::of(gateway.mqtt, "says").publish("compound/siren-1/up", format!(r#"{{"siren":{state}}}"#));
    };
    commanded(&mut siren, "ON", true);

    let listed = open(&gateway);
    assert_eq!(listed.len(), 1, "{listed:?}");
    let raised = &listed[0];
    assert_eq!(
        (&raised["incident"], &raised["life"], &raised["active"]),
        (&json!(1), &json!("raised"), &json!(true))
    );
    assert_eq!((&raised["place"], &raised["device"]), (&json!("B3/cellar"), &json!("thermometer-1")));
    let first = until("the property is told", || texts(&property).into_iter().next());
    assert!(first.contains("【重要】Steam 蒸汽 · 告警") && first.contains("建议：关闭阀门"), "{first}");
    assert!(!first.contains("95"), "the value is the police's: {first}");
    let first = until("the police are told", || texts(&police).into_iter().next());
    assert!(first.contains("humidity 95 %"), "{first}");

    let by = ["--by", "王师傅"];
    for (verb, life) in [("confirm", "confirmed"), ("dispatch", "dispatched"), ("handle", "handled")] {
        let stands = done(&gateway, &[&["alarms", verb, "1"], &by[..]].concat());
        assert_eq!(stands["life"], life);
    }
    let again = gateway.ask(&["alarms", "confirm", "1", "--by", "李师傅"]);
    refused(&again, "incident 1 is handled already");
    refused(&gateway.ask(&["alarms", "close", "1", "--by", "王师傅", "--reason", ""]), "say why");
    wet(&gateway, "thermometer-1", 40);
    commanded(&mut siren, "OFF", false);
    assert_eq!(open(&gateway)[0]["active"], false, "it is cleared, and a person has to close it");
    let reason = ["--reason", "蒸汽管已修好"];
    done(&gateway, &[&["alarms", "close", "1"], &by[..], &reason[..]].concat());
    assert_eq!(open(&gateway), Vec::<Value>::new());
    refused(&gateway.ask(&["alarms", "close", "7", "--by", "a", "--reason", "b"]), "no incident 7");

    // The city takes what waits for it: that is the proof of its notices.
    let cursors = site.path("cursors").display().to_string();
    let url = gateway.url();
    let args = ["pull", "--gateway", &url, "--lane", "alarm", "--ack", "--state", &cursors];
    let pulled = smallbrain(&args);
    assert_eq!(pulled.code(), Some(0), "{pulled:?}");
    let expected = ["raised", "confirmed", "dispatched", "handled", "cleared", "closed"];
    let states = ["raised", "updated", "updated", "updated", "cleared", "updated"].map(str::to_owned);
    let expected_there: Vec<_> = expected.iter().map(|step| (*step).to_owned()).zip(states).collect();
    let records = pulled.json();
    assert_eq!(steps_of(&records), expected_there);
    let said = records.iter().map(Value::to_string).collect::<String>();
    assert!(!said.contains("王师傅") && !said.contains("蒸汽管"), "names and words of people stay: {said}");

    let all_told = |shown: &Value| {
        let fates = each(&shown["notices"], "fate");
        fates.len() == 18 && fates.iter().all(|fate| fate == "delivered")
    };
    let shown = wait_for(&gateway, 1, "every notice is delivered", all_told);
    assert_eq!(each(&shown["history"], "step"), expected);
    assert_eq!(each(&shown["history"], "by_kind")[1..4], ["person"; 3].map(str::to_owned));
    assert_eq!(
        (&shown["history"][5]["by"], &shown["history"][5]["reason"]),
        (&json!("王师傅"), &json!("蒸汽管已修好"))
    );
    for notice in shown["notices"].as_array().expect("a list") {
        let proof = notice["proof"].as_str().expect("a proof");
        let lane = notice["recipient"] == "city";
        assert!(
            proof.starts_with(if lane { "acknowledged: lane alarm up to " } else { "200 sha256:" }),
            "{notice}"
        );
    }
    assert_eq!(each(&shown["runs"], "command"), ["siren-on", "siren-off"]);
    assert_eq!(each(&shown["runs"], "stage"), ["done", "done"]);
    for hook in [&property, &police] {
        let numbers = hook.notices();
        assert_eq!(numbers.len(), 6, "each once: {numbers:?}");
        let letters = hook.taken();
        let keys: BTreeSet<_> =
            letters.iter().map(|letter| letter.field("idempotency-key").expect("a key")).collect();
        assert_eq!(keys.len(), letters.len(), "a key of its own for each message");
        let said = texts(hook).concat();
        assert!(
            said.contains("已由小区人员关闭") && !said.contains("王师傅") && !said.contains("蒸汽管"),
            "{said}"
        );
    }
    assert!(!gateway.log.text().contains("王师傅"), "no name in the log");
    assert_eq!(gateway.degraded(), Vec::<String>::new());
}

#[test]
fn the_city_confirms_an_alarm_and_the_same_word_again_is_answered_the_same() {
    let hook = Hook::new(Mood::Takes);
    let route = "\n[[route]]\nto = [\"property\"]\n";
    let alarm = steam("when = \"humidity > 90\"");
    let told = recipient("property", "property", &hook);
    let site = Site::new(&[example().as_str(), &alarm, &shared(), &told, route].concat());
    let gateway = site.start();
    wet(&gateway, "thermometer-1", 95);
    let records = gateway.pull("alarm");
    assert_eq!(steps_of(&records), [("raised".to_owned(), "raised".to_owned())]);
    let attributes = &records[0]["body"]["event"]["attributes"];
    assert_eq!((&attributes["incident"], &attributes["place"]), (&json!("1"), &json!("B3/cellar")));
    let record = records[0]["record_id"].as_str().expect("an id").to_owned();
    let url = gateway.url();
    let feedback = |record: &str, step: &str, text: &str| {
        let place = ["feedback", "--gateway", &url, "--record", record];
        smallbrain(&[&place[..], &["--step", step, "--text", text, "--json"]].concat())
    };
    for duplicate in [false, true] {
        let said = feedback(&record, "confirmed", "街道已收到");
        assert_eq!(said.code(), Some(0), "{said:?}");
        assert_eq!(said.json(), [json!({"feedback_id": "1", "duplicate": duplicate})]);
    }
    assert_eq!(open(&gateway)[0]["life"], "confirmed");
    let late = feedback(&record, "confirmed", "again, in other words");
    assert_eq!(late.code(), Some(0), "it is kept: {late:?}");
    refused(&feedback("07-alarm-99", "closed", ""), "07-alarm-99");
    let shown = show(&gateway, 1);
    assert_eq!(each(&shown["history"], "step"), ["raised", "confirmed"]);
    assert_eq!(
        (&shown["history"][1]["by_kind"], &shown["history"][1]["by"]),
        (&json!("consumer"), &json!(CITY))
    );
    assert_eq!(each(&shown["feedback"], "outcome"), ["taken", "late"]);
    let said = until("the property learns it", || Some(texts(&hook)).filter(|said| said.len() == 2));
    assert!(said[1].contains("已由城市平台确认") && !said[1].contains("街道"), "{said:?}");
    // And the city sees what it did, once.
    let steps: Vec<_> = steps_of(&gateway.pull("alarm")).into_iter().map(|(step, _)| step).collect();
    assert_eq!(steps, ["raised", "confirmed"]);
}

#[test]
fn every_run_of_a_command_ends_and_says_why() {
    let commands = r#"
        [[command]]
        id = "unanswered"
        device = "siren-1"
        publish = { topic = "compound/siren-1/down", payload = "unanswered" }
        expect = "siren"
        expires = "2s"
        [[command]]
        id = "locked"
        device = "siren-1"
        publish = { topic = "compound/siren-1/down", payload = "locked" }
        interlock = 'devices["thermometer-3"].temperature > 30'
        [[command]]
        id = "unheard"
        device = "siren-1"
        publish = { topic = "compound/nobody/down", payload = "unheard" }
        [[command]]
        id = "asked"
        device = "siren-1"
        publish = { topic = "compound/siren-1/down", payload = "asked" }
        level = 1
        [[command]]
        id = "forgotten"
        device = "siren-1"
        publish = { topic = "compound/siren-1/down", payload = "forgotten" }
        level = 2
        expires = "2s"
    "#;
    let order = r#"commands = ["unanswered", "locked", "unheard", "asked", "forgotten"]"#;
    let alarm = steam(&format!("when = \"humidity > 90\"\n{order}"));
    let site = Site::new(&[example().as_str(), SIREN, &alarm, commands].concat());
    let gateway = site.start();
    let mut siren = Device::of(gateway.mqtt, "siren");
    siren.subscribe("compound/siren-1/down", 1);
    let mut meter = Device::of(gateway.mqtt, "cold");
    meter.publish("compound/thermometer-3/up", r#"{"temperature":20}"#);
    wet(&gateway, "thermometer-1", 95);
    assert_eq!(siren.delivery().1, b"unanswered");
    let waits = gateway.ask(&["commands", "--json"]).json();
    let asked = waits.iter().find(|run| run["command"] == "asked").expect("it waits for somebody");
    assert_eq!((&asked["stage"], &asked["incident"]), (&json!("waiting"), &json!(1)));
    let number = asked["run"].as_u64().expect("a number").to_string();
    let approved = done(&gateway, &["commands", "approve", &number, "--by", "值班经理"]);
    assert_eq!(approved["approved"], json!(["值班经理"]));
    assert_eq!(siren.delivery().1, b"asked", "sent once somebody agreed, and nothing before it");
    let all_over = |shown: &Value| {
        let stages = each(&shown["runs"], "stage");
        stages.len() == 5
            && stages.iter().all(|stage| ["done", "failed", "expired"].contains(&stage.as_str()))
    };
    let shown = wait_for(&gateway, 1, "every run is over", all_over);
    let ends: Vec<_> =
        each(&shown["runs"], "stage").into_iter().zip(each(&shown["runs"], "detail")).collect();
    let expected = [
        ("expired", "the expected state did not come in time"),
        ("failed", "its interlock does not hold"),
        ("failed", "nobody hears that topic"),
        ("done", "the device has it"),
        ("expired", "nobody agreed in time"),
    ];
    for ((stage, detail), (expected, why)) in ends.iter().zip(expected) {
        assert!(stage == expected && detail.contains(why), "{stage}: {detail}, not {expected}: {why}");
    }
    refused(&gateway.ask(&["commands", "approve", &number, "--by", "别人"]), "does not wait");
    assert_eq!(gateway.ask(&["commands", "--json"]).json(), Vec::<Value>::new(), "nothing is left");
    assert!(!gateway.log.text().contains("值班经理"), "no name in the log");
}

#[test]
fn what_people_work_on_is_suppressed_until_they_have_done() {
    let hook = Hook::new(Mood::Takes);
    let route = "\n[[route]]\nto = [\"property\"]\n";
    let alarm = steam("when = \"humidity > 90\"");
    let told = recipient("property", "property", &hook);
    let site = Site::new(&[example().as_str(), &alarm, &told, route].concat());
    let gateway = site.start();
    let words = ["--for", "1h", "--by", "电梯公司", "--reason", "年检"];
    let work = done(&gateway, &[&["alarms", "maintain", "--devices", "thermometer-1"], &words[..]].concat());
    assert_eq!(work["maintenance"], 1);
    wet(&gateway, "thermometer-1", 95);
    wet(&gateway, "thermometer-2", 95);
    let lives: Vec<_> =
        open(&gateway).iter().map(|one| (one["device"].clone(), one["life"].clone())).collect();
    let expected = [("thermometer-2", "raised"), ("thermometer-1", "suppressed")];
    assert_eq!(lives, expected.map(|(device, life)| (json!(device), json!(life))));
    let said = until("the other one is told", || Some(texts(&hook)).filter(|said| !said.is_empty()));
    assert!(said.len() == 1 && said[0].contains("thermometer-2"), "{said:?}");
    let history = show(&gateway, 1)["history"].clone();
    assert_eq!((&history[0]["step"], &history[0]["reason"]), (&json!("suppressed"), &json!("maintenance 1")));

    done(&gateway, &["alarms", "resume", "1", "--by", "电梯公司"]);
    refused(&gateway.ask(&["alarms", "resume", "1", "--by", "电梯公司"]), "no maintenance 1");
    wait_for(&gateway, 1, "what still holds is raised", |shown| shown["life"] == "raised");
    let said = until("now it is told", || Some(texts(&hook)).filter(|said| said.len() == 2));
    assert!(said[1].contains("thermometer-1"), "{said:?}");
    assert_eq!(done(&gateway, &["alarms"])["maintenance"], json!([]));
}

/// A notice that waited for somebody who was taken out of the configuration waited for ever, and kept its rows.
#[test]
fn a_reload_changes_alarms_under_their_open_incidents() {
    let (hook, deaf) = (Hook::new(Mood::Takes), Hook::new(Mood::Hangs));
    let to = recipient("property", "property", &hook) + &recipient("police", "police", &deaf);
    let text = |alarm: &str| {
        [example().as_str(), alarm, &to, "\n[[route]]\nto = [\"property\", \"police\"]\n"].concat()
    };
    let site = Site::new(&text(&steam("when = \"humidity > 90\"")));
    let gateway = site.start();
    wet(&gateway, "thermometer-1", 95);
    wet(&gateway, "thermometer-2", 85);
    let before = open(&gateway);
    assert_eq!(before.len(), 1, "{before:?}");

    site.swap(&text(&steam("when = \"humidity > 80\"")));
    gateway.log.wait("new configuration in force", 1);
    assert_eq!(open(&gateway), before, "it is the same one");
    wet(&gateway, "thermometer-2", 85);
    let devices = each(&json!(open(&gateway)), "device");
    assert_eq!(devices, ["thermometer-2", "thermometer-1"]);
    // What was open under the old threshold ends by the new one.
    wet(&gateway, "thermometer-1", 85);
    assert_eq!(open(&gateway)[1]["active"], true);
    wet(&gateway, "thermometer-1", 75);
    assert_eq!(open(&gateway)[1]["active"], false);

    until("somebody hangs", || (deaf.refused() > 0).then_some(()));
    let away = |text: String| text.replace("[[route]]\nto = [\"property\", \"police\"]", "");
    site.swap(&away(example() + &recipient("property", "property", &hook)));
    gateway.log.wait("new configuration in force", 2);
    assert_eq!(open(&gateway), Vec::<Value>::new(), "an alarm that is gone leaves nothing open");
    let closed = show(&gateway, 2);
    let last = closed["history"].as_array().and_then(|history| history.last()).expect("an end").clone();
    assert_eq!((&last["step"], &last["reason"]), (&json!("closed"), &json!("not configured any more")));
    let waiting = || gateway.ask(&["notices", "--waiting", "--json"]).json();
    until("nobody waits for who is gone", || waiting().is_empty().then_some(()));
    let notices = show(&gateway, 1)["notices"].clone();
    let fates: Vec<_> = each(&notices, "recipient").into_iter().zip(each(&notices, "fate")).collect();
    for (recipient, fate) in fates {
        let expected = if recipient == "police" { "dropped" } else { "delivered" };
        assert_eq!(fate, expected, "{recipient}");
    }
}
