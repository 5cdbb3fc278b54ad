-- `fact` names what an account is told of among all of its kind: the follower, `actor:article` of a
-- favourite, the comment, the article that appeared. The key is what makes each told once.
CREATE TABLE notifications (
  id           uuid PRIMARY KEY,  -- UUIDv7 of `created_at`
  recipient_id uuid NOT NULL,
  kind         text NOT NULL CHECK (kind IN ('followed', 'favorited', 'commented', 'published')),
  actor_id     uuid NOT NULL,
  article_id   uuid,
  fact         text NOT NULL,
  created_at   timestamptz NOT NULL,  -- when it happened
  read_at      timestamptz,
  UNIQUE (recipient_id, kind, fact)
);
CREATE INDEX notifications_newest ON notifications (recipient_id, id);
CREATE INDEX notifications_unread ON notifications (recipient_id, actor_id) WHERE read_at IS NULL;

-- Projections of the facts of users and content; no foreign keys, since those come in any order.
-- `position` is that of the newest event applied.
CREATE TABLE people (
  id       uuid PRIMARY KEY,
  username text NOT NULL,
  image    text NOT NULL,
  position bigint NOT NULL
);

CREATE TABLE articles (
  id           uuid PRIMARY KEY,
  author_id    uuid NOT NULL,
  slug         text NOT NULL,
  title        text NOT NULL,
  position     bigint NOT NULL,
  published_at timestamptz,  -- null while only a change or the deletion is known
  deleted      boolean NOT NULL
);
CREATE INDEX articles_by_author ON articles (author_id, published_at, id);

-- Each change of who follows whom, and not only the last: an article tells those who followed when
-- it appeared, however late it is taken in.
CREATE TABLE follows (
  followee_id uuid NOT NULL,
  follower_id uuid NOT NULL,
  position    bigint NOT NULL,
  following   boolean NOT NULL,
  changed_at  timestamptz NOT NULL,
  PRIMARY KEY (followee_id, follower_id, position)
);
