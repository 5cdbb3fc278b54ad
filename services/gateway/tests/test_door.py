"""TLS, HTTP/2, and clients that take their time."""

import asyncio
import json
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from services.gateway.tests import second
from services.gateway.tests.behind import Behind
from services.gateway.tests.conftest import Told
from services.gateway.tests.running import Answer, Running, running
from shared.testing import until


@pytest.fixture(scope="module")
def files(folder: Path) -> tuple[str, str]:
    return second.certificate(folder)


@asynccontextmanager
async def secured(folder: Path, told: Told, files: tuple[str, str]) -> AsyncIterator[Running]:
    """A gateway that speaks TLS."""
    told = told | {"GATEWAY_TLS_CERTIFICATE": files[0], "GATEWAY_TLS_KEY": files[1]}
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=files[0]))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        running(folder, session, told) as gateway,
    ):
        yield gateway
        assert await gateway.stop() == 0


@pytest.fixture(scope="module")
async def secure(folder: Path, told: Told, files: tuple[str, str]) -> AsyncIterator[Running]:
    """One that is told a server without HTTP/2, and speaks it all the same."""
    async with secured(folder, told | {"GATEWAY_SERVER": "http1"}, files) as gateway:
        yield gateway


async def test_http_1_over_tls(
    folder: Path, told: Told, files: tuple[str, str], behind: Behind
) -> None:
    """Where HTTP/2 is off: what is forwarded, and what was kept."""
    extra = {"GATEWAY_SERVER": "http1", "GATEWAY_HTTP2": "off", "GATEWAY_CACHE": "on"}
    async with secured(folder, told | extra, files) as gateway:
        assert await agreed(gateway.port, files[0]) == "http/1.1"
        said = (await gateway.send("POST", "/api/users", data=b"a" * 200_000)).json
        assert said["body"] == 200_000
        assert said["headers"]["via"].startswith("1.1")
        assert said["headers"]["x-forwarded-proto"] == "https"
        behind.answer = lasting

        async def kept() -> Answer | None:
            reply = await gateway.send("GET", "/api/tags")
            return reply if reply.headers["Cache-Status"] == "quartet; hit" else None

        answer: Answer = await until(kept, what="a kept reply")
        assert answer.body == b"lasting"
        assert "Strict-Transport-Security" in answer.headers


async def agreed(port: int, trust: str) -> str | None:
    """What a client that speaks either HTTP is to speak (ALPN, RFC 7301)."""
    context = ssl.create_default_context(cafile=trust)
    context.set_alpn_protocols(["h2", "http/1.1"])
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    chosen: str | None = writer.get_extra_info("ssl_object").selected_alpn_protocol()
    writer.close()
    return chosen


async def lasting(_: web.Request) -> web.StreamResponse:
    return web.Response(text="lasting", headers={"Cache-Control": "max-age=60"})


async def test_http_2_over_tls(secure: Running, behind: Behind, files: tuple[str, str]) -> None:
    answer = await second.ask(secure.port, "GET", "/api/tags?a=b", trust=files[0])
    assert answer.fields[":status"] == "200"
    assert "strict-transport-security" in answer.fields
    said = json.loads(answer.body)
    assert said["target"] == "/api/tags?a=b"
    assert said["headers"]["via"].startswith("2")
    assert said["headers"]["x-forwarded-proto"] == "https"
    assert said["headers"]["x-forwarded-host"] == "127.0.0.1"
    posted = await second.ask(secure.port, "POST", "/api/users", body=b"abc", trust=files[0])
    assert json.loads(posted.body)["body"] == "abc"


async def test_http_2_without_tls(
    folder: Path, session: aiohttp.ClientSession, told: Told, behind: Behind
) -> None:
    """With prior knowledge (RFC 9113, 3.3)."""
    extra = {"GATEWAY_SERVER": "http1", "GATEWAY_HTTP2": "on"}
    async with running(folder, session, told | extra) as gateway:
        answer = await second.ask(gateway.port, "POST", "/api/users", body=b"abc")
        assert answer.fields[":status"] == "200"
        assert json.loads(answer.body)["body"] == "abc"


