//! The gateway's end of a link: dials, greets, runs what [`Exchange`] says, and dials again when [`Again`] says so.
//!
//! Guarantees: one link at a time; a session and the calls run beside each other inside this future, and end with it; a link
//! that is told to stop lets its session say goodbye first. What a reply or a session waits for never keeps another call.

use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request as Asked, Status, Streaming};

use super::again::{Again, Past};
use super::counters::Counters;
use super::exchange::{Doing, Exchange, Violation};
use super::{GREETING, VERSION, plain, told};
use crate::model::Lane;
use crate::share::Pages;
use crate::share::batch::{Caller, Wanted};
use crate::share::calls::{Shell, Who};
use crate::share::dial::{DialError, Line, Uplink};
use crate::share::refused::Refused;
use crate::share::server::{MESSAGE_BYTES_MAX, Side};
use crate::wire::{self, v1};
use v1::gateway_link_service_client::GatewayLinkServiceClient;
use v1::link_request::Frame;
use v1::rpc_call::Request;
use v1::rpc_reply::Response;

/// Frames of the city that wait for a session.
const ASKS_MAX: usize = 64;
/// How long a link may take to end after a stop.
const GRACE: Duration = Duration::from_secs(5);

/// A session or a call.
type Running = Pin<Box<dyn Future<Output = ()> + Send>>;
/// Tells the version of the lists.
pub type Version = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
enum Why {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("the city did not welcome the gateway within 10 s")]
    NoWelcome,
    #[error("the city refuses the link: {} ({:?})", .0.message(), .0.code())]
    Refused(Box<Status>),
    #[error("{0}")]
    Protocol(#[from] Violation),
    #[error("the link broke: {} ({:?})", .0.message(), .0.code())]
    Cut(Box<Status>),
    #[error("the city ended the link")]
    Closed,
    #[error("stopped")]
    Stopped,
}

impl Why {
    /// One of the reasons that are counted.
    fn reason(&self) -> &'static str {
        match self {
            Why::Dial(error) => error.reason(),
            Why::NoWelcome => "no_welcome",
            Why::Refused(_) => "refused",
            Why::Protocol(_) => "protocol",
            Why::Cut(_) => "cut",
            Why::Closed => "closed",
            Why::Stopped => "stopped",
        }
    }

    fn not_before(&self) -> Duration {
        let (Why::Refused(status) | Why::Cut(status)) = self else { return Duration::ZERO };
        told(status).retry_after.and_then(|after| after.try_into().ok()).unwrap_or_default()
    }
}

