"""What the routes answer, and what they refuse."""

import re
from typing import Any
from uuid import UUID

import msgspec
import pytest
from structlog.testing import capture_logs

from shared.database import Connection
from templates.service.events import GadgetAdded
from templates.service.tests.members import Member


async def test_what_is_added_is_listed_first(member: Member) -> None:
    first, second = await member.add("On looms"), await member.add("On engines")
    assert second == {
        "id": second["id"],
        "owner": member.username,
        "title": "On engines",
        "createdAt": second["createdAt"],
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", second["createdAt"])
    page = await member.send("GET", "/api/gadgets", headers={})
    assert (page.status, page.body["gadgets"][:2]) == (200, [second, first])


async def test_what_is_added_is_told_in_the_same_transaction(
    member: Member, db: Connection
) -> None:
    added = await member.send("POST", "/api/gadgets", json={"gadget": {"title": "On looms"}})
    source, _, position = added.headers["Quartet-Position"].partition("=")
    row = await db.fetchrow("SELECT subject, data FROM outbox WHERE position = $1", int(position))
    assert (source, row["subject"]) == ("gadgetry", GadgetAdded.SUBJECT)
    assert msgspec.json.decode(row["data"], type=GadgetAdded) == GadgetAdded(
        gadget_id=UUID(added.body["gadget"]["id"]), owner_id=member.id, title="On looms"
    )


async def test_pages_follow_each_other_by_their_links(member: Member) -> None:
    titles = [f"Number {number}" for number in range(5)]
    for title in titles:
        await member.add(title)
    seen, path = list[str](), "/api/gadgets?limit=2"
    while len(seen) < 5:
        page = await member.send("GET", path)
        seen += [one["title"] for one in page.body["gadgets"]]
        path = re.findall(r'^<(\S+)>; rel="next"$', page.headers.get("Link", ""))[0]
    assert seen[:5] == titles[::-1]


async def test_nobody_adds_without_a_valid_token(member: Member) -> None:
    wanted = {"gadget": {"title": "On looms"}}
    for headers, fault in (({}, "is missing"), ({"Authorization": "Token x"}, "is invalid")):
        reply = await member.send("POST", "/api/gadgets", json=wanted, headers=headers)
        assert (reply.status, reply.body["errors"]["token"]) == (401, [fault])


async def test_an_owner_who_has_not_arrived_may_try_again(stranger: Member) -> None:
    wanted = {"gadget": {"title": "On looms"}}
    reply = await stranger.send("POST", "/api/gadgets", json=wanted)
    assert (reply.status, reply.headers["Retry-After"]) == (503, "1")


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({}, "can't be blank"),
        ({"title": None}, "can't be blank"),
        ({"title": " "}, "can't be blank"),
        ({"title": "x" * 256}, "is too long (maximum is 255 characters)"),
        ({"title": 1}, "must be of type str"),
        ({"title": "\0"}, "holds a NUL character or a lone surrogate"),
    ],
)
async def test_a_title_that_cannot_be_is_422(member: Member, given: Any, fault: str) -> None:
    reply = await member.send("POST", "/api/gadgets", json={"gadget": given})
    assert (reply.status, reply.body["errors"]["title"]) == (422, [fault])


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "before=x", "before="])
async def test_a_page_that_cannot_be_is_422(member: Member, query: str) -> None:
    reply = await member.send("GET", f"/api/gadgets?{query}")
    assert reply.status == 422
    assert list(reply.body["errors"]) == [query.partition("=")[0], "body"]


@pytest.mark.parametrize("limit", [1, 100])
async def test_a_page_is_one_statement_whatever_is_on_it(member: Member, limit: int) -> None:
    await member.add("On looms")
    with capture_logs() as logs:
        await member.send("GET", f"/api/gadgets?limit={limit}")
    assert [line["db_n"] for line in logs if line["event"] == "request"] == [1]
