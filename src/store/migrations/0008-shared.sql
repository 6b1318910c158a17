-- What the city shares. The newest version of each list; over: its time is over and its entries are gone, but no older version
-- takes its place. digest: SHA-256 of its end and its entries.
CREATE TABLE shared_list (
  id TEXT PRIMARY KEY,
  version INTEGER NOT NULL,
  consumer TEXT NOT NULL,
  put_ms INTEGER NOT NULL,
  until_ms INTEGER NOT NULL,
  digest BLOB NOT NULL,
  over INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE shared_entry (
  list TEXT NOT NULL,
  key TEXT NOT NULL,
  from_ms INTEGER,
  until_ms INTEGER,
  PRIMARY KEY (list, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX shared_entry_until ON shared_entry (until_ms) WHERE until_ms IS NOT NULL;
