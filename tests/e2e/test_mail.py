"""Mail leaves a whole stack for those who want it, and one click ends it."""

import re

import aiohttp

from deploy.local.mail import Mail, received_mails
from deploy.local.stack import Stack
from shared.testing import until
from tests.e2e.client import Client

PREFERENCES = "/api/notifications/preferences"
BY_MAIL = {"preferences": {"published": {"email": True}}}


async def mails(stack: Stack, client: Client, count: int) -> list[Mail]:
    """Wait for the mails of an account, the oldest first."""
    address = f"{client.username}@example.org"

    async def arrived() -> list[Mail]:
        found = [m for m in received_mails(stack.servers.mail_dir) if address in m.recipients]
        return found if len(found) >= count else []

    found: list[Mail] = await until(arrived, seconds=20, what=f"{count} mails")
    return found


async def test_a_reader_is_welcomed_told_and_left_alone(
    stack: Stack, client: Client, session: aiohttp.ClientSession
) -> None:
    author, reader = await client.register("author"), await client.register("reader")
    (welcome,) = await mails(stack, reader, 1)
    assert welcome.subject == f"Welcome to Quartet, {reader.username}"
    changed = await reader.send("PUT", PREFERENCES, BY_MAIL)
    assert changed.body["preferences"]["published"] == {"inbox": True, "email": True}
    await reader.ok("POST /profiles/{username}/follow", username=author.username)
    await author.publish("How to train a dragon")
    _, told = await mails(stack, reader, 2)
    assert told.subject == f"{author.username} published “How to train a dragon”"

    link = told.headers["List-Unsubscribe"].strip("<>")
    assert link in told.text
    assert link.startswith(f"{stack.url}/api/")
    async with session.get(link) as page:
        assert page.status == 200
        assert re.search(r'<form method="post">', await page.text())
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert (await reader.send("GET", PREFERENCES)).body == changed.body
    async with session.post(link, data={"List-Unsubscribe": "One-Click"}) as page:
        assert page.status == 200
    said = (await reader.send("GET", PREFERENCES)).body["preferences"]
    assert said["published"] == {"inbox": True, "email": False}
    assert len(await mails(stack, reader, 2)) == 2
