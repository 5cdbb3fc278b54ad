"""What people see: short log lines, tables, files as they grow."""

import io
import json
from pathlib import Path

from deploy.local import logs
from deploy.local.console import Console, table
from deploy.local.follow import Follower


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(line: str, stream: io.StringIO | None = None, *, no_color: bool = False) -> str:
    stream = stream or io.StringIO()
    Console(stream, no_color=no_color).log("users", line)
    return stream.getvalue()


def test_a_json_line_is_shown_in_short_form() -> None:
    entry = {
        "service": "users",
        "event": "request",
        "level": "info",
        "timestamp": "2026-01-02T03:04:05.6Z",
        "status": 201,
        "route": "/api/users",
        "note": "two words",
    }
    text = shown(json.dumps(entry))
    assert text.startswith("users         | ")
    assert text.endswith(':05 info    request status=201 route=/api/users note="two words"\n')


def test_an_exception_keeps_its_lines() -> None:
    entry = {"event": "failed", "level": "error", "exception": "Traceback\n  here"}
    assert shown(json.dumps(entry)).endswith("error   failed\nTraceback\n  here\n")


def test_a_line_that_is_no_json_object_is_shown_as_it_is() -> None:
    for line in ("plain text", "[1]", "12", "{broken"):
        assert shown(line) == f"users         | {line}\n"


def test_colours_are_for_terminals_that_want_them() -> None:
    assert "\x1b[36m" in shown("{}", Terminal())
    assert "\x1b" not in shown("{}", Terminal(), no_color=True)
    assert "\x1b" not in shown("{}")


def test_the_table_is_in_columns() -> None:
    rows: list[dict[str, object]] = [
        {"service": "nats", "url": "nats://h:1", "pid": 7, "ready": True, "ready_ms": 12},
        {"service": "users", "url": "http://h:22", "pid": None, "ready": False, "ready_ms": None},
    ]
    assert table(rows).splitlines() == [
        "SERVICE  URL          PID  READY",
        "nats     nats://h:1   7    12 ms",
        "users    http://h:22  -    no",
    ]


def test_a_follower_gives_whole_lines_once(tmp_path: Path) -> None:
    path = tmp_path / "users.log"
    path.write_text("old\n")
    follower = Follower(path)
    with path.open("a") as stream:
        stream.write("one\ntw")
    assert follower.new_lines() == ["one"]
    with path.open("a") as stream:
        stream.write("o\n")
    assert follower.new_lines() == ["two"]
    assert follower.new_lines() == []


def test_a_follower_can_begin_some_lines_before_the_end(tmp_path: Path) -> None:
    path = tmp_path / "users.log"
    path.write_text("a\nb\nc\n")
    assert Follower(path, last_lines=2).new_lines() == ["b", "c"]
    assert Follower(path, last_lines=0).new_lines() == []
    assert Follower(tmp_path / "none.log", last_lines=2).new_lines() == []


def test_a_log_is_bounded_and_is_followed_on(tmp_path: Path) -> None:
    path = tmp_path / "users.log"
    path.write_text("x" * 100 + "\n")
    follower = Follower(path)
    logs.bound(path, limit=100)
    assert path.read_text() == ""
    assert len((tmp_path / "users.log.1").read_text()) == 101
    path.write_text("new\n")
    assert follower.new_lines() == ["new"]
    logs.bound(path, limit=100)
    assert path.read_text() == "new\n"


def test_the_tail_of_a_log_is_its_last_lines(tmp_path: Path) -> None:
    path = tmp_path / "users.log"
    assert logs.tail(path) == ""
    path.write_text("a\nb\nc\n")
    assert logs.tail(path, 2) == "b\nc"
