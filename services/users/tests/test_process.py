"""The service as a process: its commands, its exit codes, and what it says of its users."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from deploy.local.servers import Servers
from deploy.local.state import free_port
from deploy.local.traces import received_spans
from services.users.tests.signing import SigningKey, jwks
from shared.testing import clean_database, until

SECRET = "somebody.secret@example.org"
USER = {"username": "somebody", "email": SECRET, "password": "a secret horse"}


async def started(command: str, environ: dict[str, str]) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.users",
        command,
        env={"PATH": os.environ["PATH"]} | environ,  # noqa: TID251  (a process of our own)
        stdout=asyncio.subprocess.PIPE,
    )


async def ended(process: Process) -> tuple[int | None, str]:
    """Its exit code and all that it said."""
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode, output.decode()


@pytest.fixture
async def environ(servers: Servers, current_key: SigningKey) -> dict[str, str]:
    return {
        "USERS_PORT": str(free_port()),
        "USERS_DATABASE_URL": await clean_database(servers.admin_url, "users_process"),
        "USERS_SIGNING_KEYS": jwks(current_key.jwk),
        "USERS_HASH_MEMORY_KIB": "64",
        "QUARTET_NATS_URL": servers.nats_url,
        "OTEL_EXPORTER_OTLP_ENDPOINT": servers.otlp_endpoint,
    }


@asynccontextmanager
async def connected(environ: dict[str, str]) -> AsyncIterator[aiohttp.ClientSession]:
    """A session with the service, once it is ready."""
    url = f"http://127.0.0.1:{environ['USERS_PORT']}"
    async with aiohttp.ClientSession(url) as session:

        async def ready() -> bool:
            try:
                async with session.get("/readyz") as response:
                    return response.status == 200
            except aiohttp.ClientConnectionError:
                return False

        await until(ready, seconds=30, what="readiness")
        yield session


async def test_nothing_is_said_of_an_address_or_a_password(
    servers: Servers, environ: dict[str, str]
) -> None:
    code, said = await ended(await started("migrate", environ))
    assert (code, "0001_users.sql" in said) == (0, True)
    process = await started("serve", environ)
    try:
        async with connected(environ) as session:
            token = await deeds(session)
    finally:
        process.send_signal(signal.SIGTERM)
        code, said = await ended(process)
    assert code == 0
    assert '"route": "/api/users"' in said

    spans = await until(lambda: asyncio.to_thread(exported, servers.traces_dir), what="the spans")
    for secret in (SECRET, "secret horse", token):
        assert secret not in said
        assert secret.encode() not in spans


def exported(folder: Path) -> bytes:
    """What the collector received, as it came; nothing while the last request is not in it."""
    if not any(span.name == "PUT /api/user" for span in received_spans(folder)):
        return b""
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


async def deeds(session: aiohttp.ClientSession) -> str:
    """Register twice, and log in wrongly; returns the token."""
    async with session.post("/api/users", json={"user": USER}) as response:
        token: str = (await response.json())["user"]["token"]
    async with session.post("/api/users", json={"user": USER | {"username": "x"}}) as response:
        assert response.status == 422
    async with session.post("/api/users/login", json={"user": USER}) as response:
        assert response.status == 200
    wrong = {"user": USER | {"password": "not a secret horse"}}
    async with session.post("/api/users/login", json=wrong) as response:
        assert response.status == 401
    headers = {"Authorization": f"Token {token}"}
    async with session.put("/api/user", json={"user": USER}, headers=headers) as response:
        assert response.status == 200
    return token


async def test_keys_that_can_not_be_used_are_exit_code_78(environ: dict[str, str]) -> None:
    code, said = await ended(await started("serve", environ | {"USERS_SIGNING_KEYS": "{}"}))
    assert code == 78
    assert "USERS_SIGNING_KEYS" in said
