"""Spans that cost little: a tracer for OpenTelemetry's provider, by its own sampler, ids and
processors.

The SDK's span is made for any thread to write to, of anything: it has a lock, checks the type of
each value, and is copied when it ends. Ours belongs to the one task that began it.
"""

import time
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
)
from opentelemetry.util.types import Attributes, AttributeValue

_FLAGS = tuple(TraceFlags(number) for number in range(4))


class Tracing(TracerProvider):
    """The SDK's provider; its tracers record by `Recorded`. Processors hear of spans that end."""

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes = None,
    ) -> trace.Tracer:
        """The tracer of a scope; one that does nothing where `OTEL_SDK_DISABLED` says so."""
        given = super().get_tracer(
            instrumenting_module_name, instrumenting_library_version, schema_url, attributes
        )
        return Tracer(given) if isinstance(given, SdkTracer) else given


class Tracer(SdkTracer):
    """In the place of `given`, of which it has all parts."""

    def __init__(self, given: SdkTracer) -> None:
        vars(self).update(vars(given))
        self.scope = given._instrumentation_scope
        self.limits = SpanLimits()

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = (),
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> Span:
        """As the SDK does: the sampler decides whether the span records anything."""
        parent: SpanContext | None = trace.get_current_span(context).get_span_context()
        if parent is not None and parent.is_valid:
            trace_id, random = parent.trace_id, parent.trace_flags & TraceFlags.RANDOM_TRACE_ID
        else:
            parent, trace_id = None, self.id_generator.generate_trace_id()
            random = self.id_generator.is_trace_id_random() and TraceFlags.RANDOM_TRACE_ID
        chosen = self.sampler.should_sample(context, trace_id, name, kind, attributes, links)
        flags = _FLAGS[random | (chosen.decision is Decision.RECORD_AND_SAMPLE)]
        span_id = self.id_generator.generate_span_id()
        ours = SpanContext(trace_id, span_id, False, flags, chosen.trace_state)
        if chosen.decision is Decision.DROP:
            return NonRecordingSpan(ours)
        return Recorded(self, name, ours, parent, kind, chosen.attributes, links, start_time)


class Recorded(ReadableSpan, Span):
    """It is encoded as it ends: what is said of it later is not told."""

    def __init__(
        self,
        tracer: Tracer,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        kind: SpanKind,
        attributes: Attributes,
        links: Sequence[Link] | None,
        start_time: int | None,
    ) -> None:
        self._said: dict[str, Any] = dict(attributes) if attributes else {}
        self._happened: list[Event] = []
        self._tracer = tracer
        super().__init__(
            name,
            context,
            parent,
            tracer.resource,
            self._said,
            self._happened,
            links or (),
            kind,
            start_time=start_time or time.time_ns(),
            instrumentation_scope=tracer.scope,
        )

    def end(self, end_time: int | None = None) -> None:
        """Tell the processors, once."""
        if self._end_time is None:
            self._end_time = end_time or time.time_ns()
            self._attributes = _within(self._tracer.limits, self._said)
            self._tracer.span_processor.on_end(self)

    def get_span_context(self) -> SpanContext:
        """What children, and other processes, know of it."""
        assert self._context is not None
        return self._context

    def is_recording(self) -> bool:
        """Until it ends."""
        return self._end_time is None

    def update_name(self, name: str) -> None:
        """Name it anew."""
        self._name = name

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        """Say one thing of it."""
        self._said[key] = value

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Say several things of it."""
        self._said.update(attributes)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """That it went well stands; that nobody knows is not told."""
        if isinstance(status, StatusCode):
            status = Status(status, description)
        if self._status.status_code is not StatusCode.OK and not status.is_unset:
            self._status = status

    def add_event(
        self, name: str, attributes: Attributes = None, timestamp: int | None = None
    ) -> None:
        """Something that happened meanwhile."""
        self._happened.append(Event(name, attributes, timestamp))

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """As an event, by the names of the semantic conventions."""
        kind = type(exception)
        said = {
            "exception.type": f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins."),
            "exception.message": str(exception),
            "exception.stacktrace": "".join(traceback.format_exception(exception)),
            "exception.escaped": str(escaped),
        }
        self.add_event("exception", {**said, **(attributes or {})}, timestamp)


def _within(limits: SpanLimits, said: dict[str, Any]) -> Mapping[str, Any]:
    """What the limits of the specification, `OTEL_SPAN_ATTRIBUTE_…`, leave of it."""
    most, longest = limits.max_span_attributes, limits.max_span_attribute_length
    if longest is None and (most is None or len(said) <= most):
        return said
    return BoundedAttributes(most, said, max_value_len=longest)
