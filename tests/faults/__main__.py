"""The long form: `python -m tests.faults`. Breaks everything, again and again, and writes
docs/results/faults.md. Exit code 1 if a promise was not kept.
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from deploy.local.suite import ROOT, SERVICES
from shared.settings import ServiceSettings
from tests.faults.faults import KILLS, SERVERS, Fault, absences, restart_in_turn
from tests.faults.ground import Ground, ground
from tests.faults.processes import measure
from tests.faults.report import held, joined, page, table
from tests.faults.run import Result, endure

RATE = 30.0  # requests a second
KILLED = 20  # times over all
SERVERS_KILLED = 3  # times each
PAGE = ROOT / "docs" / "results" / "faults.md"


async def main() -> int:
    """Run it; returns the exit code."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="qf") as folder:
        async with ground(Path(folder, "one")) as one:
            before = one.held
            results, broken = await _break(one)
            broken += await one.holds_more(within=2 * ServiceSettings().header_timeout)
            after = await measure(one.stack)
        rolling = Fault("rolling restart", restart_in_turn, seamless=True)
        replicas = dict.fromkeys(SERVICES, 2)
        async with ground(Path(folder, "two"), replicas=replicas) as two:
            rolled = await _endure(two, rolling)
            broken += rolled.broken_promises(rolling)
    tables = [table(joined(results)), table([rolled]), held(before, after)]
    text = page(tables, RATE, time.monotonic() - began)
    await asyncio.to_thread(_write, text)
    print(text, *broken, sep="\n")
    return 1 if broken else 0


async def _break(running: Ground) -> tuple[list[Result], list[str]]:
    kills = [KILLS[number % len(KILLS)] for number in range(KILLED)]
    running.chance.shuffle(kills)
    long = absences(postgres=5, others=10)
    faults = [*kills, *SERVERS * SERVERS_KILLED, *long]
    results, broken = [], []
    for fault in faults:
        result = await _endure(running, fault)
        results.append(result)
        broken += result.broken_promises(fault)
    return results, broken


async def _endure(running: Ground, fault: Fault) -> Result:
    before = running.chance.uniform(1, 4)
    result = await endure(running, fault, rate=RATE, before=before, after=2)
    print(f"{fault.name}: {result.summary}", flush=True)
    return result


def _write(text: str) -> None:
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(text)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
