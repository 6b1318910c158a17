//! Orders of the city in the spine: each is answered once, ends once, and is told once, whatever happens in between.

use proptest::prelude::*;
use prost::Message;

use crate::ingest::Plan;
use crate::ingest::act::{Act, Done, Errand, Refused};
use crate::ingest::order::{self, Submission, Taken};
use crate::ingest::spine::Spine;
use crate::ingest::tests::{plan, settings};
use crate::model::{Lane, Seq, Stamp};
use crate::privacy::release::ShareLine;
use crate::rules::command::{Action, Asked, Command, ORDERS_MAX, Order, Stage};
use crate::store::Store;
use crate::wire::v1;
use v1::record_body::Content;

const CITY: &str = "spiffe://city.example/test";
const START: i64 = 1_794_000_000_000;

fn at(after_ms: i64) -> Stamp {
    Stamp { wall_ms: START + after_ms, mono_ms: u64::try_from(after_ms).expect("later") }
}

fn name<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    text.parse().expect("a name")
}

fn command(id: &str, level: u8) -> Command {
    Command {
        id: name(id),
        title: String::new(),
        device: name("tank-1"),
        action: Action::Publish { topic: "t".into(), payload: "low".into() },
        arguments: Default::default(),
        ways: vec![],
        state: Some(name("level")),
        interlock: None,
        expect: None,
        expires_ms: 30_000,
        level,
    }
}

/// A tank with two commands that the city may order: one at once, one when somebody agrees, which has an argument.
fn shared() -> Plan {
    let mut plan = plan(&["tank-1"], 100);
    let way = |value: &str| {
        let chosen = [("to".to_owned(), value.to_owned())].into();
        (chosen, Action::Publish { topic: "t".into(), payload: value.into() })
    };
    let arguments = [("to".to_owned(), vec!["low".to_owned(), "high".to_owned()])].into();
    let asked = Command { arguments, ways: vec![way("low"), way("high")], ..command("asked", 1) };
    plan.rules.commands = vec![command("plain", 0), asked];
    let alarm = plan.shares[0].clone();
    let (id, carries) = (name("S-result"), vec![name("plain"), name("asked")]);
    plan.shares.push(ShareLine { id, lane: Lane::Result, metrics: vec![], carries, ..alarm });
    plan
}

fn order(command: &str, request: &str) -> Submission {
    let arguments = if command == "asked" { vec![("to".to_owned(), "high".to_owned())] } else { vec![] };
    let asked = Asked {
        consumer: name(CITY),
        request: request.into(),
        share: name("S-result"),
        arguments: arguments.into_iter().collect(),
    };
    let order = Order { command: name(command), asked, not_after_ms: START + 60_000, expect_state: None };
    Submission { order, digest: [1; 32], under: None, validate_only: false }
}

struct World {
    dir: tempfile::TempDir,
    store: Store,
    spine: Spine,
}

impl World {
    fn new(plan: Plan) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut store = Store::open(settings(dir.path()), [7; 32], at(0)).expect("the store opens");
        let spine = Spine::open(plan, &mut store, at(0)).expect("opened");
        Self { dir, store, spine }
    }

    /// Killed, and started again with a plan.
    fn killed(self, plan: Plan, now: Stamp) -> Self {
        let Self { dir, store, spine } = self;
        drop((spine, store));
        let mut store = Store::open(settings(dir.path()), [7; 32], now).expect("the store opens");
        let spine = Spine::open(plan, &mut store, now).expect("opened");
        Self { dir, store, spine }
    }

    fn act(&mut self, act: &Act, now: Stamp) -> (Result<Done, Refused>, Vec<Errand>) {
        let mut txn = self.store.begin().expect("a transaction");
        let done = self.spine.act(&mut txn, act, now).expect("no error of the store");
        txn.commit().expect("committed");
        (done, self.spine.take_after().errands)
    }

    fn submit(&mut self, submission: Submission, now: Stamp) -> Result<Taken, &'static str> {
        match self.act(&Act::Submit(Box::new(submission)), now).0 {
            Ok(Done::Order(taken)) => Ok(taken),
            Err(Refused::Order(refused)) => Err(refused.word()),
            other => panic!("{other:?}"),
        }
    }

    fn tick(&mut self, now: Stamp) {
        let mut txn = self.store.begin().expect("a transaction");
        self.spine.tick(&mut txn, now).expect("ticked");
        txn.commit().expect("committed");
    }

    /// What lane result has: number, request, status, detail.
    fn results(&self) -> Vec<(String, String, String, String)> {
        let page = self.store.page(Lane::Result, Seq(0), 1000, 1 << 20).expect("a page");
        let one = |body: &bytes::Bytes| {
            let body = v1::RecordBody::decode(body.clone()).expect("a body");
            let Some(Content::Result(result)) = body.content else { panic!("{body:?}") };
            (result.command_id, result.request_id, result.status, result.detail)
        };
        page.records.iter().map(|record| one(&record.body)).collect()
    }

    fn statuses(&self) -> Vec<String> {
        self.results().into_iter().map(|(_, _, status, _)| status).collect()
    }

    /// Action and actor of each row of the trail about commands.
    fn trail(&self) -> Vec<(String, String)> {
        let path = self.dir.path().join("smallbrain.db");
        let conn = rusqlite::Connection::open(path).expect("the store");
        let find = "SELECT action, actor_role FROM audit WHERE action LIKE 'command.%' ORDER BY seq";
        let mut statement = conn.prepare(find).expect("a question");
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
        rows.map(|row| row.expect("a row")).collect()
    }
}

