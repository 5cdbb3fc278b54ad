"""Live streams on WebSockets."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import aiohttp
import pytest

from deploy.local.servers import Servers
from services.gateway.tests.behind import Behind
from services.gateway.tests.ledger import SHOWN, Ledger, ledger
from services.gateway.tests.running import Running
from shared.testing import Signer


@pytest.fixture
async def books(behind: Behind, servers: Servers) -> AsyncIterator[Ledger]:
    async with ledger(behind, servers.nats_url) as books:
        yield books


async def connect(gateway: Running, **options: Any) -> aiohttp.ClientWebSocketResponse:
    socket: aiohttp.ClientWebSocketResponse = await gateway.session.ws_connect(
        f"{gateway.url}/api/live", **options
    )
    return socket


async def test_a_client_says_who_it_is_and_is_told_what_happens(
    gateway: Running, books: Ledger, signer: Signer, account: UUID
) -> None:
    missed = [number for _ in range(3) for number in await books.tell(account)]
    socket = await connect(gateway)
    token = signer.token(account)
    await socket.send_json({"type": "authenticate", "token": token, "after": missed[0]})
    told = [await socket.receive_json() for _ in range(3)]
    assert [one.get("id") for one in told] == [*missed[1:], missed[-1]]
    assert told[0] == {
        "type": "notification",
        "id": missed[1],
        "notification": {"id": told[0]["notification"]["id"], **SHOWN},
    }
    assert told[2] == {"type": "ready", "id": missed[-1], "unreadCount": 3}
    (number,) = await books.tell(account)
    assert (await socket.receive_json())["id"] == number
    await socket.send_json({"type": "ping"})
    assert await socket.receive_json() == {"type": "pong"}
    await socket.close()
    line = await gateway.logged(route="/api/live", status=101, account=str(account))
    assert line["method"] == "GET"


async def test_a_header_says_it_as_well(
    gateway: Running, books: Ledger, signer: Signer, account: UUID
) -> None:
    (number, second) = [*await books.tell(account), *await books.tell(account)]
    headers = signer.headers(account) | {"Last-Event-ID": str(number)}
    socket = await connect(gateway, headers=headers)
    assert (await socket.receive_json())["id"] == second
    await socket.close()


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ('{"type":"authenticate","token":"a.b.c"}', 1008),
        ('{"type":"ping"}', 1008),
        ('{"type":"dance"}', 1003),
        ("{", 1003),
        ("x" * 10_000, 1003),
    ],
)
async def test_who_says_something_else_is_let_go(
    gateway: Running, books: Ledger, message: str, code: int
) -> None:
    socket = await connect(gateway)
    await socket.send_str(message)
    assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
    assert socket.close_code == code


async def test_nonsense_ends_a_stream_too(
    gateway: Running, books: Ledger, signer: Signer, account: UUID
) -> None:
    socket = await connect(gateway, headers=signer.headers(account))
    assert (await socket.receive_json())["type"] == "ready"
    await socket.send_bytes(b"\xff")
    assert (await socket.receive()).data == 1003


async def test_a_door_that_is_not_there_is_refused_as_any_other(
    gateway: Running, books: Ledger, signer: Signer, account: UUID
) -> None:
    for path, headers, status in (
        ("/api/nothing", {}, 404),
        ("/api/tags", {}, 400),
        ("/api/live", {"Authorization": "Token a.b.c"}, 401),
    ):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await gateway.session.ws_connect(gateway.url + path, headers=headers)
        assert refused.value.status == status
    plain = await gateway.send("GET", "/api/live")
    assert (plain.status, plain.headers["Upgrade"]) == (426, "websocket")
