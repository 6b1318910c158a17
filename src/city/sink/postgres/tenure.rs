//! Leases as rows: who pulls from whom, by the database's clock.

use std::collections::BTreeSet;

use tokio_postgres::{Client, Error};

use super::{Place, away};
use crate::city::lease::{Seen, TTL};
use crate::city::sink::SinkError;

/// This collector's leases.
pub struct Tenure {
    place: Place,
    holder: String,
    client: Option<Client>,
}

impl std::fmt::Debug for Tenure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.holder)
    }
}

impl Tenure {
    pub(super) fn new(place: Place, name: &str) -> Self {
        Self { place, holder: crate::city::lease::holder(name), client: None }
    }

    pub(in crate::city) async fn renew(&mut self) -> Result<Seen, SinkError> {
        let holder = self.holder.clone();
        let client = self.client().await?;
        let done = renew(client, &holder).await;
        self.settled(done)
    }

    pub(in crate::city) async fn claim(&mut self, ids: &[String]) -> Result<BTreeSet<String>, SinkError> {
        let holder = self.holder.clone();
        let client = self.client().await?;
        let sql = "INSERT INTO smallbrain_lease AS l (gateway, holder, until)
            SELECT id, $2, now() + make_interval(secs => $3) FROM unnest($1::text[]) AS i (id)
            ON CONFLICT (gateway) DO UPDATE SET holder = excluded.holder, until = excluded.until
                WHERE l.until <= now()
            RETURNING gateway";
        let rows = client.query(sql, &[&ids, &holder, &TTL.as_secs_f64()]).await;
        let done = rows.and_then(|rows| rows.iter().map(|row| row.try_get(0)).collect());
        self.settled(done)
    }

    pub(in crate::city) async fn give_back(&mut self, ids: &[String]) -> Result<(), SinkError> {
        let holder = self.holder.clone();
        let client = self.client().await?;
        let sql = "DELETE FROM smallbrain_lease WHERE holder = $1 AND gateway = ANY($2)";
        let done = client.execute(sql, &[&holder, &ids]).await.map(|_| ());
        self.settled(done)
    }

    pub(in crate::city) async fn leave(&mut self) -> Result<(), SinkError> {
        let holder = self.holder.clone();
        let client = self.client().await?;
        let done = leave(client, &holder).await;
        self.settled(done)
    }

    async fn client(&mut self) -> Result<&Client, SinkError> {
        if self.client.as_ref().is_none_or(Client::is_closed) {
            self.client = Some(self.place.connect().await?);
        }
        self.client.as_ref().ok_or_else(|| SinkError::Away("postgresql", "no connection".to_owned()))
    }

    /// After an error the next call connects anew.
    fn settled<T>(&mut self, done: Result<T, Error>) -> Result<T, SinkError> {
        done.map_err(|error| {
            self.client = None;
            away(&error)
        })
    }
}

async fn renew(client: &Client, holder: &str) -> Result<Seen, Error> {
    let ttl = TTL.as_secs_f64();
    let sql =
        "INSERT INTO smallbrain_collector (holder, until) VALUES ($1, now() + make_interval(secs => $2))
        ON CONFLICT (holder) DO UPDATE SET until = excluded.until";
    client.execute(sql, &[&holder, &ttl]).await?;
    let sql = "UPDATE smallbrain_lease SET until = now() + make_interval(secs => $2) WHERE holder = $1
        RETURNING gateway";
    let rows = client.query(sql, &[&holder, &ttl]).await?;
    let held = rows.iter().map(|row| row.try_get(0)).collect::<Result<BTreeSet<String>, _>>()?;
    let rows = client.query("SELECT gateway FROM smallbrain_lease WHERE until > now()", &[]).await?;
    let leased = rows.iter().map(|row| row.try_get(0)).collect::<Result<BTreeSet<String>, _>>()?;
    let sql = "SELECT count(*) FROM smallbrain_collector WHERE until > now()";
    let live: i64 = client.query_one(sql, &[]).await?.try_get(0)?;
    Ok(Seen { held, leased, live: usize::try_from(live).unwrap_or(1) })
}

async fn leave(client: &Client, holder: &str) -> Result<(), Error> {
    client.execute("DELETE FROM smallbrain_lease WHERE holder = $1", &[&holder]).await?;
    // Those that died are cleared away by whoever leaves politely.
    let sql = "DELETE FROM smallbrain_collector WHERE holder = $1 OR until < now() - interval '1 hour'";
    client.execute(sql, &[&holder]).await?;
    Ok(())
}
