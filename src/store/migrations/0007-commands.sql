-- What was answered to a request of the city, so that the same one again is answered the same; asked is SHA-256 of the request.
CREATE TABLE reply (
  consumer TEXT NOT NULL,
  request TEXT NOT NULL,
  asked BLOB NOT NULL,
  answer TEXT NOT NULL,
  at_ms INTEGER NOT NULL,
  PRIMARY KEY (consumer, request)
) STRICT, WITHOUT ROWID;
CREATE INDEX reply_age ON reply (at_ms);
-- Who of the city asked for a run; null where rules ordered it. arguments is a JSON object.
ALTER TABLE run ADD COLUMN consumer TEXT;
ALTER TABLE run ADD COLUMN request TEXT;
ALTER TABLE run ADD COLUMN share TEXT;
ALTER TABLE run ADD COLUMN arguments TEXT;
