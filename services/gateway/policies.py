"""What may change without a restart: how routes are treated, and how much one client may ask for.

`routes.py` says who serves what and who may call it, and how it is treated unless the file of
policies says otherwise. Both are read again when they change, and on SIGHUP.
"""

import asyncio
import re
import runpy
import signal
import tomllib
import traceback
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import structlog
from msgspec import UNSET, UnsetType
from quart import Quart

from services.gateway.limits.admission import ACCOUNT, ADDRESS, CLASSES, Quotas
from services.gateway.limits.gcra import MOST_A_SECOND, Policy
from services.gateway.settings import Settings
from services.gateway.table import Cache, Limit, Route, Table
from shared.background import background
from shared.settings import SettingsError

ROUTES = Path(__file__).with_name("routes.py")
LOOK_SECONDS = 1.0
_NAME = r"""("[^"]*"|'[^']*'|[\w-]+)"""
_HEADER = re.compile(rf"\[\s*{_NAME}\s*(?:\.\s*{_NAME})?")
_KEY = re.compile(rf"{_NAME}\s*[.=]")
_At = Annotated[int, msgspec.Meta(ge=1)]
_log = structlog.get_logger()
T = TypeVar("T")


class Quota(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """So many requests at once, and as many in each window of seconds thereafter."""

    quota: _At
    window: _At


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What of a route is otherwise than its entry says; `cache` "off" keeps nothing."""

    timeout: float | UnsetType = UNSET
    limit: Limit | UnsetType = UNSET
    cache: Cache | Literal["off"] | UnsetType = UNSET

    def of(self, route: Route, place: str) -> Route:
        """The route as it is to be."""
        said = {name: getattr(self, name) for name in self.__struct_fields__}
        told = {name: value for name, value in said.items() if value is not UNSET}
        if self.cache == "off":
            told["cache"] = None
        return msgspec.structs.replace(route, **told, place=place)


class Reading:
    """A file of policies, as it is written; what is wrong with it is gathered in `faults`."""

    def __init__(self, path: Path) -> None:
        self._name, self._text = path.name, ""
        self.faults: list[str] = []
        self._document = self._read(path)

    def _read(self, path: Path) -> Mapping[str, Any]:
        try:
            self._text = path.read_text()
            document = tomllib.loads(self._text)
        except (OSError, UnicodeDecodeError) as error:
            self.faults.append(f"{self._name}: {getattr(error, 'strerror', 'is no text')}")
        except tomllib.TOMLDecodeError as error:
            said = re.search(r"line (\d+)", str(error))
            line = said[1] if said else len(self._text.splitlines())  # "at end of document"
            self.faults.append(f"{self._name}:{line}: {error}")
        else:
            return document
        return {}

    def place(self, section: str, key: str = "") -> str:
        """The file, and the line where `key` of `section` begins."""
        inside = ""
        for number, line in enumerate(self._text.splitlines(), 1):
            text = line.strip()
            header, first = _HEADER.match(text), _KEY.match(text)
            name = first[1] if first else ""
            if header is not None:
                inside, name = header[1], header[2] or ""
            if inside == section and (not key or name.strip("\"'") == key):
                return f"{self._name}:{number}"
        return f"{self._name}:1"

    def entries(self, section: str, type_: type[T]) -> dict[str, T]:
        """What a section says, by name."""
        found: dict[str, T] = {}
        said = self._document.get(section, {})
        for key, value in said.items() if isinstance(said, dict) else ():
            try:
                found[key] = msgspec.convert(value, type_)
            except msgspec.ValidationError as error:
                self.fault(section, key, str(error))
        return found

    def fault(self, section: str, key: str, said: str) -> None:
        """Note what is wrong with an entry."""
        self.faults.append(f"{self.place(section, key)}: {key or section}: {said}")

    def check_sections(self, known: Iterable[str]) -> None:
        """Note what is no section."""
        for name, value in self._document.items():
            if name not in known or not isinstance(value, dict):
                self.fault(name, "", "no such section")


def read(path: Path, routes: Sequence[Route]) -> tuple[list[Route], Quotas]:
    """What a file of policies makes of `routes`, and its quotas. Raises `SettingsError`."""
    reading = Reading(path)
    reading.check_sections(("limits", "routes"))
    changes = reading.entries("routes", Change)
    named = {f"{route.method} {route.path}": route for route in routes}
    for key in changes.keys() - named:
        reading.fault("routes", key, "no such route")
    quotas = _quotas(reading)
    if reading.faults:
        raise SettingsError(reading.faults)
    for key, change in changes.items():
        named[key] = change.of(named[key], reading.place("routes", key))
    return list(named.values()), quotas


def _quotas(reading: Reading) -> Quotas:
    said = reading.entries("limits", Quota)
    told = {name: Policy(name, quota.quota, quota.window) for name, quota in said.items()}
    for name, quota in said.items():
        if quota.quota > MOST_A_SECOND * quota.window:
            reading.fault("limits", name, f"more than {MOST_A_SECOND} a second")
    for name in told.keys() - CLASSES.keys() - {ADDRESS.name, ACCOUNT.name}:
        reading.fault("limits", name, "no such limit")
    classes = {name: told.get(name, policy) for name, policy in CLASSES.items()}
    return Quotas(told.get(ADDRESS.name, ADDRESS), told.get(ACCOUNT.name, ACCOUNT), classes)


def run_table(path: Path) -> tuple[Route, ...]:
    """The routes that a table in Python lists. Raises `SettingsError`."""
    try:
        return tuple(runpy.run_path(str(path))["ROUTES"])
    except Exception as error:  # whatever stands in it
        line = error.lineno if isinstance(error, SyntaxError) else None
        for frame in traceback.extract_tb(error.__traceback__):
            line = frame.lineno if frame.filename == str(path) else line
        said = f"{path.name}:{line or 1}: {type(error).__name__}: {error}"
        raise SettingsError([said]) from error


class Policies:
    """What applies now: the routes in `table`, and `quotas`.

    Raises `SettingsError` where the file that it begins with is wrong.
    """

    def __init__(self, table: Table, path: Path | None) -> None:
        self._table, self._path = table, path
        self._routes, self.quotas = table.routes, Quotas()
        self._stamps = self._look()
        self._apply(self._routes)

    def refresh(self, *, anyway: bool = False) -> None:
        """Load what has changed. What is wrong is refused, and all stays as it was."""
        before, self._stamps = self._stamps, self._look()
        if before == self._stamps and not anyway:
            return
        try:
            edited = before[0] != self._stamps[0]
            self._apply(run_table(ROUTES) if edited else self._routes)
        except SettingsError as error:
            _log.error("policies refused; those before stay", faults=error.faults)
        else:
            _log.info("policies loaded")

    def _apply(self, routes: tuple[Route, ...]) -> None:
        changed, quotas = (routes, Quotas()) if self._path is None else read(self._path, routes)
        self._table.replace(changed)
        self._routes, self.quotas = routes, quotas

    def _look(self) -> tuple[tuple[int, int, int] | None, ...]:
        """What tells whether a file is another: a mounted ConfigMap changes by a new link."""
        return _stamp(ROUTES), _stamp(self._path) if self._path else None


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def use_policies(app: Quart, settings: Settings, table: Table) -> None:
    """Let the policies of `app` change while it serves. Raises `SettingsError`."""
    path = Path(settings.policies) if settings.policies else None
    policies = app.extensions["policies"] = Policies(table, path)

    @app.while_serving
    async def watch() -> AsyncGenerator[None, None]:
        told, loop = asyncio.Event(), asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, told.set)
        try:
            async with background(_watch(policies, told)):
                yield
        finally:
            loop.remove_signal_handler(signal.SIGHUP)


async def _watch(policies: Policies, told: asyncio.Event) -> None:
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await told.wait()
        policies.refresh(anyway=told.is_set())
        told.clear()
