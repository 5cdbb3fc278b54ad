"""What services' tests share: databases on a real server, apps that serve, and signed callers."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm
from quart import Quart
from quart.typing import TestClientProtocol

from shared.auth import ALGORITHM, ISSUER
from shared.database import Connection
from shared.events import Event
from shared.migrations import migrate
from shared.outbox import publish


class Signer:
    """Signs tokens as the users service does, with a key of its own; `jwks_url` verifies them."""

    def __init__(self, folder: Path) -> None:
        self._key = Ed25519PrivateKey.generate()
        public = json.loads(OKPAlgorithm.to_jwk(self._key.public_key()))
        path = folder / "jwks.json"
        path.write_text(json.dumps({"keys": [public | {"kid": "test", "alg": ALGORITHM}]}))
        self.jwks_url = f"file://{path}"

    def token(self, account: UUID, *, now: datetime | None = None, **claims: object) -> str:
        """A token for `account` that was issued at `now` and lasts an hour."""
        issued = now or datetime.now(UTC)
        payload = {
            "sub": str(account),
            "iss": ISSUER,
            "iat": issued,
            "exp": issued + timedelta(hours=1),
        }
        return jwt.encode(payload | claims, self._key, ALGORITHM, headers={"kid": "test"})

    def headers(self, account: UUID) -> dict[str, str]:
        """The headers of a request by `account`."""
        return {"Authorization": f"Token {self.token(account)}"}


async def clean_database(admin_url: str, name: str, *packages: str) -> str:
    """A new, migrated database on a real server; returns its URL, with the same login."""
    admin = await asyncpg.connect(admin_url)
    try:
        await admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        await admin.execute(f'CREATE DATABASE "{name}"')
    finally:
        await admin.close()
    url = admin_url.rsplit("/", 1)[0] + f"/{name}"
    await migrate(url, *packages)
    return url


@asynccontextmanager
async def serving(app: Quart) -> AsyncIterator[TestClientProtocol]:
    """A client of `app`, with all its resources open."""
    async with app.test_app() as running:
        yield running.test_client()


async def until(
    condition: Callable[[], Awaitable[Any]], *, seconds: float = 30.0, what: str = "the condition"
) -> Any:
    """Wait until `condition` answers something true, and return that. Raises `AssertionError`."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        found = await condition()
        if found:
            return found
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"{what} did not come true within {seconds} s")
        await asyncio.sleep(0.01)


async def emit(db: Connection, *events: Event, now: datetime | None = None) -> list[int]:
    """Write events to an outbox, as another service would; returns their positions."""
    return [await publish(db, event, now or datetime.now(UTC)) for event in events]
