"""Spans in the encoding of OTLP (opentelemetry/proto/trace/v1/trace.proto), as protobuf writes it.

OpenTelemetry's encoder makes an object of each attribute, which takes forty microseconds a span, in
which the event loop waits. Attributes say the same again and again, and are encoded here once. What
has events, links, or attributes that are no text or integer is left to OpenTelemetry; few are.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import groupby
from struct import pack
from typing import Any

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext

_REMOTE, _KNOWS_REMOTE = 0x200, 0x100  # SpanFlags
_PLAIN = (str, bool, int)


def encoded(spans: Sequence[ReadableSpan]) -> bytes:
    """An `ExportTraceServiceRequest`. Of several, one after the other is what all say together."""
    plain = [span for span in spans if _is_plain(span)]
    others = [span for span in spans if not _is_plain(span)]
    message = encode_spans(others).SerializeToString() if others else b""
    for (resource, scope), group in groupby(plain, _whose):
        told = _resource(resource) + _scope_spans(scope, group)
        message += _field(1, told)
    return bytes(message)


def _is_plain(span: ReadableSpan) -> bool:
    values = (span.attributes or {}).values()
    return not span.events and not span.links and all(isinstance(v, _PLAIN) for v in values)


def _whose(span: ReadableSpan) -> tuple[Resource, InstrumentationScope | None]:
    return span.resource, span.instrumentation_scope


def _scope_spans(scope: InstrumentationScope | None, spans: Iterable[ReadableSpan]) -> bytes:
    return _field(2, _scope(scope) + b"".join(_field(2, _span(span)) for span in spans))


def _span(span: ReadableSpan) -> bytes:
    context, parent = span.context, span.parent
    assert context is not None
    status = span.status
    state = context.trace_state.to_header() if context.trace_state else ""
    parts = [
        b"\x0a\x10" + context.trace_id.to_bytes(16, "big"),
        b"\x12\x08" + context.span_id.to_bytes(8, "big"),
        _text(3, state) if state else b"",
        b"\x22\x08" + parent.span_id.to_bytes(8, "big") if parent else b"",
        _text(5, span.name),
        b"\x30" + bytes((span.kind.value + 1,)),
        b"\x39" + pack("<Q", span.start_time or 0),
        b"\x41" + pack("<Q", span.end_time or 0),
        *[_attribute(9, name, value) for name, value in (span.attributes or {}).items()],
        _status(status.status_code.value, status.description or ""),
        b"\x85\x01" + pack("<I", _flags(parent)),
    ]
    return b"".join(parts)


def _flags(parent: SpanContext | None) -> int:
    return _KNOWS_REMOTE | (_REMOTE if parent is not None and parent.is_remote else 0)


@lru_cache(2)
def _resource(resource: Resource) -> bytes:
    said = [_key_value(1, name, value) for name, value in resource.attributes.items()]
    return _field(1, b"".join(said))


@lru_cache(64)
def _scope(scope: InstrumentationScope | None) -> bytes:
    if scope is None:
        return b""
    return _field(1, _text(1, scope.name) + (_text(2, scope.version) if scope.version else b""))


@lru_cache(16)
def _status(code: int, description: str) -> bytes:
    said = _text(2, description) if description else b""
    return _field(15, said + (b"\x18" + bytes((code,)) if code else b""))


def _key_value(number: int, name: str, value: Any) -> bytes:
    return _field(number, _text(1, name) + _field(2, _any(value)))


_attribute = lru_cache(4096, typed=True)(_key_value)  # True and 1 are equal, but not the same


def _any(value: Any) -> bytes:
    """An `AnyValue`."""
    if isinstance(value, str):
        return _text(1, value)
    if isinstance(value, bool):
        return b"\x10" + bytes((value,))
    if isinstance(value, int):
        return b"\x18" + _number(value & 0xFFFF_FFFF_FFFF_FFFF)
    if isinstance(value, float):
        return b"\x21" + pack("<d", value)
    return _field(5, b"".join(_field(1, _any(each)) for each in value))


def _text(number: int, text: str) -> bytes:
    return _field(number, text.encode())


def _field(number: int, message: bytes) -> bytes:
    """One that has a length (wire type 2)."""
    return _number(number << 3 | 2) + _number(len(message)) + message


def _number(value: int) -> bytes:
    """A varint."""
    if value < 0x80:
        return bytes((value,))
    parts = bytearray()
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)
