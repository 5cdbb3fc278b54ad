"""Services that fail, hang, or get too much: what the others and the clients notice of it.

The gateway's own connections, to real servers.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from aiohttp import web

from services.gateway.settings import Settings
from services.gateway.tests.behind import Answer, Behind, talking
from services.gateway.upstream.bulkhead import Priority
from services.gateway.upstream.connections import Connections
from services.gateway.upstream.endpoints import FAILURES, READY
from services.gateway.upstream.upstreams import Upstreams
from shared.errors import AppError, BadGateway, GatewayTimeout, Unavailable
from shared.testing import until


@asynccontextmanager
async def asking(*urls: str, **told: object) -> AsyncIterator[Upstreams]:
    """The gateway's way to the content service at `urls`, all of which are ready."""
    settings = Settings(content_url=urls, **told)  # type: ignore[arg-type]
    async with Connections(settings) as connections:
        upstreams = Upstreams(connections, settings)
        for endpoint in upstreams.services["content"].endpoints:
            endpoint.note(READY)
        upstreams.guards["content"].resize(len(urls))
        yield upstreams


@asynccontextmanager
async def pods(*answers: Answer) -> AsyncIterator[list[Behind]]:
    """Processes of a service, which answer so."""
    async with AsyncExitStack() as stack:
        found = [await stack.enter_async_context(Behind().serving()) for _ in answers]
        for pod, answer in zip(found, answers, strict=True):
            pod.answer = answer
        yield found


def says(status: int) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text="said")

    return answer


