"""One fault amid writes, and what came of it."""

import asyncio
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Self

from tests.faults.checker import check
from tests.faults.faults import Fault, absent
from tests.faults.findings import Finding, Wrong
from tests.faults.ground import Ground
from tests.faults.history import History
from tests.faults.snapshot import read

RECOVERED_WITHIN = 60.0  # seconds


@dataclass(frozen=True)
class Result:
    """What came of a fault. `failures` are the requests that failed, by what was said."""

    fault: str
    requests: int
    failures: list[str]
    acknowledged: int
    findings: list[Finding]
    recovery: float
    times: int = 1

    def __add__(self, other: Self) -> "Result":
        """Both together, with the longer recovery."""
        return Result(
            self.fault,
            self.requests + other.requests,
            self.failures + other.failures,
            self.acknowledged + other.acknowledged,
            self.findings + other.findings,
            max(self.recovery, other.recovery),
            self.times + other.times,
        )

    @property
    def summary(self) -> str:
        """A line for whoever waits."""
        return (
            f"{self.requests} requests, {len(self.failures)} failed, {self.acknowledged} writes "
            f"acknowledged, {len(self.findings)} findings, recovered in {self.recovery:.1f} s"
        )

    def count(self, wrong: Wrong) -> int:
        """How many findings of the kind."""
        return sum(finding.wrong == wrong for finding in self.findings)

    def broken_promises(self, fault: Fault) -> list[str]:
        """What came of it and must not."""
        twice = [finding for finding in self.findings if finding.wrong == Wrong.MAILED_TWICE]
        broken = [str(finding) for finding in self.findings if finding not in twice]
        if len(twice) > fault.mails_twice:
            broken += [str(finding) for finding in twice]
        if fault.seamless:
            broken += [f"failed: {failure}" for failure in self.failures]
        if self.acknowledged == 0:
            broken.append("nothing was acknowledged")
        return [f"{fault.name}: {what}" for what in broken]


async def endure(
    ground: Ground,
    fault: Fault,
    *,
    rate: float,
    before: float = 0.5,
    after: float = 0.5,
    rest_within: float = 60.0,
) -> Result:
    """Break something `before` seconds after writing began, and go on for `after` seconds when all
    has recovered; then hold databases and mail against the history.
    """
    stack, history = ground.stack, ground.community.history
    writes, requests = len(history.writes), len(history.requests)
    async with absent(ground, fault.without) if fault.without else nullcontext():
        async with ground.community.writing(rate):
            await asyncio.sleep(before)
            await fault.strike(ground)
            recovery = await ground.community.served_by_all(RECOVERED_WITHIN)
            await asyncio.sleep(after)
        await ground.come_to_rest(rest_within)
    found = check(history, await read(stack.addresses.databases, stack.servers.mail_dir))
    new = [finding for finding in found if finding not in ground.known]
    ground.known.update(new)
    phase = History(history.writes[writes:], history.requests[requests:])
    return Result(
        fault.name,
        len(phase.requests),
        [str(request) for request in phase.failed],
        phase.acknowledged,
        new,
        recovery,
    )
