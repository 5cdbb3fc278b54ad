"""More people and articles than the seeder makes in the time: by SQL, in the servers."""

import asyncpg
from uuid_utils.compat import uuid7

from shared.testing import until

AUTHORS = 1_000


async def follow(db: asyncpg.Connection, username: str, followers: int) -> None:
    """Let so many people follow an account, as the notifications service knows it."""

    async def known() -> object:
        return await db.fetchval("SELECT id FROM people WHERE username = $1", username)

    account = await until(known, what="the account")
    people = [(uuid7(), f"follower.{username}.{number}", "", 0) for number in range(followers)]
    await db.copy_records_to_table(
        "people", columns=["id", "username", "image", "position"], records=people
    )
    await db.execute(
        """INSERT INTO follows (followee_id, follower_id, position, following, changed_at)
           SELECT $1, id, 0, true, now() - interval '1 day'
             FROM people WHERE username LIKE 'follower.' || $2 || '.%'""",
        account,
        username,
    )
    await db.execute("ANALYZE")


async def fill_articles(url: str, articles: int) -> None:
    """Articles of `AUTHORS` people, a minute apart, each with a tag, as content keeps them."""
    db = await asyncpg.connect(url)
    try:
        await db.execute(
            """INSERT INTO authors (id, username, username_key, bio, image, position)
               SELECT md5('author' || number)::uuid, 'author' || number, 'author' || number,
                      repeat('About me. ', 8), 'https://example.org/' || number || '.jpg', 0
                 FROM generate_series(0, $1 - 1) AS number""",
            AUTHORS,
        )
        await db.execute(
            """INSERT INTO articles (id, slug, title, description, body, tag_list, author_id,
                                     created_at, updated_at)
               SELECT md5('article' || number)::uuid, 'article-' || number, 'Article ' || number,
                      repeat('What it is about. ', 5), repeat('What it says. ', 20),
                      ARRAY['tag' || number % 100], md5('author' || number % $2)::uuid,
                      now() - number * interval '1 minute', now() - number * interval '1 minute'
                 FROM generate_series(1, $1) AS number""",
            articles,
            AUTHORS,
        )
        await db.execute("UPDATE article_counts SET articles = $1 WHERE stripe = 0", articles)
        await db.execute("VACUUM ANALYZE")
    finally:
        await db.close()
