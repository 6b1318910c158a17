//! Commands to MQTT devices: what the local socket asks for, and what rules do.
//!
//! Guarantees: both go through [`Sending::publish`]; what it answers with success is on disk for every client whose session
//! is kept; the topic, never the payload, is logged.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tonic::{Request, Response, Status};

use crate::device::mqtt::{CommandError, Commands};
use crate::wire::bus as wire;
use crate::wire::bus::command_service_server::CommandService;

/// The service; clones are the same.
#[derive(Clone, Default)]
pub struct Sending(Arc<OnceLock<Commands>>);

impl Sending {
    /// Takes the way to the devices, once there is one.
    pub fn set(&self, commands: Commands) {
        // A second front there is not.
        let _ = self.0.set(commands);
    }

    /// Publishes once at QoS 1, and tells for how many clients it is; one that sleeps gets it later, unless `expires` is
    /// over then.
    ///
    /// # Errors
    /// [`SendError`] when nothing was sent.
    pub async fn publish(
        &self,
        topic: &str,
        payload: &[u8],
        expires: Option<Duration>,
    ) -> Result<usize, SendError> {
        let commands = self.0.get().ok_or(SendError::NoMqtt)?;
        Ok(commands.publish(topic, payload, expires).await?)
    }
}

/// Why nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// No way to any device.
    #[error("there is no [mqtt] section")]
    NoMqtt,
    /// The front says no.
    #[error(transparent)]
    Command(#[from] CommandError),
}

impl From<SendError> for Status {
    fn from(error: SendError) -> Status {
        let message = error.to_string();
        match error {
            SendError::NoMqtt => Status::failed_precondition(message),
            SendError::Command(CommandError::Topic | CommandError::TooLong(_)) => {
                Status::invalid_argument(message)
            }
            SendError::Command(CommandError::Nobody) => Status::not_found(message),
            SendError::Command(CommandError::Stopped) => Status::unavailable(message),
        }
    }
}

#[tonic::async_trait]
impl CommandService for Sending {
    async fn send(
        &self,
        request: Request<wire::SendRequest>,
    ) -> Result<Response<wire::SendResponse>, Status> {
        let wire::SendRequest { topic, payload, expires } = request.into_inner();
        let expires = expires.map(Duration::try_from).transpose();
        let expires = expires.map_err(|_| Status::invalid_argument("expires: must not be negative"))?;
        let sent = self.publish(&topic, &payload, expires).await;
        tracing::info!(topic, ok = sent.is_ok(), "a command from the local socket");
        let clients = sent?;
        Ok(Response::new(wire::SendResponse { clients: u32::try_from(clients).unwrap_or(u32::MAX) }))
    }
}
