"""The rules: what they answer, and what they tell other services."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import msgspec
import pytest
from uuid_utils.compat import uuid7

from services.users import accounts
from services.users.model import Account
from services.users.queries import find_account
from services.users.schema import UpdateUser
from shared.database import Connection
from shared.errors import Invalid, NotFound, Unauthorized
from shared.events import Event
from shared.events import users as events

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
TYPES = {event.SUBJECT: event for event in events.EVENTS}


def person(name: str) -> Account:
    return Account(
        id=uuid7(),
        email=f"{name}@example.org",
        username=name,
        password_hash="$argon2id$",
        bio="",
        image="",
    )


async def told(db: Connection) -> list[Event]:
    """What waits in the outbox, oldest first."""
    rows = await db.fetch(
        """SELECT subject, data FROM outbox
            WHERE occurred_at IN ($1, $2) ORDER BY position LIMIT 100""",
        NOW,
        LATER,
    )
    return [msgspec.json.decode(row["data"], type=TYPES[row["subject"]]) for row in rows]


@pytest.fixture
async def ada(db: Connection) -> Account:
    ada = person("Ada")
    await accounts.register(db, ada, NOW)
    return ada


@pytest.fixture
async def bob(db: Connection) -> Account:
    bob = person("bob")
    await accounts.register(db, bob, NOW)
    return bob


def registered(account: Account) -> Event:
    return events.UserRegistered(
        account_id=account.id,
        username=account.username,
        email=account.email,
        bio=account.bio,
        image=account.image,
    )


async def test_a_registration_is_told(db: Connection, ada: Account) -> None:
    assert await find_account(db, ada.id) == ada
    assert await told(db) == [registered(ada)]


async def test_a_change_is_told_with_all_its_values(db: Connection, ada: Account) -> None:
    wanted = UpdateUser(bio="Writes about engines.", email="ada@example.com")
    after = await accounts.update(db, ada.id, wanted, None, LATER)
    assert after == await find_account(db, ada.id)
    assert after == msgspec.structs.replace(ada, bio=wanted.bio, email=wanted.email)
    assert await told(db) == [
        registered(ada),
        events.ProfileUpdated(
            account_id=ada.id,
            username="Ada",
            email="ada@example.com",
            bio="Writes about engines.",
            image="",
        ),
    ]


async def test_a_changed_name_is_told_with_the_former_one(db: Connection, ada: Account) -> None:
    after = await accounts.update(db, ada.id, UpdateUser(username="Augusta"), None, LATER)
    renamed = msgspec.structs.replace(accounts.fact(after), former_username="Ada")
    assert await told(db) == [registered(ada), renamed]


async def test_a_changed_password_is_nobodys_business(db: Connection, ada: Account) -> None:
    wanted = UpdateUser(password="wrong horse")
    after = await accounts.update(db, ada.id, wanted, "$new$", LATER)
    assert after == msgspec.structs.replace(ada, password_hash="$new$")
    assert await find_account(db, ada.id) == after
    assert await told(db) == [registered(ada)]


@pytest.mark.parametrize("wanted", [UpdateUser(), UpdateUser(username="Ada", bio=None)])
async def test_a_change_that_changes_nothing_writes_nothing(
    db: Connection, ada: Account, wanted: UpdateUser
) -> None:
    assert await accounts.update(db, ada.id, wanted, None, LATER) == ada
    assert await told(db) == [registered(ada)]
    assert await db.fetchval("SELECT updated_at FROM accounts WHERE id = $1", ada.id) == NOW


async def test_an_account_that_is_not_there_is_no_caller(db: Connection) -> None:
    with pytest.raises(Unauthorized):
        await accounts.update(db, uuid4(), UpdateUser(bio="boo"), None, NOW)


async def test_a_follow_is_told_once(db: Connection, ada: Account, bob: Account) -> None:
    for _ in range(2):
        assert (await accounts.follow(db, ada.id, "BOB", LATER)).following
    for _ in range(2):
        assert not (await accounts.unfollow(db, ada.id, "bob", LATER)).following
    pair = {"follower_id": ada.id, "followee_id": bob.id}
    assert (await told(db))[2:] == [events.UserFollowed(**pair), events.UserUnfollowed(**pair)]


async def test_nobody_follows_themselves(db: Connection, ada: Account) -> None:
    with pytest.raises(Invalid) as refusal:
        await accounts.follow(db, ada.id, "ada", LATER)
    assert refusal.value.errors == {"profile": ["can't be yourself"]}
    assert not (await accounts.unfollow(db, ada.id, "ada", LATER)).following


async def test_the_unknown_can_not_be_followed(db: Connection, ada: Account) -> None:
    for rule in (accounts.follow, accounts.unfollow):
        with pytest.raises(NotFound):
            await rule(db, ada.id, "nobody at all", LATER)


class Committing:
    """Runs rules at once, each in a transaction and connection of its own."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def run(self, rule: Any, *args: object) -> Any:
        db = await asyncpg.connect(self._url)
        try:
            async with db.transaction():
                return await rule(db, *args)
        finally:
            await db.close()

    async def all(self, *calls: tuple[Any, ...]) -> list[Any]:
        return await asyncio.gather(*(self.run(*call) for call in calls), return_exceptions=True)

    async def outbox(self, aggregate: str) -> list[Event]:
        db = await asyncpg.connect(self._url)
        rows = await db.fetch(
            "SELECT subject, data FROM outbox WHERE aggregate = $1 ORDER BY position", aggregate
        )
        await db.close()
        return [msgspec.json.decode(row["data"], type=TYPES[row["subject"]]) for row in rows]


