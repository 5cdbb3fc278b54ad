"""Request and response bodies, as the RealWorld document has them."""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from services.users.names import EMAIL_LIMIT, USERNAME_LIMIT

Username = Annotated[str, Meta(min_length=1, max_length=USERNAME_LIMIT, pattern=r"\S")]
Email = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=EMAIL_LIMIT,
        pattern=r"\S",
        extra_json_schema={"format": "email"},
    ),
]
Password = Annotated[
    str, Meta(min_length=1, max_length=128, extra_json_schema={"format": "password"})
]
NewPassword = Annotated[
    str, Meta(min_length=8, max_length=128, pattern=r"\S", extra_json_schema={"format": "password"})
]
Bio = Annotated[str, Meta(max_length=10_000)]
Image = Annotated[str, Meta(max_length=2_048)]


class NewUser(Struct, frozen=True, kw_only=True):
    """Who wants an account."""

    username: Username
    email: Email
    password: NewPassword


class NewUserRequest(Struct, frozen=True, kw_only=True):
    """The body of a registration."""

    user: NewUser


class LoginUser(Struct, frozen=True, kw_only=True):
    """Who wants a token."""

    email: Email
    password: Password


class LoginUserRequest(Struct, frozen=True, kw_only=True):
    """The body of a login."""

    user: LoginUser


class UpdateUser(Struct, frozen=True, kw_only=True):
    """What shall be different; what is left out stays. Null empties `bio` and `image`."""

    username: Username | UnsetType = UNSET
    email: Email | UnsetType = UNSET
    password: NewPassword | UnsetType = UNSET
    bio: Bio | UnsetType | None = UNSET
    image: Image | UnsetType | None = UNSET


class UpdateUserRequest(Struct, frozen=True, kw_only=True):
    """The body of an update."""

    user: UpdateUser


class User(Struct, frozen=True, kw_only=True):
    """The caller's own account, with the token that proves them."""

    email: str
    token: str
    username: str
    bio: str
    image: str


class UserResponse(Struct, frozen=True, kw_only=True):
    """A reply about the caller."""

    user: User


class Profile(Struct, frozen=True, kw_only=True):
    """What others see of an account."""

    username: str
    bio: str
    image: str
    following: bool


class Names(Struct, frozen=True, kw_only=True):
    """Whose profiles; the parameter is there once for each."""

    username: Annotated[list[str], Meta(min_length=1, max_length=100)]


class MultipleProfiles(Struct, frozen=True, kw_only=True):
    """Profiles in the order of the names that were asked for; null where nobody has the name."""

    profiles: list[Profile | None]


class ProfileResponse(Struct, frozen=True, kw_only=True):
    """A reply about somebody."""

    profile: Profile
