//! PostgreSQL: records, gaps and cursors in one transaction, batches of several gateways together.
//!
//! Guarantees: a cursor moves only from where its collector believes it to be, so of two collectors one is told
//! [`SinkError::Moved`]; a record that is there with another hash is told and moves nothing. Every batch waits in a bounded
//! queue for the one task that writes; what cannot be stored is told to whoever brought it, and costs the others nothing.

mod committer;
mod schema;
mod tenure;

use std::path::Path;
use std::sync::Arc;

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_postgres::{Client, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore, pki_types::CertificateDer, pki_types::pem::PemObject,
};

use super::{Kept, SinkError, State};
use crate::audit::checkpoint::Checkpoint;
use crate::city::batch::{Item, hex, items};
use crate::share::position::{Mark, Position};
use crate::wire::{self, v1};
pub use tenure::Tenure;

/// Batches that wait for the writer; whoever brings one more waits before the queue.
const QUEUE: usize = 256;

/// Where the database is.
#[derive(Clone)]
struct Place {
    url: Arc<str>,
    tls: Option<MakeRustlsConnect>,
}

/// The database.
pub struct Database {
    place: Place,
    /// One line for all that only read: a thousand gateways that open their drawers are no thousand connections.
    reader: Mutex<Option<Arc<Client>>>,
    work: mpsc::Sender<Work>,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Database")
    }
}

/// Something to write, and who waits for it.
#[derive(Debug)]
struct Work {
    job: Job,
    done: oneshot::Sender<Result<(), SinkError>>,
}

/// Something to write.
#[derive(Debug)]
enum Job {
    /// A batch.
    Batch(Box<Sheet>),
    /// A position of the trail.
    Witness(String, Kept),
    /// The operator's word.
    Accept(String, String),
    /// Another epoch, from and to.
    Reset(String, String, String),
}

/// A batch as rows.
#[derive(Debug)]
struct Sheet {
    gateway: String,
    epoch: String,
    lane: &'static str,
    records: Vec<v1::Record>,
    gaps: Vec<v1::Gap>,
    /// Where the cursor has to be; none when there is none yet.
    expected: Option<u64>,
    seq: u64,
    hash: Option<Vec<u8>>,
}

/// One gateway's rows.
#[derive(Debug)]
pub struct Rows {
    gateway: String,
    work: mpsc::Sender<Work>,
    /// The cursors as they are in the database.
    known: Position,
}

fn away(error: &tokio_postgres::Error) -> SinkError {
    // The message of the server names the thing; values of rows are in its detail, which stays out.
    let text = error.as_db_error().map_or_else(|| error.to_string(), |told| told.message().to_owned());
    SinkError::Away("postgresql", text)
}

impl Place {
    fn new(url: &str, ca: Option<&Path>) -> Result<Self, SinkError> {
        let Some(ca) = ca else { return Ok(Self { url: url.into(), tls: None }) };
        let wrong = |why: String| SinkError::Spoilt(ca.to_owned(), why);
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_file_iter(ca).map_err(|error| wrong(error.to_string()))? {
            let root = root.map_err(|error| wrong(error.to_string()))?;
            roots.add(root).map_err(|error| wrong(error.to_string()))?;
        }
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Self { url: url.into(), tls: Some(MakeRustlsConnect::new(config)) })
    }

    /// Connects; the task of the connection ends with the client.
    async fn connect(&self) -> Result<Client, SinkError> {
        let client = match &self.tls {
            Some(tls) => {
                let connected = tokio_postgres::connect(&self.url, tls.clone()).await;
                let (client, connection) = connected.map_err(|error| away(&error))?;
                tokio::spawn(connection);
                client
            }
            None => {
                let connected = tokio_postgres::connect(&self.url, NoTls).await;
                let (client, connection) = connected.map_err(|error| away(&error))?;
                tokio::spawn(connection);
                client
            }
        };
        Ok(client)
    }
}

impl Database {
    pub(super) async fn open(url: &str, ca: Option<&Path>) -> Result<Self, SinkError> {
        let place = Place::new(url, ca)?;
        let mut client = place.connect().await?;
        schema::migrate(&mut client).await.map_err(|error| away(&error))?;
        let (work, queue) = mpsc::channel(QUEUE);
        tokio::spawn(committer::run(place.clone(), queue));
        Ok(Self { place, reader: Mutex::new(Some(Arc::new(client))), work })
    }

    pub(super) fn leases(&self, name: &str) -> Tenure {
        Tenure::new(self.place.clone(), name)
    }

