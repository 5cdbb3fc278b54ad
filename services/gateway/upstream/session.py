"""What aiohttp's client does: bodies that stream, HEAD, TLS and WebSockets.

The only module that knows aiohttp, so that a gateway which needs none of these does without it.
What it raises is what the `wire` raises, too.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import aiohttp
import yarl
from multidict import CIMultiDict

from services.gateway.messages.answer import Failed, NothingAnswered, Unreached
from services.gateway.messages.body import ONE_PIECE
from services.gateway.messages.calls import Reply, Request
from services.gateway.messages.headers import Told, by_name
from services.gateway.settings import Settings

SOCKET_HEARTBEAT = 20.0  # seconds between pings to a service
LONGEST_MESSAGE = 1_048_576  # bytes, on a WebSocket
_NOT_ADDED = frozenset({"Accept", "Accept-Encoding", "Content-Type", "User-Agent"})

_MESSAGES = (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY)


class Socket:
    """A WebSocket to a service. To be used as a context, and iterated over: texts and bytes."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._socket.close()

    @property
    def protocol(self) -> str | None:
        """The subprotocol that the service has chosen."""
        return self._socket.protocol

    @property
    def close_code(self) -> int | None:
        """How it ended, once it has."""
        return self._socket.close_code

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        async for message in self._socket:
            if message.type in _MESSAGES:  # else it says why it ends
                yield message.data

    async def send(self, message: str | bytes) -> None:
        """Send a text, or bytes. Raises `Failed`."""
        with _translated():
            if isinstance(message, str):
                await self._socket.send_str(message)
            else:
                await self._socket.send_bytes(message)

    async def close(self, code: int) -> None:
        """End it."""
        await self._socket.close(code=code)


class Session:
    """Sends requests on connections that are kept; must be closed. One that answers too late is a
    `TimeoutError`.
    """

    def __init__(self, settings: Settings) -> None:
        self._connect_timeout = settings.connect_timeout
        self._session = _session(settings)

    async def ask(self, url: str, request: Request, fields: Told) -> Reply:
        """Send a request. Raises `Unreached`, `NothingAnswered`, or just `Failed`."""
        with _translated():
            response = await self._session.request(
                request.method,
                yarl.URL(url + request.target, encoded=True),
                headers=CIMultiDict(fields),
                data=request.body,
                allow_redirects=False,
                skip_auto_headers=_NOT_ADDED,
                timeout=aiohttp.ClientTimeout(
                    total=None,
                    connect=self._connect_timeout,
                    sock_connect=self._connect_timeout,
                    sock_read=request.patience,
                ),
            )
            whole = await _whole(response)
        said = by_name(response.raw_headers)
        return Reply(response, said, whole, lambda: _pieces(response))

    async def open_socket(self, url: str, fields: Told, protocols: Sequence[str]) -> Socket:
        """Open a WebSocket (RFC 6455). Raises `Unreached`, or just `Failed`."""
        with _translated():
            return Socket(
                await self._session.ws_connect(
                    yarl.URL(url, encoded=True),
                    headers=CIMultiDict(fields),
                    protocols=protocols,
                    heartbeat=SOCKET_HEARTBEAT,
                    max_msg_size=LONGEST_MESSAGE,
                )
            )

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()


async def _whole(response: aiohttp.ClientResponse) -> bytes | None:
    """The body, where it is small; in one piece it costs least, and can break off unnoticed."""
    length = response.content_length
    try:
        return await response.read() if length is not None and length <= ONE_PIECE else None
    except BaseException:
        response.close()
        raise


async def _pieces(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    with _translated():
        async for piece in response.content.iter_any():
            yield piece


@contextmanager
def _translated() -> Iterator[None]:
    """Lets aiohttp's errors be ours. Those of time are a `TimeoutError` already, and stay one."""
    try:
        yield
    except aiohttp.ClientError as error:
        if isinstance(error, TimeoutError):
            raise
        raise Failed(str(error)) from error


async def _once(
    request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keeps aiohttp from sending again by itself, with the old deadline and to the same process."""
    try:
        return await send(request)
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        raise Unreached(str(error)) from error
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
        raise NothingAnswered(str(error)) from error


def _session(settings: Settings) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        # Without limits of its own: bulkheads bound requests, and streams must not block them.
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=settings.keep_alive),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        raise_for_status=False,
        middlewares=(_once,),
        trust_env=False,
    )
