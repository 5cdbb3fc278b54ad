"""Each event takes effect once, whatever is delivered twice, fails, dies or comes late."""

import asyncio
import statistics
import time
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from msgspec import structs
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError
from quart import Quart

from deploy.local.servers import Servers
from shared.applied import Applied
from shared.database import Connection
from shared.events import Envelope
from shared.inbox import Delivery
from shared.settings import DataSettings
from shared.testing import serving, until
from shared.tests.bells import SOON, Rang, create_beta, hear, heard, ring
from shared.tests.conftest import session


async def hears(app: Quart, *names: str) -> None:
    """Wait until beta has heard exactly these."""
    expected = sorted(names)
    last: list[str] = []

    async def all_heard() -> bool:
        nonlocal last
        last = await heard(app)
        return last == expected

    try:
        await until(all_heard)
    except AssertionError:
        assert last == expected


def message_headers(position: int, **changed: str) -> dict[str, str]:
    """The headers of an event of alpha's."""
    headers = {
        "ce-id": str(uuid4()),
        "ce-source": "alpha",
        "ce-type": "alpha.rang.v1",
        "ce-time": datetime.now(UTC).isoformat(),
        "ce-sequence": str(position),
    }
    return headers | {name.replace("_", "-"): text for name, text in changed.items()}


async def test_an_event_takes_effect_within_milliseconds_of_its_commit(
    alpha: Quart, beta_settings: DataSettings
) -> None:
    beta = create_beta(beta_settings)
    seconds = []
    async with serving(beta):
        applied: Applied = beta.extensions["applied"]
        await applied_within(beta, applied, await ring(alpha, "first"))
        for number in range(100):
            position = await ring(alpha, str(number))
            began = time.perf_counter()
            await applied_within(beta, applied, position)
            seconds.append(time.perf_counter() - began)
    assert statistics.median(seconds) < 0.03


async def applied_within(app: Quart, applied: Applied, position: int) -> None:
    async with app.app_context():
        assert await applied.wait_for("alpha", position, 5)


async def test_events_that_wait_take_effect_in_few_transactions(
    alpha: Quart, beta_settings: DataSettings
) -> None:
    names = [f"{number:02}" for number in range(40)]
    await ring(alpha, *names)
    beta = create_beta(beta_settings)
    async with serving(beta):
        await hears(beta, *names)
    async with session(beta_settings.database_url) as db:
        commits = await db.fetchval("SELECT count(DISTINCT xmin::text) FROM inbox")
    assert commits <= 10


async def test_an_event_that_is_delivered_twice_takes_effect_once(
    alpha: Quart, beta_settings: DataSettings, jetstream: JetStreamContext
) -> None:
    beta = create_beta(beta_settings)
    async with serving(beta):
        await ring(alpha, "bell")
        await hears(beta, "bell")
        message = await jetstream.get_msg("alpha", 1)
        copy = {**(message.headers or {}), "Nats-Msg-Id": "beyond the window of duplicates"}
        await jetstream.publish("alpha.rang.v1", message.data or b"", headers=copy)
        await ring(alpha, "next")
        await hears(beta, "bell", "next")
    assert (await jetstream.stream_info("alpha")).state.messages == 3


async def test_a_consumer_that_was_deleted_is_made_again_and_repeats_no_effect(
    alpha: Quart, beta_settings: DataSettings, jetstream: JetStreamContext
) -> None:
    beta = create_beta(beta_settings)
    async with serving(beta):
        await ring(alpha, "one", "two")
        await hears(beta, "one", "two")
        await jetstream.delete_consumer("alpha", "beta")
        await ring(alpha, "three")
        await hears(beta, "one", "two", "three")


async def test_a_stream_that_was_deleted_is_read_again_without_a_second_effect(
    alpha: Quart, beta_settings: DataSettings, jetstream: JetStreamContext
) -> None:
    beta = create_beta(beta_settings)
    async with serving(beta):
        await ring(alpha, "one", "two")
        await hears(beta, "one", "two")
        await jetstream.delete_stream("alpha")
        await ring(alpha, "three")
        await hears(beta, "one", "two", "three")