/// Keeps a link to a city until `stop`. `version` tells that of the lists.
pub async fn hold<P: Pages>(
    uplink: Uplink,
    Side(shell): Side<P>,
    version: Version,
    counters: Arc<Counters>,
    stop: CancellationToken,
) {
    let shell = Shell { who: Who::Fixed(uplink.consumer.clone()), stop: stop.clone(), ..shell };
    let mut again = Again::default();
    while !stop.is_cancelled() {
        counters.dial();
        let line = tokio::select! {
            line = uplink.dial(shell.city.clock.now().wall_ms) => line,
            () = stop.cancelled() => return,
        };
        let (city, mut past) = (&uplink.city, Past::default());
        let mut began = Instant::now();
        let why = match line {
            Ok(line) => {
                let caller = Caller { consumer: uplink.consumer.clone(), certificate: line.certificate };
                let mut link =
                    Link { shell: &shell, caller, counters: &counters, exchange: Exchange::default() };
                let greeted = |welcome: v1::LinkWelcome| {
                    let spread = welcome.reconnect_spread.and_then(|spread| spread.try_into().ok());
                    (past.welcomed, began) = (Some(spread), Instant::now());
                    counters.up();
                    tracing::info!(%city, "the city takes the link");
                };
                match link.talk(line, version(), greeted).await {
                    Ok(never) => match never {},
                    Err(why) => why,
                }
            }
            Err(error) => error.into(),
        };
        counters.down(why.reason());
        if stop.is_cancelled() {
            return;
        }
        (past.lasted, past.not_before) = (began.elapsed(), why.not_before());
        // Without randomness the wait is only less even.
        let wait = again.wait(&past, getrandom::u64().unwrap_or_default());
        let wait_ms = wait.as_millis();
        match &why {
            Why::Closed | Why::Dial(DialError::WaitingForTime(_)) => {
                tracing::info!(%city, why = %why, wait_ms, "no link to the city, it is dialled again");
            }
            _ => tracing::warn!(%city, why = %why, wait_ms, "no link to the city, it is dialled again"),
        }
        tokio::select! {
            () = sleep(wait) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Nothing is of this type: a link only ends for a reason.
enum Never {}

/// One link.
struct Link<'a, P> {
    shell: &'a Shell<P>,
    caller: Caller,
    counters: &'a Counters,
    exchange: Exchange,
}

/// A session under way.
struct Session {
    /// Gone once it is to close.
    asks: Option<mpsc::Sender<v1::StreamingPullRequest>>,
    running: Running,
}

/// What runs on a link, and where it speaks.
struct Under {
    frames: mpsc::Sender<v1::LinkRequest>,
    replies: mpsc::Sender<v1::LinkRequest>,
    session: Option<Session>,
    calls: Vec<(u64, Running)>,
    /// What cannot be done yet; nothing is read meanwhile.
    held: Option<Doing>,
}

impl<P: Pages> Link<'_, P> {
    /// Greets, and then does what the city says until the link ends.
    async fn talk(
        &mut self,
        line: Line,
        version: u64,
        greeted: impl FnOnce(v1::LinkWelcome),
    ) -> Result<Never, Why> {
        let ((frames, told_frames), (replies, told_replies)) = (mpsc::channel(1), mpsc::channel(1));
        let outbound = Outbound { frames: told_frames, replies: told_replies, is_reply_next: false };
        // There is room for one.
        let _ = frames.try_send(up(Frame::Hello(self.hello(version))));
        let greeting = Instant::now() + GREETING;
        let mut client = GatewayLinkServiceClient::new(line.channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let refused = |status| Why::Refused(Box::new(status));
        let stop = self.shell.stop.clone();
        let first = async {
            let mut inbound = client.link(Asked::new(outbound)).await?.into_inner();
            let first = inbound.message().await?;
            Ok((inbound, first))
        };
        let first = tokio::select! {
            first = timeout_at(greeting, first) => first,
            () = stop.cancelled() => return Err(Why::Stopped),
        };
        let (mut inbound, first) = first.map_err(|_| Why::NoWelcome)?.map_err(refused)?;
        let first = first.ok_or(Why::Closed)?;
        match self.exchange.frame(first, self.shell.city.clock.now().wall_ms)? {
            Doing::Welcomed(welcome) => greeted(welcome),
            // Nothing else comes first.
            _ => return Err(Violation::First.into()),
        }
        let mut under = Under { frames, replies, session: None, calls: Vec::new(), held: None };
        let end = self.serve(&mut inbound, &mut under).await;
        drop(under);
        if matches!(end, Err(Why::Stopped)) {
            // What was said last is on its way until the city has ended its half too.
            let _ = timeout(GRACE, async { while let Ok(Some(_)) = inbound.message().await {} }).await;
        }
        end
    }

    fn hello(&self, version: u64) -> v1::LinkHello {
        let (pages, force) = (&self.shell.city.pages, self.shell.force());
        let (epoch, heads) = (pages.epoch(), *pages.heads().borrow());
        let wanted = Wanted::everything(self.caller.clone());
        let rights = wanted.rights(&force, self.shell.city.clock.now().wall_ms);
        let mine = Lane::ALL.into_iter().filter(|lane| rights.lane(*lane));
        v1::LinkHello {
            gateway_id: self.shell.city.gateway.id.clone(),
            protocol_versions: vec![VERSION.into()],
            stream_epoch: epoch.0.to_vec(),
            heads: mine.map(|lane| wire::cursor(epoch, lane, heads[lane.index()])).collect(),
            catalog_version: version,
        }
    }

    async fn serve(
        &mut self,
        inbound: &mut Streaming<v1::LinkResponse>,
        under: &mut Under,
    ) -> Result<Never, Why> {
        let stop = self.shell.stop.clone();
        let mut stopping = None;
        loop {
            if let Some(doing) = under.held.take() {
                under.held = self.start(under, doing);
            }
            if stopping.is_some() && under.session.is_none() && under.calls.is_empty() {
                return Err(Why::Stopped);
            }
            let Under { replies, session, calls, held, .. } = under;
            let asks = session.as_ref().and_then(|session| session.asks.clone());
            tokio::select! {
                biased;
                () = over(session) => {
                    *session = None;
                    if !matches!(held, Some(Doing::Open(_))) {
                        self.exchange.ended();
                    }
                }
                call_id = answered(calls) => self.exchange.answered(call_id),
                () = room(held, asks, replies) => {}
                frame = inbound.message(), if held.is_none() => {
                    let frame = frame.map_err(|status| Why::Cut(Box::new(status)))?.ok_or(Why::Closed)?;
                    *held = Some(self.exchange.frame(frame, self.shell.city.clock.now().wall_ms)?);
                }
                () = stop.cancelled(), if stopping.is_none() => stopping = Some(Instant::now() + GRACE),
                () = until(stopping) => return Err(Why::Stopped),
            }
        }
    }

    /// Does it, or gives back what has to wait.
    fn start(&self, under: &mut Under, doing: Doing) -> Option<Doing> {
        match doing {
            Doing::Nothing | Doing::Welcomed(_) => None,
            Doing::Open(open) => {
                if let Some(session) = &mut under.session {
                    session.asks = None;
                    return Some(Doing::Open(open));
                }
                self.counters.session();
                let (asks, asked) = mpsc::channel(ASKS_MAX);
                // There is room for one.
                let _ = asks.try_send(open);
                let session = session(self.shell.clone(), self.caller.clone(), asked, under.frames.clone());
                under.session = Some(Session { asks: Some(asks), running: Box::pin(session) });
                None
            }
            Doing::Pass(ask) => {
                let asks = under.session.as_ref().and_then(|session| session.asks.as_ref())?;
                match asks.try_send(ask) {
                    Err(TrySendError::Full(ask)) => Some(Doing::Pass(ask)),
                    Ok(()) | Err(TrySendError::Closed(_)) => None,
                }
            }
            Doing::Call { call_id, request, within } => {
                self.counters.call();
                let replies = under.replies.clone();
                let running =
                    call(self.shell.clone(), self.caller.clone(), call_id, *request, within, replies);
                under.calls.push((call_id, Box::pin(running)));
                None
            }
            Doing::Reply(reply) => match under.replies.try_reserve() {
                Ok(room) => {
                    room.send(up(Frame::Reply(*reply)));
                    None
                }
                Err(_) => Some(Doing::Reply(reply)),
            },
        }
    }
}

fn up(frame: Frame) -> v1::LinkRequest {
    v1::LinkRequest { frame: Some(frame) }
}

/// The session's end; never where there is none.
async fn over(session: &mut Option<Session>) {
    match session {
        Some(session) => session.running.as_mut().await,
        None => pending().await,
    }
}

/// The next call whose last reply is on its way.
async fn answered(calls: &mut Vec<(u64, Running)>) -> u64 {
    poll_fn(|context| {
        let done = calls.iter_mut().position(|(_, call)| call.as_mut().poll(context).is_ready());
        done.map_or(Poll::Pending, |index| Poll::Ready(calls.swap_remove(index).0))
    })
    .await
}

/// Comes when it is worth trying again.
async fn room(
    held: &Option<Doing>,
    asks: Option<mpsc::Sender<v1::StreamingPullRequest>>,
    replies: &mpsc::Sender<v1::LinkRequest>,
) {
    // Whether there is room or nobody listens any more: both are found when it is tried.
    match (held, asks) {
        (Some(Doing::Pass(_)), Some(asks)) => drop(asks.reserve().await),
        (Some(Doing::Reply(_)), _) => drop(replies.reserve().await),
        // A link that ended is found where it is read.
        _ => pending().await,
    }
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end).await,
        None => pending().await,
    }
}

