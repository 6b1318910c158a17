//! The service over a real socket: a real store to read from, a writer that answers what it is told to, and the verbs.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use clap::Parser;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::service::Routes;

use super::*;
use crate::cli;
use crate::clock::SystemClock;
use crate::ingest::Request as ForWriter;
use crate::model::{Event, Life, Severity, Value};
use crate::rules::command::{Run, Stage};
use crate::rules::incident::Incident;
use crate::rules::notice::{Fate, Notice};
use crate::rules::plan::Where;
use crate::share::{listen, local};
use crate::store::alarms::Feedback;
use crate::store::{Heads, Settings, Store};
use crate::wire::Gateway;
use crate::wire::bus::alarm_service_client::AlarmServiceClient;
use crate::wire::bus::alarm_service_server::AlarmServiceServer;

const AT_MS: i64 = 1_790_000_000_000;
const ZONE_MS: i64 = 8 * 3_600_000;

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a name")
}

fn incident() -> Incident {
    Incident {
        id: IncidentId(1),
        alarm: id("door-held"),
        device: id("door-1"),
        severity: Severity::Major,
        life: Life::Raised,
        active: true,
        began_ms: AT_MS - 120_000,
        raised_ms: Some(AT_MS),
        changed_ms: AT_MS,
        escalated: 0,
        told_ms: None,
        returns: 0,
    }
}

fn run() -> Run {
    Run {
        id: 7,
        command: id("siren-on"),
        incident: Some(IncidentId(1)),
        stage: Stage::Waiting,
        ordered_ms: AT_MS,
        expires_ms: AT_MS + 30_000,
        changed_ms: AT_MS,
        approved: vec!["甲".into()],
        detail: String::new(),
        asked: None,
    }
}

fn fill(store: &mut Store) {
    let event = Event {
        incident: IncidentId(1),
        alarm: id("door-held"),
        step: Step::Raised,
        life: Life::Raised,
        active: true,
        severity: Severity::Major,
        device: Some(id("door-1")),
        place: Some(id("B3/lobby")),
        device_class: "door".into(),
        metric: id("door_open"),
        value: Some(Value::Flag(true)),
        unit: String::new(),
        by: Actor::Gateway,
        reason: "".into(),
        at_ms: AT_MS,
    };
    let notice = Notice {
        id: 1,
        incident: IncidentId(1),
        step: Step::Raised,
        alarm: id("door-held"),
        severity: Severity::Major,
        place: None,
        recipient: id("property"),
        made_ms: AT_MS,
        due_ms: AT_MS,
        seq: None,
        run: None,
        text: "【重要】门长开未关 B3/lobby".into(),
        fate: Fate::Delivered,
        tries: 1,
        done_ms: Some(AT_MS + 1_000),
        proof: "200".into(),
    };
    let said = Feedback {
        consumer: id("spiffe://police"),
        request: "q".into(),
        record: "r".into(),
        step: Step::Dispatched,
        text: "已出警".into(),
        at_ms: AT_MS,
        incident: Some(IncidentId(1)),
        outcome: "dispatched".into(),
    };
    let mut txn = store.begin().expect("a transaction");
    txn.set_incident(&incident()).expect("set");
    txn.add_event(&event).expect("added");
    txn.set_notice(&notice).expect("set");
    txn.set_run(&run()).expect("set");
    txn.add_feedback(&said).expect("added");
    txn.commit().expect("committed");
}

/// What the writer would make of an act.
fn answer(act: &Act) -> Result<Done, Refused> {
    match act {
        Act::Order(order) if order.incident != IncidentId(1) => {
            Err(incident::Refused::Unknown(order.incident).into())
        }
        Act::Order(order) if order.step == Step::Closed && order.reason.is_empty() => {
            Err(incident::Refused::Reason.into())
        }
        Act::Order(_) => Ok(Done::Incident(Incident { life: Life::Confirmed, ..incident() })),
        Act::Maintain(work) => Ok(Done::Maintenance(Maintenance { id: 3, ..work.clone() })),
        Act::Resume { maintenance: 3, .. } => Ok(Done::Noted),
        Act::Resume { maintenance, .. } => Err(Refused::Maintenance(*maintenance)),
        Act::Approve { run: 7, by } if &**by == "甲" => Err(Refused::Again(7)),
        Act::Approve { run: 7, by } => {
            let approved = vec!["甲".into(), by.clone()];
            Ok(Done::Run(Run { stage: Stage::Accepted, approved, ..run() }))
        }
        Act::Approve { run, .. } => Err(Refused::Run(*run)),
        _ => Ok(Done::Noted),
    }
}

struct Nobody;

impl local::Inside for Nobody {
    fn counters(&self) -> Vec<(String, u64)> {
        Vec::new()
    }
    fn devices(&self) -> Vec<local::DeviceState> {
        Vec::new()
    }
    fn degraded(&self) -> Vec<String> {
        Vec::new()
    }
    fn severity(&self, _: &str) -> Option<Severity> {
        None
    }
    fn policy_version(&self) -> u64 {
        0
    }
    fn storage_bytes_free(&self) -> u64 {
        0
    }
}

