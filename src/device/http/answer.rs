//! What a request is answered with. Pure: the words, the status, and which of both a message deserves.
//!
//! Guarantees: every refusal names the next step; no answer holds anything that was sent.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};

use super::multipart::MultipartError;
use crate::codec::profile::ProfileError;
use crate::ingest::{Delivery, Kept};
use crate::model::Loss;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// On disk.
    Stored(Kept),
    /// No topic in the path.
    Path,
    /// A topic that is too long or too deep.
    LongPath,
    /// Nobody, or a wrong password.
    Unauthorised {
        /** Whether something was said by which it could have been known. */
        wrong: bool,
    },
    /// Not its topic.
    Topic,
    /// Not its device.
    Device,
    /// No mapping has this topic.
    NoMapping,
    /// The device is not configured.
    UnknownDevice,
    /// Another method.
    Method,
    /// The body did not come in time.
    Slow,
    /// More than this many bytes.
    TooLong(u64),
    /// No type that is taken.
    Type,
    /// No multipart body, or nothing in it.
    Parts(MultipartError),
    /// No message of the mapping.
    Malformed(ProfileError),
    /// The body ended early.
    Cut,
    /// Too much at once; seconds until the next request is heard.
    TooMany(u64),
    /// Nothing can be checked or taken now.
    Busy,
    /// The store or the process stops.
    Stopped,
}

/// What a message came to before it is stored; `None` where something of it is, or would be, a reading.
pub(super) fn refusal(delivery: &Delivery, malformed: Option<&ProfileError>) -> Option<Answer> {
    if !delivery.samples.is_empty() || !delivery.presence.is_empty() {
        return None;
    }
    let lost = |loss| delivery.lost.get(loss) > 0;
    match malformed {
        Some(ProfileError::TooLarge { max, .. }) => Some(Answer::TooLong(*max as u64)),
        Some(error) => Some(Answer::Malformed(error.clone())),
        None if lost(Loss::Forbidden) => Some(Answer::Device),
        None if lost(Loss::UnknownDevice) => Some(Answer::UnknownDevice),
        None => None,
    }
}

impl Answer {
    /// The status (RFC 9110 §15, RFC 6585 §4).
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Answer::Stored(_) => StatusCode::OK,
            Answer::Path | Answer::Malformed(_) | Answer::Cut => StatusCode::BAD_REQUEST,
            Answer::Parts(MultipartError::Malformed(_)) => StatusCode::BAD_REQUEST,
            Answer::LongPath => StatusCode::URI_TOO_LONG,
            Answer::Unauthorised { .. } => StatusCode::UNAUTHORIZED,
            Answer::Topic | Answer::Device => StatusCode::FORBIDDEN,
            Answer::NoMapping | Answer::UnknownDevice => StatusCode::NOT_FOUND,
            Answer::Method => StatusCode::METHOD_NOT_ALLOWED,
            Answer::Slow => StatusCode::REQUEST_TIMEOUT,
            Answer::TooLong(_) | Answer::Parts(MultipartError::TooLong(_)) => StatusCode::PAYLOAD_TOO_LARGE,
            Answer::Type | Answer::Parts(MultipartError::NoJson) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Answer::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Answer::Busy | Answer::Stopped => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// What is wrong and what to do; the counts of what is stored.
    fn body(&self) -> String {
        let text: &str = match self {
            Answer::Stored(Kept { stored, lost }) => {
                return format!("{{\"stored\":{stored},\"lost\":{lost}}}\n");
            }
            Answer::Path => "the path is no topic: post to /TOPIC, percent-encoded, without wildcards",
            Answer::LongPath => {
                "the topic is too long or too deep: see topic_max and topic_levels_max of [mqtt]"
            }
            Answer::Unauthorised { wrong: false } => {
                "nobody knows who this is: basic authentication of a [[mqtt.user]], or its certificate"
            }
            Answer::Unauthorised { wrong: true } => {
                "wrong user or password: basic authentication is asked for; device add makes a new password"
            }
            Answer::Topic => "not a topic of this user: see publish and devices of its [[mqtt.user]]",
            Answer::Device => "not a device of this user: see devices of its [[mqtt.user]]",
            Answer::NoMapping => "no mapping has this topic: a [[mapping]] is needed, see devices pending",
            Answer::UnknownDevice => "the device is not configured: see devices pending",
            Answer::Method => "only POST and PUT are taken",
            Answer::Slow => "the body did not come in time: send it at once, or see body_timeout of [http]",
            Answer::TooLong(bytes) => &format!("more than {bytes} bytes: send less at once"),
            Answer::Type => {
                "send application/json, or multipart/form-data with a json part and its boundary; no xml, nothing packed"
            }
            Answer::Parts(error) => &error.to_string(),
            Answer::Malformed(error) => &format!("{error}; smallbrain map shows what a payload means"),
            Answer::Cut => "the body ended early: send it again",
            Answer::TooMany(_) => "too many requests: wait, or send more in one",
            Answer::Busy => "busy: send it again later",
            Answer::Stopped => "nothing can be stored now: send it again later",
        };
        format!("{}\n", serde_json::json!({ "error": text }))
    }

