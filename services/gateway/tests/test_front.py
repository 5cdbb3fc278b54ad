"""What is answered at the door: refusals, preflights, ids; on both servers."""

import json
from uuid import UUID

import pytest
from aiohttp import web

from services.gateway.tests.behind import Behind
from services.gateway.tests.running import Running
from shared.testing import Signer

HOSTILE = [
    b"GET /api//articles HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /api/../api/articles HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /api/%2e%2e/api/articles HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /api/articles/a%2Fb HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /api/articles/a\\b HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /api/articles/%00 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /api/articles/%ff HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /api/articles?tag=%ff HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /api/articles?tag=%00 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET api/articles HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /api/articles HTTP/1.1\r\n\r\n",
    b"GET /api/articles HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET /api/articles HTTP/1.1\r\nHost: a b\r\n\r\n",
    b"GET /api/articles HTTP/1.1\r\nHost : a\r\n\r\n",
    b"GET /api/articles HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
    b"POST /api/users HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    b"POST /api/users HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na",
    b"POST /api/users HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\na",
]


async def test_a_route_is_forwarded(gateway: Running, behind: Behind) -> None:
    reply = await gateway.send("GET", "/api/articles?tag=a%20b&limit=1")
    assert reply.status == 200
    assert reply.json["target"] == "/api/articles?tag=a%20b&limit=1"


@pytest.mark.parametrize("path", ["/api", "/api/articles/", "/metrics", "/api/a/b/c/d/e"])
async def test_an_unknown_path_is_a_problem(gateway: Running, behind: Behind, path: str) -> None:
    reply = await gateway.send("GET", path)
    assert reply.status == 404
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert reply.json["title"] == "Not Found"
    assert reply.json["trace_id"] == reply.headers["Quartet-Trace"] != "0" * 32
    assert behind.requests == []


async def test_an_unknown_method_is_a_problem_that_names_the_others(gateway: Running) -> None:
    for method in ("PATCH", "TRACE", "PROPFIND"):
        reply = await gateway.send(method, "/api/user")
        assert (reply.status, reply.headers["Allow"]) == (405, "GET, HEAD, OPTIONS, PUT")
        assert reply.json["title"] == "Method Not Allowed"


async def test_head_is_a_get_without_its_body(gateway: Running, behind: Behind) -> None:
    reply = await gateway.send("HEAD", "/api/tags")
    assert (reply.status, reply.body) == (200, b"")
    assert int(reply.headers["Content-Length"]) > 0
    assert behind.requests[0].method == "HEAD"
    missing = await gateway.send("HEAD", "/api/nothing")
    assert (missing.status, missing.body) == (404, b"")


@pytest.mark.parametrize("request_", HOSTILE)
async def test_an_ambiguous_request_is_refused(
    gateway: Running, behind: Behind, request_: bytes
) -> None:
    answer = await gateway.raw(request_)
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert behind.requests == []


@pytest.mark.parametrize(
    "fields",
    [
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding: chunked, identity",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: \x0bchunked",
        b"Transfer-Encoding : chunked",
        b"X: a\r\n Transfer-Encoding: chunked",
        b"Content-Length: 3\r\nContent-Length: 3",
        b"Content-Length: 3, 3",
        b"Content-Length: 0x3",
        b"Content-Length: 3\r\nTransfer-Encoding: identity",
    ],
)
async def test_a_framing_that_can_be_doubted_smuggles_nothing(
    gateway: Running, behind: Behind, fields: bytes
) -> None:
    """Whatever a service receives has one length, and that is ours (RFC 9112, 6.3 and 11.2)."""
    smuggled = b"GET /api/tags HTTP/1.1\r\nHost: a\r\n\r\n"
    head = b"POST /api/users HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n\r\n"
    answer = await gateway.raw(head + b"0\r\n\r\n" + smuggled)
    if not answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 501")):
        [request] = [one for one in behind.requests if one.path == "/api/users"]
        assert "Transfer-Encoding" not in request.headers
        assert request.headers["Content-Length"] in ("0", "3")


