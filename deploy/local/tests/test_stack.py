"""The suite as a whole, with stand-ins for the services."""

import asyncio
import json
import re
import signal
import stat
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from deploy.local import background, records, suite
from deploy.local.errors import CannotStart, ChildFailed
from deploy.local.reload import affected
from deploy.local.servers import Elsewhere, Servers
from deploy.local.stack import Stack
from deploy.local.state import is_free
from deploy.local.suite import PROCESSES, ROOT, WITH_DATABASE
from deploy.local.tests.conftest import Eventually

STANDIN = str(Path(__file__).with_name("standin.py"))


def standin(service: str) -> tuple[str, ...]:
    return (sys.executable, STANDIN, service)


@pytest.fixture(scope="session")
def elsewhere(servers: Servers) -> Elsewhere:
    """Most stacks here share the servers of the session: they are quicker to start so."""
    return Elsewhere(
        *(servers.admin_url, servers.nats_url, servers.redis_url, servers.otlp_endpoint),
        servers.smtp_url,
    )


@pytest.fixture(scope="session")
async def stack(
    tmp_path_factory: pytest.TempPathFactory, elsewhere: Elsewhere
) -> AsyncIterator[Stack]:
    state = tmp_path_factory.mktemp("stack")
    told = {"QUARTET_SERVER": "http1", "STANDIN_SICK": str(state)}
    async with Stack(state, elsewhere=elsewhere, told=told, command=standin) as running:
        yield running


async def told(stack: Stack, service: str) -> dict[str, str]:
    """The environment of a stand-in."""
    url = f"{stack.addresses.services[service]}/readyz"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        environ: dict[str, str] = json.loads(await response.read())
        return environ


def is_alive(pid: int) -> bool:
    return records.started(pid) is not None


async def test_all_services_run_and_are_in_the_table(stack: Stack) -> None:
    rows = {row.service: row for row in stack.table()}
    assert set(rows) == {"postgres", "nats", "valkey", "collector", "mail", *PROCESSES}
    for name in PROCESSES:
        assert rows[name].url == stack.addresses.services[name]
        assert rows[name].pid == stack.services[name].pid
        assert rows[name].ready_ms is not None
    assert rows["postgres"].pid is None
    assert "@" not in "".join(row.url for row in rows.values())


@pytest.mark.parametrize("name", WITH_DATABASE)
async def test_a_service_is_told_its_own_database(stack: Stack, name: str) -> None:
    environ = await told(stack, name)
    own = f"{name.upper()}_DATABASE_URL"
    assert environ[own] == stack.addresses.databases[name]
    assert [key for key in environ if key.endswith("_DATABASE_URL")] == [own]
    assert environ["OTEL_SERVICE_NAME"] == name
    assert environ["OTEL_EXPORTER_OTLP_ENDPOINT"] == stack.addresses.otlp
    assert environ["QUARTET_NATS_URL"] == stack.addresses.nats
    assert environ["QUARTET_SERVER"] == "http1"


async def test_the_gateway_is_told_its_peers(stack: Stack) -> None:
    environ = await told(stack, "gateway")
    for name in WITH_DATABASE:
        assert environ[f"GATEWAY_{name.upper()}_URL"] == stack.addresses.services[name]
    assert environ["QUARTET_REDIS_URL"] == stack.addresses.redis
    assert not any(key.endswith("_DATABASE_URL") for key in environ)


async def test_a_service_may_be_several_processes_and_the_gateway_is_told_of_all(
    tmp_path: Path, elsewhere: Elsewhere
) -> None:
    replicas = {"content": 3}
    async with Stack(tmp_path, elsewhere=elsewhere, command=standin, replicas=replicas) as stack:
        urls = [stack.addresses.services[name] for name in ("content", "content-2", "content-3")]
        assert len(set(urls)) == 3
        assert (await told(stack, "gateway"))["GATEWAY_CONTENT_URL"] == ",".join(urls)
        one, other = await told(stack, "content"), await told(stack, "content-2")
        assert {name for name in one if one[name] != other.get(name)} == {"CONTENT_PORT"}
        assert {"content", "content-2", "content-3"} <= {row.service for row in stack.table()}


async def test_the_worker_is_its_service_on_a_port_of_its_own(stack: Stack) -> None:
    worker, service = await told(stack, "worker"), await told(stack, "notifications")
    differing = {name for name in worker if worker[name] != service.get(name)}
    assert differing == {"NOTIFICATIONS_PORT", "OTEL_SERVICE_NAME"}
    assert suite.command("worker") == (*suite.command("notifications"), "worker")


