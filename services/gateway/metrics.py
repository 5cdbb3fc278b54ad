"""The internal port where metrics are read."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from threading import Thread
from typing import Any

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from quart import Quart

from services.gateway.settings import Settings

_log = structlog.get_logger()


class _Handler(BaseHTTPRequestHandler):
    timeout = 5.0  # seconds for who connects and says nothing

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(404)
            return
        text = generate_latest()
        self.send_response(200)
        self.send_header("Content-Type", CONTENT_TYPE_LATEST)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        """Whoever asks does so every few seconds."""


class _Server(ThreadingTCPServer):
    """prometheus_client's own would show metrics at every path, and ask DNS for its own name."""

    allow_reuse_address = daemon_threads = True

    def server_bind(self) -> None:
        try:
            super().server_bind()
        except OSError as error:
            raise OSError(error.errno, f"{error.strerror}: {self.server_address}") from error

    def handle_error(self, *_: Any) -> None:
        _log.warning("metrics were not delivered", exc_info=True)


class _Server6(_Server):
    address_family = socket.AF_INET6


def use_metrics(app: Quart, settings: Settings) -> None:
    """Let `app` show its metrics at `/metrics`, on a port that the public does not reach. In
    threads: with many series it takes milliseconds, which no request should wait for.
    """
    if settings.metrics_port == 0:
        return
    kind = _Server6 if ":" in settings.metrics_host else _Server

    @app.while_serving
    async def metrics_port() -> AsyncGenerator[None, None]:
        with kind((settings.metrics_host, settings.metrics_port), _Handler) as server:
            serving = Thread(target=server.serve_forever, name="metrics", daemon=True)
            serving.start()
            try:
                yield
            finally:
                await asyncio.to_thread(server.shutdown)
                serving.join()