async def test_two_lengths_never_reach_a_service(gateway: Running, behind: Behind) -> None:
    """CL with TE (RFC 9112, 6.3): refused, or read by TE and sent on with one length only."""
    answer = await gateway.raw(
        b"POST /api/users HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n"
    )
    status = int(answer.split(b" ")[1])
    assert status in (200, 400)
    if status == 200:
        said = json.loads(answer.partition(b"\r\n\r\n")[2])
        assert said["body"] == "abcde"
        assert said["headers"]["content-length"] == "5"
        assert "transfer-encoding" not in said["headers"]


@pytest.mark.parametrize("before", [b"", b"%x\r\n%s\r\n" % (100_000, b"a" * 100_000)])
@pytest.mark.parametrize("piece", [b"-1\r\nx", b"2\r\nabc"])
async def test_a_body_in_malformed_pieces_is_the_clients_fault(
    gateway: Running, behind: Behind, before: bytes, piece: bytes
) -> None:
    head = b"POST /api/users HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = await gateway.raw(head + before + piece + b"\r\n0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 "), answer


async def test_a_header_over_the_limit_is_431(gateway: Running) -> None:
    reply = await gateway.send("GET", "/api/articles", headers={"X": "a" * 7000, "Y": "a" * 9500})
    assert reply.status == 431


async def test_a_target_over_the_limit_is_414(gateway: Running) -> None:
    reply = await gateway.send("GET", "/api/articles?tag=" + "a" * 9000)
    assert (reply.status, reply.json["title"]) == (414, "URI Too Long")


