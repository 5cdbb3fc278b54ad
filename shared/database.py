"""The asyncpg pool of a service, and the transaction that its edge opens."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from typing import Any, LiteralString, Protocol

import asyncpg
from quart import Quart, current_app

from shared.context import current_work, seconds_left
from shared.errors import Unavailable
from shared.pressure import Pressure
from shared.settings import DataSettings
from shared.statements import CountedConnection

_UNREACHABLE = (
    OSError,  # refused, reset, or timed out: TimeoutError is one
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.QueryCanceledError,
    asyncpg.InternalClientError,  # used in the moment between the server's farewell and its end
)
# A statement is planned once and not for each of its values: lists would plan for longer than they
# run. So each must have a plan that is right for all values, as tests hold.
SESSION = {"plan_cache_mode": "force_generic_plan"}
_RELAY = 1  # its session is not of the pool
UNDO_SECONDS = 0.2  # that a caller waits while what failed is undone
_undoing: set[asyncio.Task[Any]] = set()


class Connection(Protocol):
    """The part of an asyncpg connection that queries use.

    Statements are `LiteralString`, so that building SQL from values is a type error.
    """

    async def execute(self, query: LiteralString, *args: object) -> str: ...
    async def executemany(
        self, command: LiteralString, args: Sequence[Sequence[object]]
    ) -> None: ...
    async def fetch(self, query: LiteralString, *args: object) -> list[Any]: ...
    async def fetchrow(self, query: LiteralString, *args: object) -> Any: ...
    async def fetchval(self, query: LiteralString, *args: object) -> Any: ...


class TooManyConnections(Exception):
    """The replicas of a service would open more connections than PostgreSQL lets them."""


async def check_room(db: Connection, settings: DataSettings) -> None:
    """Refuse to start what would fail later, under load. What other services take of the server is
    not known here; a limit of the role's own (`ALTER ROLE … CONNECTION LIMIT`) says what is ours.

    Raises `TooManyConnections`.
    """
    room: int = await db.fetchval(
        """SELECT least(
                    current_setting('max_connections')::int
                      - current_setting('superuser_reserved_connections')::int
                      - current_setting('reserved_connections')::int,
                    (SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = current_user),
                    (SELECT nullif(datconnlimit, -1) FROM pg_database
                      WHERE datname = current_database()))"""
    )
    wanted = settings.replicas * (settings.pool_max + _RELAY)
    if wanted > room:
        raise TooManyConnections(
            f"All replicas together may open {wanted} connections, and PostgreSQL has {room} for "
            "them: lower POOL_MAX, or raise max_connections."
        )


def use_database(app: Quart, settings: DataSettings) -> None:
    """Give `app` a pool for its life. The start fails if the database can't be reached, or has no
    room for all replicas.
    """

    pressure = Pressure(app.name)

    async def press(db: Any) -> None:
        db.pressure = pressure

    @app.while_serving
    async def pool() -> AsyncGenerator[None, None]:
        async with asyncpg.create_pool(
            settings.database_url,
            min_size=settings.pool_min,
            max_size=settings.pool_max,
            max_inactive_connection_lifetime=settings.pool_idle,
            connection_class=CountedConnection,
            init=press,
            reset=_keep_session,
            timeout=settings.pool_wait,
            command_timeout=settings.statement_timeout,
            server_settings={"application_name": app.name, **SESSION},
        ) as pool:
            await check_room(pool, settings)
            app.extensions |= {"database": pool, "pressure": pressure}
            app.extensions["pool_wait"] = settings.pool_wait
            app.extensions["checks"]["database"] = _answers(pool, pressure, settings.pool_wait)
            app.extensions["soft_checks"]["pool"] = pressure.check
            pressure.watch(pool)
            yield


async def _keep_session(_: object) -> None:
    """No statement of ours changes its session, so a round trip to reset it would be wasted."""


def _answers(pool: Any, pressure: Pressure, wait: float) -> Any:
    """Where others have all connections and get answers, there is no need to wait for one: a
    service with more to do than it can is ready, or it would drop out just when it is needed.
    """

    async def database_answers() -> None:
        if pressure.is_exhausted and pressure.is_answered:
            return
        async with _Reading(pool, pressure, wait) as db:
            await db.fetchval("SELECT 1")

    return database_answers


class _Reading:
    """A connection of the pool, within `wait` seconds. Raises `Unavailable` when there is none, or
    it breaks. A class, and not a generator as `open_transaction`: reads are many, and this is half
    of what a connection costs them.
    """

    __slots__ = ("_db", "_pool", "_pressure", "_wait")

    def __init__(self, pool: Any, pressure: Pressure, wait: float) -> None:
        self._pool, self._pressure, self._wait = pool, pressure, wait

    async def __aenter__(self) -> Any:
        with _unavailable, self._pressure.waiting():
            self._db = await self._pool.acquire(timeout=self._wait)
        return self._db

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            with _unavailable:
                await self._pool.release(self._db)
            return
        try:
            with _unavailable, _own_faults(self._db):
                raise error
        finally:
            await _undo(self._pool.release(self._db))


async def _undo(undoing: Coroutine[Any, Any, object]) -> None:
    """Roll back, and give the connection back. asyncpg waits for the server to say that it has
    cancelled a statement; one that says nothing must not keep the caller past the deadline, so this
    goes on without them.
    """
    task = asyncio.create_task(undoing)
    _undoing.add(task)
    task.add_done_callback(_undone)
    await asyncio.wait({task}, timeout=UNDO_SECONDS)


def _undone(task: asyncio.Task[Any]) -> None:
    _undoing.discard(task)
    if not task.cancelled():
        task.exception()  # the connection is closed, and the caller knows what was wrong before


@contextmanager
def _own_faults(db: Any) -> Iterator[None]:
    """Such as a wrong number of arguments: a fault of ours, and no outage."""
    try:
        yield
    except asyncpg.InterfaceError as error:
        if isinstance(error, ValueError) or db.is_closed():
            raise
        raise RuntimeError("A connection was used wrongly.") from error


class _Unavailable:
    """Around what needs the database: makes `Unavailable` of every outage."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        # A ValueError as well is, in asyncpg, a parameter that it can't encode.
        if isinstance(error, _UNREACHABLE) and not isinstance(error, ValueError):
            raise Unavailable("The database does not answer in time.") from error


