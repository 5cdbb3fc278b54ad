"""Runs a module, and runs it again when its code changes: `reload.py IMAGE CODE MODULE …`.

The code of the image is copied to a folder that can be written. There `skaffold dev` puts what was
edited, and it stays when the container starts anew.
"""

import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

INTERVAL = 0.5  # seconds

Stamp = dict[Path, tuple[int, int]]


def main(image: Path, code: Path, *module: str) -> int:
    """Run until SIGTERM or SIGINT; return the exit code of the module."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if not any(code.iterdir()):
        copy(image, code)
    before, process = stamp(code), start(code, *module)
    while not stop.wait(INTERVAL):
        now = stamp(code)
        if now != before:
            end(process)
            before, process = now, start(code, *module)
    return end(process)


def copy(image: Path, code: Path) -> None:
    """Copy what is in the folder; the other is a volume's, whose mode only its owner may change."""
    for path in image.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, code / path.name, symlinks=True)
        else:
            shutil.copy2(path, code / path.name, follow_symlinks=False)


def stamp(code: Path) -> Stamp:
    """When each file was last written, and its size."""
    files = (path for path in code.rglob("*") if "__pycache__" not in path.parts)
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in files}


def start(code: Path, *module: str) -> subprocess.Popen[bytes]:
    """Begin the module. Should it end by itself, the next change starts it again."""
    return subprocess.Popen([sys.executable, "-m", *module], cwd=code)


def end(process: subprocess.Popen[bytes]) -> int:
    """Let the module drain, and return its exit code."""
    process.terminate()
    return process.wait()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]))
