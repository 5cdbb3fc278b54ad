"""What an operator can tell a service by hand: `python -m services.<name> <command>`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID

import asyncpg
import click
import msgspec
import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext

from shared.dead_letters import (
    DeadLetter,
    count_dead_letters,
    drop,
    retry,
    select_dead_letters,
    select_ids,
)
from shared.queues import Queue, measure
from shared.replay import resend, select_oldest
from shared.settings import DataSettings
from shared.snapshot import Snapshot, tell_all

EX_USAGE = 64  # sysexits.h
EX_TEMPFAIL = 75
SHOWN = 50  # dead letters
ERROR_WIDTH = 80
T = TypeVar("T")


class Service(msgspec.Struct, frozen=True):
    """Whom a command is for."""

    name: str
    settings: DataSettings
    snapshot: Snapshot | None


@asynccontextmanager
async def database(service: Service) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the command's own."""
    db = await asyncpg.connect(service.settings.database_url, timeout=5)
    try:
        yield db
    finally:
        await db.close()


@asynccontextmanager
async def jetstream(service: Service) -> AsyncIterator[JetStreamContext]:
    """JetStream, on a connection of the command's own. Left to itself, nats-py tries for two
    minutes, and tells of each time.
    """

    async def ignore(_: Exception) -> None: ...

    client = Client()
    await client.connect(
        service.settings.nats_url,
        name=service.name,
        connect_timeout=5,
        max_reconnect_attempts=1,
        reconnect_time_wait=0,
        error_cb=ignore,
    )
    try:
        yield client.jetstream(timeout=5)
    finally:
        await client.close()


def with_database(service: Service, work: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
    """What `work` returns."""

    async def run() -> T:
        async with database(service) as db:
            return await work(db)

    return asyncio.run(run())


def moment(text: str) -> datetime:
    """A time with its offset, as ISO 8601 writes it."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter(f"{text} is no time such as 2026-11-25T09:00Z") from error
    if found.tzinfo is None:
        raise click.BadParameter(f"{text} lacks an offset, such as Z")
    return found


@click.group()
def commands() -> None:
    """What an operator can tell a service."""


@commands.command()
@click.option("--since", type=moment, required=True, help="Such as 2026-11-25T09:00Z.")
@click.pass_obj
def replay(service: Service, since: datetime) -> None:
    """Send again what was published since; who has it already shrugs."""

    async def mark(db: asyncpg.Connection) -> tuple[int, datetime | None]:
        oldest = await select_oldest(db)
        return await resend(db, since, datetime.now(UTC)), oldest

    count, oldest = with_database(service, mark)
    if oldest is None or oldest > since:
        click.echo(f"What was published before {oldest or 'now'} is not kept any more.")
    click.echo(f"{count} events and jobs of {service.name} are sent again.")


@commands.command()
@click.pass_obj
def snapshot(service: Service) -> None:
    """Tell all that there is again, so that projections of it become whole."""
    if service.snapshot is None:
        raise click.UsageError(f"{service.name} publishes nothing that others keep.")
    told = service.snapshot
    count = with_database(service, lambda db: tell_all(db, told))
    click.echo(f"{service.name} tells all that there is again, in {count} events.")


@commands.command()
@click.pass_obj
def jobs(service: Service) -> None:
    """Show what waits, by queue."""

    async def measured() -> list[Queue]:
        async with jetstream(service) as stream:
            return await measure(lambda: database(service), stream, service.name, datetime.now(UTC))

    columns = ("queue", "depth", "oldest s", "in flight", "failed/min")
    rows = [
        (queue.name, queue.depth, queue.oldest_seconds, queue.in_flight, queue.failures_per_minute)
        for queue in asyncio.run(measured())
    ]
    show([columns, *rows])


@commands.group(invoke_without_command=True)
@click.pass_context
def dead_letters(context: click.Context) -> None:
    """Show what was set aside, the last first."""
    if context.invoked_subcommand is not None:
        return
    service: Service = context.obj

    async def page(db: asyncpg.Connection) -> tuple[int, list[DeadLetter]]:
        # Counted first: the list may hold one more by then, but never lacks one that is counted.
        return await count_dead_letters(db), await select_dead_letters(db, SHOWN)

    count, letters = with_database(service, page)
    columns = ("id", "subject", "failed at", "attempts", "error")
    rows = [
        (
            letter.id,
            letter.subject,
            f"{letter.failed_at:%Y-%m-%d %H:%M:%SZ}",
            letter.attempts,
            letter.error[:ERROR_WIDTH],
        )
        for letter in letters
    ]
    if count:
        show([columns, *rows])
    click.echo(f"{service.name} has set {count} aside.")


@dead_letters.command("retry")
@click.argument("which")
@click.pass_obj
def retry_letters(service: Service, which: str) -> None:
    """Deliver one again, by its id, or all."""

    async def deliver() -> int:
        async with database(service) as db, jetstream(service) as stream:
            ids = await select_ids(db) if which == "all" else [identifier(which)]
            return sum([await retry(db, stream, id_) for id_ in ids])

    count = asyncio.run(deliver())
    if not count and which != "all":
        raise click.UsageError(f"There is no dead letter {which}.")
    click.echo(f"{count} delivered again.")


@dead_letters.command("drop")
@click.argument("id", callback=lambda _, __, text: identifier(text))
@click.pass_obj
def drop_letter(service: Service, id: UUID) -> None:
    """Forget one."""
    if not with_database(service, lambda db: drop(db, id)):
        raise click.UsageError(f"There is no dead letter {id}.")
    click.echo("It is forgotten.")


def identifier(text: str) -> UUID:
    """An id."""
    try:
        return UUID(text)
    except ValueError as error:
        raise click.BadParameter(f"{text} is no id of a dead letter") from error


def show(rows: Sequence[Sequence[object]]) -> None:
    """A table, for people."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for row in texts:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


NAMES = tuple(commands.commands)


def obey(service: Service, arguments: list[str]) -> int:
    """Run one command; return the exit code."""
    try:
        commands.main(
            arguments, f"python -m services.{service.name}", standalone_mode=False, obj=service
        )
    except click.ClickException as error:
        error.show()
        return EX_USAGE
    except (OSError, asyncpg.PostgresError, nats.errors.Error) as error:
        click.echo(f"{service.name} can't do that now: {type(error).__name__}", err=True)
        return EX_TEMPFAIL
    return 0
