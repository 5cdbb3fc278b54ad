"""`python -m services.gateway [serve]`."""

import sys

from services.gateway.app import create_app
from services.gateway.settings import Settings
from shared.server import main

if __name__ == "__main__":
    sys.exit(main("gateway", Settings, create_app))
