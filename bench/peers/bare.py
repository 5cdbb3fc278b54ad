"""A constant from the gateway's own server with no framework on it: what no ASGI app there can be
faster than. It is one reply of the gateway, of the same fields and length.
`python -m bench.peers.bare PORT`.
"""

import asyncio
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.request import urlopen

import uvloop

from shared.http1.service import Service
from shared.http1.serving import serve

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


async def main(port: int) -> None:
    """Serve until killed."""
    service = Service(app, lambda _: None, scheme="http", patience=60.0, largest=0)
    await serve(service, socket.create_server(("127.0.0.1", port)), None, asyncio.Event())


if __name__ == "__main__":
    asyncio.Runner(loop_factory=uvloop.new_event_loop).run(main(int(sys.argv[1])))
