//! The story that the demo tells beside its load: a detector finds a fire, and everybody does his part until it is closed.
//!
//! ```text
//!  fire-1 ──► raised ──► police (lane), property (webhook), residents (webhook), siren-1 on
//!             confirmed by the city ──► dispatched ──► handled by the duty room
//!  fire-1 ──► cleared, siren-1 off ──► closed by the city
//! ```
//!
//! Guarantees: each step begins when the one before it was seen by whom it concerns, however busy the machine is; every line
//! is told when that happened. It judges nothing: `incident` does, from what is left afterwards. It waits for ever where
//! something does not come; who plays it has to give up.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Channel;

use super::city::{Desk, Word};
use super::hook::Hook;
use super::thing::Thing;
use crate::cli::bus;
use crate::model::Step;
use crate::wire::bus as wire;
use wire::alarm_service_client::AlarmServiceClient;

/// The alarm, its devices and those who are told by a webhook, by the names of the demo's configuration.
pub(super) const ALARM: &str = "fire";
pub(super) const TITLE: &str = "火警";
pub(super) const ADVICE: &str = "现场确认,疏散,拨打119";
pub(super) const PLACE: &str = "B3/lobby";
pub(super) const DETECTOR: &str = "fire-1";
pub(super) const SIREN: &str = "siren-1";
pub(super) const POLICE: &str = "police";
pub(super) const PROPERTY: &str = "property";
pub(super) const RESIDENTS: &str = "residents";
/// Who is on duty, and what he writes: nobody outside may learn either. Synthetic.
pub(super) const PERSON: &str = "秦守一";
pub(super) const WORDS: [&str; 2] = ["保安韩六去B3大堂", "住户302烧焦锅具,已通风"];
/// What the city writes.
const RESULT: &str = "误报,炊事烟雾,已到场核实";
/// Between two looks at something that has not come yet.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Lines that wait to be printed.
const LINES_MAX: usize = 64;

/// Where the story takes place.
pub(super) struct Stage {
    /// Of the MQTT listener on the loopback.
    pub(super) mqtt_port: u16,
    /// Of the command line.
    pub(super) socket: PathBuf,
    pub(super) desk: Desk,
    pub(super) hook: Hook,
}

/// A story that goes on; it ends when it is dropped.
pub(super) struct Story {
    lines: mpsc::Receiver<String>,
    waits_for: watch::Receiver<&'static str>,
    _task: AbortOnDropHandle<()>,
}

impl Story {
    pub(super) fn begin(stage: Stage) -> Self {
        let (tell, lines) = mpsc::channel(LINES_MAX);
        let (waits, waits_for) = watch::channel("its devices");
        let teller = Teller { stage, began: Instant::now(), tell, waits };
        let task = tokio::spawn(async move {
            if let Err(error) = teller.play().await {
                teller.line(format!("the story ends early: {error:#}")).await;
            }
        });
        Self { lines, waits_for, _task: AbortOnDropHandle::new(task) }
    }

    /// What happens next; none when it is over.
    pub(super) async fn line(&mut self) -> Option<String> {
        self.lines.recv().await
    }

    /// What has not come yet.
    pub(super) fn waits_for(&self) -> &'static str {
        *self.waits_for.borrow()
    }
}

struct Teller {
    stage: Stage,
    began: Instant,
    tell: mpsc::Sender<String>,
    waits: watch::Sender<&'static str>,
}

impl Teller {
    async fn line(&self, what: String) {
        let tenths = self.began.elapsed().as_millis() / 100;
        let (minutes, seconds) = (tenths / 600, tenths % 600 / 10);
        // Nobody listens any more: the demo has given up.
        let _ = self.tell.send(format!("  {minutes:02}:{seconds:02}.{} {what}", tenths % 10)).await;
    }

