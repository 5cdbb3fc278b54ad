"""Replies that are kept: what is kept of one, and the shelf of this process."""

import time
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Mapping
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from services.gateway.cache.purges import Demand
from services.gateway.messages.headers import Raw
from services.gateway.table import Cache, Route
from shared.tags import EVERYTHING

Fields = list[tuple[bytes, bytes]]
_OVERHEAD = 1_000  # bytes that an entry takes besides its text, roughly
_SAID_WHEN_UNCHANGED = frozenset({b"cache-control", b"content-location", b"etag", b"vary"})
_OF_ONE_REPLY = frozenset({b"etag", b"server-timing"})  # made anew, or true of one request only
_VARIES = frozenset({b"", b"authorization", b"origin"})  # who is anonymous has none; CORS is ours


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """A reply of status 200, ready to be sent. Moments are seconds since 1970.

    `proof` names the events of other services that the reply is known to have seen.
    """

    fields: Fields
    unchanged: Fields
    body: bytes
    etag: bytes
    tags: tuple[str, ...]
    proof: tuple[Demand, ...]
    born: float
    fresh_until: float

    @property
    def size(self) -> int:
        """Bytes of memory that it takes, roughly."""
        return len(self.body) + sum(len(n) + len(v) for n, v in self.fields) + _OVERHEAD


def entry(
    fields: Fields, body: bytes, policy: Cache, tags: tuple[str, ...], proof: tuple[Demand, ...]
) -> Entry | None:
    """What is kept of a reply; None if it must not be kept (RFC 9111, 3)."""
    named = dict(fields)
    control = directives(named.get(b"cache-control", b""))
    seconds = _lifetime(control, policy, tagged=bool(tags))
    varies = {name.strip().lower() for name in named.get(b"vary", b"").split(b",")}
    if seconds <= 0 or b"set-cookie" in named or not varies <= _VARIES:
        return None
    etag = named.get(b"etag", b"")
    if not etag or etag.startswith(b"W/"):
        etag = b'"' + blake2b(body, digest_size=16).hexdigest().encode() + b'"'
    fields = [(name, value) for name, value in fields if name not in _OF_ONE_REPLY]
    fields.append((b"etag", etag))
    if b"cache-control" not in named:
        # Browsers can't be told of changes: they ask each time, and mostly hear that none is.
        fields.append((b"cache-control", b"no-cache"))
    unchanged = [field for field in fields if field[0] in _SAID_WHEN_UNCHANGED]
    now = time.time()
    return Entry(fields, unchanged, body, etag, tags, proof, now, now + seconds)


def _lifetime(control: Mapping[bytes, bytes], policy: Cache, *, tagged: bool) -> float:
    """The table's, since purges end it; what can't be purged lives as long as its service says."""
    if b"no-store" in control or b"private" in control:
        return 0.0
    if tagged:
        return policy.seconds
    said = control.get(b"s-maxage", control.get(b"max-age", b""))
    return min(float(said), policy.seconds) if said.isdigit() else 0.0


def directives(value: bytes) -> dict[bytes, bytes]:
    """The directives of a `Cache-Control` (RFC 9111, 5.2)."""
    found = {}
    for part in value.lower().split(b","):
        name, _, argument = part.strip().partition(b"=")
        found[name] = argument.strip(b'"')
    return found


def unchanged_for(entry: Entry, if_none_match: bytes) -> bool:
    """Whether the client has this very reply already (RFC 9110, 13.1.2)."""
    wanted = {tag.strip().removeprefix(b"W/") for tag in if_none_match.split(b",")}
    return b"*" in wanted or entry.etag in wanted


def sent_of(entry: Entry, *, unchanged: bool) -> tuple[int, Fields, bytes]:
    """Status, fields and body of what is sent of an entry, to who has it already or not."""
    if unchanged:
        return 304, entry.unchanged, b""
    return 200, entry.fields, entry.body


def age(entry: Entry) -> bytes:
    """How many seconds ago it came (RFC 9111, 5.1)."""
    return b"%d" % max(0, int(time.time() - entry.born))


class Form(NamedTuple):
    """An entry as one kind of client gets it: what is the same in each such reply, with its fields
    as lines too. It is good while the table has these `routes`, of which one is its own.
    """

    status: int
    fields: Fields
    lines: bytes
    body: bytes
    route: Route
    routes: tuple[Route, ...]


class Kept:
    """An entry on the shelf, and the forms that it was sent in."""

    __slots__ = ("entry", "forms", "size")

    def __init__(self, entry: Entry) -> None:
        self.entry, self.size = entry, entry.size
        self.forms: dict[Hashable, Form] = {}


class Shelf:
    """Entries by key, up to so many bytes; the longest unused go first."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._size = 0
        self._entries: OrderedDict[bytes, Kept] = OrderedDict()
        self._tagged: dict[str, set[bytes]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, key: bytes) -> Entry | None:
        """The entry, if it is there; that is a use of it."""
        found = self.place(key)
        return None if found is None else found.entry

    def place(self, key: bytes) -> Kept | None:
        """The same, with its forms."""
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
        return found

    def add(self, key: bytes, kind: Hashable, form: Form) -> None:
        """Keep a form of the entry that is there, which takes room as well."""
        kept = self._entries.get(key)
        if kept is None:
            return
        size = _OVERHEAD + (0 if form.body is kept.entry.body else len(form.body))
        kept.forms[kind] = form
        kept.size += size
        self._size += size
        self._make_room()

    def put(self, key: bytes, entry: Entry) -> None:
        """Keep an entry in the place of any older one; one that is too large is not kept."""
        self.drop(key)
        if entry.size > self._most // 4:
            return
        self._entries[key] = Kept(entry)
        self._size += entry.size
        for tag in entry.tags:
            self._tagged.setdefault(tag, set()).add(key)
        self._make_room()

    def drop(self, key: bytes) -> None:
        """Forget an entry, if it is there."""
        kept = self._entries.pop(key, None)
        if kept is None:
            return
        self._size -= kept.size
        for tag in kept.entry.tags:
            keys = self._tagged[tag]
            keys.discard(key)
            if not keys:
                del self._tagged[tag]

    def purge(self, tags: Iterable[str]) -> set[bytes]:
        """Forget all that carries one of `tags`; gives the keys."""
        if EVERYTHING in tags:
            keys = set(self._entries)
        else:
            keys = set().union(*(self._tagged.get(tag, ()) for tag in tags))
        for key in keys:
            self.drop(key)
        return keys

    def _make_room(self) -> None:
        while self._size > self._most:
            self.drop(next(iter(self._entries)))


def read_tags(raw: Raw, name: bytes) -> tuple[str, ...]:
    """The tags that a service's reply names."""
    said = b",".join(value for field, value in raw if field.lower() == name)
    return tuple(part.strip() for part in said.decode("latin-1").split(",") if part.strip())
