"""Which process of a service is asked next."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.upstream.endpoints import FAILURES, READY, Endpoint, Service
from shared.errors import Unavailable


def service(*states: str) -> Service:
    found = Service(
        "content", [f"http://{number}/" for number in range(len(states))], random.Random(1)
    )
    for endpoint, state in zip(found.endpoints, states, strict=True):
        endpoint.note(state)
    return found


def test_of_two_the_less_busy_one_is_asked() -> None:
    some = service(READY, READY)
    some.endpoints[0].outstanding = 3
    assert some.choose() is some.endpoints[1]


def test_of_many_the_busiest_is_never_asked_and_each_other_is() -> None:
    some = service(READY, READY, READY, READY)
    some.endpoints[2].outstanding = 1
    asked = {some.choose().url for _ in range(100)}
    assert asked == {"http://0", "http://1", "http://3"}


def test_one_that_is_not_ready_is_passed_over() -> None:
    some = service("drains", READY)
    some.endpoints[1].outstanding = 100
    assert some.choose() is some.endpoints[1]


def test_where_none_is_ready_one_is_asked_all_the_same() -> None:
    some = service("can't be reached", "drains")
    assert {some.choose(), some.choose([some.endpoints[0]])} <= set(some.endpoints)


def test_one_that_was_not_tried_goes_first_and_the_same_again_where_there_is_no_other() -> None:
    some = service(READY, "drains")
    assert some.choose([some.endpoints[0]]) is some.endpoints[1]
    one = service(READY)
    assert one.choose(one.endpoints) is one.endpoints[0]


def test_a_service_is_away_when_all_its_processes_are() -> None:
    service("drains", READY).check()
    with pytest.raises(ConnectionError, match="drains; can't be reached"):
        service("drains", "can't be reached").check()


def failing(some: Service, endpoint: Endpoint, now: float) -> None:
    for _ in range(FAILURES):
        some.fail(endpoint, now)


def test_one_that_only_fails_is_left_alone_for_longer_each_time() -> None:
    some, now = service(READY, READY), 100.0
    bad, good = some.endpoints
    good.outstanding = 100  # or it would be asked because it is less busy
    for seconds in (1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0):
        failing(some, bad, now)
        assert some.choose(now=now + seconds - 0.1) is good
        now += seconds
        assert some.choose(now=now) is bad


def test_one_that_was_well_for_long_begins_anew() -> None:
    some = service(READY, READY)
    bad = some.endpoints[0]
    for now in (100.0, 101.0, 200.0):
        failing(some, bad, now)
    assert bad.ejected_until == 201.0


def test_a_success_in_between_forgives() -> None:
    some = service(READY, READY)
    bad = some.endpoints[0]
    for _ in range(3 * FAILURES):
        some.fail(bad, 100.0)
        bad.succeed()
    assert bad.ejected_until == 0.0


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.floats(0.0, 3.0)), max_size=100))
def test_never_all_are_left_alone(events: list[tuple[int, bool, float]]) -> None:
    some, now = service(READY, READY, READY), 100.0
    for number, failed, pause in events:
        now += pause
        endpoint = some.endpoints[number]
        some.fail(endpoint, now) if failed else endpoint.succeed()
        assert any(some.is_well(one, now) for one in some.endpoints)
        assert some.is_well(some.choose(now=now), now)


def test_a_name_that_leads_nowhere_is_a_service_that_is_away() -> None:
    nothing = service()
    with pytest.raises(Unavailable):
        nothing.choose()
    with pytest.raises(ConnectionError, match="leads nowhere"):
        nothing.check()
