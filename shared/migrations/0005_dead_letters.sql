-- What the message came with, so that it can be sent again as it was (JSON).
ALTER TABLE dead_letters ADD COLUMN headers bytea NOT NULL DEFAULT '{}';
CREATE INDEX dead_letters_newest ON dead_letters (failed_at, id);
