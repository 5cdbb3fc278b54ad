"""How hard a pool of connections is pressed, for health and for metrics."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

from shared.errors import Unavailable

ANSWERED_SECONDS = 2.0  # for which an answer shows that the database lives


class Pressure:
    """Who waits for a connection of a pool, and when the database last answered on one."""

    def __init__(self, service: str) -> None:
        self._attributes = {"db.client.connection.pool.name": service}
        self._pool: Any = None
        self._waiting, self._answered_at = 0, 0.0
        self._timeouts = metrics.get_meter(__name__).create_counter(
            "db.client.connection.timeouts", "{timeout}", "Waits that ended without a connection"
        )

    def watch(self, pool: Any) -> None:
        """Measure `pool` from now on, by the names of OpenTelemetry's database conventions."""
        self._pool = pool
        meter = metrics.get_meter(__name__)
        meter.create_observable_up_down_counter("db.client.connection.count", [self._count])
        meter.create_observable_up_down_counter("db.client.connection.max", [self._most])
        meter.create_observable_up_down_counter(
            "db.client.connection.pending_requests", [self._pending]
        )

    def answered(self) -> None:
        """The database has said something."""
        self._answered_at = time.monotonic()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Somebody waits for a connection while the context is open."""
        self._waiting += 1
        try:
            yield
        except TimeoutError:
            self._timeouts.add(1, self._attributes)
            raise
        finally:
            self._waiting -= 1

    @property
    def is_exhausted(self) -> bool:
        """Whether every connection that there may be is in use."""
        size, most = self._pool.get_size(), self._pool.get_max_size()
        return bool(size >= most and self._pool.get_idle_size() == 0)

    @property
    def is_answered(self) -> bool:
        """Whether those who have a connection get answers."""
        return time.monotonic() - self._answered_at < ANSWERED_SECONDS

    async def check(self) -> None:
        """Raises `Unavailable` while every connection is in use."""
        if self.is_exhausted:
            most, waiting = self._pool.get_max_size(), self._waiting
            raise Unavailable(f"All {most} connections are in use. Waiting for one: {waiting}.")

    def _count(self, _: CallbackOptions) -> list[Observation]:
        idle, size = self._pool.get_idle_size(), self._pool.get_size()
        return [
            Observation(idle, {**self._attributes, "db.client.connection.state": "idle"}),
            Observation(size - idle, {**self._attributes, "db.client.connection.state": "used"}),
        ]

    def _most(self, _: CallbackOptions) -> list[Observation]:
        return [Observation(self._pool.get_max_size(), self._attributes)]

    def _pending(self, _: CallbackOptions) -> list[Observation]:
        return [Observation(self._waiting, self._attributes)]
