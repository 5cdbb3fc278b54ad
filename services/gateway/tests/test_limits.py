"""Clients are limited by address, account and class of route: all gateways together."""

import asyncio
import time
from collections.abc import AsyncIterator
from ipaddress import IPv4Address
from itertools import count
from pathlib import Path
from uuid import UUID

import aiohttp
import pytest
from aiohttp import web
from uuid_utils.compat import uuid7

from deploy.local.servers import Servers
from deploy.local.state import free_port
from services.gateway.limits.admission import ACCOUNT, ADDRESS, CLASSES, network
from services.gateway.tests.behind import Behind
from services.gateway.tests.conftest import Told
from services.gateway.tests.running import Answer, Running, running, start, stopped
from shared.testing import Signer, until

LOGIN = CLASSES["login"]
WRITE = CLASSES["write"]
_addresses = count(int(IPv4Address("198.18.0.1")))


@pytest.fixture(scope="session")
def limiting(told: Told, servers: Servers) -> Told:
    on = {"GATEWAY_LIMITS": "on", "GATEWAY_CACHE": "on", "GATEWAY_NATS_URL": servers.nats_url}
    return told | on | {"GATEWAY_TRUSTED_PROXIES": "127.0.0.0/8"}


@pytest.fixture(scope="session")
async def limited(
    folder: Path, session: aiohttp.ClientSession, limiting: Told
) -> AsyncIterator[Running]:
    """A gateway that limits; tests are its proxy, and name clients."""
    async with running(folder, session, limiting) as gateway:
        yield gateway


@pytest.fixture(scope="session")
async def other(
    folder: Path, session: aiohttp.ClientSession, limiting: Told
) -> AsyncIterator[Running]:
    """Another gateway of the same suite."""
    async with running(folder, session, limiting) as gateway:
        yield gateway


@pytest.fixture
def client() -> dict[str, str]:
    """A client that nobody has seen."""
    return {"X-Forwarded-For": str(IPv4Address(next(_addresses)))}


async def login(gateway: Running, client: dict[str, str], times: int = 1) -> list[Answer]:
    few = asyncio.Semaphore(4)  # more at once might be late for Valkey on a busy machine

    async def one() -> Answer:
        async with few:
            return await gateway.send("POST", "/api/users/login", headers=client, json={})

    return await asyncio.gather(*(one() for _ in range(times)))


def statuses(answers: list[Answer]) -> dict[int, int]:
    found = [answer.status for answer in answers]
    return {status: found.count(status) for status in found}


async def test_each_reply_tells_how_the_quotas_stand(
    limited: Running, behind: Behind, client: dict[str, str]
) -> None:
    [answer] = await login(limited, client)
    assert answer.headers["RateLimit-Policy"] == '"address";q=200;w=4, "login";q=40;w=480'
    assert answer.headers["RateLimit"] == '"address";r=199;t=1, "login";r=39;t=12'


async def test_too_many_logins_are_refused_before_the_service_hears_of_them(
    limited: Running, behind: Behind, client: dict[str, str]
) -> None:
    assert LOGIN is not None
    assert statuses(await login(limited, client, LOGIN.quota)) == {200: LOGIN.quota}
    behind.requests.clear()
    [refused] = await login(limited, client)
    assert refused.status == 429
    assert 10 <= int(refused.headers["Retry-After"]) <= 12
    assert '"login";r=0' in refused.headers["RateLimit"]
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert refused.json["type"] == "urn:quartet:problem:too-many-requests"
    assert "'login'" in refused.json["detail"]
    assert not behind.requests
    assert (await limited.send("GET", "/api/tags", headers=client)).status == 200
    assert (await limited.send("POST", "/api/users", headers=client, json={})).status == 200


async def test_logins_by_graphql_count_as_logins_of_their_address(
    limited: Running, behind: Behind, client: dict[str, str], signer: Signer, account: UUID
) -> None:
    assert LOGIN is not None
    await login(limited, client, LOGIN.quota - 1)
    query = """mutation { one: login(input: {email: "a", password: "b"}) { token }
                          two: login(input: {email: "a", password: "c"}) { token } }"""
    behind.requests.clear()
    said = client | signer.headers(account)  # a token is nothing to a route that asks for none
    answer = await limited.send("POST", "/graphql", headers=said, json={"query": query})
    assert [request.path for request in behind.requests] == ["/api/users/login"]
    refused = answer.json["errors"][-1]
    assert refused["path"] == ["two"]
    assert refused["extensions"]["code"] == "TOO_MANY_REQUESTS"
    assert 1 <= refused["extensions"]["retryAfter"] <= 12
    assert statuses(await login(limited, client)) == {429: 1}


async def test_each_question_of_a_document_counts(
    limited: Running, behind: Behind, client: dict[str, str]
) -> None:
    query = '{ tags more: tags articles { articlesCount } article(slug: "a") { slug } }'
    answer = await limited.send("POST", "/graphql", headers=client, json={"query": query})
    assert len(behind.requests) == 3
    [state] = answer.headers.getall("RateLimit")
    assert state.startswith(f'"address";r={ADDRESS.quota - 3};')