async def test_a_preflight_is_answered_here(gateway: Running, behind: Behind) -> None:
    asked = {
        "Origin": "http://front.example",
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    reply = await gateway.send("OPTIONS", "/api/user", headers=asked)
    assert (reply.status, reply.body) == (204, b"")
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
    assert reply.headers["Access-Control-Allow-Methods"] == "GET, HEAD, OPTIONS, PUT"
    assert reply.headers["Access-Control-Allow-Headers"] == "authorization,content-type"
    assert behind.requests == []


async def test_every_reply_may_be_read_by_any_front_end(gateway: Running, behind: Behind) -> None:
    for path in ("/api/tags", "/api/nothing", "/api/user", "/healthz"):
        reply = await gateway.send("GET", path, headers={"Origin": "http://front.example"})
        assert reply.headers["Access-Control-Allow-Origin"] == "*"
        exposed = reply.headers["Access-Control-Expose-Headers"]
        for name in ("Quartet-Trace", "Quartet-Position", "Link", "Location", "Retry-After"):
            assert name in exposed


async def test_options_names_the_methods_of_pages_too(gateway: Running) -> None:
    reply = await gateway.send("OPTIONS", "/docs")
    assert (reply.status, reply.headers["Allow"]) == (204, "GET, HEAD, OPTIONS")
    assert (await gateway.send("OPTIONS", "/api/nothing")).status == 404


async def test_a_request_id_is_kept_or_made(gateway: Running, behind: Behind) -> None:
    given = await gateway.send("GET", "/api/tags", headers={"X-Request-Id": "mine-1"})
    assert given.headers["X-Request-Id"] == "mine-1"
    assert given.json["headers"]["x-request-id"] == "mine-1"
    for bad in ("a b", "x" * 200, "a\u00e9"):
        made = await gateway.send("GET", "/api/tags", headers={"X-Request-Id": bad})
        assert len(made.headers["X-Request-Id"]) == 32
        assert made.json["headers"]["x-request-id"] == made.headers["X-Request-Id"]
    page = await gateway.send("GET", "/healthz", headers={"X-Request-Id": "mine-2"})
    assert page.headers["X-Request-Id"] == "mine-2"


async def test_a_missing_or_wrong_token_stops_at_the_door(gateway: Running, behind: Behind) -> None:
    missing = await gateway.send("GET", "/api/user")
    assert (missing.status, missing.json["errors"]["token"]) == (401, ["is missing"])
    assert missing.headers["WWW-Authenticate"] == "Bearer"
    for wrong in ("Token", "Token x", "Bearer a.b.c", "Basic YTpi", "Token \u00e9"):
        for path in ("/api/user", "/api/articles"):
            reply = await gateway.send("GET", path, headers={"Authorization": wrong})
            assert reply.status == 401, (wrong, path)
            assert reply.headers["Content-Type"] == "application/problem+json"
    assert behind.requests == []


async def test_a_good_token_travels_on_unchanged(
    gateway: Running, behind: Behind, signer: Signer, account: UUID
) -> None:
    for scheme in ("Token", "Bearer"):
        authorization = f"{scheme} {signer.token(account)}"
        reply = await gateway.send("GET", "/api/user", headers={"Authorization": authorization})
        assert reply.json["headers"]["authorization"] == authorization


async def test_a_public_route_does_not_look_at_tokens(gateway: Running, behind: Behind) -> None:
    reply = await gateway.send("POST", "/api/users/login", headers={"Authorization": "Token x"})
    assert reply.status == 200


async def test_internal_fields_of_a_client_stop_here(gateway: Running, behind: Behind) -> None:
    sent = {
        "Quartet-Account": "1",
        "Quartet-After": "users=3, wrong",
        "X-Forwarded-For": "6.6.6.6",
        "X-Forwarded-Proto": "https",
        "Forwarded": "for=6.6.6.6",
        "Baggage": "a=b",
        "Connection": "X-Mine",
        "X-Mine": "1",
        "Via": "1.0 somebody",
    }
    reply = await gateway.send("GET", "/api/tags", headers=sent)
    got = reply.json["headers"]
    assert got["quartet-after"] == "users=3"
    assert got["x-forwarded-for"] == "127.0.0.1"
    assert got["x-forwarded-proto"] == "http"
    assert got["x-forwarded-host"] == f"127.0.0.1:{gateway.port}"
    assert got["via"] == "1.0 somebody, 1.1 quartet"
    assert not {"quartet-account", "forwarded", "baggage", "x-mine", "connection"} & set(got)


async def test_internal_fields_of_a_service_stop_here(gateway: Running, behind: Behind) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        given = {"Quartet-Account": "1", "Quartet-Trace": "2", "Server": "secret", "Link": "<a>"}
        return web.Response(text="", headers=given)

    behind.answer = answer
    reply = await gateway.send("GET", "/api/tags")
    assert "Quartet-Account" not in reply.headers
    assert reply.headers.getall("Quartet-Trace") != ["2"]
    assert len(reply.headers.getall("Quartet-Trace")) == len(reply.headers.getall("Date")) == 1
    assert reply.headers["Link"] == "<a>"
    assert reply.headers.getall("Server") == ["quartet"]


async def test_a_websocket_is_refused_where_none_is_served(gateway: Running) -> None:
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    reply = await gateway.send("GET", "/api/tags", headers=upgrade)
    assert reply.status == 400
    reply = await gateway.send("GET", "/api/nothing", headers=upgrade)
    assert reply.status == 404


async def test_the_log_is_a_line_of_json_a_request(
    gateway: Running, behind: Behind, signer: Signer, account: UUID
) -> None:
    reply = await gateway.send("GET", "/api/user?q=hidden", headers=signer.headers(account))
    line = await gateway.logged(event="request", trace_id=reply.headers["Quartet-Trace"])
    assert line["method"] == "GET"
    assert line["route"] == "/api/user"
    assert line["upstream"] == "users"
    assert line["status"] == 200
    assert line["bytes"] == len(reply.body)
    assert line["account"] == str(account)
    assert line["ms"] >= line["upstream_ms"] > 0
    assert "hidden" not in json.dumps(line)


async def test_nothing_sent_here_was_worth_a_stack(gateway: Running) -> None:
    assert not [line for line in await gateway.lines() if "exception" in line]
