"""What a reply is about, by name, so that whoever keeps it can forget it when that changes.

A service names tags in `Quartet-Tags`, of a read what it shows and of a write what it changed; the
gateway keeps them to itself.
"""

from collections.abc import Iterable
from functools import lru_cache
from unicodedata import normalize
from urllib.parse import quote

from quart import Response

TAGS = "Quartet-Tags"
AGGREGATE = "Quartet-Aggregate"  # in the reply to a write: what its event happened to
LONGEST = 4_000  # bytes; a client of HTTP takes header lines of 8,000 or so
EVERYTHING = "*"  # a tag that every reply carries
_REMEMBERED = 10_000  # what is shown often is named often
LISTS, FAVORITES = "list", "favorites"


@lru_cache(_REMEMBERED)
def article(slug: str) -> str:
    """The tag of what shows an article."""
    return f"article:{quote(slug, safe='')}"


def comments(slug: str) -> str:
    """The tag of what shows an article's comments."""
    return f"comments:{quote(slug, safe='')}"


@lru_cache(_REMEMBERED)
def author(username: str) -> str:
    """The tag of what shows an account; spellings that name the same account share it."""
    folded = normalize("NFKC", normalize("NFKC", username).casefold())
    return f"author:{quote(folded, safe='')}"


def tag(name: str) -> str:
    """The tag of lists of the articles that have a tag."""
    return f"tag:{quote(name, safe='')}"


def any_of(one: str) -> str:
    """The tag of whatever shows any of that kind: `article:*` for `article:cats`."""
    return one.partition(":")[0] + ":*"


def tagged(response: Response, names: Iterable[str]) -> Response:
    """Let `response` say what it is about; where that is too much to say, of which kinds."""
    distinct = dict.fromkeys(names)
    value = ", ".join(distinct)
    if len(value) > LONGEST:
        value = ", ".join(dict.fromkeys(any_of(n) if ":" in n else n for n in distinct))
    response.headers[TAGS] = value
    return response


def changing(response: Response, names: Iterable[str], aggregate: str) -> None:
    """Let the reply to a write say what it changed, of which aggregate; where that is too much to
    say, everything.
    """
    value = ", ".join(dict.fromkeys(names))
    response.headers[TAGS] = value if len(value) <= LONGEST else EVERYTHING
    response.headers[AGGREGATE] = aggregate
