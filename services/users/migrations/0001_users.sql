-- The keys are what makes two names the same (NFKC, casefold, NFKC): computed by the service, since
-- PostgreSQL's own folding depends on the libraries of its host. "C" compares them byte by byte.
CREATE TABLE accounts (
  id            uuid PRIMARY KEY,
  email         text NOT NULL,
  email_key     text COLLATE "C" NOT NULL CONSTRAINT accounts_email_taken UNIQUE,
  username      text NOT NULL,
  username_key  text COLLATE "C" NOT NULL CONSTRAINT accounts_username_taken UNIQUE,
  password_hash text NOT NULL,
  bio           text NOT NULL,
  image         text NOT NULL,
  created_at    timestamptz NOT NULL,
  updated_at    timestamptz NOT NULL
);

CREATE TABLE follows (
  follower_id uuid NOT NULL CONSTRAINT follows_follower REFERENCES accounts,
  followee_id uuid NOT NULL CONSTRAINT follows_followee REFERENCES accounts,
  created_at  timestamptz NOT NULL,
  PRIMARY KEY (follower_id, followee_id),
  CONSTRAINT follows_somebody_else CHECK (follower_id <> followee_id)
);
CREATE INDEX follows_by_followee ON follows (followee_id, follower_id);
