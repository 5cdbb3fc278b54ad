"""What operators tell a service by hand."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from quart import Quart
from structlog.testing import capture_logs

from shared.commands import EX_TEMPFAIL, EX_USAGE, Service, obey
from shared.database import Connection
from shared.events import Envelope
from shared.settings import DataSettings
from shared.snapshot import Fact, Kind, Snapshot
from shared.testing import serving, until
from shared.tests.bells import Rang, create_beta, hear, heard, ring
from shared.tests.conftest import session
from shared.tests.test_snapshot import AllTold

Told = tuple[int, str, str]
Tell = Callable[..., Awaitable[Told]]


@pytest.fixture
def tell(
    alpha_settings: DataSettings, beta_settings: DataSettings, capsys: pytest.CaptureFixture[str]
) -> Tell:
    """Give a toy service a command, as in a process of its own: what others log meanwhile is not
    its output.
    """
    settings = {"alpha": alpha_settings, "beta": beta_settings}

    async def tell(name: str, *arguments: str, snapshot: Snapshot | None = None) -> Told:
        capsys.readouterr()
        service = Service(name, settings[name], snapshot)
        with capture_logs():
            code = await asyncio.to_thread(obey, service, list(arguments))
        output, errors = capsys.readouterr()
        return code, output, errors

    return tell


async def sent(app: Quart) -> None:
    async def all_sent() -> bool:
        async with session(app.extensions["settings"].database_url) as db:
            row: Any = await db.fetchrow(
                "SELECT count(*) > 0 AND count(*) = count(published_at) AS sent FROM outbox"
            )
            return bool(row["sent"])

    await until(all_sent, what="everything published")


async def test_replay_sends_again_what_was_published_since(alpha: Quart, tell: Tell) -> None:
    await ring(alpha, "a", "b")
    await sent(alpha)
    code, output, _ = await tell("alpha", "replay", "--since", "2026-01-01T00:00Z")
    assert code == 0
    assert output.splitlines()[0].startswith("What was published before 20")
    assert output.splitlines()[1] == "2 events and jobs of alpha are sent again."
    await sent(alpha)
    tomorrow = "2199-01-01T00:00+02:00"
    _, output, _ = await tell("alpha", "replay", "--since", tomorrow)
    assert output == "0 events and jobs of alpha are sent again.\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("replay",),
        ("replay", "--since", "yesterday"),
        ("replay", "--since", "2026-01-01T00:00"),
        ("snapshot",),
        ("dead-letters", "retry"),
        ("dead-letters", "retry", "some"),
        ("dead-letters", "retry", str(UUID(int=1))),
        ("dead-letters", "drop", "all"),
        ("dead-letters", "drop", str(UUID(int=1))),
    ],
)
async def test_what_can_not_be_meant_is_refused(
    alpha: Quart, tell: Tell, arguments: tuple[str, ...]
) -> None:
    code, output, errors = await tell("alpha", *arguments)
    assert (code, output) == (EX_USAGE, "")
    assert errors.startswith(("Usage: python -m services.alpha", "Error: "))


@pytest.mark.parametrize("field", ["database_url", "nats_url"])
async def test_what_is_away_is_told_in_a_sentence(
    alpha_settings: DataSettings, capsys: pytest.CaptureFixture[str], field: str
) -> None:
    url = "postgresql://nobody@127.0.0.1:1/x" if field == "database_url" else "nats://127.0.0.1:1"
    service = Service("alpha", msgspec.structs.replace(alpha_settings, **{field: url}), None)
    assert await asyncio.to_thread(obey, service, ["jobs"]) == EX_TEMPFAIL
    assert capsys.readouterr().err.startswith("alpha can't do that now: ")


async def test_snapshot_tells_everything(
    alpha: Quart, alpha_settings: DataSettings, tell: Tell
) -> None:
    async def page(db: Connection, after: UUID, limit: int) -> list[Fact]:
        there = [Fact(UUID(int=1), Rang(name="a"), datetime.now(UTC))]
        return there if after == UUID(int=0) else []

    told = Snapshot((Kind(UUID(int=0), page),), AllTold)
    code, output, _ = await tell("alpha", "snapshot", snapshot=told)
    assert (code, output) == (0, "alpha tells all that there is again, in 1 events.\n")
    async with session(alpha_settings.database_url) as db:
        assert await db.fetchval("SELECT count(*) FROM outbox WHERE snapshot") == 2


async def test_jobs_shows_a_table(alpha: Quart, tell: Tell) -> None:
    code, output, _ = await tell("alpha", "jobs")
    lines = output.splitlines()
    assert code == 0
    assert lines[0].split("  ")[0] == "queue"
    assert lines[0].endswith("failed/min")
    assert [line.split("  ")[0] for line in lines[1:3]] == ["outbox", "outbox, again"]


async def test_dead_letters_are_shown_and_tried_again_and_forgotten(
    alpha: Quart, beta_settings: DataSettings, tell: Tell
) -> None:
    hated = {"tritone", "fifth"}

    async def choke(db: Connection, event: Rang, envelope: Envelope) -> None:
        await hear(db, event, envelope)
        if event.name in hated:
            raise ValueError(event.name)

    async with serving(beta := create_beta(beta_settings, choke)):
        code, output, _ = await tell("beta", "dead-letters")
        assert code == 0
        assert output.endswith("beta has set 0 aside.\n")
        await ring(alpha, "tritone", "fifth")

        async def aside() -> Any:
            _, output, _ = await tell("beta", "dead-letters")
            return output if output.endswith("beta has set 2 aside.\n") else None

        shown = (await until(aside, what="two dead letters")).splitlines()
        (id_,) = (line.split()[0] for line in shown if line.endswith("ValueError('fifth')"))
        assert (await tell("beta", "dead-letters", "drop", id_))[0] == 0
        hated.clear()
        code, output, _ = await tell("beta", "dead-letters", "retry", "all")
        assert (code, output) == (0, "1 delivered again.\n")

        async def heard_it() -> bool:
            return await heard(beta) == ["tritone"]

        await until(heard_it)
    assert (await tell("beta", "dead-letters", "retry", str(uuid4())))[0] == EX_USAGE