_unavailable = _Unavailable()


def connection() -> AbstractAsyncContextManager[Connection]:
    """A pooled connection for reads of one statement. Raises `Unavailable`."""
    enclosing = _enclosing()
    if enclosing is not None and enclosing.db is not None:
        return _enclosed(enclosing.db)
    return _Reading(*_pool())


@asynccontextmanager
async def _enclosed(db: Any) -> AsyncIterator[Connection]:
    with _unavailable, _own_faults(db):
        yield db


@asynccontextmanager
async def transaction() -> AsyncIterator[Connection]:
    """A transaction on a pooled connection: commits at the end, rolls back on any exception.

    Opened by the edge (route, subscriber, job) and by nothing below it. Within a keyed request it
    is a part of that request's transaction. Raises `Unavailable`.
    """
    enclosing = _enclosing()
    if enclosing is None:
        async with open_transaction() as db:
            yield db
    else:
        db = await enclosing.open()
        async with _enclosed(db), _part(db):
            yield db


@asynccontextmanager
async def _part(db: Any) -> AsyncIterator[None]:
    """A savepoint. What a server does not answer to, or nobody waits for, ends the whole, and there
    is no use in asking for the end of a part.
    """
    savepoint = db.transaction()
    await savepoint.start()
    try:
        yield
    except (*_UNREACHABLE, asyncio.CancelledError):
        raise
    except BaseException:
        await savepoint.rollback()
        raise
    await savepoint.commit()


@asynccontextmanager
async def open_transaction() -> AsyncIterator[Connection]:
    """A transaction that no other encloses. Raises `Unavailable`."""
    pool, pressure, wait = _pool()
    with _unavailable:
        stack = AsyncExitStack()
        with pressure.waiting():
            db = await stack.enter_async_context(pool.acquire(timeout=wait))
        try:
            await stack.enter_async_context(db.transaction())
            with _own_faults(db):
                yield db
        except BaseException as error:
            await _undo(stack.__aexit__(type(error), error, error.__traceback__))
            raise
        await stack.aclose()


def _pool() -> tuple[Any, Pressure, float]:
    found = current_app.extensions
    return found["database"], found["pressure"], _pool_wait()


def _enclosing() -> Any:
    work = current_work()
    return None if work is None else work.enclosing


def _pool_wait() -> float:
    wait: float = current_app.extensions["pool_wait"]
    left = seconds_left()
    return wait if left is None else min(wait, left)
