//! What the city does with approvals: it asks for its own lines, looks at its own, and hands in votes.
//!
//! Guarantees: what a consumer asks for is for itself, bound to its certificate where it has one; it sees no other
//! consumer's approvals, and neither names nor words of people; no more calls than feedback may come. A vote is as good as
//! its signature, whoever brings it. To list and to revoke is for the people on the spot.

use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Response, Status};

use super::Pages;
use super::batch::Caller;
use super::calls::Shell;
use super::refused::Refused;
use crate::approval::{self, Approval, ApprovalId, Ballot, Order};
use crate::ingest::act::{self, Act, Done};
use crate::ingest::{Intake, Stopped};
use crate::wire::v1::approval_service_server::ApprovalService;
use crate::wire::{self, v1};

/// Longest name of a person, characters.
const NAME_MAX: usize = 64;
/// Longest reason, characters.
const REASON_MAX: usize = 500;

/// Fields that are not as they have to be.
type Malformed = &'static str;

/// A random handle.
///
/// # Errors
/// The system has no random numbers.
pub fn fresh_id() -> Result<ApprovalId, Stopped> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| Stopped)?;
    Ok(ApprovalId(bytes))
}

/// A handle as text.
///
/// # Errors
/// What it has to be.
pub fn id(text: &str) -> Result<ApprovalId, Malformed> {
    text.parse().map_err(|_| "id has 32 hex digits")
}

/// Words of a person: one line.
///
/// # Errors
/// What they have to be.
pub fn reason(text: &str) -> Result<Box<str>, Malformed> {
    let text = text.trim();
    let fits = text.chars().count() <= REASON_MAX && !text.chars().any(char::is_control);
    if fits { Ok(text.into()) } else { Err("reason: one line of at most 500 characters") }
}

/// The vote of a call.
///
/// # Errors
/// What a field has to be.
pub fn ballot(asked: v1::VoteRequest) -> Result<Ballot, Malformed> {
    if asked.name.is_empty() || asked.name.chars().count() > NAME_MAX {
        return Err("name has 1 to 64 characters");
    }
    if asked.signature.len() != 64 {
        return Err("signature has 64 bytes");
    }
    Ok(Ballot {
        approval: id(&asked.id)?,
        yes: asked.yes,
        name: asked.name.into(),
        reason: reason(&asked.reason)?,
        signature: asked.signature,
    })
}

/// The request of a call, for a consumer.
///
/// # Errors
/// What a field has to be.
pub fn request(
    id: ApprovalId,
    asked: &v1::RequestApprovalRequest,
    consumer: crate::model::Consumer,
    requester: Box<str>,
    uid: Option<u32>,
) -> Result<approval::Request, Malformed> {
    let certificate = match asked.certificate_sha256.len() {
        0 => None,
        _ => Some(
            asked
                .certificate_sha256
                .as_slice()
                .try_into()
                .map_err(|_| "certificate_sha256 has 32 bytes or none")?,
        ),
    };
    Ok(approval::Request {
        id,
        share: asked.share_item.parse().map_err(|_| "share_item has to be a line of the share list")?,
        consumer,
        certificate,
        requester,
        reason: reason(&asked.reason)?,
        not_before_ms: asked.not_before.as_ref().map(wire::millis),
        not_after_ms: asked.not_after.as_ref().map(wire::millis).ok_or("not_after is needed")?,
        max_uses: Some(asked.max_uses).filter(|most| *most > 0),
        uid,
    })
}

/// Hands an order in, and waits for the commit.
///
/// # Errors
/// [`Stopped`] when the writer is gone; the inner error when it changed nothing.
pub async fn order(intake: &Intake, order: Order) -> Result<Result<Approval, approval::Refused>, Stopped> {
    match intake.act(Act::Approval(order)).await? {
        Ok(Done::Approval(approval)) => Ok(Ok(*approval)),
        Err(act::Refused::Approval(refused)) => Ok(Err(refused)),
        // An order is answered in no other way: one that is could not be told apart from nothing stored.
        Ok(_) | Err(_) => Err(Stopped),
    }
}

/// What an order was refused with, as the contract has it; the word goes along in a trailer.
#[must_use]
pub fn refusal(refused: &approval::Refused) -> Status {
    let code = match refused {
        approval::Refused::Unknown(_) => Code::NotFound,
        _ => Code::FailedPrecondition,
    };
    let mut status = Status::new(code, refused.to_string());
    status.metadata_mut().insert("smallbrain-approval", MetadataValue::from_static(refused.word()));
    status
}

