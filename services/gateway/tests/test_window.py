"""Counting over the last few seconds, against a list of everything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.upstream.window import PARTS, Window

SECONDS = 10.0
_EVENTS = st.lists(st.tuples(st.floats(0.0, 7.0), st.booleans()), max_size=60)


@given(_EVENTS)
def test_what_is_within_counts_and_what_is_older_does_not(events: list[tuple[float, bool]]) -> None:
    window, now, seen = Window(SECONDS), 1000.0, list[tuple[float, bool]]()
    for pause, hit in events:
        now += pause
        window.add(now, hit=hit)
        seen.append((now, hit))
        step = SECONDS / PARTS
        certain = [hit for at, hit in seen if at > now - (SECONDS - step)]
        possible = [hit for at, hit in seen if at > now - (SECONDS + step)]
        assert len(certain) <= window.count <= len(possible)
        assert sum(certain) <= window.hits <= sum(possible)


@pytest.mark.parametrize("pause", [SECONDS + 1.1, 1e6])
def test_after_a_pause_nothing_is_left(pause: float) -> None:
    window = Window(SECONDS)
    window.add(50.0, hit=True)
    window.move(50.0 + pause)
    assert (window.count, window.hits) == (0, 0)
