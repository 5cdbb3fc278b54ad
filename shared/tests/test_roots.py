"""What begins here is sampled exactly as the SDK would sample it, and known before."""

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, TraceFlags

from shared import roots

TRACES = 400


@pytest.mark.parametrize(
    ("told", "share"),
    [
        ({}, 1.0),
        ({"OTEL_TRACES_SAMPLER": "always_on"}, 1.0),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_on"}, 1.0),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, 0.0),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, 0.0),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.3"}, 0.3),
        (
            {"OTEL_TRACES_SAMPLER": "PARENTBASED_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"},
            0.1,
        ),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "many"}, 1.0),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "7"}, 1.0),
        ({"OTEL_TRACES_SAMPLER": "none_such"}, 1.0),
    ],
)
def test_what_the_sampler_will_say_is_known(
    told: dict[str, str], share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert roots.share(told) == share
    ids = roots.Ids()
    ids.sample(share)
    tracer = TracerProvider(id_generator=ids, shutdown_on_exit=False).get_tracer("test")
    for _ in range(TRACES):
        unsampled = ids.unsampled()
        if unsampled:
            ids._drawn = unsampled  # so that the SDK has to decide of the same
        span = tracer.start_span("root", Context(), SpanKind.SERVER)
        assert span.is_recording() is not bool(unsampled)


def test_a_trace_that_nobody_samples_has_its_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = roots.Ids()
    ids.sample(0.0)
    monkeypatch.setattr(roots, "ids", ids)
    tracer = TracerProvider(id_generator=ids, shutdown_on_exit=False).get_tracer("test")
    span = roots.begin_root(tracer, "root", SpanKind.SERVER)
    context = span.get_span_context()
    assert span.get_span_context() is context
    assert context.is_valid
    assert not context.trace_flags.sampled
    assert context.trace_flags & TraceFlags.RANDOM_TRACE_ID
    assert context.trace_id == roots.trace_id_of(span)
    assert not span.is_recording()


def test_until_it_is_told_nothing_is_foreknown(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = roots.Ids()
    monkeypatch.setattr(roots, "ids", ids)
    tracer = TracerProvider(id_generator=ids, shutdown_on_exit=False).get_tracer("test")
    span = roots.begin_root(tracer, "root", SpanKind.SERVER)
    assert span.is_recording()
    assert roots.trace_id_of(span) == span.get_span_context().trace_id