impl<P: Pages> Shell<P> {
    /// Who calls, where the share list names it at all; what is granted does not matter here.
    fn listed<T>(&self, request: &Request<T>) -> Result<Caller, Refused> {
        let caller = self.known(request)?;
        if !self.lines().iter().any(|line| line.consumers.contains(&caller.consumer)) {
            return Err(Refused::NotListed(caller.consumer));
        }
        self.within_rate(&caller.consumer)?;
        Ok(caller)
    }

    async fn request(&self, request: Request<v1::RequestApprovalRequest>) -> Result<v1::Approval, Refused> {
        let caller = self.listed(&request)?;
        let asked = request.into_inner();
        let wrong = [
            (
                !asked.consumer.is_empty() && asked.consumer != caller.consumer.as_str(),
                "consumer has to be empty or the caller",
            ),
            (!asked.certificate_sha256.is_empty(), "certificate_sha256 is that of the caller's certificate"),
            (!asked.requester.is_empty(), "requester is the caller"),
        ];
        if let Some((_, what)) = wrong.into_iter().find(|(is_wrong, _)| *is_wrong) {
            return Err(Refused::Malformed(what));
        }
        let name = caller.consumer.as_str().into();
        let request = self::request(fresh_id()?, &asked, caller.consumer.clone(), name, None);
        let request =
            approval::Request { certificate: caller.certificate, ..request.map_err(Refused::Malformed)? };
        let (consumer, share) = (caller.consumer, request.share.clone());
        let done = order(&self.city.intake, Order::Request(Box::new(request))).await?;
        tracing::info!(%consumer, %share, ok = done.is_ok(), "the city asks for an approval");
        Ok(wire::approval_nameless(&done?))
    }

    async fn get(&self, request: Request<v1::GetApprovalRequest>) -> Result<v1::Approval, Refused> {
        let caller = self.listed(&request)?;
        let id = id(&request.into_inner().id).map_err(Refused::Malformed)?;
        let found = self.city.pages.approval(id).await?;
        let own = found.filter(|approval| approval.asked.consumer == caller.consumer);
        Ok(wire::approval_nameless(&own.ok_or(approval::Refused::Unknown(id))?))
    }

    async fn ballot(&self, request: Request<v1::VoteRequest>) -> Result<v1::Approval, Refused> {
        let caller = self.listed(&request)?;
        let ballot = ballot(request.into_inner()).map_err(Refused::Malformed)?;
        let id = ballot.approval;
        let done = order(&self.city.intake, Order::Vote(ballot)).await?;
        tracing::info!(consumer = %caller.consumer, %id, ok = done.is_ok(), "the city hands in a vote");
        let approval = done?;
        // Whoever brings a vote on another's approval learns what came of it, and nothing else.
        if approval.asked.consumer == caller.consumer {
            return Ok(wire::approval_nameless(&approval));
        }
        let (id, state) = (approval.id.to_string(), approval.state.as_str().to_owned());
        Ok(v1::Approval { id, state, ..v1::Approval::default() })
    }
}

#[tonic::async_trait]
impl<P: Pages> ApprovalService for Shell<P> {
    async fn request_approval(
        &self,
        request: Request<v1::RequestApprovalRequest>,
    ) -> Result<Response<v1::RequestApprovalResponse>, Status> {
        let approval = self.request(request).await.map_err(|refused| self.refuse(refused))?;
        Ok(Response::new(v1::RequestApprovalResponse { approval: Some(approval) }))
    }

    async fn get_approval(
        &self,
        request: Request<v1::GetApprovalRequest>,
    ) -> Result<Response<v1::GetApprovalResponse>, Status> {
        let approval = self.get(request).await.map_err(|refused| self.refuse(refused))?;
        Ok(Response::new(v1::GetApprovalResponse { approval: Some(approval) }))
    }

    async fn vote(&self, request: Request<v1::VoteRequest>) -> Result<Response<v1::VoteResponse>, Status> {
        let approval = self.ballot(request).await.map_err(|refused| self.refuse(refused))?;
        Ok(Response::new(v1::VoteResponse { approval: Some(approval) }))
    }

    async fn revoke(
        &self,
        request: Request<v1::RevokeRequest>,
    ) -> Result<Response<v1::RevokeResponse>, Status> {
        let refused = self.listed(&request).err().unwrap_or(Refused::Local("to revoke an approval"));
        Err(self.refuse(refused))
    }

    async fn list_approvals(
        &self,
        request: Request<v1::ListApprovalsRequest>,
    ) -> Result<Response<v1::ListApprovalsResponse>, Status> {
        let refused = self.listed(&request).err().unwrap_or(Refused::Local("to list approvals"));
        Err(self.refuse(refused))
    }
}
