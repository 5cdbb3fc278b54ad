"""What many do at once is as if they had done it one after the other."""

import asyncio
from collections.abc import Awaitable, Iterable

import asyncpg

from services.content.tests.members import Join, Member, Reply, miscounted
from shared.testing import until

CLIENTS = 50


async def events_of(db: asyncpg.Connection, slug: str) -> list[str]:
    rows = await db.fetch(
        """SELECT subject FROM outbox
            WHERE aggregate = (SELECT article_id::text FROM slugs WHERE slug = $1)
            ORDER BY position""",
        slug,
    )
    return [row["subject"].split(".")[1] for row in rows]


async def test_fifty_who_favourite_at_once_count_fifty(
    db: asyncpg.Connection, author: Member, join: Join
) -> None:
    slug = (await author.publish())["slug"]
    fans = [await join() for _ in range(CLIENTS)]
    path = f"/articles/{slug}/favorite"
    replies = await asyncio.gather(*(fan.send("POST", path) for fan in fans for _ in range(2)))
    assert {reply.status for reply in replies} == {200}
    assert (await author.get(f"/articles/{slug}"))["article"]["favoritesCount"] == CLIENTS
    assert await events_of(db, slug) == ["article_published"] + ["article_favorited"] * CLIENTS
    assert await miscounted(db) == []


async def test_one_who_favourites_fifty_times_at_once_counts_one(
    db: asyncpg.Connection, author: Member, reader: Member
) -> None:
    slug = (await author.publish())["slug"]
    path = f"/articles/{slug}/favorite"
    await asyncio.gather(*(reader.send("POST", path) for _ in range(CLIENTS)))
    assert (await author.get(f"/articles/{slug}"))["article"]["favoritesCount"] == 1
    assert await events_of(db, slug) == ["article_published", "article_favorited"]


async def test_twenty_articles_of_one_title_have_twenty_slugs(
    db: asyncpg.Connection, author: Member
) -> None:
    title = author.id.hex
    made = await asyncio.gather(*(author.publish(title) for _ in range(20)))
    slugs = {article["slug"] for article in made}
    assert len(slugs) == 20
    assert title in slugs
    assert await miscounted(db) == []


async def test_twenty_articles_that_take_one_title_have_twenty_slugs(author: Member) -> None:
    made = [await author.publish(f"{author.id.hex} {n}") for n in range(20)]
    change = {"article": {"title": f"{author.id.hex} same"}}
    replies = await asyncio.gather(
        *(author.send("PUT", f"/articles/{article['slug']}", change) for article in made)
    )
    assert {reply.status for reply in replies} == {200}
    assert len({reply.body["article"]["slug"] for reply in replies}) == 20


async def test_what_comes_while_an_article_is_deleted_is_before_it_or_404(
    db: asyncpg.Connection, author: Member, join: Join
) -> None:
    slug = (await author.publish())["slug"]
    fans = [await join() for _ in range(20)]
    path = f"/articles/{slug}"
    comment = {"comment": {"body": "Hm."}}
    *replies, deleted = await asyncio.gather(
        *(fan.send("POST", f"{path}/favorite") for fan in fans),
        *(fan.send("POST", f"{path}/comments", comment) for fan in fans),
        author.send("DELETE", path),
    )
    assert deleted.status == 204
    assert {reply.status for reply in replies} <= {200, 404}
    told = await events_of(db, slug)
    assert len(told) == 2 + sum(reply.status == 200 for reply in replies)
    assert told[-1] == "article_deleted"
    assert await miscounted(db) == []


async def test_articles_that_share_tags_and_fans_are_written_side_by_side(
    db: asyncpg.Connection, author: Member, join: Join
) -> None:
    """Counters are locked in one order, so that no two transactions wait for each other."""
    fans = [await join() for _ in range(20)]
    tags = [f"{author.id.hex} {n}" for n in range(20)]
    ways = (tags, tags[::-1])
    articles = await asyncio.gather(*(author.publish(tagList=ways[n % 2]) for n in range(10)))
    paths = [f"/articles/{article['slug']}" for article in articles]
    for _ in range(3):
        await at_once(
            author.send("PUT", path, {"article": {"tagList": tags_}})
            for path in paths
            for tags_ in ([], ways[paths.index(path) % 2])
        )
    await at_once(fan.send("POST", f"{path}/favorite") for path in paths for fan in fans)
    await at_once(author.send("DELETE", path) for path in paths)
    assert await miscounted(db) == []


async def test_accounts_are_locked_in_the_order_of_their_ids(
    db: asyncpg.Connection, author: Member, join: Join
) -> None:
    """A deletion that waits for the first account holds none of the others."""
    path = f"/articles/{(await author.publish())['slug']}"
    fans = [await join() for _ in range(20)]
    for fan in fans:
        await fan.send("POST", f"{path}/favorite")
    async with db.transaction():
        await db.execute(
            "SELECT FROM account_counts WHERE account_id = $1 FOR UPDATE",
            min(author.id, *(fan.id for fan in fans)),
        )
        deleting = asyncio.create_task(author.send("DELETE", path))
        await until(lambda: somebody_waits(db), what="a deletion that waits")
        free = await db.fetch(
            "SELECT FROM account_counts WHERE account_id = ANY ($1) FOR UPDATE SKIP LOCKED",
            [author.id, *(fan.id for fan in fans)],
        )
    assert len(free) == 21
    assert (await deleting).status == 204


async def somebody_waits(db: asyncpg.Connection) -> bool:
    waits: bool = await db.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
    return waits


async def at_once(sent: Iterable[Awaitable[Reply]]) -> None:
    assert {reply.status for reply in await asyncio.gather(*sent)} <= {200, 204}
