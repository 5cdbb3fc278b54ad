"""Gateways as a balancer sees them: whoever says that they are not ready gets nothing new."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiohttp

ASKED_EVERY = 0.2  # seconds; gateways have to drain for longer


class Doors:
    """Takes the doors in turn."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = urls
        self._open = set(urls)
        self._turns = itertools.cycle(urls)

    def next(self) -> str:
        """The door to knock at: one that is open, if any is."""
        return next(url for url in self._turns if url in self._open or not self._open)

    @asynccontextmanager
    async def watched(self, session: aiohttp.ClientSession) -> AsyncIterator[None]:
        """Ask them all again and again while the context is open."""
        watches = [asyncio.create_task(self._watch(session, url)) for url in self._urls]
        try:
            yield
        finally:
            for watch in watches:
                watch.cancel()
            await asyncio.gather(*watches, return_exceptions=True)

    async def _watch(self, session: aiohttp.ClientSession, url: str) -> None:
        while True:
            try:
                async with session.get(f"{url}/readyz") as response:
                    is_open = response.status == 200
            except (aiohttp.ClientError, OSError):
                is_open = False
            (self._open.add if is_open else self._open.discard)(url)
            await asyncio.sleep(ASKED_EVERY)
