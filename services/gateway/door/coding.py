"""Content codings (RFC 9110, 8.4): which one a client wants, and how each is made."""

import zlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Protocol

import brotli
import zstandard


class Encoder(Protocol):
    """Takes a body piece by piece; what it gives may be empty until the end."""

    def compress(self, piece: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class _Brotli:
    def __init__(self) -> None:
        self._stream = brotli.Compressor(quality=4)

    def compress(self, piece: bytes, /) -> bytes:
        coded: bytes = self._stream.process(piece)
        return coded

    def flush(self) -> bytes:
        rest: bytes = self._stream.finish()
        return rest


# Best first. The levels are those that cost about as much time as gzip's fastest few.
ENCODERS: Mapping[bytes, Callable[[], Encoder]] = {
    b"zstd": lambda: zstandard.ZstdCompressor(level=3).compressobj(),
    b"br": _Brotli,
    b"gzip": lambda: zlib.compressobj(5, zlib.DEFLATED, 16 + zlib.MAX_WBITS),
}


@lru_cache(maxsize=256)
def chosen(accepted: bytes) -> bytes | None:
    """The coding that an `Accept-Encoding` prefers, ours best first among equals; None for none
    (RFC 9110, 12.5.3).
    """
    weights = dict(_weighed(part) for part in accepted.lower().split(b","))
    ours = {name: weights.get(name, weights.get(b"*", 0.0)) for name in ENCODERS}
    best = max(ours, key=lambda name: ours[name])
    return best if ours[best] > 0 and ours[best] >= weights.get(b"identity", 0.0) else None


def _weighed(part: bytes) -> tuple[bytes, float]:
    """A coding and its weight; a weight that is none is 0."""
    name, _, parameter = part.partition(b";")
    key, _, value = parameter.partition(b"=")
    if not parameter:
        return name.strip(), 1.0
    try:
        weight = float(value) if key.strip() == b"q" else 0.0
    except ValueError:
        weight = 0.0
    return name.strip(), weight if 0.0 <= weight <= 1.0 else 0.0
