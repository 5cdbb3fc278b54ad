"""The commands, as `make` calls them, with the real services."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.local import records
from deploy.local.state import State, free_port
from deploy.local.suite import PROCESSES, ROOT

NAMES = {"postgres", "nats", "valkey", "collector", "mail", *PROCESSES}


class Commands:
    """The commands on one state folder and port."""

    def __init__(self, folder: Path) -> None:
        self.state = State(folder)
        self.port = free_port()
        environ = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}  # noqa: TID251
        self.environ = environ | {"QUARTET_STATE": str(folder), "QUARTET_PORT": str(self.port)}

    @property
    def ready_line(self) -> str:
        return f"Quartet is ready: http://127.0.0.1:{self.port}"

    def begin(self, *arguments: str, **told: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "deploy.local", *arguments],
            cwd=ROOT,
            env=self.environ | told,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **told: str) -> subprocess.CompletedProcess[str]:
        process = self.begin(*arguments, **told)
        output, errors = process.communicate(timeout=90)
        assert "Traceback" not in errors
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def status(self) -> dict[str, dict[str, Any]]:
        return {row["service"]: row for row in json.loads(self.run("status", "--json").stdout)}

    def pids(self) -> list[int]:
        return [record.pid for record in records.living(self.state)]


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """A stack that was started in the background."""
    commands = Commands(tmp_path_factory.mktemp("background"))
    started = commands.run("start")
    assert started.returncode == 0, started.stderr
    assert started.stdout.splitlines()[-1] == commands.ready_line
    yield commands
    commands.run("stop")


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Commands]:
    """A folder in which nothing runs yet."""
    commands = Commands(tmp_path)
    yield commands
    commands.run("stop")


def test_status_is_a_table_and_json(commands: Commands) -> None:
    result = commands.run("status")
    assert result.returncode == 0
    assert result.stdout.startswith("SERVICE")
    rows = commands.status()
    assert set(rows) == NAMES
    assert all(set(row) == {"service", "url", "pid", "ready", "ready_ms"} for row in rows.values())
    assert all(row["ready"] and row["pid"] and row["ready_ms"] >= 0 for row in rows.values())
    assert rows["gateway"]["url"] == f"http://127.0.0.1:{commands.port}"
    assert "@" not in json.dumps(list(rows.values()))


def test_logs_are_shown_for_one_or_all(commands: Commands) -> None:
    one = commands.run("logs", "--service=users", "--no-follow").stdout
    assert "migrated" in one
    assert {line.split()[0] for line in one.splitlines()} == {"users"}
    everything = commands.run("logs", "--no-follow").stdout
    assert {"users", "postgres", "stack"} <= {line.split()[0] for line in everything.splitlines()}
    missing = commands.run("logs", "--service=nobody")
    assert missing.returncode == 1
    assert "There is no log of nobody" in missing.stderr


def test_a_second_start_is_refused(commands: Commands) -> None:
    second = commands.run("start")
    assert second.returncode == 1
    (sentence,) = second.stderr.splitlines()
    assert sentence.startswith("A stack already runs in")


def test_operators_are_answered_by_the_services(commands: Commands) -> None:
    waiting = commands.run("jobs")
    assert waiting.returncode == 0, waiting.stderr
    assert {"users:", "content:", "notifications:"} <= set(waiting.stdout.splitlines())
    assert "events of content" in commands.run("jobs", SERVICE="notifications").stdout
    aside = commands.run("dead-letters").stdout.splitlines()
    assert aside == [f"{name} has set 0 aside." for name in ("users", "content", "notifications")]
    again = commands.run("dead-letters", SERVICE="content", RETRY="all")
    assert again.stdout == "0 delivered again.\n"
    sent = commands.run("replay", SERVICE="content", SINCE="2026-11-25T09:00Z")
    assert "events and jobs of content are sent again." in sent.stdout
    whole = commands.run("rebuild", SERVICE="notifications").stdout.splitlines()
    assert [line.split()[0] for line in whole] == ["content", "users", "notifications"]


def test_what_an_operator_can_not_mean_is_one_sentence(commands: Commands) -> None:
    for arguments, told in (
        (("dead-letters",), {"DROP": "x"}),
        (("rebuild",), {"SERVICE": "users"}),
    ):
        result = commands.run(*arguments, **told)
        assert result.returncode == 1
        assert len(result.stderr.splitlines()) == 1
    refused = commands.run("replay", SERVICE="content", SINCE="yesterday")
    assert refused.returncode == 1
    assert "no time such as" in refused.stderr


def test_a_killed_service_comes_back_in_the_background(commands: Commands) -> None:
    before = commands.status()["content"]["pid"]
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: commands.run("status").returncode == 0 and pid_of(commands) != before)
    story = commands.run("logs", "--service=stack", "--no-follow").stdout
    assert "content ended (signal SIGKILL); it starts again" in story


def pid_of(commands: Commands) -> int:
    pid: int = commands.status()["content"]["pid"]
    return pid


def test_migrate_again_does_no_harm(commands: Commands) -> None:
    result = commands.run("migrate")
    assert result.returncode == 0
    assert "content is migrated." in result.stdout


def test_stop_ends_all_and_says_when_there_is_nothing_to_stop(fresh: Commands) -> None:
    assert fresh.run("start").returncode == 0
    pids = fresh.pids()
    assert len(pids) == len(NAMES)
    began = time.monotonic()
    assert fresh.run("stop").returncode == 0
    assert time.monotonic() - began < 10
    assert all(records.started(pid) is None for pid in pids)
    assert fresh.run("status").returncode == 1
    again = fresh.run("stop")
    assert again.returncode == 0
    assert "is not running" in again.stdout


def test_an_interrupt_ends_the_foreground_and_all_with_it(fresh: Commands) -> None:
    process = fresh.begin("up")
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    assert any(line.rstrip() == fresh.ready_line for line in lines)
    pids = fresh.pids()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 0
    assert len(pids) == len(NAMES)
    assert all(records.started(pid) is None for pid in pids)


def test_stop_ends_what_a_killed_supervisor_left(fresh: Commands) -> None:
    assert fresh.run("start").returncode == 0
    pids = fresh.pids()
    supervisor = records.supervisor(fresh.state)
    assert supervisor is not None
    os.kill(supervisor, signal.SIGKILL)
    assert fresh.run("stop").returncode == 0
    assert all(records.started(pid) is None for pid in pids)


def test_a_port_in_use_is_one_sentence(fresh: Commands) -> None:
    with socket.create_server(("127.0.0.1", fresh.port)):
        for command in ("up", "start"):
            result = fresh.run(command)
            assert result.returncode == 1
            (sentence,) = result.stderr.splitlines()
            assert sentence.startswith(f"Port {fresh.port} is in use")


def test_a_full_disk_is_one_sentence(fresh: Commands) -> None:
    result = fresh.run("start", QUARTET_FREE_MEGABYTES="1000000000")
    assert result.returncode == 1
    (sentence,) = result.stderr.splitlines()
    assert sentence.startswith("Only ")


def test_bad_settings_of_a_service_are_told_with_its_last_lines(fresh: Commands) -> None:
    result = fresh.run("start", USERS_POOL_MAX="many")
    assert result.returncode == 1
    assert "USERS_POOL_MAX" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("The migration of users failed (exit code 78)")
    assert fresh.pids() == []


def wait_until(holds: Any, within: float = 30.0) -> None:
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline
