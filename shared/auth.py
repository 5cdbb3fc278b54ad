"""Who calls: EdDSA tokens (RFC 7519, RFC 8037), verified anywhere by the users service's JWKS."""

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPSHandler,
    OpenerDirector,
)
from uuid import UUID

import jwt
import msgspec
import structlog
from quart import Quart, request

from shared.context import current_work
from shared.errors import Unauthorized, Unavailable

ALGORITHM = "EdDSA"
ISSUER = "quartet"
CLOCK_SKEW = 5.0  # seconds that two machines' clocks may differ
_REMEMBERED = 10_000
_PAUSE = 1.0  # seconds between two fetches, at least
_PAUSE_WITHOUT_KEYS = 0.1
_FETCH_SECONDS = 2.0
PATIENCE_SECONDS = 2.0
_SCHEMES = frozenset({"token", "bearer"})
_log = structlog.get_logger()


class Caller(msgspec.Struct, frozen=True):
    """The account that a valid token names, the token, and when that ends (Unix time)."""

    id: UUID
    token: str
    expires_at: float


class Verifier:
    """Verifies tokens by public keys, and remembers a verified one by its hash until it expires."""

    def __init__(self, keys: dict[str, Any] | None = None, jwks_url: str | None = None) -> None:
        self._keys = keys or {}
        self._url = jwks_url
        self._known: dict[bytes, tuple[float, Caller]] = {}
        self._fetched_at = 0.0
        self._fetching = asyncio.Lock()

    async def verify(self, token: str) -> Caller:
        """The caller that `token` names. Raises `Unauthorized`, or `Unavailable` while no key is
        known yet.
        """
        digest = hashlib.sha256(token.encode("utf-8", "replace")).digest()
        known = self._known.get(digest)
        if known is not None and known[0] > time.time():
            return known[1]
        caller = await self._verified(token)
        self._known[digest] = (caller.expires_at, caller)
        if len(self._known) > _REMEMBERED:
            del self._known[next(iter(self._known))]
        return caller

    async def _verified(self, token: str) -> Caller:
        try:
            key = await self._key(jwt.get_unverified_header(token).get("kid"))
            claims = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                issuer=ISSUER,
                leeway=CLOCK_SKEW,
                options={"require": ["exp", "iat", "sub", "iss"]},
            )
            return Caller(UUID(claims["sub"]), token, float(claims["exp"]))
        except (jwt.PyJWTError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise invalid_token() from error

    async def _key(self, kid: object) -> Any:
        if kid not in self._keys:
            await self.refresh()
        await self._first_keys()
        if not isinstance(kid, str) or kid not in self._keys:
            raise invalid_token()
        return self._keys[kid]

    async def _first_keys(self) -> None:
        """Services start together, and the first request may come before the first keys."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self._keys and self._url is not None and time.monotonic() < deadline:
            await asyncio.sleep(_PAUSE_WITHOUT_KEYS)
            await self.refresh()
        if not self._keys:
            raise Unavailable("The keys to verify tokens with are not known yet.")

    async def refresh(self) -> None:
        """Fetch the key set, at most once a second however many unknown keys are asked for. The
        last set stays in use while the users service is away.
        """
        if self._url is None:
            return
        async with self._fetching:
            pause = _PAUSE if self._keys else _PAUSE_WITHOUT_KEYS
            if time.monotonic() - self._fetched_at < pause:
                return
            with suppress(Exception):  # whatever was answered in place of a key set
                keys = await fetch_keys(self._url)
                if keys != self._keys:
                    self._known.clear()  # a token of a key that was withdrawn proves nothing
                self._keys = keys
            self._fetched_at = time.monotonic()

    async def check(self) -> None:
        """Raises `ConnectionError` while no key is known."""
        if not self._keys:
            raise ConnectionError("no key set was fetched yet")


async def fetch_keys(url: str) -> dict[str, Any]:
    """The public keys of a JWK Set (RFC 7517) at an http or file address, by key id."""
    return public_keys(msgspec.json.decode(await asyncio.to_thread(_read, url)))


def _read(url: str) -> bytes:
    """By the standard library, in a thread: an HTTP client for one question a minute would take
    nine megabytes of each service.
    """
    if url.startswith("file:"):
        return Path(url.removeprefix("file://")).read_bytes()
    with _opener.open(url, timeout=_FETCH_SECONDS) as response:
        data: bytes = response.read()
        return data


def _direct() -> OpenerDirector:
    """Opens http and https, by no proxy that the environment may name, and follows nothing."""
    opener = OpenerDirector()
    for handler in (HTTPHandler(), HTTPSHandler(), HTTPDefaultErrorHandler(), HTTPErrorProcessor()):
        opener.add_handler(handler)
    return opener


_opener = _direct()


def public_keys(jwks: dict[str, Any]) -> dict[str, Any]:
    """The public keys of a JWK Set, by key id. Raises `jwt.PyJWKSetError`."""
    return {key.key_id: key.key for key in jwt.PyJWKSet.from_dict(jwks).keys if key.key_id}


def use_verifier(app: Quart, jwks_url: str, *, essential: bool = False) -> None:
    """Give `app` a verifier whose keys are fetched in the background, again and again until the
    first success and then every minute. `essential`: not ready until there are keys.
    """
    checks = app.extensions["checks" if essential else "soft_checks"]

    @app.while_serving
    async def verifier() -> AsyncGenerator[None, None]:
        verifier = Verifier(jwks_url=jwks_url)
        app.extensions["verifier"] = verifier
        checks["keys"] = verifier.check
        task = asyncio.create_task(_keep_fresh(verifier))
        try:
            yield
        finally:
            task.cancel()


async def _keep_fresh(verifier: Verifier) -> None:
    pause = 0.25
    while True:
        await verifier.refresh()
        with suppress(ConnectionError):
            await verifier.check()
            pause = 60.0
        await asyncio.sleep(pause)


def bearer(authorization: str) -> str:
    """The token of an `Authorization` header, `Token …` or `Bearer …`. Raises `Unauthorized`."""
    scheme, _, token = authorization.strip().partition(" ")
    if not authorization or (scheme.lower() in _SCHEMES and not token.strip()):
        raise Unauthorized("A token is required.", errors={"token": ["is missing"]})
    if scheme.lower() not in _SCHEMES:
        raise invalid_token()
    return token.strip()


def invalid_token() -> Unauthorized:
    """The one answer to every kind of wrong token."""
    return Unauthorized("The token is not valid.", errors={"token": ["is invalid"]})


async def identify(verifier: Verifier, *, required: bool) -> None:
    """Note the caller of the current request. A wrong token is refused even where none is needed.

    Raises `Unauthorized`.
    """
    authorization = request.headers.get("Authorization", "")
    if not authorization and not required:
        return
    caller = await verifier.verify(bearer(authorization))
    request.caller = caller  # type: ignore[attr-defined]  # lives as long as the request
    work = current_work()
    if work is not None:
        work.account = caller.id


def caller() -> Caller:
    """The caller of a route with `access="required"`."""
    found = viewer()
    if found is None:
        raise Unauthorized("A token is required.", errors={"token": ["is missing"]})
    return found


def viewer() -> Caller | None:
    """The caller of a route with `access="optional"`; None where nobody has said who they are."""
    return getattr(request, "caller", None)
