"""A service as a process: `python -m services.<name> [serve|migrate|await-migrations]`."""

import asyncio
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import structlog
from granian.constants import Interfaces
from granian.server.embed import Server as GranianServer
from hypercorn.asyncio import serve as serve_hypercorn
from hypercorn.config import Config

from shared.migrations import await_migrations, migrate
from shared.settings import EX_CONFIG, DataSettings, ServiceSettings, SettingsError, load
from shared.telemetry import start_logging, start_telemetry, stop_telemetry

S = TypeVar("S", bound=ServiceSettings)
KEEP_ALIVE_SECONDS = 75.0  # longer than any client of ours keeps an idle connection
SERVER_SECONDS = 60.0  # for a PostgreSQL that starts when we do
SCHEMA_SECONDS = 300.0  # for migrations that somebody else applies
_log = structlog.get_logger()


def main(
    name: str,
    settings_type: type[S],
    create_app: Callable[[S], Any],
    packages: Sequence[str] = (),
    arguments: Sequence[str] | None = None,
) -> int:
    """Run one command of a service; return the exit code. 78 tells of settings that can't be used.

    `packages` hold the migrations of the service's database, in order.
    """
    command = (sys.argv[1:] if arguments is None else list(arguments)) or ["serve"]
    start_logging(name, "info")
    try:
        return _obey(command, name, load(settings_type, name), create_app, packages)
    except SettingsError as error:
        _log.error("settings can't be used", faults=error.faults)
        return EX_CONFIG


def _obey(
    command: list[str],
    name: str,
    settings: S,
    create_app: Callable[[S], Any],
    packages: Sequence[str],
) -> int:
    if isinstance(settings, DataSettings) and command in (["migrate"], ["await-migrations"]):
        return asyncio.run(_bring_schema(command[0], settings.database_url, packages))
    if command != ["serve"]:
        known = ["serve", "migrate", "await-migrations"]
        _log.error("unknown command", command=command, known=known)
        return 64  # sysexits.h EX_USAGE
    start_telemetry(name, settings.log_level)
    try:
        return _run(settings, create_app(settings))
    finally:
        stop_telemetry()


async def _bring_schema(command: str, url: str, packages: Sequence[str]) -> int:
    """Apply the migrations, or wait until somebody else has; the server may be starting too."""
    if command == "migrate":
        _log.info("migrated", applied=await migrate(url, *packages, patience=SERVER_SECONDS))
        return 0
    missing = await await_migrations(url, *packages, patience=SCHEMA_SECONDS)
    if missing:
        _log.error("the database lacks migrations", missing=missing)
        return 75  # sysexits.h EX_TEMPFAIL
    return 0


def _run(settings: ServiceSettings, app: Any) -> int:
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_serve(settings, app))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    if sys.platform == "win32":
        return asyncio.new_event_loop
    import uvloop

    return uvloop.new_event_loop


async def _serve(settings: ServiceSettings, app: Any) -> int:
    """Serve until SIGTERM or SIGINT, then drain: end what runs, take nothing new, return 0."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if settings.server == "granian":
        await _serve_granian(settings, app, stop)
    else:
        await _serve_hypercorn(settings, app, stop)
    return 0


async def _serve_hypercorn(settings: ServiceSettings, app: Any, stop: asyncio.Event) -> None:
    config = Config()
    config.bind = [f"{settings.host}:{settings.port}"]
    config.keep_alive_timeout = KEEP_ALIVE_SECONDS
    config.graceful_timeout = settings.grace
    config.accesslog = None
    config.errorlog = None
    config.include_server_header = False
    await serve_hypercorn(app, config, shutdown_trigger=stop.wait)


async def _serve_granian(settings: ServiceSettings, app: Any, stop: asyncio.Event) -> None:
    server = GranianServer(
        app,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGI,
        log_enabled=False,
    )
    serving = asyncio.create_task(server.serve())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    server.stop()  # type: ignore[no-untyped-call]
    await serving
