"""Live streams of events: nothing is lost, nothing comes twice, and nobody waits for the slow."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import aiohttp
import pytest

from deploy.local.servers import Servers
from services.gateway.tests.behind import Behind
from services.gateway.tests.conftest import Told
from services.gateway.tests.ledger import SHOWN, Ledger, ledger
from services.gateway.tests.listening import STREAM, cable, events
from services.gateway.tests.running import Running, running
from shared.testing import Signer, until

SERVERS = pytest.mark.parametrize("server", ["http1", "hypercorn"])


@pytest.fixture
async def books(behind: Behind, servers: Servers) -> AsyncIterator[Ledger]:
    async with ledger(behind, servers.nats_url) as books:
        yield books


@pytest.fixture
def token(signer: Signer, account: UUID) -> str:
    return signer.token(account)


async def test_what_happens_is_told_as_it_happens(
    gateway: Running, books: Ledger, account: UUID, token: str
) -> None:
    (before,) = await books.tell(account)
    async with events(gateway.session, gateway.url, token) as stream:
        assert stream.reply.headers["Content-Type"] == "text/event-stream"
        assert stream.reply.headers["Cache-Control"] == "no-store"
        ready = await stream.next()
        assert (ready.type, ready.id, ready.data) == ("ready", before, {"unreadCount": 1})
        _, number = await books.tell(uuid4(), account)
        event = await stream.next()
        assert (event.type, event.id) == ("notification", number)
        assert event.data == {"id": event.data["id"], **SHOWN}
        assert UUID(event.data["id"])


async def test_who_comes_again_hears_exactly_what_they_missed(
    gateway: Running, books: Ledger, account: UUID, token: str
) -> None:
    async with events(gateway.session, gateway.url, token) as stream:
        await stream.next()
        seen = await stream.numbers(0) + await books.tell(account)
        assert await stream.numbers(1) == seen
    missed = [number for _ in range(250) for number in await books.tell(account)]
    async with events(gateway.session, gateway.url, token, seen[-1]) as stream:
        assert await stream.numbers(250) == missed
        assert (await stream.next()).type == "ready"
        await books.repeat_all()
        after = await books.tell(account)
        assert await stream.numbers(1) == after


async def test_clients_that_are_cut_at_any_moment_hear_everything_once(
    gateway: Running, books: Ledger, account: UUID, token: str
) -> None:
    """Told and cut at random moments, while the service fails now and then and events are sent
    twice.
    """
    chance, total = random.Random(5), 300
    heard: list[int] = []
    expected: list[int] = []

    async def tell() -> None:
        for _ in range(total):
            expected.append((await books.tell(account, uuid4()))[0])
            books.failing = chance.random() < 0.02
            if chance.random() < 0.1:
                await books.repeat_all()
            await asyncio.sleep(chance.random() * 0.01)
        books.failing = False

    telling = asyncio.create_task(tell())
    last: int = 0
    while len(heard) < total:
        async with events(gateway.session, gateway.url, token, last) as stream:
            for _ in range(chance.randrange(40)):
                if len(heard) == total:
                    break
                event = await stream.next()
                if event.type == "notification":
                    assert event.id is not None
                    heard.append(event.id)
                    last = event.id
    await telling
    assert heard == expected


@SERVERS
async def test_a_gateway_that_was_cut_off_from_nats_misses_nothing(
    folder: Path,
    session: aiohttp.ClientSession,
    told: Told,
    servers: Servers,
    books: Ledger,
    account: UUID,
    token: str,
    server: str,
) -> None:
    async with cable(servers.nats_url) as line:
        extra = {"GATEWAY_SERVER": server, "GATEWAY_NATS_URL": line.url}
        async with running(folder, session, told | extra) as gateway:
            await gateway.logged(event="nats connected")
            async with events(session, gateway.url, token) as stream:
                await stream.next()
                first = await books.tell(account)
                assert await stream.numbers(1) == first
                line.cut()
                missed = [number for _ in range(5) for number in await books.tell(account)]
                async with events(session, gateway.url, token, 0) as late:
                    assert await late.numbers(6) == first + missed
                    await late.next()
                    line.mend()
                    assert await stream.numbers(5) == missed
                    now = await books.tell(account)
                    assert await stream.numbers(1) == await late.numbers(1) == now


async def test_who_does_not_read_is_let_go_and_can_go_on(
    folder: Path,
    session: aiohttp.ClientSession,
    told: Told,
    books: Ledger,
    account: UUID,
    token: str,
) -> None:
    extra = {"GATEWAY_CLIENT_TIMEOUT": "2"}
    async with running(folder, session, told | extra) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, limit=1000)
        writer.write(
            f"GET {STREAM} HTTP/1.1\r\nHost: a\r\nAuthorization: Token {token}\r\n\r\n".encode()
        )
        await reader.readuntil(b"\r\n\r\n")
        async with events(session, gateway.url, token) as stream:
            await stream.next()

            async def let_go() -> bool:
                sent = [number for _ in range(100) for number in await books.tell(*[account] * 100)]
                assert await stream.numbers(len(sent)) == sent
                return any(line["event"] == "request" for line in await gateway.lines())

            await until(let_go, seconds=60, what="the end of the one who does not read")
        writer.close()


async def test_an_account_has_so_many_streams(
    gateway: Running, books: Ledger, signer: Signer, account: UUID, token: str
) -> None:
    streams = [events(gateway.session, gateway.url, token) for _ in range(10)]
    for stream in streams:
        await (await stream.__aenter__()).next()
    fields = {"Authorization": f"Token {token}"}
    refused = await gateway.send("GET", STREAM, headers=fields)
    assert (refused.status, refused.json["title"]) == (429, "Too Many Requests")
    assert int(refused.headers["Retry-After"]) > 0
    async with events(gateway.session, gateway.url, signer.token(uuid4())) as other:
        assert (await other.next()).type == "ready"
    await streams.pop().__aexit__(None, None, None)

    async def let_in() -> bool:
        async with gateway.session.get(gateway.url + STREAM, headers=fields) as reply:
            return reply.status == 200

    await until(let_in, what="the place of the one who has gone")
    for stream in streams:
        await stream.__aexit__(None, None, None)


@SERVERS
async def test_a_process_has_so_many_streams_and_shows_that_they_live(
    folder: Path,
    session: aiohttp.ClientSession,
    told: Told,
    books: Ledger,
    token: str,
    server: str,
) -> None:
    extra = {
        "GATEWAY_SERVER": server,
        "GATEWAY_LIVE_STREAMS": "1",
        "GATEWAY_LIVE_HEARTBEAT": "0.5",
    }
    async with (
        running(folder, session, told | extra) as gateway,
        events(session, gateway.url, token) as stream,
    ):
        await stream.next()
        refused = await gateway.send("GET", STREAM, headers={"Authorization": f"Token {token}"})
        assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
        with pytest.raises(TimeoutError):
            await stream.next(2.5)
        assert stream.beats >= 2


async def test_a_token_that_expires_ends_the_stream(
    gateway: Running, books: Ledger, signer: Signer, account: UUID
) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=3)  # and tokens know of whole seconds only
    async with events(gateway.session, gateway.url, signer.token(account, exp=soon)) as stream:
        await stream.next()
        assert (await stream.next()).type == "expired"
        assert (await stream.next()).type == "ended"


@SERVERS
async def test_a_gateway_that_drains_says_farewell(
    folder: Path,
    session: aiohttp.ClientSession,
    told: Told,
    books: Ledger,
    account: UUID,
    token: str,
    server: str,
) -> None:
    async with running(folder, session, told | {"GATEWAY_SERVER": server}) as gateway:
        headers = {"Authorization": f"Token {token}"}
        socket = await session.ws_connect(f"{gateway.url}/api/live", headers=headers)
        async with events(session, gateway.url, token) as stream:
            await stream.next()
            (number,) = await books.tell(account)
            assert await stream.numbers(1) == [number]
            said = [await socket.receive_json() for _ in range(2)]
            stopping = asyncio.create_task(gateway.stop())
            farewell = await stream.next()
            assert (farewell.type, farewell.id) == ("drain", number)
            assert farewell.retry is not None
            assert 2_000 <= farewell.retry <= 6_000
            assert (await stream.next()).type == "ended"
        said.append(await socket.receive_json())
        assert [one["type"] for one in said] == ["ready", "notification", "drain"]
        assert (await socket.receive()).data == socket.close_code == 1012
        assert await stopping == 0
        assert {line["level"] for line in await gateway.lines()} == {"info"}


async def test_who_may_not_hear_is_told_so(gateway: Running, books: Ledger) -> None:
    for fields in ({}, {"Authorization": "Token a.b.c"}):
        assert (await gateway.send("GET", STREAM, headers=fields)).status == 401
    assert (await gateway.send("POST", STREAM)).status == 405
