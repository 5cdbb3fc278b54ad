"""The newest position that each caller has seen, so that who has written reads what they wrote.

In this process's memory, and in Valkey so that other gateways know it as well.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any
from uuid import UUID

import structlog
from quart import Quart
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from shared.position import newest

REMEMBERED_SECONDS = 30  # far longer than a projection lags
MOST_CALLERS = 10_000
_WAIT = 0.2
_PAUSE = 1.0
Positions = dict[str, int]
_log = structlog.get_logger()


class Memory:
    """Positions by caller, for a time; the longest unchanged go first when it is full."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._callers: OrderedDict[UUID, tuple[float, Positions]] = OrderedDict()

    def of(self, account: UUID) -> Positions:
        """What is remembered of a caller."""
        expires_at, positions = self._callers.get(account, (0.0, {}))
        return positions if expires_at > self._clock() else {}

    def add(self, account: UUID, positions: Positions) -> None:
        """Remember what a caller has seen, beside what they had seen before."""
        merged = newest(self.of(account), positions)
        self._callers[account] = (self._clock() + REMEMBERED_SECONDS, merged)
        self._callers.move_to_end(account)
        if len(self._callers) > MOST_CALLERS:
            self._callers.popitem(last=False)


class Seen:
    """What callers have seen. Valkey's absence costs one request a second a moment, and no other
    anything: memory serves, and other gateways learn of this one's writes when it is back.
    """

    def __init__(self, valkey: Redis) -> None:
        self._valkey = valkey
        self._memory = Memory()
        self._failing = False
        self._try_at = 0.0

    async def of(self, account: UUID) -> Positions:
        """The newest positions that any gateway knows of a caller."""
        ours = self._memory.of(account)
        theirs: list[tuple[bytes, float]] | None = await self._ask(
            lambda: self._valkey.zrange(_key(account), 0, -1, withscores=True)
        )
        if not theirs:
            return ours
        return newest(ours, {source.decode(): int(number) for source, number in theirs})

    async def add(self, account: UUID, positions: Positions) -> None:
        """Remember what a caller has seen; when this returns, every gateway knows."""
        self._memory.add(account, positions)

        async def write() -> None:
            async with self._valkey.pipeline(transaction=False) as both:
                # A sorted set keeps the larger number by itself, whoever writes last.
                both.zadd(_key(account), dict(positions), gt=True)
                both.expire(_key(account), REMEMBERED_SECONDS)
                await both.execute()

        await self._ask(write)

    async def check(self) -> None:
        """Raises `ConnectionError` while Valkey does not answer."""
        await self._ask(self._valkey.ping)
        if self._failing:
            raise ConnectionError("does not answer")

    async def _ask(self, question: Callable[[], Awaitable[Any]]) -> Any:
        """What Valkey answers, or None where it doesn't. After a failure one request a second
        tries, and the others go on without.
        """
        now = time.monotonic()
        if self._failing:
            if now < self._try_at:
                return None
            self._try_at = now + _PAUSE
        try:
            async with asyncio.timeout(_WAIT):
                said = await question()
        except (RedisError, OSError) as error:
            self._try_at = time.monotonic() + _PAUSE
            self._note(failing=True, reason=type(error).__name__)
            return None
        self._note(failing=False)
        return said

    def _note(self, *, failing: bool, reason: str = "") -> None:
        if failing and not self._failing:
            _log.warning("valkey does not answer; positions stay in memory", reason=reason)
        elif self._failing and not failing:
            _log.info("valkey answers again")
        self._failing = failing


def _key(account: UUID) -> str:
    return f"position:{account}"


def use_positions(app: Quart, redis_url: str) -> None:
    """Give `app` a memory of what callers have seen."""

    @app.while_serving
    async def positions() -> AsyncGenerator[None, None]:
        pool = BlockingConnectionPool.from_url(
            redis_url,
            max_connections=32,
            timeout=_WAIT,
            socket_timeout=_WAIT,
            socket_connect_timeout=_WAIT,
            retry=Retry(NoBackoff(), 0),
        )
        async with Redis.from_pool(pool) as valkey:
            seen = Seen(valkey)
            app.extensions["seen"] = seen
            app.extensions["soft_checks"]["valkey"] = seen.check
            yield
