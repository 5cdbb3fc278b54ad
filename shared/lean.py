"""How Quart takes a request and sends its reply, for the common case: no body in, and a whole one
out. By the hook that Quart has for it, `asgi_http_class`; all else is Quart's own way.
"""

import asyncio
from typing import Any

from quart import Response
from quart.asgi import ASGIHTTPConnection
from quart.wrappers.response import DataBody

LOOK_AFTER_SECONDS = 0.05


class LeanConnection(ASGIHTTPConnection):
    """Serves a request without a body in the task that it came in: Quart makes two more for each.

    A client that goes away ends its request, as with Quart, but it is looked for after a moment
    only: quick replies don't pay for it.
    """

    async def __call__(self, receive: Any, send: Any) -> None:
        if _may_have_body(self.scope):
            await super().__call__(receive, send)
            return
        request = self._create_request_from_scope(send)
        request.body.set_complete()
        serving = asyncio.current_task()
        watch = _Watch(receive, serving)
        try:
            await self.handle_request(request, send)
        except asyncio.CancelledError:
            if not watch.gone or serving is None or serving.uncancel():
                raise
        finally:
            watch.end()

    async def _send_response(self, send: Any, response: Any) -> None:
        """In two messages, where Quart says the end of the body in a third."""
        if not isinstance(response, Response) or not isinstance(response.response, DataBody):
            await super()._send_response(send, response)
            return
        fields = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in response.headers
        ]
        whole = await response.get_data(as_text=False)
        await send(
            {"type": "http.response.start", "status": response.status_code, "headers": fields}
        )
        await send({"type": "http.response.body", "body": whole, "more_body": False})


class _Watch:
    """Cancels `serving` when the client goes; `gone` says that it did."""

    def __init__(self, receive: Any, serving: asyncio.Task[Any] | None) -> None:
        self._receive, self._serving = receive, serving
        self._looking: asyncio.Task[None] | None = None
        self.gone = False
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(LOOK_AFTER_SECONDS, self._begin)

    def _begin(self) -> None:
        self._looking = self._loop.create_task(self._look())

    async def _look(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        if self._serving is not None:
            self._serving.cancel()

    def end(self) -> None:
        """Look no more."""
        self._timer.cancel()
        if self._looking is not None:
            self._looking.cancel()


def _may_have_body(scope: Any) -> bool:
    """In HTTP/1.1, a body is announced (RFC 9112, 6.3); a read hardly ever has one."""
    if scope["method"] not in ("GET", "HEAD") or not scope["http_version"].startswith("1"):
        return True
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])
