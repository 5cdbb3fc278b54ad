"""The door of a service: who gets in, who waits, and who has to go."""

import asyncio
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.upstream.bulkhead import Bulkhead, Priority, Shed
from services.gateway.upstream.concurrency import AdaptiveLimit

SECONDS = 5.0


def door(places: int = 1, room: int = 2) -> Bulkhead:
    some = Bulkhead(AdaptiveLimit(places), room)
    while some.enter():
        pass
    return some


async def waits(some: Bulkhead, priority: Priority) -> "asyncio.Task[None]":
    before = some.waiting
    task = asyncio.create_task(some.wait(priority, SECONDS))
    await asyncio.sleep(0)
    assert some.waiting == before + 1
    return task


async def test_who_waits_gets_in_when_one_leaves_and_the_more_important_first() -> None:
    some, order = door(room=4), list[str]()
    tasks = []
    for priority in (Priority.ANONYMOUS, Priority.MEMBER, Priority.WRITE, Priority.MEMBER):
        task = await waits(some, priority)
        task.add_done_callback(partial(_note, order, priority.name))
        tasks.append(task)
    for _ in tasks:
        some.leave()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert order == ["WRITE", "MEMBER", "MEMBER", "ANONYMOUS"]
    assert (some.inside, some.waiting) == (1, 0)


def _note(order: list[str], name: str, _: "asyncio.Task[None]") -> None:
    order.append(name)


async def test_where_nobody_has_room_the_newcomer_goes_at_once() -> None:
    some = door()
    tasks = [await waits(some, Priority.ANONYMOUS) for _ in range(2)]
    with pytest.raises(Shed, match="queue full"):
        await some.wait(Priority.ANONYMOUS, SECONDS)
    for _ in tasks:
        some.leave()
    await asyncio.gather(*tasks)


async def test_a_more_important_one_takes_the_room_of_the_last_of_the_least() -> None:
    some = door()
    first, second = await waits(some, Priority.ANONYMOUS), await waits(some, Priority.ANONYMOUS)
    write = asyncio.create_task(some.wait(Priority.WRITE, SECONDS))
    with pytest.raises(Shed, match="gave way"):
        await second
    some.leave()
    await write
    some.leave()
    await first


async def test_who_waits_too_long_goes() -> None:
    some = door()
    with pytest.raises(Shed, match="too long"):
        await some.wait(Priority.WRITE, 0.01)
    assert (some.inside, some.waiting) == (1, 0)


async def test_nobody_overtakes_those_who_wait() -> None:
    some = door()
    task = await waits(some, Priority.ANONYMOUS)
    some.limit.rescale(5, 1)
    assert not some.enter()
    some.leave()
    await task
    assert some.enter()


class Crowd:
    """People at a door, who come, go in, leave, and go away."""

    def __init__(self) -> None:
        self.door = Bulkhead(AdaptiveLimit(2), 3)
        self._tasks = list[asyncio.Task[bool]]()

    async def _come(self, priority: Priority) -> bool:
        try:
            if not self.door.enter():
                await self.door.wait(priority, SECONDS)
        except Shed:
            return False
        return True

    def do(self, event: str, priority: Priority) -> None:
        if event == "come":
            self._tasks.append(asyncio.create_task(self._come(priority)))
        elif event == "leave":
            self.leave()
        elif event == "go" and self._tasks:
            self._tasks[-1].cancel()

    def leave(self) -> None:
        inside = (one for one in self._tasks if one.done() and not one.cancelled() and one.result())
        one = next(inside, None)
        if one is not None:
            self._tasks.remove(one)
            self.door.leave()

    async def all_leave(self) -> None:
        for _ in range(3 * len(self._tasks) + 3):
            self.leave()
            await asyncio.sleep(0)


_EVENTS = st.sampled_from(["come", "leave", "go", "turn"])


@given(st.lists(st.tuples(_EVENTS, st.sampled_from(list(Priority)))))
def test_no_place_is_lost_or_had_twice(events: list[tuple[str, Priority]]) -> None:
    """Some go away in the very moment in which their turn comes."""

    async def play() -> None:
        crowd = Crowd()
        for event, priority in events:
            crowd.do(event, priority)
            assert crowd.door.inside <= 2
            if event == "turn":
                await asyncio.sleep(0)
        await crowd.all_leave()
        assert (crowd.door.inside, crowd.door.waiting) == (0, 0)

    asyncio.run(play())
