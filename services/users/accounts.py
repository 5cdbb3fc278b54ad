"""The rules of accounts and of following."""

from datetime import datetime
from uuid import UUID

from msgspec import UNSET, structs

from services.users import names
from services.users.model import Account, Profile
from services.users.passwords import Passwords
from services.users.queries import (
    delete_follow,
    find_profile,
    insert_account,
    insert_follow,
    lock_account,
    select_profiles,
    update_account,
)
from services.users.schema import UpdateUser
from shared.auth import invalid_token
from shared.database import Connection
from shared.errors import Invalid, NotFound, Unauthorized
from shared.events.users import ProfileUpdated, UserFollowed, UserRegistered, UserUnfollowed
from shared.outbox import publish


class WrongCredentials(Unauthorized):
    """The address or the password is wrong; the answer does not tell which."""

    def __init__(self) -> None:
        super().__init__(
            "The address or the password is wrong.", errors={"credentials": ["invalid"]}
        )


async def register(db: Connection, account: Account, now: datetime) -> None:
    """Open an account. Raises `EmailTaken` or `UsernameTaken`."""
    await insert_account(db, account, now)
    await publish(
        db,
        UserRegistered(
            account_id=account.id,
            username=account.username,
            email=account.email,
            bio=account.bio,
            image=account.image,
        ),
        now,
    )


async def proven(account: Account | None, password: str, passwords: Passwords) -> Account:
    """The account, if the password is its own. Raises `WrongCredentials`, after the same time
    whether there is such an account or not, or `Unavailable`.
    """
    matches = await passwords.verify(password, account.password_hash if account else None)
    if account is None or not matches:
        raise WrongCredentials
    return account


async def update(
    db: Connection, id_: UUID, wanted: UpdateUser, password_hash: str | None, now: datetime
) -> Account:
    """The account as it is after the change. Raises `EmailTaken`, `UsernameTaken`, or
    `Unauthorized` when there is no such account.
    """
    before = await lock_account(db, id_)
    if before is None:
        raise invalid_token()
    after = changed(before, wanted, password_hash)
    if after == before:
        return after
    await update_account(db, after, now)
    if fact(after) != fact(before):
        renamed = before.username if after.username != before.username else None
        await publish(db, structs.replace(fact(after), former_username=renamed), now)
    return after


def changed(account: Account, wanted: UpdateUser, password_hash: str | None) -> Account:
    """`account` with the wanted values."""
    given = {
        name: value or ""
        for name, value in structs.asdict(wanted).items()
        if value is not UNSET and name != "password"
    }
    if password_hash is not None:
        given["password_hash"] = password_hash
    return structs.replace(account, **given)


def fact(account: Account) -> ProfileUpdated:
    """What other services keep of an account."""
    return ProfileUpdated(
        account_id=account.id,
        username=account.username,
        email=account.email,
        bio=account.bio,
        image=account.image,
    )


async def profile(db: Connection, username: str, viewer_id: UUID | None) -> Profile:
    """The profile of that name in any case. Raises `NotFound`, or `Invalid` for an endless name."""
    found = await find_profile(db, names.lookup_key(username), viewer_id)
    if found is None:
        raise NotFound("There is no such profile.", errors={"profile": ["not found"]})
    return found


async def profiles(
    db: Connection, usernames: list[str], viewer_id: UUID | None
) -> list[Profile | None]:
    """The profile of each name in any case; None for one that nobody has."""
    keys = [names.key(username) for username in usernames]
    found = await select_profiles(db, keys, viewer_id)
    return [found.get(key) for key in keys]


async def follow(db: Connection, follower_id: UUID, username: str, now: datetime) -> Profile:
    """Following twice is following once. Raises `NotFound`, or `Invalid` for oneself."""
    followee = await profile(db, username, follower_id)
    if followee.id == follower_id:
        raise Invalid("Nobody follows themselves.", errors={"profile": ["can't be yourself"]})
    if await insert_follow(db, follower_id, followee.id, now):
        await publish(db, UserFollowed(follower_id=follower_id, followee_id=followee.id), now)
    return structs.replace(followee, following=True)


async def unfollow(db: Connection, follower_id: UUID, username: str, now: datetime) -> Profile:
    """Whoever is not followed stays so. Raises `NotFound`."""
    followee = await profile(db, username, follower_id)
    if await delete_follow(db, follower_id, followee.id):
        await publish(db, UserUnfollowed(follower_id=follower_id, followee_id=followee.id), now)
    return structs.replace(followee, following=False)
