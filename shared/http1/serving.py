"""Serving until told to stop."""

import asyncio
import socket
import ssl
from typing import Any

from shared.http1.connection import Connection
from shared.http1.service import Service

_BACKLOG = 1024  # connections that wait to be accepted; told again, for it would be less


async def serve(
    service: Service, listening: socket.socket, tls: ssl.SSLContext | None, stop: asyncio.Event
) -> None:
    """Serve on a socket until `stop`; then take nothing new, and return when all that runs is
    answered. When cancelled, break off what still runs.
    """
    told: dict[str, Any] = {}
    if tls is not None:
        told = {"ssl": tls, "ssl_handshake_timeout": service.patience}
        told["ssl_shutdown_timeout"] = service.patience
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Connection(service), sock=listening, backlog=_BACKLOG, **told
    )
    try:
        await stop.wait()
        server.close()
        await service.empty()
    finally:
        server.close()
        for connection in list(service.connections):
            connection.abort()