    /// On the wire.
    pub(super) fn response(&self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(self.body())));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match self {
            Answer::Unauthorised { .. } => {
                let basic = HeaderValue::from_static("Basic realm=\"smallbrain\", charset=\"UTF-8\"");
                headers.insert(WWW_AUTHENTICATE, basic);
            }
            Answer::Method => drop(headers.insert(ALLOW, HeaderValue::from_static("POST, PUT"))),
            Answer::TooMany(seconds) => drop(headers.insert(RETRY_AFTER, HeaderValue::from(*seconds))),
            Answer::Busy | Answer::Stopped => drop(headers.insert(RETRY_AFTER, HeaderValue::from(5))),
            _ => {}
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::json::JsonError;
    use crate::model::Sample;
    use crate::model::{SeriesKey, Stamp, Value};

    fn delivery(lost: &[Loss], samples: usize) -> Delivery {
        let mut delivery = Delivery::empty(Stamp { wall_ms: 0, mono_ms: 0 });
        lost.iter().for_each(|loss| delivery.lost.add(*loss, 1));
        let sample = || Sample {
            message: None,
            series: SeriesKey(0),
            value: Value::Flag(true),
            device_ms: None,
            clock_ms: None,
            retained: false,
            history: false,
        };
        delivery.samples = std::iter::repeat_with(sample).take(samples).collect();
        delivery
    }

    #[test]
    fn a_message_is_refused_when_nothing_of_it_is_taken() {
        let syntax = ProfileError::Json(JsonError::Syntax { line: 1, column: 2 });
        let large = ProfileError::TooLarge { bytes: 9, max: 8 };
        for (what, lost, samples, malformed, expected) in [
            ("all stored", &[][..], 1, None, None),
            ("nothing said", &[], 0, None, None),
            ("nothing listed", &[Loss::Unlisted], 0, None, None),
            ("a bad value", &[Loss::Invalid], 0, None, None),
            ("broken", &[Loss::Malformed], 0, Some(syntax.clone()), Some(400)),
            ("one item broken", &[Loss::Malformed], 1, Some(syntax), None),
            ("too long for the profile", &[Loss::Malformed], 0, Some(large), Some(413)),
            ("somebody else's device", &[Loss::Forbidden], 0, None, Some(403)),
            ("a device of two", &[Loss::Forbidden], 1, None, None),
            ("nobody's device", &[Loss::UnknownDevice], 0, None, Some(404)),
            ("somebody else's and nobody's", &[Loss::UnknownDevice, Loss::Forbidden], 0, None, Some(403)),
        ] {
            let refusal = refusal(&delivery(lost, samples), malformed.as_ref());
            assert_eq!(refusal.map(|answer| answer.status().as_u16()), expected, "{what}");
        }
    }

    #[test]
    fn answers_are_json_and_say_when_to_come_again() {
        let kept = Kept { stored: 2, lost: 1 };
        assert_eq!(Answer::Stored(kept).body(), "{\"stored\":2,\"lost\":1}\n");
        for (answer, header, value) in [
            (Answer::TooMany(3), "retry-after", "3"),
            (Answer::Stopped, "retry-after", "5"),
            (Answer::Method, "allow", "POST, PUT"),
            (
                Answer::Unauthorised { wrong: true },
                "www-authenticate",
                "Basic realm=\"smallbrain\", charset=\"UTF-8\"",
            ),
            (Answer::Parts(MultipartError::NoJson), "content-type", "application/json"),
        ] {
            let body: serde_json::Value = serde_json::from_str(&answer.body()).expect("JSON");
            assert!(body["error"].as_str().is_some_and(|text| !text.is_empty()), "{answer:?}");
            let response = answer.response();
            assert_eq!(response.headers().get(header).and_then(|told| told.to_str().ok()), Some(value));
        }
    }
}
