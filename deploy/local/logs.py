"""Log files: one a process, bounded, appended to by the process itself."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

LIMIT = 16_000_000  # bytes; one older file of that size is kept beside it


def open_log(path: Path) -> int:
    """A descriptor for a child to write to: no pipe that can fill, or break with the supervisor."""
    bound(path)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def bound(path: Path, limit: int = LIMIT) -> None:
    """Move what was written aside once it is over the limit.

    The writer keeps its descriptor: so the file is copied and emptied, not renamed, and a line
    written in between may be lost."""
    try:
        if path.stat().st_size < limit:
            return
    except FileNotFoundError:
        return
    path.with_suffix(".log.1").write_bytes(path.read_bytes())
    os.truncate(path, 0)


def append(path: Path, event: str) -> None:
    """Write a line of the supervisor, in the form that the services use."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    line = {"service": path.stem, "event": event, "level": "info", "timestamp": now}
    with path.open("a") as stream:
        stream.write(json.dumps(line) + "\n")


def tail(path: Path, lines: int = 20) -> str:
    """The last lines of the file, or nothing when there is none."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - 64_000))
            text = stream.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
