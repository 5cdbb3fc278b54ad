"""The state folder: its lock, and the ports and secrets that survive a restart."""

import fcntl
import json
import os
import random
import secrets
import shutil
import socket
import threading
from collections.abc import Collection
from pathlib import Path
from typing import Any

from deploy.local.errors import CannotStart

# Below the range from which kernels take the ports of outgoing connections, so that a server which
# restarts never finds its port held by somebody's connection.
PORTS = range(20_000, 32_000)


class State:
    """A folder that holds all which a stack keeps: data, logs, traces, secrets, and who runs."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.logs = self.path / "logs"
        self.traces = self.path / "traces"
        self.run = self.path / "run"
        self._lock: int | None = None
        self._changing = threading.Lock()

    def make(self) -> None:
        """Create the folders; others may pass the outer one, as PostgreSQL must under root."""
        try:
            self.path.mkdir(mode=0o711, parents=True, exist_ok=True)
            for folder in (self.logs, self.traces, self.run):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise CannotStart(
                f"The folder {self.path} cannot be made or used ({error.strerror}): "
                "set QUARTET_STATE to another."
            ) from None

    def lock(self) -> None:
        """Hold the folder until `unlock` or the end of this process.

        Raises `CannotStart` when another stack runs in it."""
        try:
            descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except PermissionError:
            raise CannotStart(
                f"The folder {self.path} belongs to another user: set QUARTET_STATE to another."
            ) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise CannotStart(
                f"A stack already runs in {self.path}: stop it with `make stop`, "
                "or set QUARTET_STATE to another folder."
            ) from None
        self._lock = descriptor

    def unlock(self) -> None:
        """Let another stack use the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def is_locked(self) -> bool:
        """Whether a living process holds the folder."""
        try:
            self.lock()
        except FileNotFoundError:
            return False
        except CannotStart:
            return True
        self.unlock()
        return False

    def require_space(self, megabytes: int) -> None:
        """Raise `CannotStart` when the disk has less than `megabytes` (10^6 bytes) left."""
        free = shutil.disk_usage(self.path).free // 1_000_000
        if free < megabytes:
            raise CannotStart(
                f"Only {free} MB are free on the disk of {self.path}, and the stack wants "
                f"{megabytes} MB: free some, or set QUARTET_STATE to a folder on another disk."
            )

    def port(self, name: str) -> int:
        """A free loopback port for `name`: the one that it had last time when that is free."""
        with self._changing:
            known: dict[str, int] = self._read("ports.json", {})
            port = known.get(name)
            if port is None or not is_free(port):
                taken = set(known.values())
                port = free_port(taken)
                self.write("ports.json", known | {name: port})
            return port

    def secret(self, name: str) -> str:
        """The password of `name`, made once."""
        with self._changing:
            known: dict[str, str] = self._read("secrets.json", {})
            if name not in known:
                known[name] = secrets.token_urlsafe(24)
                self.write("secrets.json", known)
            return known[name]

    def write(self, file: str, value: Any) -> Path:
        """Replace `file` by `value` as JSON, whole or not at all, readable by its owner alone."""
        path = self.path / file
        new = path.with_name(path.name + ".new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            json.dump(value, stream)
        new.replace(path)
        return path

    def read(self, file: str) -> Any:
        """The JSON value of `file`, or None when it is not there."""
        return self._read(file, None)

    def _read(self, file: str, default: Any) -> Any:
        try:
            return json.loads((self.path / file).read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return default


def is_free(port: int) -> bool:
    """Whether a server could listen on the loopback `port` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_port(taken: Collection[int] = ()) -> int:
    """A loopback port that nobody listens on at this moment, and no outgoing connection takes."""
    while True:
        port = random.choice(PORTS)  # noqa: S311 - a port, not a secret
        if port not in taken and is_free(port):
            return port
