"""What stands between the gateway and one service, so that the trouble of one stays its own."""

import time
from collections.abc import Hashable
from typing import NoReturn

from opentelemetry import metrics

from services.gateway.settings import Settings
from services.gateway.upstream.breaker import Breaker
from services.gateway.upstream.budget import Budget
from services.gateway.upstream.bulkhead import Bulkhead, Priority, Shed
from services.gateway.upstream.concurrency import QUIET, AdaptiveLimit, Baselines
from shared.errors import Unavailable

_shed = metrics.get_meter("quartet.gateway").create_counter(
    "quartet.upstream.shed", "{request}", "Requests refused before they reached a service"
)


class Guard:
    """Of one service: its breaker, the door with its adaptive limit, and the budget for retries.

    Each `enter` that does not raise needs one of `succeed`, `fail` and `forget`, with what it gave.
    """

    def __init__(self, name: str, settings: Settings) -> None:
        self._name = name
        self._connections = settings.upstream_connections
        self._patience = settings.connect_timeout
        self.breaker = Breaker(
            name,
            ratio=settings.breaker_ratio,
            least=settings.breaker_least,
            pause=settings.breaker_pause,
        )
        self.budget = Budget(settings.retry_budget)
        self.limit = AdaptiveLimit(self._connections, adapts=settings.shedding == "on")
        self.bulkhead = Bulkhead(self.limit, settings.upstream_queue)
        self._baselines = Baselines()

    def resize(self, processes: int) -> None:
        """Let in what so many processes can take."""
        self.limit.rescale(self._connections * max(1, processes), processes)

    async def enter(self, priority: Priority) -> float:
        """Wait for a place; gives the moment at which it was had. Raises `Unavailable`."""
        now = time.monotonic()
        if self.breaker.refuses(now):
            self._refuse("breaker open", priority, self.breaker.wait(now))
        if not self.bulkhead.enter():
            try:
                await self.bulkhead.wait(priority, self._patience)
            except Shed as shed:
                self._refuse(str(shed), priority, 1)
            now = time.monotonic()
        if not self.breaker.allows(now):  # it may have opened meanwhile
            self.bulkhead.leave()
            self._refuse("breaker open", priority, self.breaker.wait(now))
        self.budget.deposit(now)
        return now

    def succeed(self, route: Hashable, begun: float) -> float:
        """It answered, whatever it said of the request; gives how many seconds that took."""
        now, inside = time.monotonic(), self.bulkhead.inside
        slow = self._baselines.is_slow(route, now - begun, quiet=inside <= QUIET)
        self.limit.sample(now, inside, slow=slow)
        self.breaker.record(begun, now, failed=False)
        self.bulkhead.leave()
        return now - begun

    def fail(self, begun: float, *, slow: bool = False) -> None:
        """It did not answer, or said that it can't."""
        now = time.monotonic()
        if slow:
            self.limit.sample(now, self.bulkhead.inside, slow=True)
        self.breaker.record(begun, now, failed=True)
        self.bulkhead.leave()

    def forget(self, begun: float) -> None:
        """It ended for a reason that is not the service's."""
        self.breaker.forget(begun)
        self.bulkhead.leave()

    def _refuse(self, reason: str, priority: Priority, seconds: int) -> NoReturn:
        attributes = {"upstream": self._name, "priority": priority.name.lower(), "reason": reason}
        _shed.add(1, attributes)
        said = f"The {self._name} service is not asked: {reason}."
        raise Unavailable(said, retry_after=seconds)
