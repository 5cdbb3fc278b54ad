-- The first answer to a POST with an Idempotency-Key, for as long as it may be asked for again.
-- Headers and body are sealed with a key that only the same request yields.
CREATE TABLE idempotency_keys (
  scope       text NOT NULL,
  key         text NOT NULL,
  fingerprint bytea NOT NULL,
  status      int NOT NULL,
  sealed      bytea NOT NULL,
  created_at  timestamptz NOT NULL,
  PRIMARY KEY (scope, key)
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);
