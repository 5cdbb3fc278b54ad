"""A toy service with one route that writes, and a client that can leave in the middle."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import msgspec
from quart import Quart, Response

from shared.auth import Verifier, fetch_keys, viewer
from shared.database import connection, transaction, use_database
from shared.errors import Conflict
from shared.http import body, operation, reply
from shared.outbox import publish
from shared.service import create_service
from shared.settings import DataSettings
from shared.testing import Signer, until
from shared.tests.bells import Rang


class Bell(msgspec.Struct, frozen=True):
    """Which bell to ring."""

    name: str


class Told(msgspec.Struct, frozen=True):
    """What nobody can make up a second time."""

    name: str
    secret: str


class Tower:
    """What the route does: it waits at the gate while `closed`, and fails while `broken`."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.begun = 0
        self.broken = False

    @operation(
        "Ring", "Ring a bell", access="optional", tag="Bells", body=Bell, returns={201: Told}
    )
    async def ring(self) -> Response:
        """Ring it, and publish that."""
        bell = await body(Bell)
        async with transaction() as db:
            await db.execute("INSERT INTO bells (name) VALUES ($1)", bell.name)
            await publish(db, Rang(name=bell.name), datetime.now(UTC))
            self.begun += 1
            await self.gate.wait()
            await db.fetchval("SELECT count(*) FROM bells")
            if self.broken:
                raise ZeroDivisionError("the rope broke")
            if bell.name == "taken":
                raise Conflict
        return reply(Told(bell.name, f"token-{uuid4()}"), 201, Cache_Control="no-store")

    @operation("Rest", "Sleep", access="optional", tag="Bells", returns={204: None})
    async def rest(self) -> Response:
        """Keep the database busy in a transaction."""
        async with transaction() as db:
            self.begun += 1
            await db.execute("SELECT pg_sleep(30)")
        return reply(status=204)

    @operation("Look", "Look", access="optional", tag="Bells", returns={200: None})
    async def look(self) -> Response:
        """Who called."""
        who = viewer()
        async with connection() as db:
            count = await db.fetchval("SELECT count(*) FROM bells")
        return reply({"bells": count, "viewer": str(who.id) if who else ""})

    async def has_begun(self, count: int = 1) -> None:
        """Wait until so many requests are in the midst of their transactions."""

        async def begun() -> bool:
            return self.begun >= count

        await until(begun, what=f"{count} requests")


@asynccontextmanager
async def standing(settings: DataSettings, signer: Signer) -> AsyncIterator[tuple[Quart, Tower]]:
    """The service, running."""
    app, tower = create_service("tower", settings), Tower()
    use_database(app, settings)
    app.extensions["verifier"] = Verifier(await fetch_keys(signer.jwks_url))
    app.add_url_rule("/api/bells", "ring", tower.ring, methods=["POST"])
    app.add_url_rule("/api/bells", "look", tower.look, methods=["GET"])
    app.add_url_rule("/api/rest", "rest", tower.rest, methods=["POST"])
    async with app.test_app():
        yield app, tower


class Reply(msgspec.Struct, frozen=True):
    """What the service answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def kept(self) -> tuple[int, dict[str, str], bytes]:
        """All but what tells this request from others."""
        own = {"quartet-trace": "", "server-timing": ""}  # of the one request
        return self.status, self.headers | own, self.body


class Call:
    """One request, as a server makes it (ASGI); the client may leave before the answer."""

    def __init__(self, app: Quart, method: str, path: str, body: bytes, **headers: str) -> None:
        self._incoming: asyncio.Queue[Any] = asyncio.Queue()
        self._incoming.put_nowait({"type": "http.request", "body": body, "more_body": False})
        self._sent: list[Any] = []
        scope: Any = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [
                (name.replace("_", "-").lower().encode(), value.encode())
                for name, value in {"Content-Type": "application/json", **headers}.items()
            ],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
        }
        self._task = asyncio.create_task(app(scope, self._incoming.get, self._send))

    async def _send(self, message: Any) -> None:
        self._sent.append(message)

    async def leave(self) -> None:
        """Close the connection, and wait until the service is done with it."""
        self._incoming.put_nowait({"type": "http.disconnect"})
        await asyncio.wait({self._task})

    async def reply(self) -> Reply:
        """What was answered."""
        await self._task
        start, *parts = self._sent
        headers = {name.decode().lower(): value.decode() for name, value in start["headers"]}
        return Reply(start["status"], headers, b"".join(part["body"] for part in parts))


def ring(app: Quart, name: str, key: str | None = None, **headers: str) -> Call:
    """Ring a bell, with a key if one is given."""
    if key is not None:
        headers["Idempotency_Key"] = key
    return Call(app, "POST", "/api/bells", msgspec.json.encode(Bell(name)), **headers)
