"""What is measured, and what must come out of it: the table, as data."""

from dataclasses import dataclass
from typing import Literal

LIST = "/api/articles"
SMALL = "/api/tags"


@dataclass(frozen=True)
class Race:
    """Requests a second at one door against another, measured in turns. `ours` and `peer` are doors
    of `bench.places`; `target` is the least ratio to reach.
    """

    name: str
    title: str
    ours: str
    path: str
    peer: str
    peer_path: str
    target: float
    floor: float  # below this the quick form fails: far enough below what is measured
    connections: int = 32


RACES = (
    Race(
        "hit-fastapi",
        "anonymous article list, cache hit at the gateway, against FastAPI returning a constant",
        ours="gateway",
        path=LIST,
        peer="fastapi",
        peer_path="/constant",
        target=3.0,
        floor=1.2,
    ),
    Race(
        "hit-nginx",
        "anonymous article list, cache hit at the gateway, against nginx `proxy_cache`",
        ours="gateway",
        path=LIST,
        peer="nginx-cache",
        peer_path=LIST,
        target=0.35,
        floor=0.15,
    ),
    Race(
        "list-fastapi",
        "article list uncached, through gateway and content, against FastAPI alone",
        ours="gateway-uncached",
        path=LIST,
        peer="fastapi",
        peer_path=LIST,
        target=1.5,
        floor=0.8,
    ),
    Race(
        "list-flask",
        "article list uncached, through gateway and content, against Flask and gunicorn alone",
        ours="gateway-uncached",
        path=LIST,
        peer="flask",
        peer_path=LIST,
        target=4.0,
        floor=1.0,
    ),
    Race(
        "forward-nginx",
        "forwarding a small reply, against nginx forwarding it",
        ours="gateway-forward",
        path=SMALL,
        peer="nginx-forward",
        peer_path=SMALL,
        target=0.3,
        floor=0.1,
    ),
    Race(
        "tracing",
        "article list uncached, with tracing at 10 % against none",
        ours="gateway-uncached",
        path=LIST,
        peer="gateway-untraced",
        peer_path=LIST,
        target=0.92,
        floor=0.6,
    ),
)


@dataclass(frozen=True)
class Goal:
    """A figure that has no peer: the most that it may be, in `unit`."""

    name: str
    title: str
    most: float
    unit: Literal["ms", "s", "MB", "×"]


GOALS = (
    Goal("added-p50", "added by the gateway at half load, median", 1.0, "ms"),
    Goal("added-p99", "added by the gateway at half load, 99 of 100", 4.0, "ms"),
    Goal("many-first", "first page of 1,000,000 articles, against 10,000", 1.5, "×"),
    Goal("many-deep", "deep page of 1,000,000 articles, against 10,000", 1.5, "×"),
    Goal("live-p50", "commit to the follower's stream at 100 events/s, median", 20.0, "ms"),
    Goal("live-p99", "commit to the follower's stream at 100 events/s, 99 of 100", 80.0, "ms"),
    Goal(
        "purge-p50", "commit to the purge in two more gateways at 100 events/s, median", 50.0, "ms"
    ),
    Goal("purge-p99", "the same, 99 of 100", 50.0, "ms"),
    Goal("fan-out", "an article told to 10,000 followers", 1.5, "s"),
    Goal("stall", "longest stall of the event loop while 50 logins/s run", 20.0, "ms"),
    Goal("memory-users", "resident memory of users, idle", 80.0, "MB"),
    Goal("memory-content", "resident memory of content, idle", 80.0, "MB"),
    Goal("memory-notifications", "resident memory of notifications, idle", 80.0, "MB"),
    Goal("memory-worker", "resident memory of the worker, idle", 80.0, "MB"),
    Goal("memory-gateway", "resident memory of the gateway, idle", 80.0, "MB"),
    Goal("start", "`make start` on an installed machine", 10.0, "s"),
)
QUICK = ("hit-fastapi", "list-fastapi", "forward-nginx")
WIDEST = 0.15  # of a ratio's median: a machine that is busy otherwise measures nothing
