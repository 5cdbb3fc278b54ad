"""When a breaker opens, what it lets through, and when it closes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.upstream.breaker import Breaker


def breaker() -> Breaker:
    return Breaker("content", ratio=0.5, least=10, pause=1.0)


def opened(now: float = 100.0) -> Breaker:
    some = breaker()
    for _ in range(10):
        some.record(now, now, failed=True)
    return some


def test_few_failures_open_nothing_and_as_many_as_the_least_do() -> None:
    some = breaker()
    for _ in range(9):
        some.record(100.0, 100.0, failed=True)
    assert some.allows(100.0)
    some.record(100.0, 100.0, failed=True)
    assert not some.allows(100.0)
    assert some.state == "open"


def test_a_row_of_failures_opens_it_however_seldom_they_come() -> None:
    some = breaker()
    for number in range(10):
        some.record(100.0 + 5 * number, 100.0 + 5 * number, failed=True)
    assert some.state == "open"


@pytest.mark.parametrize(("every", "state"), [(3, "closed"), (2, "open")])
def test_half_of_them_failing_opens_it_and_a_third_does_not(every: int, state: str) -> None:
    some = breaker()
    for number in range(30):
        some.record(100.0, 100.0, failed=number % every == 0)
    assert some.state == state


def test_what_went_well_before_hides_a_failure_for_less_than_a_second() -> None:
    """1,000 a second, all well; then all fail."""
    some, now = breaker(), 100.0
    for _ in range(3000):
        now += 0.001
        some.record(now, now, failed=False)
    begun = now
    while some.state == "closed":
        now += 0.001
        some.record(now, now, failed=True)
    assert now - begun < 1.0


def test_after_its_pause_one_goes_through_and_its_end_decides() -> None:
    for failed, state in ((True, "open"), (False, "closed")):
        some = opened()
        assert some.wait(100.2) == 1
        assert not some.allows(100.9)
        assert some.allows(101.0)
        assert some.state == "half-open"
        assert not some.allows(101.0)
        some.record(101.0, 101.5, failed=failed)
        assert some.state == state
        assert some.allows(102.0) is not failed
        assert some.allows(102.5)


def test_one_that_told_nothing_leaves_its_place_to_the_next() -> None:
    some = opened()
    assert some.allows(101.0)
    some.forget(101.0)
    assert some.allows(101.0)


def test_what_began_before_it_opened_says_nothing_however_late_it_ends() -> None:
    some = opened(100.0)
    some.record(99.9, 100.5, failed=False)
    assert not some.allows(100.6)
    assert some.allows(101.0)
    some.record(99.9, 101.1, failed=False)
    some.record(99.8, 101.1, failed=True)
    some.forget(99.7)
    assert some.state == "half-open"
    assert not some.allows(101.2), "the one that tries has not come back"


@given(st.lists(st.tuples(st.floats(0.0, 0.6), st.sampled_from(["well", "failed", "gone"]))))
def test_it_always_lets_somebody_through_again(events: list[tuple[float, str]]) -> None:
    some, now = breaker(), 100.0
    for pause, end in events:
        now += pause
        if some.allows(now):
            some.forget(now) if end == "gone" else some.record(now, now, failed=end == "failed")
    assert some.allows(now + 1.0)
