-- What protected lines let out, cell by cell, as it was decided once. place is '' for the total; subjects and events are how
-- many there were, also of what is held back, and stay here; figures as store::released writes them.
CREATE TABLE release_cell (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  aggregate TEXT NOT NULL,
  start_ms INTEGER NOT NULL,
  end_ms INTEGER NOT NULL,
  metric TEXT NOT NULL,
  unit TEXT NOT NULL,
  place TEXT NOT NULL,
  subjects INTEGER,
  events INTEGER,
  reason TEXT,
  noise TEXT NOT NULL,
  figures TEXT NOT NULL,
  UNIQUE (aggregate, start_ms, metric, unit, place)
) STRICT;

-- What noise was paid for, in the transaction that drew it.
CREATE TABLE budget_ledger (
  budget TEXT NOT NULL,
  period_ms INTEGER NOT NULL,
  entry INTEGER NOT NULL,
  aggregate TEXT NOT NULL,
  start_ms INTEGER NOT NULL,
  epsilon_num INTEGER NOT NULL,
  epsilon_den INTEGER NOT NULL,
  PRIMARY KEY (budget, period_ms, entry),
  UNIQUE (budget, aggregate, start_ms)
) STRICT, WITHOUT ROWID;

-- How an aggregate is protected, and since when: a window that began before is not let out.
CREATE TABLE release_policy (aggregate TEXT PRIMARY KEY, policy TEXT NOT NULL, since_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
