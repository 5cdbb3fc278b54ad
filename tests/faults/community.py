"""People who write at a steady rate, whatever the suite answers, and remember what they were told.

They never wait for an answer before somebody writes again: a suite that slows down gets no relief.
"""

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import aiohttp
import msgspec

from tests.faults.doors import Doors
from tests.faults.history import History, Outcome, Request, Write

CAST = 6  # accounts that everybody knows of before anything breaks
ANSWER_WITHIN = 20.0  # seconds; longer than the gateway lets anybody wait
AGAIN_AFTER = 0.5
TRIES = 8
T = TypeVar("T")
_numbers = itertools.count(1)


@dataclass
class Member:
    """Somebody who is logged in."""

    username: str
    token: str


@dataclass
class Article:
    """An article that was acknowledged."""

    title: str
    slug: str


class Community:
    """All that happens is drawn from `chance`, and written into `history`."""

    def __init__(self, session: aiohttp.ClientSession, doors: Doors, chance: random.Random) -> None:
        self.history = History()
        self._session, self._doors, self._chance = session, doors, chance
        self.cast: list[Member] = []
        self._members: list[Member] = []
        self._articles: list[Article] = []
        self._busy: set[tuple[str, str, str]] = set()
        self._under_way: set[asyncio.Task[None]] = set()
        self._troubles: list[BaseException | None] = []

    async def assemble(self) -> None:
        """Register the cast. All of them follow the first, whom content has heard of by the end."""
        for _ in range(CAST):
            member = await self._register()
            assert member is not None, "the cast could not register"
            self.cast.append(member)
            await _at_last(partial(self._publish, member))
            await _at_last(partial(self._want_mail, member))
        for reader in self.cast[1:]:
            await self._set_follow(reader, self.cast[0], on=True)

    @asynccontextmanager
    async def writing(self, rate: float) -> AsyncIterator[None]:
        """Write while the context is open, `rate` times a second; then let all come to an end."""
        writing = asyncio.create_task(self._keep_writing(rate))
        try:
            yield
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            await asyncio.gather(*self._under_way, return_exceptions=True)
            assert not self._troubles, self._troubles

    async def served_by_all(self, within: float) -> float:
        """How many seconds it takes until somebody can register and follow an author, who can
        publish, and the follower is told. Raises `AssertionError` after `within`.
        """
        began, author = time.monotonic(), self.cast[0]
        try:
            async with asyncio.timeout(within):
                reader = await _at_last(lambda: self._follower_of(author))
                article = await _at_last(lambda: self._publish(author))
                await _at_last(lambda: self._is_told(reader, article))
        except TimeoutError:
            raise AssertionError(f"the suite has not recovered within {within} s") from None
        return time.monotonic() - began

    async def _follower_of(self, author: Member) -> Member | None:
        reader = await self._register()
        if reader is None or not await self._set_follow(reader, author, on=True):
            return None
        return reader

    async def _is_told(self, reader: Member, article: Article) -> bool:
        _, body = await self._send(reader, "GET", "/api/notifications")
        told = (body or {}).get("notifications", [])
        return any(item["article"] and item["article"]["slug"] == article.slug for item in told)

    async def _keep_writing(self, rate: float) -> None:
        due = time.monotonic()
        while True:
            task = asyncio.create_task(self._deed())
            self._under_way.add(task)
            task.add_done_callback(self._done)
            due += 1 / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    def _done(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if task.exception() is not None:
            self._troubles.append(task.exception())

    async def _deed(self) -> None:
        deeds: dict[Callable[[], Awaitable[object]], int] = {
            self._register: 5,
            self._publish_something: 18,
            self._comment: 20,
            self._follow: 17,
            self._favorite: 20,
            self._read: 20,
        }
        (deed,) = self._chance.choices(list(deeds), list(deeds.values()))
        await deed()

    async def _want_mail(self, member: Member) -> bool:
        wanted = {"preferences": {"published": {"email": True}}}
        path = "/api/notifications/preferences"
        status, _ = await self._send(member, "PUT", path, wanted)
        return status == 200

    async def _register(self) -> Member | None:
        name = f"member-{next(_numbers)}-{self._chance.randbytes(4).hex()}"
        user = {"username": name, "email": f"{name}@example.org", "password": "correct horse"}
        write = Write("register", name, mark=name)
        body = await self._write(write, None, "POST", "/api/users", {"user": user})
        if body is None:
            return None
        member = Member(name, body["user"]["token"])
        self._members.append(member)
        return member

    async def _publish_something(self) -> None:
        await self._publish(self._chance.choice(self.cast))

    async def _publish(self, author: Member) -> Article | None:
        title = f"Story {next(_numbers)} {self._chance.randbytes(4).hex()}"
        article = {"title": title, "description": "d", "body": "b", "tagList": self._tags()}
        write = Write("publish", author.username, mark=title)
        body = await self._write(write, author, "POST", "/api/articles", {"article": article})
        if body is None:
            return None
        published = Article(title, body["article"]["slug"])
        self._articles.append(published)
        return published

    def _tags(self) -> list[str]:
        return self._chance.sample(["dragons", "training", "cooking", "travel"], 2)

    async def _comment(self) -> None:
        author, article = self._chance.choice(self.cast), self._chance.choice(self._articles)
        text = f"Comment {next(_numbers)} {self._chance.randbytes(4).hex()}"
        write = Write("comment", author.username, mark=text, target=article.title)
        path = f"/api/articles/{article.slug}/comments"
        body = await self._write(write, author, "POST", path, {"comment": {"body": text}})
        if body is not None:
            write.reply_id = str(body["comment"]["id"])

    async def _follow(self) -> None:
        follower, followee = self._chance.choice(self._members), self._chance.choice(self.cast)
        if follower is not followee and followee is not self.cast[0]:
            await self._set_follow(follower, followee, on=self._chance.random() < 0.7)

    async def _set_follow(self, follower: Member, followee: Member, *, on: bool) -> bool:
        write = Write("follow", follower.username, target=followee.username, on=on)
        path = f"/api/profiles/{followee.username}/follow"
        return await self._set_pair(write, follower, path)

    async def _favorite(self) -> None:
        member, article = self._chance.choice(self._members), self._chance.choice(self._articles)
        on = self._chance.random() < 0.7
        write = Write("favorite", member.username, target=article.title, on=on)
        await self._set_pair(write, member, f"/api/articles/{article.slug}/favorite")

    async def _set_pair(self, write: Write, member: Member, path: str) -> bool:
        """One at a time for each pair, and none after one that may still come to pass: only so is
        it known which was the last. Whether it was acknowledged.
        """
        pair = (write.kind, *write.pair)
        if pair in self._busy:
            return False
        self._busy.add(pair)
        await self._write(write, member, "POST" if write.on else "DELETE", path)
        if write.outcome != Outcome.UNKNOWN:
            self._busy.discard(pair)
        return write.outcome == Outcome.ACKNOWLEDGED

    async def _read(self) -> None:
        reader, article = self._chance.choice(self.cast), self._chance.choice(self._articles)
        paths = ["feed", "?limit=5", article.slug, f"{article.slug}/comments"]
        choices = [f"/api/articles/{path}".replace("/?", "?") for path in paths]
        await self._send(
            reader, "GET", self._chance.choice([*choices, "/api/notifications", "/api/user"])
        )

    async def _write(
        self, write: Write, member: Member | None, method: str, path: str, json: Any = None
    ) -> Any:
        """The body of a reply that acknowledges it, else None. Every other new thing carries a key
        and is asked for again until its fate is known.
        """
        self.history.writes.append(write)
        write.began = time.monotonic()
        keyed = bool(write.mark) and self._chance.random() < 0.5
        key = {"Idempotency-Key": write.mark} if keyed else {}
        refused = True
        for _ in range(TRIES if keyed else 1):
            status, body = await self._send(member, method, path, json, key)
            if 200 <= status < 300:
                write.outcome = Outcome.ACKNOWLEDGED
                return body
            refused = refused and 400 <= status < 500
            if 400 <= status < 500:
                break
            if keyed:
                await asyncio.sleep(AGAIN_AFTER)
        write.outcome = Outcome.REFUSED if refused else Outcome.UNKNOWN
        return None

    async def _send(
        self,
        member: Member | None,
        method: str,
        path: str,
        json: Any = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Any]:
        token = {"Authorization": f"Token {member.token}"} if member else {}
        request = Request(method, path, time.monotonic(), 0.0, 0)
        self.history.requests.append(request)
        data = b""
        try:
            async with self._session.request(
                method,
                f"{self._doors.next()}{path}",
                json=json,
                headers=token | (headers or {}),
                timeout=aiohttp.ClientTimeout(total=ANSWER_WITHIN),
            ) as response:
                data = await response.read()
                request.status = response.status
        except (aiohttp.ClientError, OSError) as error:
            request.said = type(error).__name__
        request.ended = time.monotonic()
        body = _decoded(data)
        if request.status >= 500:
            request.said = body.get("detail", "") if body else data.decode()
        return request.status, body


def _decoded(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data) if data else None
    except msgspec.DecodeError:
        return None


async def _at_last(attempt: Callable[[], Awaitable[T | None]]) -> T:
    """Try for ever until something comes of it."""
    while True:
        found = await attempt()
        if found:
            return found
        await asyncio.sleep(0.1)
