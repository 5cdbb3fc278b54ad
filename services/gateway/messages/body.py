"""A request's body on its way to a service: small ones in one piece, large ones as they come."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress

from services.gateway.messages.exchange import Receive
from shared.errors import AppError, TooLarge

ONE_PIECE = 65_536
_DRAIN_SECONDS = 2.0


class RequestTimeout(AppError):
    """The client stopped sending in the middle of its request (RFC 9110, 15.5.9)."""

    status, title = 408, "Request Timeout"


class ClientGone(Exception):
    """The client has closed its connection; nobody waits for an answer."""


class Body:
    """What a client sends. `length` is what its header declares, `pending` says that more may come,
    and `fault` is what was wrong, if anything, while it was sent on.
    """

    def __init__(
        self, receive: Receive, fields: Mapping[bytes, bytes], *, limit: int, patience: float
    ) -> None:
        self._receive = receive
        declared = fields.get(b"content-length")
        self.length = None if declared is None else int(declared)
        self._waits = b"expect" in fields
        self._limit, self._patience, self._until = limit, patience, 0.0
        self._size = 0
        self.pending = False
        self.fault: AppError | ClientGone | None = None

    async def open(self) -> bytes | AsyncIterator[bytes]:
        """The whole body if it is small, else an iterator over it; only the latter lets the service
        wait for the client.

        Raises `TooLarge`, `RequestTimeout`, `ClientGone`, as the iterator does.
        """
        self.pending = True
        self._until = asyncio.get_running_loop().time() + self._patience
        if self.length is not None and self.length > self._limit:
            if not self._waits:
                await self._drain()
            raise TooLarge(f"The body is over the limit of {self._limit} bytes.")
        begin = b""
        while self.pending and len(begin) <= ONE_PIECE:
            begin += await self._next()
        return self._rest(begin) if self.pending else begin

    async def _rest(self, begin: bytes) -> AsyncIterator[bytes]:
        yield begin
        while self.pending:
            try:
                piece = await self._next()
            except (AppError, ClientGone) as fault:
                self.fault = fault
                raise
            yield piece

    async def _next(self) -> bytes:
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError as error:
            raise RequestTimeout("The body did not come to its end in time.") from error
        if message["type"] == "http.disconnect":
            raise ClientGone
        piece: bytes = message.get("body", b"")
        self._size += len(piece)
        self.pending = message.get("more_body", False)
        if self._size > self._limit:
            await self._drain()
            raise TooLarge(f"The body is over the limit of {self._limit} bytes.")
        return piece

    async def _drain(self) -> None:
        """Read on for a moment: a client that still writes would see its connection break, and
        never the answer.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                while self.pending:
                    message = await self._receive()
                    self.pending = message.get("more_body", False)