    /// Looks again and again until something is there.
    async fn until<T>(&self, what: &'static str, mut look: impl FnMut() -> Option<T>) -> T {
        self.waits.send_replace(what);
        loop {
            if let Some(found) = look() {
                return found;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// The same in what the duty room is shown.
    async fn shown<T>(
        &self,
        room: &mut Room,
        what: &'static str,
        mut look: impl FnMut(wire::ShowIncidentResponse) -> Option<T>,
    ) -> anyhow::Result<T> {
        self.waits.send_replace(what);
        loop {
            if let Some(found) = look(room.show().await?) {
                return Ok(found);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn play(&self) -> anyhow::Result<()> {
        let channel = bus::channel(&self.stage.socket).await.context("the local socket")?;
        let mut room = Room { client: AlarmServiceClient::new(channel), incident: 0 };
        let mut detector = Thing::detector(self.stage.mqtt_port, DETECTOR);
        let mut siren = Thing::siren(self.stage.mqtt_port, SIREN);
        detector.ready().await?;
        siren.ready().await?;
        detector.say(r#"{"fire":false}"#).await?;
        let raised = self.breaks_out(&mut detector, &mut room).await?;
        self.is_confirmed(&raised, &mut room).await?;
        self.is_worked_on(&mut room).await?;
        self.is_over(&raised, &mut detector, &mut room).await?;
        self.is_proven(&mut room).await
    }

    async fn breaks_out(&self, detector: &mut Thing, room: &mut Room) -> anyhow::Result<Word> {
        detector.say(r#"{"fire":true}"#).await?;
        self.line(format!("{DETECTOR} finds a fire at {PLACE} {TITLE}")).await;
        let raised = self.city_has(Step::Raised).await;
        room.incident = raised.get("incident").parse().context("the number of the incident")?;
        self.line(format!("incident {} raised 告警: {POLICE} have its record", room.incident)).await;
        for to in [PROPERTY, RESIDENTS] {
            let text = self.until("a webhook", || self.stage.hook.told(to, " · 告警")).await;
            self.line(format!("{to} told: {text}")).await;
        }
        self.siren_is(room, "siren-on", "on 警笛已响").await?;
        Ok(raised)
    }

    /// The city is first; the duty room comes too late, and everybody is told who has it.
    async fn is_confirmed(&self, raised: &Word, room: &mut Room) -> anyhow::Result<()> {
        self.waits.send_replace("the city's confirmation");
        self.stage.desk.say(&raised.record, Step::Confirmed, "").await?;
        for to in [PROPERTY, RESIDENTS] {
            self.until("a webhook", || self.stage.hook.told(to, "城市平台确认")).await;
        }
        self.line(format!("the city confirms 确认, {PROPERTY} and {RESIDENTS} are told")).await;
        match room.order(Step::Confirmed, "").await {
            Err(late) => self.line(format!("the duty room comes second: {}", late.message())).await,
            Ok(()) => bail!("the incident was confirmed twice"),
        }
        Ok(())
    }

    async fn is_worked_on(&self, room: &mut Room) -> anyhow::Result<()> {
        for (step, words, chinese) in
            [(Step::Dispatched, WORDS[0], "派人"), (Step::Handled, WORDS[1], "处理完毕")]
        {
            self.waits.send_replace("the duty room's order");
            room.order(step, words).await?;
            self.city_has(step).await;
            self.line(format!("the duty room: {step} {chinese}, {POLICE} have its record")).await;
        }
        Ok(())
    }

    async fn is_over(&self, raised: &Word, detector: &mut Thing, room: &mut Room) -> anyhow::Result<()> {
        detector.say(r#"{"fire":false}"#).await?;
        self.city_has(Step::Cleared).await;
        self.line(format!("{DETECTOR} finds no fire any more: cleared 恢复正常")).await;
        self.siren_is(room, "siren-off", "off 警笛已停").await?;
        self.waits.send_replace("the city's last word");
        self.stage.desk.say(&raised.record, Step::Closed, RESULT).await?;
        self.city_has(Step::Closed).await;
        self.line(format!("the city closes it 关闭: {RESULT}")).await;
        Ok(())
    }

    /// Everything in the ledger has its fate.
    async fn is_proven(&self, room: &mut Room) -> anyhow::Result<()> {
        let notices = self.shown(room, "the proofs of what was told", |shown| {
            let notices = shown.notices;
            notices.iter().all(|notice| notice.fate != "waiting").then_some(notices)
        });
        let notices = notices.await?;
        let mut text = String::new();
        for to in [POLICE, PROPERTY, RESIDENTS] {
            let delivered = |notice: &&wire::Notice| notice.recipient == to && notice.fate == "delivered";
            let count = notices.iter().filter(delivered).count();
            let _ = write!(text, "{}{to} {count}", if text.is_empty() { "" } else { ", " });
        }
        self.line(format!("told with proof 送达: {text}")).await;
        Ok(())
    }

    async fn city_has(&self, step: Step) -> Word {
        self.until("a record at the city", || self.stage.desk.word(ALARM, step)).await
    }

    async fn siren_is(&self, room: &mut Room, command: &str, state: &str) -> anyhow::Result<()> {
        let run = self.shown(room, "the siren", |shown| {
            let ended = |run: &wire::Run| !matches!(run.stage.as_str(), "waiting" | "accepted" | "sent");
            shown.runs.into_iter().find(|run| run.command == command && ended(run))
        });
        let run = run.await?;
        self.line(format!("{SIREN} {state}: run {} {}", run.id, run.stage)).await;
        Ok(())
    }
}

/// The duty room, at the local socket.
struct Room {
    client: AlarmServiceClient<Channel>,
    incident: u64,
}

impl Room {
    async fn show(&mut self) -> anyhow::Result<wire::ShowIncidentResponse> {
        let shown = self.client.show_incident(wire::ShowIncidentRequest { incident: self.incident }).await;
        shown.map(tonic::Response::into_inner).map_err(crate::cli::alarms::told)
    }

    async fn order(&mut self, step: Step, reason: &str) -> Result<(), tonic::Status> {
        let order = wire::OrderStepRequest {
            incident: self.incident,
            step: step.to_string(),
            by: PERSON.into(),
            reason: reason.into(),
        };
        self.client.order_step(order).await.map(|_| ())
    }
}
