use std::collections::HashMap;

use rust_decimal::Decimal;

use super::*;
use crate::model::{Actor, Life, Quality, Severity, Step, Value};
use crate::rules::cel::{self, Condition, Scope, Type};
use crate::rules::command::{Action, Command, Stage};
use crate::rules::incident::Order;
use crate::rules::notice::{Channel, Field, Recipient, Role, Route};
use crate::rules::plan::{Alarm, Inhibit, Where};
use crate::rules::schedule::Schedule;
use crate::rules::trigger::{OnError, Rule};

mod listed;

const WALL_MS: i64 = 1_790_000_000_000;
/// Two doors of one lobby, with two points each.
const DEVICES: [&str; 2] = ["door-1", "door-2"];
const METRICS: [&str; 2] = ["open", "level"];
const NOTHING: [&str; 0] = [];

struct Doors;

impl Scope for Doors {
    fn metric(&self, _: Option<&str>, metric: &str) -> Option<Type> {
        match metric {
            "open" => Some(Type::Flag),
            "level" => Some(Type::Number),
            _ => None,
        }
    }
    fn device(&self, device: &str) -> bool {
        DEVICES.contains(&device)
    }
    fn metrics(&self, _: Option<&str>) -> Vec<String> {
        METRICS.map(str::to_owned).into()
    }
    fn devices(&self) -> Vec<String> {
        DEVICES.map(str::to_owned).into()
    }
}

fn id(text: &str) -> LineId {
    text.parse().expect("an id")
}

fn device(text: &str) -> DeviceId {
    text.parse().expect("a device")
}

fn condition(text: &str) -> Option<Condition> {
    Some(cel::compile(text, &Doors).expect("a condition"))
}

fn rule() -> Rule {
    Rule {
        hold_ms: 0,
        times: None,
        then_ms: None,
        absent_ms: None,
        daily: None,
        confirm: None,
        schedule: Schedule::default(),
        on_error: OnError::Raise,
    }
}

fn alarm(name: &str, when: &str) -> Alarm {
    Alarm {
        id: id(name),
        title: name.into(),
        advice: String::new(),
        severity: Severity::Major,
        devices: DEVICES.map(device).into(),
        metric: "open".parse().expect("a metric"),
        unit: String::new(),
        when: condition(when),
        clear: None,
        early: None,
        then: None,
        trigger: rule(),
        cooldown_ms: 0,
        closes_itself: false,
        commands: vec![],
        commands_end: vec![],
    }
}

fn plan(alarms: Vec<Alarm>) -> Plan {
    let place = |name| (device(name), Where { class: "door".into(), place: "B3/lobby".parse().ok() });
    Plan { alarms, devices: DEVICES.map(place).into(), ..Plan::default() }
}

fn find(device: &DeviceId, metric: &Metric) -> Option<SeriesKey> {
    let device = DEVICES.iter().position(|name| *name == device.as_str())?;
    let metric = METRICS.iter().position(|name| *name == metric.as_str())?;
    Some(SeriesKey(device as u32 * 2 + metric as u32))
}

/// An engine and its clock; what was kept is kept as a store would.
struct World {
    engine: Engine,
    now_ms: u64,
    kept: Kept,
    runs: HashMap<u64, Run>,
    notices: Vec<Notice>,
}

impl World {
    fn new(plan: Plan) -> Self {
        let engine = Engine::new(plan, find);
        Self { engine, now_ms: 0, kept: Kept::default(), runs: HashMap::new(), notices: Vec::new() }
    }

    fn now(&self) -> Stamp {
        Stamp { wall_ms: WALL_MS + self.now_ms as i64, mono_ms: self.now_ms }
    }

