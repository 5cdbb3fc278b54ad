"""The request target, read once: what two readers could understand differently is refused."""

import re
from urllib.parse import unquote_to_bytes

from shared.errors import AppError, BadRequest

LONGEST_TARGET = 8192  # bytes; RFC 9110, 4.1 asks for 8,000
_PLAIN_PATH = re.compile(rb"(/[A-Za-z0-9_~!$&'()*+,;=:@-][A-Za-z0-9._~!$&'()*+,;=:@-]*)+/?")
_PATH = re.compile(rb"/(?:[!$&-\[\]-~\"]|%(?!2[fF]|5[cC])[0-9A-Fa-f]{2})*")
_QUERY = re.compile(rb"(?:[!-\"$-~])*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class TargetTooLong(AppError):
    """The request target is longer than anything here needs (RFC 9110, 15.5.15)."""

    status, title = 414, "URI Too Long"


def read(raw_path: bytes, query_string: bytes) -> str:
    """The path, decoded once and for all. The same bytes travel on, so the service behind reads
    what was checked here.

    Raises `BadRequest` for what is no absolute path, no valid UTF-8, or could be taken for another
    path: dot segments, empty segments, backslashes, encoded slashes, control characters. Raises
    `TargetTooLong`.
    """
    if len(raw_path) + len(query_string) > LONGEST_TARGET:
        raise TargetTooLong("The request target is too long.")
    if query_string:
        _check_query(query_string)
    if _PLAIN_PATH.fullmatch(raw_path):
        return raw_path.decode("ascii")
    return _decoded(raw_path)


def _decoded(raw_path: bytes) -> str:
    if not _PATH.fullmatch(raw_path):
        raise BadRequest("The path is malformed, or holds a backslash or an encoded slash.")
    path = _utf8(raw_path, "path")
    if _CONTROL.search(path):
        raise BadRequest("The path holds a control character.")
    segments = path.split("/")[1:]
    if "." in segments or ".." in segments:
        raise BadRequest("The path holds a dot segment.")
    if "" in segments[:-1]:
        raise BadRequest("The path holds an empty segment.")
    return path


def _check_query(query_string: bytes) -> None:
    if not _QUERY.fullmatch(query_string):
        raise BadRequest("The query holds a character that must be encoded.")
    if b"%" in query_string and "\0" in _utf8(query_string, "query"):
        raise BadRequest("The query holds a NUL character.")


def _utf8(raw: bytes, part: str) -> str:
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"The {part} is not valid UTF-8.") from error
