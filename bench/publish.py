"""A run as JSON, as a table and as plots, in `docs/results`."""

import statistics
from pathlib import Path

import msgspec

from bench import plots
from bench.cases import GOALS, RACES, Goal, Race
from bench.measure import Result
from bench.results import Run

_HEAD = """# Speed

Written by `make bench`; do not edit. {at:%Y-%m-%d}, Python {python}, {cores} cores of {processor},
{memory:.0f} GiB. One worker process each; {peers}.

Each race runs in {rounds} rounds of {seconds:g} s at each door, ours and the peer's in turns;
load comes from wrk, on the same cores. A ratio is the median of the rounds' ratios, and its spread
how far they lie apart. CPU is what the processes of a door spend on a request, which other work on
the machine changes little. `bench/README.md` tells how to read this, and what each door is.

![Ratios](speed-ratios.svg)
![Rounds](speed-rounds.svg)

## Races

| race | ours/s | peer/s | ratio | spread | at least | | ours, CPU | peer, CPU |
| --- | ---: | ---: | ---: | ---: | ---: | --- | ---: | ---: |
"""
_GOALS = """
## Figures

| figure | measured | at most | |
| --- | ---: | ---: | --- |
"""


def publish(run: Run, folder: Path) -> None:
    """Write all of it."""
    folder.mkdir(parents=True, exist_ok=True)
    text = msgspec.json.format(msgspec.json.encode(run), indent=1).decode()
    (folder / "speed.json").write_text(text + "\n")
    (folder / "speed.md").write_text(table(run))
    (folder / "speed-ratios.svg").write_text(plots.ratios(_compared(run)))
    (folder / "speed-rounds.svg").write_text(plots.rounds(_compared(run)))


def table(run: Run) -> str:
    """The run, for people."""
    head = _HEAD.format(
        at=run.at,
        python=run.python,
        processor=run.processor,
        cores=run.cores,
        memory=run.memory / 2**30,
        peers=", ".join(f"{name} {version}" for name, version in run.peers.items()),
        rounds=run.rounds,
        seconds=run.seconds,
    )
    races = "\n".join(_race(case, result) for case, result in _compared(run))
    goals = [_goal(goal, run.figures[goal.name]) for goal in GOALS if goal.name in run.figures]
    return head + races + "\n" + (_GOALS + "\n".join(goals) + "\n" if goals else "")


def _compared(run: Run) -> list[tuple[Race, Result]]:
    results = {result.name: result for result in run.races}
    return [(case, results[case.name]) for case in RACES if case.name in results]


def _race(case: Race, result: Result) -> str:
    cells = (
        case.title,
        f"{result.of('ours', 'rate'):,.0f}",
        f"{result.of('peer', 'rate'):,.0f}",
        f"{result.ratio:.2f} ×",
        f"{result.spread:.0%}",
        f"{case.target:g} ×",
        _verdict(result.ratio >= case.target),
        f"{result.of('ours', 'cpu_ms'):.3f} ms",
        f"{result.of('peer', 'cpu_ms'):.3f} ms",
    )
    return "| " + " | ".join(cells) + " |"


def _goal(goal: Goal, values: list[float]) -> str:
    value = statistics.median(values)
    cells = (
        goal.title,
        f"{value:.2f} {goal.unit}",
        f"{goal.most:g} {goal.unit}",
        _verdict(value <= goal.most),
    )
    return "| " + " | ".join(cells) + " |"


def _verdict(reached: bool) -> str:
    return "reached" if reached else "**not reached**"
