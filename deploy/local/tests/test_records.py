"""Processes on record: ours are found and ended, others are left alone."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.local import records
from deploy.local.state import State


@pytest.fixture
def state(tmp_path: Path) -> State:
    state = State(tmp_path)
    state.make()
    return state


@pytest.fixture
async def process() -> AsyncIterator[asyncio.subprocess.Process]:
    program = "import signal; signal.pause()"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, start_new_session=True
    )
    yield process
    if process.returncode is None:
        process.kill()
        await process.wait()


async def test_an_orphan_is_ended_when_the_folder_is_claimed(
    state: State, process: asyncio.subprocess.Process
) -> None:
    records.record(state, "users", process.pid)
    assert await records.claim(state) == ["users"]
    assert await process.wait() == -signal.SIGTERM
    assert list(records.living(state)) == []


async def test_another_process_with_a_recorded_number_is_left_alone(
    state: State, process: asyncio.subprocess.Process
) -> None:
    records.record(state, "users", process.pid)
    (entry,) = records.living(state)
    state.write("run/users.json", vars(replace(entry, started="another time")))
    assert await records.claim(state) == []
    assert process.returncode is None
    os.kill(process.pid, 0)


async def test_a_record_that_cannot_be_read_does_no_harm(state: State) -> None:
    (state.run / "users.json").write_text('{"name": "us')
    assert await records.claim(state) == []


async def test_a_process_that_has_ended_is_not_living(process: asyncio.subprocess.Process) -> None:
    assert records.started(process.pid) is not None
    process.kill()
    await process.wait()
    assert records.started(process.pid) is None
