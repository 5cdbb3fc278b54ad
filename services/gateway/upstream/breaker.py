"""A circuit breaker: what fails again and again is left alone for a moment.

After Michael Nygard, Release It! (2007).
"""

import math
from typing import Literal, TypeAlias

import structlog

from services.gateway.upstream.window import Window

State: TypeAlias = Literal["closed", "half-open", "open"]
WINDOW_SECONDS = 1.0  # short: what went well before a failure must not hide it
_log = structlog.get_logger()


class Breaker:
    """Opens when of at least `least` requests in a second a share of `ratio` failed, or as many in
    a row; then refuses for `pause` seconds; then lets one through, and closes if that goes well.

    Each request that is let through must be told of, with the moment at which it was: by `record`,
    or by `forget` where its end says nothing about the service.
    """

    __slots__ = ("_least", "_name", "_pause", "_probing", "_ratio", "_row", "_until", "_window")

    def __init__(self, name: str, *, ratio: float, least: int, pause: float) -> None:
        self._name, self._ratio, self._least, self._pause = name, ratio, least, pause
        self._window = Window(WINDOW_SECONDS)
        self._row = 0
        self._until: float | None = None  # None is closed
        self._probing = False

    @property
    def state(self) -> State:
        """Where it stands; it is open, too, when a first request might close it."""
        if self._until is None:
            return "closed"
        return "half-open" if self._probing else "open"

    def refuses(self, now: float) -> bool:
        """Whether no request may go."""
        return self._until is not None and (self._probing or now < self._until)

    def allows(self, now: float) -> bool:
        """Whether this request may go; where it is the one that tries, no other may."""
        if self._until is None:
            return True
        if self.refuses(now):
            return False
        self._probing = True
        return True

    def wait(self, now: float) -> int:
        """In how many whole seconds it may be worth trying again."""
        return max(1, math.ceil((self._until or now) - now))

    def record(self, begun: float, now: float, *, failed: bool) -> None:
        """Take note of how a request ended."""
        if self._until is not None:
            if begun >= self._until:  # of those that were let through before, nothing is learnt
                self._probing = False
                self._open(now) if failed else self._close()
            return
        self._window.add(now, hit=failed)
        if not failed:
            self._row = 0
            return
        self._row += 1
        window = self._window
        many = window.count >= self._least and window.hits >= self._ratio * window.count
        if many or self._row >= self._least:
            _log.warning("breaker opens", upstream=self._name)
            self._open(now)

    def forget(self, begun: float) -> None:
        """A request has told nothing: if it was to try, the next one may."""
        if self._until is not None and begun >= self._until:
            self._probing = False

    def _open(self, now: float) -> None:
        self._until = now + self._pause

    def _close(self) -> None:
        _log.info("breaker closes", upstream=self._name)
        self._until, self._row = None, 0
        self._window.clear()
