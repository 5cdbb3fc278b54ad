"""What a container is, seen from inside: printed as JSON by a Python that is started in it."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

MEMORY = ("memory.max", "memory/memory.limit_in_bytes")  # cgroup v2, v1
PEAK = ("memory.peak", "memory/memory.max_usage_in_bytes")
FOLDERS = ("/", "/app", "/etc", "/etc/quartet", "/run", "/tmp", "/usr/bin", "/var/tmp", "/venv")  # noqa: S108
_BY_HASH = 0b11  # flags of a .pyc: the hash of the source, checked. PEP 552


def seen() -> dict[str, object]:
    """What the kernel says of the service, which is the container's first process."""
    pairs = (line.partition(":") for line in Path("/proc/1/status").read_text().splitlines())
    status = {name: words.split() for name, _, words in pairs}
    return {
        "command": Path("/proc/1/cmdline").read_text().rstrip("\0").split("\0"),
        "users": sorted({int(word) for word in status["Uid"]}),
        "groups": sorted({int(word) for word in status["Gid"] + status["Groups"]}),
        "capabilities": sum(int(status[f"Cap{of}"][0], 16) for of in ("Inh", "Prm", "Bnd", "Amb")),
        "no_new_privileges": status["NoNewPrivs"] == ["1"],
        "seccomp": status["Seccomp"] == ["2"],  # a filter
        "memory": _figure(MEMORY),
        "read_only": "ro" in _root(),
        "writable": [folder for folder in FOLDERS if _is_writable(folder)],
        "scratch": os.statvfs("/tmp").f_blocks * os.statvfs("/tmp").f_frsize,  # noqa: S108
        "peak": _figure(PEAK),
        "uncompiled": sorted(_uncompiled()),  # last, since that takes memory
    }


def _root() -> list[str]:
    """How the root is mounted: of two on it, one over the other, the later counts."""
    lines = Path("/proc/1/mountinfo").read_text().splitlines()
    return [line.split()[5] for line in lines if line.split()[4] == "/"][-1].split(",")


def _figure(files: tuple[str, ...]) -> int | None:
    found = [path for name in files if (path := Path("/sys/fs/cgroup", name)).exists()]
    text = found[0].read_text().strip() if found else ""
    return int(text) if text.isdecimal() else None


def _is_writable(folder: str) -> bool:
    path = Path(folder, "written-by-the-check")
    try:
        path.touch()
        path.unlink()
    except OSError:
        return False
    return True


def _uncompiled() -> Iterator[str]:
    """Modules that would be compiled again at every start, since what is there isn't theirs."""
    for path in Path("/app").rglob("*.py"):
        compiled = Path(importlib.util.cache_from_source(path))
        head = importlib.util.MAGIC_NUMBER + _BY_HASH.to_bytes(4, "little")
        if not compiled.exists() or compiled.read_bytes()[:8] != head:
            yield str(path)
    start = [sys.executable, "-v", "-c", "import service.__main__"]
    told = subprocess.run(start, capture_output=True, text=True, check=True).stderr
    for line in told.splitlines():
        origin = line.removeprefix("# code object from ")  # bytecode is quoted, a source isn't
        if origin != line and origin.endswith(".py"):
            yield origin


if __name__ == "__main__":
    print(json.dumps(seen()))
