"""The real servers: they work, keep to themselves, and come back when they die."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import nats
import pytest
import redis.asyncio
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from deploy.local import identity, postgres, traces
from deploy.local.endpoint import without_secret
from deploy.local.errors import CannotStart
from deploy.local.servers import Elsewhere, Servers
from deploy.local.tests.conftest import Eventually
from deploy.local.traces import Span, received_spans
from shared import otlp


@pytest.fixture
async def databases(servers: Servers) -> AsyncIterator[tuple[str, str]]:
    names = ("users", "content")
    for name in names:
        await servers.create_database(name)
    yield names
    for name in names:
        await servers.drop_database(name)


async def test_a_login_owns_its_database(servers: Servers, databases: tuple[str, str]) -> None:
    connection = await asyncpg.connect(servers.postgres_url("users"))
    await connection.execute("CREATE TABLE t (id int)")
    assert await connection.fetchval("SELECT current_user || current_database()") == "usersusers"
    assert await connection.fetchval("SHOW server_version") > "18"
    await connection.close()


async def test_a_login_is_refused_on_the_others_database(
    servers: Servers, databases: tuple[str, str]
) -> None:
    foreign = servers.postgres_url("users").removesuffix("users") + "content"
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(foreign)


async def test_a_wrong_password_is_refused(servers: Servers, databases: tuple[str, str]) -> None:
    wrong = without_secret(servers.admin_url).replace("://", "://users:wrong@")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(wrong)


async def test_a_commit_waits_for_the_disk(servers: Servers) -> None:
    connection = await asyncpg.connect(servers.admin_url)
    settings = [
        await connection.fetchval("SELECT current_setting($1)", name)
        for name in ("fsync", "synchronous_commit", "full_page_writes")
    ]
    await connection.close()
    assert settings == ["on", "on", "on"]


async def test_jetstream_keeps_a_message(servers: Servers) -> None:
    client = await nats.connect(servers.nats_url)
    stream = client.jetstream()
    await stream.add_stream(name="kept", subjects=["kept.>"])
    assert (await stream.publish("kept.one", b"x")).seq == 1
    await stream.delete_stream("kept")
    await client.close()


async def test_valkey_wants_its_password(servers: Servers) -> None:
    async with redis.asyncio.from_url(servers.redis_url) as client:
        assert await client.set("key", "value")
        assert await client.get("key") == b"value"
    async with redis.asyncio.from_url(without_secret(servers.redis_url)) as client:
        with pytest.raises(redis.AuthenticationError):
            await client.get("key")


@pytest.mark.parametrize("compression", ["none", "gzip"])
async def test_what_the_collector_received_can_be_read(
    servers: Servers, eventually: Eventually, monkeypatch: pytest.MonkeyPatch, compression: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", servers.otlp_endpoint)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", compression)
    provider = TracerProvider(resource=Resource({"service.name": "users"}))
    provider.add_span_processor(SimpleSpanProcessor(otlp.Spans()))

    def work() -> str:
        with provider.get_tracer("test").start_as_current_span("register") as span:
            span.set_attribute("http.route", "/api/users")
        provider.shutdown()
        return format(span.get_span_context().trace_id, "032x")

    trace_id = await asyncio.to_thread(work)

    def received() -> list[Span]:
        return [s for s in received_spans(servers.traces_dir) if s.trace_id == trace_id]

    await eventually(lambda: bool(received()))
    span = received()[0]
    assert (span.service, span.name, span.parent_id) == ("users", "register", "")
    assert span.attributes["http.route"] == "/api/users"
    assert span.ended_at_ns >= span.started_at_ns


@pytest.mark.parametrize("name", ["postgres", "nats", "valkey", "collector"])
async def test_a_killed_server_comes_back_on_its_port(servers: Servers, name: str) -> None:
    child = servers.children[name]
    before = child.restarts
    child.kill()
    await child.ready(20)
    assert child.restarts == before + 1
    assert await child.endpoint.is_ready()


async def test_servers_elsewhere_are_used_and_not_started(servers: Servers, tmp_path: Path) -> None:
    elsewhere = Elsewhere(
        *(servers.admin_url, servers.nats_url, servers.redis_url, servers.otlp_endpoint),
        servers.smtp_url,
    )
    async with Servers(tmp_path, elsewhere=elsewhere) as second:
        assert second.children == {}
        assert second.nats_url == servers.nats_url
        assert second.smtp_url == servers.smtp_url
        url = await second.create_database("elsewhere")
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("SELECT current_database()") == "elsewhere"
        await connection.close()
        await second.drop_database("elsewhere")


async def test_databases_can_be_made_at_once(servers: Servers) -> None:
    names = [f"at_once_{number}" for number in range(4)]
    urls = await asyncio.gather(*(servers.create_database(name) for name in names))
    kept = json.loads((servers.state.path / "secrets.json").read_text())
    for name, url in zip(names, urls, strict=True):
        assert kept[f"database {name}"] in url
        await servers.drop_database(name)


async def test_an_administrator_who_is_no_superuser_will_do(servers: Servers) -> None:
    owner = await asyncpg.connect(servers.admin_url)
    await owner.execute("CREATE ROLE landlord LOGIN CREATEDB CREATEROLE PASSWORD 'secret'")
    landlord = postgres.database_url(servers.admin_url, "landlord", "secret")
    landlord = landlord.removesuffix("landlord") + "postgres"
    try:
        await postgres.create_database(landlord, "tenant", "one")
        await postgres.create_database(landlord, "tenant", "two")
        tenant = await asyncpg.connect(postgres.database_url(landlord, "tenant", "two"))
        await tenant.execute("CREATE TABLE t (id int)")
        await tenant.close()
        await postgres.drop_database(landlord, "tenant")
    finally:
        await owner.execute("DROP ROLE landlord")
        await owner.close()


async def test_a_pid_file_of_before_a_reboot_does_no_harm(tmp_path: Path) -> None:
    elsewhere = Elsewhere(nats="nats://n", redis="redis://r", otlp="http://o")
    servers = Servers(tmp_path, elsewhere=elsewhere)
    with pytest.raises(CannotStart, match="No nats answers at nats://n"):
        await servers.__aenter__()
    pid_file = tmp_path / "postgres" / "data" / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n")
    with pytest.raises(CannotStart, match="No nats answers at nats://n"):
        await servers.__aenter__()
    assert servers.children["postgres"].restarts == 0


def test_traces_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "FILE_LIMIT", 10)
    for _ in range(20):
        traces.append(tmp_path, b"x" * 10)
    assert len(list(tmp_path.glob("*.otlp"))) == traces.FILES


def test_postgres_is_not_run_as_root(tmp_path: Path) -> None:
    who = identity.for_postgres(tmp_path / "data", tmp_path, "INT")
    assert who is None if os.geteuid() else who is not None and who.uid != 0
