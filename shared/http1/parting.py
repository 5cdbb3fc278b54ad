"""How a connection ends whose client may still be sending: our side of it at once, the rest after a
moment in which the client may read. By bytes that nobody takes, it would break (RFC 9112, 9.6).
"""

import asyncio

SECONDS = 2.0


def say_last(transport: asyncio.Transport) -> None:
    """Nothing more will be sent."""
    if transport.can_write_eof() and not transport.is_closing():
        transport.write_eof()


def linger(loop: asyncio.AbstractEventLoop, transport: asyncio.Transport) -> None:
    """Close after a moment."""
    say_last(transport)
    loop.call_later(SECONDS, transport.close)
