"""Measurements in the encoding of OTLP (opentelemetry/proto/metrics/v1/metrics.proto)."""

from struct import pack

from opentelemetry.sdk.metrics.export import (
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

from shared.otlp_values import attributes, count, field, moment, packed, resource, scope, text


def encoded_metrics(data: MetricsData) -> bytes:
    """An `ExportMetricsServiceRequest`. Raises `TypeError` for exponential histograms, which nobody
    here makes.
    """
    return b"".join([field(1, _of_resource(each)) for each in data.resource_metrics])


def _of_resource(told: ResourceMetrics) -> bytes:
    scoped = b"".join([field(2, _of_scope(each)) for each in told.scope_metrics])
    return resource(told.resource) + scoped + text(3, told.resource.schema_url)


def _of_scope(told: ScopeMetrics) -> bytes:
    metrics = b"".join([field(2, _metric(each)) for each in told.metrics])
    return scope(told.scope) + metrics + text(3, told.schema_url or "")


def _metric(metric: Metric) -> bytes:
    said = text(1, metric.name) + text(2, metric.description or "") + text(3, metric.unit or "")
    match metric.data:
        case Gauge() as gauge:
            return said + field(5, b"".join([field(1, _number(n)) for n in gauge.data_points]))
        case Sum() as total:
            points = b"".join([field(1, _number(point)) for point in total.data_points])
            kind = count(2, total.aggregation_temporality) + count(3, total.is_monotonic)
            return said + field(7, points + kind)
        case Histogram() as histogram:
            points = b"".join([field(1, _histogram(point)) for point in histogram.data_points])
            return said + field(9, points + count(2, histogram.aggregation_temporality))
        case other:
            raise TypeError(f"{type(other).__name__} of {metric.name}")


def _number(point: NumberDataPoint) -> bytes:
    value = point.value
    told = b"\x31" + pack("<q", value) if isinstance(value, int) else b"\x21" + pack("<d", value)
    return _when(point) + told + attributes(7, point.attributes)


def _histogram(point: HistogramDataPoint) -> bytes:
    return b"".join(
        [
            _when(point),
            moment(4, point.count),
            b"\x29" + pack("<d", point.sum),
            packed(6, "Q", point.bucket_counts),
            packed(7, "d", point.explicit_bounds),
            attributes(9, point.attributes),
            b"\x59" + pack("<d", point.min) + b"\x61" + pack("<d", point.max),
        ]
    )


def _when(point: NumberDataPoint | HistogramDataPoint) -> bytes:
    return moment(2, point.start_time_unix_nano) + moment(3, point.time_unix_nano)
