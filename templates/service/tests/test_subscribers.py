"""Facts of users, as they are taken in."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from shared.database import Connection
from shared.events import Envelope
from shared.events.users import ProfileUpdated, UserRegistered
from templates.service.subscribers import HANDLERS
from templates.service.tests.members import Member

Profile = type[UserRegistered] | type[ProfileUpdated]


async def arrive(
    db: Connection, type_: Profile, account_id: UUID, username: str, position: int
) -> None:
    """Take a fact in, as the inbox does."""
    event = type_(
        account_id=account_id, username=username, email="ada@example.org", bio="", image=""
    )
    envelope = Envelope(
        id=uuid7(),
        source="users",
        position=position,
        subject=event.SUBJECT,
        occurred_at=datetime.now(UTC),
    )
    await HANDLERS[type_](db, event, envelope)


async def test_an_owner_is_named_as_they_name_themselves(member: Member, db: Connection) -> None:
    await member.add("On looms")
    renamed = f"renamed {member.id.hex}"
    await arrive(db, ProfileUpdated, member.id, renamed, 7)
    page = await member.send("GET", "/api/gadgets?limit=1")
    assert page.body["gadgets"][0]["owner"] == renamed


@pytest.mark.parametrize("positions", [(1, 2), (2, 1)])
async def test_the_newest_name_stays_whatever_arrives_last(
    db: Connection, positions: tuple[int, int]
) -> None:
    id_ = uuid7()
    for position in positions:
        await arrive(db, UserRegistered, id_, f"name {position}", position)
    assert await db.fetchval("SELECT username FROM people WHERE id = $1", id_) == "name 2"