@pytest.mark.parametrize(
    "more",
    [
        ("transfer-encoding", "chunked"),
        ("connection", "close"),
        ("content-length", "1"),
        ("content-length", "3, 3"),
        ("X-Upper", "1"),
        ("x", "a\r\nhost: b"),
        (":path", "/api/user"),
    ],
)
async def test_what_http_2_forbids_never_reaches_a_service_as_it_is(
    secure: Running, behind: Behind, files: tuple[str, str], more: tuple[str, str]
) -> None:
    """RFC 9113, 8.2: refused, or without what could be read in two ways."""
    answer = await second.ask(secure.port, "POST", "/api/users", more, body=b"abc", trust=files[0])
    if answer.refused or answer.fields[":status"].startswith("4"):
        assert behind.requests == []
        return
    said = json.loads(answer.body)
    assert said["body"] == "abc"
    assert said["target"] == "/api/users"
    assert said["headers"]["content-length"] == "3"
    assert not {"transfer-encoding", "connection"} & set(said["headers"])


async def test_over_http_2_there_is_one_host(
    secure: Running, behind: Behind, files: tuple[str, str]
) -> None:
    """RFC 9113, 8.3.1: a `Host` that differs from `:authority` is refused."""
    same, other = ("host", "127.0.0.1"), ("host", "other")
    answer = await second.ask(secure.port, "GET", "/api/tags", same, trust=files[0])
    assert json.loads(answer.body)["headers"]["x-forwarded-host"] == "127.0.0.1"
    behind.requests.clear()
    for hosts in ([other], [same, other]):
        answer = await second.ask(secure.port, "GET", "/api/tags", *hosts, trust=files[0])
        assert answer.refused or answer.fields[":status"] == "400"
    assert behind.requests == []


@pytest.fixture(scope="module", params=["http1", "hypercorn"])
async def impatient(
    request: pytest.FixtureRequest, folder: Path, session: aiohttp.ClientSession, told: Told
) -> AsyncIterator[Running]:
    """A gateway that waits half a second for a header."""
    extra = {"GATEWAY_SERVER": request.param, "GATEWAY_HEADER_TIMEOUT": "0.5"}
    async with running(folder, session, told | extra) as gateway:
        yield gateway


async def test_without_tls_nobody_speaks_http_2_unasked(impatient: Running, behind: Behind) -> None:
    """A proxy that lets `Upgrade: h2c` pass would let its client say whose address it has."""
    answer = await second.ask(impatient.port, "GET", "/api/tags")
    assert answer.refused or answer.fields[":status"] == "505"
    upgrade = {
        "Connection": "Upgrade, HTTP2-Settings",
        "Upgrade": "h2c",
        "HTTP2-Settings": "AAMAAABk",
    }
    reader, writer = await asyncio.open_connection("127.0.0.1", impatient.port)
    fields = "".join(f"{name}: {value}\r\n" for name, value in upgrade.items())
    writer.write(f"GET /api/tags HTTP/1.1\r\nHost: a\r\n{fields}\r\n".encode())
    begun = await asyncio.wait_for(reader.readuntil(b"\r\n"), 10)
    upgraded = begun.startswith(b"HTTP/1.1 101")
    await asyncio.wait_for(reader.read(1), 10)
    assert bool(behind.requests) is not upgraded
    writer.close()


async def test_a_client_whose_header_never_ends_is_sent_away(impatient: Running) -> None:
    """However busily it sends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", impatient.port)
    begun = time.monotonic()
    writer.write(b"GET /api/tags HTTP/1.1\r\nHost: a\r\n")
    with suppress(ConnectionError):
        while not reader.at_eof():
            writer.write(b"X: y\r\n")
            with suppress(TimeoutError):
                await asyncio.wait_for(reader.read(1000), 0.1)
    assert 0.3 < time.monotonic() - begun < 10
    writer.close()


async def test_a_client_that_says_nothing_is_sent_away(impatient: Running) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", impatient.port)
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()


async def test_a_client_that_does_not_read_is_sent_away(impatient: Running) -> None:
    """However much it asks for: replies wait in sockets, and those are not for ever either."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", impatient.port))
        client.setblocking(False)

        async def cut() -> bool:
            try:
                client.send(b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n" * 100)
            except BlockingIOError:
                return False
            except ConnectionError:
                return True
            return False

        await until(cut, seconds=10, what="the end of the connection")


async def test_a_client_that_waits_for_a_slow_answer_is_not(
    impatient: Running, behind: Behind
) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(1.0)
        return web.Response(text="late")

    behind.answer = answer
    reader, writer = await asyncio.open_connection("127.0.0.1", impatient.port)
    writer.write(b"GET /api/tags HTTP/1.1\r\nHost: a\r\n\r\n")
    assert await asyncio.wait_for(reader.readuntil(b"late"), 10)
    assert await asyncio.wait_for(reader.read(), 10) == b"", "then the connection is idle, and ends"
    writer.close()
