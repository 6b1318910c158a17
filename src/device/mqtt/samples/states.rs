//! What conventions remember of senders (Sparkplug B: the births of edge nodes), for one connection. Sans-IO.
//!
//! Guarantees: only senders that are, or have, configured devices of the connection's own are remembered, at most
//! [`SENDERS_MAX`]; at the bound the one longest silent is forgotten, and is asked for its births when it speaks again. A
//! sender is asked at most once in [`ASKED_AGAIN_MS`].

use super::route::Mapping;
use crate::codec::profile::{Mapped, Message, Profile, ProfileError, State};
use crate::device::mqtt::rights::Rights;

/// Senders remembered by a connection.
pub const SENDERS_MAX: usize = 16;
/// How long a sender has to introduce itself, milliseconds.
pub const ASKED_AGAIN_MS: i64 = 30_000;

/// A publish that a device is owed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Where to.
    pub topic: String,
    /// What.
    pub payload: Vec<u8>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct States {
    /// The one heard last stands last.
    senders: Vec<Sender>,
}

#[derive(Debug)]
struct Sender {
    name: String,
    state: State,
    asked_ms: Option<i64>,
}

impl States {
    /// What a message means, and what its sender has to be asked for.
    pub(super) fn map(
        &mut self,
        profile: &Profile,
        message: &Message<'_>,
        mapping: &Mapping,
        rights: &Rights,
    ) -> Result<(Mapped, Option<Command>), ProfileError> {
        let name = message.topic.and_then(|topic| profile.sender(topic));
        let known = self.senders.iter().position(|sender| Some(&sender.name) == name.as_ref());
        let name = name.filter(|name| known.is_some() || speaks(name, mapping, rights));
        let Some(name) = name else {
            return Ok((profile.map(message, &mut State::default())?, None));
        };
        let sender = match known {
            Some(at) => self.senders.remove(at),
            None => Sender { name, state: State::default(), asked_ms: None },
        };
        if self.senders.len() == SENDERS_MAX {
            self.senders.remove(0);
        }
        let sender = self.senders.push_mut(sender);
        let mapped = profile.map(message, &mut sender.state)?;
        let waits = sender.asked_ms.is_some_and(|asked_ms| message.received_ms - asked_ms < ASKED_AGAIN_MS);
        if !mapped.rebirth || waits {
            return Ok((mapped, None));
        }
        sender.asked_ms = Some(message.received_ms);
        let command = profile.rebirth(&sender.name, message.received_ms);
        Ok((mapped, command.map(|(topic, payload)| Command { topic, payload })))
    }
}

/// Whether a sender is, or has, a device that the connection may speak for.
fn speaks(sender: &str, mapping: &Mapping, rights: &Rights) -> bool {
    mapping
        .speakers
        .iter()
        .any(|(name, speaker)| is_of(name, sender) && rights.may_speak_for(speaker.device.as_str()))
}

/// Whether a device is the sender, or one behind it.
pub(super) fn is_of(device: &str, sender: &str) -> bool {
    device.strip_prefix(sender).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
