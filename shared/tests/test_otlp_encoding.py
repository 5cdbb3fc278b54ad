"""Our encoding of spans and measurements says what OpenTelemetry's says."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
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

from shared.otlp_metrics import encoded_metrics
from shared.otlp_spans import Encoded, encoded_spans

RESOURCE = Resource({"service.name": "x", "process.pid": 7, "some": ("a", "b")})
SCOPES = [InstrumentationScope("quartet"), InstrumentationScope("other", "1.2"), None]


def contexts_with(*states: TraceState) -> st.SearchStrategy[SpanContext]:
    return st.builds(
        SpanContext,
        st.integers(1, 2**128 - 1),
        st.integers(1, 2**64 - 1),
        st.booleans(),
        st.just(TraceFlags(1)),
        st.sampled_from(states),
    )


contexts = contexts_with(TraceState(), TraceState([("a", "1"), ("b", "2")]))
values = st.one_of(
    st.text(max_size=300),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.lists(st.text(max_size=3), max_size=2).map(tuple),
    st.binary(max_size=3),
    st.dictionaries(st.text(max_size=2), st.integers(0, 3), max_size=2),
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
    st.just(()) | st.lists(st.builds(Link, contexts_with(TraceState())), min_size=1, max_size=1),
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
    assert told(encoded_spans(map(Encoded, given))) == told(encode_spans(given).SerializeToString())


said = st.dictionaries(st.text(max_size=5), values, max_size=3)
numbers = st.builds(
    NumberDataPoint,
    said,
    moments,
    moments,
    st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False),
)
floats = st.floats(allow_nan=False)
histograms = st.builds(
    HistogramDataPoint,
    said,
    moments,
    moments,
    moments,
    floats,
    st.lists(moments, max_size=4),
    st.lists(floats, max_size=4),
    floats,
    floats,
)
temporality = st.sampled_from(AggregationTemporality)
data = st.one_of(
    st.builds(Gauge, st.lists(numbers, min_size=1, max_size=3)),
    st.builds(Sum, st.lists(numbers, min_size=1, max_size=3), temporality, st.booleans()),
    st.builds(Histogram, st.lists(histograms, min_size=1, max_size=3), temporality),
)
metrics = st.builds(Metric, st.text(max_size=9), st.text(max_size=9), st.text(max_size=2), data)


@given(st.lists(metrics, max_size=4))
def test_it_says_the_same_of_measurements(given: list[Metric]) -> None:
    scoped = [ScopeMetrics(scope, given, "") for scope in SCOPES[:2] if scope]
    measured = MetricsData([ResourceMetrics(RESOURCE, scoped, "")])
    told = ExportMetricsServiceRequest.FromString(encoded_metrics(measured))
    for metric in (m for of in told.resource_metrics[0].scope_metrics for m in of.metrics):
        for point in metric.gauge.data_points:
            point.ClearField("start_time_unix_nano")  # which OpenTelemetry leaves out
    assert told == encode_metrics(measured)
