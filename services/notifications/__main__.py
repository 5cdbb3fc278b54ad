"""`python -m services.notifications [serve|worker|migrate|…]`."""

import sys

from services.notifications.app import create_app
from services.notifications.settings import Settings
from services.notifications.worker import create_worker
from shared.server import main

PACKAGES = ["shared", "services.notifications"]

if __name__ == "__main__":
    sys.exit(main("notifications", Settings, create_app, PACKAGES, create_worker=create_worker))
