"""The newest position that each caller has seen, so that who has written reads what they wrote.

In this process's memory, and in Valkey so that other gateways know it as well.
"""

import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from uuid import UUID

from quart import Quart
from redis.asyncio import Redis

from services.gateway.valkey import Breaker
from shared.position import newest

REMEMBERED_SECONDS = 30  # far longer than a projection lags
MOST_CALLERS = 10_000
Positions = dict[str, int]


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
        self._breaker = Breaker("positions stay in memory")

    async def of(self, account: UUID) -> Positions:
        """The newest positions that any gateway knows of a caller."""
        ours = self._memory.of(account)
        theirs: list[tuple[bytes, float]] | None = await self._breaker.ask(
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

        await self._breaker.ask(write)

    async def check(self) -> None:
        """Raises `ConnectionError` while Valkey does not answer."""
        await self._breaker.ask(self._valkey.ping)
        self._breaker.check()


def _key(account: UUID) -> str:
    return f"position:{account}"


def use_positions(app: Quart) -> None:
    """Give `app` a memory of what callers have seen. Needs `use_valkey` before it."""

    @app.while_serving
    async def positions() -> AsyncGenerator[None, None]:
        seen = Seen(app.extensions["valkey"])
        app.extensions["seen"] = seen
        app.extensions["soft_checks"]["valkey"] = seen.check
        yield
