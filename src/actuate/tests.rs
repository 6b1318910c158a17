use std::collections::HashMap;
use std::sync::Mutex;

use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use super::*;
use crate::clock::SystemClock;
use crate::ingest::Request;
use crate::ingest::act::{Done, Refused};
use crate::model::Value;

/// No step of a test takes longer, or the test fails.
const SOON: Duration = Duration::from_secs(20);

async fn soon<F: Future>(future: F) -> F::Output {
    timeout(SOON, future).await.expect("in time")
}

/// What a device answers.
type Answer = oneshot::Receiver<Result<(), String>>;

/// A device "bus.valve-1" is on port "bus", one without a dot on none; a device answers when it is told to.
#[derive(Clone, Default)]
struct Fake {
    begun: Arc<Mutex<Vec<u64>>>,
    news: Arc<Notify>,
    ends: Arc<Mutex<HashMap<u64, Answer>>>,
}

impl Doors for Fake {
    fn way(&self, device: &DeviceId) -> Way {
        match device.as_str().split_once('.') {
            Some((bus, _)) => Way::Port(bus.to_owned()),
            None => Way::Device(device.clone()),
        }
    }

    async fn run(&self, errand: &Errand, _: Duration) -> Result<(), String> {
        self.begun.lock().expect("held by nobody who panics").push(errand.run);
        self.news.notify_one();
        let end = self.ends.lock().expect("held by nobody who panics").remove(&errand.run);
        match end {
            Some(end) => end.await.unwrap_or_else(|_| Err("the test ended".into())),
            None => Ok(()),
        }
    }
}

struct Bench {
    fake: Fake,
    errands: mpsc::Sender<Errand>,
    requests: mpsc::Receiver<Request>,
    clock: SystemClock,
    counters: Arc<Counters>,
    stop: CancellationToken,
    serving: JoinHandle<Result<(), Stopped>>,
}

impl Bench {
    fn open() -> Self {
        let (intake, requests) = Intake::channel(16);
        let (errands, taken) = mpsc::channel(64);
        let (fake, clock, counters) = (Fake::default(), SystemClock::default(), Arc::<Counters>::default());
        let stop = CancellationToken::new();
        let shell = Shell { doors: fake.clone(), intake, clock: Arc::new(clock), counters: counters.clone() };
        let until = stop.clone();
        let serving = tokio::spawn(async move { shell.serve(taken, until).await });
        Self { fake, errands, requests, clock, counters, stop, serving }
    }

    /// Errand `run` to a device ends when the answer is sent, or fails when it is dropped.
    fn holds(&self, run: u64) -> oneshot::Sender<Result<(), String>> {
        let (answer, end) = oneshot::channel();
        self.fake.ends.lock().expect("held by nobody who panics").insert(run, end);
        answer
    }

    async fn send(&self, run: u64, device: &str, lasts_ms: i64) {
        let action = Action::Publish { topic: "t".into(), payload: "p".into() };
        let expires_ms = self.clock.now().wall_ms + lasts_ms;
        let device = device.parse().expect("a device");
        soon(self.errands.send(Errand { run, device, action, expires_ms })).await.expect("served");
    }

    /// The next report.
    async fn ran(&mut self) -> (u64, Result<(), String>) {
        match soon(self.requests.recv()).await {
            Some(Request::Act(Act::Ran { run, end }, reply)) => {
                // What a run is afterwards nobody here asks.
                let _ = reply.send(Ok(Done::Noted));
                (run, end)
            }
            other => panic!("{other:?}"),
        }
    }

    async fn begun(&self, runs: &[u64]) {
        soon(async {
            while *self.fake.begun.lock().expect("held by nobody who panics") != runs {
                self.fake.news.notified().await;
            }
        })
        .await;
    }

    fn counted(&self, end: &str) -> u64 {
        let name = format!("actuate_errands_total{{end=\"{end}\"}}");
        self.counters.iter().find(|(known, _)| *known == name).map(|(_, count)| count).expect("a counter")
    }
}

const MINUTE: i64 = 60_000;

#[tokio::test]
async fn a_bus_that_hangs_costs_only_its_own_errands() {
    let mut bench = Bench::open();
    let hung = bench.holds(1);
    bench.send(1, "bus.valve-1", MINUTE).await;
    bench.send(2, "bus.valve-2", MINUTE).await;
    bench.begun(&[1]).await;
    for run in 3..40 {
        bench.send(run, "siren-1", MINUTE).await;
        assert_eq!(bench.ran().await, (run, Ok(())));
    }
    hung.send(Err("the meter refuses".into())).expect("it waits");
    assert_eq!(bench.ran().await, (1, Err("the meter refuses".into())));
    assert_eq!(bench.ran().await, (2, Ok(())));
    assert_eq!((bench.counted("done"), bench.counted("failed")), (38, 1));
}

