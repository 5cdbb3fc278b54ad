"""Somebody who uses the service, for tests to act as."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from quart.typing import TestClientProtocol


class Reply(msgspec.Struct, frozen=True):
    """What the service answered."""

    status: int
    body: Any
    headers: Any


class Member(msgspec.Struct, frozen=True):
    """An account, and requests in its name; without headers, in nobody's."""

    client: TestClientProtocol
    id: UUID
    username: str
    headers: dict[str, str]

    async def send(
        self, method: str, path: str, json: object = None, type_: str = "", **options: Any
    ) -> Reply:
        """One request; `path` is what follows /api."""
        if json is not None:
            options["json"] = json
        headers = self.headers | ({"Content-Type": type_} if type_ else {})
        reply = await self.client.open(f"/api{path}", method=method, headers=headers, **options)
        return Reply(reply.status_code, await reply.get_json(), reply.headers)

    async def get(self, path: str, **query: object) -> Any:
        """The body of a reply that succeeds."""
        reply = await self.send("GET", path, query_string=query)
        assert reply.status == 200, reply.body
        return reply.body

    async def publish(self, title: str = "A title", **fields: object) -> Any:
        """A new article."""
        article = {"title": title, "description": "About it.", "body": "It is so."} | fields
        reply = await self.send("POST", "/articles", {"article": article})
        assert reply.status == 201, reply.body
        return reply.body["article"]


Join = Callable[[], Awaitable[Member]]


async def miscounted(db: asyncpg.Connection) -> list[Any]:
    """The counters that differ from what they count."""
    return await db.fetch(
        """SELECT 'tag ' || tag AS what, kept.articles, counted.articles AS counted
             FROM tags AS kept
             FULL JOIN (SELECT tag, count(*) AS articles FROM article_tags GROUP BY tag
                       ) AS counted USING (tag)
            WHERE coalesce(kept.articles, 0) <> coalesce(counted.articles, 0)
           UNION ALL
           SELECT 'articles of ' || coalesce(account_id, author_id), kept.articles, counted.articles
             FROM account_counts AS kept
             FULL JOIN (SELECT author_id, count(*) AS articles FROM articles GROUP BY author_id
                       ) AS counted ON account_id = author_id
            WHERE coalesce(kept.articles, 0) <> coalesce(counted.articles, 0)
           UNION ALL
           SELECT 'favourites of ' || account_id, kept.favorites, counted.favorites
             FROM account_counts AS kept
             FULL JOIN (SELECT account_id, count(*) AS favorites FROM favorites GROUP BY account_id
                       ) AS counted USING (account_id)
            WHERE coalesce(kept.favorites, 0) <> coalesce(counted.favorites, 0)
           UNION ALL
           SELECT 'favourites for ' || slug, favorites_count, counted
             FROM articles
            CROSS JOIN LATERAL (SELECT count(*) AS counted FROM favorites WHERE article_id = id
                               ) AS favorites
            WHERE favorites_count <> counted
           UNION ALL
           SELECT 'tag list of ' || slug, cardinality(tag_list), cardinality(listed)
             FROM articles
            CROSS JOIN LATERAL (SELECT array(SELECT tag FROM article_tags
                                              WHERE article_id = id) AS listed) AS tags
            WHERE NOT (tag_list @> listed AND tag_list <@ listed)
           UNION ALL
           SELECT 'stripe', kept, counted
             FROM (SELECT sum(articles)::bigint AS kept FROM article_counts) AS kept,
                  (SELECT count(*) AS counted FROM articles) AS counted
            WHERE kept <> counted"""
    )
