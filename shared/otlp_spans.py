"""Spans in the encoding of OTLP (opentelemetry/proto/trace/v1/trace.proto)."""

from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from struct import Struct, pack

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, SpanContext, SpanKind

from shared.otlp_values import attributes, count, field, moment, resource, scope, text

_LOCAL, _REMOTE = pack("<I", 0x100), pack("<I", 0x300)  # SpanFlags; the first bit: it is known
_KINDS = tuple(bytes((0x30, kind.value + 1)) for kind in SpanKind)
_TIMES = Struct("<BQBQ")  # two `fixed64`, each behind its number
_name = lru_cache(256)(text)


class Encoded(ReadableSpan):
    """A span of which nothing is left but its encoding, and whose it was."""

    def __init__(self, span: ReadableSpan) -> None:
        self._context = span.context
        self._resource, self._instrumentation_scope = span.resource, span.instrumentation_scope
        self.told = field(2, _span(span))


def encoded_spans(spans: Iterable[Encoded]) -> bytes:
    """An `ExportTraceServiceRequest`."""
    groups = defaultdict[tuple[int, int], list[Encoded]](list)
    for span in spans:  # by identity: to compare resources takes longer than to encode a span
        groups[id(span.resource), id(span.instrumentation_scope)].append(span)
    return b"".join([_group(group) for group in groups.values()])


def _group(spans: list[Encoded]) -> bytes:
    about, named = spans[0].resource, spans[0].instrumentation_scope
    schema = text(3, named.schema_url or "") if named else b""
    scoped = field(2, scope(named) + b"".join([span.told for span in spans]) + schema)
    return field(1, resource(about) + scoped + text(3, about.schema_url))


def _span(span: ReadableSpan) -> bytes:
    context, parent, status = span.context, span.parent, span.status
    assert context is not None
    parts = [
        _ids(context),
        b"\x22\x08" + parent.span_id.to_bytes(8, "big") if parent else b"",
        _name(5, span.name),
        _KINDS[span.kind.value],
        _TIMES.pack(0x39, span.start_time or 0, 0x41, span.end_time or 0),
        attributes(9, span.attributes),
        count(10, span.dropped_attributes),
        *[field(11, _event(event)) for event in span.events],
        count(12, span.dropped_events),
        *[field(13, _link(link)) for link in span.links],
        count(14, span.dropped_links),
        _status(status.status_code.value, status.description or ""),
        b"\x85\x01" + _flags(parent),
    ]
    return b"".join(parts)


def _ids(context: SpanContext) -> bytes:
    """The first three fields of a span, and of a link."""
    trace, span = context.trace_id.to_bytes(16, "big"), context.span_id.to_bytes(8, "big")
    state = text(3, context.trace_state.to_header()) if context.trace_state else b""
    return b"\x0a\x10%b\x12\x08%b%b" % (trace, span, state)


def _event(event: Event) -> bytes:
    said = attributes(3, event.attributes) + count(4, event.dropped_attributes)
    return moment(1, event.timestamp) + text(2, event.name) + said


def _link(link: Link) -> bytes:
    said = attributes(4, link.attributes) + count(5, link.dropped_attributes)
    return _ids(link.context) + said + b"\x35" + _flags(link.context)


def _flags(context: SpanContext | None) -> bytes:
    return _REMOTE if context is not None and context.is_remote else _LOCAL


@lru_cache(16)
def _status(code: int, description: str) -> bytes:
    return field(15, text(2, description) + count(3, code))
