-- The first answer to a POST with an Idempotency-Key, for as long as it may be asked for again.
-- `id` is a digest of the account and the key; status, headers and body are sealed with a key that
-- only the same request yields. So this table tells nobody an answer, or a key to ask for it with.
CREATE TABLE idempotency_keys (
  id          bytea PRIMARY KEY,
  fingerprint bytea NOT NULL,
  sealed      bytea NOT NULL,
  created_at  timestamptz NOT NULL
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);
