"""A gateway with routes that stream: `python -m services.gateway.tests.leading`."""

import sys
from functools import partial

from services.gateway.app import create_app
from services.gateway.settings import Settings
from services.gateway.table import Route
from shared.server import main

ROUTES = (
    Route("GET", "/api/tags", "content", "public"),
    Route("GET", "/api/log", "content", "public", stream=True),
    Route("GET", "/api/talk", "content", "required", websocket=True),
)

if __name__ == "__main__":
    sys.exit(main("gateway", Settings, partial(create_app, routes=ROUTES)))