async def test_a_poisonous_event_is_set_aside_and_its_neighbours_flow(
    alpha: Quart, beta_settings: DataSettings
) -> None:
    async def choke(db: Connection, event: Rang, envelope: Envelope) -> None:
        await hear(db, event, envelope)
        if event.name == "poison":
            raise ValueError("a NUL \0 and a surrogate \ud800")

    beta = create_beta(beta_settings, choke)
    async with serving(beta):
        await ring(alpha, "a", "poison", "b", "c")
        await hears(beta, "a", "b", "c")
        dead = await until(lambda: _dead_letter(beta_settings), what="the event set aside")
    assert (dead["subject"], dead["position"], dead["attempts"]) == ("alpha.rang.v1", 2, 3)
    assert dead["data"] == b'{"name":"poison"}'
    assert dead["error"].startswith("ValueError")
    assert "choke" in dead["traceback"]


async def _dead_letter(settings: DataSettings) -> Any:
    async with session(settings.database_url) as db:
        return await db.fetchrow(
            "SELECT subject, position, attempts, data, error, traceback FROM dead_letters LIMIT 1"
        )


async def test_an_event_whose_statement_never_ends_is_poison_too(
    alpha: Quart, beta_settings: DataSettings
) -> None:
    async def dawdle(db: Connection, event: Rang, envelope: Envelope) -> None:
        if event.name == "slow":
            await db.execute("SELECT pg_sleep(60)")
        await hear(db, event, envelope)

    hasty = structs.replace(beta_settings, statement_timeout=0.3)
    beta = create_beta(hasty, dawdle)
    async with serving(beta):
        await ring(alpha, "a", "slow", "b")
        await hears(beta, "a", "b")
        dead = await until(lambda: _dead_letter(beta_settings), what="the event set aside")
    assert dead["error"].startswith("TookTooLong")


async def test_an_event_that_fails_and_then_succeeds_takes_effect_once(
    alpha: Quart, beta_settings: DataSettings
) -> None:
    tries = 0

    async def stumble(db: Connection, event: Rang, envelope: Envelope) -> None:
        nonlocal tries
        tries += 1
        await hear(db, event, envelope)
        if tries < 3:
            raise RuntimeError

    beta = create_beta(beta_settings, stumble)
    async with serving(beta):
        await ring(alpha, "bell")
        await hears(beta, "bell")
    assert tries == 3
    assert await _dead_letter(beta_settings) is None


async def test_an_event_is_held_while_the_database_is_away(
    alpha: Quart, beta_settings: DataSettings
) -> None:
    tries = 0

    async def lose(db: Connection, event: Rang, envelope: Envelope) -> None:
        nonlocal tries
        tries += 1
        await hear(db, event, envelope)
        if tries <= 4:
            await db.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    beta = create_beta(beta_settings, lose)
    async with serving(beta):
        await ring(alpha, "bell")
        await hears(beta, "bell")
    assert tries == 5
    assert await _dead_letter(beta_settings) is None


async def test_a_message_that_is_no_event_is_dropped_and_its_neighbours_flow(
    alpha: Quart, beta_settings: DataSettings, jetstream: JetStreamContext
) -> None:
    beta = create_beta(beta_settings)
    async with serving(beta):
        await ring(alpha, "a")
        await hears(beta, "a")
        strange = [
            None,
            {"ce-id": "1"},
            message_headers(1, ce_id="no uuid"),
            message_headers(1, ce_source="gamma"),
            message_headers(1, ce_type="alpha.rang.v2"),
            message_headers(1, ce_time="today"),
            message_headers(1, ce_time="2026-01-01T00:00:00"),
            message_headers(0),
            message_headers(2**63),
            message_headers(1, ce_sequence="one"),
        ]
        for headers in strange:
            await jetstream.publish("alpha.rang.v1", b'{"name":"no"}', headers=headers)
        await ring(alpha, "b")
        await hears(beta, "a", "b")


async def test_an_event_that_nobody_handles_counts_as_applied(
    alpha: Quart, beta_settings: DataSettings, jetstream: JetStreamContext
) -> None:
    beta = create_beta(beta_settings)
    async with serving(beta):
        await ring(alpha, "a")
        await hears(beta, "a")
        headers = message_headers(2, ce_type="alpha.sang.v1")
        await jetstream.publish("alpha.sang.v1", b"{}", headers=headers)
        await applied_within(beta, beta.extensions["applied"], 2)


