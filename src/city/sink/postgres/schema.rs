//! The tables, by numbered migrations. Each runs once, in one transaction with its number.

use tokio_postgres::{Client, Error};

/// Never changed once it is out; more are appended.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE smallbrain_record (
        record_id    text COLLATE \"C\" PRIMARY KEY,
        gateway      text COLLATE \"C\" NOT NULL,
        epoch        text COLLATE \"C\" NOT NULL,
        lane         text COLLATE \"C\" NOT NULL,
        seq          bigint NOT NULL,
        share_item   text NOT NULL,
        schema       text NOT NULL,
        sealed_at    timestamptz,
        window_start timestamptz,
        window_end   timestamptz,
        observed_at  timestamptz,
        record_hash  bytea NOT NULL,
        body         bytea NOT NULL,
        body_json    jsonb,
        received_at  timestamptz NOT NULL DEFAULT now()
    );
    CREATE INDEX smallbrain_record_place ON smallbrain_record (gateway, lane, seq);
    CREATE TABLE smallbrain_gap (
        gateway      text COLLATE \"C\" NOT NULL,
        epoch        text COLLATE \"C\" NOT NULL,
        lane         text COLLATE \"C\" NOT NULL,
        from_seq     bigint NOT NULL,
        to_seq       bigint NOT NULL,
        reason       text NOT NULL,
        lost         bigint NOT NULL,
        first_sealed timestamptz,
        last_sealed  timestamptz,
        received_at  timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (gateway, epoch, lane, from_seq)
    );
    -- came_from is where the cursor was before: an insert that meets a row moves it from there, or not at all.
    CREATE TABLE smallbrain_cursor (
        gateway   text COLLATE \"C\" NOT NULL,
        lane      text COLLATE \"C\" NOT NULL,
        epoch     text COLLATE \"C\" NOT NULL,
        seq       bigint NOT NULL,
        hash      bytea,
        came_from bigint NOT NULL,
        PRIMARY KEY (gateway, lane)
    );
    CREATE TABLE smallbrain_checkpoint (
        gateway   text COLLATE \"C\" NOT NULL,
        origin    text NOT NULL,
        size      bigint NOT NULL,
        head      bytea NOT NULL,
        signature bytea NOT NULL,
        at_ms     bigint NOT NULL,
        binding   boolean NOT NULL DEFAULT true,
        kept_at   timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (gateway, origin, size, head)
    );
    CREATE TABLE smallbrain_accepted (
        gateway  text COLLATE \"C\" PRIMARY KEY,
        accepted text NOT NULL,
        at       timestamptz NOT NULL DEFAULT now()
    );
    CREATE TABLE smallbrain_reset (
        gateway    text COLLATE \"C\" NOT NULL,
        from_epoch text COLLATE \"C\" NOT NULL,
        to_epoch   text COLLATE \"C\" NOT NULL,
        at         timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (gateway, to_epoch)
    );
    CREATE TABLE smallbrain_lease (
        gateway text COLLATE \"C\" PRIMARY KEY,
        holder  text COLLATE \"C\" NOT NULL,
        until   timestamptz NOT NULL
    );
    CREATE TABLE smallbrain_collector (
        holder text COLLATE \"C\" PRIMARY KEY,
        until  timestamptz NOT NULL
    );
"];

/// One collector at a time makes tables; the number is this program's own.
const LOCK: i64 = 0x736d_616c_6c62_7261;

/// Brings the database to the newest migration.
pub(super) async fn migrate(client: &mut Client) -> Result<(), Error> {
    let txn = client.transaction().await?;
    txn.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    txn.batch_execute("CREATE TABLE IF NOT EXISTS smallbrain_migration (number integer PRIMARY KEY)").await?;
    let row = txn.query_one("SELECT coalesce(max(number), 0) FROM smallbrain_migration", &[]).await?;
    let done = usize::try_from(row.try_get::<_, i32>(0)?).unwrap_or(0);
    for (number, sql) in (1i32..).zip(MIGRATIONS).skip(done) {
        txn.batch_execute(sql).await?;
        txn.execute("INSERT INTO smallbrain_migration (number) VALUES ($1)", &[&number]).await?;
    }
    txn.commit().await
}
