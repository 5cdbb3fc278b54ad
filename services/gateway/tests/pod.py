"""`python -m services.gateway.tests.pod PORT`: a process of a service, to be killed."""

import asyncio
import sys

from aiohttp import web


async def answer(request: web.Request) -> web.StreamResponse:
    """Is ready, and takes a moment for everything else."""
    if request.path != "/readyz":
        await asyncio.sleep(0.005)
    return web.json_response({"status": "ready"})


if __name__ == "__main__":
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
