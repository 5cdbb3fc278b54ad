"""Signing keys (RFC 8037) from the settings, and the tokens (RFC 7519) that they sign."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from jwt.utils import base64url_decode, base64url_encode
from quart import Quart, current_app

from services.users.settings import Settings
from shared.auth import ALGORITHM, ISSUER, Verifier, public_keys
from shared.settings import SettingsError

_NAME = "USERS_SIGNING_KEYS"


class Jwk(msgspec.Struct, frozen=True):
    """An Ed25519 key of a JWK Set; `d` is there in a private one."""

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    kid: Annotated[str, msgspec.Meta(min_length=1)]
    x: str
    d: str | None = None

    @property
    def public(self) -> Ed25519PublicKey:
        """Raises `ValueError`."""
        return Ed25519PublicKey.from_public_bytes(base64url_decode(self.x))

    @property
    def private(self) -> Ed25519PrivateKey | None:
        """None in a public key. Raises `ValueError`."""
        if self.d is None:
            return None
        return Ed25519PrivateKey.from_private_bytes(base64url_decode(self.d))


class JwkSet(msgspec.Struct, frozen=True):
    """The current key, and those that verify besides."""

    keys: Annotated[list[Jwk], msgspec.Meta(min_length=1)]


class Tokens:
    """Signs with the first of some keys."""

    def __init__(self, jwks: str, ttl: timedelta) -> None:
        """Raises `SettingsError` for a set that can't be used; it tells no value."""
        keys = _read(jwks)
        private = keys[0].private
        if private is None:
            raise SettingsError([f"{_NAME}: the first key has to be private (d)"])
        self._kid, self._private, self._ttl = keys[0].kid, private, ttl
        self.jwks = {"keys": [_published(key) for key in keys]}

    def issue(self, account: UUID, now: datetime) -> str:
        """A token that names `account` until it expires."""
        claims = {"iss": ISSUER, "sub": str(account), "iat": now, "exp": now + self._ttl}
        return jwt.encode(claims, self._private, ALGORITHM, headers={"kid": self._kid})


def _read(jwks: str) -> list[Jwk]:
    try:
        keys = msgspec.json.decode(jwks, type=JwkSet).keys
    except (msgspec.DecodeError, UnicodeError) as error:
        raise SettingsError([f"{_NAME}: {error}"]) from error
    faults = [fault for key in keys if (fault := _fault(key))]
    if len({key.kid for key in keys}) < len(keys):
        faults.append(f"{_NAME}: two keys have the same kid")
    if faults:
        raise SettingsError(faults)
    return keys


def _fault(key: Jwk) -> str | None:
    try:
        private, public = key.private, key.public
    except ValueError:
        return f"{_NAME}: the key {key.kid!r} is not 32 bytes of base64url"
    if private is not None and private.public_key() != public:
        return f"{_NAME}: the key {key.kid!r} has an x that is not of its d"
    return None


def _published(key: Jwk) -> dict[str, Any]:
    x = base64url_encode(key.public.public_bytes_raw()).decode()
    return {"kty": key.kty, "crv": key.crv, "kid": key.kid, "x": x, "use": "sig", "alg": ALGORITHM}


def use_tokens(app: Quart, settings: Settings) -> None:
    """Give `app` its signing keys, and a verifier of its own. Raises `SettingsError`."""
    tokens = Tokens(settings.signing_keys, timedelta(seconds=settings.token_ttl))
    app.extensions["tokens"] = tokens
    app.extensions["verifier"] = Verifier(public_keys(tokens.jwks))


def tokens() -> Tokens:
    """The current app's."""
    found: Tokens = current_app.extensions["tokens"]
    return found
