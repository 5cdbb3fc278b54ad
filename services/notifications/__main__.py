"""`python -m services.notifications [serve|worker|migrate|await-migrations]`."""

import sys

from services.notifications.app import create_app
from services.notifications.settings import Settings
from services.notifications.worker import create_worker
from shared.server import main

PACKAGES = ["shared", "services.notifications"]

if __name__ == "__main__":
    if sys.argv[1:] == ["worker"]:
        sys.exit(main("notifications", Settings, create_worker, PACKAGES, ["serve"]))
    sys.exit(main("notifications", Settings, create_app, PACKAGES))
