"""Our tracer tells of a span what the SDK's tells, and decides as it does."""

from collections.abc import Callable

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    ParentBased,
    Sampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    TraceState,
)
from opentelemetry.util.types import AttributeValue

from shared.otlp_spans import Encoded
from shared.spans import Tracing

STATE = TraceState([("vendor", "1")])
REMOTE = SpanContext(7, 8, is_remote=True, trace_flags=TraceFlags(3), trace_state=STATE)
Story = Callable[[Tracer], None]


class Counted(IdGenerator):
    """Ids that are the same for both."""

    def __init__(self) -> None:
        self._last = 40

    def generate_span_id(self) -> int:
        self._last += 1
        return self._last

    def generate_trace_id(self) -> int:
        return self.generate_span_id() << 60

    def is_trace_id_random(self) -> bool:
        return True


class Heard(SpanProcessor):
    """Encodes what has ended, as the processor that exports does."""

    def __init__(self) -> None:
        self.told: list[bytes] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.told.append(Encoded(span).told)


def told(kind: type[TracerProvider], story: Story) -> list[bytes]:
    heard = Heard()
    provider = kind(resource=Resource({}), id_generator=Counted(), sampler=ALWAYS_ON)
    provider.add_span_processor(heard)
    story(provider.get_tracer("tale", "1.2"))
    return heard.told


def under(context: SpanContext) -> Context:
    return trace.set_span_in_context(NonRecordingSpan(context), Context())


def goes_on_with_a_trace(tracer: Tracer) -> None:
    said: dict[str, AttributeValue] = {"n": 1, "many": ("x", "y"), "a": "b"}
    links = [Link(REMOTE, {"why": "asked"})]
    span = tracer.start_span("GET", under(REMOTE), SpanKind.SERVER, said, links, start_time=5)
    span.set_attribute("a", "c")
    span.set_attributes({"yes": True, "half": 0.5})
    span.update_name("GET /x")
    span.add_event("seen", {"it": 1}, timestamp=6)
    span.end(9)
    span.set_attribute("late", "said")
    span.end(10)


def has_a_child(tracer: Tracer) -> None:
    with tracer.start_as_current_span("outer", Context(), start_time=5, end_on_exit=False) as outer:
        tracer.start_span("inner", kind=SpanKind.CLIENT, start_time=6).end(7)
    outer.end(8)


def fails(tracer: Tracer) -> None:
    span = tracer.start_span("job", Context(), start_time=5)
    span.set_status(StatusCode.ERROR, "ValueError")
    span.set_status(Status(StatusCode.UNSET))
    span.end(9)


def went_well_after_all(tracer: Tracer) -> None:
    span = tracer.start_span("job", Context(), start_time=5)
    span.set_status(Status(StatusCode.ERROR, "why"))
    span.set_status(StatusCode.OK)
    span.set_status(StatusCode.ERROR, "later")
    span.end(9)


@pytest.mark.parametrize("story", [goes_on_with_a_trace, has_a_child, fails, went_well_after_all])
def test_a_span_tells_what_the_sdks_tells(story: Story) -> None:
    assert told(Tracing, story) == told(TracerProvider, story) != []


@pytest.mark.parametrize("error", [ValueError("wrong"), pytest.UsageError("used")])
def test_an_error_is_told_as_the_sdk_tells_it(error: Exception) -> None:
    def breaks(tracer: Tracer) -> None:
        span = tracer.start_span("job", Context(), start_time=5)
        span.record_exception(error, {"more": 1}, timestamp=6)
        span.end(9)

    assert told(Tracing, breaks) == told(TracerProvider, breaks)


def test_the_limits_of_the_specification_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "3")
    monkeypatch.setenv("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "3")
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "2")

    def says_much(tracer: Tracer) -> None:
        said = {"a": "a", "b": "b", "c": "long enough"}
        tracer.start_span("GET", Context(), attributes=said, start_time=5).end(6)

    ours, theirs = told(Tracing, says_much), told(TracerProvider, says_much)
    assert ours == theirs
    assert b"lon" in ours[0]
    assert b"long" not in ours[0]


@pytest.mark.parametrize("sampler", [ALWAYS_OFF, ParentBased(TraceIdRatioBased(0.5))])
@pytest.mark.parametrize("flags", [None, 0, 1, 2, 3])
def test_the_sampler_decides_and_ids_and_state_go_on(sampler: Sampler, flags: int | None) -> None:
    parent = Context()
    if flags is not None:
        parent = under(SpanContext(7, 8, True, TraceFlags(flags), STATE))

    def begun(kind: type[TracerProvider]) -> list[tuple[bool, SpanContext, int]]:
        provider = kind(resource=Resource({}), id_generator=Counted(), sampler=sampler)
        spans = [provider.get_tracer("x").start_span("GET", parent) for _ in range(20)]
        contexts = [span.get_span_context() for span in spans]
        return [
            (span.is_recording(), context, int(context.trace_flags))
            for span, context in zip(spans, contexts, strict=True)
        ]

    assert begun(Tracing) == begun(TracerProvider)
