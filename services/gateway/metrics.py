"""Rate, errors and duration of requests by route, and the internal port where they are read."""

import asyncio
from collections.abc import AsyncGenerator

from aiohttp import web
from opentelemetry import metrics
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from quart import Quart

from services.gateway.settings import Settings
from shared.telemetry import SECONDS

_duration = metrics.get_meter("quartet.gateway").create_histogram(
    "http.server.request.duration",
    unit="s",
    description="Duration of requests, to the end of their replies",
    explicit_bucket_boundaries_advisory=SECONDS,
)


def measure(method: str, scheme: str, route: str | None, status: int, seconds: float) -> None:
    """Count one request, by the names of OpenTelemetry's conventions for HTTP."""
    attributes: dict[str, str | int] = {
        "http.request.method": method,
        "http.response.status_code": status,
        "url.scheme": scheme,
    }
    if route is not None:  # a path that leads nowhere is a client's invention
        attributes["http.route"] = route
    if status >= 500:
        attributes["error.type"] = str(status)
    _duration.record(seconds, attributes)


async def _show(_: web.Request) -> web.Response:
    # Takes milliseconds where there are many series, which no request should wait for.
    text = await asyncio.to_thread(generate_latest)
    return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})


def use_metrics(app: Quart, settings: Settings) -> None:
    """Let `app` show its metrics at `/metrics`, on a port that the public does not reach."""
    if settings.metrics_port == 0:
        return

    @app.while_serving
    async def metrics_port() -> AsyncGenerator[None, None]:
        site = web.Application()
        site.router.add_get("/metrics", _show)
        runner = web.AppRunner(site, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        try:
            await web.TCPSite(runner, settings.metrics_host, settings.metrics_port).start()
            yield
        finally:
            await runner.cleanup()
