//! What is sent to a webhook, and what its answer means: forms, signatures, proof. Pure.
//!
//! Guarantees: a letter holds nothing but what its recipient may see; the text of a chat message is short enough for the
//! services (2,048 bytes); a proof and a failure hold numbers and a digest, no word of the answer.
//!
//! Sources: WeCom, 群机器人配置说明 (text messages, errcode); DingTalk, 自定义机器人安全设置 (加签).

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::Webhook;
use crate::rules::notice::{Field, Notice};

/// Bytes of the text of a chat message; WeCom takes no more than 2,048.
const CHAT_BYTES_MAX: usize = 2048;
/// Lines of it.
const LINES_MAX: usize = 20;
/// Bytes kept for the line that says how many more there are.
const REST_BYTES: usize = 40;

/// How a message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// 企业微信: a text message of a group's robot.
    Wecom,
    /// 钉钉: a text message of a group's robot, signed where there is a secret.
    Dingtalk,
    /// JSON for a program, signed where there is a secret.
    Json,
}

impl Form {
    /// All of them.
    pub const ALL: [Form; 3] = [Form::Wecom, Form::Dingtalk, Form::Json];

    /// The name in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Form::Wecom => "wecom",
            Form::Dingtalk => "dingtalk",
            Form::Json => "json",
        }
    }

    /// From its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Form::ALL.into_iter().find(|form| form.as_str() == name)
    }
}

/// Why a message did not arrive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Another place was named.
    #[error("status {0}: a redirect is not followed, enter the address that it leads to")]
    Redirect(u16),
    /// Refused, or broken.
    #[error("status {0}")]
    Status(u16),
    /// The service took the request and not the message.
    #[error("status 200 with errcode {0}")]
    Code(i64),
    /// The service did not say whether it took it.
    #[error("status 200 without an errcode: is this the address of a robot, and the form right?")]
    NoCode,
    /// Nothing came in time.
    #[error("no answer in time")]
    Silent,
    /// Nobody is there, or not who should be.
    #[error("no connection: {0}")]
    Connection(String),
    /// No TLS at all.
    #[error("tls: {0}")]
    Tls(String),
}

/// A message as it is sent.
pub(super) struct Letter {
    pub(super) url: Url,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

/// One notice for a program; what the recipient may not see is not there.
#[derive(Serialize)]
struct Item<'n> {
    id: u64,
    incident: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    alarm: Option<&'n str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    severity: Option<crate::model::Severity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<&'n str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    text: &'n str,
}