@pytest.fixture
def committing(database_url: str) -> Committing:
    return Committing(database_url)


async def opened(committing: Committing) -> Account:
    account = person(f"reader-{uuid4().hex}")
    await committing.run(accounts.register, account, NOW)
    return account


async def test_of_many_who_want_a_name_one_gets_it(committing: Committing) -> None:
    name = f"reader-{uuid4().hex}"
    rivals = [
        msgspec.structs.replace(person(name), email=f"{uuid4()}@example.org") for _ in range(8)
    ]
    results = await committing.all(*((accounts.register, rival, NOW) for rival in rivals))
    refused = [result for result in results if isinstance(result, Invalid)]
    assert results.count(None) == 1
    assert len(refused) == 7
    told = [event for rival in rivals for event in await committing.outbox(str(rival.id))]
    assert len(told) == 1


async def test_changes_at_once_are_told_in_their_order(committing: Committing) -> None:
    account = await opened(committing)
    changes = [UpdateUser(bio=f"bio {n}") for n in range(8)]
    await committing.all(*((accounts.update, account.id, c, None, NOW) for c in changes))
    told = await committing.outbox(str(account.id))
    last = told[-1]
    assert isinstance(last, events.ProfileUpdated)
    assert len(told) == 9
    assert last == accounts.fact(await committing.run(find_account, account.id))


async def test_changes_of_different_fields_at_once_are_both_kept(committing: Committing) -> None:
    account = await opened(committing)
    await committing.all(
        (accounts.update, account.id, UpdateUser(bio="a bio"), None, NOW),
        (accounts.update, account.id, UpdateUser(image="an image"), None, NOW),
    )
    found = await committing.run(find_account, account.id)
    assert (found.bio, found.image) == ("a bio", "an image")


async def test_follows_at_once_are_told_as_they_took_effect(committing: Committing) -> None:
    follower, followee = await opened(committing), await opened(committing)
    call = (follower.id, followee.username, NOW)
    results = await committing.all(
        *((rule, *call) for rule in (accounts.follow, accounts.unfollow) * 8)
    )
    assert not [result for result in results if isinstance(result, BaseException)]
    told = await committing.outbox(f"{follower.id}:{followee.id}")
    kinds = [type(event) for event in told]
    assert kinds == [events.UserFollowed, events.UserUnfollowed] * (len(kinds) // 2) + (
        [events.UserFollowed] * (len(kinds) % 2)
    )
    profile = await committing.run(accounts.profile, followee.username, follower.id)
    assert profile.following == (len(kinds) % 2 == 1)
