"""What HTTP and WebSockets have in common: a client who may be slow to read, and slow to go."""

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress

from shared.http1.service import Service

_RESET = struct.pack("ii", 1, 0)  # on, and no seconds
_LINGER = 2.0  # seconds for a client to read the last that was said to it, and to go


class Line(asyncio.Protocol):
    """The server's end of a connection. `unread` is there while the client is slow to read."""

    __slots__ = ("_loop", "_service", "_timer", "_transport", "unread")
    _transport: asyncio.Transport

    def __init__(self, service: Service) -> None:
        self._service = service
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self.unread: asyncio.Future[None] | None = None

    def go_on(self) -> None:
        """Read on, if that had stopped."""
        raise NotImplementedError

    def write(self, data: bytes) -> None:
        """Send; kept until the client takes it."""
        self._transport.write(data)

    async def written(self) -> None:
        """Wait for a client that is slow to take what was sent."""
        if self.unread is not None:
            await asyncio.shield(self.unread)  # others may wait when this one gives up

    def pause_writing(self) -> None:
        self.unread = self._loop.create_future()

    def resume_writing(self) -> None:
        writable, self.unread = self.unread, None
        if writable is not None:
            writable.set_result(None)
        self.go_on()

    def abort(self) -> None:
        """Let go of the client at once."""
        self._transport.abort()

    def _reset(self) -> None:
        """Let what is aborted break at the client, not end as if all were said."""
        own = self._transport.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        """Do something later, in place of what was to be done then."""
        self._cancel()
        self._timer = self._loop.call_later(seconds, call)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _linger(self) -> None:
        """Say that all is said, and close after a moment, if the client has not. If it is still
        sending, its connection would break, and what was said might be lost (RFC 9112, 9.6).
        """
        if self._transport.is_closing():
            return
        if self._transport.can_write_eof():
            with suppress(OSError):  # the client has just broken it
                self._transport.write_eof()
        self._go_soon()

    def _go_soon(self) -> None:
        self._later(min(_LINGER, self._service.patience), self._go)

    def _go(self) -> None:
        """Close; who does not read what was said last is not waited for."""
        self._transport.close()
        self._later(self._service.patience, self._transport.abort)
