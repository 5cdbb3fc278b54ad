"""OpenTelemetry and JSON log lines, set up once a process."""

import logging
import os
import sys
import threading
import time
from functools import cache
from typing import Any

import structlog
from opentelemetry import metrics, trace
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from shared import otlp, roots
from shared.spans import Tracing
from shared.tally import SECONDS as SECONDS  # for instruments that are OpenTelemetry's own

FLUSH_SECONDS = 3.0
_level = logging.NOTSET
_SECRET = ("password", "token", "secret", "authorization", "cookie", "email", "key")


def start_telemetry(service: str, log_level: str = "info") -> None:
    """Log, trace and measure as `service`, by the OTEL_* variables of the specification.

    Call it after any fork: the exporters run in threads of their own.
    """
    start_logging(service, log_level)
    resource = Resource.create({"service.name": service, "service.namespace": "quartet"})
    # Traces that go nowhere have ids, for logs, and nothing else.
    exported = _exports("TRACES")
    sampler = None if exported else ALWAYS_OFF
    tracing = Tracing(resource=resource, sampler=sampler, id_generator=roots.ids)
    roots.ids.sample(roots.share(os.environ) if exported else 0.0)  # noqa: TID251  (as below)
    readers: list[Any] = [PrometheusMetricReader()]
    if exported:
        tracing.add_span_processor(otlp.Batches(otlp.Spans()))
    if _exports("METRICS"):
        readers.append(PeriodicExportingMetricReader(otlp.Measurements(resource)))
    trace.set_tracer_provider(tracing)
    # Exemplars would double what a measurement costs, and nobody here can show them.
    metrics.set_meter_provider(
        MeterProvider(readers, resource=resource, exemplar_filter=AlwaysOffExemplarFilter())
    )


def _exports(signal: str) -> bool:
    environ = os.environ  # noqa: TID251  (OTEL_* belong to the specification, not to a service)
    disabled = environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return not disabled and environ.get(f"OTEL_{signal}_EXPORTER", "otlp") == "otlp"


def stop_telemetry() -> None:
    """Send what is left, for at most `FLUSH_SECONDS`: a collector that is away must not hold us."""
    providers = (trace.get_tracer_provider(), metrics.get_meter_provider())
    ends = [
        threading.Thread(target=provider.shutdown, daemon=True)
        for provider in providers
        if isinstance(provider, TracerProvider | MeterProvider)
    ]
    for end in ends:
        end.start()
    deadline = time.monotonic() + FLUSH_SECONDS
    for end in ends:
        end.join(max(0.0, deadline - time.monotonic()))


def start_logging(service: str, log_level: str) -> None:
    """One JSON object a line on standard output, from our code and from libraries alike."""
    global _level
    _level = logging.getLevelName(log_level.upper())

    def add_service(_: object, __: str, event: dict[str, Any]) -> dict[str, Any]:
        return {"service": service, **event}

    shared: list[Any] = [
        add_service,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_trace,
        _redact,
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(_level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stdout),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.addFilter(OnceAMinute())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


def logs(level: int) -> bool:
    """Whether lines of this level are written; structlog takes three times as long to say so."""
    return level >= _level


class OnceAMinute(logging.Filter):
    """Lets a library complain of one thing once a minute: a dead collector is no flood."""

    def __init__(self) -> None:
        super().__init__()
        self._next: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        place, now = (record.pathname, record.lineno), time.monotonic()
        if now < self._next.get(place, 0.0):
            return False
        self._next[place] = now + 60.0
        if record.name.startswith("opentelemetry"):
            record.exc_info = record.exc_text = None  # the reason is in the message already
        return True


def _add_trace(_: object, __: str, event: dict[str, Any]) -> dict[str, Any]:
    for name, said in trace_of(trace.get_current_span()).items():
        event.setdefault(name, said)
    return event


def trace_of(span: trace.Span) -> dict[str, str]:
    """What a log line says of its span; nothing where there is none."""
    ours = span.get_span_context()
    if not ours.is_valid:
        return {}
    return {"trace_id": format(ours.trace_id, "032x"), "span_id": format(ours.span_id, "016x")}


def _redact(_: object, __: str, event: dict[str, Any]) -> dict[str, Any]:
    for name in event:
        if _is_secret(name):
            event[name] = "[redacted]"
    return event


@cache
def _is_secret(name: str) -> bool:
    """Names come from code, so there are few."""
    return any(secret in name.lower() for secret in _SECRET)
