"""What of a message's header travels on, and what stays on its side of the gateway."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import chain
from typing import TypeAlias

from shared.errors import AppError, BadRequest

LARGEST = 16_384  # bytes of all names and values; less than the servers behind take
Raw = Iterable[tuple[bytes, bytes]]
Told: TypeAlias = list[tuple[str, str]]  # the fields of a request to a service
# RFC 9110, 7.6.1, and its older names.
_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# Said anew to the service, or a claim that only we may make.
_REQUEST_ONLY = frozenset(
    {
        b"baggage",
        b"content-length",
        b"expect",
        b"forwarded",
        b"host",
        b"traceparent",
        b"tracestate",
        b"via",
        b"x-real-ip",
        b"x-request-id",
    }
)
_REQUEST_PREFIXES = (b"quartet-", b"x-forwarded-")
_RESPONSE_ONLY = frozenset({b"date", b"server", b"x-request-id"})
_RESPONSE_PREFIXES = (b"quartet-", b"access-control-")
_POSITION = b"quartet-position"
_READ = frozenset(
    {
        b"accept",
        b"access-control-request-headers",
        b"access-control-request-method",
        b"authorization",
        b"connection",
        b"content-length",
        b"content-type",
        b"expect",
        b"host",
        b"idempotency-key",
        b"if-none-match",
        b"last-event-id",
        b"origin",
        b"quartet-after",
        b"traceparent",
        b"tracestate",
        b"transfer-encoding",
        b"user-agent",
        b"via",
        b"x-request-id",
    }
)
_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+;=:%\[\]-]*")


class HeadersTooLarge(AppError):
    """The header is longer than anything here needs (RFC 6585, 5)."""

    status, title = 431, "Request Header Fields Too Large"


def read(raw: Raw) -> dict[bytes, bytes]:
    """The fields that the gateway itself goes by; what is there twice is joined by commas, as
    RFC 9110, 5.2 reads it.
    """
    found: dict[bytes, bytes] = {}
    for name, value in raw:
        if name in _READ:
            found[name] = found[name] + b", " + value if name in found else value
    return found


def check(raw: Raw, found: Mapping[bytes, bytes], http_version: str) -> None:
    """Refuse a header that two readers could understand differently (RFC 9112, 3.2, 6.1, 6.3).

    Raises `BadRequest` or `HeadersTooLarge`.
    """
    if sum(map(len, chain.from_iterable(raw))) > LARGEST:
        raise HeadersTooLarge("The header is too large.")
    host = found.get(b"host", b"")
    if not is_host(host) and (host or http_version != "1.0"):
        raise BadRequest("The request must name one host.")
    length = found.get(b"content-length")
    if length is not None and not (length.isdigit() and len(length) < 19):
        raise BadRequest("The Content-Length is not one number.")
    if length is not None and b"transfer-encoding" in found:
        raise BadRequest("The body's length is given in two ways.")


def is_host(said: bytes) -> bool:
    """Whether this names one host."""
    return said != b"" and _HOST.fullmatch(said) is not None


def to_service(raw: Raw, connection: bytes | None) -> Told:
    """The fields of a request that go on to a service: none that its `Connection` names."""
    dropped = _not_to_service(connection)
    return [
        (name.decode("latin-1"), value.decode("utf-8", "replace"))
        for name, value in raw
        if name not in dropped and not name.startswith(_REQUEST_PREFIXES)
    ]


def to_client(raw: Raw, connection: bytes | None) -> list[tuple[bytes, bytes]]:
    """The fields of a service's reply that go on to the client, without those that its
    `Connection` names.
    """
    dropped = _not_to_client(connection)
    kept = []
    for name, value in raw:
        name = name.lower()
        if name in dropped or (name.startswith(_RESPONSE_PREFIXES) and name != _POSITION):
            continue
        kept.append((name, value))
    return kept


def by_name(raw: Raw) -> dict[bytes, bytes]:
    """The fields by lower-case name; what is there twice is joined by commas."""
    found: dict[bytes, bytes] = {}
    for name, value in raw:
        name = name.lower()
        found[name] = found[name] + b", " + value if name in found else value
    return found


@lru_cache(256)
def _not_to_service(connection: bytes | None) -> frozenset[bytes]:
    return _HOP_BY_HOP | _REQUEST_ONLY | _named(connection)


@lru_cache(256)
def _not_to_client(connection: bytes | None) -> frozenset[bytes]:
    return _HOP_BY_HOP | _RESPONSE_ONLY | _named(connection)


def _named(connection: bytes | None) -> frozenset[bytes]:
    if not connection:
        return frozenset()
    return frozenset(name.strip().lower() for name in connection.split(b","))
