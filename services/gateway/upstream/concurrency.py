"""How many requests at once a service can take, learnt from how long its answers take.

Additive increase and multiplicative decrease (Chiu and Jain, 1989) by latency against its own
minimum, as Netflix's concurrency-limits (2018) and Envoy's adaptive concurrency filter have it.
The minimum is measured while few requests run, for under load it would grow with the load; and for
each route apart, since a login takes fifty times as long as a tag.
"""

from collections.abc import Hashable

LEAST = 16  # of each process; as many keep it busy whatever it waits for
QUIET = 4  # at most so many run while the minimum is measured
SAMPLES = 20
SECONDS = 0.1  # between two adjustments
TOLERANCE, SLACK = 3.0, 0.1  # so many times the minimum, and so many seconds, are not slow yet
DECREASE = 0.8
_RISE = 0.05  # of the way up to a higher sample: a service may become slower for good


class Baselines:
    """How long each route takes when nothing else runs, in seconds."""

    def __init__(self) -> None:
        self._seconds: dict[Hashable, float] = {}

    def is_slow(self, route: Hashable, seconds: float, *, quiet: bool) -> bool:
        """Learn from an answer; whether it took too long."""
        known = self._seconds.get(route)
        if known is None or seconds < known:
            self._seconds[route] = seconds
            return False
        if quiet:
            self._seconds[route] = known + (seconds - known) * _RISE
        return seconds > TOLERANCE * known + SLACK


class AdaptiveLimit:
    """`value` is the limit, between `least` and `most`. It begins at the top; half of the answers
    being slow lowers it, and their being quick raises it, while at least half of it is in use.
    """

    __slots__ = ("_adapts", "_count", "_next", "_peak", "_slow", "least", "most", "value")

    def __init__(self, most: int, *, adapts: bool = True) -> None:
        self._adapts = adapts
        self.least, self.most, self.value = min(LEAST, most), most, float(most)
        self._count = self._slow = self._peak = 0
        self._next = 0.0

    def rescale(self, most: int, processes: int) -> None:
        """Let the limit reach up to `most`, since there are so many processes now."""
        self.least = min(LEAST * max(1, processes), most)
        top = self.value >= self.most
        self.most = most
        self.value = float(most) if top else min(max(self.value, self.least), most)

    def sample(self, now: float, inside: int, *, slow: bool) -> None:
        """Learn from an answer that came while `inside` requests ran."""
        self._count += 1
        self._slow += slow
        if inside > self._peak:
            self._peak = inside
        if self._count >= SAMPLES and now >= self._next:
            if self._adapts and self._peak * 2 >= self.value:
                self._adjust()
            self._count = self._slow = self._peak = 0
            self._next = now + SECONDS

    def _adjust(self) -> None:
        if self._slow * 2 > self._count:
            self.value = max(float(self.least), self.value * DECREASE)
        else:
            self.value = min(float(self.most), self.value + 1)
