"""An answer of the gateway's own."""

from typing import NamedTuple


class Said(NamedTuple):
    """Status, header fields and body."""

    status: int
    fields: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
