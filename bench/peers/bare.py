"""A constant from the gateway's own server with no framework on it: what no gateway in Python that
Granian serves can be faster than. It is one reply of the gateway, of the same fields and length.
"""

import os
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.request import urlopen

with urlopen(os.environ["PEER_LIKE"]) as reply:  # noqa: S310, TID251  (an address of the bench)
    _BODY = reply.read()
    _FIELDS = [
        (name.lower().encode(), value.encode())
        for name, value in reply.getheaders()
        if name.lower() != "connection"
    ]
_START = {"type": "http.response.start", "status": 200, "headers": _FIELDS}
_END = {"type": "http.response.body", "body": _BODY, "more_body": False}


async def app(_: Any, __: Any, send: Callable[[Any], Awaitable[None]]) -> None:
    """ASGI 3."""
    await send(_START)
    await send(_END)
