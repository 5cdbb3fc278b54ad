"""What was set aside can be tried again, with its effect once, or forgotten."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from quart import Quart

from shared.database import Connection
from shared.dead_letters import insert_dead_letter, retry, select_dead_letters
from shared.events import Envelope
from shared.settings import DataSettings
from shared.testing import serving, until
from shared.tests.bells import Rang, create_beta, hear, heard, ring
from shared.tests.conftest import session

Beta = tuple[Quart, Any]
LETTERS = "/internal/dead-letters"
_NOW = datetime(2026, 11, 25, tzinfo=UTC)


class Ear:
    """Takes bells in, but for those that it can't stand."""

    def __init__(self, *hated: str) -> None:
        self.hated = set(hated)
        self.envelopes: list[Envelope] = []

    async def hear(self, db: Connection, event: Rang, envelope: Envelope) -> None:
        self.envelopes.append(envelope)
        await hear(db, event, envelope)
        if event.name in self.hated:
            raise ValueError(f"not {event.name}")


@pytest.fixture
def ear() -> Ear:
    return Ear("tritone", "fifth")


@pytest.fixture
async def beta(beta_settings: DataSettings, ear: Ear) -> AsyncIterator[Beta]:
    app = create_beta(beta_settings, ear.hear)
    async with serving(app) as client:
        yield app, client


@pytest.fixture
async def db(beta_settings: DataSettings) -> AsyncIterator[asyncpg.Connection]:
    async with session(beta_settings.database_url) as db:
        yield db


async def set_aside(client: Any, count: int) -> list[Any]:
    """Wait until there are so many."""

    async def enough() -> Any:
        page = await (await client.get(LETTERS)).get_json()
        return page if page["count"] == count else None

    letters: list[Any] = (await until(enough, what=f"{count} dead letters"))["deadLetters"]
    return letters


async def hears(app: Quart, *names: str) -> None:
    async def all_heard() -> bool:
        return await heard(app) == sorted(names)

    await until(all_heard, what=f"{names}")


async def test_they_are_shown_the_last_first_with_all_that_is_known(
    alpha: Quart, beta: Beta
) -> None:
    _, client = beta
    await ring(alpha, "tritone")
    await set_aside(client, 1)
    await ring(alpha, "octave", "fifth")
    last, first = await set_aside(client, 2)
    assert (last["data"], first["data"]) == ('{"name":"fifth"}', '{"name":"tritone"}')
    assert (last["subject"], last["source"], last["position"]) == ("alpha.rang.v1", "alpha", 3)
    assert (last["attempts"], last["error"]) == (3, "ValueError('not fifth')")
    assert "in hear" in last["traceback"]
    assert len(last["traceId"]) == 32
    page = await (
        await client.get(f"{LETTERS}?limit=1&before={_path(last['failedAt'])}")
    ).get_json()
    assert page == {"deadLetters": [first], "count": 2}


def _path(moment: str) -> str:
    return moment.replace("+", "%2B")


async def test_one_that_is_tried_again_has_its_effect_and_is_gone(
    alpha: Quart, beta: Beta, ear: Ear
) -> None:
    app, client = beta
    await ring(alpha, "tritone")
    (letter,) = await set_aside(client, 1)
    ear.hated.clear()
    reply = await client.post(f"{LETTERS}/{letter['id']}/retry")
    assert (reply.status_code, await reply.get_json()) == (200, {"retried": 1})
    await hears(app, "tritone")
    await set_aside(client, 0)
    assert len(set(ear.envelopes)) == 1


async def test_all_are_tried_again_and_those_that_fail_are_there_again(
    alpha: Quart, beta: Beta, ear: Ear
) -> None:
    app, client = beta
    await ring(alpha, "tritone", "fifth")
    await set_aside(client, 2)
    ear.hated.remove("fifth")
    assert await (await client.post(f"{LETTERS}/retry")).get_json() == {"retried": 2}
    await hears(app, "fifth")
    (letter,) = await set_aside(client, 1)
    assert letter["error"] == "ValueError('not tritone')"


