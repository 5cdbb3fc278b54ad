"""What browsers measured becomes metrics, in the trace of the page; what is no beacon does not."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from deploy.local.servers import Servers
from deploy.local.state import free_port
from deploy.local.traces import Span, received_spans
from services.gateway.tests.conftest import Told
from services.gateway.tests.running import Answer, Running, running
from services.gateway.vitals import Vital, rating
from shared.testing import until

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
LINE = re.compile(r"^(browser_web_vital_\w+?)_(count|sum)\{(.*)\} (\S+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
async def measured(
    folder: Path, session: aiohttp.ClientSession, told: Told, port: int
) -> AsyncIterator[Running]:
    extra = {"GATEWAY_METRICS_PORT": str(port), "GATEWAY_VITALS_PAGES": "/docs,/article"}
    async with running(folder, session, told | extra) as gateway:
        yield gateway


async def beacon(gateway: Running, body: Any, media: str = "text/plain;charset=UTF-8") -> Answer:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await gateway.send("POST", "/api/vitals", data=data, headers={"Content-Type": media})


def vital(name: str, value: float) -> dict[str, Any]:
    return {"name": name, "value": value}


async def test_a_beacon_becomes_series_of_a_known_page_or_none(
    measured: Running, session: aiohttp.ClientSession, port: int
) -> None:
    vitals = [vital("LCP", 2500), vital("INP", 300), vital("CLS", 0.3)]
    assert (await beacon(measured, {"page": "/docs", "vitals": vitals})).status == 204
    invented = {"page": "/invented", "vitals": [vital("TTFB", 80)], "traceparent": TRACE}
    assert (await beacon(measured, invented, "application/json")).status == 204

    async def series() -> dict[tuple[str, str], dict[str, float]]:
        async with session.get(f"http://127.0.0.1:{port}/metrics") as reply:
            text = await reply.text()
        assert "invented" not in text
        found: dict[tuple[str, str], dict[str, float]] = {}
        for instrument, kind, labels, number in LINE.findall(text):
            said = dict(re.findall(r'(\w+)="([^"]*)"', labels))
            key = said["web_vital_name"], said["web_vital_rating"]
            facts = {f"{instrument} {kind} {said['http_route']}": float(number)}
            found.setdefault(key, {}).update(facts)
        return found if len(found) == 4 else {}

    seconds = "browser_web_vital_duration_seconds"
    assert await until(series) == {
        ("LCP", "good"): {f"{seconds} count /docs": 1, f"{seconds} sum /docs": 2.5},
        ("INP", "needs-improvement"): {f"{seconds} count /docs": 1, f"{seconds} sum /docs": 0.3},
        ("CLS", "poor"): {
            "browser_web_vital_shift count /docs": 1,
            "browser_web_vital_shift sum /docs": 0.3,
        },
        ("TTFB", "good"): {f"{seconds} count ": 1, f"{seconds} sum ": 0.08},
    }


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 422),
        ({"vitals": []}, 422),
        ({"vitals": [vital("FID", 1)]}, 422),
        ({"vitals": [vital("LCP", -1)]}, 422),
        ({"vitals": [vital("LCP", 600_001)]}, 422),
        (b'{"vitals": [{"name": "LCP", "value": NaN}]}', 400),
        ({"vitals": [vital("LCP", 1), vital("LCP", 2)]}, 422),
        ({"vitals": [vital("LCP", 1)], "who": "me"}, 422),
        ({"vitals": [vital("LCP", 1)], "traceparent": "00-" + "g" * 32}, 422),
        (b" " * 4097, 413),
    ],
)
async def test_what_is_no_beacon_is_refused(measured: Running, body: Any, status: int) -> None:
    assert (await beacon(measured, body)).status == status


async def test_a_form_is_no_beacon(measured: Running) -> None:
    reply = await beacon(measured, {"vitals": [vital("LCP", 1)]}, "multipart/form-data")
    assert reply.status == 415


async def test_the_docs_tell_the_browser_their_trace_which_the_beacon_joins(
    measured: Running, servers: Servers
) -> None:
    said = (await measured.send("GET", "/docs")).headers
    [traceparent] = re.findall(
        r'traceparent;desc="([^"]+)"', ", ".join(said.getall("Server-Timing"))
    )
    assert traceparent.split("-")[1] == said["Quartet-Trace"]
    body = {"page": "/docs", "vitals": [vital("FCP", 1.5)], "traceparent": traceparent}
    assert (await beacon(measured, body)).status == 204

    async def joined() -> Span | None:
        spans = received_spans(servers.traces_dir)
        return next((one for one in spans if one.parent_id == traceparent.split("-")[2]), None)

    span: Span = await until(joined, seconds=15, what="the beacon's span")
    assert (span.name, span.trace_id) == ("web vitals", said["Quartet-Trace"])
    assert float(span.attributes["web_vital.fcp"]) == 1.5


def test_ratings_have_both_bounds_on_their_better_side() -> None:
    said = [rating(Vital(name="CLS", value=value)) for value in (0.1, 0.11, 0.25, 0.26)]
    assert said == ["good", "needs-improvement", "needs-improvement", "poor"]
