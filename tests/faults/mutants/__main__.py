"""`python -m tests.faults.mutants BUILD MARKER [COMMAND]`: a service by one of our builds."""

import importlib
import sys
from pathlib import Path

from shared.server import main
from tests.faults.mutants.builds import RIGHT, WRONG
from tests.faults.mutants.death import Death

if __name__ == "__main__":
    name, marker, *arguments = sys.argv[1:]
    build = (RIGHT | WRONG)[name]
    build.change(Death(Path(marker), build.number))
    package = f"services.{build.service}"
    settings = importlib.import_module(f"{package}.settings").Settings
    app = importlib.import_module(f"{package}.app")
    sys.exit(main(build.service, settings, app.create_app, ["shared", package], arguments))
