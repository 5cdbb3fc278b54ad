"""What needs no race: latency that the gateway adds, stalls, fan-out, size, memory, start."""

import asyncio
import os
import sys
import time
from functools import partial
from pathlib import Path

import aiohttp
import asyncpg
import msgspec
import psutil
from uuid_utils.compat import uuid7

from bench import load
from bench.cases import LIST
from bench.community import fill_articles, follow
from bench.measure import lap
from bench.places import Places
from deploy.local.seed import PASSWORD
from deploy.local.state import State
from deploy.local.suite import PROCESSES, ROOT
from shared.migrations import migrate
from shared.testing import until
from tests.e2e.client import Client
from tests.load.live import delays

FOLLOWERS = 10_000
LOGINS = 50  # a second
EVENTS = 100  # a second
HEARING = ("gateway-hearing-1", "gateway-hearing-2")
FEW, MANY = 10_000, 1_000_000
DEEP = f"{LIST}?offset=9000"
REST_SECONDS = 5.0
Figures = dict[str, list[float]]


async def memory(places: Places) -> Figures:
    """Resident megabytes (10^6 bytes) of each process that has done nothing yet."""
    await asyncio.sleep(REST_SECONDS)
    held = {}
    for name in PROCESSES:
        (pid,) = places.door(name).pids
        held[f"memory-{name}"] = [psutil.Process(pid).memory_info().rss / 1e6]
    return held


async def added(places: Places, rounds: int, seconds: float) -> Figures:
    """Milliseconds that the way through the gateway takes longer, at half of what it can do."""
    found: Figures = {"added-p50": [], "added-p99": []}
    async with places.opened("gateway-uncached", "content") as (gateway, content):
        most = await lap(gateway, LIST, seconds, 32)
        told = load.paced(most.rate / 2, 16, most.p50 / 2)
        for _ in range(rounds):
            direct = await load.load(content.url + LIST, seconds, 16, told)
            through = await load.load(gateway.url + LIST, seconds, 16, told)
            found["added-p50"].append(through.p50 - direct.p50)
            found["added-p99"].append(through.p99 - direct.p99)
    return found


async def stall(places: Places, rounds: int, seconds: float) -> Figures:
    """The longest that the users service kept somebody waiting who asks for nothing, in
    milliseconds, while people log in.
    """
    users = places.door("users")
    db = await asyncpg.connect(places.stack.addresses.databases["users"])
    email = await db.fetchval("SELECT email FROM accounts LIMIT 1")
    await db.close()
    body = msgspec.json.encode({"user": {"email": email, "password": PASSWORD}}).decode()
    login = {"METHOD": "POST", "BODY": body} | load.paced(LOGINS, 25, 0)
    longest = []
    for _ in range(rounds):
        _, probe = await asyncio.gather(
            load.load(f"{users.url}/api/users/login", seconds, 25, login, refusals=True),
            load.load(f"{users.url}/healthz", seconds, 1, {"PAUSE_MS": "2"}),
        )
        longest.append(probe.longest)
    return {"stall": longest}


async def live(places: Places, rounds: int, seconds: float) -> Figures:
    """Milliseconds from the fact until a stream of the gateway tells it, at `EVENTS` a second."""
    found: Figures = {"live-p50": [], "live-p99": []}
    async with aiohttp.ClientSession() as session:
        client = Client(session, places.stack.url)
        for _ in range(rounds):
            told = await delays(client, rate=EVENTS, seconds=seconds)
            found["live-p50"].append(told.p50)
            found["live-p99"].append(told.p99)
    return found


