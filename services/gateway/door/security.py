"""What every reply tells browsers to forbid, where it does not say so itself."""

from collections.abc import Mapping

from services.gateway.settings import Settings

Fields = list[tuple[bytes, bytes]]
_ALWAYS = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"permissions-policy": b"camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    b"cross-origin-opener-policy": b"same-origin",
    # Data shows nothing and loads nothing; a page names what it needs in a policy of its own.
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
}
_HSTS = {b"strict-transport-security": b"max-age=31536000"}  # a year; RFC 6797, 6.1.1


class Security:
    """The fields for these settings. Where any origin may read replies by CORS, any may embed them;
    front ends of declared origins ask by CORS, which the resource policy does not concern.
    """

    def __init__(self, settings: Settings) -> None:
        anywhere = "*" in settings.allowed_origins
        policy = b"cross-origin" if anywhere else b"same-origin"
        plain = _ALWAYS | {b"cross-origin-resource-policy": policy}
        self._tls = plain | _HSTS
        # In production TLS ends here or before; over plain HTTP browsers ignore it.
        self._plain = self._tls if settings.env == "production" else plain

    def missing(self, said: Mapping[bytes, bytes], scheme: str) -> Fields:
        """What a reply that has `said` this still has to say."""
        wanted = self._tls if scheme == "https" else self._plain
        if wanted.keys().isdisjoint(said):
            return [*wanted.items()]
        return [field for field in wanted.items() if field[0] not in said]
