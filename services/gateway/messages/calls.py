"""What is sent to a service, and what comes back."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from services.gateway.messages.answer import Failed
from services.gateway.messages.headers import Told
from shared import idempotency

_KEY = idempotency.HEADER.lower()
_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})


class BrokenOff(Exception):
    """A reply ended before its end, when its head had gone to the client already."""


class Head(Protocol):
    """What a reply begins with; `close` ends it."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def raw_headers(self) -> Sequence[tuple[bytes, bytes]]: ...
    def close(self) -> None: ...


class Reply:
    """A service's reply: small bodies are here as `whole`, others come by `pieces`. `fields` are
    those of its header by lower-case name, which cost less to ask than `headers`, by any case.
    """

    def __init__(
        self,
        head: Head,
        fields: Mapping[bytes, bytes],
        whole: bytes | None,
        pieces: Callable[[], AsyncIterator[bytes]],
    ) -> None:
        self._head, self._pieces = head, pieces
        self.status = head.status
        self.raw_headers = head.raw_headers
        self.fields = fields
        self.whole = whole

    @property
    def headers(self) -> Mapping[str, str]:
        """The fields of its header, by names in any case."""
        return self._head.headers

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises `BrokenOff`."""
        if self.whole is not None:
            yield self.whole
            return
        try:
            async for piece in self._pieces():
                yield piece
        except (Failed, OSError) as error:
            raise BrokenOff from error

    def close(self) -> None:
        """Give the connection back; one with something left on it is closed."""
        self._head.close()


class Request(msgspec.Struct, frozen=True):
    """What to send, and for how many seconds to wait while nothing comes: for the head only, where
    the reply is `endless`. `route` is what requests that take about as long have in common; `hedge`
    says that it may be sent twice at once.
    """

    method: str
    target: str
    fields: Told
    body: bytes | AsyncIterator[bytes] | None
    limit: float
    route: str = ""
    hedge: bool = False
    endless: bool = False

    @property
    def patience(self) -> float | None:
        """Seconds to wait for each further piece of the reply."""
        return None if self.endless else self.limit

    @property
    def is_repeatable(self) -> bool:
        """Whether to send it twice is no worse than once (RFC 9110, 9.2.2), and possible."""
        harmless = self.method in _IDEMPOTENT or any(
            name.lower() == _KEY for name, _ in self.fields
        )
        return harmless and (self.body is None or isinstance(self.body, bytes))