async def test_others_that_read_the_stream_shrug(alpha: Quart, beta: Beta, ear: Ear) -> None:
    app, client = beta
    await ring(alpha, "tritone")
    (letter,) = await set_aside(client, 1)
    ear.hated.clear()
    for _ in range(3):
        await client.post(f"{LETTERS}/{letter['id']}/retry")
    await ring(alpha, "octave")
    await hears(app, "octave", "tritone")


async def test_one_that_is_forgotten_is_gone(alpha: Quart, beta: Beta) -> None:
    _, client = beta
    await ring(alpha, "tritone")
    (letter,) = await set_aside(client, 1)
    assert (await client.delete(f"{LETTERS}/{letter['id']}")).status_code == 204
    await set_aside(client, 0)


@pytest.mark.parametrize("path", [f"{LETTERS}/{UUID(int=1)}/retry", f"{LETTERS}/{UUID(int=2)}"])
async def test_one_that_is_not_there_is_not_found(beta: Beta, path: str) -> None:
    _, client = beta
    method = "POST" if path.endswith("retry") else "DELETE"
    assert (await client.open(path, method=method)).status_code == 404


def letter(id_: UUID, error: str, **headers: str) -> dict[str, Any]:
    """What is set aside of an event that failed."""
    return {
        "message": Msg(Client(), "alpha.rang.v1", "", b'{"name":"x"}', headers),
        "envelope": Envelope(
            id=id_, source="alpha", position=7, subject="alpha.rang.v1", occurred_at=_NOW
        ),
        "error": ValueError(error),
        "attempts": 8,
    }


async def test_one_that_fails_before_it_could_be_forgotten_stays(
    db: asyncpg.Connection, alpha: Quart, jetstream: JetStreamContext
) -> None:
    """It may be set aside again while NATS still acknowledges."""
    id_ = uuid4()
    await insert_dead_letter(db, **letter(id_, "once", **{"ce-id": str(id_)}))
    await until(lambda: _exists(jetstream))

    class Slow:
        async def publish(self, *arguments: Any, **options: Any) -> None:
            await jetstream.publish(*arguments, **options)
            await insert_dead_letter(db, **letter(id_, "twice", **{"ce-id": str(id_)}))

    slow: Any = Slow()
    assert await retry(db, slow, id_)
    (kept,) = await select_dead_letters(db, 10)
    assert kept.error == "ValueError('twice')"


async def test_it_is_sent_as_it_came_but_for_its_message_id(
    db: asyncpg.Connection, alpha: Quart, jetstream: JetStreamContext
) -> None:
    id_ = uuid4()
    headers = {"ce-id": str(id_), "ce-time": "2026-01-01T00:00:00+00:00", "traceparent": "00-1"}
    await insert_dead_letter(db, **letter(id_, "x", **headers, **{"Nats-Msg-Id": "seen"}))
    await until(lambda: _exists(jetstream))
    await retry(db, jetstream, id_)
    sent = await jetstream.get_last_msg("alpha", "alpha.rang.v1")
    assert sent.headers is not None
    assert sent.headers.items() >= headers.items()
    assert sent.headers["Nats-Msg-Id"] not in ("seen", str(id_))
    assert sent.data == b'{"name":"x"}'


async def test_one_of_an_older_version_is_told_by_its_columns(
    db: asyncpg.Connection, alpha: Quart, jetstream: JetStreamContext
) -> None:
    id_ = uuid4()
    await insert_dead_letter(db, **letter(id_, "x"))
    await db.execute("UPDATE dead_letters SET headers = DEFAULT")
    await until(lambda: _exists(jetstream))
    await retry(db, jetstream, id_)
    sent = await jetstream.get_last_msg("alpha", "alpha.rang.v1")
    assert sent.headers is not None
    assert sent.headers["ce-id"] == str(id_)
    assert (sent.headers["ce-source"], sent.headers["ce-sequence"]) == ("alpha", "7")


async def _exists(jetstream: JetStreamContext) -> bool:
    return "alpha" in [info.config.name for info in await jetstream.streams_info()]
