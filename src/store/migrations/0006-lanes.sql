-- Two more lanes, and what makes each lane's room and losses known.
CREATE TABLE outbox_result (seq INTEGER PRIMARY KEY, item INTEGER NOT NULL, sealed_ms INTEGER NOT NULL, body BLOB NOT NULL, hash BLOB NOT NULL) STRICT;
CREATE TABLE outbox_audit (seq INTEGER PRIMARY KEY, item INTEGER NOT NULL, sealed_ms INTEGER NOT NULL, body BLOB NOT NULL, hash BLOB NOT NULL) STRICT;
INSERT INTO lane VALUES ('result', 0, zeroblob(32)), ('audit', 0, zeroblob(32));
