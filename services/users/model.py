"""What the users service knows."""

from uuid import UUID

import msgspec


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who can log in. `bio` and `image` are empty until they are set."""

    id: UUID
    email: str
    username: str
    password_hash: str
    bio: str
    image: str


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What others see of an account; `following` is true where the viewer follows it."""

    id: UUID
    username: str
    bio: str
    image: str
    following: bool
