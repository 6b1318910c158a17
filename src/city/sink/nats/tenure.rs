//! Leases as keys of a bucket whose values live for [`TTL`]: `gateway.<id>` and `collector.<holder>`.

use std::collections::{BTreeMap, BTreeSet};

use async_nats::jetstream::Context;
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::kv::{CreateErrorKind, Store, UpdateErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy};
use tokio_stream::StreamExt;

use super::away;
use crate::city::lease::{Seen, TTL, holder};
use crate::city::sink::SinkError;

const GATEWAY: &str = "gateway.";
const COLLECTOR: &str = "collector.";

/// This collector's leases, and the revision of each.
pub struct Tenure {
    store: Store,
    holder: String,
    held: BTreeMap<String, u64>,
}

impl std::fmt::Debug for Tenure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.holder)
    }
}

impl Tenure {
    pub(super) async fn open(context: &Context, bucket: String, name: &str) -> Result<Self, SinkError> {
        // A bucket is a stream of a certain shape. Making that one asks nothing of the server that 2.9 does not have.
        let config = Config {
            name: format!("KV_{bucket}"),
            subjects: vec![format!("$KV.{bucket}.>")],
            max_messages_per_subject: 1,
            max_age: TTL,
            duplicate_window: TTL,
            discard: DiscardPolicy::New,
            allow_rollup: true,
            deny_delete: true,
            allow_direct: true,
            ..Config::default()
        };
        context.get_or_create_stream(config).await.map_err(away)?;
        let store = context.get_key_value(&bucket).await.map_err(away)?;
        Ok(Self { store, holder: holder(name), held: BTreeMap::new() })
    }

    pub(in crate::city) async fn renew(&mut self) -> Result<Seen, SinkError> {
        let own = format!("{COLLECTOR}{}", self.holder);
        self.store.put(own, self.holder.clone().into()).await.map_err(away)?;
        for (id, revision) in self.held.clone() {
            let update = self.store.update(key(&id), self.holder.clone().into(), revision).await;
            match update {
                Ok(revision) => {
                    self.held.insert(id, revision);
                }
                Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {
                    self.held.remove(&id);
                }
                Err(error) => return Err(away(error)),
            }
        }
        let mut seen = Seen { held: self.held.keys().cloned().collect(), ..Seen::default() };
        let mut keys = self.store.keys().await.map_err(away)?;
        while let Some(key) = keys.next().await {
            let key = key.map_err(away)?;
            if let Some(id) = key.strip_prefix(GATEWAY) {
                seen.leased.insert(id.to_owned());
            } else if key.starts_with(COLLECTOR) {
                seen.live += 1;
            }
        }
        Ok(seen)
    }

    pub(in crate::city) async fn claim(&mut self, ids: &[String]) -> Result<BTreeSet<String>, SinkError> {
        let mut got = BTreeSet::new();
        for id in ids {
            match self.store.create(key(id), self.holder.clone().into()).await {
                Ok(revision) => {
                    self.held.insert(id.clone(), revision);
                    got.insert(id.clone());
                }
                Err(error) if error.kind() == CreateErrorKind::AlreadyExists => {}
                Err(error) => return Err(away(error)),
            }
        }
        Ok(got)
    }

    pub(in crate::city) async fn give_back(&mut self, ids: &[String]) -> Result<(), SinkError> {
        for id in ids {
            let Some(revision) = self.held.remove(id) else { continue };
            match self.store.delete_expect_revision(key(id), Some(revision)).await {
                Ok(()) => {}
                // It was over, and somebody else has it.
                Err(error) if lost(&error) => {}
                Err(error) => return Err(away(error)),
            }
        }
        Ok(())
    }

    pub(in crate::city) async fn leave(&mut self) -> Result<(), SinkError> {
        let all: Vec<String> = self.held.keys().cloned().collect();
        self.give_back(&all).await?;
        self.store.delete(format!("{COLLECTOR}{}", self.holder)).await.map_err(away)
    }
}

fn key(id: &str) -> String {
    format!("{GATEWAY}{id}")
}

fn lost(error: &async_nats::jetstream::kv::DeleteError) -> bool {
    let source = std::error::Error::source(error);
    let publish =
        source.and_then(|cause| cause.downcast_ref::<async_nats::jetstream::context::PublishError>());
    publish.is_some_and(|error| error.kind() == PublishErrorKind::WrongLastSequence)
}
