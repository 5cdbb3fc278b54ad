"""`python -m services.content [serve|migrate]`."""

import sys

from services.content.app import create_app
from services.content.settings import Settings
from shared.server import main

if __name__ == "__main__":
    sys.exit(main("content", Settings, create_app, ["shared", "services.content"]))
