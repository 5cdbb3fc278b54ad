"""Looking up many by name in one call."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

MOST = 100  # names in one call; the service takes no more


class Loader:
    """Collects the names that are asked for until the loop comes round, and asks for all at once.
    A name is asked for once.
    """

    def __init__(self, fetch: Callable[[list[str]], Awaitable[list[Any]]]) -> None:
        self._fetch = fetch
        self._found: dict[str, asyncio.Future[Any]] = {}
        self._wanted: list[str] = []
        self._calls: set[asyncio.Task[None]] = set()

    async def load(self, name: str) -> Any:
        """What `fetch` gives for a name, in the place that the name has. Raises as it does."""
        loop = asyncio.get_running_loop()
        if name not in self._found:
            self._found[name] = loop.create_future()
            if not self._wanted:
                loop.call_soon(self._begin)
            self._wanted.append(name)
        return await asyncio.shield(self._found[name])

    def _begin(self) -> None:
        wanted, self._wanted = self._wanted, []
        for start in range(0, len(wanted), MOST):
            call = asyncio.create_task(self._call(wanted[start : start + MOST]))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)

    async def _call(self, names: list[str]) -> None:
        try:
            values = await self._fetch(names)
        except BaseException as error:
            for name in names:
                self._found[name].set_exception(error)
                self._found[name].exception()  # whoever waited may have gone
            return
        for name, value in zip(names, values, strict=True):
            self._found[name].set_result(value)
