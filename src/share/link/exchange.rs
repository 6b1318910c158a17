//! The gateway's end of a link as a sans-IO machine: what a frame of the city means, and which calls are under way.
//!
//! Guarantees: nothing before a welcome that fits; at most [`CALLS_MAX`] calls at once, each with an end to its time; one session
//! at a time, and one end for each that was opened. A city that breaks the rules is told which. Does not answer calls, and
//! does not look into the frames of a session.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{CALL_MAX, CALLS_MAX, VERSION, plain};
use crate::wire::v1;
use tonic::Code;
use v1::link_response::Frame;
use v1::rpc_call::Request;
use v1::streaming_pull_request::Frame as Ask;

/// What to do about a frame.
#[derive(Clone, Debug, PartialEq)]
pub enum Doing {
    /// Nothing: it came too late to matter.
    Nothing,
    /// The city takes the link.
    Welcomed(v1::LinkWelcome),
    /// Begin a session with this frame, once the one that may go on has been closed and has ended.
    Open(v1::StreamingPullRequest),
    /// Hand it to the session.
    Pass(v1::StreamingPullRequest),
    /// Answer within the time, then say [`Exchange::answered`].
    Call {
        /** For the reply. */
        call_id: u64,
        /** What is asked. */
        request: Box<Request>,
        /** How long it may take. */
        within: Duration,
    },
    /// Reply this at once.
    Reply(Box<v1::RpcReply>),
}

/// A rule of the link that the city broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// It spoke before its welcome.
    #[error("the first frame of a link has to be welcome")]
    First,
    /// It welcomed twice.
    #[error("a second welcome on one link")]
    Twice,
    /// It chose a version that it was not offered.
    #[error("welcome chose a protocol version that this gateway did not offer: it speaks smallbrain.v1")]
    Version,
    /// A frame that is none.
    #[error("a frame of a link that this gateway does not know")]
    Unknown,
    /// Two replies could not be told apart.
    #[error("call {0} is under way already: each call needs a call_id of its own")]
    CallTwice(u64),
}

/// See the module.
#[derive(Debug, Default)]
pub struct Exchange {
    is_welcomed: bool,
    has_session: bool,
    calls: BTreeSet<u64>,
}

impl Exchange {
    /// Whether the city has taken the link.
    #[must_use]
    pub fn is_welcomed(&self) -> bool {
        self.is_welcomed
    }

    /// Calls under way.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Takes a frame at `wall_ms`, milliseconds since 1970 UTC.
    ///
    /// # Errors
    /// [`Violation`]: the link is broken.
    pub fn frame(&mut self, frame: v1::LinkResponse, wall_ms: i64) -> Result<Doing, Violation> {
        match (frame.frame, self.is_welcomed) {
            (Some(Frame::Welcome(welcome)), false) if welcome.protocol_version == VERSION => {
                self.is_welcomed = true;
                Ok(Doing::Welcomed(welcome))
            }
            (Some(Frame::Welcome(_)), false) => Err(Violation::Version),
            (_, false) => Err(Violation::First),
            (Some(Frame::Welcome(_)), true) => Err(Violation::Twice),
            (None, true) => Err(Violation::Unknown),
            (Some(Frame::Stream(asked)), true) => Ok(match &asked.frame {
                Some(Ask::Open(_)) => {
                    self.has_session = true;
                    Doing::Open(asked)
                }
                _ if self.has_session => Doing::Pass(asked),
                _ => Doing::Nothing,
            }),
            (Some(Frame::Call(call)), true) => self.call(call, wall_ms),
        }
    }

    /// A session has ended, and no other was opened since.
    pub fn ended(&mut self) {
        self.has_session = false;
    }

    /// The last reply to a call is on its way.
    pub fn answered(&mut self, call_id: u64) {
        self.calls.remove(&call_id);
    }

    fn call(&mut self, call: v1::RpcCall, wall_ms: i64) -> Result<Doing, Violation> {
        let call_id = call.call_id;
        if self.calls.contains(&call_id) {
            return Err(Violation::CallTwice(call_id));
        }
        let refuse = |code, reason, message: &str| {
            let status = Some(plain(code, reason, message));
            Ok(Doing::Reply(Box::new(v1::RpcReply { call_id, last: true, status, response: None })))
        };
        let Some(request) = call.request else {
            return refuse(Code::Unimplemented, "unknown_call", "a call that this gateway does not know");
        };
        if self.calls.len() == CALLS_MAX {
            let message = "16 calls are under way on this link: wait for one of their replies";
            return refuse(Code::ResourceExhausted, "calls", message);
        }
        let timeout = call.timeout.map(|timeout| Duration::try_from(timeout).unwrap_or_default());
        let deadline = call.deadline.map(|at| left(at, wall_ms));
        let within = [timeout, deadline].into_iter().flatten().fold(CALL_MAX, Duration::min);
        if within.is_zero() {
            return refuse(Code::DeadlineExceeded, "deadline", "the call came after its deadline");
        }
        self.calls.insert(call_id);
        Ok(Doing::Call { call_id, request: Box::new(request), within })
    }
}

