"""The docs page and the health of the gateway."""

import re

from services.gateway.tests.behind import Behind
from services.gateway.tests.running import Running


async def test_the_docs_need_nothing_from_elsewhere(gateway: Running) -> None:
    reply = await gateway.send("GET", "/docs")
    assert (reply.status, reply.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    text = reply.body.decode()
    assert not re.search(r"(?:src|href)=\"?(?:https?:)?//", text)
    assert not re.search(r"\son\w+=|\sstyle=", text), "the policy forbids inline handlers"


async def test_the_docs_run_under_a_strict_policy(gateway: Running) -> None:
    policy = (await gateway.send("GET", "/docs")).headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert "connect-src 'self'" in policy


async def test_the_root_leads_to_the_docs(gateway: Running) -> None:
    reply = await gateway.send("GET", "/")
    assert (reply.status, reply.headers["Location"]) == (307, "/docs")


async def test_the_process_says_that_it_lives(gateway: Running) -> None:
    reply = await gateway.send("GET", "/healthz")
    assert (reply.status, reply.json) == (200, {"status": "ok"})
    assert (await gateway.send("POST", "/healthz")).status == 405


async def test_ready_names_the_services_and_what_they_need(
    gateway: Running, behind: Behind
) -> None:
    reply = await gateway.send("GET", "/readyz")
    assert reply.status == 200
    assert set(reply.json["checks"]) == {
        "keys",
        "users",
        "content",
        "notifications",
        "valkey",
        "nats",
    }
    assert reply.json["checks"]["users"] == "ok"