async def test_notifications_alone_are_told_where_mail_goes(stack: Stack) -> None:
    environ = await told(stack, "worker")
    port = stack.addresses.smtp.rpartition(":")[2]
    assert environ["NOTIFICATIONS_SMTP_HOST"] == "127.0.0.1"
    assert environ["NOTIFICATIONS_SMTP_PORT"] == port
    assert environ["NOTIFICATIONS_SMTP_TLS"] == "none"
    assert environ["NOTIFICATIONS_PUBLIC_URL"] == stack.url
    assert len(environ["NOTIFICATIONS_UNSUBSCRIBE_KEY"]) >= 32
    for other in ("users", "content", "gateway"):
        assert not [name for name in await told(stack, other) if "SMTP" in name or "UNSUB" in name]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://mail.example.org", ("mail.example.org", "25", "none", "", "")),
        ("smtp://127.0.0.1:1025", ("127.0.0.1", "1025", "none", "", "")),
        ("smtp+starttls://u%40x:p%3Aw@h", ("h", "587", "starttls", "u@x", "p:w")),
        ("smtps://u:p@h", ("h", "465", "implicit", "u", "p")),
    ],
)
def test_a_mail_server_elsewhere_is_told_by_its_url(
    stack: Stack, url: str, expected: tuple[str, ...]
) -> None:
    addresses = replace(stack.addresses, smtp=url)
    environ = suite.environment("worker", addresses, suite.secrets(stack.state))
    names = ("HOST", "PORT", "TLS", "USER", "PASSWORD")
    assert tuple(environ[f"NOTIFICATIONS_SMTP_{name}"] for name in names) == expected


