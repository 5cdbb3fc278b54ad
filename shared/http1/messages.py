"""The heads of requests and replies, as the wire has them and as ASGI does."""

import time
from collections.abc import Collection
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, TypeAlias
from urllib.parse import unquote

from shared import errors
from shared.errors import AppError

Field: TypeAlias = tuple[bytes, bytes]
Ready: TypeAlias = tuple[int, bytes, bytes]  # status, lines of fields, and body of a whole reply
_STATUS = {one.value: b"HTTP/1.1 %d %s\r\n" % (one, one.phrase.encode()) for one in HTTPStatus}
_NO_TRACE = "0" * 32
_date = (0, b"")


def lines(fields: Collection[Field]) -> bytes:
    """Fields as lines of a head (RFC 9112, 5). Raises `ValueError` for one that would end early."""
    if not fields:
        return b""
    text = b"\r\n".join(map(b": ".join, fields))
    bare = text.replace(b"\r\n", b"")  # quicker than to count
    ends = (len(text) - len(bare)) // 2
    if ends != len(fields) - 1 or b"\r" in bare or b"\n" in bare or b"\0" in bare:
        raise ValueError("a header field holds a control character")
    return text + b"\r\n"


def status_line(status: int) -> bytes:
    """The first line of a reply."""
    return _STATUS.get(status) or b"HTTP/1.1 %d \r\n" % status


def date_line() -> bytes:
    """When a reply begins (RFC 9110, 6.6.1)."""
    global _date
    now = int(time.time())
    if _date[0] != now:
        _date = now, b"date: %b\r\n" % formatdate(now, usegmt=True).encode()
    return _date[1]


def reply(status: int, fields: list[Field], body: bytes) -> bytes:
    """A whole reply, the last of its connection."""
    fields = [*fields, (b"connection", b"close")]
    if b"content-length" not in dict(fields):
        fields.append((b"content-length", b"%d" % len(body)))
    return b"%b%b%b\r\n%b" % (status_line(status), date_line(), lines(fields), body)


def refusal(error: AppError, *told: Field) -> bytes:
    """What is said to who has sent no request that an app could answer."""
    fields = [(n.lower().encode(), v.encode()) for n, v in errors.headers(error).items()]
    return reply(error.status, [*fields, *told], errors.problem(error, _NO_TRACE))


def target_of(target: bytes, fields: list[Field]) -> dict[str, Any]:
    """The parts of a scope that a request's target and fields decide. A target that is a whole
    address names the host itself (RFC 9112, 3.2.2).
    """
    if target[:1] != b"/" and target[:4].lower() == b"http":
        authority, slash, rest = target.partition(b"://")[2].partition(b"/")
        fields = [(b"host", authority), *(field for field in fields if field[0] != b"host")]
        target = slash + rest or b"/"
    raw_path, _, query = target.partition(b"?")
    path = raw_path.decode("latin-1")
    path = unquote(path) if "%" in path else path
    return {"path": path, "raw_path": raw_path, "query_string": query, "headers": fields}
