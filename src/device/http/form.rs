//! What the head of a request says: its topic, its login, and the form of its body. Pure.
//!
//! Guarantees: whatever the bytes, an answer or a refusal; a login that cannot be read is none. Checks nobody.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::device::mqtt::topic;

/// How a body is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The body is the payload.
    Whole,
    /// The first JSON part is, with this boundary.
    Parts(String),
}

/// The topic that a path stands for: percent-decoded (RFC 3986 §2.1) and without the slash in front. None when that is no
/// topic.
pub(super) fn topic(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.strip_prefix('/')?.bytes();
    while let Some(byte) = rest.next() {
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        bytes.push(match byte {
            b'%' => u8::try_from(digit(rest.next())? << 4 | digit(rest.next())?).ok()?,
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok().filter(|text| topic::is_name(text))
}

/// User and password of a header `authorization` (RFC 7617). None when it is of another scheme, or none.
pub(super) fn login(value: &str) -> Option<(String, String)> {
    let (scheme, token) = value.trim().split_once(' ')?;
    let text = STANDARD.decode(token.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let text = String::from_utf8(text).ok()?;
    text.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
}

/// How a body of a content type is read; who tells none sends JSON. None of a type that is not taken.
pub(super) fn form(content_type: Option<&str>) -> Option<Form> {
    let Some(told) = content_type else { return Some(Form::Whole) };
    match essence(told).to_ascii_lowercase().as_str() {
        kind if is_json(kind) => Some(Form::Whole),
        // Conventions of bytes: what they are the mapping knows.
        "application/octet-stream" => Some(Form::Whole),
        "multipart/form-data" => parameter(told, "boundary").map(|boundary| Form::Parts(boundary.to_owned())),
        _ => None,
    }
}

/// A media type without its parameters (RFC 9110 §8.3.1).
pub(super) fn essence(value: &str) -> &str {
    value.split(';').next().unwrap_or_default().trim()
}

/// Whether a media type is JSON (RFC 6839 §3.1 for the suffix).
pub(super) fn is_json(kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    matches!(kind.as_str(), "application/json" | "text/json" | "application/x-ndjson")
        || kind.ends_with("+json")
}

/// A parameter of a header's value, without its quotes.
pub(super) fn parameter<'v>(value: &'v str, name: &str) -> Option<&'v str> {
    let mut parameters = value.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let (_, value) = parameters.find(|(key, _)| key.trim().eq_ignore_ascii_case(name))?;
    let value = value.trim();
    Some(value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_is_a_topic() {
        for (path, expected) in [
            ("/compound/door-1/up", Some("compound/door-1/up")),
            ("/%E9%97%A8/1", Some("门/1")),
            ("/a%2Fb%20c", Some("a/b c")),
            ("//a", Some("/a")),
            ("/$oc/devices/1/sys", Some("$oc/devices/1/sys")),
            ("/", None),
            ("", None),
            ("*", None),
            ("/a/+/b", None),
            ("/a/%23", None),
            ("/a%00", None),
            ("/%FF", None),
            ("/a%2", None),
            ("/a%+1", None),
        ] {
            assert_eq!(topic(path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn a_login_is_basic() {
        for (value, expected) in [
            ("Basic ZG9vci0xOnNlY3JldA==", Some(("door-1", "secret"))),
            ("basic  ZG9vci0xOnNlY3JldA== ", Some(("door-1", "secret"))),
            ("Basic ZG9vci0xOmE6Yg==", Some(("door-1", "a:b"))),
            ("Basic Og==", Some(("", ""))),
            ("Basic ZG9vci0x", None),
            ("Basic /w==", None),
            ("Basic", None),
            ("Digest username=\"door-1\"", None),
            ("Bearer ZG9vci0xOnNlY3JldA==", None),
        ] {
            let login = login(value);
            let login = login.as_ref().map(|(user, password)| (user.as_str(), password.as_str()));
            assert_eq!(login, expected, "{value}");
        }
    }

    #[test]
    fn forms_by_content_type() {
        let parts = |boundary: &str| Some(Form::Parts(boundary.to_owned()));
        for (content_type, expected) in [
            (None, Some(Form::Whole)),
            (Some("application/json"), Some(Form::Whole)),
            (Some("Application/JSON; charset=utf-8"), Some(Form::Whole)),
            (Some("application/senml+json"), Some(Form::Whole)),
            (Some("application/octet-stream"), Some(Form::Whole)),
            (Some("multipart/form-data; boundary=MIME_boundary"), parts("MIME_boundary")),
            (Some("multipart/form-data; charset=utf-8; Boundary=\"a b\""), parts("a b")),
            (Some("multipart/form-data"), None),
            (Some("application/xml"), None),
            (Some("text/plain"), None),
            (Some("application/x-www-form-urlencoded"), None),
            (Some("json"), None),
            (Some(""), None),
        ] {
            assert_eq!(form(content_type), expected, "{content_type:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_an_answer_or_none(text in "\\PC{0,60}") {
            let _ = (login(&text), form(Some(&text)), parameter(&text, "boundary"));
            if let Some(topic) = topic(&text) {
                prop_assert!(topic::is_name(&topic));
            }
        }
    }
}