#[tokio::test]
async fn what_is_over_is_not_sent_and_what_hangs_ends_with_its_time() {
    let mut bench = Bench::open();
    bench.send(1, "siren-1", 0).await;
    bench.send(2, "siren-1", -MINUTE).await;
    for run in [1, 2] {
        let (told, end) = bench.ran().await;
        assert_eq!(told, run);
        assert!(end.expect_err("too late").contains("before it could be sent"));
    }
    assert!(bench.fake.begun.lock().expect("held by nobody who panics").is_empty());
    let _hung = bench.holds(3);
    bench.send(3, "siren-1", 20).await;
    bench.send(4, "siren-1", MINUTE).await;
    let (run, end) = bench.ran().await;
    assert!(run == 3 && end.expect_err("it hung").contains("not known"));
    assert_eq!(bench.ran().await, (4, Ok(())));
    assert_eq!(bench.counted("expired"), 3);
}

#[tokio::test]
async fn more_than_may_wait_are_refused_at_once() {
    let mut bench = Bench::open();
    let hung = bench.holds(0);
    for run in 0..=turns::WAITING_OF_ONE_MAX as u64 + 1 {
        bench.send(run, "bus.valve-1", MINUTE).await;
    }
    let (run, end) = bench.ran().await;
    assert_eq!(run, turns::WAITING_OF_ONE_MAX as u64 + 1);
    assert!(end.expect_err("refused").contains("too many"));
    hung.send(Ok(())).expect("it waits");
    for run in 0..=turns::WAITING_OF_ONE_MAX as u64 {
        assert_eq!(bench.ran().await, (run, Ok(())));
    }
    assert_eq!(bench.counted("refused"), 1);
}

#[tokio::test]
async fn it_ends_with_its_senders_after_the_last_report_and_with_the_writer() {
    let mut bench = Bench::open();
    bench.send(1, "siren-1", MINUTE).await;
    let (errands, _) = mpsc::channel(1);
    drop(std::mem::replace(&mut bench.errands, errands));
    // A run that is final already.
    match soon(bench.requests.recv()).await {
        Some(Request::Act(Act::Ran { run: 1, .. }, reply)) => {
            reply.send(Err(Refused::Run(1))).expect("it waits");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(soon(bench.serving).await.expect("no panic"), Ok(()));

    let bench = Bench::open();
    drop(bench.requests);
    let action = Action::Publish { topic: "t".into(), payload: "p".into() };
    let device = "siren-1".parse().expect("a device");
    bench.errands.send(Errand { run: 1, device, action, expires_ms: i64::MAX }).await.expect("served");
    assert_eq!(soon(bench.serving).await.expect("no panic"), Err(Stopped));
}

#[tokio::test]
async fn a_stop_lets_what_runs_end_and_begins_nothing() {
    let mut bench = Bench::open();
    let (first, _second) = (bench.holds(1), bench.holds(2));
    bench.send(1, "bus.valve-1", MINUTE).await;
    bench.send(2, "bus.valve-1", MINUTE).await;
    bench.begun(&[1]).await;
    bench.stop.cancel();
    first.send(Ok(())).expect("it waits");
    assert_eq!(bench.ran().await, (1, Ok(())));
    assert_eq!(soon(bench.serving).await.expect("no panic"), Ok(()));
    assert_eq!(*bench.fake.begun.lock().expect("held by nobody who panics"), [1]);
}

/// The doors of people, with nothing behind them.
#[tokio::test]
async fn a_device_that_cannot_be_reached_is_told_as_people_are() {
    let (intake, mut requests) = Intake::channel(16);
    let (errands, taken) = mpsc::channel(4);
    let serving = tokio::spawn(serve(
        taken,
        Sending::default(),
        Buses::default(),
        intake,
        Arc::new(SystemClock::default()),
        Arc::default(),
        CancellationToken::new(),
    ));
    let publish = Action::Publish { topic: "t".into(), payload: "p".into() };
    let write = Action::Write { metric: "open".parse().expect("a metric"), value: Value::Flag(true) };
    for (run, (action, part)) in
        [(publish, "no [mqtt] section"), (write, "no device on a serial port \"valve-1\"")]
            .into_iter()
            .enumerate()
    {
        let device = "valve-1".parse().expect("a device");
        let errand = Errand { run: run as u64, device, action, expires_ms: i64::MAX };
        errands.send(errand).await.expect("served");
        match soon(requests.recv()).await {
            Some(Request::Act(Act::Ran { end: Err(why), .. }, reply)) => {
                assert!(why.contains(part), "{why}");
                reply.send(Ok(Done::Noted)).expect("it waits");
            }
            other => panic!("{other:?}"),
        }
    }
    drop(errands);
    assert_eq!(soon(serving).await.expect("no panic"), Ok(()));
}
