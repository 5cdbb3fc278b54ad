"""Races in rounds: ours and the peer's in turns, so that both see the same machine."""

import statistics
from collections.abc import Callable

import msgspec

from bench import load
from bench.cases import WIDEST, Race
from bench.places import Door, Places

Tell = Callable[[str], None]
TRIES = 6


class Lap(msgspec.Struct, frozen=True):
    """One run at one door: requests a second, milliseconds of latency, and milliseconds of CPU that
    the processes of the door spent on a request.
    """

    rate: float
    p50: float
    p99: float
    cpu_ms: float


class Round(msgspec.Struct, frozen=True):
    """Both, one after the other."""

    ours: Lap
    peer: Lap

    @property
    def ratio(self) -> float:
        """Our rate, in the peer's."""
        return self.ours.rate / self.peer.rate


class Result(msgspec.Struct, frozen=True):
    """What a race came to."""

    name: str
    rounds: list[Round]

    @property
    def ratio(self) -> float:
        """The median of the rounds."""
        return statistics.median(one.ratio for one in self.rounds)

    @property
    def spread(self) -> float:
        """How far the rounds lie apart, of the median."""
        ratios = [one.ratio for one in self.rounds]
        return (max(ratios) - min(ratios)) / self.ratio

    def of(self, side: str, what: str) -> float:
        """The median of a figure of one side, `ours` or `peer`."""
        laps = [one.ours if side == "ours" else one.peer for one in self.rounds]
        return float(statistics.median(getattr(one, what) for one in laps))


async def race(places: Places, case: Race, *, rounds: int, seconds: float, tell: Tell) -> Result:
    """Run a race. Where the rounds lie too far apart, something else was at work on the machine,
    and all of them are run anew; the last try counts, whatever came out.
    """
    async with places.opened(case.ours, case.peer) as (ours, peer):
        await lap(ours, case.path, 1, case.connections)  # warms caches, pools and plans
        await lap(peer, case.peer_path, 1, case.connections)
        for _ in range(TRIES):
            result = Result(
                case.name, [await _round(case, ours, peer, n, seconds) for n in range(rounds)]
            )
            tell(f"{case.name}: {result.ratio:.2f} ×, spread {result.spread:.0%}")
            if result.spread <= WIDEST:
                break
    return result


async def _round(case: Race, ours: Door, peer: Door, number: int, seconds: float) -> Round:
    async def run_ours() -> Lap:
        return await lap(ours, case.path, seconds, case.connections)

    async def run_peer() -> Lap:
        return await lap(peer, case.peer_path, seconds, case.connections)

    if number % 2:  # whoever is first may find another machine than who is second
        theirs = await run_peer()
        return Round(await run_ours(), theirs)
    first = await run_ours()
    return Round(first, await run_peer())


async def lap(door: Door, path: str, seconds: float, connections: int) -> Lap:
    """One run at one door."""
    before = load.cpu_seconds(door.pids)
    report = await load.load(door.url + path, seconds, connections)
    spent = load.cpu_seconds(door.pids) - before
    return Lap(report.rate, report.p50, report.p99, spent * 1000 / report.requests)
