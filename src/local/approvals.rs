//! Approvals, as the local socket tells them and takes orders about them.
//!
//! Guarantees: what is told is what is committed; every order goes the one way through, and is logged with the caller's
//! user id and without the names and words that came with it. A vote is as good as its signature; to ask and to revoke may
//! everybody who may open the socket, under the name that is given.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Response, Status};

use super::alarms::{name, unread};
use crate::approval::{Approval, Order, Revocation, Words};
use crate::ingest::Intake;
use crate::share::approvals as parse;
use crate::store::approvals::ROWS_MAX;
use crate::store::reader::Reader;
use crate::wire::{self, v1};
use v1::approval_service_server::ApprovalService;

/// The service; clones are the same.
#[derive(Clone)]
pub struct Approvals(Arc<Inner>);

struct Inner {
    reader: Reader,
    intake: Intake,
    zone_ms: AtomicI64,
}

impl Approvals {
    /// Over the store and the writer of this process.
    #[must_use]
    pub fn new(reader: Reader, intake: Intake) -> Self {
        Self(Arc::new(Inner { reader, intake, zone_ms: AtomicI64::new(0) }))
    }

    /// Takes the zone of the configuration in force.
    pub fn set(&self, zone_ms: i64) {
        self.0.zone_ms.store(zone_ms, Ordering::Relaxed);
    }

    async fn order(&self, order: Order) -> Result<Approval, Status> {
        let done = parse::order(&self.0.intake, order).await;
        done.map_err(|stopped| Status::unavailable(stopped.to_string()))?
            .map_err(|refused| parse::refusal(&refused))
    }
}

fn uid<T>(request: &Request<T>) -> Option<u32> {
    let caller = request.extensions().get::<UdsConnectInfo>().and_then(|info| info.peer_cred);
    caller.map(|caller| caller.uid())
}

fn malformed(what: &str) -> Status {
    Status::invalid_argument(what)
}

#[tonic::async_trait]
impl ApprovalService for Approvals {
    async fn request_approval(
        &self,
        request: Request<v1::RequestApprovalRequest>,
    ) -> Result<Response<v1::RequestApprovalResponse>, Status> {
        let uid = uid(&request);
        let asked = request.into_inner();
        let consumer = asked.consumer.parse().map_err(|_| malformed("consumer: one of the share line"))?;
        let id = parse::fresh_id().map_err(|stopped| Status::unavailable(stopped.to_string()))?;
        let requester = name(&asked.requester)?;
        let request = parse::request(id, &asked, consumer, requester, uid.or(Some(u32::MAX)));
        let request = request.map_err(malformed)?;
        let share = request.share.clone();
        let done = self.order(Order::Request(Box::new(request))).await;
        tracing::info!(uid, %id, %share, ok = done.is_ok(), "somebody asks for an approval");
        let approval = Some(wire::approval(&done?));
        Ok(Response::new(v1::RequestApprovalResponse { approval }))
    }

    async fn get_approval(
        &self,
        request: Request<v1::GetApprovalRequest>,
    ) -> Result<Response<v1::GetApprovalResponse>, Status> {
        let id = parse::id(&request.into_inner().id).map_err(malformed)?;
        let found = self.0.reader.approval(id).await.map_err(unread)?;
        let found = found.ok_or_else(|| parse::refusal(&crate::approval::Refused::Unknown(id)))?;
        Ok(Response::new(v1::GetApprovalResponse { approval: Some(wire::approval(&found)) }))
    }

    async fn vote(&self, request: Request<v1::VoteRequest>) -> Result<Response<v1::VoteResponse>, Status> {
        let uid = uid(&request);
        let ballot = parse::ballot(request.into_inner()).map_err(malformed)?;
        let (id, yes) = (ballot.approval, ballot.yes);
        let done = self.order(Order::Vote(ballot)).await;
        tracing::info!(uid, %id, yes, ok = done.is_ok(), "somebody votes on an approval");
        Ok(Response::new(v1::VoteResponse { approval: Some(wire::approval(&done?)) }))
    }

    async fn revoke(
        &self,
        request: Request<v1::RevokeRequest>,
    ) -> Result<Response<v1::RevokeResponse>, Status> {
        let uid = uid(&request);
        let v1::RevokeRequest { id, by, reason } = request.into_inner();
        let approval = parse::id(&id).map_err(malformed)?;
        let words = Words { by: name(&by)?, reason: parse::reason(&reason).map_err(malformed)? };
        let done = self.order(Order::Revoke(Revocation { approval, words, uid })).await;
        tracing::info!(uid, %approval, ok = done.is_ok(), "somebody revokes an approval");
        Ok(Response::new(v1::RevokeResponse { approval: Some(wire::approval(&done?)) }))
    }

    async fn list_approvals(
        &self,
        request: Request<v1::ListApprovalsRequest>,
    ) -> Result<Response<v1::ListApprovalsResponse>, Status> {
        let v1::ListApprovalsRequest { all, limit } = request.into_inner();
        let limit = if limit == 0 { ROWS_MAX } else { limit as usize };
        let found = self.0.reader.approvals(all, limit).await.map_err(unread)?;
        Ok(Response::new(v1::ListApprovalsResponse {
            approvals: found.iter().map(wire::approval).collect(),
            zone_ms: self.0.zone_ms.load(Ordering::Relaxed),
        }))
    }
}
