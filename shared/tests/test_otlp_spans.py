"""Our encoding of spans says what OpenTelemetry's says."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)

from shared.otlp_spans import encoded

RESOURCE = Resource({"service.name": "x", "process.pid": 7, "some": ("a", "b")})
SCOPES = [InstrumentationScope("quartet"), InstrumentationScope("other", "1.2"), None]
contexts = st.builds(
    SpanContext,
    st.integers(1, 2**128 - 1),
    st.integers(1, 2**64 - 1),
    st.booleans(),
    st.just(TraceFlags(1)),
    st.sampled_from([TraceState(), TraceState([("a", "1"), ("b", "2")])]),
)
values = st.one_of(
    st.text(max_size=300),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.lists(st.text(max_size=3), max_size=2).map(tuple),
)
moments = st.integers(0, 2**64 - 1)
spans = st.builds(
    ReadableSpan,
    st.text(max_size=200),
    contexts,
    st.none() | contexts,
    st.just(RESOURCE),
    st.dictionaries(st.text(max_size=5), values, max_size=5),
    st.just(()) | st.just((Event("e", {"a": 1}, 5),)),
    st.just(()) | st.lists(st.builds(Link, contexts), min_size=1, max_size=1),
    st.sampled_from(SpanKind),
    status=st.sampled_from([Status(), Status(StatusCode.OK), Status(StatusCode.ERROR, "why")]),
    start_time=moments,
    end_time=moments,
    instrumentation_scope=st.sampled_from(SCOPES),
)


def told(message: bytes) -> list[tuple[str, str, str]]:
    """Each span, with its resource and scope, in a fixed order."""
    request = ExportTraceServiceRequest.FromString(message)
    return sorted(
        (str(of.resource), str(scoped.scope), str(span))
        for of in request.resource_spans
        for scoped in of.scope_spans
        for span in scoped.spans
    )


@given(st.lists(spans, max_size=4))
def test_it_says_what_opentelemetry_says(given: Sequence[ReadableSpan]) -> None:
    assert told(encoded(given)) == told(encode_spans(given).SerializeToString())
