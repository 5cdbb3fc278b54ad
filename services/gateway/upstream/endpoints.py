"""The processes of one service: how each of them is, and which one to ask next."""

import random
import time
from collections.abc import Collection, Iterable

import structlog
from opentelemetry import metrics

from shared.errors import Unavailable

READY = "ok"
FAILURES = 5  # in a row, until a process is left alone
FIRST_SECONDS, LONGEST_SECONDS = 1.0, 30.0
_log = structlog.get_logger()
_ejections = metrics.get_meter("quartet.gateway").create_counter(
    "quartet.upstream.ejections", "{ejection}", "Processes left alone because they failed in a row"
)


class Endpoint:
    """One process of a service. `state` is what it said when it was last asked whether it is ready,
    or what was learnt of it since; `outstanding` are the requests that it has not answered.
    """

    def __init__(self, upstream: str, url: str) -> None:
        self.upstream, self.url = upstream, url.rstrip("/")
        self.outstanding = 0
        self.state = "not asked yet"
        self.ejected_until = 0.0
        self._ejections = self._failures = 0

    @property
    def is_ready(self) -> bool:
        """Whether it may be asked."""
        return self.state == READY

    def note(self, state: str) -> None:
        """Remember how it is."""
        if state != self.state:
            _log.info("upstream", upstream=self.upstream, url=self.url, state=state)
            self.state = state

    def succeed(self) -> None:
        """It answered."""
        self._failures = 0

    def fail(self) -> bool:
        """It did not, or said that it can't. Whether that was once too often."""
        self._failures += 1
        return self._failures >= FAILURES

    def eject(self, now: float) -> None:
        """Leave it alone for a while, each time for twice as long as the time before; one that was
        well for as long again begins anew.
        """
        if now > self.ejected_until + self._seconds:
            self._ejections = 0
        self._ejections += 1
        self._failures = 0
        self.ejected_until = now + self._seconds
        _ejections.add(1, {"upstream": self.upstream})
        _log.warning("ejected", upstream=self.upstream, url=self.url, seconds=self._seconds)

    @property
    def _seconds(self) -> float:
        return min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** (self._ejections - 1))


class Service:
    """The endpoints of one service; there may be none, while its name leads nowhere."""

    def __init__(self, name: str, urls: Iterable[str], chance: random.Random) -> None:
        self.name = name
        self.endpoints = [Endpoint(name, url) for url in urls]
        self._chance = chance

    def choose(self, tried: Collection[Endpoint] = (), now: float | None = None) -> Endpoint:
        """The less busy one of two that are well, rather one that was not tried.

        Where none is, any will do: the service can say better than we what is wrong with it.
        Raises `Unavailable` where there is none at all.
        """
        if len(self.endpoints) == 1:
            return self.endpoints[0]
        if not self.endpoints:
            raise Unavailable(f"The name of the {self.name} service leads nowhere.")
        now = time.monotonic() if now is None else now
        able = [endpoint for endpoint in self.endpoints if endpoint not in tried] or self.endpoints
        able = [endpoint for endpoint in able if endpoint.is_ready] or able
        able = [endpoint for endpoint in able if endpoint.ejected_until <= now] or able
        if len(able) > 2:
            able = self._chance.sample(able, 2)
        return min(able, key=lambda endpoint: endpoint.outstanding)

    @staticmethod
    def is_well(endpoint: Endpoint, now: float | None = None) -> bool:
        """Whether it is ready, and not left alone."""
        now = time.monotonic() if now is None else now
        return endpoint.is_ready and endpoint.ejected_until <= now

    def has_other(self, tried: Collection[Endpoint], now: float | None = None) -> bool:
        """Whether one that was not tried is well."""
        return any(one not in tried and self.is_well(one, now) for one in self.endpoints)

    def fail(self, endpoint: Endpoint, now: float | None = None) -> None:
        """Note that one failed; it is left alone if that was once too often, and another is well:
        never all.
        """
        now = time.monotonic() if now is None else now
        if endpoint.fail() and self.has_other([endpoint], now):
            endpoint.eject(now)

    def check(self) -> None:
        """Raises `ConnectionError` where no endpoint is ready."""
        if not any(endpoint.is_ready for endpoint in self.endpoints):
            said = "; ".join(endpoint.state for endpoint in self.endpoints)
            raise ConnectionError(said or "its name leads nowhere")
