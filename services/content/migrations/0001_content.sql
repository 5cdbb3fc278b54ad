CREATE TABLE articles (
  id              uuid PRIMARY KEY,
  slug            text NOT NULL UNIQUE,
  title           text NOT NULL,
  description     text NOT NULL,
  body            text NOT NULL,
  tag_list        text[] NOT NULL,
  author_id       uuid NOT NULL,
  favorites_count int NOT NULL DEFAULT 0,
  created_at      timestamptz NOT NULL,
  updated_at      timestamptz NOT NULL
) WITH (fillfactor = 90);  -- a favourite rewrites the row, in its page if there is room
CREATE INDEX articles_newest ON articles (created_at, id);
CREATE INDEX articles_by_author ON articles (author_id, created_at, id);

-- Every slug that any article ever had. A row outlives its article, and so has no foreign key: an
-- old link never leads to another article.
CREATE TABLE slugs (
  slug       text PRIMARY KEY,
  article_id uuid NOT NULL
);
-- /api/articles/feed is a path of its own.
INSERT INTO slugs (slug, article_id) VALUES ('feed', '00000000-0000-0000-0000-000000000000');

-- `created_at` is the article's, here and in `favorites`: lists are in the order of articles, and
-- an index can only keep an order of its own columns.
CREATE TABLE article_tags (
  article_id uuid NOT NULL REFERENCES articles ON DELETE CASCADE,
  tag        text NOT NULL,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (article_id, tag)
);
CREATE INDEX article_tags_newest ON article_tags (tag, created_at, article_id);

CREATE TABLE favorites (
  article_id         uuid NOT NULL REFERENCES articles ON DELETE CASCADE,
  account_id         uuid NOT NULL,
  article_created_at timestamptz NOT NULL,
  created_at         timestamptz NOT NULL,
  PRIMARY KEY (article_id, account_id)
);
CREATE INDEX favorites_newest ON favorites (account_id, article_created_at, article_id);

CREATE TABLE comments (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  article_id uuid NOT NULL REFERENCES articles ON DELETE CASCADE,
  author_id  uuid NOT NULL,
  body       text NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL
);
CREATE INDEX comments_newest ON comments (article_id, id);

-- What lists would otherwise have to count. Rows are locked in this order, the rows of one table in
-- the order of their keys, and last of all in a transaction: so no two transactions wait for each
-- other, and none for long.
CREATE TABLE tags (
  tag      text PRIMARY KEY,
  articles bigint NOT NULL
);
CREATE INDEX tags_popular ON tags (articles DESC, tag) WHERE articles > 0;

CREATE TABLE account_counts (
  account_id uuid PRIMARY KEY,
  articles   bigint NOT NULL,
  favorites  bigint NOT NULL
) WITH (fillfactor = 80);

-- All articles, in stripes: writers of different stripes don't wait for each other.
CREATE TABLE article_counts (
  stripe   int PRIMARY KEY,
  articles bigint NOT NULL
) WITH (fillfactor = 10);
INSERT INTO article_counts (stripe, articles) SELECT stripe, 0 FROM generate_series(0, 15) AS stripe;

-- Projections of the users service's facts. `position` is that of the newest event applied. Names
-- are unique there, and not for every moment here: events of two accounts may come in any order.
CREATE TABLE authors (
  id           uuid PRIMARY KEY,
  username     text NOT NULL,
  username_key text NOT NULL,
  bio          text NOT NULL,
  image        text NOT NULL,
  position     bigint NOT NULL
);
CREATE INDEX authors_by_name ON authors (username_key, position);

-- Who stopped following keeps the row, so that an older event can't bring the following back.
CREATE TABLE follows (
  follower_id uuid NOT NULL,
  followee_id uuid NOT NULL,
  following   boolean NOT NULL,
  position    bigint NOT NULL,
  PRIMARY KEY (follower_id, followee_id)
);
