"""Connections to services: how they are kept, and the ways in which they fail."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

import aiohttp
import yarl
from multidict import CIMultiDict

from services.gateway.messages.answer import NothingAnswered, Unreached
from services.gateway.messages.body import ONE_PIECE
from services.gateway.messages.calls import Reply, Request
from services.gateway.settings import Settings
from services.gateway.upstream.wire import Wire

NOT_REACHED = (Unreached, aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
SOCKET_HEARTBEAT = 20.0  # seconds between pings to a service
LONGEST_MESSAGE = 1_048_576  # bytes, on a WebSocket
_NOT_ADDED = frozenset({"Accept", "Accept-Encoding", "Content-Type", "User-Agent"})
__all__ = ["NOT_REACHED", "Connections", "NothingAnswered"]


class Connections:
    """Sends requests on connections that are kept: whole ones in plain HTTP, which are nearly all,
    by the `Wire`, and others by aiohttp. To be used as a context.
    """

    def __init__(self, settings: Settings) -> None:
        self._connect_timeout = settings.connect_timeout
        self._session = _session(settings)
        self._wire = Wire(keep_alive=settings.keep_alive, connect_timeout=settings.connect_timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._wire.close()
        await self._session.close()

    async def ask(self, url: str, request: Request, **fields: str) -> Reply:
        """Send a request, with further header fields. Raises `NOT_REACHED`, `NothingAnswered`, and
        what else aiohttp raises.
        """
        headers = CIMultiDict(request.headers, **fields)
        method, body = request.method, request.body
        if (
            not (body is None or isinstance(body, bytes))
            or method == "HEAD"
            or not url.startswith("http:")
        ):
            return await self._by_session(url, request, headers)
        answer = await self._wire.ask(url, method, request.target, headers, body, request.patience)
        return Reply(answer, answer.whole, answer.pieces)

    async def open_socket(
        self, url: str, headers: CIMultiDict[str], protocols: Sequence[str]
    ) -> aiohttp.ClientWebSocketResponse:
        """Open a WebSocket (RFC 6455). Raises `NOT_REACHED`, and what else aiohttp raises."""
        return await self._session.ws_connect(
            yarl.URL(url, encoded=True),
            headers=headers,
            protocols=protocols,
            heartbeat=SOCKET_HEARTBEAT,
            max_msg_size=LONGEST_MESSAGE,
        )

    async def _by_session(self, url: str, request: Request, headers: CIMultiDict[str]) -> Reply:
        response = await self._session.request(
            request.method,
            yarl.URL(url + request.target, encoded=True),
            headers=headers,
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
        return Reply(response, await _whole(response), response.content.iter_any)


async def _whole(response: aiohttp.ClientResponse) -> bytes | None:
    """The body, where it is small; in one piece it costs least, and can break off unnoticed."""
    length = response.content_length
    try:
        return await response.read() if length is not None and length <= ONE_PIECE else None
    except BaseException:
        response.close()
        raise


async def _once(
    request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keeps aiohttp from sending again by itself, with the old deadline and to the same process."""
    try:
        return await send(request)
    except NOT_REACHED:
        raise
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
        raise NothingAnswered from error


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