async def purge(places: Places, rounds: int, seconds: float) -> Figures:
    """Milliseconds from the fact until two more gateways have forgotten what it makes out of date,
    the slower of both, at `EVENTS` a second.
    """
    found: Figures = {"purge-p50": [], "purge-p99": []}
    async with aiohttp.ClientSession() as session, places.opened(*HEARING):
        client = Client(session, places.stack.url)
        logs = [places.stack.state.logs / f"{name}.log" for name in HEARING]
        for _ in range(rounds):
            before = [len(_purges(log)) for log in logs]
            await delays(client, rate=EVENTS, seconds=seconds)
            took = [sorted(_purges(log)[n:]) for log, n in zip(logs, before, strict=True)]
            found["purge-p50"].append(max(each[len(each) // 2] for each in took))
            found["purge-p99"].append(max(each[len(each) * 99 // 100] for each in took))
    return found


def _purges(log: Path) -> list[float]:
    """The milliseconds of each event that a gateway has heard."""
    lines = (line for line in log.read_bytes().splitlines() if b'"event heard"' in line)
    return [msgspec.json.decode(line)["lag_ms"] for line in lines]


async def fan_out(places: Places, rounds: int) -> Figures:
    """Seconds from publishing an article until the last follower of its author is told."""
    addresses = places.stack.addresses
    db = await asyncpg.connect(addresses.databases["notifications"])
    took = []
    async with aiohttp.ClientSession(addresses.services["gateway"]) as session:
        author, headers = await _register(session)
        await follow(db, author, FOLLOWERS)
        for number in range(rounds):
            begun = time.perf_counter()
            article = {"title": f"News {number}", "description": "d", "body": "b", "tagList": []}
            async with session.post(LIST, json={"article": article}, headers=headers) as reply:
                reply.raise_for_status()
            await until(partial(_told, db, author, FOLLOWERS * (number + 1)), what="the last")
            took.append(time.perf_counter() - begun)
    await db.close()
    return {"fan-out": took}


async def _register(session: aiohttp.ClientSession) -> tuple[str, dict[str, str]]:
    name = f"bench{uuid7().hex[-8:]}"
    user = {"username": name, "email": f"{name}@example.org", "password": PASSWORD}
    async with session.post("/api/users", json={"user": user}) as reply:
        reply.raise_for_status()
        token = (await reply.json())["user"]["token"]
    return name, {"Authorization": f"Token {token}"}


async def _told(db: asyncpg.Connection, author: str, times: int) -> bool:
    found: int = await db.fetchval(
        """SELECT count(*) FROM notifications
            WHERE kind = 'published' AND actor_id = (SELECT id FROM people WHERE username = $1)""",
        author,
    )
    return found >= times


async def size(places: Places, rounds: int, seconds: float) -> Figures:
    """How much longer a page takes of many articles than of few."""
    for name, articles in (("content-few", FEW), ("content-many", MANY)):
        await places.stack.servers.create_database(name.replace("-", "_"))
        url = places.stack.servers.postgres_url(name.replace("-", "_"))
        await migrate(url, "shared", "services.content")
        await fill_articles(url, articles)
        places.databases[name] = url
    found: Figures = {"many-first": [], "many-deep": []}
    async with places.opened("content-few", "content-many") as (few, many):
        for name, path in (("many-first", LIST), ("many-deep", DEEP)):
            for _ in range(rounds + 1):  # the first warms both
                usual = await load.load(few.url + path, seconds, 1)
                large = await load.load(many.url + path, seconds, 1)
                found[name].append(large.p50 / usual.p50)
            del found[name][0]
    return found


async def start(folder: Path) -> Figures:
    """Seconds until `make start` returns, where nothing was started before."""
    ours = dict(os.environ)  # noqa: TID251 - handed on, not read
    state = State(folder / "start")
    state.make()
    told = ours | {"QUARTET_STATE": str(state.path), "QUARTET_PORT": str(state.port("door"))}
    begun = time.perf_counter()
    try:
        if await _run(told, "start"):
            raise RuntimeError("`make start` failed")
        return {"start": [time.perf_counter() - begun]}
    finally:
        await _run(told, "stop")


async def _run(told: dict[str, str], command: str) -> int:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "deploy.local", command),
        env=told,
        cwd=ROOT,
        stdout=asyncio.subprocess.DEVNULL,
    )
    return await process.wait()
