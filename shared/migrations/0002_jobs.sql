-- A job may be due later than its transaction; events never are.
ALTER TABLE outbox ADD COLUMN due_at timestamptz;
DROP INDEX outbox_unpublished;
CREATE INDEX outbox_unpublished ON outbox (position) WHERE published_at IS NULL AND due_at IS NULL;
CREATE INDEX outbox_due ON outbox (due_at) WHERE published_at IS NULL AND due_at IS NOT NULL;

-- Keys of jobs that have not begun: another job with the same key is not needed.
CREATE TABLE job_keys (
  key    text PRIMARY KEY,
  job_id uuid NOT NULL
);

-- Failed attempts, for the operators' rate.
CREATE TABLE job_failures (
  id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  job_id    uuid NOT NULL,
  queue     text NOT NULL,
  error     text NOT NULL,
  failed_at timestamptz NOT NULL
);
CREATE INDEX job_failures_recent ON job_failures (failed_at);
