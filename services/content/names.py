"""How titles become slugs, and how usernames are told apart."""

import re
import unicodedata
from collections.abc import Iterator

SLUG_LENGTH = 100
_NO_TITLE = "article"
# Letters that Unicode does not take apart, though every reader would.
_LETTERS = str.maketrans(
    {"æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "ł": "l", "ı": "i"}
)
_APOSTROPHES = re.compile("['’ʼ]")
_ACCENT_ON_ASCII = re.compile("(?<=[a-z0-9])[\u0300-\u036f]+")
_HYPHENS = re.compile("-+")


def slug_of(title: str) -> str:
    """The slug that a title asks for: lower-case words joined by hyphens, 1 to 100 characters.

    Latin letters lose their accents; other scripts keep their letters, which an address carries
    percent-encoded.
    """
    text = unicodedata.normalize("NFKC", title).casefold().translate(_LETTERS)
    text = _ACCENT_ON_ASCII.sub("", unicodedata.normalize("NFKD", text))
    text = unicodedata.normalize("NFC", _APOSTROPHES.sub("", text))
    return _HYPHENS.sub("-", "".join(_words(text)))[:SLUG_LENGTH].strip("-") or _NO_TITLE


def _words(text: str) -> Iterator[str]:
    """Letters and digits, with the marks that many scripts write vowels with; hyphens for the
    rest, lone marks among them.
    """
    in_word = False
    for char in text:
        kind = unicodedata.category(char)[0]
        in_word = kind in "LN" or (kind == "M" and in_word)
        yield char if in_word else "-"


def username_key(username: str) -> str:
    """What two spellings of one username share, by the rule of the users service."""
    folded = unicodedata.normalize("NFKC", username).casefold()
    return unicodedata.normalize("NFKC", folded)