/// The time from `wall_ms` to then; nothing where it is over.
fn left(then: prost_types::Timestamp, wall_ms: i64) -> Duration {
    let then_ms = then.seconds.saturating_mul(1000).saturating_add(i64::from(then.nanos / 1_000_000));
    u64::try_from(then_ms.saturating_sub(wall_ms)).map_or(Duration::ZERO, Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_795_190_400_000;

    fn link(frame: Frame) -> v1::LinkResponse {
        v1::LinkResponse { frame: Some(frame) }
    }

    fn welcome(version: &str) -> v1::LinkResponse {
        link(Frame::Welcome(v1::LinkWelcome { protocol_version: version.into(), reconnect_spread: None }))
    }

    fn pull(ask: Ask) -> v1::LinkResponse {
        link(Frame::Stream(v1::StreamingPullRequest { frame: Some(ask) }))
    }

    fn call(call_id: u64) -> v1::RpcCall {
        let request = Some(Request::GetStatus(v1::GetStatusRequest {}));
        v1::RpcCall { call_id, request, ..v1::RpcCall::default() }
    }

    fn welcomed() -> Exchange {
        let mut exchange = Exchange::default();
        let done = exchange.frame(welcome(VERSION), NOW_MS);
        assert!(matches!(done, Ok(Doing::Welcomed(_))) && exchange.is_welcomed());
        exchange
    }

    /// Code of a reply.
    fn code(doing: Result<Doing, Violation>) -> Option<i32> {
        match doing {
            Ok(Doing::Reply(reply)) => reply.status.map(|status| status.code),
            _ => None,
        }
    }

    #[test]
    fn nothing_comes_before_a_welcome_that_fits() {
        let open = || pull(Ask::Open(v1::PullOpen::default()));
        for (first, wrong) in [
            (open(), Violation::First),
            (link(Frame::Call(call(1))), Violation::First),
            (v1::LinkResponse { frame: None }, Violation::First),
            (welcome(""), Violation::Version),
            (welcome("smallbrain.v2"), Violation::Version),
        ] {
            assert_eq!(Exchange::default().frame(first, NOW_MS), Err(wrong));
        }
        assert_eq!(welcomed().frame(welcome(VERSION), NOW_MS), Err(Violation::Twice));
        assert_eq!(welcomed().frame(v1::LinkResponse { frame: None }, NOW_MS), Err(Violation::Unknown));
    }

    #[test]
    fn frames_of_a_session_are_of_no_effect_without_one() {
        let mut exchange = welcomed();
        let ack = || pull(Ask::Ack(v1::CumulativeAck::default()));
        let open = || pull(Ask::Open(v1::PullOpen::default()));
        assert_eq!(exchange.frame(ack(), NOW_MS), Ok(Doing::Nothing));
        for _ in 0..2 {
            assert!(matches!(exchange.frame(open(), NOW_MS), Ok(Doing::Open(_))));
            assert!(matches!(exchange.frame(ack(), NOW_MS), Ok(Doing::Pass(_))));
        }
        exchange.ended();
        assert_eq!(exchange.frame(ack(), NOW_MS), Ok(Doing::Nothing));
    }

    #[test]
    fn sixteen_calls_are_under_way_and_no_more() {
        let mut exchange = welcomed();
        let ask = |exchange: &mut Exchange, id| exchange.frame(link(Frame::Call(call(id))), NOW_MS);
        for id in 0..CALLS_MAX as u64 {
            assert!(matches!(ask(&mut exchange, id), Ok(Doing::Call { within: CALL_MAX, .. })));
        }
        assert_eq!(code(ask(&mut exchange, 99)), Some(Code::ResourceExhausted as i32));
        assert_eq!(ask(&mut exchange, 3), Err(Violation::CallTwice(3)));
        exchange.answered(3);
        assert!(matches!(ask(&mut exchange, 3), Ok(Doing::Call { call_id: 3, .. })));
        assert_eq!(exchange.calls(), CALLS_MAX);
    }

    #[test]
    fn a_call_that_is_none_and_one_that_is_late_are_answered() {
        let mut exchange = welcomed();
        let unknown = v1::RpcCall { request: None, ..call(1) };
        assert_eq!(
            code(exchange.frame(link(Frame::Call(unknown)), NOW_MS)),
            Some(Code::Unimplemented as i32)
        );
        let seconds = |seconds| prost_types::Duration { seconds, nanos: 0 };
        let at =
            |ms: i64| prost_types::Timestamp { seconds: ms / 1000, nanos: (ms % 1000) as i32 * 1_000_000 };
        for (timeout, deadline, within) in [
            (None, None, Some(70_000)),
            (Some(seconds(5)), None, Some(5_000)),
            (Some(seconds(500)), None, Some(70_000)),
            (None, Some(at(NOW_MS + 1_500)), Some(1_500)),
            (Some(seconds(1)), Some(at(NOW_MS + 1_500)), Some(1_000)),
            (Some(seconds(0)), None, None),
            (Some(seconds(-1)), None, None),
            (None, Some(at(NOW_MS)), None),
            (Some(seconds(5)), Some(at(NOW_MS - 1)), None),
        ] {
            let asked = link(Frame::Call(v1::RpcCall { timeout, deadline, ..call(2) }));
            let doing = exchange.frame(asked, NOW_MS);
            match within {
                Some(ms) => {
                    let is = matches!(doing, Ok(Doing::Call { within, .. }) if within == Duration::from_millis(ms));
                    assert!(is, "{timeout:?} {deadline:?}: {doing:?}");
                }
                None => assert_eq!(code(doing), Some(Code::DeadlineExceeded as i32)),
            }
            exchange.answered(2);
        }
    }
}
