//! One connection of simulated devices: says one message, waits for its ack, says the next.
//!
//! Guarantees: at most one publish is unacknowledged, and no more wait than one period has (and what was answered to
//! commands meanwhile); a period whose messages are not all acknowledged is followed by the next one late. Each connection
//! is a clean session of its own with its own will; what was not acknowledged when it is lost is given up and counted.

use std::collections::VecDeque;
use std::future::pending;
use std::time::Duration;

use rumqttc::{AsyncClient, ConnectionError, Event, EventLoop, LastWill, MqttOptions, Packet, QoS};
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Settings;
use super::convention::Speaker;
use super::report::Report;
use super::said::Message;
use crate::backoff::Backoff;
use crate::clock::{Clock as _, SystemClock};

/// Messages that wait to be said; what a command asks for beyond is not answered.
const WAITING_MAX: usize = 4_096;
/// Larger than any payload here.
const PACKET_MAX: usize = 1 << 20;

/// What comes from the server.
enum Heard {
    Connected,
    Acked,
    Message(String, Vec<u8>),
}

/// How a connection ended.
enum End {
    /// The speaker has said what it had to say.
    Over,
    /// The server went away, or never was there.
    Lost(ConnectionError),
}

/// Speaks until `stop`, over as many connections as it takes, then waits up to `drain` for the last acks.
pub(super) async fn live(
    settings: Settings,
    mut speaker: Box<dyn Speaker>,
    stop: CancellationToken,
) -> Report {
    let mut report = Report { connections: 1, ..Report::default() };
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    let mut ticks = interval(settings.period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let will = speaker.will(now_ms());
        let (client, events) = AsyncClient::new(options(&settings, &*speaker, will.as_ref()), 8);
        let (tell, heard) = mpsc::channel(8);
        let mut talk = Talk {
            client,
            heard,
            speaker: &mut *speaker,
            report: &mut report,
            waiting: VecDeque::new(),
            connected: false,
            outstanding: false,
        };
        let end = tokio::select! {
            () = talk.run(&settings, &mut ticks, &stop) => End::Over,
            error = converse(events, tell) => End::Lost(error),
        };
        let (connected, given_up) = (talk.connected, talk.waiting.len() as u64);
        report.unacked += given_up;
        match end {
            End::Over if connected && settings.vanish => report.wills.extend(will.map(|will| will.topic)),
            // What the server does behind our goodbye is no loss.
            End::Lost(error) if !stop.is_cancelled() || given_up > 0 || !connected => {
                report.disconnects += 1;
                report.trouble = Some(error.to_string());
            }
            _ => {}
        }
        if connected {
            backoff.reset();
        }
        tokio::select! {
            () = stop.cancelled() => return report,
            () = sleep(backoff.wait(getrandom::u64().unwrap_or(0))) => {}
        }
    }
}

fn now_ms() -> i64 {
    SystemClock::default().now().wall_ms
}

fn options(settings: &Settings, speaker: &dyn Speaker, will: Option<&Message>) -> MqttOptions {
    let mut options = MqttOptions::new(speaker.name(), &settings.host, settings.port);
    options.set_clean_session(true).set_keep_alive(Duration::from_secs(30));
    options.set_max_packet_size(PACKET_MAX, PACKET_MAX);
    if let Some(user) = &settings.user {
        let (name, password) = user.of(speaker.name());
        options.set_credentials(name, password.unwrap_or_default());
    }
    if let Some(will) = will {
        options.set_last_will(LastWill::new(&will.topic, &*will.payload, QoS::AtLeastOnce, will.retain));
    }
    options
}

/// Drives the connection to its end.
async fn converse(mut events: EventLoop, tell: mpsc::Sender<Heard>) -> ConnectionError {
    loop {
        let heard = match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => Heard::Connected,
            Ok(Event::Incoming(Packet::PubAck(_))) => Heard::Acked,
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                Heard::Message(publish.topic, publish.payload.to_vec())
            }
            Ok(_) => continue,
            Err(error) => return error,
        };
        if tell.send(heard).await.is_err() {
            return ConnectionError::RequestsDone;
        }
    }
}

/// The speaker's side of one connection.
struct Talk<'t> {
    client: AsyncClient,
    heard: mpsc::Receiver<Heard>,
    speaker: &'t mut dyn Speaker,
    report: &'t mut Report,
    /// The first of them is the one that is outstanding, if one is.
    waiting: VecDeque<Message>,
    connected: bool,
    outstanding: bool,
}

impl Talk<'_> {
    async fn run(&mut self, settings: &Settings, ticks: &mut Interval, stop: &CancellationToken) {
        loop {
            self.send().await;
            let due = self.connected && self.waiting.is_empty();
            tokio::select! {
                () = stop.cancelled() => break,
                heard = self.heard.recv() => self.hear(heard).await,
                _ = ticks.tick(), if due => self.waiting.extend(self.speaker.say(now_ms())),
            }
        }
        if !self.connected {
            return;
        }
        let until = Instant::now() + settings.drain;
        if !settings.vanish {
            self.waiting.extend(self.speaker.goodbye(now_ms()));
        }
        let rest = async {
            while !self.waiting.is_empty() {
                self.send().await;
                let heard = self.heard.recv().await;
                self.hear(heard).await;
            }
            if !settings.vanish {
                // The server closes what is said goodbye to; `converse` sees it.
                let _ = self.client.disconnect().await;
                pending::<()>().await;
            }
        };
        // Err is a server that is too slow: what is left is counted.
        let _ = timeout_at(until, rest).await;
    }

    /// Publishes what comes next, unless something is on its way.
    async fn send(&mut self) {
        let Some(next) = self.waiting.front().filter(|_| self.connected && !self.outstanding) else { return };
        let (topic, payload) = (next.topic.as_str(), next.payload.clone());
        // Err: the connection is over, as `converse` is about to say.
        let _ = self.client.publish(topic, QoS::AtLeastOnce, next.retain, payload).await;
        self.outstanding = true;
    }

    async fn hear(&mut self, heard: Option<Heard>) {
        match heard {
            Some(Heard::Connected) => {
                self.connected = true;
                for filter in self.speaker.filters() {
                    let _ = self.client.subscribe(filter, QoS::AtLeastOnce).await;
                }
                self.waiting.extend(self.speaker.hello(now_ms()));
            }
            Some(Heard::Acked) => {
                self.outstanding = false;
                if let Some(message) = self.waiting.pop_front() {
                    self.report.said(message);
                }
            }
            Some(Heard::Message(topic, payload)) if self.waiting.len() < WAITING_MAX => {
                if let Some(answer) = self.speaker.hear(&topic, &payload, now_ms()) {
                    self.report.commands += 1;
                    self.waiting.extend(answer);
                }
            }
            Some(Heard::Message(..)) => {}
            None => pending().await,
        }
    }
}