/// One session, and its end.
async fn session<P: Pages>(
    shell: Shell<P>,
    caller: Caller,
    mut asked: mpsc::Receiver<v1::StreamingPullRequest>,
    frames: mpsc::Sender<v1::LinkRequest>,
) {
    let _open = shell.city.counters.stream();
    let consumer = caller.consumer.clone();
    let wrap = |frame| up(Frame::Stream(frame));
    let end = async {
        let caller = shell.admit(caller)?;
        shell.stream(caller, &mut asked, &frames, wrap).await
    };
    let end = match end.await {
        Ok(()) => v1::RpcStatus::default(),
        Err(refused) => {
            tracing::info!(%consumer, reason = refused.reason(), "stream refused");
            told(&shell.refuse(refused))
        }
    };
    // Without a link there is nobody to tell.
    let _ = frames.send(up(Frame::End(end))).await;
}

/// One call, and its replies.
async fn call<P: Pages>(
    shell: Shell<P>,
    caller: Caller,
    call_id: u64,
    request: Request,
    within: Duration,
    replies: mpsc::Sender<v1::LinkRequest>,
) {
    let reply = |last, status, response| up(Frame::Reply(v1::RpcReply { call_id, last, status, response }));
    let answers = match timeout(within, answer(&shell, caller, request)).await {
        Ok(Ok(answers)) if !answers.is_empty() => answers,
        end => {
            let status = match end {
                Ok(Ok(_)) => None,
                Ok(Err(status)) => Some(told(&status)),
                Err(_) => Some(plain(Code::DeadlineExceeded, "deadline", "the call took longer than it may")),
            };
            // Without a link there is nobody to tell.
            let _ = replies.send(reply(true, status, None)).await;
            return;
        }
    };
    let last = answers.len() - 1;
    for (index, answer) in answers.into_iter().enumerate() {
        if replies.send(reply(index == last, None, Some(answer))).await.is_err() {
            return;
        }
    }
}

