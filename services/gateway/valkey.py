"""Valkey, which the gateway profits from and never depends on."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import structlog
from quart import Quart
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

WAIT = 0.2
PAUSE = 1.0
CONNECTIONS = 16  # kept for good; a question takes microseconds, to open many at once takes longer
_log = structlog.get_logger()


class Breaker:
    """Asks Valkey. Its absence costs one request a second a moment, and no other anything.

    `meanwhile` says in the log what is done without it.
    """

    def __init__(self, meanwhile: str) -> None:
        self._meanwhile = meanwhile
        self._failing = False
        self._try_at = 0.0

    async def ask(self, question: Callable[[], Awaitable[Any]]) -> Any:
        """What Valkey answers, or None where it doesn't. After a failure one request a second
        tries, and the others go on without.
        """
        now = time.monotonic()
        if self._failing:
            if now < self._try_at:
                return None
            self._try_at = now + PAUSE
        try:
            async with asyncio.timeout(WAIT):
                said = await question()
        except (RedisError, OSError) as error:
            self._try_at = time.monotonic() + PAUSE
            self._note(failing=True, reason=type(error).__name__)
            return None
        self._note(failing=False)
        return said

    def check(self) -> None:
        """Raises `ConnectionError` where the last question was not answered."""
        if self._failing:
            raise ConnectionError("does not answer")

    def _note(self, *, failing: bool, reason: str = "") -> None:
        if failing and not self._failing:
            _log.warning(f"valkey does not answer; {self._meanwhile}", reason=reason)
        elif self._failing and not failing:
            _log.info("valkey answers again")
        self._failing = failing


def connected(url: str) -> AbstractAsyncContextManager[Redis]:
    """A client that is patient for `WAIT` seconds, and never tries twice."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS,
        timeout=WAIT,
        socket_timeout=WAIT,
        socket_connect_timeout=WAIT,
        retry=Retry(NoBackoff(), 0),
    )
    return Redis.from_pool(pool)


def use_valkey(app: Quart, url: str) -> None:
    """Give `app` a client of Valkey, as `app.extensions["valkey"]`: one for all that asks it, so
    that a gateway never holds more than `CONNECTIONS`.
    """

    @app.while_serving
    async def valkey() -> AsyncGenerator[None, None]:
        async with connected(url) as client:
            app.extensions["valkey"] = client
            yield
