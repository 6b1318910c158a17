//! The two devices of the demo's story: a detector that says what it is told to say, and a siren that obeys commands.
//!
//! Each is an MQTT client of its own (QoS 1, 3.1.1). What was not acknowledged when a connection is lost is lost with it:
//! on the loopback of a demo none is.

use std::time::Duration;

use anyhow::Context as _;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

/// Pause before a connection is tried again.
const AGAIN: Duration = Duration::from_millis(100);

/// How far a device is with its server.
#[derive(Clone, Copy, Default)]
struct Stand {
    /// It is connected, and hears what it wants to hear.
    ready: bool,
    /// Publishes that were acknowledged.
    acked: u64,
}

/// A device; it goes when it is dropped.
pub(super) struct Thing {
    client: AsyncClient,
    topic: String,
    said: u64,
    stand: watch::Receiver<Stand>,
    _task: AbortOnDropHandle<()>,
}

impl Thing {
    /// A device of that name that hears no commands.
    pub(super) fn detector(port: u16, name: &str) -> Self {
        Self::start(port, name, None)
    }

    /// One that is switched by `ON` and `OFF` on its command topic, and says what it is then.
    pub(super) fn siren(port: u16, name: &str) -> Self {
        Self::start(port, name, Some(format!("compound/{name}/down/siren")))
    }

    fn start(port: u16, name: &str, commands: Option<String>) -> Self {
        let mut options = MqttOptions::new(name, "127.0.0.1", port);
        options.set_clean_session(true).set_keep_alive(Duration::from_secs(30));
        let (client, events) = AsyncClient::new(options, 16);
        let (tell, stand) = watch::channel(Stand::default());
        let topic = format!("compound/{name}/up");
        let task = tokio::spawn(converse(events, client.clone(), topic.clone(), commands, tell));
        Self { client, topic, said: 0, stand, _task: AbortOnDropHandle::new(task) }
    }

    /// Waits until it can be spoken to.
    pub(super) async fn ready(&mut self) -> anyhow::Result<()> {
        self.stand.wait_for(|stand| stand.ready).await.context("a simulated device")?;
        Ok(())
    }

    /// Says something; comes back when that is acknowledged, and so on disk.
    pub(super) async fn say(&mut self, json: &str) -> anyhow::Result<()> {
        self.client
            .publish(&self.topic, QoS::AtLeastOnce, false, json)
            .await
            .context("a simulated device")?;
        self.said += 1;
        let said = self.said;
        self.stand.wait_for(|stand| stand.acked >= said).await.context("a simulated device")?;
        Ok(())
    }
}

/// Drives a connection, for ever. Nothing here may wait for room in the client's queue: only this empties it.
async fn converse(
    mut events: EventLoop,
    client: AsyncClient,
    topic: String,
    commands: Option<String>,
    tell: watch::Sender<Stand>,
) {
    let is = |on: bool| client.try_publish(&topic, QoS::AtLeastOnce, false, format!(r#"{{"siren":{on}}}"#));
    loop {
        let done = match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => match &commands {
                Some(filter) => client.try_subscribe(filter, QoS::AtLeastOnce),
                None => {
                    tell.send_modify(|stand| stand.ready = true);
                    Ok(())
                }
            },
            Ok(Event::Incoming(Packet::SubAck(_))) => {
                tell.send_modify(|stand| stand.ready = true);
                is(false)
            }
            Ok(Event::Incoming(Packet::PubAck(_))) => {
                tell.send_modify(|stand| stand.acked += 1);
                Ok(())
            }
            Ok(Event::Incoming(Packet::Publish(command))) => is(&*command.payload == b"ON"),
            Ok(_) => Ok(()),
            Err(_) => {
                sleep(AGAIN).await;
                Ok(())
            }
        };
        // Err: its queue is full, far more than it ever has to say.
        let _ = done;
    }
}