/// What the service of the same name would say.
async fn answer<P: Pages>(
    shell: &Shell<P>,
    caller: Caller,
    request: Request,
) -> Result<Vec<Response>, Status> {
    let answers: Result<Vec<Response>, Refused> = async {
        // What is for everybody who is known finds for itself what of it is for the caller; the rest asks at the door.
        let admit = |caller| shell.admit(caller);
        shell.called(&caller)?;
        Ok(vec![match request {
            Request::ListCatalog(asked) => Response::ListCatalog(shell.list_catalog(caller, asked).await?),
            Request::GetSchema(asked) => Response::GetSchema(shell.get_schema(caller, asked).await?),
            Request::PutSharedList(asked) => Response::PutSharedList(shell.put_list(caller, asked).await?),
            Request::Query(asked) => {
                return Ok(shell.query(caller, asked).await?.into_iter().map(Response::Query).collect());
            }
            Request::GetStatus(asked) => Response::GetStatus(shell.status(admit(caller)?, asked).await?),
            Request::Fetch(asked) => Response::Fetch(shell.fetch(admit(caller)?, asked).await?),
            Request::Ack(asked) => Response::Ack(shell.ack(admit(caller)?, asked).await?),
            Request::PushFeedback(asked) => {
                Response::PushFeedback(shell.feedback(admit(caller)?, asked).await?)
            }
            Request::SubmitCommand(asked) => {
                Response::SubmitCommand(shell.submit(admit(caller)?, asked).await?)
            }
            Request::GetCommand(asked) => Response::GetCommand(shell.command(admit(caller)?, asked).await?),
        }])
    }
    .await;
    answers.map_err(|refused| shell.refuse(refused))
}

/// What leaves: frames of the session and replies take turns where both wait.
struct Outbound {
    frames: mpsc::Receiver<v1::LinkRequest>,
    replies: mpsc::Receiver<v1::LinkRequest>,
    is_reply_next: bool,
}

impl Stream for Outbound {
    type Item = v1::LinkRequest;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<v1::LinkRequest>> {
        let mut open = false;
        for is_reply in [self.is_reply_next, !self.is_reply_next] {
            let queue = if is_reply { &mut self.replies } else { &mut self.frames };
            match queue.poll_recv(context) {
                Poll::Ready(Some(frame)) => {
                    self.is_reply_next = !is_reply;
                    return Poll::Ready(Some(frame));
                }
                Poll::Ready(None) => {}
                Poll::Pending => open = true,
            }
        }
        if open { Poll::Pending } else { Poll::Ready(None) }
    }
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt;

    use super::*;

    #[tokio::test]
    async fn frames_and_replies_take_turns() {
        let ((frames, told_frames), (replies, told_replies)) = (mpsc::channel(3), mpsc::channel(3));
        for call_id in 1..=3 {
            let reply = v1::RpcReply { call_id, ..v1::RpcReply::default() };
            replies.try_send(up(Frame::Reply(reply))).expect("room");
            frames.try_send(up(Frame::Stream(v1::StreamingPullResponse::default()))).expect("room");
        }
        drop((frames, replies));
        let outbound = Outbound { frames: told_frames, replies: told_replies, is_reply_next: false };
        let order: Vec<bool> = outbound.map(|up| matches!(up.frame, Some(Frame::Reply(_)))).collect().await;
        assert_eq!(order, [false, true, false, true, false, true]);
    }
}
