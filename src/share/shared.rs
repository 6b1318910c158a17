//! Lists that the city shares: checked here, kept and looked into by the one way through.
//!
//! Guarantees: only a consumer that a list names is heard, and no more than any consumer may say; a key that could name
//! somebody in the clear is not taken. No key reaches log or error. Does not compare versions: the writer does.

use std::collections::HashSet;

use prost::Message as _;
use sha2::{Digest, Sha256};

use super::Pages;
use super::batch::Caller;
use super::calls::Shell;
use super::refused::Refused;
use crate::ingest::Stopped;
use crate::ingest::act::{self, Act, Done};
use crate::ingest::shared::{self, Put};
use crate::model::{Consumer, LineId};
use crate::privacy::intake::names_a_person;
use crate::rules::listed::Entry;
use crate::wire::v1;

/// Bytes of a request's id, and of a key.
const ID_MAX: usize = 128;
/// The longest life of a list, milliseconds.
const LIFE_MAX_MS: i64 = 400 * 86_400_000;

/// What a call says.
fn parse(consumer: Consumer, mut asked: v1::PutSharedListRequest, now_ms: i64) -> Result<Put, Refused> {
    let request = std::mem::take(&mut asked.request_id);
    if !(1..=ID_MAX).contains(&request.len()) {
        return Err(Refused::Malformed("request_id has to have 1 to 128 bytes"));
    }
    let digest = Sha256::digest(asked.encode_to_vec()).into();
    let list: LineId = asked.list.parse().map_err(|_| Refused::Malformed("list has to be the id of one"))?;
    if asked.version == 0 || i64::try_from(asked.version).is_err() {
        return Err(Refused::Malformed("version has to be 1 to 2^63 - 1"));
    }
    let until_ms =
        time(asked.not_after)?.ok_or(Refused::Malformed("not_after is needed: when it is over"))?;
    if until_ms <= now_ms || until_ms > now_ms.saturating_add(LIFE_MAX_MS) {
        return Err(Refused::Malformed("not_after has to be in the next 400 days"));
    }
    let (mut keys, mut entries) = (HashSet::with_capacity(asked.entries.len()), Vec::new());
    for v1::SharedListEntry { key, not_before, not_after } in asked.entries {
        if !(1..=ID_MAX).contains(&key.len()) || key.chars().any(char::is_control) || key.trim() != key {
            return Err(Refused::Malformed("a key has to have 1 to 128 bytes that can be printed"));
        }
        if names_a_person(&key) {
            return Err(Refused::Personal);
        }
        let (from_ms, ends_ms) = (time(not_before)?, time(not_after)?);
        if from_ms.zip(ends_ms).is_some_and(|(from_ms, ends_ms)| from_ms >= ends_ms) {
            return Err(Refused::Malformed("an entry ends before it begins"));
        }
        if !keys.insert(key.clone()) {
            return Err(Refused::Malformed("a key stands twice"));
        }
        entries.push(Entry { key: key.into(), from_ms, until_ms: ends_ms });
    }
    Ok(Put { consumer, request, asked: digest, list, version: asked.version, until_ms, entries })
}

/// Milliseconds since 1970 UTC.
fn time(at: Option<prost_types::Timestamp>) -> Result<Option<i64>, Refused> {
    let ms = |at: prost_types::Timestamp| {
        let nanos = (0..1_000_000_000).contains(&at.nanos).then_some(i64::from(at.nanos))?;
        at.seconds.checked_mul(1000)?.checked_add(nanos / 1_000_000)
    };
    at.map(|at| ms(at).ok_or(Refused::Malformed("a time is none"))).transpose()
}

