"""Streams and WebSockets of services, led through the gateway."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import aiohttp
import pytest
from aiohttp import WSMsgType, web

from services.gateway.tests.behind import Behind
from services.gateway.tests.conftest import Told
from services.gateway.tests.running import Running, running
from shared.testing import Signer, until

Headers = dict[str, str]


@pytest.fixture(params=["http1", "hypercorn"])
async def leading(
    request: pytest.FixtureRequest, folder: Path, session: aiohttp.ClientSession, told: Told
) -> AsyncIterator[Running]:
    """A gateway whose table has streams and WebSockets, and little patience."""
    extra = {"GATEWAY_SERVER": request.param, "GATEWAY_TIMEOUT": "1"}
    module = "services.gateway.tests.leading"
    async with running(folder, session, told | extra, module) as gateway:
        yield gateway


@pytest.fixture
def talk(behind: Behind) -> None:
    """A service that says what it got, and ends as it is told."""

    async def answer(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=["quartet.v1"])
        await socket.prepare(request)
        await socket.send_json(dict(request.headers))
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                await socket.send_bytes(message.data)
            elif message.data.startswith("end "):
                await socket.close(code=int(message.data[4:]))
            else:
                await socket.send_str(message.data)
        behind.requests.append(request)
        request["code"] = socket.close_code
        return socket

    behind.answer = answer


@pytest.fixture
def headers(signer: Signer, account: UUID) -> Headers:
    return signer.headers(account)


async def test_a_stream_is_not_cut_by_the_time_of_a_request(
    leading: Running, behind: Behind
) -> None:
    go_on = asyncio.Event()
    deadlines: list[str | None] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        deadlines.append(request.headers.get("Quartet-Deadline"))
        reply = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await reply.prepare(request)
        await reply.write(b"data: first\n\n")
        await go_on.wait()
        await reply.write(b"data: second\n\n")
        return reply

    behind.answer = answer
    async with leading.session.get(
        f"{leading.url}/api/log", headers={"Accept-Encoding": "gzip"}
    ) as reply:
        assert await reply.content.readuntil(b"\n\n") == b"data: first\n\n"
        assert "Content-Encoding" not in reply.headers
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.0):  # twice what a request may take
                await reply.content.read(1)
        go_on.set()
        assert await reply.content.read() == b"data: second\n\n"
    assert deadlines == [None]


@pytest.mark.usefixtures("talk")
async def test_a_websocket_goes_to_its_service_and_back(
    leading: Running, headers: Headers, behind: Behind
) -> None:
    url = f"{leading.url}/api/talk?room=1"
    socket = await leading.session.ws_connect(
        url, headers=headers | {"Quartet-Account": "me"}, protocols=["quartet.v1", "other"]
    )
    assert socket.protocol == "quartet.v1"
    got = {name.lower(): value for name, value in (await socket.receive_json()).items()}
    assert got["x-forwarded-for"] == "127.0.0.1"
    assert "quartet-account" not in got
    assert got["authorization"] == headers["Authorization"]
    await socket.send_str("héllo")
    await socket.send_bytes(b"\x00\xff")
    assert (await socket.receive()).data == "héllo"
    assert (await socket.receive()).data == b"\x00\xff"
    await socket.send_str("end 4321")
    assert (await socket.receive()).data == 4321
    line = await leading.logged(route="/api/talk", status=101)
    assert line["upstream"] == "content"


@pytest.mark.usefixtures("talk")
async def test_a_client_that_closes_closes_at_the_service_too(
    leading: Running, headers: Headers, behind: Behind
) -> None:
    socket = await leading.session.ws_connect(f"{leading.url}/api/talk", headers=headers)
    await socket.receive_json()
    behind.requests.clear()
    await socket.close()

    async def ended() -> bool:
        return bool(behind.requests)

    await until(ended, what="the end at the service")
    assert behind.requests[0]["code"] is not None


@pytest.mark.usefixtures("talk")
async def test_a_gateway_that_drains_ends_websockets(leading: Running, headers: Headers) -> None:
    socket = await leading.session.ws_connect(f"{leading.url}/api/talk", headers=headers)
    await socket.receive_json()
    stopping = asyncio.create_task(leading.stop())
    assert (await socket.receive()).data == 1012
    assert await stopping == 0


async def test_a_websocket_that_its_service_or_we_refuse_is_refused(
    leading: Running, headers: Headers, behind: Behind
) -> None:
    for told, status in ((headers, 502), ({}, 401)):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await leading.session.ws_connect(f"{leading.url}/api/talk", headers=told)
        assert refused.value.status == status
