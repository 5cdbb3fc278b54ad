"""One connection to a collector, kept: HTTP/1.1 in as few steps as there can be.

A thread that waits for a socket gives the interpreter away, and has to win it back from an event
loop that never rests: that took ten microseconds of each span by `urllib`, which connects anew
each time, and sends and receives in twenty steps.
"""

import socket
import ssl
from collections.abc import Mapping
from http.client import HTTPException, HTTPResponse
from urllib.parse import urlsplit


class Line:
    """To where `url` leads, for one thread at a time."""

    def __init__(self, url: str, certificate: str | None) -> None:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        self._address = parts.hostname or "", parts.port or (443 if secure else 80)
        self._tls = ssl.create_default_context(cafile=certificate) if secure else None
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._begin = f"POST {target} HTTP/1.1\r\nHost: {parts.netloc.rpartition('@')[2]}\r\n"
        self._socket: socket.socket | None = None

    def post(self, fields: Mapping[str, str], body: bytes, seconds: float) -> int:
        """The status of the answer, which may take so long to come. Raises `OSError`, and
        `HTTPException` for what is none.
        """
        kept = self._socket is not None
        try:
            return self._post(fields, body, seconds)
        except (ConnectionError, HTTPException):
            if not kept:
                raise
        return self._post(fields, body, seconds)  # the other side has closed it meanwhile

    def _post(self, fields: Mapping[str, str], body: bytes, seconds: float) -> int:
        line = self._socket = self._socket or self._connect(seconds)
        line.settimeout(seconds)
        try:
            line.sendall(self._head(fields, body) + body)
            with HTTPResponse(line, method="POST") as reply:
                reply.begin()
                reply.read()
        except BaseException:
            self.close()
            raise
        if reply.will_close:
            self.close()
        return reply.status

    def close(self) -> None:
        """Let go of the connection; the next message makes a new one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _head(self, fields: Mapping[str, str], body: bytes) -> bytes:
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"{self._begin}{lines}Content-Length: {len(body)}\r\n\r\n".encode("latin-1")

    def _connect(self, seconds: float) -> socket.socket:
        plain = socket.create_connection(self._address, seconds)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is None:
            return plain
        return self._tls.wrap_socket(plain, server_hostname=self._address[0])