    /// What happened since, as "alarm device step".
    fn events(&mut self) -> Vec<String> {
        let mut events = Vec::new();
        for outcome in self.engine.take() {
            match outcome {
                Outcome::Event(event, incident) => {
                    assert_eq!((event.life, event.active), (incident.life, incident.active));
                    self.kept.numbers.incident = self.kept.numbers.incident.max(incident.id.0);
                    self.kept.incidents.retain(|other| other.id != incident.id);
                    let device = incident.device.clone();
                    events.push(format!("{} {device} {}", event.alarm, event.step));
                    if incident.life == Life::Closed {
                        self.kept.closed.push((incident.alarm, device, incident.changed_ms));
                    } else {
                        self.kept.incidents.push(incident);
                    }
                }
                Outcome::Trigger(alarm, device, state) => {
                    self.kept.triggers.retain(|(other, of, _)| (other, of) != (&alarm, &device));
                    self.kept.triggers.extend(state.map(|state| (alarm, device, state)));
                }
                Outcome::Notice(notice) => {
                    self.kept.numbers.notice = notice.id;
                    self.notices.push(notice);
                }
                Outcome::Run(run) => {
                    self.kept.numbers.run = self.kept.numbers.run.max(run.id);
                    self.kept.runs.retain(|other| other.id != run.id);
                    if !run.stage.is_final() {
                        self.kept.runs.push(run.clone());
                    }
                    self.runs.insert(run.id, run);
                }
                Outcome::Maintenance(work, on) => {
                    self.kept.numbers.maintenance = self.kept.numbers.maintenance.max(work.id);
                    self.kept.maintenances.retain(|other| other.id != work.id);
                    self.kept.maintenances.extend(on.then_some(work));
                }
                Outcome::Incident(incident) => {
                    self.kept.incidents.retain(|other| other.id != incident.id);
                    self.kept.incidents.push(incident);
                }
                Outcome::Send(_) => {}
            }
        }
        events
    }

    /// Ends the process and starts another one.
    fn restart(&mut self) {
        assert_eq!(self.events(), NOTHING);
        let memory = self.engine.snapshot(|series| Some(i64::from(series.0)));
        self.engine = Engine::new(self.engine.plan().clone(), find);
        self.engine.remember(&memory, |name| Some(SeriesKey(name as u32)));
        let now = self.now();
        self.engine.restore(self.kept.clone(), now);
    }

    fn read(&mut self, device: &str, metric: &str, value: Value) -> Vec<String> {
        let now = self.now();
        let (device, metric) = (device.parse().expect("a device"), metric.parse().expect("a metric"));
        let reading = Reading {
            series: find(&device, &metric).expect("a point"),
            value,
            time_ms: now.wall_ms,
            received_ms: now.wall_ms,
            device_time: false,
            quality: Quality::Good,
        };
        self.engine.reading(&reading, now);
        self.engine.settle(now);
        self.events()
    }

    fn open(&mut self, device: &str, open: bool) -> Vec<String> {
        self.read(device, "open", Value::Flag(open))
    }

    fn level(&mut self, device: &str, level: i64) -> Vec<String> {
        self.read(device, "level", Value::Number(Decimal::from(level)))
    }

    fn pass(&mut self, seconds: u64) -> Vec<String> {
        for _ in 0..seconds {
            self.now_ms += 1000;
            let now = self.now();
            self.engine.tick(now);
        }
        self.events()
    }

    fn order(&mut self, incident: u64, step: Step, reason: &str) -> Vec<String> {
        let by = Actor::Person("Zhang San".into());
        let order = Order { incident: IncidentId(incident), step, by, reason: reason.into() };
        let now = self.now();
        self.engine.order(&order, now).expect("an order that may be given");
        self.events()
    }
}

#[test]
fn from_the_first_sign_to_the_end() {
    let mut world = World::new(plan(vec![alarm("held", "open")]));
    assert_eq!(world.open("door-1", true), ["held door-1 raised"]);
    assert_eq!(world.open("door-1", true), NOTHING);
    assert_eq!(world.open("door-2", true), ["held door-2 raised"], "a device of its own");
    assert_eq!(world.order(1, Step::Confirmed, ""), ["held door-1 confirmed"]);
    assert_eq!(world.open("door-1", false), ["held door-1 cleared"]);
    assert_eq!(world.open("door-1", true), ["held door-1 returned"]);
    assert_eq!(world.order(1, Step::Dispatched, ""), ["held door-1 dispatched"]);
    assert_eq!(world.order(1, Step::Handled, "shut"), ["held door-1 handled"]);
    assert_eq!(world.order(1, Step::Closed, "shut"), ["held door-1 closed"]);
    assert_eq!(world.open("door-1", true), NOTHING, "it has to end before it can begin anew");
    assert_eq!(world.open("door-1", false), NOTHING);
    assert_eq!(world.open("door-1", true), ["held door-1 raised"]);
    assert_eq!(world.kept.numbers.incident, 3);
}

#[test]
fn a_restart_goes_on_with_holds_incidents_and_cooldowns() {
    let mut held = alarm("held", "open");
    held.trigger.hold_ms = 10_000;
    held.cooldown_ms = 60_000;
    held.closes_itself = true;
    let mut world = World::new(plan(vec![held]));
    assert_eq!(world.open("door-1", true), NOTHING);
    assert_eq!(world.pass(9), NOTHING);
    world.restart();
    assert_eq!(world.pass(1), ["held door-1 raised"]);
    world.restart();
    assert_eq!(world.open("door-1", false), ["held door-1 cleared", "held door-1 closed"]);
    world.restart();
    assert_eq!(world.open("door-1", true), NOTHING);
    assert_eq!(world.pass(10), ["held door-1 suppressed"], "it cools down");
    world.restart();
    assert_eq!(world.pass(49), NOTHING);
    assert_eq!(world.pass(1), ["held door-1 raised"], "it is still there");
}

