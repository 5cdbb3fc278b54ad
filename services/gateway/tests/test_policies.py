"""Policies change while the gateway runs, and wrong ones are refused by their line."""

import asyncio
import re
import signal
from pathlib import Path

import aiohttp
import pytest

from services.gateway.limits.admission import Quotas
from services.gateway.policies import Policies, read, run_table
from services.gateway.routes import ROUTES
from services.gateway.table import Cache, Table
from services.gateway.tests.behind import Behind, free_port
from services.gateway.tests.conftest import Told
from services.gateway.tests.running import running, start
from shared.settings import SettingsError
from shared.testing import until


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "policies.toml"


def test_what_the_file_says_takes_the_place_of_what_the_table_says(file: Path) -> None:
    file.write_text(
        """
[limits]
write = { quota = 7, window = 60 }
read = { quota = 1_000, window = 10 }

[routes]
"GET /api/tags" = { timeout = 2, cache = { seconds = 5 } }
"GET /api/articles" = { cache = "off" }

[routes."POST /api/users"]
limit = "write"
"""
    )
    table = Table(ROUTES)
    policies = Policies(table, file)
    tags = table.find("/api/tags")["GET"]
    assert (tags.timeout, tags.cache, tags.access) == (2.0, Cache(seconds=5), "public")
    assert table.find("/api/articles")["GET"].cache is None
    assert table.find("/api/users")["POST"].limit == "write"
    assert [str(policies.quotas.classes[name]) for name in ("write", "read")] == [
        "Policy(name='write', quota=7, window=60)",
        "Policy(name='read', quota=1000, window=10)",
    ]
    assert policies.quotas.address == Quotas().address
    assert len(table.routes) == len(ROUTES)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("\n[routes]\n\n'GET /api/x' = { timeout = 1 }", "4: GET /api/x: no such route"),
        ("[routes.\"GET /api/tags\"]\nlimit = 'none'", "1: GET /api/tags: .*'none'"),
        ("[routes]\n'GET /api/tags' = { upstream = 'users' }", "2: GET /api/tags: .*upstream"),
        ("[routes]\n'GET /api/tags' = { cache = { swr = 1 } }", "2: GET /api/tags: .*seconds"),
        ("[limits]\nwrite = { quota = 0, window = 1 }", "2: write: .*>= 1"),
        ("[limits]\nread = { quota = 20_001, window = 2 }", "2: read: more than 10000 a second"),
        ("[limits]\naddress = { quota = 1, window = 1 }\nx = { quota = 1, window = 1 }", "3: x"),
        ("\n[rotes]", "2: rotes: no such section"),
        ("[routes]\n'GET /api/tags' = {", "2: "),
    ],
)
def test_a_wrong_file_is_refused_by_its_lines(file: Path, text: str, fault: str) -> None:
    file.write_text(text)
    with pytest.raises(SettingsError, match=f"^policies.toml:{fault}"):
        read(file, ROUTES)


def test_what_only_the_table_can_refuse_is_named_by_its_line_too(file: Path) -> None:
    file.write_text("[routes]\n'POST /api/users' = { cache = { seconds = 1 } }")
    with pytest.raises(SettingsError, match=r"^policies.toml:2: route POST /api/users: only repl"):
        Policies(Table(ROUTES), file)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("Route('GET', '/api/x', 'users', 'public', limit='none'),", "route GET /api/x: no such"),
        ("Route('GET', '/api/x', 'users', 'public', speed=1),", "TypeError: .*speed"),
        ("Route('GET' 5),", "SyntaxError"),
    ],
)
def test_a_wrong_table_is_refused_by_its_line(tmp_path: Path, line: str, fault: str) -> None:
    path = tmp_path / "routes.py"
    path.write_text(f"from services.gateway.table import Route\n\nROUTES = (\n    {line}\n)\n")
    with pytest.raises(SettingsError, match=f"^routes.py:4: {fault}"):
        Table(run_table(path))


async def test_a_change_is_loaded_and_a_wrong_one_refused(
    folder: Path, session: aiohttp.ClientSession, told: Told, behind: Behind, file: Path
) -> None:
    def say(quota: object) -> None:
        file.with_suffix(".new").write_text(f"[limits]\nread = {{ quota = {quota}, window = 1 }}\n")
        file.with_suffix(".new").rename(file)  # as a mounted ConfigMap changes: all at once

    say(11)
    settings = told | {"GATEWAY_LIMITS": "on", "GATEWAY_POLICIES": str(file)}
    async with running(folder, session, settings) as gateway:

        async def limited_to(quota: int) -> bool:
            said = (await gateway.send("GET", "/api/tags")).headers["RateLimit-Policy"]
            return f'"read";q={quota};w=1' in said

        assert await limited_to(11)
        say(12)
        await until(lambda: limited_to(12), what="the change")
        say("'many'")
        refused = await gateway.logged(event="policies refused; those before stay")
        assert re.match("policies.toml:2: read: Expected `int`", refused["faults"][0])
        assert await limited_to(12)
        say(13)
        await until(lambda: limited_to(13), what="the right one")

        async def loaded() -> int:
            return sum(line.get("event") == "policies loaded" for line in await gateway.lines())

        before = await loaded()
        gateway.process.send_signal(signal.SIGHUP)

        async def once_more() -> bool:
            return await loaded() == before + 1

        await until(once_more, what="what the signal asks for")


async def test_a_wrong_file_keeps_the_gateway_from_starting(
    folder: Path, told: Told, file: Path
) -> None:
    wrong = "[limits]\n\nreads = { quota = 1, window = 1 }"
    await asyncio.to_thread(file.write_text, wrong)
    settings = {"GATEWAY_PORT": str(free_port()), "GATEWAY_POLICIES": str(file)}
    process, log = await start(folder, told | settings)
    assert await asyncio.wait_for(process.wait(), 15) == 78
    assert "policies.toml:3: reads: no such limit" in log.read_text()
