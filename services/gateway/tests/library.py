"""A service with articles whose authors come from a projection that lags, and their events."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID, uuid4, uuid5

import msgspec
import nats
from aiohttp import web
from nats.aio.client import Client

from services.gateway.tests.behind import Behind
from shared import position
from shared.events import Event
from shared.events.content import ArticleFavorited
from shared.events.users import ProfileUpdated
from shared.tags import AGGREGATE, TAGS, article, author

NOBODY = uuid4()


class Library:
    """Articles by slug and their authors' profiles, each with a version that a write increases."""

    def __init__(self, behind: Behind, client: Client, seed: int = 0) -> None:
        self.behind, self._client, self._random = behind, client, random.Random(seed)
        self.articles: dict[str, int] = {}
        self.authors: dict[str, int] = {}
        self.projected: dict[str, int] = {}
        self.failing = self.slow = False
        self.late = self.lag = 0.0
        self.proves = True
        self._applied: dict[int, asyncio.Event] = {}
        self._at = random.randrange(10**6, 10**9) * 1_000
        behind.answer = self.answer

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """`/api/articles/<author>-<n>`; whoever asks to have seen an event waits for it."""
        if self.failing:
            return web.json_response({}, status=500)
        if request.method == "POST":
            return await self._favorite(request.path.split("/")[3])
        if request.method == "PUT":
            return await self._update((await request.json())["username"])
        slug = request.path.rsplit("/", 1)[1]
        name = slug.partition("-")[0]
        after = position.parse(request.headers.get(position.AFTER, ""))
        if "users" in after and after["users"] in self._applied:
            await self._applied[after["users"]].wait()
        seen = {"article": self.articles.get(slug, 0), "author": self.projected.get(name, 0)}
        if self.slow:
            await asyncio.sleep(self._random.random() * 0.02)
        said = {TAGS: f"{article(slug)}, {author(name)}"}
        if "users" in after and self.proves:
            said[position.APPLIED] = f"users={after['users']}"
        return web.json_response(seen, headers=said)

    async def _favorite(self, slug: str) -> web.StreamResponse:
        """A write by request, whose reply tells of it before its event does."""
        at = await self.write(slug, late=self.late)
        said = {position.POSITION: f"content={at}", TAGS: article(slug), AGGREGATE: str(NOBODY)}
        return web.json_response({}, headers=said)

    async def _update(self, name: str) -> web.StreamResponse:
        at = await self.rename(name, late=self.late, lag=self.lag)
        said = {position.POSITION: f"users={at}", TAGS: author(name), AGGREGATE: _account(name)}
        return web.json_response({}, headers=said)

    async def write(self, slug: str, *, late: float = 0.0) -> int:
        """Change an article; its event is told `late` seconds after. Gives its position."""
        self.articles[slug] = self.articles.get(slug, 0) + 1
        event = ArticleFavorited(article_id=NOBODY, author_id=NOBODY, account_id=NOBODY, slug=slug)
        return await self._tell("content", event, late)

    async def rename(self, name: str, *, late: float = 0.0, lag: float = 0.0) -> int:
        """Change a profile; the projection learns of it `lag` seconds after. Gives its position."""
        self.authors[name] = version = self.authors.get(name, 0) + 1
        event = ProfileUpdated(
            account_id=UUID(_account(name)), username=name, email="", bio="", image=""
        )
        applied = asyncio.Event()
        self._applied[self._at + 1] = applied
        at = await self._tell("users", event, late)

        def apply() -> None:
            self.projected[name] = max(self.projected.get(name, 0), version)
            applied.set()

        asyncio.get_running_loop().call_later(lag, apply)
        return at

    async def _tell(self, source: str, event: Event, late: float) -> int:
        self._at += 1
        headers = {"ce-source": source, "ce-sequence": str(self._at)}
        headers["ce-subject"] = event.aggregate
        data = msgspec.json.encode(event)

        def publish() -> None:
            task = asyncio.create_task(self._client.publish(event.SUBJECT, data, headers=headers))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        asyncio.get_running_loop().call_later(late, publish)
        return self._at

    _tasks: set["asyncio.Task[None]"] = set()  # noqa: RUF012  (held so that they are not collected)


def _account(name: str) -> str:
    return str(uuid5(NOBODY, name))


@asynccontextmanager
async def library(behind: Behind, nats_url: str, seed: int = 0) -> AsyncIterator[Library]:
    """A library that tells its events to a NATS."""
    client = await nats.connect(nats_url)
    try:
        yield Library(behind, client, seed)
    finally:
        await client.close()
