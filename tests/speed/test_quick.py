"""The benchmarks run, compare like with like, and find the suite no slower than it was."""

import subprocess
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from bench import load
from bench.__main__ import fill, races
from bench.cases import LIST, QUICK, RACES
from bench.places import Places, places


@pytest.fixture(scope="module")
def tools() -> None:
    subprocess.run([load.BENCH / "setup.sh"], check=True, timeout=120)


@pytest.fixture(scope="module")
async def there(tools: None, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Places]:
    async with places(tmp_path_factory.mktemp("speed") / "suite", lambda *_: None) as there:
        await fill(there, users=50, articles=300)
        yield there


async def answer(session: aiohttp.ClientSession, url: str) -> Any:
    async with session.get(url) as reply:
        assert reply.status == 200, await reply.text()
        return await reply.json()


async def test_peers_say_what_content_says(there: Places) -> None:
    async with (
        there.opened("content", "fastapi", "flask") as doors,
        aiohttp.ClientSession() as session,
    ):
        ours, *peers = [door.url for door in doors]
        page = await answer(session, f"{ours}{LIST}?limit=3&offset=7")
        one = f"{LIST}/{page['articles'][0]['slug']}"
        for peer in peers:
            assert await answer(session, f"{peer}{LIST}?limit=3&offset=7") == page
            assert await answer(session, peer + one) == await answer(session, ours + one)


async def test_no_race_is_far_slower_than_it_was(there: Places) -> None:
    cases = [case for case in RACES if case.name in QUICK]
    for case, result in zip(cases, await races(there, cases, 1, 1), strict=True):
        assert result.ratio >= case.floor, case.title
