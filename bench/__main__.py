"""`python -m bench [run|quick|profile|load]`; `make` calls it."""

import asyncio
import random
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from bench import figures, load, publish
from bench.cases import QUICK, RACES, Race
from bench.flame import flames
from bench.measure import Result, race
from bench.places import Places, places
from bench.results import Run, run_of
from deploy.local.seed import seed
from deploy.local.state import State
from deploy.local.suite import ROOT, running

RESULTS = ROOT / "docs" / "results"


@click.group()
def main() -> None:
    """How fast the suite is, beside others."""


@main.command()
@click.option("--rounds", envvar="ROUNDS", default=5, type=click.IntRange(2))
@click.option("--seconds", envvar="SECONDS", default=6.0, type=click.FloatRange(1))
@click.option("--only", envvar="ONLY", default="", help="Races, with commas; publishes nothing.")
def run(rounds: int, seconds: float, only: str) -> None:
    """Measure all and publish it; exit 1 where the machine was too busy to measure."""
    names = set(only.split(",")) if only else {case.name for case in RACES}
    cases = [case for case in RACES if case.name in names]
    found = asyncio.run(_all(cases, rounds, seconds, with_figures=not only))
    print(publish.table(found))
    for result in found.too_wide:
        print(f"{result.name}: the rounds lie {result.spread:.0%} apart", file=sys.stderr)
    if only or found.too_wide:
        print("Nothing is published.", file=sys.stderr)
        sys.exit(1 if found.too_wide else 0)
    publish.publish(found, RESULTS)


async def _all(cases: list[Race], rounds: int, seconds: float, *, with_figures: bool) -> Run:
    with TemporaryDirectory() as name:
        folder = Path(name)
        found = await figures.start(folder) if with_figures else {}
        async with places(folder / "suite", _say) as there:
            if with_figures:
                found |= await figures.memory(there)
            await fill(there, users=1_000, articles=10_000)
            results = await races(there, cases, rounds, seconds)
            if with_figures:
                found |= await figures.added(there, rounds, seconds)
                found |= await figures.stall(there, rounds, seconds)
                found |= await figures.live(there, rounds, seconds)
                found |= await figures.purge(there, rounds, seconds)
                found |= await figures.fan_out(there, rounds)
                found |= await figures.size(there, rounds, seconds / 2)
    return run_of(results, found, rounds, seconds)


async def races(there: Places, cases: Iterable[Race], rounds: int, seconds: float) -> list[Result]:
    """One race after the other."""
    return [await race(there, case, rounds=rounds, seconds=seconds, tell=print) for case in cases]


async def fill(there: Places, *, users: int, articles: int) -> None:
    """The same community each time."""
    await seed(
        there.stack.addresses.databases,
        users=users,
        articles=articles,
        dice=random.Random(1),
        now=datetime.now(UTC),
        progress=lambda *_: None,
    )
    await there.calm()


@main.command()
def quick() -> None:
    """Some short races; exit 1 where one falls far below what it was."""
    results = asyncio.run(_quick())
    slow = [case for case in RACES if case.name in results and results[case.name] < case.floor]
    for case in slow:
        print(f"{case.title}: {results[case.name]:.2f} ×, less than {case.floor:g} ×")
    sys.exit(1 if slow else 0)


async def _quick() -> dict[str, float]:
    with TemporaryDirectory() as name:
        async with places(Path(name) / "suite", _say) as there:
            await fill(there, users=100, articles=500)
            cases = [case for case in RACES if case.name in QUICK]
            results = await races(there, cases, rounds=2, seconds=1)
    return {result.name: result.ratio for result in results}


@main.command()
@click.option("--route", envvar="ROUTE", default="/api/articles", show_default=True)
@click.option("--door", envvar="DOOR", default="gateway-uncached", show_default=True)
@click.option("--seconds", envvar="SECONDS", default=8.0, type=click.FloatRange(1))
def profile(route: str, door: str, seconds: float) -> None:
    """Draw where the time of a route goes, in each process that answers at a door."""
    asyncio.run(_profile(route, door, seconds))


async def _profile(route: str, door: str, seconds: float) -> None:
    with TemporaryDirectory() as name:
        async with places(Path(name) / "suite", _say) as there:
            await fill(there, users=1_000, articles=10_000)
            for path in await flames(there, door, route, seconds, RESULTS):
                print(path.relative_to(ROOT))


@main.command(name="load")
@click.option("--state", envvar="QUARTET_STATE", default=ROOT / ".quartet", type=Path)
@click.option("--path", envvar="ROUTE", default="/api/articles", show_default=True)
@click.option("--rps", default=100.0, type=click.FloatRange(1))
@click.option("--seconds", default=10.0, type=click.FloatRange(1))
def load_(state: Path, path: str, rps: float, seconds: float) -> None:
    """Ask the running suite for a path, so many times a second."""
    url = running(State(state)).services["gateway"] + path
    report = asyncio.run(load.load(url, seconds, 32, load.paced(rps, 32, 0), refusals=True))
    print(
        f"{report.rate:,.0f} requests a second, {report.failed} refused; "
        f"{report.p50:.1f} ms at 50 %, {report.p99:.1f} ms at 99 %, {report.longest:.1f} ms at most"
    )


def _say(name: str, sentence: str) -> None:
    print(f"{name}: {sentence}")


if __name__ == "__main__":
    main()
