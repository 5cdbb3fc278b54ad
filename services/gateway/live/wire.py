"""How a live stream looks to its client: Server-Sent Events, or JSON messages on a WebSocket."""

import random
from collections.abc import Awaitable, Callable
from typing import Any, Literal, Protocol

import msgspec

from services.gateway.messages.exchange import Send

# Why a stream ends. Only "gone" is the client's own doing; after all others it may come again.
Ending = Literal["gone", "drain", "expired", "slow", "unreadable"]
RETRY_SECONDS = 2.0
SPREAD_SECONDS = 4.0  # over which those who must come again do so, rather than all at once
# RFC 6455, 7.4.1 and its registry: service restart, policy violation, try again later.
CODES: dict[Ending, int] = {
    "gone": 1000,
    "drain": 1012,
    "expired": 1008,
    "slow": 1013,
    "unreadable": 1003,
}
_encode = msgspec.json.Encoder().encode


class Wire(Protocol):
    """Sends what a stream has to say; each call waits for a client that is slow to take it."""

    async def ready(self, last: int, unread: int) -> None:
        """All up to `last` was told; from now on it is told as it happens."""

    async def tell(self, number: int, notification: bytes) -> None:
        """Something has happened."""

    async def beat(self) -> None:
        """Nothing has happened, and the connection lives."""

    async def answer(self) -> None:
        """The client asked whether the connection lives."""

    async def end(self, why: Ending, last: int | None) -> None:
        """Say why this ends, and how to go on."""


class EventWire:
    """Server-Sent Events (HTML Standard, 9.2)."""

    __slots__ = ("_send",)

    def __init__(self, send: Callable[..., Awaitable[None]]) -> None:
        self._send = send

    async def ready(self, last: int, unread: int) -> None:
        told = b'{"unreadCount":%d}' % unread
        await self._send(b"id: %d\nevent: ready\ndata: %s\n\n" % (last, told), more=True)

    async def tell(self, number: int, notification: bytes) -> None:
        await self._send(
            b"id: %d\nevent: notification\ndata: %s\n\n" % (number, notification), more=True
        )

    async def beat(self) -> None:
        await self._send(b":\n\n", more=True)

    async def answer(self) -> None:
        """Nobody asks on this wire."""

    async def end(self, why: Ending, last: int | None) -> None:
        said = b"" if last is None else b"id: %d\n" % last
        said += b"event: %s\nretry: %d\ndata: {}\n\n" % (why.encode(), _pause())
        await self._send(said, more=True)
        await self._send(b"")


class SocketWire:
    """A JSON object in each message, which names its `type`."""

    __slots__ = ("_close", "_send")

    def __init__(self, send: Send, close: Callable[[int, str], Awaitable[None]]) -> None:
        self._send, self._close = send, close

    async def ready(self, last: int, unread: int) -> None:
        await self._say({"type": "ready", "id": last, "unreadCount": unread})

    async def tell(self, number: int, notification: bytes) -> None:
        text = b'{"type":"notification","id":%d,"notification":%s}' % (number, notification)
        await self._send({"type": "websocket.send", "text": text.decode()})

    async def beat(self) -> None:
        await self._say({"type": "ping"})

    async def answer(self) -> None:
        await self._say({"type": "pong"})

    async def end(self, why: Ending, last: int | None) -> None:
        if why == "drain":
            await self._say({"type": "drain", "id": last, "retry": _pause()})
        await self._close(CODES[why], why)

    async def _say(self, message: Any) -> None:
        await self._send({"type": "websocket.send", "text": _encode(message).decode()})


def _pause() -> int:
    """Milliseconds after which to come again."""
    spread = random.random() * SPREAD_SECONDS  # noqa: S311  (spreads load, guards nothing)
    return round((RETRY_SECONDS + spread) * 1000)
