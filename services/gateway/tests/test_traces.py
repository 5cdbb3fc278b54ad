"""The gateway's place in a trace, asserted from what the collector received."""

import re
import time

import pytest

from deploy.local.servers import Servers
from deploy.local.traces import Span, received_spans
from services.gateway.tests.behind import Behind
from services.gateway.tests.running import Running
from shared.testing import until

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


async def span_of(servers: Servers, trace_id: str) -> Span:
    async def found() -> Span | None:
        spans = (one for one in received_spans(servers.traces_dir) if one.trace_id == trace_id)
        return next((one for one in spans if one.service == "gateway"), None)

    span: Span = await until(found, seconds=15, what="the gateway's span")
    return span


def fresh() -> str:
    """A trace id that no earlier test used."""
    return f"{time.time_ns():032x}"


async def test_a_trace_that_the_client_began_goes_on(
    gateway: Running, behind: Behind, servers: Servers
) -> None:
    trace = fresh()
    sent = {
        "traceparent": f"00-{trace}-00f067aa0ba902b7-01",
        "tracestate": "vendor=1",
        "User-Agent": "a test",
    }
    reply = await gateway.send("GET", "/api/articles/some-title?q=hidden", headers=sent)
    assert reply.headers["Quartet-Trace"] == trace
    span = await span_of(servers, trace)
    assert span.name == "GET /api/articles/{slug}"
    assert span.parent_id == "00f067aa0ba902b7"
    assert span.attributes["http.route"] == "/api/articles/{slug}"
    assert span.attributes["http.request.method"] == "GET"
    assert span.attributes["http.response.status_code"] == "200"
    assert span.attributes["url.path"] == "/api/articles/some-title"
    assert span.attributes["user_agent.original"] == "a test"
    assert "hidden" not in str(span.attributes)
    got = reply.json["headers"]
    assert got["traceparent"].startswith(f"00-{trace}-{span.span_id}-01")
    assert got["tracestate"] == "vendor=1"


@pytest.mark.parametrize(
    "wrong",
    [
        "nonsense",
        f"00-{TRACE}-0000000000000000-01",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"ff-{TRACE}-00f067aa0ba902b7-01",
        f"00-{TRACE.upper()}x-00f067aa0ba902b7-01",
    ],
)
async def test_a_trace_that_is_none_begins_anew(
    gateway: Running, behind: Behind, wrong: str
) -> None:
    reply = await gateway.send("GET", "/api/tags", headers={"traceparent": wrong})
    assert re.fullmatch(r"[0-9a-f]{32}", reply.headers["Quartet-Trace"])
    assert reply.headers["Quartet-Trace"] not in (TRACE, "0" * 32)
    assert reply.headers["Quartet-Trace"] in reply.json["headers"]["traceparent"]


@pytest.mark.parametrize("state", ["a=" + "x" * 600, "nonsense", "A=1", "a=\u00e9", "a=1,,b=2"])
async def test_a_tracestate_that_is_none_is_dropped(
    gateway: Running, behind: Behind, state: str
) -> None:
    sent = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "tracestate": state}
    reply = await gateway.send("GET", "/api/tags", headers=sent)
    assert reply.headers["Quartet-Trace"] == TRACE
    assert "tracestate" not in reply.json["headers"]
    assert not [line for line in await gateway.lines() if "w3c" in line["event"]]


async def test_a_refusal_is_traced_too_under_a_name_of_ours(
    gateway: Running, servers: Servers
) -> None:
    trace = fresh()
    sent = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    reply = await gateway.send("PROPFIND", "/api/x/y/z", headers=sent)
    assert reply.json["trace_id"] == trace
    span = await span_of(servers, trace)
    assert (span.name, span.attributes["http.request.method"]) == ("HTTP", "_OTHER")
    assert span.attributes["http.response.status_code"] == "404"
