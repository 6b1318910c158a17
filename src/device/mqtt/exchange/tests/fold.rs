//! What the journal makes of a store, and what the exchange would have it be.

use super::*;
use crate::store::sessions::SavedDelivery;

fn known(sessions: &mut [SavedSession], session: SessionId) -> &mut SavedSession {
    sessions.iter_mut().find(|known| known.id == session).expect("a session that was opened")
}

/// Applies a change as the store does.
pub(super) fn apply(saved: &mut Saved, change: Change) {
    let sessions = &mut saved.sessions;
    match change {
        Change::Open { session, client, expiry_s } => {
            match sessions.binary_search_by_key(&session, |known| known.id) {
                Ok(at) => {
                    assert_eq!(sessions[at].client, client);
                    (sessions[at].expiry_s, sessions[at].left_ms) = (expiry_s, None);
                }
                Err(at) => {
                    assert!(sessions.iter().all(|known| known.client != client), "one session a client");
                    let (subscriptions, queue, received) = (vec![], vec![], vec![]);
                    let new = SavedSession {
                        id: session,
                        client,
                        expiry_s,
                        left_ms: None,
                        subscriptions,
                        queue,
                        received,
                    };
                    sessions.insert(at, new);
                }
            }
        }
        Change::Left { session, at_ms, expiry_s } => {
            let known = known(sessions, session);
            (known.expiry_s, known.left_ms) = (expiry_s, Some(at_ms));
        }
        Change::Forget { session } => {
            sessions.retain(|known| known.id != session);
        }
        Change::Subscribe { session, filter, options, identifier } => {
            let subscriptions = &mut known(sessions, session).subscriptions;
            subscriptions.retain(|(other, ..)| *other != filter);
            subscriptions.push((filter, options, identifier));
            subscriptions.sort_by(|one, other| one.0.cmp(&other.0));
        }
        Change::Unsubscribe { session, filter } => {
            known(sessions, session).subscriptions.retain(|(other, ..)| *other != filter);
        }
        Change::Queue { session, seq, message, qos, retain, identifiers } => {
            let queue = &mut known(sessions, session).queue;
            assert!(queue.last().is_none_or(|last| last.seq < seq), "numbers rise");
            queue.push(SavedDelivery { seq, message, qos, retain, identifiers, recorded: false });
        }
        Change::Recorded { session, seq } => {
            let queue = &mut known(sessions, session).queue;
            queue.iter_mut().find(|known| known.seq == seq).expect("a delivery that was queued").recorded =
                true;
        }
        Change::Done { session, seq } => {
            let queue = &mut known(sessions, session).queue;
            let at = queue.iter().position(|known| known.seq == seq).expect("a delivery that was queued");
            queue.remove(at);
        }
        Change::Received { session, pkid } => {
            let received = &mut known(sessions, session).received;
            received.push(pkid);
            received.sort_unstable();
            received.dedup();
        }
        Change::Released { session, pkid } => {
            known(sessions, session).received.retain(|known| *known != pkid);
        }
        Change::Retain(message) => {
            saved.retained.retain(|known| known.topic != message.topic);
            saved.retained.push(message);
            saved.retained.sort_by(|one, other| one.topic.cmp(&other.topic));
        }
        Change::Unretain { topic } => saved.retained.retain(|known| known.topic != topic),
    }
}

/// What the store has to hold. `received` of clients that are there is theirs to know.
pub(super) fn state(exchange: &Exchange, received: impl Fn(SessionId) -> Vec<u16>) -> Saved {
    let entries = exchange.tree.entries();
    let subscriptions = |session: SessionId| {
        let own = entries.iter().filter(|(.., entry)| entry.session == session);
        let mut all: Vec<_> = own
            .map(|(group, filter, entry)| {
                let text = group.as_ref().map_or(filter.clone(), |group| format!("$share/{group}/{filter}"));
                (text.into_boxed_str(), entry.options, entry.identifier)
            })
            .collect();
        all.sort_by(|one, other| one.0.cmp(&other.0));
        all
    };
    let kept = exchange.sessions.iter().filter(|(_, known)| known.is_kept());
    let sessions = kept.map(|(session, known)| SavedSession {
        id: *session,
        client: (*known.client).into(),
        expiry_s: known.expiry_s,
        left_ms: known.here.is_none().then_some(known.left_ms),
        subscriptions: subscriptions(*session),
        queue: known.queue.saved(),
        received: if known.here.is_some() { received(*session) } else { known.received.clone() },
    });
    Saved { sessions: sessions.collect(), retained: exchange.retained().cloned().collect() }
}
