"""What people see: log lines in short form, and the table of what runs."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TextIO

COLOURS = {
    "users": 36,
    "content": 32,
    "notifications": 35,
    "worker": 95,
    "gateway": 34,
    "stack": 33,
}
LEVELS = {"warning": 33, "error": 31, "critical": 31}
WIDTH = 13  # of the longest name
_APART = ("service", "event", "level", "timestamp", "exception")


class Console:
    """Prints for a person: in colour on a terminal, unless `NO_COLOR` is set (no-color.org)."""

    def __init__(self, stream: TextIO = sys.stdout, *, no_color: bool = False) -> None:
        self._stream = stream
        self._colour = stream.isatty() and not no_color

    def say(self, name: str, sentence: str) -> None:
        """Tell what happened to whom."""
        self.line(name, f"{datetime.now():%H:%M:%S} {sentence}")  # noqa: DTZ005 - the reader's clock

    def log(self, name: str, line: str) -> None:
        """A line of a log file, in short form when it is JSON."""
        self.line(name, self._short(line))

    def logs(self, name: str, text: str) -> None:
        """Lines of a log file."""
        for line in text.splitlines():
            self.log(name, line)

    def line(self, name: str, text: str) -> None:
        """A line with the name before it."""
        prefix = self._paint(f"{name:<{WIDTH}} |", COLOURS.get(name, 37))
        self.print(f"{prefix} {text}")

    def print(self, text: str) -> None:
        """A line as it is."""
        self._stream.write(f"{text}\n")
        self._stream.flush()

    def _short(self, line: str) -> str:
        try:
            entry = json.loads(line)
        except ValueError:
            return line
        if not isinstance(entry, dict):
            return line
        level = str(entry.get("level", "info"))
        head = f"{_clock(entry)} {self._paint(f'{level:<7}', LEVELS.get(level, 0))}"
        pairs = (f"{key}={_value(entry[key])}" for key in entry if key not in _APART)
        text = " ".join([head, str(entry.get("event", "")), *pairs])
        return f"{text}\n{entry['exception']}" if "exception" in entry else text

    def _paint(self, text: str, colour: int) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colour and colour else text


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """The rows under the headings service, url, pid, ready, in columns."""
    return columns([("SERVICE", "URL", "PID", "READY"), *(_cells(row) for row in rows)])


def columns(lines: Sequence[Sequence[str]]) -> str:
    """Lines of as many cells each, with each column as wide as it has to be."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int], None]]:
    """Gives `show(what, done, of_how_many)`, which keeps a bar for each `what`."""
    from rich.progress import Progress, TaskID

    bars: dict[str, TaskID] = {}
    with Progress() as progress:

        def show(what: str, done: int, total: int) -> None:
            if what not in bars:
                bars[what] = progress.add_task(what, total=total)
            progress.update(bars[what], completed=done, total=total)

        yield show


def _cells(row: Mapping[str, object]) -> tuple[str, str, str, str]:
    took = row["ready_ms"]
    ready = "no" if not row["ready"] else "yes" if took is None else f"{took} ms"
    pid = row["pid"]
    return str(row["service"]), str(row["url"]), "-" if pid is None else str(pid), ready


def _clock(entry: Mapping[str, object]) -> str:
    try:
        written = datetime.fromisoformat(str(entry["timestamp"]))
    except (KeyError, ValueError):
        return "        "
    return f"{written.astimezone():%H:%M:%S}"


def _value(value: object) -> str:
    if isinstance(value, str):
        return value if value and value.isprintable() and " " not in value else json.dumps(value)
    return json.dumps(value)