fn run(id: u64, stage: Stage, duplicate: bool) -> Result<Taken, &'static str> {
    Ok(Taken::Run { id, stage, duplicate })
}

#[test]
fn the_same_request_is_one_order_also_after_a_restart_and_after_its_end() {
    let mut world = World::new(shared());
    let (done, errands) = world.act(&Act::Submit(Box::new(order("plain", "r-1"))), at(1));
    assert_eq!(done, Ok(Done::Order(Taken::Run { id: 1, stage: Stage::Sent, duplicate: false })));
    assert_eq!(errands.len(), 1);
    assert_eq!(world.submit(order("plain", "r-1"), at(2)), run(1, Stage::Sent, true));
    let other = Submission { digest: [2; 32], ..order("plain", "r-1") };
    assert_eq!(world.submit(other, at(3)), Err("request_reused"));
    world.act(&Act::Ran { run: 1, end: Ok(()) }, at(4)).0.expect("noted");
    let mut world = world.killed(shared(), at(5));
    assert_eq!(world.submit(order("plain", "r-1"), at(120_000)), run(1, Stage::Sent, true), "also too late");
    assert_eq!(world.submit(order("plain", "r-2"), at(6)), run(2, Stage::Sent, false));
    let told = |id: &str, status: &str, why: &str| {
        (id.to_owned(), "r-1".to_owned(), status.to_owned(), why.to_owned())
    };
    assert_eq!(world.results(), [told("1", "done", "the device has it")]);
    let accept = ("command.accept", "consumer");
    let expected = [accept, ("command.refuse", "consumer"), ("command.done", "gateway"), accept];
    let expected = expected.map(|(action, role)| (action.to_owned(), role.to_owned()));
    assert_eq!(world.trail(), expected);
}

#[test]
fn somebody_agrees_and_the_arguments_are_what_is_sent() {
    let mut world = World::new(shared());
    assert_eq!(world.submit(order("asked", "r-1"), at(1)), run(1, Stage::Waiting, false));
    let mut world = world.killed(shared(), at(2));
    let (done, errands) = world.act(&Act::Approve { run: 1, by: "甲".into() }, at(3));
    assert!(matches!(done, Ok(Done::Run(ref run)) if run.stage == Stage::Sent), "{done:?}");
    let payloads: Vec<_> = errands.iter().map(|errand| errand.action.clone()).collect();
    assert_eq!(payloads, [Action::Publish { topic: "t".into(), payload: "high".into() }]);
    // What the device says about it stays here.
    world.act(&Act::Ran { run: 1, end: Err("register 17 says 4711".into()) }, at(4)).0.expect("noted");
    let results = world.results();
    assert_eq!(
        (results.len(), &*results[0].2, &*results[0].3),
        (1, "failed", "the device did not confirm it")
    );
    let roles: Vec<_> = world.trail().into_iter().map(|(action, role)| format!("{action} {role}")).collect();
    assert_eq!(roles, ["command.accept consumer", "command.accept person", "command.done gateway"]);
}

/// What is wrong with an order.
type Change<'a> = &'a dyn Fn(&mut Submission);