async def test_replicas_share_the_events_and_take_each_in_once(
    alpha: Quart, beta_settings: DataSettings, jetstream: JetStreamContext
) -> None:
    counts = [0, 0]

    def counting(replica: int) -> Any:
        async def count(db: Connection, event: Rang, envelope: Envelope) -> None:
            counts[replica] += 1
            await hear(db, event, envelope)

        return count

    first, second = (create_beta(beta_settings, counting(replica)) for replica in (0, 1))
    names = [f"{number:03}" for number in range(100)]
    async with serving(first), serving(second):
        await until(lambda: both_wait(jetstream), what="two replicas that ask for events")
        await ring(alpha, *names)
        await hears(first, *names)
    assert sum(counts) == 100
    assert min(counts) > 0


async def both_wait(jetstream: JetStreamContext) -> bool:
    try:
        return bool((await jetstream.consumer_info("alpha", "beta")).num_waiting == 2)
    except NotFoundError:
        return False


async def test_a_replica_that_stops_hands_its_event_to_another_at_once(
    alpha: Quart, beta_settings: DataSettings
) -> None:
    begun = asyncio.Event()

    async def hang(db: Connection, event: Rang, envelope: Envelope) -> None:
        await hear(db, event, envelope)
        begun.set()
        await asyncio.Event().wait()

    patient = Delivery(ack_wait=60.0)
    async with serving(create_beta(beta_settings, hang, patient)):
        await ring(alpha, "bell")
        await asyncio.wait_for(begun.wait(), 5)
    beta = create_beta(beta_settings, delivery=patient)
    async with serving(beta):
        await hears(beta, "bell")


async def test_an_event_that_takes_longer_than_the_ack_wait_is_delivered_once(
    alpha: Quart, beta_settings: DataSettings, jetstream: JetStreamContext
) -> None:
    async def linger(db: Connection, event: Rang, envelope: Envelope) -> None:
        await db.execute("SELECT pg_sleep(1.5)")
        await hear(db, event, envelope)

    brief = Delivery(ack_wait=0.4)
    first, second = (create_beta(beta_settings, linger, brief) for _ in range(2))
    async with serving(first), serving(second):
        await ring(alpha, "bell")
        await hears(first, "bell")
    assert (await jetstream.consumer_info("alpha", "beta")).delivered.consumer_seq == 1


async def test_a_smaller_position_that_commits_later_takes_effect(
    alpha: Quart, alpha_settings: DataSettings, beta_settings: DataSettings
) -> None:
    beta = create_beta(beta_settings)
    async with serving(beta), session(alpha_settings.database_url) as db:
        late = db.transaction()
        await late.start()
        await db.execute(
            """INSERT INTO outbox (id, subject, aggregate, data, traceparent, occurred_at)
               VALUES ($1, 'alpha.rang.v1', 'late', '{"name":"late"}', '', now())""",
            uuid4(),
        )
        await ring(alpha, "early")
        await hears(beta, "early")
        await late.commit()
        await hears(beta, "early", "late")


async def test_nothing_is_lost_when_nats_is_killed(
    alpha: Quart, beta_settings: DataSettings, servers: Servers
) -> None:
    beta = create_beta(beta_settings)
    names = [f"{number:03}" for number in range(200)]
    async with serving(beta):
        for name in names:
            await ring(alpha, name)
            if name in ("050", "120"):
                servers.children["nats"].kill()
        await hears(beta, *names)


@pytest.mark.parametrize(
    ("attempts", "seconds"), [(1, 0.2), (2, 0.4), (5, 3.2), (9, 30.0), (5000, 30.0)]
)
def test_pauses_double_up_to_the_longest(attempts: int, seconds: float) -> None:
    assert Delivery().pause(attempts) == seconds


async def test_a_soft_check_tells_whether_nats_answers(
    beta_settings: DataSettings, nats: Client
) -> None:
    async with serving(create_beta(beta_settings, delivery=SOON)) as client:

        async def answers() -> bool:
            checks = (await (await client.get("/readyz")).get_json())["checks"]
            return bool(checks["nats"] == checks["database"] == "ok")

        await until(answers)