impl<P: Pages> Shell<P> {
    /// Takes a list; answers when it is on disk.
    pub(super) async fn put_list(
        &self,
        caller: Caller,
        asked: v1::PutSharedListRequest,
    ) -> Result<v1::PutSharedListResponse, Refused> {
        let consumer = caller.consumer;
        let is_named = |line: &crate::rules::listed::Line| {
            line.id.as_str() == asked.list && line.consumers.contains(&consumer)
        };
        if !self.city.shared.borrow().iter().any(is_named) {
            return Err(Refused::NotListed(consumer));
        }
        self.within_rate(&consumer)?;
        let put = parse(consumer.clone(), asked, self.city.clock.now().wall_ms)?;
        let (list, version) = (put.list.clone(), put.version);
        match self.city.intake.act(Act::SharedList(Box::new(put))).await? {
            Ok(Done::SharedList { version, entries, duplicate }) => {
                tracing::info!(%consumer, %list, version, entries, duplicate, "the city shares a list");
                Ok(v1::PutSharedListResponse { version, entries, duplicate })
            }
            Err(act::Refused::Shared(shared::Refused::NotTheirs(_))) => Err(Refused::NotListed(consumer)),
            Err(act::Refused::Shared(refused)) => {
                tracing::info!(%consumer, %list, version, %refused, "a shared list is refused");
                Err(Refused::Shared(refused))
            }
            // A list is answered in no other way: one that is could not be told apart from nothing stored.
            Ok(_) | Err(_) => Err(Stopped.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_795_190_400_000;

    fn at(ms: i64) -> Option<prost_types::Timestamp> {
        let nanos = i32::try_from(ms.rem_euclid(1000)).expect("fits") * 1_000_000;
        Some(prost_types::Timestamp { seconds: ms.div_euclid(1000), nanos })
    }

    fn entry(key: &str) -> v1::SharedListEntry {
        v1::SharedListEntry { key: key.into(), ..v1::SharedListEntry::default() }
    }

    fn good() -> v1::PutSharedListRequest {
        v1::PutSharedListRequest {
            request_id: "r-1".into(),
            list: "permitted".into(),
            version: 1,
            entries: vec![entry("9f86d081884c7d659a2feaa0c55ad015"), entry("P-17")],
            not_after: at(NOW_MS + 1),
        }
    }

    fn parsed(asked: v1::PutSharedListRequest) -> Result<Put, Refused> {
        parse("spiffe://city.example/a".parse().expect("consumer"), asked, NOW_MS)
    }

    #[test]
    fn the_digest_of_a_request_is_that_of_everything_but_its_id() {
        let one = parsed(good()).expect("good");
        let again = parsed(v1::PutSharedListRequest { request_id: "r-2".into(), ..good() }).expect("good");
        let other = parsed(v1::PutSharedListRequest { version: 2, ..good() }).expect("good");
        assert_eq!((one.asked, one.digest()), (again.asked, again.digest()));
        assert_eq!((one.asked == other.asked, one.digest()), (false, other.digest()));
        let turned = good().entries.into_iter().rev().collect();
        let turned = parsed(v1::PutSharedListRequest { entries: turned, ..good() }).expect("good");
        assert_eq!((one.asked == turned.asked, one.digest()), (false, turned.digest()));
    }

    #[test]
    fn what_is_not_as_it_has_to_be_is_refused_by_its_reason() {
        let with = |entry| v1::PutSharedListRequest { entries: vec![entry], ..good() };
        let between =
            |from, until| v1::SharedListEntry { not_before: at(from), not_after: at(until), ..entry("a") };
        for (asked, reason) in [
            (v1::PutSharedListRequest { request_id: String::new(), ..good() }, "malformed"),
            (v1::PutSharedListRequest { request_id: "r".repeat(129), ..good() }, "malformed"),
            (v1::PutSharedListRequest { list: "a b".into(), ..good() }, "malformed"),
            (v1::PutSharedListRequest { version: 0, ..good() }, "malformed"),
            (v1::PutSharedListRequest { version: u64::MAX, ..good() }, "malformed"),
            (v1::PutSharedListRequest { not_after: None, ..good() }, "malformed"),
            (v1::PutSharedListRequest { not_after: at(NOW_MS), ..good() }, "malformed"),
            (v1::PutSharedListRequest { not_after: at(NOW_MS + LIFE_MAX_MS + 1), ..good() }, "malformed"),
            (
                v1::PutSharedListRequest {
                    not_after: Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 }),
                    ..good()
                },
                "malformed",
            ),
            (with(entry("")), "malformed"),
            (with(entry("a\n")), "malformed"),
            (with(entry(&"k".repeat(129))), "malformed"),
            (with(between(5, 5)), "malformed"),
            (v1::PutSharedListRequest { entries: vec![entry("a"), entry("a")], ..good() }, "malformed"),
            (with(entry("沪A12345")), "personal"),
            (with(entry("13812345678")), "personal"),
            (with(entry("somebody@example.com")), "personal"),
        ] {
            let refused = parsed(asked).expect_err(reason);
            assert_eq!(refused.reason(), reason, "{refused}");
            assert!(!refused.to_string().contains("12345"), "{refused}");
        }
    }
}
