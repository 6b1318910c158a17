-- The trail, the lists, approvals, and what people enter. Names of actions, states and votes are texts that never change
-- their meaning.

-- A lane for what is no alarm: changes of the lists.
CREATE TABLE outbox_event (seq INTEGER PRIMARY KEY, item INTEGER NOT NULL, sealed_ms INTEGER NOT NULL, body BLOB NOT NULL, hash BLOB NOT NULL) STRICT;
INSERT INTO lane VALUES ('event', 0, zeroblob(32));

-- The trail's own name: the epoch the store was created with. It stays when the epoch changes.
INSERT INTO meta SELECT 'trail', value FROM meta WHERE key = 'epoch';

-- Every use, in the transaction of the act. seq is dense from 1; the hash chain is that of the audit module.
CREATE TABLE audit (
  seq INTEGER PRIMARY KEY CHECK (seq > 0),
  ts_ms INTEGER NOT NULL,
  mono_ms INTEGER NOT NULL,
  boot_id BLOB NOT NULL,
  actor TEXT NOT NULL,
  actor_role TEXT NOT NULL,
  action TEXT NOT NULL,
  object TEXT NOT NULL,
  list_ref TEXT,
  purpose TEXT,
  approval_id TEXT,
  outcome TEXT NOT NULL CHECK (outcome IN ('ok', 'denied', 'error')),
  reason TEXT,
  detail_json TEXT,
  prev_hash BLOB NOT NULL CHECK (length(prev_hash) = 32),
  row_hash BLOB NOT NULL CHECK (length(row_hash) = 32)
) STRICT;

-- Up to where the trail was trimmed, and the hash there; the chain goes on from it.
CREATE TABLE audit_base (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL, hash BLOB NOT NULL) STRICT;
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit
  WHEN OLD.seq > (SELECT coalesce(max(seq), 0) FROM audit_base)
  BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;
CREATE TRIGGER audit_dense BEFORE INSERT ON audit
  WHEN NEW.seq <> (SELECT max((SELECT coalesce(max(seq), 0) FROM audit), (SELECT coalesce(max(seq), 0) FROM audit_base)) + 1)
  BEGIN SELECT RAISE(ABORT, 'audit has no gaps'); END;

-- Signed positions of the trail.
CREATE TABLE audit_checkpoint (size INTEGER PRIMARY KEY, head BLOB NOT NULL, at_ms INTEGER NOT NULL, signature BLOB NOT NULL) STRICT;

-- The newest position that each witness has confirmed.
CREATE TABLE audit_witness (witness TEXT PRIMARY KEY, size INTEGER NOT NULL, head BLOB NOT NULL, at_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- Every version of every line of the four lists; never updated. body: JSON of the line as it was read. A line that was
-- removed has a version with the status retired.
CREATE TABLE list_item (
  list TEXT NOT NULL CHECK (list IN ('demand', 'collect', 'share', 'governance')),
  id TEXT NOT NULL,
  version INTEGER NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('active', 'retired')),
  body TEXT NOT NULL,
  body_hash BLOB NOT NULL,
  lists_version INTEGER NOT NULL,
  since_ms INTEGER NOT NULL,
  PRIMARY KEY (list, id, version)
) STRICT, WITHOUT ROWID;

-- Links of the newest version of each line.
CREATE TABLE list_link (
  from_list TEXT NOT NULL,
  from_id TEXT NOT NULL,
  to_list TEXT NOT NULL,
  to_id TEXT NOT NULL,
  PRIMARY KEY (from_list, from_id, to_list, to_id)
) STRICT, WITHOUT ROWID;

-- Asked for, voted on, made use of. Names and words of people lie here and leave by the local socket alone. state:
-- pending, granted, refused, revoked, expired, used_up.
CREATE TABLE approval (
  id BLOB PRIMARY KEY CHECK (length(id) = 16),
  share TEXT NOT NULL,
  consumer TEXT NOT NULL,
  certificate BLOB CHECK (length(certificate) = 32),
  requester TEXT NOT NULL,
  purpose TEXT NOT NULL,
  tier TEXT NOT NULL,
  asked_ms INTEGER NOT NULL,
  not_before_ms INTEGER NOT NULL,
  not_after_ms INTEGER NOT NULL,
  max_uses INTEGER,
  reason TEXT NOT NULL,
  state TEXT NOT NULL,
  uses INTEGER NOT NULL,
  used_ms INTEGER,
  changed_ms INTEGER NOT NULL,
  revoked_by TEXT NOT NULL,
  revoked_reason TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX approval_changed ON approval (changed_ms);
CREATE TABLE approval_vote (
  approval BLOB NOT NULL,
  place INTEGER NOT NULL,
  approver TEXT NOT NULL,
  role TEXT NOT NULL,
  vote TEXT NOT NULL CHECK (vote IN ('yes', 'no')),
  at_ms INTEGER NOT NULL,
  reason TEXT NOT NULL,
  signature BLOB NOT NULL,
  PRIMARY KEY (approval, place),
  UNIQUE (approval, approver)
) STRICT, WITHOUT ROWID;

-- What people entered. payload: JSON, cleared of what the collection list does not take.
CREATE TABLE entry (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  request TEXT NOT NULL UNIQUE,
  collect TEXT NOT NULL,
  device TEXT NOT NULL,
  at_ms INTEGER NOT NULL,
  entered_ms INTEGER NOT NULL,
  author TEXT NOT NULL,
  role TEXT NOT NULL,
  reason TEXT NOT NULL,
  payload TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('waiting', 'stored', 'refused', 'corrected')),
  checked_by TEXT,
  checked_role TEXT,
  checked_ms INTEGER,
  check_reason TEXT,
  corrects INTEGER,
  first_reading INTEGER,
  last_reading INTEGER
) STRICT;
CREATE INDEX entry_waiting ON entry (id) WHERE state = 'waiting';

-- Profiles for emergencies: what each has brought in, and how far that is deleted again. state: active, purging, done. scope
-- and progress are JSON: names, numbers of series, positions, counts and hashes.
CREATE TABLE emergency (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL,
  digest BLOB NOT NULL CHECK (length(digest) = 32),
  state TEXT NOT NULL CHECK (state IN ('active', 'purging', 'done')),
  until_ms INTEGER NOT NULL,
  scope TEXT NOT NULL,
  progress TEXT NOT NULL
) STRICT;
CREATE INDEX emergency_open ON emergency (number) WHERE state <> 'done';
