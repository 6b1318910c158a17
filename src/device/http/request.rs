//! One request: who it is and what it may, its body, what of it is taken, and the answer.
//!
//! Guarantees: nothing of a body is held before its sender is known and may post there; of a request that is refused so much is
//! read that its sender hears why; what is held is given back before the commit is waited for.

use std::sync::PoisonError;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, EXPECT, HeaderName};
use hyper::http::request::Parts as Head;
use hyper::{Method, Request, Response};
use tokio::sync::SemaphorePermit;
use tokio::time::timeout;

use super::answer::{Answer, refusal};
use super::form::{self, Form};
use super::multipart::{Multipart, MultipartError, Parts};
use super::{PAYLOAD_BYTES_MAX, SMALL_BYTES_MAX, Server};
use crate::device::mqtt::add;
use crate::device::mqtt::desk::{Guest, Refused};
use crate::device::mqtt::onboard::offer::{Offer, Why};
use crate::device::mqtt::rate::{Bucket, Pace};
use crate::device::mqtt::samples::{Batch, Received, Route, Routes, States};
use crate::device::mqtt::seats::Seat;
use crate::ingest::Stopped;
use crate::model::Loss;

/// Messages of one user that on-boarding is shown: a second, and at once.
const OFFERS: (u64, u64) = (5, 100);
/// Bytes of the body of a refused request that are read, so that the answer is heard.
const SKIPPED_BYTES_MAX: usize = 64 << 10;

/// How fast a user speaks, over all its connections.
pub(super) struct Speaker {
    pace: Pace,
    offers: Bucket,
}

/// A request that may be heard.
struct Post {
    guest: Guest,
    /// One of those that its user may have at once.
    _seat: Seat,
    topic: String,
    form: Form,
}

/// A body that was read.
struct Payload<'s> {
    parts: Parts,
    _large: Option<SemaphorePermit<'s>>,
}

/// A body that is being read.
enum Reading {
    Whole(Vec<u8>),
    Parts(Multipart),
}

impl Reading {
    fn new(form: &Form) -> Result<Self, Answer> {
        Ok(match form {
            Form::Whole => Reading::Whole(Vec::new()),
            Form::Parts(boundary) => {
                Reading::Parts(Multipart::new(boundary, PAYLOAD_BYTES_MAX).map_err(Answer::Parts)?)
            }
        })
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<(), Answer> {
        match self {
            Reading::Whole(body) if body.len() + bytes.len() > PAYLOAD_BYTES_MAX => {
                Err(Answer::TooLong(PAYLOAD_BYTES_MAX as u64))
            }
            Reading::Whole(body) => {
                body.extend_from_slice(bytes);
                Ok(())
            }
            Reading::Parts(parts) => parts.feed(bytes).map_err(Answer::Parts),
        }
    }

    /// Bytes held.
    fn len(&self) -> usize {
        match self {
            Reading::Whole(body) => body.len(),
            Reading::Parts(parts) => parts.len(),
        }
    }

    fn finish(self) -> Result<Parts, MultipartError> {
        match self {
            Reading::Whole(json) => Ok(Parts { json, skipped: 0 }),
            Reading::Parts(parts) => parts.finish(),
        }
    }
}

fn header<'h>(head: &'h Head, name: &HeaderName) -> Option<&'h str> {
    // What is no text is none that is known.
    head.headers.get(name).map(|value| value.to_str().unwrap_or_default())
}

impl Server {
    /// See the module. `certificate` is as the desk wants it.
    pub(super) async fn respond(
        &self,
        certificate: Option<&[String]>,
        request: Request<Incoming>,
    ) -> Response<Full<Bytes>> {
        let (head, mut body) = request.into_parts();
        let answered = match self.admit(certificate, &head).await {
            Ok(post) => self.receive(&post, &mut body).await,
            Err(answer) => {
                // Who asks first whether it may send has not sent.
                if !head.headers.contains_key(EXPECT) {
                    let _ = timeout(self.settings.limits.body_timeout, skip(&mut body)).await;
                }
                Err(answer)
            }
        };
        let answer = answered.unwrap_or_else(|answer| answer);
        self.counters.answered(answer.status().as_u16());
        answer.response()
    }

    /// Who it is, and whether it may post there, now, and in this form.
    async fn admit(&self, certificate: Option<&[String]>, head: &Head) -> Result<Post, Answer> {
        if head.method != Method::POST && head.method != Method::PUT {
            return Err(Answer::Method);
        }
        let topic = form::topic(head.uri.path()).ok_or(Answer::Path)?;
        let told = header(head, &AUTHORIZATION);
        let login =
            told.map(|told| form::login(told).ok_or(Answer::Unauthorised { wrong: true })).transpose()?;
        let guest = self.desk.admit(login, certificate).await.map_err(|refused| match refused {
            Refused::Unknown => Answer::Unauthorised { wrong: false },
            Refused::Password => Answer::Unauthorised { wrong: true },
            Refused::Busy => Answer::Busy,
        })?;
        let limits = &self.desk.limits;
        if topic.len() > limits.topic_bytes_max || topic.split('/').count() > limits.topic_levels_max {
            return Err(Answer::LongPath);
        }
        if !guest.rights.may_publish(&topic) {
            self.desk.forbidden(&guest, "post", &topic);
            return Err(Answer::Topic);
        }
        let mono_ms = self.desk.clock.now().mono_ms;
        let wait_ms = self.speaker(&guest, |speaker| {
            let wait_ms = speaker.pace.wait_ms(mono_ms);
            speaker.pace.took(0, usize::from(wait_ms == 0), mono_ms);
            wait_ms
        });
        if wait_ms > 0 {
            return Err(Answer::TooMany(wait_ms.div_ceil(1000)));
        }
        let seat = self.seats.take(&guest.name).ok_or(Answer::TooMany(1))?;
        let packed =
            header(head, &CONTENT_ENCODING).is_some_and(|told| !told.eq_ignore_ascii_case("identity"));
        let form = form::form(header(head, &CONTENT_TYPE)).filter(|_| !packed).ok_or(Answer::Type)?;
        Ok(Post { guest, _seat: seat, topic, form })
    }

