"""How many requests may be sent again: a share of all, so that trouble is not multiplied.

As Finagle's RetryBudget has it.
"""

from services.gateway.upstream.window import Window

WINDOW_SECONDS = 10.0
FLOOR = 10  # of a service that is seldom asked, a retry has to be possible as well


class Budget:
    """Allows in ten seconds `FLOOR` retries, and as many more as are `ratio` of the requests."""

    __slots__ = ("_ratio", "_requests", "_retries")

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio
        self._requests, self._retries = Window(WINDOW_SECONDS), Window(WINDOW_SECONDS)

    def deposit(self, now: float) -> None:
        """Count a request."""
        self._requests.add(now, hit=False)

    def withdraw(self, now: float) -> bool:
        """Whether one more may be sent again; it counts as sent."""
        if self._ratio <= 0:
            return False
        self._requests.move(now)
        self._retries.move(now)
        if self._retries.count + 1 > FLOOR + self._ratio * self._requests.count:
            return False
        self._retries.add(now, hit=True)
        return True