#[test]
fn what_is_inhibited_is_kept_and_raised_when_that_ends() {
    let mut stormy = plan(vec![alarm("held", "open")]);
    stormy.inhibits.push(Inhibit {
        id: id("storm"),
        title: String::new(),
        alarms: Some(vec![0]),
        devices: None,
        when: condition(r#"devices["door-2"].level > 8"#),
        lasts_ms: 30_000,
        between_ms: None,
        schedule: Schedule::default(),
    });
    let mut world = World::new(stormy);
    world.level("door-2", 9);
    world.pass(1);
    assert_eq!(world.open("door-1", true), ["held door-1 suppressed"]);
    assert_eq!(world.open("door-1", false), ["held door-1 closed"]);
    assert_eq!(world.open("door-1", true), ["held door-1 suppressed"]);
    world.level("door-2", 1);
    world.restart();
    assert_eq!(world.pass(28), NOTHING, "it lasts");
    assert_eq!(world.pass(3), ["held door-1 raised"]);
    let now = world.now();
    let work = Maintenance {
        id: 0,
        devices: "door-*".into(),
        places: "*".into(),
        from_ms: 0,
        until_ms: now.wall_ms + 5_000,
        by: "Li Si".into(),
        reason: "new closer".into(),
    };
    assert_eq!(world.engine.maintain(&work, now).expect("room").id, 1);
    assert_eq!(world.open("door-2", true), ["held door-2 suppressed"]);
    world.restart();
    assert_eq!(world.pass(6), ["held door-2 raised"]);
}

#[test]
fn two_of_a_place_confirm_one_another() {
    let mut fence = alarm("fence", "open");
    fence.trigger.confirm = Some((2, 30_000));
    let mut world = World::new(plan(vec![fence]));
    assert_eq!(world.open("door-1", true), ["fence door-1 pre_alarm"]);
    world.pass(31);
    assert_eq!(world.open("door-2", true), ["fence door-2 pre_alarm"], "too late");
    assert_eq!(world.open("door-1", false), ["fence door-1 closed"]);
    world.restart();
    assert_eq!(
        world.open("door-1", true),
        ["fence door-1 pre_alarm", "fence door-1 raised", "fence door-2 raised"]
    );
}

#[test]
fn people_are_told_and_others_when_nobody_answers() {
    let recipient = |name: &str| Recipient {
        id: id(name),
        title: name.into(),
        role: Role::Property,
        channel: Channel::Webhook,
        fields: vec![Field::Alarm],
        quiet: None,
        digest_ms: 0,
        english: false,
    };
    let mut told = plan(vec![alarm("held", "open")]);
    told.recipients = vec![recipient("property"), recipient("street")];
    told.routes = vec![Route {
        alarms: None,
        severities: None,
        places: None,
        schedule: Schedule::default(),
        steps: vec![Step::Raised, Step::Closed],
        to: vec![0],
        escalate: vec![(5_000, vec![1])],
    }];
    let mut world = World::new(told);
    world.open("door-1", true);
    world.pass(4);
    world.restart();
    assert_eq!(world.pass(1), ["held door-1 escalated"]);
    world.open("door-2", true);
    world.order(2, Step::Confirmed, "");
    assert_eq!(world.pass(10), NOTHING, "somebody has answered");
    let told: Vec<_> = world.notices.iter().map(|notice| (notice.recipient.as_str(), notice.step)).collect();
    assert_eq!(told, [("property", Step::Raised), ("street", Step::Escalated), ("property", Step::Raised)]);
}

/// A message told of a level and of a door, and the alarm of both looked between the two: it saw the new level with the old
/// door, and was raised for a moment.
#[test]
fn what_a_device_says_at_once_is_looked_at_at_once() {
    let mut both = alarm("both", "open && level > 5");
    both.trigger.times = Some((2, 60_000));
    let mut world = World::new(plan(vec![alarm("flood", "open && level > 5"), both]));
    world.open("door-1", true);
    let reading = |world: &World, metric: &str, value| Reading {
        series: find(&device("door-1"), &metric.parse().expect("a metric")).expect("a point"),
        value,
        time_ms: world.now().wall_ms,
        received_ms: world.now().wall_ms,
        device_time: false,
        quality: Quality::Good,
    };
    let say = |world: &mut World, level: i64, open| {
        world.now_ms += 1000;
        let now = world.now();
        let level = reading(world, "level", Value::Number(Decimal::from(level)));
        world.engine.reading(&level, now);
        let open = reading(world, "open", Value::Flag(open));
        world.engine.reading(&open, now);
        world.engine.settle(now);
        world.events()
    };
    assert_eq!(say(&mut world, 9, false), NOTHING, "not between the two");
    assert_eq!(say(&mut world, 9, true), ["flood door-1 raised"], "one message counts once");
    assert_eq!(say(&mut world, 9, true), ["both door-1 raised"]);
}

#[test]
fn what_two_need_is_ended_by_the_last() {
    let mut fire = alarm("fire", "open");
    (fire.commands, fire.commands_end) = (vec![0], vec![1]);
    let mut plan = plan(vec![fire]);
    plan.commands = vec![command("on", None, None, 0), command("off", None, None, 0)];
    let mut world = World::new(plan);
    for (device, open, off) in
        [("door-1", true, 0), ("door-2", true, 0), ("door-1", false, 0), ("door-2", false, 1)]
    {
        world.open(device, open);
        let ended = world.runs.values().filter(|run| run.command == id("off")).count();
        assert_eq!(ended, off, "{device} {open}");
    }
}

fn command(name: &str, interlock: Option<Condition>, expect: Option<Condition>, level: u8) -> Command {
    Command {
        id: id(name),
        title: String::new(),
        device: device("door-2"),
        action: Action::Publish { topic: "t".into(), payload: "p".into() },
        arguments: Default::default(),
        ways: vec![],
        state: None,
        interlock,
        expect,
        expires_ms: 20_000,
        level,
    }
}

#[test]
fn a_run_ends_whatever_happens() {
    let mut with = alarm("held", "open");
    with.devices.truncate(1);
    with.commands = vec![0, 1, 2];
    let mut plan = plan(vec![with]);
    plan.commands = vec![
        command("shut", condition("level < 5"), condition("!open"), 0),
        command("lock", condition("level > 5"), None, 0),
        command("siren", None, None, 2),
    ];
    let mut world = World::new(plan);
    world.level("door-2", 1);
    world.open("door-1", true);
    let stage = |world: &World, run: u64| world.runs[&run].stage;
    assert_eq!([1, 2, 3].map(|run| stage(&world, run)), [Stage::Sent, Stage::Failed, Stage::Waiting]);
    let now = world.now();
    world.engine.ran(1, &Ok(()), now).expect("it is open");
    world.open("door-2", false);
    assert_eq!(stage(&world, 1), Stage::Done, "the expected state is there");
    world.restart();
    let now = world.now();
    assert!(world.engine.approve(3, "Zhang San", now).expect("it waits").is_ok());
    assert!(
        world.engine.approve(3, "Zhang San", now).expect("it waits").is_err(),
        "one person is one person"
    );
    world.events();
    world.restart();
    world.pass(20);
    assert_eq!(stage(&world, 3), Stage::Expired);
    assert_eq!(world.engine.rest(world.now()), None, "nothing is left to wait for");
}

#[test]
fn what_the_plan_does_not_have_any_more_is_given_up() {
    let mut world = World::new(plan(vec![alarm("held", "open")]));
    world.open("door-1", true);
    world.engine = Engine::new(plan(vec![alarm("other", "open")]), find);
    let now = world.now();
    world.engine.restore(world.kept.clone(), now);
    assert_eq!(world.events(), ["held door-1 closed"]);
    assert_eq!(world.kept.triggers, []);
}

/// A reload while a command was on its way said that the gateway had stopped, and did not believe the device any more.
#[test]
fn what_is_on_its_way_is_given_up_by_a_restart_and_not_by_a_reload() {
    for (goes_on, end) in [(true, Stage::Done), (false, Stage::Failed)] {
        let mut plan = plan(vec![Alarm { commands: vec![0], ..alarm("held", "open") }]);
        plan.commands = vec![command("shut", None, None, 0)];
        let mut world = World::new(plan);
        world.open("door-1", true);
        assert_eq!(world.runs[&1].stage, Stage::Sent);
        world.kept.goes_on = goes_on;
        world.restart();
        let now = world.now();
        world.engine.ran(1, &Ok(()), now);
        world.events();
        assert_eq!(world.runs[&1].stage, end, "goes on: {goes_on}");
    }
}
