"""`python -m tests.faults.mutants FOLDER BUILD…`: a service with the changes of our builds, each of
which leaves a file in the folder when it dies.
"""

import importlib
import sys
from pathlib import Path

from shared.server import main
from tests.faults.mutants.builds import RIGHT, WRONG
from tests.faults.mutants.death import Death

if __name__ == "__main__":
    folder, *names = sys.argv[1:]
    builds = {name: (RIGHT | WRONG)[name] for name in names}
    for name, build in builds.items():
        build.change(Death(Path(folder, name), build.number))
    (service,) = {build.service for build in builds.values()}
    package = f"services.{service}"
    settings = importlib.import_module(f"{package}.settings").Settings
    app = importlib.import_module(f"{package}.app")
    sys.exit(main(service, settings, app.create_app, ["shared", package], []))
