"""`python -m services.content [serve|migrate|snapshot|replay|jobs|dead-letters|…]`."""

import sys

from services.content.app import create_app
from services.content.settings import Settings
from services.content.snapshot import SNAPSHOT
from shared.server import main

if __name__ == "__main__":
    packages = ["shared", "services.content"]
    sys.exit(main("content", Settings, create_app, packages, snapshot=SNAPSHOT))
