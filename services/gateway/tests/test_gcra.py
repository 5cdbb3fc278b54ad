"""Quotas by one instant a key, as Valkey counts them and as one process does."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from uuid_utils.compat import uuid7

from deploy.local.servers import Servers
from services.gateway.limits.gcra import MOST_KEYS, Alone, Charge, Policy, charge_together
from shared.testing import until

SLOW = Policy("slow", quota=3, window=30)
QUICK = Policy("quick", quota=10, window=1)


class Clock:
    """Time that passes when told."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def who() -> str:
    return uuid7().hex


@pytest.fixture
async def valkey(servers: Servers) -> AsyncIterator[Redis]:
    async with Redis.from_url(servers.redis_url) as valkey:
        yield valkey


def test_a_quota_may_be_used_at_once_and_comes_back_evenly() -> None:
    clock = Clock()
    alone, charge = Alone(clock), Charge(SLOW, "ada")
    said = [alone.charge([charge]) for _ in range(4)]
    assert [allowed for allowed, _ in said] == [True, True, True, False]
    assert [verdicts[0].remaining for _, verdicts in said] == [2, 1, 0, 0]
    assert [verdicts[0].wait for _, verdicts in said] == [0, 0, 10, 10]
    assert [verdicts[0].full_in_seconds for _, verdicts in said] == [10, 20, 30, 30]
    clock.now += 9.9
    assert not alone.charge([charge])[0]
    clock.now += 0.1
    assert alone.charge([charge])[0]
    assert not alone.charge([charge])[0]
    clock.now += 1000
    assert alone.charge([charge])[1][0].remaining == 2


def test_what_one_quota_refuses_no_other_counts() -> None:
    alone = Alone(Clock())
    both = [Charge(QUICK, "ada"), Charge(SLOW, "ada")]
    said = [alone.charge(both) for _ in range(9)]
    assert [allowed for allowed, _ in said] == [True] * 3 + [False] * 6
    assert alone.charge(both[:1])[1][0].remaining == 6


def test_one_process_remembers_no_more_than_its_bound() -> None:
    alone = Alone(Clock())
    for number in range(MOST_KEYS + 1):
        alone.charge([Charge(SLOW, str(number))])
    assert len(alone._full) == MOST_KEYS
    assert alone.charge([Charge(SLOW, "0")])[1][0].remaining == 2
    assert alone.charge([Charge(SLOW, str(MOST_KEYS))])[1][0].remaining == 1


async def test_valkey_counts_as_one_process_does(valkey: Redis, who: str) -> None:
    both = [Charge(QUICK, who), Charge(SLOW, who)]
    said = [await charge_together(valkey, both) for _ in range(5)]
    assert [allowed for allowed, _ in said] == [True, True, True, False, False]
    assert [verdicts[1].remaining for _, verdicts in said] == [2, 1, 0, 0, 0]
    assert 9 <= said[-1][1][1].wait <= 10
    assert said[-1][1][0].remaining >= 7


async def test_many_at_once_get_what_there_is_and_no_more(valkey: Redis, who: str) -> None:
    charge = Charge(Policy("crowd", quota=25, window=2500), who)
    said = await asyncio.gather(*(charge_together(valkey, [charge]) for _ in range(60)))
    assert sum(allowed for allowed, _ in said) == 25


async def test_a_quota_comes_back_by_valkeys_clock(valkey: Redis, who: str) -> None:
    charge = Charge(Policy("soon", quota=2, window=1), who)
    begun = time.monotonic()
    for _ in range(2):
        assert (await charge_together(valkey, [charge]))[0]

    async def back() -> bool:
        return (await charge_together(valkey, [charge]))[0]

    await until(back, what="the quota")
    assert time.monotonic() - begun > 0.3


async def test_keys_go_when_their_quota_is_whole(valkey: Redis, who: str) -> None:
    charge = Charge(SLOW, who)
    await charge_together(valkey, [charge])
    await charge_together(valkey, [charge])
    assert 19_000 < await valkey.pttl(charge.key) <= 20_000


async def test_a_valkey_that_forgot_the_script_is_told_again(valkey: Redis, who: str) -> None:
    for remaining in (2, 1):
        await valkey.script_flush()
        assert (await charge_together(valkey, [Charge(SLOW, who)]))[1][0].remaining == remaining
