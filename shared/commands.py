"""What an operator can tell a service by hand: `python -m services.<name> <command>`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TypeVar

import asyncpg
import click
import msgspec

from shared.replay import resend, select_oldest
from shared.settings import DataSettings
from shared.snapshot import Snapshot, tell_all

EX_USAGE = 64  # sysexits.h
EX_TEMPFAIL = 75
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
    except (OSError, asyncpg.PostgresError) as error:
        click.echo(f"{service.name} can't do that now: {type(error).__name__}", err=True)
        return EX_TEMPFAIL
    return 0
