//! Webhooks that misbehave: they cost nothing but their own queue, and are told everything once when they are better.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::alarms::{done, recipient};
use super::device::Device;
use super::gateway::{Gateway, Site, example, until};
use super::webhook::{Hook, Mood};

/// What each of the four does until it is better.
fn moods() -> impl Iterator<Item = Mood> {
    Mood::ALL.into_iter().filter(|mood| *mood != Mood::Takes)
}
/// Incidents of a phase; each is raised and closes itself.
const INCIDENTS: usize = 40;
/// How much slower an acknowledgement may be beside bad webhooks: noise of the machine is less, waiting for one is far more.
const SLOWER: u32 = 5;
/// Memory that a few hundred notices may take, KiB.
const KIB_MORE: u64 = 64 * 1024;

fn median(mut took: Vec<Duration>) -> Duration {
    took.sort();
    took[took.len() / 2]
}

/// Raises incidents and lets each close itself; how long an acknowledgement took in the middle.
fn storm(device: &mut Device) -> Duration {
    let humidity = [95, 40].into_iter().cycle().take(2 * INCIDENTS);
    let publish = |humidity| {
        let began = Instant::now();
        device.publish("compound/thermometer-1/up", format!(r#"{{"humidity":{humidity}}}"#));
        began.elapsed()
    };
    median(humidity.map(publish).collect())
}

fn waiting(gateway: &Gateway, recipient: &str) -> Vec<Value> {
    let said = gateway.ask(&["notices", "--waiting", "--recipient", recipient, "--limit", "1000", "--json"]);
    assert_eq!(said.code(), Some(0), "{said:?}");
    said.json()
}

/// Kibibytes of memory that the process holds.
fn memory(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn webhooks_that_misbehave_cost_only_their_own_queue_and_catch_up_once() {
    let good = Hook::new(Mood::Takes);
    let bad: Vec<(String, Hook)> =
        moods().map(|mood| (format!("{mood:?}").to_lowercase(), Hook::new(Mood::Takes))).collect();
    let recipients: String = bad.iter().map(|(id, hook)| recipient(id, "property", hook)).collect();
    let names: Vec<&str> = bad.iter().map(|(id, _)| id.as_str()).collect();
    let example = example();
    let route = format!(
        "\n[[route]]\nalarms = [\"steam\"]\nto = {names:?}\n[[route]]\nalarms = [\"steam\"]\nto = [\"good\"]\n"
    );
    let text = [
        example.as_str(),
        "\n[[alarm]]\nid = \"steam\"\nwhen = \"humidity > 90\"\nseverity = \"minor\"\n",
        &recipients,
        &recipient("good", "property", &good),
        &route,
    ];
    let site = Site::new(&text.concat());
    let gateway = site.start();
    let mut device = Device::of(gateway.mqtt, "meter");
    // Raised and closed of each incident.
    let each = 2 * INCIDENTS;
    let before = storm(&mut device);
    until("everybody is told while all is well", || {
        let all = bad.iter().map(|(_, hook)| hook).chain([&good]);
        all.map(|hook| hook.notices().len()).all(|count| count == each).then_some(())
    });

    bad.iter().zip(moods()).for_each(|((_, hook), mood)| hook.turn(mood));
    let held = memory(&gateway);
    let beside = storm(&mut device);
    assert!(beside < before * SLOWER, "{beside:?} beside bad webhooks, {before:?} without");
    until("the others are told at once", || (good.notices().len() == 2 * each).then_some(()));
    until("each of the bad is tried", || bad.iter().all(|(_, hook)| hook.refused() > 0).then_some(()));
    until("what it took is known", || waiting(&gateway, "good").is_empty().then_some(()));
    for (id, hook) in &bad {
        assert_eq!(waiting(&gateway, id).len(), each, "what waits for {id}");
        assert_eq!(hook.notices().len(), each, "{id} has what it was told before");
        // Not again and again: the next try waits.
        assert!(hook.refused() <= 4, "{id}: {} tries", hook.refused());
    }
    let more = memory(&gateway).saturating_sub(held);
    assert!(more < KIB_MORE, "{more} KiB more");
    assert_eq!(done(&gateway, &["alarms"])["incidents"], serde_json::json!([]));

    let letters: Vec<usize> = bad.iter().map(|(_, hook)| hook.taken().len()).collect();
    bad.iter().for_each(|(_, hook)| hook.turn(Mood::Takes));
    for ((id, hook), letters) in bad.iter().zip(letters) {
        until("it is told what it missed", || (hook.notices().len() >= 2 * each).then_some(()));
        let numbers = hook.notices();
        let once: BTreeSet<u64> = numbers.iter().copied().collect();
        assert_eq!((numbers.len(), once.len()), (2 * each, 2 * each), "{id}: each once");
        let more = hook.taken().len() - letters;
        assert!(more <= 2, "{id}: a digest, not {more} messages");
        until("nothing waits", || waiting(&gateway, id).is_empty().then_some(()));
    }
    assert_eq!(good.notices().len(), 2 * each, "nobody else is told again");
    let metrics = gateway.metrics();
    let refused: usize = bad.iter().map(|(_, hook)| hook.refused()).sum();
    assert_eq!(metrics["smallbrain_notices_sent_total"], (5 * 2 * each) as u64);
    assert_eq!(metrics["smallbrain_notices_failed_total"], refused as u64);
    assert_eq!(metrics["smallbrain_notices_expired_total"], 0);
}
