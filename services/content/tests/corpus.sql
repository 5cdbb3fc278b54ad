-- A community of $articles$ articles: 2,000 authors, three tags each, most of 56, favourites and comments.
SET session_replication_role = replica;  -- a load needs no check of each foreign key
SELECT setseed(0.4);

CREATE FUNCTION nth_id(n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS
  $$ SELECT ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid $$;

INSERT INTO authors (id, username, username_key, bio, image, position)
SELECT nth_id(n), 'author' || n, 'author' || n, 'Writes.', '', 1
  FROM generate_series(1, 2000) AS n;

INSERT INTO articles (id, slug, title, description, body, tag_list, author_id, created_at, updated_at)
SELECT nth_id(1000000 + n), 'article-' || n, 'Article ' || n, 'About ' || n, repeat('Some words. ', 40),
       ARRAY['tag' || n % 20, 'tag' || 20 + n % 19, CASE n % 5 WHEN 0 THEN 'rare' || n ELSE 'tag' || 39 + n % 17 END],
       nth_id(1 + (random() * random() * 1999)::int),
       '2026-01-01'::timestamptz + n * interval '1 minute', '2026-01-01'::timestamptz
  FROM generate_series(1, $articles$) AS n;

INSERT INTO slugs (slug, article_id) SELECT slug, id FROM articles;
INSERT INTO article_tags (article_id, tag, created_at) SELECT id, unnest(tag_list), created_at FROM articles;

INSERT INTO favorites (article_id, account_id, article_created_at, created_at)
SELECT id, nth_id(1 + (random() * 1999)::int), created_at, created_at
  FROM articles CROSS JOIN generate_series(1, 2) ON CONFLICT DO NOTHING;

-- author5, who looks at the lists, likes more than others do.
INSERT INTO favorites (article_id, account_id, article_created_at, created_at)
SELECT id, nth_id(5), created_at, created_at FROM articles ORDER BY id LIMIT 3000 ON CONFLICT DO NOTHING;

INSERT INTO comments (article_id, author_id, body, created_at, updated_at)
SELECT nth_id(1000000 + 1 + (random() * ($articles$ - 1))::int), nth_id(1 + n % 2000), 'Well said.', now(), now()
  FROM generate_series(1, $articles$) AS n;

INSERT INTO comments (article_id, author_id, body, created_at, updated_at)
SELECT nth_id(1000001), nth_id(1 + n % 2000), 'Well said.', now(), now() FROM generate_series(1, 100) AS n;

-- author1 follows 10, author2 follows 1,000, everybody else about 20.
INSERT INTO follows (follower_id, followee_id, following, position)
SELECT nth_id(1), nth_id(100 + n), true, 1 FROM generate_series(1, 10) AS n
UNION ALL
SELECT nth_id(2), nth_id(100 + n), true, 1 FROM generate_series(1, 1000) AS n
UNION ALL
SELECT nth_id(2 + n), nth_id(1 + (n * 7 + m * 13) % 2000), m > 1, 1
  FROM generate_series(1, 1998) AS n, generate_series(1, 20) AS m;
