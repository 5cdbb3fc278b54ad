"""The words of a service: its own name, and what it calls the things that it keeps."""

import re
from dataclasses import dataclass

_GADGET = re.compile(r"gadget(ry|s)?", re.IGNORECASE)
_PORT = re.compile(r"\b8009\b")


@dataclass(frozen=True)
class Words:
    """What takes the place of gadgetry, gadget, gadgets and 8009 in the template."""

    name: str
    thing: str
    port: int

    @property
    def things(self) -> str:
        """More than one."""
        return plural(self.thing)

    def into(self, text: str) -> str:
        """`text` with these words, each in the case of the one that it replaces."""
        return _PORT.sub(str(self.port), _GADGET.sub(self._one, text))

    def _one(self, match: re.Match[str]) -> str:
        ending = (match[1] or "").lower()
        word = {"ry": self.name, "s": self.things}.get(ending, self.thing)
        if match[0].isupper():
            return word.upper()
        return word.capitalize() if match[0][0].isupper() else word


def plural(word: str) -> str:
    """As most English nouns have it: books, boxes, libraries."""
    if re.search(r"(s|x|z|ch|sh)$", word):
        return f"{word}es"
    return f"{word[:-1]}ies" if re.search(r"[^aeiou]y$", word) else f"{word}s"


def singular(word: str) -> str:
    """What most English plurals are the plural of; anything else as it is."""
    if re.search(r"[^aeiou]ies$", word):
        return f"{word[:-3]}y"
    if re.search(r"(ss|x|ch|sh)es$", word):
        return word[:-2]
    return word if re.search(r"(ss|us|is|[^s])$", word) else word[:-1]
