"""The last that happens to a reply: it is made safe for browsers, and smaller."""

import re
from typing import Any

from services.gateway.door import coding
from services.gateway.door.coding import Encoder
from services.gateway.door.security import Fields, Security
from services.gateway.messages.body import ONE_PIECE
from services.gateway.messages.exchange import Send

SMALLEST = 1024  # bytes; below, a coding saves no packet
_TEXT = re.compile(
    rb"(?:text/(?!event-stream)|image/svg\+xml|application/(?:[\w.-]+\+)?(?:json|xml|javascript))",
    re.IGNORECASE,
)
_VARY = (b"vary", b"Accept-Encoding")


class Outgoing:
    """Sends one reply: an ASGI `send` before the server's own.

    Only bodies that tell their length are coded. A stream of unknown length may be live, and each
    of its pieces is wanted when it comes.
    """

    __slots__ = ("_coding", "_encoder", "_head", "_scheme", "_security", "_send", "_start")

    def __init__(self, scope: Any, send: Send, security: Security) -> None:
        self._send, self._security = send, security
        self._scheme: str = scope["scheme"]
        self._head = scope["method"] == "HEAD"
        accepted = [value for name, value in scope["headers"] if name == b"accept-encoding"]
        self._coding = coding.chosen(b",".join(accepted)) if accepted else None
        self._encoder: Encoder | None = None
        self._start: Any = None

    async def __call__(self, message: Any) -> None:
        """Send a part of the reply."""
        if message["type"] == "http.response.start":
            await self._begin(message)
        elif self._encoder is None or message["type"] != "http.response.body":
            await self._send(message)
        else:
            await self._encode(
                self._encoder, message.get("body", b""), message.get("more_body", False)
            )

    async def _begin(self, message: Any) -> None:
        fields: Fields = list(message["headers"])
        said, status = dict(fields), message["status"]
        fields += self._security.missing(said, self._scheme)
        length = int(said.get(b"content-length", b"0"))
        # What 304 confirms is the reply that 200 would have been (RFC 9110, 15.4.5).
        varies = status == 304 or _can_be_coded(said)
        if varies:
            fields.append(_VARY)
        if not varies or self._coding is None or not (status == 304 or self._pays(status, length)):
            await self._send({**message, "headers": fields})
            return
        fields = [_weak(field) for field in fields]
        if status == 304:
            await self._send({**message, "headers": fields})
            return
        self._encoder = coding.ENCODERS[self._coding]()
        self._start = {**message, "headers": [*fields, (b"content-encoding", self._coding)]}
        if length > ONE_PIECE:
            await self._begin_coded(None)

    def _pays(self, status: int, length: int) -> bool:
        return length >= SMALLEST and status != 206 and not self._head

    async def _encode(self, encoder: Encoder, piece: bytes, more: bool) -> None:
        coded = encoder.compress(piece)
        if not more:
            coded += encoder.flush()
        if self._start is not None:
            await self._begin_coded(None if more else len(coded))
        if coded or not more:
            await self._send({"type": "http.response.body", "body": coded, "more_body": more})

    async def _begin_coded(self, length: int | None) -> None:
        fields = [field for field in self._start["headers"] if field[0] != b"content-length"]
        if length is not None:
            fields.append((b"content-length", str(length).encode()))
        message, self._start = {**self._start, "headers": fields}, None
        await self._send(message)


def _can_be_coded(said: dict[bytes, bytes]) -> bool:
    """`no-transform` forbids it (RFC 9111, 5.2.2.6)."""
    return (
        _TEXT.match(said.get(b"content-type", b"")) is not None
        and b"content-length" in said
        and b"content-encoding" not in said
        and b"no-transform" not in said.get(b"cache-control", b"").lower()
    )


def _weak(field: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """A strong validator means these very bytes, and the coded ones are others."""
    name, value = field
    return (name, b"W/" + value) if name == b"etag" and value.startswith(b'"') else field
