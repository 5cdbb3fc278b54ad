"""Names that lead to many processes, and to others as time goes by."""

import asyncio
import random
from contextlib import suppress
from pathlib import Path

import aiohttp

from services.gateway.tests.behind import Behind
from services.gateway.tests.conftest import Told
from services.gateway.tests.running import running
from services.gateway.upstream.discovery import Directory, addresses, resolved
from services.gateway.upstream.endpoints import READY, Endpoint, Service
from shared.testing import until


class Names:
    """What a name leads to at the moment; nothing is an error."""

    def __init__(self, *found: str) -> None:
        self.found = list(found)
        self.asked = 0

    async def resolve(self, _: str) -> list[str]:
        self.asked += 1
        if not self.found:
            raise OSError("no such name")
        return self.found


async def test_a_name_is_replaced_by_all_that_it_leads_to() -> None:
    names = Names("10.0.0.1", "fd00::1")
    urls = ["dns://content-pods:8002", "http://10.0.0.9:80/", "dns://content-pods:8002"]
    assert await resolved(urls, names.resolve) == [
        "http://10.0.0.1:8002",
        "http://[fd00::1]:8002",
        "http://10.0.0.9:80",
    ]


async def test_addresses_are_of_one_family() -> None:
    assert await addresses("localhost") == ["127.0.0.1"]


async def test_processes_come_and_go_and_those_that_stay_keep_what_is_known_of_them() -> None:
    names, counts, probed = Names("10.0.0.1", "10.0.0.2"), list[int](), set[str]()

    async def probe(endpoint: Endpoint) -> None:
        probed.add(endpoint.url)
        try:
            await asyncio.Event().wait()
        finally:
            probed.discard(endpoint.url)

    service = Service("content", (), random.Random(1))
    directory = Directory(service, ["dns://pods:80"], probe, counts.append, names.resolve)
    running_ = asyncio.create_task(directory.run(0.01))
    await until(lambda: _same(probed, {"http://10.0.0.1:80", "http://10.0.0.2:80"}))
    service.endpoints[1].note(READY)
    names.found = ["10.0.0.2", "10.0.0.3"]
    await until(lambda: _same(probed, {"http://10.0.0.2:80", "http://10.0.0.3:80"}))
    assert [(one.url, one.is_ready) for one in service.endpoints] == [
        ("http://10.0.0.2:80", True),
        ("http://10.0.0.3:80", False),
    ]
    names.found, asked = [], names.asked
    await until(lambda: _same(names.asked > asked + 1, True))
    assert len(service.endpoints) == 2, "an error of DNS is not the end of the processes"
    assert set(counts) == {2}
    running_.cancel()
    with suppress(asyncio.CancelledError):
        await running_
    assert probed == set()


async def _same(value: object, wanted: object) -> bool:
    return value == wanted


async def test_a_gateway_finds_a_service_by_its_name(
    folder: Path, session: aiohttp.ClientSession, told: Told, behind: Behind
) -> None:
    named = behind.url.replace("http://127.0.0.1", "dns://localhost")
    async with running(folder, session, told | {"GATEWAY_CONTENT_URL": named}) as gateway:
        assert (await gateway.send("GET", "/api/tags")).status == 200
        ready = await gateway.send("GET", "/readyz")
        assert ready.json["checks"]["content"] in ("ok", "not asked yet")
