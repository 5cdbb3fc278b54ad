"""What makes a username or a mail address valid, and what makes two of them the same."""

import re
from unicodedata import normalize

from msgspec import UNSET, UnsetType

from shared.errors import Invalid

USERNAME_LIMIT = 64
EMAIL_LIMIT = 254  # RFC 5321, 4.5.3.1.3, less the angle brackets
_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+")


class EmailTaken(Invalid):
    """Another account has this address."""

    def __init__(self) -> None:
        super().__init__("The address is in use.", errors={"email": ["has already been taken"]})


class UsernameTaken(Invalid):
    """Another account has this username."""

    def __init__(self) -> None:
        super().__init__("The username is in use.", errors={"username": ["has already been taken"]})


def key(name: str) -> str:
    """What is equal for names that people take for the same: compatible forms and any case."""
    return normalize("NFKC", normalize("NFKC", name).casefold())


def check(username: str | UnsetType = UNSET, email: str | UnsetType = UNSET) -> None:
    """Raises `Invalid`, naming each of the given two that can't be used."""
    faults = {}
    if username is not UNSET and (fault := _username_fault(username, key(username))):
        faults["username"] = [fault]
    if email is not UNSET and (fault := _email_fault(email, key(email))):
        faults["email"] = [fault]
    if faults:
        raise Invalid("A name is not valid.", errors=faults)


def lookup_key(username: str) -> str:
    """The key to find an account with. Raises `Invalid` for a name longer than any."""
    if len(username) > USERNAME_LIMIT:
        raise Invalid("The username is too long.", errors={"username": [_too_long(USERNAME_LIMIT)]})
    return key(username)


def _username_fault(name: str, key: str) -> str | None:
    """A username is one segment of a path, so it is no dot segment (RFC 3986, 3.3).

    `isprintable` also refuses what Unicode has not assigned: keys stay the same when a newer
    Python knows more of it.
    """
    if len(key) > USERNAME_LIMIT:  # one character can become eighteen
        return _too_long(USERNAME_LIMIT)
    fits = name.isprintable() and key == key.strip() and "/" not in key and key not in (".", "..")
    return None if fits else "is invalid"


def _email_fault(email: str, key: str) -> str | None:
    if len(key) > EMAIL_LIMIT:
        return _too_long(EMAIL_LIMIT)
    return None if email.isprintable() and _ADDRESS.fullmatch(key) else "is invalid"


def _too_long(limit: int) -> str:
    return f"is too long (maximum is {limit} characters)"
