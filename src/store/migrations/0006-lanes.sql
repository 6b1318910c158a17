-- Two more lanes, and what makes each lane's room and losses known.
CREATE TABLE outbox_result (seq INTEGER PRIMARY KEY, item INTEGER NOT NULL, sealed_ms INTEGER NOT NULL, body BLOB NOT NULL, hash BLOB NOT NULL) STRICT;
CREATE TABLE outbox_audit (seq INTEGER PRIMARY KEY, item INTEGER NOT NULL, sealed_ms INTEGER NOT NULL, body BLOB NOT NULL, hash BLOB NOT NULL) STRICT;
INSERT INTO lane VALUES ('result', 0, zeroblob(32)), ('audit', 0, zeroblob(32));

-- What the records of a lane take of the disk: their bodies, and 64 bytes each. Counted once, here.
ALTER TABLE lane ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
UPDATE lane SET bytes = (SELECT coalesce(sum(length(body) + 64), 0) FROM outbox_alarm) WHERE lane = 'alarm';
UPDATE lane SET bytes = (SELECT coalesce(sum(length(body) + 64), 0) FROM outbox_event) WHERE lane = 'event';
UPDATE lane SET bytes = (SELECT coalesce(sum(length(body) + 64), 0) FROM outbox_aggregate) WHERE lane = 'aggregate';
UPDATE lane SET bytes = (SELECT coalesce(sum(length(body) + 64), 0) FROM outbox_bulk) WHERE lane = 'bulk';

-- When the first and the last record of a gap were sealed, where that is known.
ALTER TABLE gap ADD COLUMN first_ms INTEGER;
ALTER TABLE gap ADD COLUMN last_ms INTEGER;

-- Up to where the digests of a share line of lane audit have told of the trail, and when.
CREATE TABLE digest (share TEXT PRIMARY KEY, size INTEGER NOT NULL, at_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
