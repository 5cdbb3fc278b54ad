"""The table of routes: its entries, what makes one wrong, and finding one by path."""

import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import msgspec

from shared.http import Access
from shared.settings import SettingsError

# "gateway" is this one itself: what it composes of the services, and what it takes in.
Upstream: TypeAlias = Literal["users", "content", "notifications", "gateway"]
Method: TypeAlias = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
# What a route costs, or invites to; `limits/admission.py` says how much of it there is.
Limit: TypeAlias = Literal["read", "write", "login", "registration", "vitals"]
_PATH = re.compile(r"(/([a-z0-9._-]+|\{[a-z_]+\}))+")


class Cache(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long replies are kept, in seconds: `seconds` fresh; then served once more while a new one
    is fetched, for `swr`; and while the service fails, for `sie` (RFC 5861). `members`: replies are
    the same for callers with a token.
    """

    seconds: float
    swr: float = 0.0
    sie: float = 0.0
    members: bool = False


class Route(msgspec.Struct, frozen=True):
    """One operation: who serves it and who may call it. `{…}` in the path takes one segment.

    `timeout` (seconds) takes the place of the setting of that name. `limit` is the class whose
    quota a request counts against; without one, GET is a "read" and all else a "write". Replies
    are kept as `cache` says; without it they are not. `hedge` lets a read be sent to a second
    process when the first is late, where the settings allow that at all. A `stream` is a reply that
    may never end, and no time limits it once it has begun; a `websocket` is no request.

    `place` is where the entry is written, for people: the file and the line.
    """

    method: Method
    path: str
    upstream: Upstream
    access: Access
    timeout: float | None = None
    limit: Limit | None = None
    cache: Cache | None = None
    hedge: bool = False
    stream: bool = False
    websocket: bool = False
    place: str = ""

    def __post_init__(self) -> None:
        if not self.place:
            writer = sys._getframe(1)
            place = f"{Path(writer.f_code.co_filename).name}:{writer.f_lineno}"
            msgspec.structs.force_setattr(self, "place", place)


class WrongTable(SettingsError):
    """Entries that can't be used; the message names every one, and where it is written."""


class _Node:
    __slots__ = ("literals", "methods", "parameter")

    def __init__(self) -> None:
        self.literals: dict[str, _Node] = {}
        self.parameter: _Node | None = None
        self.methods: dict[str, Route] = {}


class Table:
    """Finds routes by path, in time that grows with the path's segments only.

    Raises `WrongTable`.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._root = _root(self.routes)

    def replace(self, routes: Iterable[Route]) -> None:
        """Find these from now on. Raises `WrongTable`, and then nothing has changed."""
        routes = tuple(routes)
        root = _root(routes)
        self.routes, self._root = routes, root

    def find(self, path: str) -> Mapping[str, Route]:
        """The routes at a path, by method; empty where there is nothing."""
        node = self._root
        for segment in path.split("/")[1:]:
            found = node.literals.get(segment) or (node.parameter if segment else None)
            if found is None:
                return {}
            node = found
        return node.methods


def _root(routes: Iterable[Route]) -> _Node:
    root, faults = _Node(), []
    for route in routes:
        fault = _fault(route) or _add(root, route)
        if fault:
            faults.append(f"{route.place}: route {route.method} {route.path}: {fault}")
    if faults:
        raise WrongTable(faults)
    _inherit(root)
    return root


def _add(node: _Node, route: Route) -> str:
    for segment in route.path.split("/")[1:]:
        if segment.startswith("{"):
            node.parameter = node.parameter or _Node()
            node = node.parameter
        else:
            node = node.literals.setdefault(segment, _Node())
    if route.method in node.methods:
        return f"is there twice, the first time in {node.methods[route.method].place}"
    node.methods[route.method] = route
    return ""


def _fault(route: Route) -> str:
    if route.method not in get_args(Method):
        return "no such method"
    if not _PATH.fullmatch(route.path):
        return "not a path of lower-case segments and {parameters}"
    if route.upstream not in get_args(Upstream):
        return f"no such upstream: {route.upstream}"
    if route.access not in get_args(Access):
        return f"no such access: {route.access}"
    if route.limit not in (None, *get_args(Limit)):
        return f"no such limit: {route.limit}"
    if route.timeout is not None and route.timeout <= 0:
        return "the timeout must be positive"
    if route.hedge and route.method != "GET":
        return "only a read can be sent twice"
    if (route.stream or route.websocket) and (route.method != "GET" or route.cache):
        return "only GET can be a stream or a WebSocket, and neither is kept"
    return _cache_fault(route)


def _cache_fault(route: Route) -> str:
    cache = route.cache
    if cache is None:
        return ""
    if route.method != "GET" or route.access == "required":
        return "only replies to GET that need no token can be kept"
    if cache.seconds <= 0 or cache.swr < 0 or cache.sie < 0:
        return "the times of the cache must be positive"
    if cache.members and route.access != "public":
        return "what depends on the caller can't be kept for members"
    return ""


def _inherit(node: _Node) -> None:
    """Let a literal segment know what the parameter beside it knows, so that finding never has
    to go back: `/articles/feed` is also an article's `/articles/{slug}`, for other methods.
    """
    for literal in node.literals.values():
        if node.parameter is not None:
            _take_over(literal, node.parameter)
        _inherit(literal)
    if node.parameter is not None:
        _inherit(node.parameter)


def _take_over(node: _Node, other: _Node) -> None:
    node.methods = other.methods | node.methods
    for segment, child in other.literals.items():
        _take_over(node.literals.setdefault(segment, _Node()), child)
    if other.parameter is not None:
        node.parameter = node.parameter or _Node()
        _take_over(node.parameter, other.parameter)


def allowed(methods: Iterable[str]) -> str:
    """The value of `Allow` (RFC 9110, 10.2.1): HEAD goes where GET goes, OPTIONS anywhere."""
    extra = {"OPTIONS"} | ({"HEAD"} if "GET" in set(methods) else set())
    return ", ".join(sorted(set(methods) | extra))
