"""A read waits for the event that its caller has seen, and not for ever."""

import asyncio
import threading
import time
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from quart import Quart
from quart.typing import TestClientProtocol as Client

from shared.applied import Applied, select_applied
from shared.errors import Unavailable
from shared.settings import DataSettings
from shared.testing import serving, until
from shared.tests.bells import create_beta, ring
from shared.tests.conftest import session

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)


async def test_a_read_sees_what_its_caller_wrote_elsewhere(
    alpha: Quart, beta_settings: DataSettings
) -> None:
    async with serving(create_beta(beta_settings)) as client:
        for number in range(100):
            position = await ring(alpha, f"{number:03}")
            response = await client.get(
                "/api/heard", headers={"Quartet-After": f"alpha={position}"}
            )
            assert (await response.get_json())["heard"][-1] == f"{number:03}"


async def test_a_read_gives_up_waiting_after_half_a_second(beta_settings: DataSettings) -> None:
    async with serving(create_beta(beta_settings)) as client:
        began = time.monotonic()
        response = await client.get("/api/heard", headers={"Quartet-After": "alpha=999"})
        assert response.status_code == 200
        assert time.monotonic() - began > 0.49


async def answered_within(seconds: float, client: Client, after: str) -> bool:
    """Whether a read was so quick; not every one is on a machine that has other things to do."""
    began = time.monotonic()
    response = await client.get("/api/heard", headers={"Quartet-After": after})
    assert response.status_code == 200
    return time.monotonic() - began < seconds


async def test_two_sources_are_waited_for_at_once(beta_settings: DataSettings) -> None:
    app = create_beta(beta_settings)
    async with serving(app) as client:
        app.extensions["publishers"] = frozenset({"alpha", "omega"})
        await until(lambda: answered_within(0.9, client, "alpha=999, omega=999"))


@pytest.mark.parametrize("header", ["gamma=1", "beta=7", "nonsense", "alpha=-1", "alpha=1e9", ""])
async def test_a_position_that_means_nothing_here_costs_no_time(
    beta_settings: DataSettings, header: str
) -> None:
    async with serving(create_beta(beta_settings)) as client:
        await until(lambda: answered_within(0.4, client, header))


async def test_what_another_replica_applied_counts(beta_settings: DataSettings) -> None:
    app = create_beta(beta_settings)
    async with serving(app), app.app_context():
        waiting = asyncio.create_task(Applied().wait_for("alpha", 5, 5))
        await take_in(beta_settings, 5, datetime.now(UTC))
        assert await waiting


async def test_a_moment_in_which_all_stands_still_is_not_waited(
    beta_settings: DataSettings,
) -> None:
    app = create_beta(beta_settings)
    async with serving(app), app.app_context():
        waiting = asyncio.create_task(Applied().wait_for("alpha", 5, 0.2))
        await asyncio.sleep(0.05)  # it naps
        threading.Event().wait(0.3)  # and so does the whole process
        await take_in(beta_settings, 5, datetime.now(UTC))
        assert await waiting


async def take_in(settings: DataSettings, position: int, at: datetime) -> None:
    async with session(settings.database_url) as db:
        await db.execute("INSERT INTO inbox VALUES ($1, 'alpha', $2, $3)", uuid4(), position, at)


async def test_a_smaller_position_than_all_is_not_applied_until_it_is(
    beta_settings: DataSettings,
) -> None:
    await take_in(beta_settings, 5, NOW)
    async with session(beta_settings.database_url) as db:
        assert not await select_applied(db, "alpha", 4, NOW - timedelta(hours=1))
        assert await select_applied(db, "alpha", 5, NOW - timedelta(hours=1))
        assert not await select_applied(db, "alpha", 6, NOW - timedelta(hours=1))


async def test_a_position_whose_row_was_cleaned_up_long_ago_is_applied(
    beta_settings: DataSettings,
) -> None:
    await take_in(beta_settings, 5, NOW - timedelta(hours=2))
    async with session(beta_settings.database_url) as db:
        assert await select_applied(db, "alpha", 4, NOW - timedelta(hours=1))


async def test_a_wait_ends_in_time_when_the_pool_is_exhausted(beta_settings: DataSettings) -> None:
    app = create_beta(beta_settings)
    async with serving(app), app.app_context():
        pool = app.extensions["database"]
        held = [await pool.acquire() for _ in range(pool.get_max_size())]
        assert not await Applied().wait_for("alpha", 1, 0.1)
        with pytest.raises(Unavailable):
            await Applied().wait_for("alpha", 1, 5)
        for db in held:
            await pool.release(db)


async def test_only_the_newest_are_remembered_in_memory(beta_settings: DataSettings) -> None:
    applied = Applied()
    for position in range(10_050):
        applied.add("alpha", position)
    app = create_beta(beta_settings)
    async with serving(app), app.app_context():
        assert await applied.wait_for("alpha", 10_049, 0.05)
        assert not await applied.wait_for("alpha", 1, 0.05)


async def test_a_reply_names_the_events_that_it_has_seen_and_no_others(
    alpha: Quart, beta_settings: DataSettings
) -> None:
    async with serving(create_beta(beta_settings)) as client:
        position = await ring(alpha, "seen")
        response = await client.get("/api/heard", headers={"Quartet-After": f"alpha={position}"})
        assert response.headers["Quartet-Applied"] == f"alpha={position}"
        for header in ("alpha=999999", "gamma=1", ""):
            response = await client.get("/api/heard", headers={"Quartet-After": header})
            assert "Quartet-Applied" not in response.headers