impl<'n> Item<'n> {
    fn new(notice: &'n Notice, fields: &[Field]) -> Self {
        let has = |field| fields.contains(&field);
        let at = || Timestamp::from_millisecond(notice.made_ms).ok().map(|at| at.to_string());
        Self {
            id: notice.id,
            incident: notice.incident.0,
            alarm: has(Field::Alarm).then(|| notice.alarm.as_str()),
            step: has(Field::State).then(|| notice.step.as_str()),
            severity: has(Field::Severity).then_some(notice.severity),
            place: notice.place.as_ref().filter(|_| has(Field::Place)).map(|place| place.as_str()),
            at: has(Field::Time).then(at).flatten(),
            text: &notice.text,
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A line for every notice, as many as may be, and how many more there are.
pub(super) fn lines(notices: &[Notice], english: bool) -> String {
    let bytes: usize = notices.iter().map(|notice| notice.text.len() + 1).sum();
    let is_whole = notices.len() <= LINES_MAX && bytes <= CHAT_BYTES_MAX;
    let room = if is_whole { CHAT_BYTES_MAX } else { CHAT_BYTES_MAX - REST_BYTES };
    let mut text = String::new();
    let mut told = 0;
    for notice in notices.iter().take(LINES_MAX) {
        if text.len() + notice.text.len() + 1 > room {
            break;
        }
        let _ = writeln!(text, "{}", notice.text);
        told += 1;
    }
    let rest = notices.len() - told;
    if rest > 0 {
        let _ = if english { write!(text, "and {rest} more") } else { write!(text, "另有 {rest} 条") };
    }
    text.trim_end().to_owned()
}

fn chat(text: &str) -> Vec<u8> {
    json!({ "msgtype": "text", "text": { "content": text } }).to_string().into_bytes()
}

/// The letter for these notices, at `wall_ms` milliseconds since 1970 UTC: signatures hold for a while only.
pub(super) fn letter(webhook: &Webhook, notices: &[Notice], wall_ms: i64) -> Letter {
    let mut url = webhook.address.url().clone();
    let mut headers = vec![("content-type", "application/json; charset=utf-8".to_owned())];
    let timestamp = wall_ms.to_string();
    let body = match webhook.form {
        Form::Wecom => chat(&lines(notices, webhook.english)),
        Form::Dingtalk => {
            if let Some(secret) = &webhook.secret {
                let sign = STANDARD.encode(secret.sign(&[timestamp.as_bytes(), b"\n", secret.bytes()]));
                url.query_pairs_mut().append_pair("timestamp", &timestamp).append_pair("sign", &sign);
            }
            chat(&lines(notices, webhook.english))
        }
        Form::Json => {
            let items: Vec<Item<'_>> =
                notices.iter().map(|notice| Item::new(notice, &webhook.fields)).collect();
            let body = json!({
                "gateway": webhook.gateway,
                "recipient": webhook.recipient.as_str(),
                "notices": items,
            });
            let body = body.to_string().into_bytes();
            if let Some(secret) = &webhook.secret {
                let signature = secret.sign(&[timestamp.as_bytes(), b".", &body]);
                headers.push(("x-smallbrain-signature", format!("sha256={}", hex(&signature))));
            }
            headers.push(("x-smallbrain-timestamp", timestamp));
            headers.push(("idempotency-key", key(webhook, notices)));
            body
        }
    };
    Letter { url, headers, body }
}

/// The same notices again have the same key.
fn key(webhook: &Webhook, notices: &[Notice]) -> String {
    let mut hash = Sha256::new();
    hash.update(webhook.gateway.as_bytes());
    hash.update([0]);
    hash.update(webhook.recipient.as_str().as_bytes());
    for notice in notices {
        hash.update(notice.id.to_be_bytes());
    }
    hex(&hash.finalize()[..16])
}

/// What the chat services answer.
#[derive(Deserialize)]
struct Answer {
    errcode: i64,
}

/// What an answer means: the proof of delivery, status and the beginning of the answer's SHA-256. `answer` is as much of it
/// as was read.
///
/// # Errors
/// [`Failure`]: it was not taken, or nobody knows.
pub(super) fn verdict(form: Form, status: u16, answer: &[u8]) -> Result<String, Failure> {
    match (form, status) {
        (_, 300..=399) => return Err(Failure::Redirect(status)),
        (Form::Json, 200..=299) => {}
        (Form::Wecom | Form::Dingtalk, 200) => {
            let answer: Answer = serde_json::from_slice(answer).map_err(|_| Failure::NoCode)?;
            if answer.errcode != 0 {
                return Err(Failure::Code(answer.errcode));
            }
        }
        _ => return Err(Failure::Status(status)),
    }
    Ok(format!("{status} sha256:{}", hex(&Sha256::digest(answer)[..8])))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::notify::Secret;
    use crate::notify::tests::{notice, webhook};

    /// The vectors below were made with Python's hmac, hashlib, base64 and urllib.
    const SECRET: &[u8] = b"SEC-test-0123456789";

    fn signed(form: Form) -> Webhook {
        Webhook { form, secret: Secret::new(SECRET), ..webhook("r", "https://host/hook?access_token=t") }
    }

    fn header(letter: &Letter, name: &str) -> Option<String> {
        letter.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
    }

    #[test]
    fn names_are_there_and_back() {
        assert!(Form::ALL.into_iter().all(|form| Form::named(form.as_str()) == Some(form)));
    }

    #[test]
    fn dingtalk_is_signed_in_its_address() {
        for (wall_ms, sign) in [
            (1_790_000_000_123, "%2FftOjHNS83sKJ4Q2aQCZjDuOWLgzaIiYDeKg301C7zU%3D"),
            (1_790_000_000_002, "neWV%2B8eAB3GVWXTeaVE3AVwcqo%2F5LRNlQEtd6X%2BNV7w%3D"),
        ] {
            let letter = letter(&signed(Form::Dingtalk), &[notice(1, "r")], wall_ms);
            let expected = format!("access_token=t&timestamp={wall_ms}&sign={sign}");
            assert_eq!(letter.url.query(), Some(expected.as_str()));
        }
        let unsigned = Webhook { secret: None, ..signed(Form::Dingtalk) };
        assert_eq!(letter(&unsigned, &[notice(1, "r")], 0).url.query(), Some("access_token=t"));
    }

    #[test]
    fn json_is_signed_over_its_bytes() {
        let webhook = Webhook {
            fields: Vec::new(),
            recipient: "resident".parse().expect("an id"),
            ..signed(Form::Json)
        };
        let notice = Notice { text: "【重要】门长开未关".into(), ..notice(7, "resident") };
        let letter = letter(&webhook, &[notice], 1_790_000_000_123);
        let body = r#"{"gateway":"gw-1","notices":[{"id":7,"incident":3,"text":"【重要】门长开未关"}],"recipient":"resident"}"#;
        assert_eq!(String::from_utf8_lossy(&letter.body), body);
        assert_eq!(letter.url.query(), Some("access_token=t"));
        for (name, value) in [
            ("x-smallbrain-timestamp", "1790000000123"),
            (
                "x-smallbrain-signature",
                "sha256=0bfb61eeeeea96d1433d1aedc8fc773f2022184b1205724d0caa7dfbb41f344d",
            ),
            ("idempotency-key", "74708bc244171ddd2a88dc8ce520323c"),
        ] {
            assert_eq!(header(&letter, name).as_deref(), Some(value), "{name}");
        }
    }

    #[test]
    fn json_has_only_the_recipient_s_fields() {
        for (fields, members) in [
            (vec![], "id incident text"),
            (vec![Field::Alarm, Field::State], "alarm id incident step text"),
            (Field::ALL.to_vec(), "alarm at id incident place severity step text"),
        ] {
            let letter = letter(&Webhook { fields, ..signed(Form::Json) }, &[notice(1, "r")], 0);
            let body: Value = serde_json::from_slice(&letter.body).expect("JSON");
            let item = body.pointer("/notices/0").and_then(Value::as_object).expect("a notice");
            let mut names: Vec<&str> = item.keys().map(String::as_str).collect();
            names.sort_unstable();
            assert_eq!(names.join(" "), members);
        }
    }

    #[test]
    fn chat_services_get_one_text() {
        for form in [Form::Wecom, Form::Dingtalk] {
            let letter = letter(&signed(form), &[notice(1, "r"), notice(2, "r")], 0);
            let body: Value = serde_json::from_slice(&letter.body).expect("JSON");
            assert_eq!(body, json!({"msgtype": "text", "text": {"content": "notice 1\nnotice 2"}}));
        }
    }

    #[test]
    fn many_lines_become_few() {
        for (count, bytes, english, lines_told, end) in [
            (1, 1000, false, 1, "x"),
            (2, 1000, false, 2, "x"),
            (3, 1000, false, 3, "另有 1 条"),
            (20, 20, false, 20, "x"),
            (21, 20, false, 21, "另有 1 条"),
            (100, 90, true, 21, "and 80 more"),
            (100, 200, true, 10, "and 91 more"),
        ] {
            let one = |id| Notice { text: "x".repeat(bytes), ..notice(id, "r") };
            let text = lines(&(1..=count).map(one).collect::<Vec<_>>(), english);
            assert!(text.len() <= CHAT_BYTES_MAX, "{} bytes", text.len());
            assert_eq!(text.lines().count(), lines_told, "{count} of {bytes} bytes");
            assert!(text.ends_with(end), "{count} of {bytes} bytes");
        }
    }

    #[test]
    fn what_answers_mean() {
        use Form::{Dingtalk, Json, Wecom};
        const TAKEN: &str = r#"{"errcode":0,"errmsg":"ok"}"#;
        for (form, status, answer, end) in [
            (Wecom, 200, TAKEN, Ok("200 sha256:3f1f7d2bbe160de9")),
            (Dingtalk, 200, TAKEN, Ok("200 sha256:3f1f7d2bbe160de9")),
            (Wecom, 200, r#"{"errcode":93000,"errmsg":"token-1"}"#, Err(Failure::Code(93000))),
            (Wecom, 200, "", Err(Failure::NoCode)),
            (Dingtalk, 200, "<html>", Err(Failure::NoCode)),
            (Wecom, 201, TAKEN, Err(Failure::Status(201))),
            (Json, 200, "", Ok("200 sha256:e3b0c44298fc1c14")),
            (Json, 204, "", Ok("204 sha256:e3b0c44298fc1c14")),
            (Json, 302, "", Err(Failure::Redirect(302))),
            (Json, 404, TAKEN, Err(Failure::Status(404))),
            (Json, 500, TAKEN, Err(Failure::Status(500))),
        ] {
            assert_eq!(verdict(form, status, answer.as_bytes()), end.map(str::to_owned), "{form:?} {status}");
        }
    }
}
