"""The processes of one service: how each of them is, and which one to ask next."""

import random
from collections.abc import Collection, Iterable

import structlog

READY = "ok"
_log = structlog.get_logger()


class Endpoint:
    """One process of a service. `state` is what it said when it was last asked whether it is ready,
    or what was learnt of it since; `outstanding` are the requests that it has not answered.
    """

    def __init__(self, upstream: str, url: str) -> None:
        self.upstream, self.url = upstream, url.rstrip("/")
        self.outstanding = 0
        self.state = "not asked yet"

    @property
    def is_ready(self) -> bool:
        """Whether it may be asked."""
        return self.state == READY

    def note(self, state: str) -> None:
        """Remember how it is."""
        if state != self.state:
            _log.info("upstream", upstream=self.upstream, url=self.url, state=state)
            self.state = state


class Service:
    """The endpoints of one service."""

    def __init__(self, name: str, urls: Iterable[str], chance: random.Random) -> None:
        self.endpoints = [Endpoint(name, url) for url in urls]
        self._chance = chance

    def choose(self, tried: Collection[Endpoint] = ()) -> Endpoint:
        """The less busy one of two that are ready, rather one that was not tried.

        Where none is ready, any will do: the service can say better than we what is wrong with it.
        """
        able = [endpoint for endpoint in self.endpoints if endpoint not in tried] or self.endpoints
        able = [endpoint for endpoint in able if endpoint.is_ready] or able
        if len(able) > 2:
            able = self._chance.sample(able, 2)
        return min(able, key=lambda endpoint: endpoint.outstanding)

    def check(self) -> None:
        """Raises `ConnectionError` where no endpoint is ready."""
        if not any(endpoint.is_ready for endpoint in self.endpoints):
            raise ConnectionError("; ".join(endpoint.state for endpoint in self.endpoints))
