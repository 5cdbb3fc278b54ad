"""The internal port where metrics are read."""

import asyncio
from collections.abc import AsyncGenerator

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from quart import Quart

from services.gateway.settings import Settings


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
