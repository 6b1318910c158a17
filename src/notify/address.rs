//! Where a webhook is, and what signs its messages. Neither shows what is secret about it: of an address only scheme, host and
//! port are ever printed, because tokens live in its path and query.

use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, KeyInit, Mac};
use reqwest::Url;
use sha2::Sha256;

/// Longest address, bytes.
const ADDRESS_BYTES_MAX: usize = 2048;

/// A text that is no address of a webhook. It never quotes the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not a URL.
    #[error("this is no address of a webhook ({0}); it looks like https://host/path")]
    Form(String),
    /// Neither http nor https, or no host.
    #[error("the address of a webhook begins with https:// (or http://) and a host")]
    Scheme,
    /// User and password in it.
    #[error("the address of a webhook holds no user and password; sign its messages with a secret")]
    Login,
    /// Too long.
    #[error("the address of a webhook has {0} bytes, and at most 2048 are taken")]
    Long(usize),
}

/// The address of a webhook: http or https, with a host.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(Url);

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.len() > ADDRESS_BYTES_MAX {
            return Err(AddressError::Long(text.len()));
        }
        let url = Url::parse(text).map_err(|error| AddressError::Form(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(AddressError::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(AddressError::Login);
        }
        Ok(Self(url))
    }
}

impl Address {
    /// Whether what is sent there is encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Whether it is of this machine, so that nobody on the way reads along.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let host = self.0.host_str().unwrap_or_default().trim_matches(['[', ']']);
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// All of it, to be dialled and never shown.
    pub(super) fn url(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.origin().ascii_serialization())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

/// What signs messages.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// From a file's content, without the white space around it; none when nothing is left.
    #[must_use]
    pub fn new(content: &[u8]) -> Option<Self> {
        let secret = content.trim_ascii();
        (!secret.is_empty()).then(|| Self(secret.into()))
    }

    /// HMAC-SHA256 (RFC 2104) over the parts, one after the other.
    pub(super) fn sign(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key of any length will do");
        parts.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes().into()
    }

    /// The secret itself, for a signature that is also over it.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_web_addresses() {
        for (text, good) in [
            ("https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=k", true),
            ("http://127.0.0.1:8080", true),
            ("ftp://host/", false),
            ("https://user:password@host/", false),
            ("https://user@host/", false),
            ("file:///etc/passwd", false),
            ("host/path", false),
            ("", false),
        ] {
            assert_eq!(text.parse::<Address>().is_ok(), good, "{text}");
        }
        let long = format!("https://host/{}", "x".repeat(ADDRESS_BYTES_MAX));
        assert_eq!(long.parse::<Address>(), Err(AddressError::Long(long.len())));
    }

    #[test]
    fn nothing_secret_is_shown() {
        let address: Address =
            "https://host:8443/hook/token-1?key=token-2#token-3".parse().expect("an address");
        let secret = Secret::new(b"  token-4\n").expect("not empty");
        let error = "https://to ken-5/?key=token-6".parse::<Address>().expect_err("no address");
        let shown = format!("{address} {address:?} {secret:?} {error} {error:?}");
        assert!(!shown.contains("ken-"), "{shown}");
        assert!(shown.contains("https://host:8443"), "{shown}");
        assert_eq!(secret.bytes(), b"token-4");
        assert_eq!(Secret::new(b" \n"), None);
    }
}