/// A daemon that has nothing but a store, a writer and the socket.
struct Daemon {
    _dir: tempfile::TempDir,
    _store: Store,
    _heads: watch::Sender<Heads>,
    path: PathBuf,
    acts: Arc<Mutex<Vec<Act>>>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Daemon {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("local.sock");
        let settings = Settings {
            dir: dir.path().to_owned(),
            bytes_max: 64 << 20,
            reserve_bytes: 0,
            group_window: Duration::ZERO,
            retention: Duration::from_secs(60),
            promises: crate::store::room::Promises::of(64 << 20),
        };
        let clock = Arc::new(SystemClock::default());
        let mut store = Store::open(settings, [7; 32], clock.now()).expect("the store opens");
        fill(&mut store);
        let (heads, watched) = watch::channel(Heads::default());
        let reader = Reader::open(dir.path(), store.epoch(), watched).expect("a reader");
        let (intake, mut requests) = Intake::channel(4);
        let acts = Arc::<Mutex<Vec<Act>>>::default();
        let seen = acts.clone();
        tokio::spawn(async move {
            while let Some(request) = requests.recv().await {
                let ForWriter::Act(act, reply) = request else { continue };
                let _ = reply.send(answer(&act));
                seen.lock().expect("held").push(act);
            }
        });
        let alarms = Alarms::new(reader.clone(), intake, clock.clone());
        let place = Where { class: "door".into(), place: Some(id("B3/lobby")) };
        let devices = [(id("door-1"), place)].into();
        alarms.set(&Plan { devices, zone_ms: ZONE_MS, ..Plan::default() });
        let (_, lines) = watch::channel(Arc::from([]));
        let state = local::Local {
            gateway: Gateway::default(),
            lines,
            pages: reader,
            inside: Arc::new(Nobody),
            clock,
        };
        let socket = listen::unix(&path, local::SOCKET_MODE).expect("bound");
        let stop = CancellationToken::new();
        let served = local::serve(socket, state, Routes::new(AlarmServiceServer::new(alarms)), stop.clone());
        let serving = tokio::spawn(async { served.await.expect("a good end") });
        Self { _dir: dir, _store: store, _heads: heads, path, acts, stop, serving }
    }

    async fn client(&self) -> AlarmServiceClient<tonic::transport::Channel> {
        AlarmServiceClient::new(cli::bus::channel(&self.path).await.expect("a connection"))
    }

    fn acts(&self) -> Vec<Act> {
        std::mem::take(&mut *self.acts.lock().expect("held"))
    }

    async fn stop(self) {
        self.stop.cancel();
        self.serving.await.expect("no panic");
    }
}

fn step(step: &str, by: &str, reason: &str) -> wire::OrderStepRequest {
    wire::OrderStepRequest { incident: 1, step: step.into(), by: by.into(), reason: reason.into() }
}

#[tokio::test]
async fn orders_go_the_one_way_with_the_name_that_was_given() {
    let daemon = Daemon::start();
    let mut client = daemon.client().await;
    let done = client.order_step(step("confirmed", " 王师傅 ", "看到了")).await.expect("done").into_inner();
    assert_eq!(done.incident.map(|incident| incident.life).as_deref(), Some("confirmed"));
    let order = Order {
        incident: IncidentId(1),
        step: Step::Confirmed,
        by: Actor::Person("王师傅".into()),
        reason: "看到了".into(),
    };
    assert_eq!(daemon.acts(), [Act::Order(order)]);

    let work = wire::MaintainRequest {
        devices: "lift-*".into(),
        for_ms: 7_200_000,
        by: "电梯公司".into(),
        reason: "年检".into(),
        ..Default::default()
    };
    let work = client.maintain(work).await.expect("done").into_inner();
    let work = work.maintenance.expect("work");
    assert_eq!((work.id, work.devices.as_str(), work.places.as_str()), (3, "lift-*", "*"));
    assert_eq!(work.until_ms - work.from_ms, 7_200_000);
    client.resume(wire::ResumeRequest { maintenance: 3, by: "电梯公司".into() }).await.expect("done");
    let approve = wire::ApproveRunRequest { run: 7, by: "乙".into() };
    let run = client.approve_run(approve).await.expect("done").into_inner().run.expect("a run");
    assert_eq!((run.stage.as_str(), run.approved), ("accepted", vec!["甲".to_owned(), "乙".to_owned()]));
    assert_eq!(daemon.acts().len(), 3);
    drop(client);
    daemon.stop().await;
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_what_to_do() {
    let daemon = Daemon::start();
    let mut client = daemon.client().await;
    let long = "长".repeat(501);
    for (request, code, word) in [
        (step("confirmed", "", ""), Code::InvalidArgument, "who you are"),
        (step("confirmed", "a\nb", ""), Code::InvalidArgument, "one line"),
        (step("raised", "a", ""), Code::InvalidArgument, "one of confirmed"),
        (step("nothing", "a", ""), Code::InvalidArgument, "one of confirmed"),
        (step("noted", "a", &long), Code::InvalidArgument, "501 characters"),
        (step("closed", "a", ""), Code::FailedPrecondition, "reason"),
        (wire::OrderStepRequest { incident: 9, ..step("closed", "a", "b") }, Code::NotFound, "no incident 9"),
    ] {
        let status = client.order_step(request).await.expect_err(word);
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(word), "{status}");
    }
    for (devices, for_ms, word) in
        [("", 1, "which devices"), ("*", 0, "30 days"), ("*", 30 * 86_400_000 + 1, "30 days")]
    {
        let request =
            wire::MaintainRequest { devices: devices.into(), for_ms, by: "a".into(), ..Default::default() };
        let status = client.maintain(request).await.expect_err(word);
        assert!(status.message().contains(word), "{status}");
    }
    let again = client.approve_run(wire::ApproveRunRequest { run: 7, by: "甲".into() }).await;
    assert_eq!(again.expect_err("again").code(), Code::FailedPrecondition);
    let none = client.approve_run(wire::ApproveRunRequest { run: 8, by: "甲".into() }).await;
    assert_eq!(none.expect_err("no run").code(), Code::NotFound);
    let none = client.resume(wire::ResumeRequest { maintenance: 8, by: "甲".into() }).await;
    assert_eq!(none.expect_err("no maintenance").code(), Code::NotFound);
    let none = client.show_incident(wire::ShowIncidentRequest { incident: 8 }).await;
    assert_eq!(none.expect_err("no incident").code(), Code::NotFound);
    drop(client);
    daemon.stop().await;
}

