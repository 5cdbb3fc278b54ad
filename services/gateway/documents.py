"""The suite's OpenAPI document, merged from what each service says of itself."""

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from services.gateway.operations import described
from services.gateway.table import Table
from services.gateway.upstream.upstreams import Upstreams
from shared.errors import PROBLEM_TYPE, AppError, Problem

Document = dict[str, Any]
FRESH_SECONDS = 5.0
_ASK_SECONDS = 2.0
_POINTER = "#/components/"
# What the gateway may answer for a service, besides what the service says of itself.
_OURS = {
    "429": "Too Many Requests",
    "502": "Bad Gateway",
    "503": "Service Unavailable",
    "504": "Gateway Timeout",
}


class Part(msgspec.Struct, frozen=True):
    """What of a service's document goes into the suite's."""

    paths: dict[str, dict[str, Any]]
    components: dict[str, dict[str, Any]] = {}


class Documents:
    """Asks the services for their documents, and remembers each for the time it is away."""

    def __init__(self, upstreams: Upstreams, table: Table, names: Iterable[str]) -> None:
        self._upstreams = upstreams
        self._table = table
        self._names = tuple(names)
        self._parts: dict[str, Part | None] = dict.fromkeys(self._names)
        self._parts["gateway"] = msgspec.convert(described(), Part)
        self._merged: Document = {}
        self._asked_at = float("-inf")
        self._asking = asyncio.Lock()

    async def merged(self) -> Document:
        """The suite's document, at most `FRESH_SECONDS` old. `x-unavailable` names the services
        whose part has never been seen.
        """
        async with self._asking:
            if time.monotonic() - self._asked_at > FRESH_SECONDS:
                await asyncio.gather(*(self._ask(name) for name in self._names))
                self._merged = merge(self._parts, self._table)
                self._asked_at = time.monotonic()
        return self._merged

    async def _ask(self, name: str) -> None:
        try:
            page = await self._upstreams.fetch(name, "/openapi.json", _ASK_SECONDS)
            self._parts[name] = msgspec.json.decode(page, type=Part)
        except (AppError, msgspec.DecodeError):
            return  # the part that was seen last stays


def merge(parts: Mapping[str, Part | None], table: Table) -> Document:
    """One document of all parts. Only operations that `table` lets through are named. Of two
    components of one name that differ, the later takes its service's name in front.
    """
    (_, schemas) = msgspec.json.schema_components(
        [Problem], ref_template=_POINTER + "schemas/{name}"
    )
    merged: Document = {
        "openapi": "3.1.0",
        "info": {"title": "Quartet", "version": "1", "summary": "A publishing community"},
        "servers": [{"url": "/"}],
        "tags": [],
        "paths": {},
        "components": {"schemas": schemas},
    }
    for name, part in parts.items():
        if part is not None:
            _add(merged, name, part, table)
    tags = dict.fromkeys(tag for op in _operations(merged["paths"]) for tag in op.get("tags", ()))
    merged["tags"] = [{"name": tag} for tag in tags]
    unavailable = [name for name, part in parts.items() if part is None]
    return merged | ({"x-unavailable": unavailable} if unavailable else {})


def _add(merged: Document, name: str, part: Part, table: Table) -> None:
    renamed = _renamed(part.components, merged["components"], name)
    for section, entries in _replaced(part.components, renamed).items():
        ours = merged["components"].setdefault(section, {})
        for key, value in entries.items():
            old = f"{_POINTER}{section}/{key}"
            ours[renamed.get(old, old).rsplit("/", 1)[1]] = value
    for path, item in _replaced(part.paths, renamed).items():
        kept = {
            method: operation | {"responses": _responses(operation)}
            for method, operation in item.items()
            if method.upper() in table.find(path)
        }
        if kept:
            merged["paths"][path] = kept


def _responses(operation: Document) -> Document:
    content = {PROBLEM_TYPE: {"schema": {"$ref": f"{_POINTER}schemas/Problem"}}}
    ours = {status: {"description": said, "content": content} for status, said in _OURS.items()}
    theirs: Document = operation.get("responses", {})
    return ours | theirs


def _operations(paths: Mapping[str, Mapping[str, Document]]) -> Iterator[Document]:
    for item in paths.values():
        yield from item.values()


def _renamed(
    theirs: Mapping[str, Mapping[str, Any]], ours: Mapping[str, Mapping[str, Any]], service: str
) -> dict[str, str]:
    """The new pointer of each component of `theirs` that differs from ours of the same name, or
    refers to one that does.
    """
    both = {
        f"{_POINTER}{section}/{key}": value
        for section, entries in theirs.items()
        for key, value in entries.items()
        if key in ours.get(section, {})
    }
    differ: set[str] = set()
    while True:
        more = {
            pointer
            for pointer, value in both.items()
            if value != _at(ours, pointer) or differ.intersection(_texts(value))
        }
        if more == differ:
            return {pointer: _prefixed(pointer, service) for pointer in differ}
        differ = more


def _at(components: Mapping[str, Mapping[str, Any]], pointer: str) -> Any:
    section, key = pointer.removeprefix(_POINTER).split("/", 1)
    return components[section][key]


def _prefixed(pointer: str, service: str) -> str:
    place, key = pointer.rsplit("/", 1)
    return f"{place}/{service.capitalize()}{key}"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def _replaced(value: Any, texts: Mapping[str, str]) -> Any:
    """`value` with each text that is a key of `texts` replaced, at any depth."""
    if isinstance(value, str):
        return texts.get(value, value)
    if isinstance(value, list):
        return [_replaced(item, texts) for item in value]
    if isinstance(value, dict):
        return {key: _replaced(item, texts) for key, item in value.items()}
    return value
