//! Lists that the city shares, in the transaction of what happens to them: their rows, a row of the trail, and what conditions
//! make of them.
//!
//! Guarantees: a list is taken whole or not at all; a version never goes back, also after the list is over; the same request
//! again changes nothing. What is in force is published after the commit that says so. The trail gets ids, counts and
//! hashes, and no key.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use super::Spine;
use crate::audit::{Action, Entry};
use crate::ingest::act::{Done, Refused as NotDone};
use crate::ingest::shared::{Put, Refused};
use crate::model::{LineId, Stamp};
use crate::rules::listed::{Held, Lists};
use crate::store::replies::Reply;
use crate::store::shared::Head;
use crate::store::{Store, StoreError, Txn};

/// What the spine keeps of shared lists.
#[derive(Debug, Default)]
pub(super) struct Shared {
    heads: BTreeMap<LineId, Head>,
    held: Lists,
    /// Something of it is over then, milliseconds since 1970 UTC.
    due_ms: Option<i64>,
    is_news: bool,
}

impl Shared {
    fn follow(&mut self, now: Stamp) {
        self.due_ms = self.held.values().filter_map(|held| held.next_ms(now.wall_ms)).min();
        self.is_news = true;
    }
}

impl Spine {
    /// Takes up what the store kept of lists, before alarms are taken up: conditions look into them. What the configuration
    /// does not have any more goes.
    pub(super) fn restore_shared(&mut self, store: &mut Store, now: Stamp) -> Result<(), StoreError> {
        let heads = store.shared()?;
        let is_known = |head: &Head| self.plan.rules.shared.iter().any(|line| line.id == head.list);
        let (known, gone): (Vec<Head>, Vec<Head>) = heads.into_iter().partition(is_known);
        for head in known {
            if !head.over {
                self.shared.held.insert(head.list.clone(), Arc::new(store.shared_entries(&head)?));
            }
            self.shared.heads.insert(head.list.clone(), head);
        }
        let mut txn = store.begin()?;
        for head in gone {
            txn.drop_shared(&head.list)?;
            let entry = Entry::gateway(Action::SharedExpire, object(&head.list, head.version));
            txn.audit(&Entry { reason: Some("not_configured".into()), ..entry }, now)?;
        }
        self.shared.follow(now);
        self.shared_over(&mut txn, now)?;
        txn.commit()?;
        self.engine.set_lists(self.shared.held.clone(), now);
        Ok(())
    }

    /// The lists that hold, once after each change.
    pub fn take_shared(&mut self) -> Option<Lists> {
        std::mem::take(&mut self.shared.is_news).then(|| self.shared.held.clone())
    }

    /// Ends lists whose time is over.
    pub(super) fn shared_tick(&mut self, txn: &mut Txn<'_>, now: Stamp) -> Result<(), StoreError> {
        if self.shared.due_ms.is_none_or(|due_ms| now.wall_ms < due_ms) {
            return Ok(());
        }
        for list in self.shared_over(txn, now)? {
            self.engine.set_list(&list, None, now);
        }
        self.follow(txn, now)
    }

    fn shared_over(&mut self, txn: &mut Txn<'_>, now: Stamp) -> Result<Vec<LineId>, StoreError> {
        let over = |(list, held): (&LineId, &Arc<Held>)| held.is_over(now.wall_ms).then(|| list.clone());
        let over: Vec<LineId> = self.shared.held.iter().filter_map(over).collect();
        for list in &over {
            self.shared.held.remove(list);
            let Some(head) = self.shared.heads.get_mut(list) else { continue };
            head.over = true;
            txn.set_shared(head, &[])?;
            txn.audit(&Entry::gateway(Action::SharedExpire, object(list, head.version)), now)?;
        }
        self.shared.follow(now);
        Ok(over)
    }

    /// Takes a list from the city.
    pub(super) fn put_list(
        &mut self,
        txn: &mut Txn<'_>,
        put: &Put,
        now: Stamp,
    ) -> Result<Result<Done, NotDone>, StoreError> {
        let refuse = |refused: Refused| Ok(Err(NotDone::Shared(refused)));
        let line = self.plan.rules.shared.iter().find(|line| line.id == put.list);
        let Some(line) = line.filter(|line| line.consumers.contains(&put.consumer)) else {
            return refuse(Refused::NotTheirs(put.list.clone()));
        };
        if let Some(reply) = txn.reply(&put.consumer, &put.request)? {
            let answered = (reply.asked == put.asked).then(|| answer(&reply.answer)).flatten();
            return match answered {
                Some((version, entries)) => Ok(Ok(Done::SharedList { version, entries, duplicate: true })),
                None => refuse(Refused::Reused),
            };
        }
        let found = put.entries.len();
        if found > line.entries_max {
            return refuse(Refused::Full { list: put.list.clone(), most: line.entries_max, found });
        }
        let digest = put.digest();
        let known = self.shared.heads.get(&put.list);
        let is_same = known.is_some_and(|head| head.version == put.version && head.digest == digest);
        if let Some(head) = known.filter(|head| head.version >= put.version && !is_same) {
            let (ours, theirs) = (head.version, put.version);
            return refuse(Refused::Old { list: put.list.clone(), ours, theirs });
        }
        let reply = Reply { asked: put.asked, answer: json!([put.version, found]).to_string() };
        txn.replied(&put.consumer, &put.request, &reply, now.wall_ms)?;
        if !is_same {
            let purpose = Some(line.purpose.clone());
            let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            let entry = Entry::by(
                put.consumer.as_str(),
                "consumer",
                Action::SharedPut,
                object(&put.list, put.version),
            );
            let detail = json!({ "entries": found, "digest": hex, "until_ms": put.until_ms });
            txn.audit(&Entry { purpose, ..entry.with(detail) }, now)?;
            self.take_list(txn, put, digest, now)?;
        }
        let entries = u32::try_from(found).unwrap_or(u32::MAX);
        Ok(Ok(Done::SharedList { version: put.version, entries, duplicate: false }))
    }

    fn take_list(
        &mut self,
        txn: &mut Txn<'_>,
        put: &Put,
        digest: [u8; 32],
        now: Stamp,
    ) -> Result<(), StoreError> {
        let head = Head {
            list: put.list.clone(),
            version: put.version,
            consumer: put.consumer.clone(),
            put_ms: now.wall_ms,
            until_ms: put.until_ms,
            digest,
            over: false,
        };
        txn.set_shared(&head, &put.entries)?;
        let held = Arc::new(Held::new(put.version, put.until_ms, put.entries.iter().cloned()));
        self.shared.heads.insert(put.list.clone(), head);
        self.shared.held.insert(put.list.clone(), held.clone());
        self.shared.follow(now);
        self.engine.set_list(&put.list, Some(held), now);
        Ok(())
    }
}

fn object(list: &LineId, version: u64) -> String {
    format!("shared:{list}@{version}")
}

/// What was answered before.
fn answer(text: &str) -> Option<(u64, u32)> {
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests;
