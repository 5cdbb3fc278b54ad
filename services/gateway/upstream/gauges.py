"""What `/metrics` shows of each service: how its guard stands, and its processes."""

from collections.abc import Callable, Iterable, Mapping

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

from services.gateway.upstream.endpoints import Service
from services.gateway.upstream.guard import Guard

BREAKER = {"closed": 0, "half-open": 1, "open": 2}


def observe(services: Mapping[str, Service], guards: Mapping[str, Guard]) -> None:
    """Let them be looked at whenever metrics are read; requests pay nothing for it."""
    meter = metrics.get_meter("quartet.gateway")

    def show(name: str, unit: str, said: str, read: Callable[[Guard], float]) -> None:
        def each(_: CallbackOptions) -> Iterable[Observation]:
            for upstream, guard in guards.items():
                yield Observation(read(guard), {"upstream": upstream})

        meter.create_observable_gauge(f"quartet.upstream.{name}", [each], unit, said)

    def processes(_: CallbackOptions) -> Iterable[Observation]:
        for upstream, service in services.items():
            for endpoint in list(service.endpoints):
                attributes = {"upstream": upstream, "url.full": endpoint.url}
                yield Observation(int(service.is_well(endpoint)), attributes)

    show("breaker.state", "", "0 closed, 1 half open, 2 open", lambda g: BREAKER[g.breaker.state])
    show("requests.active", "{request}", "Requests at it", lambda g: g.bulkhead.inside)
    show("requests.waiting", "{request}", "Requests before it", lambda g: g.bulkhead.waiting)
    show("requests.limit", "{request}", "Requests it may get at once", lambda g: g.limit.value)
    said = "1 where a process is asked"
    meter.create_observable_gauge("quartet.upstream.endpoint.up", [processes], "", said)