#[test]
fn what_is_refused_changes_nothing_but_the_trail() {
    let mut world = World::new(shared());
    let with = |change: &dyn Fn(&mut Submission)| {
        let mut submission = order("asked", "r-1");
        change(&mut submission);
        submission
    };
    let cases: [(Change<'_>, &str); 7] = [
        (&|it| it.order.command = name("other"), "not_listed"),
        (&|it| it.order.asked.share = name("S-alarm"), "not_listed"),
        (&|it| it.under = Some(crate::approval::ApprovalId([1; 16])), "not_listed"),
        (&|it| it.order.asked.arguments.clear(), "malformed"),
        (&|it| drop(it.order.asked.arguments.insert("to".into(), "up".into())), "malformed"),
        (&|it| it.order.not_after_ms = START + 1, "command_late"),
        (&|it| it.order.expect_state = Some("7".into()), "state_differs"),
    ];
    for (change, word) in cases {
        assert_eq!(world.submit(with(change), at(1)), Err(word));
    }
    let valid = with(&|it| it.validate_only = true);
    assert_eq!(world.submit(valid, at(1)), Ok(Taken::Valid));
    assert_eq!((world.store.runs_open().expect("runs").len(), world.results().len()), (0, 0));
    let actions: Vec<_> = world.trail().into_iter().map(|(action, _)| action).collect();
    assert_eq!(actions, ["command.refuse", "command.accept"], "refusals are written once a minute");
    for number in 0..ORDERS_MAX {
        world.submit(order("asked", &number.to_string()), at(2)).expect("taken");
    }
    assert_eq!(world.submit(order("asked", "more"), at(2)), Err("commands_full"));
    world.tick(at(30_002));
    assert_eq!(world.statuses(), vec!["expired".to_owned(); ORDERS_MAX]);
}

#[test]
fn a_reload_ends_what_it_takes_away_and_tells_it_under_the_line() {
    let without = |change: fn(&mut Plan)| {
        let mut plan = shared();
        change(&mut plan);
        plan
    };
    let cases: [(&str, Plan); 4] = [
        ("the command", without(|plan| plan.rules.commands.clear())),
        ("its line", without(|plan| drop(plan.shares.pop()))),
        ("its consumer", without(|plan| plan.shares[1].consumers = vec![name("spiffe://else/1")])),
        ("its argument", without(|plan| plan.rules.commands[1].ways.truncate(1))),
    ];
    for (what, plan) in cases {
        let mut world = World::new(shared());
        world.submit(order("asked", "r-1"), at(1)).expect("taken");
        let World { dir, mut store, spine } = world;
        drop(spine);
        let spine = Spine::reopen(plan, &mut store, at(2)).expect("reopened");
        let world = World { dir, store, spine };
        assert_eq!(world.statuses(), ["failed"], "{what}");
        let page = world.store.page(Lane::Result, Seq(0), 10, 1 << 20).expect("a page");
        assert_eq!(page.records[0].share_item, name("S-result"), "{what}");
        assert!(world.store.runs_open().expect("runs").is_empty(), "{what}");
    }
}

/// What can happen between an order and its end.
#[derive(Clone, Debug)]
enum Step {
    Submit(&'static str, u8),
    Approve(u64),
    Ran(u64, bool),
    Tick,
    Kill,
    Reload(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (prop::sample::select(vec!["plain", "asked"]), 0..6_u8).prop_map(|(command, request)| Step::Submit(command, request)),
        2 => (1..6_u64).prop_map(Step::Approve),
        2 => (1..6_u64, any::<bool>()).prop_map(|(run, end)| Step::Ran(run, end)),
        1 => Just(Step::Tick),
        1 => Just(Step::Kill),
        1 => any::<bool>().prop_map(Step::Reload),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever happens, each order that was answered with a number is told exactly once.
    #[test]
    fn every_order_that_was_taken_has_one_end(steps in prop::collection::vec(step(), 1..25)) {
        let mut world = World::new(shared());
        let mut taken = std::collections::BTreeSet::new();
        let mut now = 0;
        for step in steps {
            now += 2_000;
            let bare = || {
                let mut plan = shared();
                plan.shares.truncate(1);
                plan
            };
            match step {
                Step::Submit(command, request) => {
                    let mut submission = order(command, &request.to_string());
                    submission.order.not_after_ms = START + 3_600_000;
                    submission.digest = [command.len() as u8; 32];
                    if let Ok(Taken::Run { id, .. }) = world.submit(submission, at(now)) {
                        taken.insert(id.to_string());
                    }
                }
                Step::Approve(run) => drop(world.act(&Act::Approve { run, by: "甲".into() }, at(now))),
                Step::Ran(run, end) => {
                    let end = if end { Ok(()) } else { Err("no".to_owned()) };
                    world.act(&Act::Ran { run, end }, at(now)).0.expect("noted");
                }
                Step::Tick => world.tick(at(now)),
                Step::Kill => world = world.killed(shared(), at(now)),
                Step::Reload(whole) => {
                    let plan = if whole { shared() } else { bare() };
                    let World { dir, mut store, spine } = world;
                    drop(spine);
                    let spine = Spine::reopen(plan, &mut store, at(now)).expect("reopened");
                    world = World { dir, store, spine };
                }
            }
        }
        world.tick(at(now + 40_000));
        let mut told: Vec<String> = world.results().into_iter().map(|(id, ..)| id).collect();
        told.sort();
        prop_assert_eq!(told, taken.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn what_a_consumer_wrote_is_not_shown() {
    let submission = order("asked", "geheim-1");
    for shown in [format!("{submission:?}"), format!("{:?}", Act::Submit(Box::new(submission.clone())))] {
        assert!(!shown.contains("geheim") && !shown.contains("high"), "{shown}");
    }
    assert_eq!(order::Refused::Reused.word(), "request_reused");
}
