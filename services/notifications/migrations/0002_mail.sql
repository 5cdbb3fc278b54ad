-- Where mail reaches somebody; empty until an event tells it. Never shown, never logged.
ALTER TABLE people ADD COLUMN email text NOT NULL DEFAULT '';

-- What accounts said of how they want to be told; null where they never said, so that a default may
-- change.
CREATE TABLE preferences (
  account_id uuid NOT NULL,
  kind       text NOT NULL,
  inbox      boolean,
  email      boolean,
  PRIMARY KEY (account_id, kind)
);

-- For the nightly clean-up.
CREATE INDEX notifications_read ON notifications (created_at) WHERE read_at IS NOT NULL;
