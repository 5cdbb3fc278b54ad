"""The gateway, wired."""

from collections.abc import Iterable

from quart import Quart

from services.gateway.cache.replies import use_cache
from services.gateway.cors import Cors
from services.gateway.door.front import Front
from services.gateway.limits.admission import use_limits
from services.gateway.live.doors import use_live
from services.gateway.metrics import use_metrics
from services.gateway.pages import use_pages
from services.gateway.policies import use_policies
from services.gateway.positions import use_positions
from services.gateway.routes import ROUTES
from services.gateway.settings import Settings
from services.gateway.sockets import use_sockets
from services.gateway.table import Route, Table
from services.gateway.upstream.upstreams import use_upstreams
from services.gateway.valkey import use_valkey
from shared.auth import use_verifier
from shared.bus import use_bus
from shared.service import create_service


def create_app(settings: Settings, routes: Iterable[Route] = ROUTES) -> Quart:
    """The app with its resources, which open when it starts to serve."""
    table = Table(routes)
    app = create_service("gateway", settings)
    use_policies(app, settings, table)
    use_metrics(app, settings)
    use_verifier(app, settings.jwks_url, essential=True)
    use_bus(app, settings.nats_url)
    use_upstreams(app, settings)
    use_valkey(app, settings.redis_url)
    use_positions(app)
    use_limits(app, settings)
    use_cache(app, settings, Cors(settings.allowed_origins))
    use_live(app, settings)
    use_sockets(app)
    use_pages(app, table, settings)
    front = Front(app, table, settings)
    app.asgi_app = front  # type: ignore[method-assign]  # Quart's hook for it
    if settings.cache == "on":
        app.extensions["at_once"] = front.at_once
    return app
