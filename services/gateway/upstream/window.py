"""Counting over the last few seconds."""

PARTS = 10


class Window:
    """How many things happened in the last `seconds`, and how many of them were hits. Moments are
    seconds of any clock that never goes back; what is old falls out a tenth of the time at once.
    """

    __slots__ = ("_at", "_counts", "_hits", "_step", "count", "hits")

    def __init__(self, seconds: float) -> None:
        self._step = seconds / PARTS
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._counts, self._hits = [0] * PARTS, [0] * PARTS
        self._at = self.count = self.hits = 0

    def add(self, now: float, *, hit: bool) -> None:
        """Count one."""
        self.move(now)
        slot = self._at % PARTS
        self._counts[slot] += 1
        self.count += 1
        if hit:
            self._hits[slot] += 1
            self.hits += 1

    def move(self, now: float) -> None:
        """Let `count` and `hits` be those of this moment."""
        at = int(now / self._step)
        if at <= self._at:
            return
        for passed in range(self._at + 1, min(at, self._at + PARTS) + 1):
            slot = passed % PARTS
            self.count -= self._counts[slot]
            self.hits -= self._hits[slot]
            self._counts[slot] = self._hits[slot] = 0
        self._at = at
