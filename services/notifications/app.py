"""The notifications service, wired."""

from quart import Quart

from services.notifications.herald import use_herald
from services.notifications.routes import routes
from services.notifications.settings import Settings
from services.notifications.subscribers import HANDLERS
from shared.auth import use_verifier
from shared.bus import use_bus
from shared.database import use_database
from shared.inbox import use_inbox
from shared.operations import use_operations
from shared.outbox import use_outbox
from shared.service import create_service


def create_app(settings: Settings) -> Quart:
    """The app with its resources, which open when it starts to serve."""
    app = create_service("notifications", settings)
    use_database(app, settings)
    use_verifier(app, settings.jwks_url)
    use_bus(app, settings.nats_url, settings.nats_replicas)
    use_outbox(app, settings, queues=True)
    use_inbox(app, HANDLERS)
    use_herald(app)
    use_operations(app)
    app.register_blueprint(routes)
    return app
