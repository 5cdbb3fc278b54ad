"""Spans and measurements to a collector by OTLP over HTTP (OpenTelemetry Protocol, 1.x).

By the standard library: the exporters of OpenTelemetry bring a second HTTP client with them, which
takes ten megabytes of each process and sends one request every few seconds. Both are called by
threads of their own; what these do, the event loop waits for, so it is little.
"""

import gzip
import logging
import os
import time
from collections.abc import Sequence
from http.client import HTTPException
from threading import Event
from typing import Any
from urllib.parse import unquote

from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from shared import tally
from shared.otlp_line import Line
from shared.otlp_metrics import encoded_metrics
from shared.otlp_spans import Encoded, encoded_spans

TIMEOUT_SECONDS = 3.0
PAUSE_SECONDS = 0.5
_AGAIN = frozenset({429, 502, 503, 504})  # what the protocol calls worth another try
_log = logging.getLogger(__name__)


class Channel:
    """Where one signal, `traces` or `metrics`, goes; told by `OTEL_EXPORTER_OTLP_…`. Raises
    `ValueError` where that is no http address.
    """

    def __init__(self, signal: str) -> None:
        self._url = _said(signal, "ENDPOINT", "")
        if not _says_itself(signal):
            base = self._url or "http://localhost:4318"
            self._url = f"{base.rstrip('/')}/v1/{signal}"
        if not self._url.startswith(("http://", "https://")):
            raise ValueError(f"not an address to export to: {self._url}")
        self._headers = {"Content-Type": "application/x-protobuf", **_headers(signal)}
        self._zipped = _said(signal, "COMPRESSION", "") == "gzip"
        if self._zipped:
            self._headers["Content-Encoding"] = "gzip"
        certificate = _said(signal, "CERTIFICATE", "") or None
        self._line = Line(self._url, certificate)
        self._closed = Event()

    def send(self, message: bytes) -> bool:
        """Whether the collector took it; tries again until `TIMEOUT_SECONDS` have passed."""
        body = gzip.compress(message) if self._zipped else message
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while True:
            reason, again = self._try(body, max(PAUSE_SECONDS, deadline - time.monotonic()))
            if not reason:
                return True
            late = time.monotonic() + PAUSE_SECONDS > deadline
            if late or not again or self._closed.wait(PAUSE_SECONDS):
                _log.warning("the collector did not take what was measured: %s", reason)
                return False

    def _try(self, body: bytes, seconds: float) -> tuple[str, bool]:
        """What was wrong, and whether to try again; an empty reason is success."""
        try:
            status = self._line.post(self._headers, body, seconds)
        except (OSError, HTTPException) as error:
            return str(error) or type(error).__name__, True
        return ("", False) if status < 300 else (f"status {status}", status in _AGAIN)

    def close(self) -> None:
        """Try nothing again from now on."""
        self._closed.set()
        self._line.close()


class Batches(BatchSpanProcessor):
    """Encodes each span as it ends: a thread that did it later would fight the event loop for the
    interpreter, which costs both more than the work.
    """

    def on_end(self, span: ReadableSpan) -> None:
        if span.context and span.context.trace_flags.sampled:
            super().on_end(Encoded(span))


class Spans(SpanExporter):
    """Sends spans."""

    def __init__(self) -> None:
        self._channel = Channel("traces")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        told = [span if isinstance(span, Encoded) else Encoded(span) for span in spans]
        sent = self._channel.send(encoded_spans(told))
        return SpanExportResult.SUCCESS if sent else SpanExportResult.FAILURE

    def shutdown(self) -> None:
        self._channel.close()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True


class Measurements(MetricExporter):
    """Sends what instruments and tallies have counted."""

    def __init__(self, resource: Resource) -> None:
        super().__init__()
        self._resource = resource
        self._channel = Channel("metrics")

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **_: Any
    ) -> MetricExportResult:
        both = MetricsData([*metrics_data.resource_metrics, tally.told(self._resource)])
        sent = self._channel.send(encoded_metrics(both))
        return MetricExportResult.SUCCESS if sent else MetricExportResult.FAILURE

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
        self._channel.close()

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return True


def _said(signal: str, name: str, otherwise: str) -> str:
    """The variable of the signal, else that of all signals."""
    environ = os.environ  # noqa: TID251  (OTEL_* belong to the specification, not to a service)
    common = environ.get(f"OTEL_EXPORTER_OTLP_{name}", otherwise)
    return environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_{name}", common)


def _says_itself(signal: str) -> bool:
    """Whether the signal has an address of its own, which is used as it is."""
    environ = os.environ  # noqa: TID251  (as above)
    return bool(environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT"))


def _headers(signal: str) -> dict[str, str]:
    """`name=value` pairs with commas between them, percent-encoded as W3C Baggage is."""
    pairs = (pair.partition("=") for pair in _said(signal, "HEADERS", "").split(",") if "=" in pair)
    return {name.strip(): unquote(value.strip()) for name, _, value in pairs}
