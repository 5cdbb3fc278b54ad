"""Services of several processes, some of which fail: what a client notices of it."""

import asyncio
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import aiohttp
import pytest

from deploy.local.state import free_port
from services.gateway.tests.behind import Behind, talking
from services.gateway.tests.conftest import Told
from services.gateway.tests.running import ROOT, Running, running
from shared.testing import Signer, until

Started = Callable[..., AbstractAsyncContextManager[Running]]
READY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
UNREADY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


@pytest.fixture
def before(folder: Path, session: aiohttp.ClientSession, told: Told) -> Started:
    """Starts a gateway in front of the processes at the URLs given."""

    def start(*urls: str) -> AbstractAsyncContextManager[Running]:
        return running(folder, session, told | {"GATEWAY_CONTENT_URL": ",".join(urls)})

    return start


@pytest.fixture
def token(signer: Signer, account: UUID) -> dict[str, str]:
    return signer.headers(account)


@dataclass
class Odd:
    """A process that says it is ready, or not, and whose answers are `answer`; None breaks off.
    `heard` are the first lines of what it received, `deadlines` what it was told of its time.
    """

    ready: bool = True
    answer: bytes | None = None
    pause: float = 0.0
    heard: list[str] = field(default_factory=list)
    deadlines: list[int] = field(default_factory=list)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        async with talking(self._talk) as url:
            yield url

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            if head.startswith("GET /readyz"):
                writer.write(READY if self.ready else UNREADY)
                if not self.ready:
                    return
                continue
            self.heard.append(head.partition("\r\n")[0])
            (told,) = re.findall(r"quartet-deadline: (\d+)\r", head.lower())
            self.deadlines.append(int(told))
            await asyncio.sleep(self.pause)
            if self.answer is None:
                return
            writer.write(self.answer)


async def is_known_to_be_ready(gateway: Running) -> None:
    async def is_ready() -> bool:
        reply = await gateway.send("GET", "/readyz")
        return bool(reply.json["checks"]["content"] == "ok")

    await until(is_ready, what="a probe")


async def test_where_no_connection_can_be_had_the_next_is_asked_whatever_the_method(
    before: Started, behind: Behind, token: dict[str, str]
) -> None:
    dead = [f"http://127.0.0.1:{free_port()}" for _ in range(2)]
    async with before(*dead, behind.url) as gateway:
        for method in ("POST", "DELETE") * 5:
            reply = await gateway.send(method, "/api/articles/a/favorite", headers=token)
            assert reply.status == 200
        assert len(behind.requests) == 10


async def test_all_of_them_dead_is_503_at_once(before: Started) -> None:
    dead = [f"http://127.0.0.1:{free_port()}" for _ in range(3)]
    async with before(*dead) as gateway:
        reply = await gateway.send("GET", "/api/tags")
        assert (reply.status, reply.headers["Retry-After"]) == (503, "1")


async def test_one_that_breaks_off_is_asked_no_more_and_a_read_goes_to_the_other(
    before: Started, behind: Behind
) -> None:
    odd = Odd()
    async with odd.serving() as url, before(url, behind.url) as gateway:
        await is_known_to_be_ready(gateway)
        replies = [await gateway.send("GET", "/api/tags") for _ in range(10)]
        assert {reply.status for reply in replies} == {200}


async def test_a_write_that_may_have_been_done_is_not_sent_again(
    before: Started, behind: Behind, token: dict[str, str]
) -> None:
    odd = Odd()
    async with odd.serving() as url, before(url) as gateway:
        reply = await gateway.send("POST", "/api/articles", headers=token)
        assert reply.status == 502
        assert odd.heard == ["POST /api/articles HTTP/1.1"]


async def test_a_write_with_a_key_is_sent_again_once(
    before: Started, token: dict[str, str]
) -> None:
    odd = Odd()
    async with odd.serving() as url, before(url) as gateway:
        reply = await gateway.send(
            "POST", "/api/articles", headers=token | {"Idempotency-Key": "one"}
        )
        assert reply.status == 502
        assert len(odd.heard) == 2


@asynccontextmanager
async def killable(count: int) -> AsyncIterator[dict[str, asyncio.subprocess.Process]]:
    """Processes of a service by their URLs."""
    found = {}
    for _ in range(count):
        port = free_port()
        found[f"http://127.0.0.1:{port}"] = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services.gateway.tests.pod", str(port)), cwd=ROOT
        )
    try:
        yield found
    finally:
        for process in found.values():
            if process.returncode is None:
                process.kill()
            await process.wait()


async def test_one_of_three_killed_under_load_fails_no_read(before: Started) -> None:
    async with killable(3) as pods, before(*pods) as gateway:
        for url in pods:
            await gateway.logged(event="upstream", url=url, state="ok")
        statuses, until_ = Counter[int](), asyncio.get_running_loop().time() + 2.0

        async def client() -> None:
            while asyncio.get_running_loop().time() < until_:
                statuses[(await gateway.send("GET", "/api/tags")).status] += 1

        clients = [asyncio.create_task(client()) for _ in range(20)]
        await until(lambda: _over(statuses, 100), what="some load")
        next(iter(pods.values())).kill()
        await asyncio.gather(*clients)
        assert set(statuses) == {200}
        assert statuses[200] > 200


async def _over(statuses: Counter[int], count: int) -> bool:
    return statuses.total() > count


async def test_one_that_drains_is_left_at_once(before: Started, behind: Behind) -> None:
    leaving = Odd(answer=READY.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    async with leaving.serving() as url, before(url, behind.url) as gateway:
        await is_known_to_be_ready(gateway)
        leaving.ready = False
        for _ in range(50):
            assert (await gateway.send("GET", "/api/tags")).status == 200
        assert len(leaving.heard) <= 1


async def test_one_that_is_unready_is_spared(before: Started, behind: Behind) -> None:
    unready = Odd(ready=False, answer=READY)
    async with unready.serving() as url, before(url, behind.url) as gateway:
        await is_known_to_be_ready(gateway)
        unready.heard.clear()
        for _ in range(20):
            assert (await gateway.send("GET", "/api/tags")).status == 200
        assert unready.heard == []


async def test_the_only_one_is_asked_though_it_is_unready(before: Started) -> None:
    unready = Odd(ready=False, answer=READY)
    async with unready.serving() as url, before(url) as gateway:
        assert (await gateway.send("GET", "/api/tags")).status == 200


async def test_a_service_is_told_what_is_left_of_the_time(before: Started) -> None:
    slow = Odd(pause=0.6)
    async with slow.serving() as url, before(url) as gateway:
        forged = {"Quartet-Deadline": "999999"}
        assert (await gateway.send("GET", "/api/tags", headers=forged)).status == 502
    first, second = slow.deadlines
    assert 600 < first <= 1200, "its own 1.5 s, less what an answer needs to get here"
    assert 0 < second <= first - 600
