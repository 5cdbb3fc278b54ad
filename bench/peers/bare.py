"""A constant from the gateway's own server with no framework on it: what no gateway in Python that
Granian serves can be faster than.
"""

from collections.abc import Awaitable, Callable
from typing import Any

_BODY = b'{"tags":["python","asyncio"]}'
_FIELDS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_BODY))]
_START = {"type": "http.response.start", "status": 200, "headers": _FIELDS}
_END = {"type": "http.response.body", "body": _BODY, "more_body": False}


async def app(_: Any, __: Any, send: Callable[[Any], Awaitable[None]]) -> None:
    """ASGI 3."""
    await send(_START)
    await send(_END)