async def hangs(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(60)
    return web.Response()


async def asked(
    upstreams: Upstreams,
    method: str = "GET",
    priority: Priority = Priority.ANONYMOUS,
    *,
    hedge: bool = False,
    timeout: float | None = None,
) -> int:
    """The status that the client gets."""
    try:
        reply = await upstreams.ask(
            *("content", method, "/api/tags", []),
            timeout=timeout,
            route="/api/tags",
            priority=priority,
            hedge=hedge,
        )
    except AppError as error:
        return error.status
    reply.close()
    return reply.status


async def test_a_service_that_always_fails_is_spared_within_a_second_and_found_again() -> None:
    async with pods(says(500)) as [pod], asking(pod.url) as upstreams:
        breaker = upstreams.guards["content"].breaker
        statuses = list[int]()
        while breaker.state == "closed":
            statuses.append(await asked(upstreams))
        statuses += [await asked(upstreams) for _ in range(200)]
        assert len(pod.requests) <= 1.1 * len(statuses)
        assert len(pod.requests) < 30, "hardly any came through"
        with pytest.raises(ConnectionError, match="breaker open"):
            await upstreams.check("content")
        pod.answer, before = says(200), len(pod.requests)

        async def healed() -> bool:
            return await asked(upstreams) == 200

        await until(healed, seconds=3)
        assert len(pod.requests) == before + 1, "one had to try"
        await upstreams.check("content")


async def test_what_an_open_breaker_refuses_is_503_at_once_and_says_when_to_come_again() -> None:
    async with pods(says(500)) as [pod], asking(pod.url, breaker_pause=30.0) as upstreams:
        while upstreams.guards["content"].breaker.state == "closed":
            await asked(upstreams)
        before = len(pod.requests)
        with pytest.raises(Unavailable) as refused:
            await upstreams.ask("content", "GET", "/api/tags", [])
        assert len(pod.requests) == before
        assert refused.value.retry_after == 30
        assert upstreams.guards["users"].breaker.state == "closed", "others don't suffer"


async def test_while_one_tries_the_others_are_refused_and_one_that_goes_is_followed() -> None:
    async with pods(says(500)) as [pod], asking(pod.url, breaker_pause=0.1) as upstreams:
        breaker = upstreams.guards["content"].breaker
        while breaker.state == "closed":
            await asked(upstreams)
        pod.answer = hangs
        await asyncio.sleep(0.1)
        trying = asyncio.create_task(asked(upstreams))
        await until(lambda: _is(breaker.state, "half-open"))
        assert await asked(upstreams) == 503
        trying.cancel()
        await asyncio.wait({trying})
        pod.answer = says(200)
        assert await asked(upstreams) == 200


async def _is(value: object, wanted: object) -> bool:
    return value == wanted


async def test_one_of_two_that_only_fails_is_left_alone_and_the_last_never_is() -> None:
    async with (
        pods(says(500), says(200)) as [bad, good],
        asking(bad.url, good.url, breaker_least=1000) as upstreams,
    ):
        statuses = Counter([await asked(upstreams) for _ in range(30)])
        assert statuses[500] == len(bad.requests) == FAILURES
        good.answer = says(500)
        for _ in range(10):
            await asked(upstreams)
        assert len(bad.requests) == FAILURES, "still left alone"
        assert len(good.requests) == 40 - FAILURES, "the last one is asked whatever it says"


async def test_one_that_hangs_is_left_alone() -> None:
    async with pods(hangs, says(200)) as [bad, good], asking(bad.url, good.url) as upstreams:
        statuses = [await asked(upstreams, timeout=0.2) for _ in range(30)]
        assert len(bad.requests) == FAILURES
        assert statuses.count(200) > 20


async def test_what_one_can_not_serve_now_another_may() -> None:
    async with pods(says(503), says(200)) as [bad, good], asking(bad.url, good.url) as upstreams:
        assert {await asked(upstreams) for _ in range(20)} == {200}
        assert len(bad.requests) <= FAILURES
        bad.requests.clear()
    async with pods(says(503)) as [bad], asking(bad.url) as upstreams:
        assert await asked(upstreams) == 503
        assert len(bad.requests) == 1, "the only one is not asked again"


async def test_a_write_is_not_repeated_because_somebody_was_busy() -> None:
    async with pods(says(503), says(503)) as both:
        async with asking(*(pod.url for pod in both)) as upstreams:
            assert await asked(upstreams, "POST") == 503
        assert sum(len(pod.requests) for pod in both) == 1


async def test_retries_end_with_the_budget() -> None:
    """Both break off all the time: a tenth more requests than were asked for, and a few."""
    heard = 0

    async def talk(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        nonlocal heard
        await reader.readuntil(b"\r\n\r\n")
        heard += 1

    async with (
        talking(talk) as one,
        talking(talk) as other,
        asking(one, other, breaker_least=10_000, retry_budget=0.1) as upstreams,
    ):
        assert {await asked(upstreams) for _ in range(200)} == {502}
    assert heard == 200 + 20 + 10


async def test_a_client_that_breaks_off_its_upload_says_nothing_about_the_service() -> None:
    async def upload() -> AsyncIterator[bytes]:
        yield b"x" * 1000
        raise ConnectionResetError

    async with pods(says(200)) as [pod], asking(pod.url) as upstreams:
        for _ in range(20):
            with pytest.raises(BadGateway):
                await upstreams.ask("content", "POST", "/api/articles", [], upload())
        assert await asked(upstreams) == 200
        assert upstreams.guards["content"].bulkhead.inside == 0


async def test_waiting_for_a_place_is_part_of_the_time() -> None:
    async with pods(hangs) as [pod], asking(pod.url, upstream_connections=1) as upstreams:
        first = asyncio.create_task(asked(upstreams, timeout=0.4))
        await until(lambda: _is(len(pod.requests), 1))
        with pytest.raises(GatewayTimeout):
            await upstreams.ask("content", "GET", "/api/tags", [], timeout=0.1)
        assert await first == 504
        assert upstreams.guards["content"].bulkhead.inside == 0


class Slow:
    """A process that does one thing after the other, for 5 ms each."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def answer(self, _: web.Request) -> web.StreamResponse:
        async with self._turn:
            await asyncio.sleep(0.005)
        return web.Response(text="done")


async def crowd(
    upstreams: Upstreams, clients: int, seconds: float, priority: Priority
) -> list[tuple[int, float]]:
    """What clients get who ask again as soon as they have an answer: status, and time taken."""
    until_, got = time.monotonic() + seconds, list[tuple[int, float]]()

    async def client() -> None:
        while (begun := time.monotonic()) < until_:
            status = await asked(upstreams, "POST" if not priority else "GET", priority)
            got.append((status, time.monotonic() - begun))
            if status == 503:
                await asyncio.sleep(0.1)

    await asyncio.gather(*(client() for _ in range(clients)))
    return got


async def test_of_too_much_the_least_important_is_refused_and_the_rest_is_quick() -> None:
    async with pods(Slow().answer) as [pod], asking(pod.url, connect_timeout=2.0) as upstreams:
        calm = await crowd(upstreams, 4, 0.3, Priority.ANONYMOUS)
        assert {status for status, _ in calm} == {200}
        anonymous, members, writes = await asyncio.gather(
            crowd(upstreams, 400, 2.5, Priority.ANONYMOUS),
            crowd(upstreams, 10, 2.5, Priority.MEMBER),
            crowd(upstreams, 5, 2.5, Priority.WRITE),
        )
        limit = upstreams.guards["content"].limit
    assert {status for status, _ in writes + members} == {200}
    assert 503 in {status for status, _ in anonymous}
    took = sorted(seconds for _, seconds in writes)
    assert took[len(took) // 2] < 1.0
    assert max(seconds for _, seconds in anonymous) < 4.0
    assert limit.value < 60, "fewer are let in than there are connections"
    assert pod.requests


async def test_an_ordinary_crowd_is_served_to_the_last() -> None:
    async with pods(says(200)) as [pod], asking(pod.url) as upstreams:
        got = await crowd(upstreams, 200, 1.0, Priority.ANONYMOUS)
        assert {status for status, _ in got} == {200}
        assert len(got) > 200


async def test_a_late_read_goes_to_another_process_and_the_loser_ends() -> None:
    ended = asyncio.Event()

    async def late(request: web.Request) -> web.StreamResponse:
        try:
            return await hangs(request)
        finally:
            ended.set()

    async with (
        pods(says(200), says(200)) as [one, other],
        asking(one.url, other.url, hedging="on") as upstreams,
    ):
        for _ in range(40):
            await asked(upstreams, hedge=True)
        one.answer, before = late, len(other.requests)
        upstreams.services["content"].endpoints[1].outstanding = 5  # so that one is asked first
        begun = time.monotonic()
        assert await asked(upstreams, hedge=True) == 200
        assert time.monotonic() - begun < 5.0
        assert len(other.requests) == before + 1
        await asyncio.wait_for(ended.wait(), 5.0)


@pytest.mark.parametrize("told", [{}, {"hedging": "on", "retry_budget": 0.0}])
async def test_nothing_is_asked_twice_unless_told_and_within_the_budget(
    told: dict[str, object],
) -> None:
    async with (
        pods(says(200), says(200)) as [one, other],
        asking(one.url, other.url, **told) as upstreams,
    ):
        for _ in range(40):
            await asked(upstreams, hedge=True)
        one.answer, before = hangs, len(other.requests)
        upstreams.services["content"].endpoints[1].outstanding = 5
        assert await asked(upstreams, hedge=True, timeout=0.3) == 504
        assert len(other.requests) == before


async def test_replies_that_stream_leave_room_for_others() -> None:
    streaming = 30
    go_on = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        reply = web.StreamResponse()
        await reply.prepare(request)
        await reply.write(b"first")
        await go_on.wait()
        return reply

    async with pods(answer) as [pod], asking(pod.url, upstream_connections=5) as upstreams:
        replies = [await upstreams.ask("content", "GET", "/api/tags", []) for _ in range(streaming)]
        pod.answer = says(200)
        assert await asked(upstreams) == 200
        go_on.set()
        for reply in replies:
            assert [piece async for piece in reply.pieces()] == [b"first"]
            reply.close()
