"""Why bytes are no request that an app could answer."""

import httptools
import structlog

from shared.errors import AppError, BadRequest

_log = structlog.get_logger()


class HeadTooLarge(AppError):
    """The head is longer than anything here needs (RFC 6585, 5)."""

    status, title = 431, "Request Header Fields Too Large"


class VersionNotSupported(AppError):
    """The client speaks another version of HTTP (RFC 9110, 15.6.6)."""

    status, title = 505, "HTTP Version Not Supported"


class UnknownMethod(AppError):
    """A method that nobody has defined (RFC 9110, 9.1)."""

    status, title = 501, "Not Implemented"


def fault_of(error: httptools.HttpParserError) -> AppError:
    """What is told to the client of what the parser found."""
    if isinstance(error, httptools.HttpParserCallbackError):
        _log.error("a request can't be taken", exc_info=error.__context__)
        return AppError("The request could not be completed.")
    if isinstance(error, httptools.HttpParserInvalidMethodError):
        return UnknownMethod("There is no such method.")
    return BadRequest("The request is malformed.")
