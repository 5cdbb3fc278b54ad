"""Statements: what they find, and what constraints refuse."""

from datetime import UTC, datetime
from uuid import uuid4

import asyncpg
import pytest
from msgspec import structs
from uuid_utils.compat import uuid7

from services.users import queries
from services.users.model import Account
from services.users.names import EmailTaken, UsernameTaken
from shared.database import Connection
from shared.errors import Unauthorized

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)


async def kept(db: Connection, name: str) -> Account:
    account = Account(
        id=uuid7(),
        email=f"{name}@example.org",
        username=name,
        password_hash="$argon2id$",
        bio="",
        image="",
    )
    await queries.insert_account(db, account, NOW)
    return account


@pytest.fixture
async def ada(db: Connection) -> Account:
    return await kept(db, "Ada")


@pytest.fixture
async def bob(db: Connection) -> Account:
    return await kept(db, "bob")


async def test_an_account_is_found_as_it_was_kept(db: Connection, ada: Account) -> None:
    assert await queries.find_account(db, ada.id) == ada
    assert await queries.lock_account(db, ada.id) == ada
    assert await queries.find_account_by_email(db, "ada@example.org") == ada
    assert await queries.find_account(db, uuid4()) is None
    assert await queries.lock_account(db, uuid4()) is None
    assert await queries.find_account_by_email(db, "Ada@example.org") is None


async def test_an_address_is_taken_in_any_case(db: Connection, ada: Account) -> None:
    eve = structs.replace(ada, id=uuid7(), username="eve", email="ADA@EXAMPLE.ORG")
    with pytest.raises(EmailTaken):
        await queries.insert_account(db, eve, NOW)


async def test_a_username_is_taken_in_any_form(db: Connection, ada: Account) -> None:
    eve = structs.replace(ada, id=uuid7(), username="ＡＤＡ", email="eve@example.org")
    with pytest.raises(UsernameTaken):
        await queries.insert_account(db, eve, NOW)


async def test_a_changed_name_is_nobody_elses(db: Connection, ada: Account, bob: Account) -> None:
    with pytest.raises(UsernameTaken):
        await queries.update_account(db, structs.replace(ada, username="BOB"), NOW)


async def test_what_stands_for_no_refusal_stays_what_it_is(db: Connection, ada: Account) -> None:
    twin = structs.replace(ada, username="twin", email="twin@example.org")
    with pytest.raises(asyncpg.UniqueViolationError):
        await queries.insert_account(db, twin, NOW)


async def test_a_change_keeps_what_it_does_not_name(db: Connection, ada: Account) -> None:
    changed = structs.replace(ada, username="ADA", bio="Writes about engines.")
    await queries.update_account(db, changed, NOW)
    assert await queries.find_account(db, ada.id) == changed


async def test_a_hash_is_replaced_unless_the_password_has_changed(
    db: Connection, ada: Account
) -> None:
    await queries.update_password_hash(db, ada.id, "$other$", "$lost$")
    assert await queries.find_account(db, ada.id) == ada
    await queries.update_password_hash(db, ada.id, ada.password_hash, "$fresh$")
    found = await queries.find_account(db, ada.id)
    assert found == structs.replace(ada, password_hash="$fresh$")


async def test_a_follow_is_there_once(db: Connection, ada: Account, bob: Account) -> None:
    assert await queries.insert_follow(db, ada.id, bob.id, NOW)
    assert not await queries.insert_follow(db, ada.id, bob.id, NOW)
    assert await queries.delete_follow(db, ada.id, bob.id)
    assert not await queries.delete_follow(db, ada.id, bob.id)


async def test_nobody_can_not_follow(db: Connection, ada: Account) -> None:
    with pytest.raises(Unauthorized):
        await queries.insert_follow(db, uuid4(), ada.id, NOW)


async def test_the_table_holds_no_follow_of_oneself(db: Connection, ada: Account) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await queries.insert_follow(db, ada.id, ada.id, NOW)


async def test_a_profile_is_seen_by_its_viewer(db: Connection, ada: Account, bob: Account) -> None:
    await queries.insert_follow(db, ada.id, bob.id, NOW)
    for viewer, following in ((ada.id, True), (bob.id, False), (None, False)):
        seen = await queries.find_profile(db, "bob", viewer)
        assert seen is not None
        assert (seen.id, seen.username, seen.following) == (bob.id, "bob", following)
    assert await queries.find_profile(db, "Bob", None) is None
