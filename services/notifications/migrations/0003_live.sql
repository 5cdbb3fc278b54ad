-- The place of a notification among all that were announced. The herald gives numbers out one
-- transaction after the other, so that no smaller one appears later: "after 17" misses nothing.
-- Null is what waits for its number, or for the actor's profile; 0 is from before there were any.
CREATE SEQUENCE notification_numbers;
ALTER TABLE notifications ADD COLUMN number bigint DEFAULT 0;
ALTER TABLE notifications ALTER COLUMN number DROP DEFAULT;

CREATE INDEX notifications_numbered ON notifications (recipient_id, number);
CREATE INDEX notifications_waiting ON notifications (id) WHERE number IS NULL;
