"""The worker of the notifications service, wired: it serves nobody but whoever asks how it is."""

from quart import Quart

from services.notifications.jobs import JOBS, PERIODIC
from services.notifications.mail import use_mail
from services.notifications.settings import Settings
from shared.bus import use_bus
from shared.database import use_database
from shared.operations import use_operations
from shared.outbox import use_outbox
from shared.service import create_service
from shared.worker import use_worker


def create_worker(settings: Settings) -> Quart:
    """The app that works off the queues while it serves. Raises `SettingsError`."""
    app = create_service("notifications", settings)
    use_mail(app, settings)
    use_database(app, settings)
    use_bus(app, settings.nats_url, settings.nats_replicas)
    use_outbox(app, settings, queues=True)
    use_operations(app)
    use_worker(app, JOBS, PERIODIC)
    return app
