"""Tallies say the same to Prometheus and by OTLP, as OpenTelemetry's own instruments would."""

from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.metrics.export import Histogram, MetricsData
from opentelemetry.sdk.resources import Resource
from prometheus_client import generate_latest

from shared.tally import SECONDS, Count, Durations, told


def test_durations_fall_into_buckets_by_their_attributes() -> None:
    tally = Durations("test.tally.duration", "Of a test", ("route", "fault"))
    for seconds in (0.001, 0.002, 99.0):
        tally.add(seconds, ("/a", None))
    tally.add(0.2, ("/b", "500"))
    text = generate_latest().decode()
    of_a = 'test_tally_duration_seconds_{}{{fault="",{}route="/a"}} {}'
    assert of_a.format("count", "", "3.0") in text
    assert of_a.format("bucket", 'le="0.001",', "1.0") in text  # what is on a bound is below it
    assert of_a.format("bucket", 'le="0.0025",', "2.0") in text
    assert of_a.format("bucket", 'le="60.0",', "2.0") in text
    assert of_a.format("bucket", 'le="+Inf",', "3.0") in text
    data = tally.metric().data
    assert isinstance(data, Histogram)
    one, other = data.data_points
    assert (one.attributes, other.attributes) == ({"route": "/a"}, {"route": "/b", "fault": "500"})
    assert (one.count, one.sum, one.min, one.max) == (3, 99.003, 0.001, 99.0)
    assert list(one.explicit_bounds) == list(SECONDS)
    assert list(one.bucket_counts) == [1, 1, *[0] * (len(SECONDS) - 2), 1]


def test_counts_travel_by_otlp_too() -> None:
    tally = Count("test.tally.count", "Of a test", ("kind",))
    tally.add(("x",))
    tally.add(("x",))
    assert 'test_tally_count_total{kind="x"} 2.0' in generate_latest().decode()
    sent = encode_metrics(MetricsData([told(Resource({"service.name": "a test"}))]))
    metrics = {one.name: one for one in sent.resource_metrics[0].scope_metrics[0].metrics}
    (point,) = metrics["test.tally.count"].sum.data_points
    assert (point.as_int, metrics["test.tally.count"].sum.is_monotonic) == (2, True)