#[derive(Parser)]
struct AlarmsLine {
    #[command(flatten)]
    args: cli::alarms::Args,
}

#[derive(Parser)]
struct EventsLine {
    #[command(flatten)]
    args: cli::events::Args,
}

#[derive(Parser)]
struct NoticesLine {
    #[command(flatten)]
    args: cli::events::NoticesArgs,
}

#[derive(Parser)]
struct CommandsLine {
    #[command(flatten)]
    args: cli::commands::Args,
}

/// Runs a verb as the command line would; its output.
async fn verb(socket: &Path, line: &str) -> String {
    let socket = socket.display().to_string();
    let line: Vec<&str> = line.split(' ').chain(["--socket", &socket]).collect();
    let mut out = Vec::new();
    match line[0] {
        "alarms" => cli::alarms::run(&AlarmsLine::parse_from(&line).args, &mut out).await,
        "events" => cli::events::run(&EventsLine::parse_from(&line).args, &mut out).await,
        "notices" => cli::events::notices(&NoticesLine::parse_from(&line).args, &mut out).await,
        _ => cli::commands::run(&CommandsLine::parse_from(&line).args, &mut out).await,
    };
    String::from_utf8(out).expect("text")
}

#[tokio::test]
async fn the_verbs_show_and_do_it() {
    let daemon = Daemon::start();
    // 1 790 000 000 s after 1970 is 2026-09-21 22:13:20 in Shanghai.
    for (line, words) in [
        ("alarms", vec!["#1  [重要] 告警中  2026-09-21 22:13:20  door-held  door-1 @ B3/lobby"]),
        ("alarms list --lang en", vec!["#1  [major] raised"]),
        ("alarms list --alarm lift-*", vec!["没有告警"]),
        ("alarms list --json", vec!["\"raised\":\"2026-09-21T22:13:20.000+08:00\"", "\"maintenance\":[]"]),
        (
            "alarms show 1",
            vec!["发生  door_open=true", "property  发生  已送达", "siren-on  待批准", "已出警"],
        ),
        ("alarms show 1 --json", vec!["\"feedback\":[{", "\"proof\":\"200\""]),
        ("alarms confirm 1 --by 王师傅", vec!["#1  已确认  door-held"]),
        ("alarms close 1 --by 王师傅 --reason 误报", vec!["#1"]),
        ("alarms maintain --devices lift-* --for 2h --by 物业 --reason 年检", vec!["lift-* @ *  至"]),
        ("alarms resume 3 --by 物业", vec!["维护 3 已结束"]),
        ("events", vec!["#1 [重要] door-held  door-1 @ B3/lobby  2026-09-21 22:13:20  发生"]),
        ("events --json --limit 1", vec!["{\"active\":true"]),
        ("notices", vec!["【重要】门长开未关", "(200)"]),
        ("notices --waiting", vec!["没有通知"]),
        ("commands", vec!["7  siren-on  待批准  #1", "批准 甲"]),
        ("commands approve 7 --by 乙", vec!["7  siren-on  待发送  #1", "批准 甲, 乙"]),
        ("commands approve 8 --by 乙", vec![""]),
    ] {
        let told = verb(&daemon.path, line).await;
        for word in words {
            assert!(told.contains(word), "{line}: {word} in {told}");
        }
    }
    assert_eq!(daemon.acts().len(), 6);
    daemon.stop().await;
}
