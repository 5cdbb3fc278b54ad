"""Cross-origin access, answered at the door (Fetch Standard, 3.3). Tokens travel in a header and
not in a cookie, so a foreign page gains nothing by asking and no credentials are ever allowed.
"""

import re
from collections.abc import Mapping

Headers = list[tuple[bytes, bytes]]
_EXPOSED = (
    b"Quartet-Trace, Quartet-Position, X-Request-Id, Link, Location, Retry-After, "
    b"RateLimit, RateLimit-Policy, Server-Timing"
)
_USUAL = (
    b"Authorization, Content-Type, Last-Event-ID, Quartet-After, X-Request-Id, Traceparent, "
    b"Tracestate"
)
_MAX_AGE = b"7200"  # seconds; the longest that browsers keep to
_NAMES = re.compile(rb"[A-Za-z0-9-]+(?:[ \t]*,[ \t]*[A-Za-z0-9-]+)*")
_TIMING = b"timing-allow-origin"  # who may see where the time went (Resource Timing, 4.5.1)
_EXPOSE = (b"access-control-expose-headers", _EXPOSED)


class Cors:
    """Which origins may read replies; `*` is any."""

    def __init__(self, origins: tuple[str, ...]) -> None:
        self._any = "*" in origins
        self._origins = frozenset(origin.encode() for origin in origins)

    def headers(self, fields: Mapping[bytes, bytes]) -> Headers:
        """What every reply says to the request's origin."""
        if self._any:
            return [(b"access-control-allow-origin", b"*"), (_TIMING, b"*"), _EXPOSE]
        if not self._origins:
            return []
        vary = (b"vary", b"Origin")
        origin = fields.get(b"origin")
        if origin not in self._origins:
            return [vary]
        return [vary, (b"access-control-allow-origin", origin), (_TIMING, origin), _EXPOSE]

    def known(self, origin: bytes | None) -> bytes | None:
        """The origin, if what it hears differs from what all others do."""
        return origin if not self._any and origin in self._origins else None

    def preflight(self, fields: Mapping[bytes, bytes], allow: str) -> Headers:
        """What else a reply to OPTIONS says, if it is a preflight."""
        if b"access-control-request-method" not in fields:
            return []
        asked = fields.get(b"access-control-request-headers", b"")
        return [
            (b"access-control-allow-methods", allow.encode()),
            (b"access-control-allow-headers", asked if _NAMES.fullmatch(asked) else _USUAL),
            (b"access-control-max-age", _MAX_AGE),
            (b"vary", b"Access-Control-Request-Method, Access-Control-Request-Headers"),
        ]
