//! The city's end of a link: greets the gateway that dialled, and is a [`Line`] to it from there on.
//!
//! Guarantees: one session at a time, frames of an older one never come to a newer; replies find their call; every wait ends
//! with the link. Frames wait in a queue of [`FRAMES_MAX`], which credit keeps a gateway from filling. Starts no task: the
//! [`accept`]ed link lives as long as its pump is polled.
//!
//! Who the gateway is, the caller knows from its certificate; the hello is only what it says of itself.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_stream::{Stream, StreamExt};
use tonic::Status;

use super::{GREETING, VERSION, status};
use crate::share::line::{CALL, Line, Pulling, QUERY, REPLIES_MAX, late, too_many};
use crate::wire::v1;
use v1::link_request::Frame as Up;
use v1::link_response::Frame as Down;
use v1::rpc_call::Request;
use v1::rpc_reply::Response;
use v1::streaming_pull_request::Frame as Ask;

/// Frames of a session that wait for who pulls.
const FRAMES_MAX: usize = 1024;

/// What comes from the gateway's session.
type Told = Result<Option<v1::StreamingPullResponse>, Status>;
/// Where frames leave.
type Out = mpsc::Sender<Result<v1::LinkResponse, Status>>;
/// Where the answer to a call goes.
type Asker = oneshot::Sender<Result<Vec<Response>, Status>>;

/// A link under way; a handle, cheap to clone.
#[derive(Clone, Debug)]
pub struct Linked {
    hello: Arc<v1::LinkHello>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    /// Where frames leave; gone when the link is over, so that its other half ends too.
    out: Result<Out, Status>,
    /// Sessions that were opened, and those of them that have ended.
    opened: u64,
    ended: u64,
    /// Where frames of the newest one go.
    frames: Option<mpsc::Sender<Told>>,
    calls: BTreeMap<u64, Waiting>,
    calls_made: u64,
}

#[derive(Debug)]
struct Waiting {
    replies: Vec<Response>,
    asker: Asker,
}

