"""Keys that tests sign with: as the service does, and as it never would."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm

from shared.auth import ALGORITHM, ISSUER


class SigningKey:
    """An Ed25519 key pair with a key id."""

    def __init__(self, kid: str) -> None:
        self.kid = kid
        self.private = Ed25519PrivateKey.generate()
        self.jwk: dict[str, Any] = {"kid": kid, **json.loads(OKPAlgorithm.to_jwk(self.private))}
        self.public_jwk = {name: value for name, value in self.jwk.items() if name != "d"}

    def sign(self, claims: dict[str, Any], algorithm: str = ALGORITHM, **header: Any) -> str:
        """A token with any claims."""
        return jwt.encode(claims, self.private, algorithm, headers={"kid": self.kid} | header)

    def token(self, account: UUID) -> str:
        """A token as the service issues it."""
        return self.sign(claims(account))


def claims(account: UUID, **changes: Any) -> dict[str, Any]:
    """The claims of a good token, changed; a claim that becomes None is left out."""
    now = datetime.now(UTC)
    good = {"iss": ISSUER, "sub": str(account), "iat": now, "exp": now + timedelta(hours=1)}
    return {name: value for name, value in (good | changes).items() if value is not None}


def jwks(*keys: dict[str, Any]) -> str:
    """A JWK Set as the settings have it."""
    return json.dumps({"keys": list(keys)})
