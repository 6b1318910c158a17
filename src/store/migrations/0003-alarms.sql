-- Incidents and everything about them. What is `INTEGER PRIMARY KEY AUTOINCREMENT` is a number that is given once, also
-- after its row is gone. Names of lives, steps, severities, stages and fates are texts that never change their meaning.

-- What it held says where alarms of an earlier build stood; they are found again by the next readings.
DROP TABLE alarm;

-- Alarms that are not normal, by device: what the trigger has to remember, in its own words.
CREATE TABLE trigger (
  alarm TEXT NOT NULL,
  device TEXT NOT NULL,
  state TEXT NOT NULL,
  PRIMARY KEY (alarm, device)
) STRICT, WITHOUT ROWID;

CREATE TABLE incident (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  alarm TEXT NOT NULL,
  device TEXT NOT NULL,
  severity TEXT NOT NULL,
  life TEXT NOT NULL,
  active INTEGER NOT NULL,
  began_ms INTEGER NOT NULL,
  raised_ms INTEGER,
  changed_ms INTEGER NOT NULL,
  escalated INTEGER NOT NULL,
  told_ms INTEGER,
  returns INTEGER NOT NULL
) STRICT;
CREATE INDEX incident_open ON incident (id) WHERE life <> 'closed';
CREATE INDEX incident_closed ON incident (changed_ms) WHERE life = 'closed';
CREATE INDEX incident_of ON incident (alarm, device, changed_ms);

-- Every change of an incident. value_kind: number (an exact decimal), flag (true, false) or text.
CREATE TABLE history (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  incident INTEGER NOT NULL,
  alarm TEXT NOT NULL,
  step TEXT NOT NULL,
  life TEXT NOT NULL,
  active INTEGER NOT NULL,
  severity TEXT NOT NULL,
  device TEXT,
  place TEXT,
  device_class TEXT NOT NULL,
  metric TEXT NOT NULL,
  value_kind TEXT,
  value TEXT,
  unit TEXT NOT NULL,
  by_kind TEXT NOT NULL,
  by_name TEXT NOT NULL,
  reason TEXT NOT NULL,
  at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX history_of ON history (incident);
CREATE INDEX history_at ON history (at_ms);

-- The ledger of who is told what.
CREATE TABLE notice (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  incident INTEGER NOT NULL,
  step TEXT NOT NULL,
  alarm TEXT NOT NULL,
  severity TEXT NOT NULL,
  place TEXT,
  recipient TEXT NOT NULL,
  made_ms INTEGER NOT NULL,
  due_ms INTEGER NOT NULL,
  seq INTEGER,
  run INTEGER,
  text TEXT NOT NULL,
  fate TEXT NOT NULL,
  tries INTEGER NOT NULL,
  done_ms INTEGER,
  proof TEXT NOT NULL
) STRICT;
CREATE INDEX notice_of ON notice (incident);
CREATE INDEX notice_waiting ON notice (recipient, due_ms) WHERE fate = 'waiting';
CREATE INDEX notice_of_run ON notice (run) WHERE fate = 'waiting' AND run IS NOT NULL;

-- Runs of commands. approved: names as a JSON array.
CREATE TABLE run (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  command TEXT NOT NULL,
  incident INTEGER,
  stage TEXT NOT NULL,
  ordered_ms INTEGER NOT NULL,
  expires_ms INTEGER NOT NULL,
  changed_ms INTEGER NOT NULL,
  approved TEXT NOT NULL,
  detail TEXT NOT NULL
) STRICT;
CREATE INDEX run_of ON run (incident);
CREATE INDEX run_open ON run (id) WHERE stage IN ('waiting', 'accepted', 'sent');

-- Work that is going on.
CREATE TABLE maintenance (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  devices TEXT NOT NULL,
  places TEXT NOT NULL,
  from_ms INTEGER NOT NULL,
  until_ms INTEGER NOT NULL,
  by_name TEXT NOT NULL,
  reason TEXT NOT NULL
) STRICT;

-- Which incident a position of lane alarm is of, for what the city says about it long after it was acknowledged.
CREATE TABLE record_incident (seq INTEGER PRIMARY KEY, incident INTEGER NOT NULL) STRICT;
CREATE INDEX record_of ON record_incident (incident);

-- What consumers said about records.
CREATE TABLE feedback (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  consumer TEXT NOT NULL,
  request TEXT NOT NULL,
  record TEXT NOT NULL,
  step TEXT NOT NULL,
  text TEXT NOT NULL,
  at_ms INTEGER NOT NULL,
  incident INTEGER,
  outcome TEXT NOT NULL,
  UNIQUE (consumer, request)
) STRICT;
CREATE INDEX feedback_of ON feedback (incident);
