"""Wires the users service."""

from quart import Quart

from services.users.passwords import use_passwords
from services.users.routes import users
from services.users.settings import Settings
from services.users.tokens import use_tokens
from shared.bus import use_bus
from shared.database import use_database
from shared.operations import use_operations
from shared.outbox import use_outbox
from shared.service import create_service


def create_app(settings: Settings) -> Quart:
    """The service, ready to serve. Raises `SettingsError` for signing keys that can't be used."""
    app = create_service("users", settings)
    use_tokens(app, settings)
    use_passwords(app, settings)
    use_database(app, settings)
    use_bus(app, settings.nats_url, settings.nats_replicas)
    use_outbox(app, settings)
    use_operations(app)
    app.register_blueprint(users)
    return app
