"""Each fault once, at a low rate: nothing acknowledged is lost, nothing happens twice."""

import pytest

from shared.settings import ServiceSettings
from tests.faults.faults import KILLS, SERVERS, Fault, absences, restart_halves
from tests.faults.ground import Ground
from tests.faults.run import endure

RATE = 25.0  # requests a second
BRIEF = (*KILLS, *SERVERS, *absences(postgres=1.5, others=1))


@pytest.mark.parametrize("fault", BRIEF, ids=lambda fault: fault.name)
async def test_nothing_is_lost_and_nothing_happens_twice(broken: Ground, fault: Fault) -> None:
    result = await endure(broken, fault, rate=RATE)
    assert result.broken_promises(fault) == []


async def test_a_rolling_restart_fails_no_request(doubled: Ground) -> None:
    fault = Fault("rolling restart", restart_halves, seamless=True)
    result = await endure(doubled, fault, rate=RATE / 2)
    assert result.broken_promises(fault) == []
    assert all(child.restarts == 1 for child in doubled.stack.services.values())


async def test_nothing_is_held_that_was_not_before(broken: Ground) -> None:
    assert await broken.holds_more(within=2 * ServiceSettings().header_timeout) == []
