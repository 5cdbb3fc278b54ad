"""How a process stops to serve, so that no client has a request fail by it."""

import asyncio
from contextlib import suppress
from typing import Any

import structlog

from shared import errors
from shared.context import trace_id

_log = structlog.get_logger()


class Requests:
    """ASGI: knows the requests that run, so that they can be ended when the grace is over. While
    `draining`, each reply is the last of its connection (RFC 9112, 9.6).

    The lifespan does not pass: it is ours, and the same with either server.
    """

    def __init__(self, app: Any) -> None:
        self._app = app.asgi_app
        self._at_once = app.extensions.get("at_once")
        self._running: set[asyncio.Task[Any]] = set()
        self._cut = False
        self.draining = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            await self._app(scope, receive, self._last(scope, send) if self.draining else send)
        except asyncio.CancelledError:
            if self._cut and scope["type"] == "http":
                await _refuse(send)
            raise
        finally:
            self._running.discard(task)

    def _last(self, scope: Any, send: Any) -> Any:
        if not scope.get("http_version", "").startswith("1"):
            return send

        async def last(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
            await send(message)

        return last

    def at_once(self, scope: Any) -> Any:
        """The reply to a request that the app has ready, if any; none while we drain."""
        return None if self.draining or self._at_once is None else self._at_once(scope)

    def cancel(self) -> None:
        """End what still runs."""
        self._cut = True
        for task in self._running:
            task.cancel()


async def _refuse(send: Any) -> None:
    """What took longer than the grace is not done, and may be asked of another process; a reply
    that has begun can only break off, and servers know best whether it has.
    """
    error = errors.Unavailable("The service stops.")
    headers = errors.headers(error).items()
    fields = [(name.lower().encode(), value.encode()) for name, value in headers]
    with suppress(Exception):
        await send({"type": "http.response.start", "status": error.status, "headers": fields})
        await send({"type": "http.response.body", "body": errors.problem(error, trace_id())})


async def drain(
    app: Any, requests: Requests, told: asyncio.Event, stop: asyncio.Event, seconds: float
) -> None:
    """Once `told`, let balancers and clients go elsewhere, and set `stop` when they had the time.

    Whoever asks whether we are ready hears that we are not, and no connection outlives its next
    reply: by the end there is none that a client could still believe in. Last, what would never end
    by itself says farewell.
    """
    await told.wait()
    _log.info("draining", seconds=seconds)
    app.extensions["draining"] = requests.draining = True
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
    await asyncio.gather(*(say() for say in app.extensions.get("farewells", ())))
    stop.set()
