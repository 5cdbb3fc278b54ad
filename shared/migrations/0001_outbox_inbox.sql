-- Facts that this service has committed and the relay still has to publish, or has published.
CREATE TABLE outbox (
  position     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id           uuid NOT NULL UNIQUE,
  subject      text NOT NULL,
  aggregate    text NOT NULL,
  data         bytea NOT NULL,
  traceparent  text NOT NULL,
  occurred_at  timestamptz NOT NULL,
  published_at timestamptz
);
CREATE INDEX outbox_unpublished ON outbox (position) WHERE published_at IS NULL;

-- Events of other services whose effect is in this database. The key is what makes an effect
-- happen once.
CREATE TABLE inbox (
  id          uuid PRIMARY KEY,
  source      text NOT NULL,
  position    bigint NOT NULL,
  received_at timestamptz NOT NULL
);
CREATE INDEX inbox_position ON inbox (source, position);

-- Events that could not be taken in after several attempts.
CREATE TABLE dead_letters (
  id        uuid PRIMARY KEY,
  subject   text NOT NULL,
  source    text NOT NULL,
  position  bigint NOT NULL,
  data      bytea NOT NULL,
  error     text NOT NULL,
  traceback text NOT NULL,
  attempts  int NOT NULL,
  trace_id  text NOT NULL,
  failed_at timestamptz NOT NULL
);
