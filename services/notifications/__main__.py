"""`python -m services.notifications [serve|migrate]`."""

import sys

from services.notifications.app import create_app
from services.notifications.settings import Settings
from shared.server import main

if __name__ == "__main__":
    sys.exit(main("notifications", Settings, create_app, ["shared", "services.notifications"]))
