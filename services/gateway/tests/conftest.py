"""Gateways on both servers, with one service behind them and a real Valkey beside."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import aiohttp
import pytest
from uuid_utils.compat import uuid7

from deploy.local.servers import Servers
from services.gateway.tests.behind import Behind, echo
from services.gateway.tests.running import Running, running
from shared.testing import Signer

Told = dict[str, str]


@pytest.fixture(scope="session")
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A client; it keeps no connection, so that none grows stale between tests."""
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session


@pytest.fixture(scope="session")
async def only_behind() -> AsyncIterator[Behind]:
    async with Behind().serving() as behind:
        yield behind


@pytest.fixture
def behind(only_behind: Behind) -> Behind:
    """The service behind, which echoes unless told otherwise."""
    only_behind.answer = only_behind.document = echo
    only_behind.requests.clear()
    return only_behind


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gateway")


@pytest.fixture(scope="session")
def signer(folder: Path) -> Signer:
    return Signer(folder)


@pytest.fixture
def account() -> UUID:
    return uuid7()


@pytest.fixture(scope="session")
def told(only_behind: Behind, servers: Servers, signer: Signer) -> Told:
    """Settings of a gateway; its times are short."""
    return {
        "GATEWAY_USERS_URL": only_behind.url,
        "GATEWAY_CONTENT_URL": only_behind.url,
        "GATEWAY_NOTIFICATIONS_URL": only_behind.url,
        "GATEWAY_REDIS_URL": servers.redis_url,
        "GATEWAY_NATS_URL": servers.nats_url,
        "GATEWAY_JWKS_URL": signer.jwks_url,
        "GATEWAY_TIMEOUT": "1.5",
        "GATEWAY_CLIENT_TIMEOUT": "3",
        "GATEWAY_GRACE": "3",
        "GATEWAY_ENV": "test",
        "GATEWAY_LIMITS": "off",
        "GATEWAY_CACHE": "off",
        "GATEWAY_METRICS_PORT": "0",
        "OTEL_EXPORTER_OTLP_ENDPOINT": servers.otlp_endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_METRICS_EXPORTER": "none",
    }


@pytest.fixture(scope="session", params=["http1", "hypercorn"])
async def gateway(
    request: pytest.FixtureRequest, folder: Path, session: aiohttp.ClientSession, told: Told
) -> AsyncIterator[Running]:
    """A gateway, on either server."""
    async with running(folder, session, told | {"GATEWAY_SERVER": request.param}) as gateway:
        yield gateway