    async fn reader(&self) -> Result<Arc<Client>, SinkError> {
        let mut reader = self.reader.lock().await;
        if let Some(open) = reader.as_ref().filter(|client| !client.is_closed()) {
            return Ok(open.clone());
        }
        let client = Arc::new(self.place.connect().await?);
        *reader = Some(client.clone());
        Ok(client)
    }

    pub(super) async fn drawer(&self, gateway: &str) -> Result<(Rows, State), SinkError> {
        let client = self.reader().await?;
        let read = read(&client, gateway).await;
        let state = read.map_err(|error| away(&error))?;
        let rows =
            Rows { gateway: gateway.to_owned(), work: self.work.clone(), known: state.position.clone() };
        Ok((rows, state))
    }
}

/// What the database knows of a gateway.
async fn read(client: &Client, gateway: &str) -> Result<State, tokio_postgres::Error> {
    let mut state = State::default();
    let sql = "SELECT lane, epoch, seq, hash FROM smallbrain_cursor WHERE gateway = $1";
    for row in client.query(sql, &[&gateway]).await? {
        let (lane, epoch): (&str, String) = (row.try_get(0)?, row.try_get(1)?);
        let Some(lane) = super::lane(lane) else { continue };
        let seq = u64::try_from(row.try_get::<_, i64>(2)?).unwrap_or(0);
        let hash = row.try_get::<_, Option<&[u8]>>(3)?.map(hex);
        state.position.epoch = Some(epoch);
        state.position.lanes.insert(lane, Mark { seq, hash });
    }
    let sql = "SELECT accepted FROM smallbrain_accepted WHERE gateway = $1";
    if let Some(row) = client.query_opt(sql, &[&gateway]).await? {
        state.accepted = row.try_get(0)?;
    }
    let sql = "SELECT origin, size, head, signature, at_ms FROM smallbrain_checkpoint
        WHERE gateway = $1 AND binding ORDER BY size DESC LIMIT 1";
    if let Some(row) = client.query_opt(sql, &[&gateway]).await? {
        let kept = Kept {
            origin: row.try_get(0)?,
            size: u64::try_from(row.try_get::<_, i64>(1)?).unwrap_or(0),
            head: hex(row.try_get::<_, &[u8]>(2)?),
            signature: hex(row.try_get::<_, &[u8]>(3)?),
            at_ms: row.try_get(4)?,
        };
        state.checkpoint = kept.checkpoint();
    }
    Ok(state)
}

impl Rows {
    pub(super) async fn store(
        &mut self,
        batch: &v1::RecordBatch,
        position: &Position,
    ) -> Result<(), SinkError> {
        let lane = wire::lane(batch.lane).ok_or(SinkError::Lane(batch.lane))?;
        let mark = position.lanes.get(&lane).cloned().unwrap_or_default();
        let mut rows = Sheet {
            gateway: self.gateway.clone(),
            epoch: hex(&batch.stream_epoch),
            lane: lane.as_str(),
            records: Vec::with_capacity(batch.records.len()),
            gaps: Vec::new(),
            expected: self.known.lanes.get(&lane).map(|mark| mark.seq),
            seq: batch.through_seq,
            hash: mark.hash_bytes().map(|hash| hash.to_vec()),
        };
        for item in items(batch) {
            match item {
                Item::Record(record) => rows.records.push(record.clone()),
                Item::Gap(gap) => rows.gaps.push(gap.clone()),
                Item::Withheld { .. } => {}
            }
        }
        self.done(Job::Batch(Box::new(rows))).await?;
        self.known.lanes.insert(lane, mark);
        Ok(())
    }

    pub(super) async fn witness(&mut self, made: &Checkpoint) -> Result<(), SinkError> {
        self.done(Job::Witness(self.gateway.clone(), Kept::from(made))).await
    }

    pub(super) async fn accept(&mut self, word: &str) -> Result<(), SinkError> {
        self.done(Job::Accept(self.gateway.clone(), word.to_owned())).await
    }

    pub(super) async fn reset(&mut self, from: &str, to: &str) -> Result<(), SinkError> {
        self.done(Job::Reset(self.gateway.clone(), from.to_owned(), to.to_owned())).await?;
        self.known = super::beginning(to);
        Ok(())
    }

    /// Waits until something is written.
    async fn done(&self, job: Job) -> Result<(), SinkError> {
        let over = || SinkError::Away("postgresql", "the writer has stopped".to_owned());
        let (done, answer) = oneshot::channel();
        self.work.send(Work { job, done }).await.map_err(|_| over())?;
        answer.await.unwrap_or_else(|_| Err(over()))
    }
}
