//! What the daemon itself publishes: commands to devices, what it tells them, and what it keeps retained for them.
//!
//! Guarantees: nothing longer than a packet and nothing on a topic that is none goes out; a command is on disk when it is
//! answered. Asks for no rights: who calls it is the daemon.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::journal::Post;
use super::{Limits, topic};
use crate::ingest::Stopped;
use crate::store::sessions::Message;

/// Changes that wait for the disk; with more, what the gateway tells of its own accord is dropped.
const BACKLOG_MAX: usize = 8192;
/// What a PUBLISH has besides topic and payload, bytes.
const HEAD_BYTES_MAX: usize = 16;

/// A command that was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No topic to publish to.
    #[error("topic: must have no wildcard, not begin with '$', and be within topic_max")]
    Topic,
    /// Longer than a packet may be.
    #[error("payload of {0} bytes: longer than packet_max")]
    TooLong(usize),
    /// Nobody has subscribed to it, absent clients that are waited for included.
    #[error("nobody hears that topic: is the device connected, and has it subscribed?")]
    Nobody,
    /// The front has stopped.
    #[error("the mqtt front has stopped")]
    Stopped,
}

/// Publishes to devices from inside the daemon.
#[derive(Clone)]
pub struct Commands {
    post: Arc<Post>,
    limits: Limits,
}

impl Commands {
    pub(super) fn new(post: Arc<Post>, limits: Limits) -> Self {
        Self { post, limits }
    }

    /// Publishes at QoS 1. When this returns, the command is on disk for every client whose session is kept: one that sleeps
    /// gets it when it comes back, unless `expiry` is over then. Tells how many clients it is for.
    ///
    /// # Errors
    /// [`CommandError`] when nothing was sent.
    pub async fn publish(
        &self,
        topic: &str,
        payload: &[u8],
        expiry: Option<Duration>,
    ) -> Result<usize, CommandError> {
        if !topic::is_name(topic) || topic.starts_with('$') || topic.len() > self.limits.topic_bytes_max {
            return Err(CommandError::Topic);
        }
        if payload.len() > self.limits.packet_bytes_max {
            return Err(CommandError::TooLong(payload.len()));
        }
        let published = self.post.command(topic, payload, expiry);
        if published.receivers == 0 {
            return Err(CommandError::Nobody);
        }
        self.post.wait(published.mark).await.map_err(|Stopped| CommandError::Stopped)?;
        Ok(published.receivers)
    }

    /// Tells whoever has subscribed, at QoS 1, without waiting for the disk. False when nothing was published: no good
    /// topic, too long, or the journal is far behind.
    #[must_use]
    pub fn tell(&self, topic: &str, payload: &[u8]) -> bool {
        if !self.fits(topic, payload) || self.post.exchange(|exchange| exchange.backlog()) > BACKLOG_MAX {
            return false;
        }
        self.post.command(topic, payload, None);
        true
    }

    /// Brings what is retained below a topic to what is wanted: what is not wanted is emptied. Gives the topics that did not
    /// fit; they are empty then.
    #[must_use]
    pub fn retain(&self, below: &str, wanted: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
        let (fits, long): (Vec<_>, Vec<_>) =
            wanted.iter().partition(|(topic, payload)| self.fits(topic, payload));
        let now_ms = self.post.now_ms();
        let mut left = self.post.exchange(|exchange| {
            let own = |message: &&Arc<Message>| message.topic.starts_with(below);
            let retained: Vec<_> = exchange.retained().filter(own).cloned().collect();
            let has = |topic: &str, payload: &[u8]| {
                retained.iter().any(|message| *message.topic == *topic && *message.payload == *payload)
            };
            let is_wanted = |topic: &str| fits.iter().any(|(wanted, _)| wanted.as_str() == topic);
            let gone = retained.iter().map(|message| &*message.topic).filter(|topic| !is_wanted(topic));
            let news = fits.iter().filter(|(topic, payload)| !has(topic, payload));
            let news = news.map(|(topic, payload)| (topic.as_str(), payload.as_slice()));
            for (topic, payload) in gone.map(|topic| (topic, &[][..])).chain(news) {
                let message = Message {
                    topic: topic.into(),
                    payload: payload.into(),
                    qos: 1,
                    retain: true,
                    properties: Box::default(),
                    expires_ms: None,
                };
                exchange.publish(None, message, now_ms);
            }
            let kept = |topic: &str| exchange.retained().any(|message| *message.topic == *topic);
            let lost = fits.iter().map(|(topic, _)| topic.as_str()).filter(|topic| !kept(topic));
            lost.map(str::to_owned).collect::<Vec<_>>()
        });
        left.extend(long.into_iter().map(|(topic, _)| topic.clone()));
        left
    }

    fn fits(&self, topic: &str, payload: &[u8]) -> bool {
        let is_good = topic::is_name(topic) && topic.len() <= self.limits.topic_bytes_max;
        is_good && topic.len() + payload.len() + HEAD_BYTES_MAX <= self.limits.packet_bytes_max
    }
}