async def test_two_gateways_share_one_budget(
    limited: Running, other: Running, behind: Behind, client: dict[str, str]
) -> None:
    assert LOGIN is not None
    both = await asyncio.gather(login(limited, client, 30), login(other, client, 30))
    assert statuses([*both[0], *both[1]]) == {200: LOGIN.quota, 429: 60 - LOGIN.quota}


async def test_accounts_have_quotas_of_their_own_wherever_they_are(
    limited: Running, behind: Behind, signer: Signer, account: UUID
) -> None:
    assert WRITE is not None

    async def wrote(who: UUID) -> Answer:
        address = {"X-Forwarded-For": str(IPv4Address(next(_addresses)))}
        return await limited.send(
            "POST", "/api/articles", headers=signer.headers(who) | address, json={}
        )

    answers = await asyncio.gather(*(wrote(account) for _ in range(WRITE.quota + 40)))
    assert WRITE.quota <= statuses(answers)[200] < WRITE.quota + 30
    assert (await wrote(uuid7())).headers["RateLimit-Policy"].split(", ") == [
        f'"{policy.name}";q={policy.quota};w={policy.window}'
        for policy in (ADDRESS, ACCOUNT, WRITE)
    ]


async def test_a_wrong_token_counts(
    limited: Running, behind: Behind, client: dict[str, str]
) -> None:
    wrong = client | {"Authorization": "Token nonsense"}
    answer = await limited.send("GET", "/api/user", headers=wrong)
    assert answer.status == 401
    assert '"address";r=199' in answer.headers["RateLimit"]


def remaining(answer: Answer) -> int:
    return int(answer.headers["RateLimit"].split(";")[1][2:])


async def test_kept_replies_count_as_well(
    limited: Running, behind: Behind, client: dict[str, str]
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response({}, headers={"Quartet-Tags": "list"})

    async def read() -> Answer:
        return await limited.send("GET", "/api/articles?tag=limits", headers=client)

    async def kept() -> Answer | None:
        said = await read()
        return said if said.headers["Cache-Status"] == "quartet; fwd=miss; stored" else None

    behind.answer = answer
    filled = await until(kept, what="a reply that is kept")
    behind.requests.clear()
    # Many at once, since what one took is there again after 20 ms.
    hits = await asyncio.gather(*(read() for _ in range(40)))
    hit = min(hits, key=remaining)
    assert 100 < remaining(hit) < remaining(filled) < ADDRESS.quota
    assert hit.headers["RateLimit-Policy"] == '"address";q=200;w=4'
    answers = await asyncio.gather(*(read() for _ in range(ADDRESS.quota + 200)))
    assert statuses(answers)[429] > 50
    refused = next(answer for answer in answers if answer.status == 429)
    assert refused.headers["Retry-After"] == "1"
    assert not behind.requests


async def test_health_and_preflights_are_free(limited: Running, client: dict[str, str]) -> None:
    for method, path in (("GET", "/healthz"), ("OPTIONS", "/api/tags"), ("GET", "/docs")):
        assert "RateLimit" not in (await limited.send(method, path, headers=client)).headers


async def test_the_client_is_named_to_the_service(
    limited: Running, gateway: Running, behind: Behind, client: dict[str, str]
) -> None:
    [seen] = await login(limited, client)
    assert seen.json["headers"]["x-forwarded-for"] == client["X-Forwarded-For"]
    [unseen] = await login(gateway, client)
    assert unseen.json["headers"]["x-forwarded-for"] == "127.0.0.1"


async def test_without_valkey_each_gateway_limits_and_none_hangs(
    limited: Running, other: Running, behind: Behind, servers: Servers, client: dict[str, str]
) -> None:
    assert LOGIN is not None
    with stopped(servers, "valkey"):
        begun = time.monotonic()
        answers = await login(limited, client, LOGIN.quota + 5)
        assert statuses(answers) == {200: LOGIN.quota, 429: 5}
        assert statuses(await login(other, client)) == {200: 1}
        assert time.monotonic() - begun < 10

    async def together() -> bool:
        fresh = {"X-Forwarded-For": str(IPv4Address(next(_addresses)))}
        await login(limited, fresh)
        return '"login";r=38' in (await login(other, fresh))[0].headers["RateLimit"]

    await until(together, what="one budget again")


async def test_off_is_refused_in_production(folder: Path, told: Told) -> None:
    wrong = {"GATEWAY_PORT": str(free_port()), "GATEWAY_ENV": "production"}
    process, log = await start(folder, told | wrong)
    assert await asyncio.wait_for(process.wait(), 15) == 78
    assert "GATEWAY_LIMITS" in log.read_text()


async def test_off_lets_all_in(gateway: Running, behind: Behind) -> None:
    answers = await login(gateway, {}, 60)
    assert statuses(answers) == {200: 60}
    assert "RateLimit" not in answers[0].headers


def test_one_customers_addresses_are_one() -> None:
    assert network("203.0.113.9") == "203.0.113.9"
    assert network("2001:db8:1:2:3::4") == network("2001:db8:1:2:ffff::1") == "2001:db8:1:2::/64"
    assert network("2001:db8:1:3::1") != network("2001:db8:1:2::1")
    assert network("::ffff:203.0.113.9") == "203.0.113.9"
