"""Which process of a service is asked next."""

import random

import pytest

from services.gateway.endpoints import READY, Service


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
