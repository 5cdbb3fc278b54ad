"""Each fault once, at a low rate: nothing acknowledged is lost, nothing happens twice."""

import pytest

from tests.faults.faults import FAULTS, Fault
from tests.faults.ground import Ground
from tests.faults.run import endure

RATE = 25.0  # requests a second


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_nothing_is_lost_and_nothing_happens_twice(broken: Ground, fault: Fault) -> None:
    result = await endure(broken, fault, rate=RATE)
    print(
        result.fault,
        result.requests,
        len(result.failures),
        result.acknowledged,
        round(result.recovery, 2),
    )
    assert result.findings == []
    assert result.acknowledged > 0
    if fault.seamless:
        assert result.failures == []