async def test_users_alone_is_told_the_signing_keys(stack: Stack) -> None:
    path = stack.state.path / "keys.json"
    assert (await told(stack, "users"))["USERS_SIGNING_KEYS_FILE"] == str(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (key,) = json.loads(path.read_text())["keys"]
    assert (key["kty"], key["crv"], key["alg"]) == ("OKP", "Ed25519", "EdDSA")
    assert len(key["kid"]) == len(key["d"]) == len(key["x"]) == 43
    assert "USERS_SIGNING_KEYS_FILE" not in await told(stack, "content")


async def test_the_administrators_login_is_no_services(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUARTET_POSTGRES_URL", stack.addresses.postgres)
    monkeypatch.setenv("QUARTET_SMTP_URL", "smtps://user:password@example.org")
    program = stack._service("users").program
    assert stack.addresses.postgres not in program.env.values()
    assert "QUARTET_SMTP_URL" not in program.env


async def test_a_killed_service_comes_back_on_its_port_and_the_others_stay(
    stack: Stack,
) -> None:
    content = stack.services["content"]
    before = {name: child.pid for name, child in stack.services.items()}
    restarts = content.restarts
    content.kill()
    await content.ready(20)
    assert content.restarts == restarts + 1
    after = {name: child.pid for name, child in stack.services.items()}
    assert after.pop("content") != before.pop("content")
    assert after == before
    assert await content.endpoint.is_ready()
    story = (stack.state.logs / "stack.log").read_text()
    assert "ended (signal SIGKILL); it starts again in 0.2 s" in story
    assert "is ready again" in story


async def test_one_that_keeps_dying_is_tried_again_and_the_others_stay(
    stack: Stack, eventually: Eventually
) -> None:
    content = stack.services["content"]
    others = [child for child in stack.services.values() if child is not content]
    before, restarts = [child.pid for child in others], content.restarts
    (stack.state.path / "content").touch()
    content.kill()
    await eventually(lambda: content.restarts >= restarts + 3)
    assert [child.pid for child in others] == before
    (stack.state.path / "content").unlink()
    await content.ready(20)


async def test_status_asks_servers_that_run_elsewhere(stack: Stack) -> None:
    rows = {row["service"]: row for row in await background.status(stack.state)}
    assert all(row["ready"] and row["ready_ms"] is not None for row in rows.values())
    assert rows["postgres"]["pid"] is None
    assert rows["users"]["pid"] == stack.services["users"].pid


async def test_one_that_is_asked_to_restart_often_is_not_taken_for_one_that_keeps_dying(
    stack: Stack,
) -> None:
    said = stack.state.logs / "stack.log"
    users = stack.services["users"]
    for _ in range(4):
        users.restart()
        await users.ready(30)
    pauses = re.findall(r"users ended .*starts again in ([0-9.]+) s", said.read_text())
    assert pauses[-3:] == ["0.2"] * 3


async def test_a_change_restarts_who_uses_it(stack: Stack) -> None:
    assert affected({ROOT / "services/users/app.py"}) == ["users"]
    assert affected({ROOT / "services/notifications/mail.py"}) == ["notifications", "worker"]
    assert affected({ROOT / "shared/http.py"}) == list(PROCESSES)
    users = stack.services["users"]
    before = users.pid
    users.restart()
    await users.ready(20)
    assert users.pid != before


async def test_a_service_that_cannot_start_fails_the_start_and_leaves_nothing(
    tmp_path: Path, elsewhere: Elsewhere
) -> None:
    told = {"STANDIN_FAILS": "users"}
    stack = Stack(tmp_path, elsewhere=elsewhere, told=told, command=standin)
    with pytest.raises(ChildFailed, match=r"migration of users failed \(exit code 78\)") as failed:
        await stack.start()
    assert "begins" in failed.value.output
    await stack.stop()
    assert list(stack.state.run.glob("*.json")) == []
    assert not stack.state.is_locked()


async def test_a_service_that_keeps_dying_fails_the_start_and_says_why(
    tmp_path: Path, elsewhere: Elsewhere
) -> None:
    told = {"STANDIN_FAILS": "gateway"}
    stack = Stack(tmp_path, elsewhere=elsewhere, told=told, command=standin)
    with pytest.raises(ChildFailed, match=r"gateway ended before it was ready \(exit code 78\)"):
        async with stack:
            pass
    assert list(stack.state.run.glob("*.json")) == []


async def test_one_that_does_not_stop_is_killed_and_all_end_within_ten_seconds(
    tmp_path: Path,
) -> None:
    told = {"STANDIN_STUBBORN": "gateway"}
    async with Stack(tmp_path, told=told, command=standin) as stack:
        pids = [row.pid for row in stack.table()]
        began = time.monotonic()
    assert time.monotonic() - began < 10
    assert all(pid is not None and not is_alive(pid) for pid in pids)


async def test_a_stack_keeps_its_ports_and_secrets(tmp_path: Path, elsewhere: Elsewhere) -> None:
    seen = []
    for _ in range(2):
        async with Stack(tmp_path, elsewhere=elsewhere, command=standin) as stack:
            keys = (tmp_path / "keys.json").read_text()
            seen.append((stack.addresses, keys))
    assert seen[0] == seen[1]


async def test_two_stacks_run_side_by_side(stack: Stack, tmp_path: Path) -> None:
    async with Stack(tmp_path, command=standin) as second:
        ours, theirs = (set(s.addresses.services.values()) for s in (stack, second))
        assert not ours & theirs
        assert all(child.is_ready for child in stack.services.values())


async def test_a_folder_holds_one_stack(stack: Stack) -> None:
    with pytest.raises(CannotStart, match="A stack already runs in"):
        await Stack(stack.state.path, command=standin).start()


async def test_a_port_in_use_is_told(tmp_path: Path, stack: Stack, elsewhere: Elsewhere) -> None:
    port = int(stack.url.rpartition(":")[2])
    with pytest.raises(CannotStart, match=f"Port {port} is in use"):
        async with Stack(tmp_path, port=port, elsewhere=elsewhere, command=standin):
            pass


async def test_a_full_disk_is_told(tmp_path: Path, elsewhere: Elsewhere) -> None:
    with pytest.raises(CannotStart, match=r"Only \d+ MB are free"):
        async with Stack(tmp_path, free_megabytes=10**9, elsewhere=elsewhere, command=standin):
            pass


async def test_data_of_another_major_version_are_told(tmp_path: Path) -> None:
    data = tmp_path / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("17\n")
    with pytest.raises(CannotStart, match=r"are of PostgreSQL 17, and this stack runs PostgreSQL"):
        async with Stack(tmp_path, command=standin):
            pass


async def test_a_server_elsewhere_that_does_not_answer_is_told(
    tmp_path: Path, servers: Servers
) -> None:
    port = next(port for port in range(40_000, 41_000) if is_free(port))
    nowhere = Elsewhere(servers.admin_url, f"nats://127.0.0.1:{port}", servers.redis_url)
    with pytest.raises(CannotStart, match=f"No nats answers at nats://127.0.0.1:{port}"):
        async with Stack(tmp_path, elsewhere=nowhere, command=standin):
            pass


SUPERVISOR = """
import asyncio, sys
from pathlib import Path
from deploy.local.stack import Stack

async def run():
    command = lambda name: (sys.executable, sys.argv[2], name)
    async with Stack(Path(sys.argv[1]), command=command):
        print("ready", flush=True)
        await asyncio.Event().wait()

asyncio.run(run())
"""


async def test_what_a_killed_supervisor_left_is_ended(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SUPERVISOR, tmp_path, STANDIN, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    pids = [json.loads(p.read_text())["pid"] for p in (tmp_path / "run").glob("*.json")]
    assert len(pids) == 5 + len(PROCESSES)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    async with Stack(tmp_path, command=standin) as stack:
        assert not any(is_alive(pid) for pid in pids)
        assert all(child.is_ready for child in stack.services.values())