    /// The body, and what becomes of it.
    async fn receive(&self, post: &Post, body: &mut Incoming) -> Result<Answer, Answer> {
        let reading = timeout(self.settings.limits.body_timeout, self.read(post, body));
        let payload = tokio::select! {
            () = self.stop.cancelled() => Err(Answer::Stopped),
            read = reading => read.unwrap_or(Err(Answer::Slow)),
        }?;
        add(&self.counters.parts_refused, payload.parts.skipped);
        self.take(post, payload).await
    }

    async fn read(&self, post: &Post, body: &mut Incoming) -> Result<Payload<'_>, Answer> {
        let bytes_max = self.settings.limits.body_bytes_max;
        if body.size_hint().lower() > bytes_max {
            return Err(Answer::TooLong(bytes_max));
        }
        let (mut reading, mut large, mut bytes) = (Reading::new(&post.form)?, None, 0);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Answer::Cut)?;
            let Some(data) = frame.data_ref() else { continue };
            bytes += data.len() as u64;
            let mono_ms = self.desk.clock.now().mono_ms;
            self.speaker(&post.guest, |speaker| speaker.pace.took(data.len(), 0, mono_ms));
            if bytes > bytes_max {
                return Err(Answer::TooLong(bytes_max));
            }
            reading.feed(data)?;
            if large.is_none() && reading.len() > SMALL_BYTES_MAX {
                large = Some(self.large.acquire().await.map_err(|_| Answer::Busy)?);
            }
        }
        Ok(Payload { parts: reading.finish().map_err(Answer::Parts)?, _large: large })
    }

    /// Hands in what a body holds, and waits until it is on disk.
    async fn take(&self, post: &Post, payload: Payload<'_>) -> Result<Answer, Answer> {
        let Post { guest, topic, .. } = post;
        let received = self.desk.clock.now();
        let (delivery, refused) = {
            let (json, skipped) = (&payload.parts.json, payload.parts.skipped);
            let mut routes = Routes::new(self.desk.settings.borrow().clone());
            let route = routes.find(topic);
            if matches!(route, Route::FanOut) {
                self.offer(post, Why::NoMapping, "", json);
                return Err(Answer::NoMapping);
            }
            let message = Received { topic, payload: json, retain: false, received_ms: received.wall_ms };
            let mut batch = Batch::default();
            let added = batch.add(route, &message, &guest.rights, &mut States::default());
            if added.unknown {
                let device = if let Route::UnknownDevice(name) = route { name } else { "" };
                self.offer(post, Why::UnknownDevice, device, json);
            }
            if added.described {
                self.offer(post, Why::Discovery, "", json);
            }
            let malformed = batch.reason().cloned();
            let mut delivery = batch.take(received);
            let refused = refusal(&delivery, malformed.as_ref());
            delivery.lost.add(Loss::Refused, if refused.is_none() { skipped } else { 0 });
            (delivery, refused)
        };
        drop(payload);
        let kept = self.desk.intake.post(delivery).await.map_err(|Stopped| Answer::Stopped)?;
        refused.map_or(Ok(Answer::Stored(kept)), Err)
    }

    /// Offers what is nobody's to on-boarding, now and then.
    fn offer(&self, post: &Post, why: Why, device: &str, payload: &[u8]) {
        let mono_ms = self.desk.clock.now().mono_ms;
        let may = self.speaker(&post.guest, |speaker| {
            let may = speaker.offers.wait_ms(mono_ms) == 0;
            speaker.offers.take(u64::from(may), mono_ms);
            may
        });
        if may {
            self.desk.offer(&Offer::new(why, &post.guest.name, device, &post.topic, payload));
        } else {
            self.desk.kept_back();
        }
    }

    /// How fast somebody speaks. Who is no user any more is forgotten when others come.
    fn speaker<T>(&self, guest: &Guest, change: impl FnOnce(&mut Speaker) -> T) -> T {
        let mut speakers = self.speakers.lock().unwrap_or_else(PoisonError::into_inner);
        if !speakers.contains_key(guest.name.as_str()) {
            let settings = self.desk.settings.borrow();
            speakers.retain(|name, _| name.is_empty() || settings.access.users.contains_key(&**name));
        }
        change(speakers.entry(guest.name.as_str().into()).or_insert_with(|| Speaker {
            pace: Pace::new(&self.desk.limits),
            offers: Bucket::new(OFFERS.0, OFFERS.1),
        }))
    }
}

/// Reads what will not be taken.
async fn skip(body: &mut Incoming) {
    let mut bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        bytes += frame.data_ref().map_or(0, Bytes::len);
        if bytes > SKIPPED_BYTES_MAX {
            return;
        }
    }
}
