"""Each fault once, at a low rate: nothing acknowledged is lost, nothing happens twice."""

import pytest

from tests.faults.faults import FAULTS, Fault, restart_halves
from tests.faults.findings import Wrong
from tests.faults.ground import Ground
from tests.faults.run import Result, endure

RATE = 25.0  # requests a second


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_nothing_is_lost_and_nothing_happens_twice(broken: Ground, fault: Fault) -> None:
    hold(await endure(broken, fault, rate=RATE), fault)


async def test_a_rolling_restart_fails_no_request(doubled: Ground) -> None:
    fault = Fault("rolling restart", restart_halves, seamless=True)
    result = await endure(doubled, fault, rate=RATE)
    hold(result, fault)
    assert all(child.restarts == 1 for child in doubled.stack.services.values())


def hold(result: Result, fault: Fault) -> None:
    """Hold what came of a fault against what may come of it."""
    print(result.fault, result.requests, len(result.failures), result.acknowledged, result.recovery)
    twice = [finding for finding in result.findings if finding.wrong == Wrong.MAILED_TWICE]
    assert len(twice) <= fault.mails_twice
    assert [finding for finding in result.findings if finding not in twice] == []
    assert result.acknowledged > 0
    if fault.seamless:
        assert result.failures == []
