"""A kept reply by the short way is the one by the long way, and costs nothing twice."""

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import msgspec
import pytest

from deploy.local.servers import Servers
from services.gateway.cache.fills import Fills
from services.gateway.cache.kept import Entry, Shelf
from services.gateway.cache.purges import Purges
from services.gateway.cache.replies import Keeper, ReplyCache
from services.gateway.cors import Cors
from services.gateway.door.again import Again
from services.gateway.door.security import Security
from services.gateway.limits.admission import Limits, Quotas, Unlimited
from services.gateway.limits.gcra import Policy
from services.gateway.routes import ROUTES
from services.gateway.settings import Settings
from services.gateway.table import Table
from services.gateway.tests.behind import Behind
from services.gateway.tests.conftest import Told
from services.gateway.tests.library import Library, library
from services.gateway.tests.running import Answer, Running, running
from services.gateway.tests.test_traces import span_of
from shared.testing import until

ORIGIN = "https://front.example"
_OF_ONE_REPLY = {"age", "date", "server-timing", "quartet-trace", "x-request-id", "ratelimit"}


@pytest.fixture(scope="module", params=["http1", "hypercorn"])
async def caching(
    request: pytest.FixtureRequest,
    folder: Path,
    session: aiohttp.ClientSession,
    told: Told,
    servers: Servers,
) -> AsyncIterator[Running]:
    settings = told | {
        "GATEWAY_SERVER": request.param,
        "GATEWAY_CACHE": "on",
        "GATEWAY_LIMITS": "on",
        "GATEWAY_CORS_ORIGINS": ORIGIN,
    }
    async with running(folder, session, settings) as gateway:
        yield gateway


@pytest.fixture
async def books(behind: Behind, servers: Servers) -> AsyncIterator[Library]:
    async with library(behind, servers.nats_url) as books:
        yield books


async def hit(gateway: Running, slug: str, **fields: str) -> Answer:
    """A reply that was kept, as soon as there is one."""
    named = {name.replace("_", "-"): value for name, value in fields.items()}

    async def found() -> Answer | None:
        reply = await gateway.send("GET", f"/api/articles/{slug}", headers=named)
        return reply if reply.headers["Cache-Status"] == "quartet; hit" else None

    answer: Answer = await until(found, what="a kept reply")
    return answer


def facts(reply: Answer) -> tuple[int, bytes, list[tuple[str, str]]]:
    """What must be the same, whichever way it came."""
    fields = [(name.lower(), value) for name, value in reply.headers.items()]
    return reply.status, reply.body, sorted(f for f in fields if f[0] not in _OF_ONE_REPLY)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"Accept_Encoding": "br"},
        {"Accept_Encoding": "gzip;q=0.5, identity"},
        {"Origin": ORIGIN},
        {"Origin": "https://other.example"},
        {"If_None_Match": "*"},
        {"If_None_Match": "*", "Accept_Encoding": "gzip"},
        {"If_None_Match": '"other"'},
        {"X_Request_Id": "mine", "Cookie": "a=1", "Referer": "https://x.example/"},
    ],
)
async def test_both_ways_say_the_same(
    caching: Running, books: Library, fields: dict[str, str]
) -> None:
    short = await hit(caching, "ada-1", **fields)
    long = await hit(caching, "ada-1", X_Unknown="1", **fields)
    assert facts(short) == facts(long)
    assert {*short.headers} == {*long.headers}
    assert short.headers["RateLimit-Policy"].startswith('"address"')
    if "X_Request_Id" in fields:
        assert short.headers["X-Request-Id"] == "mine"


async def test_it_is_logged_and_traced(caching: Running, books: Library, servers: Servers) -> None:
    reply = await hit(caching, "ada-2", X_Request_Id="seen-again")
    trace = reply.headers["Quartet-Trace"]
    line = await caching.logged(trace_id=trace)
    assert (line["event"], line["cache"], line["status"]) == ("request", "hit", 200)
    assert (line["request_id"], line["bytes"]) == ("seen-again", len(reply.body))
    span = await span_of(servers, trace)
    assert span.name == "GET /api/articles/{slug}"
    assert span.attributes["http.response.status_code"] == "200"
    assert span.attributes["quartet.upstream"] == "content"


class Sent(list[Any]):
    """What was sent."""

    async def __call__(self, message: Any) -> None:
        self.append(message)


