"""How many retries there are."""

from hypothesis import given
from hypothesis import strategies as st

from services.gateway.upstream.budget import FLOOR, Budget


@given(st.integers(0, 500))
def test_a_fifth_of_the_requests_and_a_few(requests: int) -> None:
    budget = Budget(0.2)
    for _ in range(requests):
        budget.deposit(100.0)
    granted = sum(budget.withdraw(100.0) for _ in range(1000))
    assert granted == FLOOR + requests // 5


def test_what_was_spent_comes_back_with_time() -> None:
    budget = Budget(0.2)
    while budget.withdraw(100.0):
        pass
    assert not budget.withdraw(105.0)
    assert budget.withdraw(111.1)


def test_without_a_share_nothing_is_sent_again() -> None:
    assert not Budget(0.0).withdraw(100.0)
