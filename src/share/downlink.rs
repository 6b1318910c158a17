//! What comes down, as the transport calls it: who calls, and what answers.

use tonic::{Request, Response, Status};

use super::Pages;
use super::calls::Shell;
use crate::wire::v1;
use v1::downlink_service_server::DownlinkService;

#[tonic::async_trait]
impl<P: Pages> DownlinkService for Shell<P> {
    async fn push_feedback(
        &self,
        request: Request<v1::PushFeedbackRequest>,
    ) -> Result<Response<v1::PushFeedbackResponse>, Status> {
        let caller = self.caller(&request).map_err(|refused| self.refuse(refused))?;
        let answer = self.feedback(caller, request.into_inner()).await;
        answer.map(Response::new).map_err(|refused| self.refuse(refused))
    }

    async fn submit_command(
        &self,
        request: Request<v1::SubmitCommandRequest>,
    ) -> Result<Response<v1::SubmitCommandResponse>, Status> {
        let caller = self.known(&request).map_err(|refused| self.refuse(refused))?;
        let answer = self.submit(caller, request.into_inner()).await;
        answer.map(Response::new).map_err(|refused| self.refuse(refused))
    }

    async fn get_command(
        &self,
        request: Request<v1::GetCommandRequest>,
    ) -> Result<Response<v1::GetCommandResponse>, Status> {
        let caller = self.known(&request).map_err(|refused| self.refuse(refused))?;
        let answer = self.command(caller, request.into_inner()).await;
        answer.map(Response::new).map_err(|refused| self.refuse(refused))
    }

    async fn put_shared_list(
        &self,
        request: Request<v1::PutSharedListRequest>,
    ) -> Result<Response<v1::PutSharedListResponse>, Status> {
        let caller = self.known(&request).map_err(|refused| self.refuse(refused))?;
        let answer = self.put_list(caller, request.into_inner()).await;
        answer.map(Response::new).map_err(|refused| self.refuse(refused))
    }
}