class Shop:
    """One reply that is kept, and who gives it again."""

    def __init__(self, limits: Any = None) -> None:
        self.table = Table(ROUTES)
        self.shelf = Shelf(10_000_000)
        purges, cors = Purges(), Cors(("*",))
        self.fills = Fills(cast(Any, None), self.shelf, purges, cast(Any, None))
        self.fills.open = True
        keeper = Keeper(self.shelf, purges, self.fills, cast(Any, None))
        cache = ReplyCache(keeper, Unlimited(), cors)
        app = SimpleNamespace(extensions={"cache": cache, "limits": limits or Unlimited()})
        self.again = Again(cast(Any, app), self.table, cors, Security(Settings()))
        self.keep(fresh_until=4e9)

    def keep(self, fresh_until: float) -> None:
        """Keep a reply until then."""
        body = b"x" * 5_000
        fields = [(b"content-type", b"text/plain"), (b"content-length", b"5000"), (b"etag", b'"e"')]
        entry = Entry(fields, fields[2:], body, b'"e"', ("list",), (), 1e9, fresh_until)
        self.shelf.put(b"/api/articles?", entry)

    async def ask(self, *fields: tuple[bytes, bytes], **other: Any) -> Sent | None:
        """What is sent; None where the long way has to be gone."""
        scope = {
            "type": "http",
            "method": "GET",
            "scheme": "http",
            "http_version": "1.1",
            "path": "/api/articles",
            "raw_path": b"/api/articles",
            "query_string": b"",
            "client": ("127.0.0.1", 1),
            "headers": [(b"host", b"x"), *fields],
        }
        sent = Sent()
        return sent if await self.again.answer(scope | other, sent) else None


async def test_a_body_is_coded_once() -> None:
    shop = Shop()
    first, second = [await shop.ask((b"accept-encoding", b"br")) for _ in range(2)]
    plain = await shop.ask()
    assert first is not None
    assert second is not None
    assert plain is not None
    assert first[1]["body"] is second[1]["body"]
    assert len(first[1]["body"]) < 500
    assert plain[1]["body"] == b"x" * 5_000
    assert dict(first[0]["headers"])[b"content-encoding"] == b"br"


@pytest.mark.parametrize(
    "fields",
    [
        [(b"authorization", b"Token x")],
        [(b"quartet-after", b"users=1")],
        [(b"traceparent", b"00-1-1-01")],
        [(b"content-length", b"1")],
        [(b"host", b"y")],
        [(b"if-none-match", b'"a"'), (b"if-none-match", b'"b"')],
        [(b"user-agent", b"x" * 20_000)],
        [(b"x-unknown", b"1")],
    ],
)
async def test_what_is_not_known_goes_the_long_way(fields: list[tuple[bytes, bytes]]) -> None:
    shop = Shop()
    assert await shop.ask() is not None
    assert await shop.ask(*fields) is None


async def test_other_methods_and_wrong_hosts_go_the_long_way() -> None:
    shop = Shop()
    assert await shop.ask(method="HEAD") is None
    assert await shop.ask(headers=[]) is None
    assert await shop.ask(headers=[(b"host", b"a b")]) is None


async def test_what_is_purged_or_old_or_perhaps_wrong_is_not_given_again() -> None:
    shop = Shop()
    assert await shop.ask() is not None
    shop.fills.open = False
    assert await shop.ask() is None
    shop.fills.open = True
    shop.shelf.purge(["list"])
    assert await shop.ask() is None
    shop.keep(fresh_until=2e9 - 1e9)
    assert await shop.ask() is None


async def test_a_route_that_is_kept_no_more_is_asked_for() -> None:
    shop = Shop()
    assert await shop.ask() is not None
    shop.table.replace(msgspec.structs.replace(route, cache=None) for route in ROUTES)
    assert await shop.ask() is None
    shop.table.replace(ROUTES)
    assert await shop.ask() is not None


async def test_who_asks_too_much_goes_the_long_way_which_refuses() -> None:
    quotas = Quotas(address=Policy("address", quota=3, window=60))
    shop = Shop(Limits(cast(Any, None), SimpleNamespace(quotas=quotas)))
    answers = [await shop.ask() for _ in range(4)]
    assert [answer is not None for answer in answers] == [True, True, True, False]
    left = [dict(answer[0]["headers"])[b"ratelimit"] for answer in answers if answer]
    assert [said.split(b";")[1] for said in left] == [b"r=2", b"r=1", b"r=0"]


def test_forms_take_room_and_leave_it_with_their_entry() -> None:
    shelf = Shelf(50_000)
    entry = Entry([], [], b"x" * 3_000, b'"e"', ("t",), (), 0.0, 4e9)
    for number in itertools.count():
        shelf.put(b"%d" % number, entry)
        if len(shelf) <= number:
            break
    full = len(shelf)
    kept = shelf.place(b"%d" % number)
    assert kept is not None
    form = SimpleNamespace(body=b"y" * 20_000)
    shelf.add(b"%d" % number, "br", cast(Any, form))
    assert len(shelf) < full
    shelf.purge(["t"])
    for again in range(full):
        shelf.put(b"%d" % again, entry)
    assert len(shelf) == full
