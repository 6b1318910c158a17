-- One row a key: epoch.
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;

-- Stretches of readings taken under one boot: monotonic = received - wall_ms + mono_ms.
CREATE TABLE boot (
  first_reading INTEGER PRIMARY KEY,
  boot_id BLOB NOT NULL,
  wall_ms INTEGER NOT NULL,
  mono_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE series (
  id INTEGER PRIMARY KEY,
  device TEXT NOT NULL,
  metric TEXT NOT NULL,
  UNIQUE (device, metric)
) STRICT;

-- The log. Append-only, no secondary index: an index on the hot table costs three to five times the CPU and two to
-- five times the bytes. id is dense from 1. time_offset is event time minus received, NULL when they are one.
-- scale: 0..28 a decimal's scale, -1 a decimal as text, -2 a flag, -3 a text.
CREATE TABLE reading (
  id INTEGER PRIMARY KEY,
  series INTEGER NOT NULL,
  received INTEGER NOT NULL,
  time_offset INTEGER,
  value ANY NOT NULL,
  scale INTEGER NOT NULL,
  quality INTEGER NOT NULL,
  crc INTEGER NOT NULL
) STRICT;

-- Losses, late readings, expiries: everything counted that is not a row.
CREATE TABLE tally (name TEXT PRIMARY KEY, count INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- Versions of the lists, by the digest of their text.
CREATE TABLE list_version (version INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, since_ms INTEGER NOT NULL) STRICT;

-- What an outbox row refers to: a line of the share list and a schema.
CREATE TABLE item (id INTEGER PRIMARY KEY, share_item TEXT NOT NULL, schema TEXT NOT NULL, UNIQUE (share_item, schema)) STRICT;

-- One table a lane, so that each is appended at its end and trimmed at its start.
CREATE TABLE outbox_alarm (seq INTEGER PRIMARY KEY, item INTEGER NOT NULL, sealed_ms INTEGER NOT NULL, body BLOB NOT NULL, hash BLOB NOT NULL) STRICT;
CREATE TABLE outbox_aggregate (seq INTEGER PRIMARY KEY, item INTEGER NOT NULL, sealed_ms INTEGER NOT NULL, body BLOB NOT NULL, hash BLOB NOT NULL) STRICT;
CREATE TABLE outbox_bulk (seq INTEGER PRIMARY KEY, item INTEGER NOT NULL, sealed_ms INTEGER NOT NULL, body BLOB NOT NULL, hash BLOB NOT NULL) STRICT;

-- Newest position and its hash; outlives the rows.
CREATE TABLE lane (lane TEXT PRIMARY KEY, head INTEGER NOT NULL, head_hash BLOB NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO lane VALUES ('alarm', 0, zeroblob(32)), ('aggregate', 0, zeroblob(32)), ('bulk', 0, zeroblob(32));

-- Ranges that hold no record any more; last_hash continues the chain behind them.
CREATE TABLE gap (
  lane TEXT NOT NULL,
  from_seq INTEGER NOT NULL,
  to_seq INTEGER NOT NULL,
  reason TEXT NOT NULL,
  last_hash BLOB NOT NULL,
  PRIMARY KEY (lane, from_seq)
) STRICT, WITHOUT ROWID;

-- What each consumer has acknowledged.
CREATE TABLE cursor (consumer TEXT NOT NULL, lane TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (consumer, lane)) STRICT, WITHOUT ROWID;

-- Folds over the log: everything up to reading `upto` is in `snapshot` or in sealed records.
CREATE TABLE fold (name TEXT PRIMARY KEY, definition TEXT NOT NULL, upto INTEGER NOT NULL, snapshot BLOB NOT NULL) STRICT, WITHOUT ROWID;

-- Windows that end at or before closed_ms are closed.
CREATE TABLE watermark (aggregate TEXT PRIMARY KEY, closed_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- Alarms that are not normal.
CREATE TABLE alarm (
  alarm TEXT NOT NULL,
  series INTEGER NOT NULL,
  raised INTEGER NOT NULL,
  since_ms INTEGER NOT NULL,
  PRIMARY KEY (alarm, series)
) STRICT, WITHOUT ROWID;
