"""How many at once a service is found to take."""

from hypothesis import given
from hypothesis import strategies as st

from services.gateway.upstream.concurrency import LEAST, AdaptiveLimit, Baselines


def simulated(
    limit: AdaptiveLimit, offered: int, each: float, seconds: float, now: float = 100.0
) -> float:
    """A service that does one thing after the other, `each` seconds long, asked by `offered`
    clients at once; gives the latency in the end.
    """
    baselines, latency = Baselines(), 0.0
    baselines.is_slow("route", each, quiet=True)
    until = now + seconds
    while now < until:
        now += each
        inside = int(min(offered, limit.value))
        latency = inside * each
        limit.sample(now, inside, slow=baselines.is_slow("route", latency, quiet=inside < 4))
    return latency


def test_an_overloaded_service_gets_fewer_until_it_is_quick_again() -> None:
    limit = AdaptiveLimit(200)
    assert simulated(limit, 200, 0.01, 20.0) <= 0.2
    assert LEAST <= limit.value < 40


def test_a_service_that_has_room_keeps_its_limit() -> None:
    limit = AdaptiveLimit(100)
    simulated(limit, 60, 0.001, 10.0)
    assert limit.value == 100


def test_it_rises_again_when_the_service_is_quick() -> None:
    limit = AdaptiveLimit(200)
    simulated(limit, 200, 0.01, 10.0)
    low = limit.value
    simulated(limit, 200, 0.0005, 10.0, now=200.0)
    assert limit.value > 2 * low


def test_slowness_that_is_not_for_want_of_room_lowers_nothing() -> None:
    limit = AdaptiveLimit(100)
    for number in range(1000):
        limit.sample(100.0 + number, 5, slow=True)
    assert limit.value == 100


def test_where_it_must_not_adapt_it_stays() -> None:
    limit = AdaptiveLimit(200, adapts=False)
    simulated(limit, 200, 0.01, 10.0)
    assert limit.value == 200


def test_more_processes_take_more() -> None:
    limit = AdaptiveLimit(100)
    limit.rescale(300, 3)
    assert (limit.value, limit.least) == (300, 3 * LEAST)
    limit.rescale(100, 1)
    assert (limit.value, limit.least) == (100, LEAST)


def test_each_route_is_measured_by_itself() -> None:
    baselines = Baselines()
    for _ in range(3):
        baselines.is_slow("login", 0.2, quiet=True)
        baselines.is_slow("tags", 0.002, quiet=True)
    assert not baselines.is_slow("login", 0.5, quiet=False)
    assert baselines.is_slow("tags", 0.5, quiet=False)


def test_under_load_the_minimum_does_not_follow_the_load() -> None:
    baselines = Baselines()
    baselines.is_slow("tags", 0.002, quiet=True)
    assert all(baselines.is_slow("tags", 0.5, quiet=False) for _ in range(1000))


def test_a_service_that_is_slower_for_good_is_learnt() -> None:
    baselines = Baselines()
    baselines.is_slow("tags", 0.002, quiet=True)
    slow = [baselines.is_slow("tags", 0.3, quiet=True) for _ in range(100)]
    assert slow[0]
    assert not slow[-1]


@given(
    st.lists(st.tuples(st.floats(0.0, 1.0), st.integers(0, 300), st.booleans()), max_size=200),
    st.integers(1, 300),
)
def test_it_stays_within_its_bounds(samples: list[tuple[float, int, bool]], most: int) -> None:
    limit, now = AdaptiveLimit(most), 100.0
    for pause, inside, slow in samples:
        now += pause
        limit.sample(now, inside, slow=slow)
        assert limit.least <= limit.value <= limit.most
