"""One fault amid writes, and what came of it."""

import asyncio
from dataclasses import dataclass

from tests.faults.checker import check
from tests.faults.faults import Fault
from tests.faults.findings import Finding, Wrong
from tests.faults.ground import Ground
from tests.faults.history import History
from tests.faults.snapshot import read

RECOVERED_WITHIN = 60.0  # seconds
AT_REST_WITHIN = 60.0


@dataclass(frozen=True)
class Result:
    """A line of the table. `failures` are the requests that failed, by what was said."""

    fault: str
    requests: int
    failures: list[str]
    acknowledged: int
    findings: list[Finding]
    recovery: float

    def count(self, wrong: Wrong) -> int:
        """How many findings of the kind."""
        return sum(finding.wrong == wrong for finding in self.findings)


async def endure(
    ground: Ground,
    fault: Fault,
    *,
    rate: float,
    before: float = 1.0,
    after: float = 1.0,
    rest_within: float = AT_REST_WITHIN,
) -> Result:
    """Break something `before` seconds after writing began, and go on for `after` seconds when all
    has recovered; then hold the databases against the history.
    """
    stack, history = ground.stack, ground.community.history
    writes, requests = len(history.writes), len(history.requests)
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
        [f"{item.method} {item.path} {item.status}" for item in phase.failed],
        phase.acknowledged,
        new,
        recovery,
    )