/// Waits for the hello of a link, at most 10 s, and welcomes it. What comes from the link is handed on only while the second
/// part of the answer is polled; it ends with the link, and says why.
///
/// # Errors
/// The status to end the call with: no hello, or no version in common.
pub async fn accept<S>(
    mut inbound: S,
    out: Out,
    welcome: v1::LinkWelcome,
) -> Result<(Linked, impl Future<Output = Status> + Send + 'static), Status>
where
    S: Stream<Item = Result<v1::LinkRequest, Status>> + Send + Unpin + 'static,
{
    let hello = greeted(&mut inbound).await?;
    let welcome = v1::LinkWelcome { protocol_version: VERSION.into(), ..welcome };
    out.send(Ok(v1::LinkResponse { frame: Some(Down::Welcome(welcome)) })).await.map_err(|_| gone())?;
    let state =
        State { out: Ok(out), opened: 0, ended: 0, frames: None, calls: BTreeMap::new(), calls_made: 0 };
    let linked = Linked { hello: Arc::new(hello), state: Arc::new(Mutex::new(state)) };
    let pump = Pump { state: linked.state.clone() };
    Ok((linked, pump.run(inbound)))
}

/// The hello of a link, within 10 s.
///
/// # Errors
/// The status to end the call with: no hello, or no version in common.
pub async fn greeted<S>(inbound: &mut S) -> Result<v1::LinkHello, Status>
where
    S: Stream<Item = Result<v1::LinkRequest, Status>> + Unpin,
{
    let first = timeout(GREETING, inbound.next()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("hello did not come within 10 s"))?;
    let first = first.ok_or_else(|| Status::invalid_argument("the link ended before its hello"))??;
    let Some(Up::Hello(hello)) = first.frame else {
        return Err(Status::invalid_argument("the first frame of a link has to be hello"));
    };
    if !hello.protocol_versions.iter().any(|version| version == VERSION) {
        return Err(Status::failed_precondition(
            "no common protocol version: this city speaks smallbrain.v1",
        ));
    }
    Ok(hello)
}

fn gone() -> Status {
    Status::unavailable("the link has ended")
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hands on what comes; ends everybody's waiting when it goes.
struct Pump {
    state: Arc<Mutex<State>>,
}

impl Pump {
    async fn run<S>(self, mut inbound: S) -> Status
    where
        S: Stream<Item = Result<v1::LinkRequest, Status>> + Unpin,
    {
        let why = loop {
            match inbound.next().await {
                None => break Status::unavailable("the gateway ended the link"),
                Some(Err(status)) => break status,
                Some(Ok(frame)) => {
                    if let Err(status) = self.take(frame).await {
                        break status;
                    }
                }
            }
        };
        self.end(&why);
        why
    }

    async fn take(&self, frame: v1::LinkRequest) -> Result<(), Status> {
        let (frames, told) = match frame.frame {
            Some(Up::Stream(frame)) => {
                let state = lock(&self.state);
                // Of an older session, or of one that nobody listens to.
                let is_newest = state.ended + 1 == state.opened;
                (state.frames.clone().filter(|_| is_newest), Ok(Some(frame)))
            }
            Some(Up::End(end)) => {
                let mut state = lock(&self.state);
                if state.ended == state.opened {
                    return Err(Status::invalid_argument("the end of a session that was not opened"));
                }
                state.ended += 1;
                let is_newest = state.ended == state.opened;
                (if is_newest { state.frames.take() } else { None }, status(end).map_or(Ok(None), Err))
            }
            Some(Up::Reply(reply)) => return self.reply(reply),
            Some(Up::Hello(_)) => return Err(Status::invalid_argument("a second hello on one link")),
            None => return Err(Status::invalid_argument("a frame of a link that this city does not know")),
        };
        if let Some(frames) = frames {
            // Nobody listens any more.
            let _ = frames.send(told).await;
        }
        Ok(())
    }

    fn reply(&self, reply: v1::RpcReply) -> Result<(), Status> {
        let mut state = lock(&self.state);
        // Nobody waits for it any more.
        let Some(waiting) = state.calls.get_mut(&reply.call_id) else { return Ok(()) };
        waiting.replies.extend(reply.response);
        let is_too_much = waiting.replies.len() > REPLIES_MAX;
        let refused = reply.status.and_then(status).or(is_too_much.then(too_many));
        if let (true, Some(waiting)) = (reply.last || refused.is_some(), state.calls.remove(&reply.call_id)) {
            // It has gone.
            let _ = waiting.asker.send(refused.map_or(Ok(waiting.replies), Err));
        }
        Ok(())
    }

    fn end(&self, why: &Status) {
        let mut state = lock(&self.state);
        if state.out.is_err() {
            return;
        }
        state.out = Err(why.clone());
        // Who waits for a frame finds the sender gone.
        state.frames = None;
        for (_, waiting) in std::mem::take(&mut state.calls) {
            // It has gone.
            let _ = waiting.asker.send(Err(why.clone()));
        }
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.end(&Status::unavailable("the link was given up"));
    }
}

impl Linked {
    /// What the gateway said of itself.
    #[must_use]
    pub fn hello(&self) -> &v1::LinkHello {
        &self.hello
    }

    /// Why the link is over; none while it goes on.
    #[must_use]
    pub fn over(&self) -> Option<Status> {
        lock(&self.state).out.as_ref().err().cloned()
    }

    fn out(&self) -> Result<Out, Status> {
        lock(&self.state).out.clone()
    }

    /// Ends the link for this reason, so that the gateway knows it.
    pub async fn end(&self, why: Status) {
        if let Ok(out) = self.out() {
            // It may have ended by itself.
            let _ = out.send(Err(why)).await;
        }
    }

    async fn send(&self, frame: Down) -> Result<(), Status> {
        let sent = self.out()?.send(Ok(v1::LinkResponse { frame: Some(frame) })).await;
        sent.map_err(|_| gone())
    }

    /// Any call, and its replies; ends `within` that time.
    ///
    /// # Errors
    /// The gateway's refusal, or that of the link.
    pub async fn call(&self, request: Request, within: Duration) -> Result<Vec<Response>, Status> {
        let (asker, answer) = oneshot::channel();
        let call_id = {
            let mut state = lock(&self.state);
            if let Err(over) = &state.out {
                return Err(over.clone());
            }
            state.calls_made += 1;
            let call_id = state.calls_made;
            state.calls.insert(call_id, Waiting { replies: Vec::new(), asker });
            call_id
        };
        let _forgotten = Forget { state: &self.state, call_id };
        let call = v1::RpcCall {
            call_id,
            timeout: within.try_into().ok(),
            request: Some(request),
            ..v1::RpcCall::default()
        };
        let answered = async {
            self.send(Down::Call(call)).await?;
            answer.await.map_err(|_| gone())?
        };
        timeout(within, answered).await.map_err(|_| late())?
    }
}

/// Takes a call off the list when nobody waits for it any more.
struct Forget<'a> {
    state: &'a Mutex<State>,
    call_id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        lock(self.state).calls.remove(&self.call_id);
    }
}

