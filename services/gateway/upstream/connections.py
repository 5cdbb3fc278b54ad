"""Connections to services: who sends which request."""

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from services.gateway.messages.calls import Reply, Request
from services.gateway.messages.headers import Told
from services.gateway.settings import Settings
from services.gateway.upstream.wire import Wire

if TYPE_CHECKING:
    from services.gateway.upstream.session import Session, Socket


class Connections:
    """Sends requests on connections that are kept: whole ones in plain HTTP, which are nearly all,
    by the `Wire`, and others by a `Session` of aiohttp. To be used as a context.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._session: Session | None = None
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
        if self._session is not None:
            await self._session.close()

    async def ask(self, url: str, request: Request, fields: Told) -> Reply:
        """Send a request, with `fields` in place of its own. Raises `Unreached`, `NothingAnswered`,
        or just `Failed`, and `TimeoutError`.
        """
        method, body = request.method, request.body
        if (
            not (body is None or isinstance(body, bytes))
            or method == "HEAD"
            or not url.startswith("http:")
        ):
            return await (await self._others()).ask(url, request, fields)
        answer = await self._wire.ask(url, method, request.target, fields, body, request.patience)
        return Reply(answer, answer.fields, answer.whole, answer.pieces)

    async def open_socket(self, url: str, fields: Told, protocols: Sequence[str]) -> "Socket":
        """Open a WebSocket (RFC 6455). Raises `Unreached`, or just `Failed`."""
        return await (await self._others()).open_socket(url, fields, protocols)

    async def _others(self) -> "Session":
        if self._session is None:
            session = await asyncio.to_thread(_load)
            if self._session is None:  # two may have waited
                self._session = session(self._settings)
        return self._session


def _load() -> "type[Session]":
    """aiohttp is nine megabytes, which most gateways never need, so it is loaded with the first
    request that does; in a thread, for that takes longer than others should wait.
    """
    from services.gateway.upstream.session import Session

    return Session
