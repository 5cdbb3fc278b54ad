CREATE TABLE gadgets (
  id         uuid PRIMARY KEY,  -- UUIDv7 of `created_at`
  owner_id   uuid NOT NULL,
  title      text NOT NULL,
  created_at timestamptz NOT NULL
);

-- A projection of the facts of users; no foreign key leads to it, since those come in any order.
-- `position` is that of the newest event applied.
CREATE TABLE people (
  id       uuid PRIMARY KEY,
  username text NOT NULL,
  position bigint NOT NULL
);