/// A session of a link.
#[derive(Debug)]
pub struct Session {
    linked: Linked,
    frames: mpsc::Receiver<Told>,
    /// Of the sessions that were opened on the link.
    number: u64,
    is_over: bool,
}

fn replaced() -> Status {
    Status::aborted("a newer session of this link took its place")
}

impl Pulling for Session {
    async fn ask(&mut self, ask: v1::StreamingPullRequest) -> Result<(), Status> {
        let out = self.linked.out()?;
        // Taken first: nothing of an older session may come after the open of a newer one.
        let room = out.reserve().await.map_err(|_| gone())?;
        let state = lock(&self.linked.state);
        if state.opened != self.number {
            return Err(replaced());
        }
        room.send(Ok(v1::LinkResponse { frame: Some(Down::Stream(ask)) }));
        Ok(())
    }

    async fn message(&mut self) -> Told {
        match self.frames.recv().await {
            Some(Ok(Some(frame))) => Ok(Some(frame)),
            Some(end) => {
                self.is_over = true;
                end
            }
            None => {
                self.is_over = true;
                Err(self.linked.over().unwrap_or_else(replaced))
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let state = lock(&self.linked.state);
        if let (false, Ok(out)) = (self.is_over || state.opened != self.number, &state.out) {
            let close = Ask::Close(v1::PullClose { reason: "nobody listens".into() });
            let close = v1::StreamingPullRequest { frame: Some(close) };
            // Where there is no room it goes on until the next one is opened; nothing of it comes to anybody.
            let _ = out.try_send(Ok(v1::LinkResponse { frame: Some(Down::Stream(close)) }));
        }
    }
}

/// The one response of a kind.
macro_rules! one {
    ($linked:expr, $kind:ident, $asked:expr) => {{
        let mut replies = $linked.call(Request::$kind($asked), CALL).await?;
        match replies.pop() {
            Some(Response::$kind(response)) if replies.is_empty() => Ok(response),
            _ => Err(Status::internal("the gateway answered something else than was asked")),
        }
    }};
}

impl Line for Linked {
    type Pulling = Session;

    async fn pull(&self, open: v1::PullOpen) -> Result<Session, Status> {
        let (frames, told) = mpsc::channel(FRAMES_MAX);
        // Taken first: the place in the queue and the number have to be of one order.
        let out = self.out()?;
        let room = out.reserve().await.map_err(|_| gone())?;
        let mut state = lock(&self.state);
        if let Err(over) = &state.out {
            return Err(over.clone());
        }
        state.opened += 1;
        let number = state.opened;
        state.frames = Some(frames);
        let open = v1::StreamingPullRequest { frame: Some(Ask::Open(open)) };
        room.send(Ok(v1::LinkResponse { frame: Some(Down::Stream(open)) }));
        drop(state);
        Ok(Session { linked: self.clone(), frames: told, number, is_over: false })
    }

    async fn status(&self) -> Result<v1::GetStatusResponse, Status> {
        one!(self, GetStatus, v1::GetStatusRequest {})
    }

    async fn ack(&self, asked: v1::AckRequest) -> Result<v1::AckResponse, Status> {
        one!(self, Ack, asked)
    }

    async fn feedback(&self, asked: v1::PushFeedbackRequest) -> Result<v1::PushFeedbackResponse, Status> {
        one!(self, PushFeedback, asked)
    }

    async fn submit(&self, asked: v1::SubmitCommandRequest) -> Result<v1::SubmitCommandResponse, Status> {
        one!(self, SubmitCommand, asked)
    }

    async fn command(&self, asked: v1::GetCommandRequest) -> Result<v1::GetCommandResponse, Status> {
        one!(self, GetCommand, asked)
    }

    async fn put_list(&self, asked: v1::PutSharedListRequest) -> Result<v1::PutSharedListResponse, Status> {
        one!(self, PutSharedList, asked)
    }

    async fn list_catalog(&self, asked: v1::ListCatalogRequest) -> Result<v1::ListCatalogResponse, Status> {
        one!(self, ListCatalog, asked)
    }

    async fn schema(&self, asked: v1::GetSchemaRequest) -> Result<v1::GetSchemaResponse, Status> {
        one!(self, GetSchema, asked)
    }

    async fn query(&self, asked: v1::QueryRequest) -> Result<Vec<v1::QueryResponse>, Status> {
        let replies = self.call(Request::Query(asked), QUERY).await?.into_iter();
        let wrong = || Status::internal("the gateway answered something else than was asked");
        replies
            .map(|reply| if let Response::Query(reply) = reply { Ok(reply) } else { Err(wrong()) })
            .collect()
    }
}
