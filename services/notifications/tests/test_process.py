"""The service and its worker as processes, and what they say of those whom they write to."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import aiohttp
import asyncpg
import pytest

from deploy.local.mail import Mail, received_mails
from deploy.local.servers import Elsewhere, Servers
from deploy.local.state import free_port
from deploy.local.traces import received_spans
from services.notifications.model import ChannelsChange
from services.notifications.queries.preferences import upsert_preferences
from services.notifications.tests.facts import followed, registered
from services.notifications.tests.test_subscribers import telling
from shared.testing import clean_database, emit, until

ADA, BOB = uuid4(), uuid4()
ADDRESSES = [f"{name}.secret@example.org" for name in ("ada", "bob")]


@pytest.fixture
async def apart(servers: Servers, tmp_path: Path) -> AsyncIterator[Servers]:
    """A NATS of its own: on that of other tests, their service would take in half of the events."""
    async with Servers(tmp_path, elsewhere=Elsewhere(postgres=servers.admin_url)) as running:
        yield running


@pytest.fixture
async def environ(apart: Servers) -> dict[str, str]:
    url = await clean_database(apart.admin_url, "notifications_process")
    host, _, port = apart.smtp_url.removeprefix("smtp://").partition(":")
    return {
        "NOTIFICATIONS_DATABASE_URL": url,
        "NOTIFICATIONS_UNSUBSCRIBE_KEY": "k" * 32,
        "NOTIFICATIONS_SMTP_HOST": host,
        "NOTIFICATIONS_SMTP_PORT": port,
        "NOTIFICATIONS_SMTP_TLS": "none",
        "QUARTET_NATS_URL": apart.nats_url,
        "QUARTET_JWKS_URL": "file:///dev/null",
        "QUARTET_LOG_LEVEL": "debug",
        "OTEL_EXPORTER_OTLP_ENDPOINT": apart.otlp_endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }


async def started(command: str, environ: dict[str, str]) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.notifications",
        command,
        env={"PATH": os.environ["PATH"]} | environ,  # noqa: TID251  (a process of our own)
        stdout=asyncio.subprocess.PIPE,
    )


async def ended(process: Process) -> tuple[int | None, str]:
    """Its exit code and all that it said."""
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode, output.decode()


async def test_mail_is_sent_by_a_process_of_its_own_and_nobody_tells_to_whom(
    apart: Servers, environ: dict[str, str]
) -> None:
    assert (await ended(await started("migrate", environ)))[0] == 0
    port = free_port()
    processes = [
        await started("serve", environ | {"NOTIFICATIONS_PORT": str(free_port())}),
        await started("worker", environ | {"NOTIFICATIONS_PORT": str(port)}),
    ]
    try:
        await ready(port)
        mails = await deeds(apart, environ)
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        ends = [await ended(process) for process in processes]
    assert sorted(mail.subject for mail in mails) == [
        *("Welcome to Quartet, ada", "Welcome to Quartet, bob", "bob follows you now"),
    ]
    assert len({mail.message_id for mail in mails}) == 3
    spans = await until(lambda: asyncio.to_thread(exported, apart.traces_dir), what="the spans")
    for code, said in ends:
        assert code == 0
        assert "example.org" not in said
    assert b"example.org" not in spans
    assert '"job": "email.notification"' in ends[1][1]
    assert '"job"' not in ends[0][1]


async def ready(port: int) -> None:
    async with aiohttp.ClientSession() as session:

        async def answers() -> bool:
            try:
                async with session.get(f"http://127.0.0.1:{port}/readyz") as response:
                    return response.status == 200
            except aiohttp.ClientConnectionError:
                return False

        await until(answers, seconds=30, what="readiness")


async def deeds(servers: Servers, environ: dict[str, str]) -> list[Mail]:
    """Two register, and one follows the other; returns the mails."""
    db = await asyncpg.connect(environ["NOTIFICATIONS_DATABASE_URL"])
    await upsert_preferences(db, ADA, {"followed": ChannelsChange(email=True)})
    await db.close()
    async with telling(servers, "users") as of_users:
        await emit(
            of_users,
            registered(ADA, "ada", email=ADDRESSES[0]),
            registered(BOB, "bob", email=ADDRESSES[1]),
            followed(BOB, ADA),
            now=datetime.now(UTC),
        )

        async def arrived() -> list[Mail]:
            mails = [
                mail for mail in received_mails(servers.mail_dir) if mail.recipients[0] in ADDRESSES
            ]
            return mails if len(mails) >= 3 else []

        found: list[Mail] = await until(arrived, seconds=30, what="the mails")
        return found


def exported(folder: Path) -> bytes:
    """What the collector received, as it came; nothing while the last job is not in it."""
    if not any(span.name.endswith("email.notification") for span in received_spans(folder)):
        return b""
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))
