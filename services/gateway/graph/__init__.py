"""GraphQL over the services' routes. The library is loaded by the first request: a gateway that
nobody asks in GraphQL does not pay for it.
"""

import asyncio
from typing import TYPE_CHECKING

from quart import Quart

from services.gateway.asking import Asking
from services.gateway.messages.said import Said
from services.gateway.settings import Settings

if TYPE_CHECKING:
    from services.gateway.graph.engine import Engine

LONGEST = 16_384  # characters of a document


class Graph:
    """Answers documents."""

    largest = 1_048_576

    def __init__(self, app: Quart, settings: Settings) -> None:
        self._resources = app.extensions
        self._production = settings.env == "production"
        self._engine: Engine | None = None
        self._loading = asyncio.Lock()

    async def answer(self, asking: Asking, data: bytes) -> Said:
        """Answer one request. Raises `AppError` for what is no GraphQL request."""
        async with self._loading:
            if self._engine is None:
                self._engine = await asyncio.to_thread(self._load)
        return await self._engine.answer(asking, self._resources["limits"], data)

    def _load(self) -> "Engine":
        from services.gateway.graph.engine import Engine

        return Engine(introspection=not self._production)
