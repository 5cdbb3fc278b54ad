"""What spans and measurements have in common in the encoding of OTLP, which is protobuf's
(opentelemetry/proto/common/v1, resource/v1).

OpenTelemetry's own encoder makes an object of each value, which takes forty microseconds a span in
which the event loop waits, and protobuf's runtime takes three megabytes of each process. Names and
values say the same again and again, and are encoded here once.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from struct import pack
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

_OFTEN = (str, bool, int)


def attributes(number: int, said: Mapping[str, Any] | None) -> bytes:
    """A `KeyValue` for each, as the field of that number."""
    return b"".join(
        [
            _known(number, name, value) if type(value) in _OFTEN else _pair(number, name, value)
            for name, value in (said or {}).items()
        ]
    )


@lru_cache(2)
def resource(about: Resource) -> bytes:
    """The `Resource`, which is the first field of whatever has one."""
    return field(1, attributes(1, about.attributes))


@lru_cache(256)
def scope(named: InstrumentationScope | None) -> bytes:
    """The `InstrumentationScope`, which is the first field of what has one."""
    if named is None:
        return b""
    version = text(2, named.version) if named.version else b""
    return field(1, text(1, named.name) + version + attributes(3, named.attributes))


def _pair(number: int, name: str, value: Any) -> bytes:
    return field(number, text(1, name) + field(2, _any(value)))


_known = lru_cache(4096, typed=True)(_pair)  # True and 1 are equal, but not the same


def _any(value: Any) -> bytes:
    """An `AnyValue`."""
    match value:
        case None:
            return b""
        case str():
            return field(1, value.encode())  # empty as well: one of many is told by its being there
        case bool():
            return b"\x10" + bytes((value,))
        case int():
            return b"\x18" + varint(value & 0xFFFF_FFFF_FFFF_FFFF)
        case float():
            return b"\x21" + pack("<d", value)
        case bytes():
            return field(7, value)
        case Mapping():
            return field(6, attributes(1, value))
        case _:
            return field(5, b"".join([field(1, _any(each)) for each in value]))


def text(number: int, said: str) -> bytes:
    """A string; the default, which is empty, is not told."""
    return field(number, said.encode()) if said else b""


def moment(number: int, nanoseconds: int | None) -> bytes:
    """A `fixed64`, of a field below 16."""
    return bytes((number << 3 | 1,)) + pack("<Q", nanoseconds) if nanoseconds else b""


def count(number: int, times: int) -> bytes:
    """A `uint32`, of a field below 16."""
    return bytes((number << 3,)) + varint(times) if times else b""


def packed(number: int, kind: str, numbers: Iterable[float]) -> bytes:
    """Numbers of eight bytes each, one after the other."""
    told = list(numbers)
    return field(number, pack(f"<{len(told)}{kind}", *told)) if told else b""


def field(number: int, message: bytes) -> bytes:
    """What tells its length (wire type 2)."""
    return varint(number << 3 | 2) + varint(len(message)) + message


def varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    if value < 0x80:
        return bytes((value,))
    parts = bytearray()
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)
