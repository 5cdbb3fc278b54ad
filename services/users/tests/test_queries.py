"""Statements: what constraints refuse, and how PostgreSQL finds its rows."""

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

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


class Explained:
    """A connection that notes what each statement reads: indexes, or whole tables."""

    def __init__(self, db: Any) -> None:
        self._db = db
        self.scans: set[str] = set()

    async def fetchrow(self, query: str, *args: object) -> Any:
        await self._explain(query, args)
        return await self._db.fetchrow(query, *args)

    async def execute(self, query: str, *args: object) -> Any:
        await self._explain(query, args)
        return await self._db.execute(query, *args)

    async def _explain(self, query: str, args: tuple[object, ...]) -> None:
        plan = await self._db.fetchval(f"EXPLAIN (FORMAT JSON) {query}", *args)
        self._note(json.loads(plan)[0]["Plan"])

    def _note(self, node: dict[str, Any]) -> None:
        if "Scan" in node["Node Type"]:
            self.scans.add(node.get("Index Name") or node["Relation Name"])
        for child in node.get("Plans", ()):
            self._note(child)


Lookup = Callable[[Any, UUID], Awaitable[object]]


@pytest.fixture
async def somebody(db: Connection) -> UUID:
    """One of many, who follows some."""
    await db.execute(
        """INSERT INTO accounts
           SELECT gen_random_uuid(), n || '@x', n || '@x', n, n, '', '', '', now(), now()
             FROM (SELECT generate_series(1, 5000)::text AS n) AS numbers"""
    )
    first: UUID = await db.fetchval("SELECT id FROM accounts WHERE username_key = '1'")
    await db.execute(
        """INSERT INTO follows
           SELECT a.id, b.id, now() FROM accounts a, accounts b
            WHERE a.username_key IN ('1', '2', '3') AND a.id <> b.id""",
    )
    await db.execute("ANALYZE accounts, follows")
    return first


@pytest.mark.parametrize(
    ("lookup", "index"),
    [
        (lambda db, id_: queries.find_account(db, id_), "accounts_pkey"),
        (lambda db, id_: queries.lock_account(db, id_), "accounts_pkey"),
        (lambda db, _: queries.find_account_by_email(db, "9@x"), "accounts_email_taken"),
        (lambda db, id_: queries.find_profile(db, "9", id_), "accounts_username_taken"),
        (lambda db, id_: queries.update_password_hash(db, id_, "", ""), "accounts_pkey"),
        (lambda db, id_: queries.delete_follow(db, id_, id_), "follows_"),
    ],
    ids=["by id", "lock", "by address", "profile", "password", "unfollow"],
)
async def test_no_table_is_read_whole(
    db: Connection, somebody: UUID, lookup: Lookup, index: str
) -> None:
    explained = Explained(db)
    await lookup(explained, somebody)
    assert any(scan.startswith(index) for scan in explained.scans)
    assert not explained.scans & {"accounts", "follows"}
