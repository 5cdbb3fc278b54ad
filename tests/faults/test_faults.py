"""Each fault once, at a low rate: nothing acknowledged is lost, nothing happens twice.

Those that don't hide each other come together, so that this takes a minute; the long form has each
by itself, again and again.
"""

from pathlib import Path

import pytest

from deploy.local.suite import SERVICES
from shared.settings import ServiceSettings
from tests.faults.faults import SERVERS, Fault, absences, kill, restart_halves, together
from tests.faults.ground import Ground, ground
from tests.faults.run import endure

RATE = 25.0  # requests a second
POSTGRES, NATS, NATS_BEFORE_ITS_ACK, STREAMS = SERVERS
POSTGRES_STOPPED, VALKEY_STOPPED, VALKEY_DEAD, COLLECTOR_DEAD = absences(postgres=1.5, others=1)
BRIEF = (
    together(kill("gateway"), kill("users"), kill("worker")),
    together(kill("content"), kill("notifications")),
    together(NATS, VALKEY_STOPPED),
    together(NATS_BEFORE_ITS_ACK, VALKEY_DEAD),
    together(STREAMS, COLLECTOR_DEAD),
    POSTGRES,
    POSTGRES_STOPPED,
)


@pytest.mark.parametrize("fault", BRIEF, ids=lambda fault: fault.name)
async def test_nothing_is_lost_and_nothing_happens_twice(broken: Ground, fault: Fault) -> None:
    result = await endure(broken, fault, rate=RATE)
    assert result.broken_promises(fault) == []


async def test_a_rolling_restart_fails_no_request(tmp_path: Path) -> None:
    fault = Fault("rolling restart", restart_halves, seamless=True)
    async with ground(tmp_path, replicas=dict.fromkeys(SERVICES, 2)) as doubled:
        result = await endure(doubled, fault, rate=RATE / 2)
        assert result.broken_promises(fault) == []
        assert all(child.restarts == 1 for child in doubled.stack.services.values())


async def test_nothing_is_held_that_was_not_before(broken: Ground) -> None:
    assert await broken.holds_more(within=2 * ServiceSettings().header_timeout) == []
