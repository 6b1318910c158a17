//! The city's end of the line for commands: orders one, and asks where it is.
//!
//! Guarantees: every call ends within 10 s. A call that got no answer is repeated as it was: the gateway keeps its request id.

use std::time::Duration;

use tokio::time::timeout;
use tonic::transport::Channel;

use super::client::{PullError, Target};
use crate::wire::v1;
use v1::downlink_service_client::DownlinkServiceClient;

/// A call.
const CALL: Duration = Duration::from_secs(10);

/// A connection on which commands are ordered.
#[derive(Clone, Debug)]
pub struct Orders(DownlinkServiceClient<Channel>);

impl Orders {
    /// Connects.
    ///
    /// # Errors
    /// [`PullError`].
    pub async fn connect(target: &Target) -> Result<Self, PullError> {
        Ok(Self(DownlinkServiceClient::new(target.connect().await?)))
    }

    /// Orders a command.
    ///
    /// # Errors
    /// [`PullError`].
    pub async fn submit(
        &mut self,
        request: v1::SubmitCommandRequest,
    ) -> Result<v1::SubmitCommandResponse, PullError> {
        let told = timeout(CALL, self.0.submit_command(request));
        Ok(told.await.map_err(|_| PullError::Silent)??.into_inner())
    }

    /// Where an order is.
    ///
    /// # Errors
    /// [`PullError`].
    pub async fn command(&mut self, command_id: &str) -> Result<v1::GetCommandResponse, PullError> {
        let request = v1::GetCommandRequest { command_id: command_id.to_owned() };
        let told = timeout(CALL, self.0.get_command(request));
        Ok(told.await.map_err(|_| PullError::Silent)??.into_inner())
    }
}
