"""How Quart takes a request and sends its reply, for the common case: no body in, and a whole one
out. By what Quart lets an app replace, and what is the same in 0.22 and 0.23: Python 3.13 has the
latter. All else is Quart's own way.
"""

import asyncio
from collections.abc import Callable
from functools import cache, cached_property, partial
from inspect import CO_COROUTINE
from typing import Any

from quart import Quart, Response
from quart.asgi import ASGIHTTPConnection
from quart.wrappers import Request
from quart.wrappers.response import DataBody
from werkzeug.datastructures import Headers

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

    def _create_request_from_scope(self, send: Any) -> Any:
        scope, config = self.scope, self.app.config
        if scope["path"][:1] != "/" or scope.get("root_path") or scope["http_version"] < "1.1":
            return super()._create_request_from_scope(send)
        return self.app.request_class(
            scope["method"],
            scope["scheme"],
            scope["path"],
            scope["query_string"],
            _Fields(scope),
            "",
            scope["http_version"],
            max_content_length=config["MAX_CONTENT_LENGTH"],
            body_timeout=config["BODY_TIMEOUT"],
            send_push_promise=partial(self._send_push_promise, send),
            scope=scope,
        )

    async def _send_response(self, send: Any, response: Any) -> None:
        """In two messages, where Quart says the end of the body in a third."""
        body = response.response
        if not isinstance(response, Response) or not isinstance(body, DataBody):
            await super()._send_response(send, response)
            return
        fields = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in response.headers
        ]
        await send(
            {"type": "http.response.start", "status": response.status_code, "headers": fields}
        )
        whole = body.data[body.begin : body.end]
        await send({"type": "http.response.body", "body": whole, "more_body": False})


class _Fields(Headers):
    """A request's header fields, as Quart names them. The server has checked them, and asking for
    one that is not there raises nothing.
    """

    def __init__(self, scope: Any) -> None:
        client = scope.get("client")
        self._list = [("Remote-Addr", client[0] if client else "<local>")]
        self._list += [
            (name.decode("latin-1").title(), value.decode("latin-1"))
            for name, value in scope["headers"]
        ]

    def get(self, key: str, default: Any = None, type: Any = None) -> Any:  # type: ignore[override]
        if type is not None:
            return super().get(key, default, type)
        wanted = key.title()
        for name, value in self._list:
            if name == wanted:
                return value
        return default


class _LeanRequest(Request):
    """Knows which blueprints it belongs to by its route, and that nobody has said who calls."""

    caller: Any = None

    @property
    def blueprints(self) -> list[str]:
        return [] if self.url_rule is None else _blueprints(self.url_rule.endpoint)


@cache
def _blueprints(endpoint: str) -> list[str]:
    """The inner before the outer: `a.b.view` is of `a.b` and of `a`."""
    names = endpoint.split(".")[:-1]
    return [".".join(names[:count]) for count in range(len(names), 0, -1)]


class _Found:
    """Leads a request to a route that is known already. No address can be made from it."""

    def __init__(self, rule: Any) -> None:
        self._rule = rule

    def match(self, *, return_rule: bool) -> Any:
        return self._rule, {}


class LeanQuart(Quart):
    """Quart without what each request pays and no service of ours needs: the search for a route
    that has but one path, and the question what kind of function each hook is.
    """

    asgi_http_class = LeanConnection
    request_class = _LeanRequest

    @cached_property
    def _plain(self) -> dict[tuple[str, str], _Found]:
        """The reads whose paths have no arguments, by method and path."""
        return {
            (method, rule.rule): _Found(rule)
            for rule in self.url_map.iter_rules()
            if not rule.arguments and not rule.websocket
            for method in ("GET", "HEAD")
            if method in (rule.methods or ())
        }

    def create_url_adapter(self, request: Any) -> Any:
        if isinstance(request, Request):
            known = self._plain.get((request.method, request.path))
            if known is not None:
                return known
        return super().create_url_adapter(request)

    def ensure_async(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """A function that is written as a coroutine needs nothing; Quart knows what others need."""
        code = getattr(func, "__code__", None)
        if code is not None and code.co_flags & CO_COROUTINE:
            return func
        return super().ensure_async(func)


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
