"""Errors that a client may see, and their one shape on the wire (RFC 9457)."""

from collections.abc import Mapping
from typing import ClassVar

import msgspec

Faults = Mapping[str, list[str]]


class AppError(Exception):
    """A refusal that a client can understand. Subclasses name the condition and fix the status.

    `detail` is a sentence for people. `errors` maps a field to its faults, as RealWorld's front
    ends expect. `retry_after` is in seconds.
    """

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal Server Error"

    def __init__(
        self, detail: str = "", *, errors: Faults | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.errors = dict(errors or {})
        self.retry_after = retry_after


class BadRequest(AppError):
    """The request can't be read: malformed JSON, broken encoding, ambiguous framing."""

    status, title = 400, "Bad Request"


class Unauthorized(AppError):
    """No token, or one that proves nothing."""

    status, title = 401, "Unauthorized"


class Forbidden(AppError):
    """The caller is known, and may not do this."""

    status, title = 403, "Forbidden"


class NotFound(AppError):
    """There is no such thing, or not for this caller."""

    status, title = 404, "Not Found"


class MethodNotAllowed(AppError):
    """The path exists; this method on it does not (RFC 9110, 15.5.6)."""

    status, title = 405, "Method Not Allowed"


class Conflict(AppError):
    """The state of the resource forbids the change."""

    status, title = 409, "Conflict"


class TooLarge(AppError):
    """The body is over the limit."""

    status, title = 413, "Content Too Large"


class UnsupportedMediaType(AppError):
    """The body is of a type that we don't read."""

    status, title = 415, "Unsupported Media Type"


class Invalid(AppError):
    """The request can be read, but a field does not fit its rule."""

    status, title = 422, "Unprocessable Content"


class BadGateway(AppError):
    """An upstream answered nonsense, or broke off."""

    status, title = 502, "Bad Gateway"


class Unavailable(AppError):
    """Something that the answer needs is down or busy; trying again may help."""

    status, title = 503, "Service Unavailable"

    def __init__(
        self, detail: str = "", *, errors: Faults | None = None, retry_after: int | None = 1
    ) -> None:
        super().__init__(detail, errors=errors, retry_after=retry_after)


class GatewayTimeout(AppError):
    """An upstream did not answer within the deadline."""

    status, title = 504, "Gateway Timeout"


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 9457 problem document, with RealWorld's `errors` as its extension member."""

    type: str
    title: str
    status: int
    detail: str
    trace_id: str
    errors: dict[str, list[str]]


PROBLEM_TYPE = "application/problem+json"
_encode = msgspec.json.Encoder().encode


def problem(error: AppError, trace_id: str) -> bytes:
    """Render `error`. `errors.body` is always there, because RealWorld's schema requires it;
    it holds the detail only where no field is to blame, so that front ends don't say it twice.
    """
    faults = {field: list(said) for field, said in error.errors.items()}
    faults.setdefault("body", [] if faults else [error.detail])
    return _encode(
        Problem(
            type="urn:quartet:problem:" + error.title.lower().replace(" ", "-"),
            title=error.title,
            status=error.status,
            detail=error.detail,
            trace_id=trace_id,
            errors=faults,
        )
    )


def headers(error: AppError) -> dict[str, str]:
    """The headers that belong to the status: `Retry-After` (seconds), `WWW-Authenticate`."""
    extra = {"Content-Type": PROBLEM_TYPE, "Cache-Control": "no-store"}
    if error.retry_after is not None:
        extra["Retry-After"] = str(error.retry_after)
    if isinstance(error, Unauthorized):
        extra["WWW-Authenticate"] = "Bearer"
    return extra
