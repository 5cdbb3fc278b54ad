"""`python -m services.users [serve|migrate|snapshot|replay|jobs|dead-letters|…]`."""

import sys

from services.users.app import create_app
from services.users.settings import Settings
from services.users.snapshot import SNAPSHOT
from shared.server import main

if __name__ == "__main__":
    packages = ["shared", "services.users"]
    sys.exit(main("users", Settings, create_app, packages, snapshot=SNAPSHOT))
