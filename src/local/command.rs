//! Commands to MQTT devices, as the local socket takes them.
//!
//! Guarantees: what is answered with success is on disk for every client whose session is kept; the topic, never the payload,
//! is logged.

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
}

#[tonic::async_trait]
impl CommandService for Sending {
    async fn send(
        &self,
        request: Request<wire::SendRequest>,
    ) -> Result<Response<wire::SendResponse>, Status> {
        let wire::SendRequest { topic, payload, expires } = request.into_inner();
        let commands =
            self.0.get().ok_or_else(|| Status::failed_precondition("there is no [mqtt] section"))?;
        let expires = expires.map(Duration::try_from).transpose();
        let expires = expires.map_err(|_| Status::invalid_argument("expires: must not be negative"))?;
        let sent = commands.publish(&topic, &payload, expires).await;
        tracing::info!(topic, ok = sent.is_ok(), "a command from the local socket");
        let clients = sent.map_err(|error| match error {
            CommandError::Topic | CommandError::TooLong(_) => Status::invalid_argument(error.to_string()),
            CommandError::Nobody => Status::not_found(error.to_string()),
            CommandError::Stopped => Status::unavailable(error.to_string()),
        })?;
        Ok(Response::new(wire::SendResponse { clients: u32::try_from(clients).unwrap_or(u32::MAX) }))
    }
}
