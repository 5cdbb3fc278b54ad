"""Traces that begin here. One that nobody samples has ids, for logs and replies, and no more."""

from collections.abc import Mapping
from random import getrandbits

from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    TraceFlags,
    Tracer,
)

_LIMIT = TraceIdRatioBased.TRACE_ID_LIMIT
_FLAGS = TraceFlags(TraceFlags.RANDOM_TRACE_ID)
_SHARES = {"always_on": "1", "always_off": "0"}


class Ids(RandomIdGenerator):
    """Draws ids, and knows before the SDK what its sampler will say of a trace that begins with
    one: it goes by the id alone (W3C Trace Context 2, 3.2.2.3). Until `sample` is told, it asks.
    """

    def __init__(self) -> None:
        self._bound = _LIMIT + 1
        self._drawn = 0

    def sample(self, share: float) -> None:
        """So many of all traces are sampled."""
        self._bound = TraceIdRatioBased.get_bound_for_rate(share)

    def unsampled(self) -> int:
        """The id of a trace that is not sampled; 0 for one that is, whose id the SDK gets next."""
        trace_id = getrandbits(128)
        if trace_id & _LIMIT >= self._bound:
            return trace_id
        self._drawn = trace_id
        return 0

    def generate_trace_id(self) -> int:
        drawn, self._drawn = self._drawn, 0
        return drawn or super().generate_trace_id()


ids = Ids()


class Unsampled(NonRecordingSpan):
    """The root of a trace that is not sampled. It has an id of its own once somebody asks."""

    def __init__(self, trace_id: int) -> None:
        self.trace_id = trace_id
        self._own: SpanContext | None = None

    def get_span_context(self) -> SpanContext:
        if self._own is None:
            span_id = ids.generate_span_id()
            self._own = SpanContext(self.trace_id, span_id, is_remote=False, trace_flags=_FLAGS)
        return self._own


def begin_root(tracer: Tracer, name: str, kind: SpanKind) -> Span:
    """The first span of a trace."""
    trace_id = ids.unsampled()
    return Unsampled(trace_id) if trace_id else tracer.start_span(name, Context(), kind)


def trace_id_of(span: Span) -> int:
    """The id of a span's trace."""
    return span.trace_id if type(span) is Unsampled else span.get_span_context().trace_id


def share(environ: Mapping[str, str]) -> float:
    """How many of the traces that begin here are sampled, by OTEL_TRACES_SAMPLER and its argument;
    what can't be read is 1, as the SDK has it.
    """
    root = environ.get("OTEL_TRACES_SAMPLER", "").strip().lower().removeprefix("parentbased_")
    said = environ.get("OTEL_TRACES_SAMPLER_ARG", "1") if root == "traceidratio" else "1"
    try:
        found = float(_SHARES.get(root, said))
    except ValueError:
        return 1.0
    return found if 0.0 <= found <= 1.0 else 1.0
