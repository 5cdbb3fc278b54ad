"""The content service, wired."""

from quart import Quart

from services.content.routes import routes
from services.content.settings import Settings
from services.content.subscribers import HANDLERS
from shared.auth import use_verifier
from shared.bus import use_bus
from shared.database import use_database
from shared.inbox import use_inbox
from shared.operations import use_operations
from shared.outbox import use_outbox
from shared.service import create_service


def create_app(settings: Settings) -> Quart:
    """The app with its resources, which open when it starts to serve."""
    app = create_service("content", settings)
    use_database(app, settings)
    use_verifier(app, settings.jwks_url)
    use_bus(app, settings.nats_url, settings.nats_replicas)
    use_outbox(app, settings)
    use_inbox(app, HANDLERS)
    use_operations(app)
    app.register_blueprint(routes)
    return app
