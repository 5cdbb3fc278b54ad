"""Positions travel in headers, and nonsense in them is left out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import position

positions = st.dictionaries(
    st.sampled_from(["users", "content", "notifications"]), st.integers(0, 10**18 - 1)
)


@given(positions)
def test_what_is_written_is_read(written: dict[str, int]) -> None:
    assert position.parse(position.write(written)) == written


@given(st.text())
def test_any_header_can_be_read(header: str) -> None:
    for number in position.parse(header).values():
        assert 0 <= number < 10**18


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("users=1,content=2", {"users": 1, "content": 2}),
        (" users=1 ,\tcontent=02 ", {"users": 1, "content": 2}),
        ("users=1, users=2", {"users": 2}),
        ("users=1, users", {"users": 1}),
        ("users=-1", {}),
        ("users=1.0", {}),
        ("users==1", {}),
        ("users=", {}),
        ("=1", {}),
        ("us ers=1", {}),
        (f"users={10**18}", {}),
        ("", {}),
        (",".join(f"s{number}=1" for number in range(100)), {f"s{n}": 1 for n in range(8)}),
    ],
)
def test_a_header_is_read_part_by_part(header: str, found: dict[str, int]) -> None:
    assert position.parse(header) == found


def test_the_larger_number_of_each_source_is_the_newest() -> None:
    assert position.newest({"users": 3, "content": 1}, {"users": 2, "other": 5}) == {
        "users": 3,
        "content": 1,
        "other": 5,
    }
