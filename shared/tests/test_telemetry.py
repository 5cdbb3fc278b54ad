"""Log lines are JSON, and hold no secret."""

import json
import logging
import subprocess
import sys
from typing import Any

from shared.telemetry import OnceAMinute

SCRIPT = """
import logging
import structlog
from opentelemetry import trace
from shared.telemetry import start_logging, start_telemetry, stop_telemetry
start_telemetry("probe", "info")
log = structlog.get_logger()
log.debug("unheard")
log.info("said", password="p", api_token="t", mail_email="m", Authorization="a", harmless="h")
with trace.get_tracer("probe").start_as_current_span("work"):
    log.info("traced")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed")
logging.getLogger("library").warning("from a library")
logging.getLogger("library").info("unheard")
stop_telemetry()
"""


def lines() -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={"OTEL_SDK_DISABLED": "true", "PYTHONPATH": ":".join(sys.path)},
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_line_is_json_with_service_level_and_time_and_no_secret() -> None:
    said, traced, failed, library = lines()
    for line in (said, traced, failed, library):
        assert line["service"] == "probe"
        assert line["timestamp"].endswith("Z")
    assert (said["event"], said["level"], said["harmless"]) == ("said", "info", "h")
    for name in ("password", "api_token", "mail_email", "Authorization"):
        assert said[name] == "[redacted]"
    assert "trace_id" not in said
    assert "ZeroDivisionError" in failed["exception"]
    assert (library["event"], library["level"]) == ("from a library", "warning")
    assert library["logger"] == "library"


def test_a_library_complains_of_one_thing_once_a_minute() -> None:
    once = OnceAMinute()

    def record(line: int) -> logging.LogRecord:
        return logging.LogRecord("library", logging.ERROR, "here.py", line, "away", None, None)

    assert [once.filter(record(line)) for line in (1, 1, 2, 1)] == [True, False, True, False]
