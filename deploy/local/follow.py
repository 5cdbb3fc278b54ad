"""Log files as they grow."""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

Print = Callable[[str, str], None]


class Follower:
    """Gives the lines that were added to a file since the last look."""

    def __init__(self, path: Path, *, last_lines: int | None = None) -> None:
        self.name = path.stem
        self._path = path
        self._partial = b""
        self._offset = self._start(last_lines)

    def new_lines(self) -> list[str]:
        """Whole lines that came since; a file which was emptied is read from its beginning."""
        try:
            size = self._path.stat().st_size
            if size < self._offset:
                self._offset, self._partial = 0, b""
            with self._path.open("rb") as stream:
                stream.seek(self._offset)
                data = stream.read(size - self._offset)
        except FileNotFoundError:
            return []
        self._offset += len(data)
        *lines, self._partial = (self._partial + data).split(b"\n")
        return [line.decode(errors="replace") for line in lines]

    def _start(self, last_lines: int | None) -> int:
        """The offset from which to read: the end, or that many lines before it."""
        try:
            size = self._path.stat().st_size
        except FileNotFoundError:
            return 0
        if last_lines is None:
            return size
        begin = max(0, size - 200 * max(last_lines, 1) * 4)
        with self._path.open("rb") as stream:
            stream.seek(begin)
            lines = stream.read().splitlines(keepends=True)
        return size - sum(len(line) for line in lines[-last_lines:] if last_lines)


async def follow(followers: Iterable[Follower], show: Print) -> None:
    """Show new lines for ever, those of one look ordered by file."""
    followers = list(followers)
    while True:
        show_new(followers, show)
        await asyncio.sleep(0.15)


def show_new(followers: Iterable[Follower], show: Print) -> None:
    """Show what came since the last look."""
    for follower in followers:
        for line in follower.new_lines():
            show(follower.name, line)
