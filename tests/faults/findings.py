"""What can be wrong."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Wrong(StrEnum):
    """The ways in which it can be wrong."""

    LOST = "lost"  # acknowledged, or an effect of what is there, and not to be found
    DUPLICATED = "duplicated"
    INVENTED = "invented"  # there, and nobody asked for it, or it was refused
    MAILED_TWICE = "mailed twice"  # a crash between the mail server's answer and our commit


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong."""

    wrong: Wrong
    what: str

    def __str__(self) -> str:
        return f"{self.wrong}: {self.what}"


def equal(what: str, expected: Mapping[Any, int], found: Mapping[Any, int]) -> Iterator[Finding]:
    """Where what was found is not what was expected."""
    for key in expected.keys() | found.keys():
        wanted, has = expected.get(key, 0), found.get(key, 0)
        if has > wanted:
            wrong = Wrong.DUPLICATED if wanted else Wrong.INVENTED
            yield Finding(wrong, f"{what}: {key}, {has} times and not {wanted}")
        elif has < wanted:
            yield Finding(Wrong.LOST, f"{what}: {key}, {has} times and not {wanted}")
