"""Positions in services' outboxes, as `Quartet-Position` and `Quartet-After` carry them.

`Quartet-Applied` tells the gateway which of the latter the reply has seen. All are RFC 8941
dictionaries of integers: `users=1234, content=56`.
"""

POSITION = "Quartet-Position"
AFTER = "Quartet-After"
APPLIED = "Quartet-Applied"
WAIT_SECONDS = 0.5  # for what the caller has seen to be here as well
_MOST = 8


def parse(header: str) -> dict[str, int]:
    """The positions that a header names; what can't be read is left out."""
    positions: dict[str, int] = {}
    for part in header.split(",")[:_MOST]:
        source, _, number = part.strip().partition("=")
        if source.isidentifier() and number.isdecimal() and len(number) < 19:
            positions[source] = int(number)
    return positions


def write(positions: dict[str, int]) -> str:
    """The header's value for `positions`."""
    return ", ".join(f"{source}={number}" for source, number in positions.items())


def newest(left: dict[str, int], right: dict[str, int]) -> dict[str, int]:
    """Both together, the larger number of each source."""
    return {source: max(left.get(source, 0), right.get(source, 0)) for source in left | right}
