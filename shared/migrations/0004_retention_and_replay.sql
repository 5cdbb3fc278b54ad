-- What is too old is found by its age.
CREATE INDEX outbox_published ON outbox (published_at) WHERE published_at IS NOT NULL;
CREATE INDEX inbox_received ON inbox (received_at);

-- How often a row was to be sent again, and whether it tells of a state and not of a change. Both
-- wait for what is fresh.
ALTER TABLE outbox ADD COLUMN resent int NOT NULL DEFAULT 0;
ALTER TABLE outbox ADD COLUMN snapshot boolean NOT NULL DEFAULT false;
DROP INDEX outbox_unpublished;
CREATE INDEX outbox_unpublished ON outbox (position)
 WHERE published_at IS NULL AND due_at IS NULL AND resent = 0 AND NOT snapshot;
CREATE INDEX outbox_again ON outbox (position)
 WHERE published_at IS NULL AND due_at IS NULL AND (resent > 0 OR snapshot);
