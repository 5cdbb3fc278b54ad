"""`python -m templates.service [serve|migrate|await-migrations]`."""

import sys

from shared.server import main
from templates.service.app import create_app
from templates.service.settings import Settings

if __name__ == "__main__":
    sys.exit(main("gadgetry", Settings, create_app, ["shared", "templates.service"]))
