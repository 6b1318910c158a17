-- What MQTT must not forget. Bounded by the exchange of the front, not by the store: nothing of it is shed. Payloads lie
-- here as they were published, until they are delivered or replaced.

-- expiry_s counts from left_ms; that is NULL while the client is there, and of a process that ended first.
CREATE TABLE session (id INTEGER PRIMARY KEY, client TEXT NOT NULL, expiry_s INTEGER NOT NULL, left_ms INTEGER) STRICT;

-- options is the byte of MQTT 5.0 §3.8.3.1; filter has $share/…/ where it is shared.
CREATE TABLE subscription (
  session INTEGER NOT NULL,
  filter TEXT NOT NULL,
  options INTEGER NOT NULL,
  identifier INTEGER,
  PRIMARY KEY (session, filter)
) STRICT, WITHOUT ROWID;

-- Deliveries that are not done, each with its message. A table with a rowid, because in one without a message of more
-- than a quarter of a page takes a page of its own. identifiers: u32 each, little endian.
CREATE TABLE queued (
  session INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  delivery_qos INTEGER NOT NULL,
  delivery_retain INTEGER NOT NULL,
  identifiers BLOB NOT NULL,
  recorded INTEGER NOT NULL,
  topic TEXT NOT NULL,
  qos INTEGER NOT NULL,
  retain INTEGER NOT NULL,
  properties BLOB NOT NULL,
  expires_ms INTEGER,
  payload BLOB NOT NULL,
  UNIQUE (session, seq)
) STRICT;

-- QoS 2 publishes of clients that were taken and not released.
CREATE TABLE received (session INTEGER NOT NULL, pkid INTEGER NOT NULL, PRIMARY KEY (session, pkid)) STRICT, WITHOUT ROWID;

CREATE TABLE retained (
  topic TEXT NOT NULL UNIQUE,
  qos INTEGER NOT NULL,
  retain INTEGER NOT NULL,
  properties BLOB NOT NULL,
  expires_ms INTEGER,
  payload BLOB NOT NULL
) STRICT;

-- Whether a device is there, since when by the gateway's clock, and what told it (the number of a Cause).
CREATE TABLE presence (
  device TEXT PRIMARY KEY,
  online INTEGER NOT NULL,
  since_ms INTEGER NOT NULL,
  cause INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
