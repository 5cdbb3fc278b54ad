"""Counting what happens with each request, at a microsecond each.

OpenTelemetry's own instruments take ten times as long, which is a third of answering from a cache.
These are read by Prometheus at `/metrics`, and by `shared.otlp` for a collector, under the same
names as those would be.
"""

import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Protocol, TypeAlias

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family

# Bounds of histograms of seconds, from a fast statement to what nobody waits for.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
Values: TypeAlias = tuple[str | int | None, ...]
_CUMULATIVE = AggregationTemporality.CUMULATIVE
_born = time.time_ns()


class Tally(Protocol):
    """What is read of a `Count` or of `Durations`."""

    def family(self) -> Family: ...
    def metric(self) -> Metric: ...


class Count:
    """How often something happened, by the values of the attributes `names`; None is no value."""

    def __init__(self, name: str, description: str, names: tuple[str, ...]) -> None:
        self._name, self._description, self._names = name, description, names
        self._cells: dict[Values, int] = {}
        _tallies.append(self)

    def add(self, values: Values) -> None:
        """Once more."""
        self._cells[values] = self._cells.get(values, 0) + 1

    def family(self) -> Family:
        """For Prometheus."""
        labels = [_label(name) for name in self._names]
        family = CounterMetricFamily(_label(self._name), self._description, labels=labels)
        for values, count in list(self._cells.items()):
            family.add_metric(_texts(values), count)
        return family

    def metric(self) -> Metric:
        """For OTLP."""
        now = time.time_ns()
        points = [
            NumberDataPoint(_attributes(self._names, values), _born, now, count)
            for values, count in list(self._cells.items())
        ]
        return Metric(self._name, self._description, "", Sum(points, _CUMULATIVE, True))


class _Cell:
    """What came with the same values; the sum and the extremes are seconds."""

    __slots__ = ("counts", "least", "most", "total")

    def __init__(self, first: float) -> None:
        self.counts = [0] * (len(SECONDS) + 1)
        self.total, self.least, self.most = 0.0, first, first


class Durations:
    """How many seconds something took, by the values of the attributes `names`."""

    def __init__(self, name: str, description: str, names: tuple[str, ...]) -> None:
        self._name, self._description, self._names = name, description, names
        self._cells: dict[Values, _Cell] = {}
        _tallies.append(self)

    def add(self, seconds: float, values: Values) -> None:
        """One more."""
        cell = self._cells.get(values)
        if cell is None:
            cell = self._cells[values] = _Cell(seconds)
        cell.counts[bisect_left(SECONDS, seconds)] += 1
        cell.total += seconds
        if seconds < cell.least:
            cell.least = seconds
        elif seconds > cell.most:
            cell.most = seconds

    def family(self) -> Family:
        """For Prometheus, whose buckets hold what is in the smaller ones as well."""
        labels = [_label(name) for name in self._names]
        name = f"{_label(self._name)}_seconds"
        family = HistogramMetricFamily(name, self._description, labels=labels)
        bounds = [*map(str, SECONDS), "+Inf"]
        for values, cell in list(self._cells.items()):
            buckets = list(zip(bounds, accumulate(cell.counts), strict=True))
            family.add_metric(_texts(values), buckets, cell.total)
        return family

    def metric(self) -> Metric:
        """For OTLP."""
        now = time.time_ns()
        points = [
            HistogramDataPoint(
                attributes=_attributes(self._names, values),
                start_time_unix_nano=_born,
                time_unix_nano=now,
                count=sum(cell.counts),
                sum=cell.total,
                bucket_counts=list(cell.counts),
                explicit_bounds=SECONDS,
                min=cell.least,
                max=cell.most,
            )
            for values, cell in list(self._cells.items())
        ]
        return Metric(self._name, self._description, "s", Histogram(points, _CUMULATIVE))


class Requests:
    """Rate, errors and duration of requests by route, by the names of OpenTelemetry's conventions
    for HTTP.
    """

    def __init__(self) -> None:
        self._durations = Durations(
            "http.server.request.duration",
            "Duration of requests, to the end of their replies",
            (
                "http.request.method",
                "url.scheme",
                "http.route",
                "http.response.status_code",
                "error.type",
            ),
        )

    def add(self, method: str, scheme: str, route: str | None, status: int, seconds: float) -> None:
        """Count one. A path that leads nowhere is a client's invention, and has no route."""
        error = str(status) if status >= 500 else None
        self._durations.add(seconds, (method, scheme, route or None, status, error))


_tallies: list[Tally] = []


class _Collector:
    """Shows all of them to Prometheus."""

    def collect(self) -> Iterable[Family]:
        return [tally.family() for tally in _tallies]

    def describe(self) -> Iterator[Family]:
        return iter(())  # the registry shall not ask before there is anything


REGISTRY.register(_Collector())


def told(resource: Resource) -> ResourceMetrics:
    """All of them, for OTLP."""
    metrics = [tally.metric() for tally in _tallies]
    scope = ScopeMetrics(InstrumentationScope("quartet"), metrics, "")
    return ResourceMetrics(resource, [scope], "")


def _label(name: str) -> str:
    return name.replace(".", "_")


def _texts(values: Values) -> list[str]:
    return ["" if value is None else str(value) for value in values]


def _attributes(names: tuple[str, ...], values: Values) -> dict[str, str | int]:
    pairs = zip(names, values, strict=True)
    return {name: value for name, value in pairs if value is not None}
