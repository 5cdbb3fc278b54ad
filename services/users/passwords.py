"""Password hashes: argon2id (RFC 9106), in a few threads beside the event loop."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import BoundedSemaphore
from typing import TypeVar
from unicodedata import normalize

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from quart import Quart, current_app

from services.users.settings import Settings
from shared.errors import Unavailable

T = TypeVar("T")


class Threads:
    """A few threads, and a bounded queue before them."""

    def __init__(self, count: int, queue: int) -> None:
        self._pool = ThreadPoolExecutor(count, "argon2")
        self._places = BoundedSemaphore(count + queue)

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` returns. Its place is free when the work has ended, and not when a client
        stops waiting for it: what runs can't be stopped.

        Raises `Unavailable` when there is no place.
        """
        if not self._places.acquire(blocking=False):
            raise Unavailable("Too many passwords wait to be hashed.")
        future = self._pool.submit(work)
        future.add_done_callback(lambda _: self._places.release())
        return await asyncio.wrap_future(future)

    def stop(self) -> None:
        """Take no more work, and drop what waits."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class Passwords:
    """Hashes and verifies. Both raise `Unavailable` when too many wait for it already. To make one
    takes the time of a hash: that of the account that is not there.
    """

    def __init__(self, settings: Settings, threads: Threads) -> None:
        self._threads = threads
        self._hasher = PasswordHasher(
            time_cost=settings.hash_time_cost,
            memory_cost=settings.hash_memory_kib,
            parallelism=settings.hash_parallelism,
        )
        self._nobodys = self._hasher.hash(secrets.token_hex())

    async def hash(self, password: str) -> str:
        """A new hash, its parameters and salt in it."""
        return await self._threads.run(lambda: self._hasher.hash(_canonical(password)))

    async def verify(self, password: str, hash_: str | None) -> bool:
        """Whether `password` is the one; never without a hash, after the same time."""

        def verify() -> bool:
            with suppress(VerifyMismatchError):
                return self._hasher.verify(hash_ or self._nobodys, _canonical(password))
            return False

        return await self._threads.run(verify)

    def outdated(self, hash_: str) -> bool:
        """Whether a hash was made with other parameters than those of today."""
        return self._hasher.check_needs_rehash(hash_)


def _canonical(password: str) -> str:
    """One form for what different keyboards send for the same characters (NIST SP 800-63B)."""
    return normalize("NFKC", password)


def use_passwords(app: Quart, settings: Settings) -> None:
    """Give `app` the threads that hash, for its life."""

    @app.while_serving
    async def passwords() -> AsyncGenerator[None, None]:
        threads = Threads(settings.hash_threads, settings.hash_queue)
        try:
            app.extensions["passwords"] = await threads.run(lambda: Passwords(settings, threads))
            yield
        finally:
            threads.stop()


def passwords() -> Passwords:
    """The current app's."""
    found: Passwords = current_app.extensions["passwords"]
    return found
