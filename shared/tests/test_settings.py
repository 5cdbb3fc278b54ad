"""Settings come from the environment, and every fault in them is told at once."""

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import msgspec
import pytest

from shared.settings import DataSettings, ServiceSettings, SettingsError, load


class Listed(ServiceSettings, frozen=True, kw_only=True):
    """With a list."""

    origins: tuple[str, ...] = ()


def test_a_field_is_read_by_the_services_prefix_else_by_the_suites() -> None:
    environ = {
        "USERS_DATABASE_URL": "postgresql://a",
        "QUARTET_DATABASE_URL": "postgresql://b",
        "QUARTET_POOL_MAX": "7",
        "CONTENT_POOL_MIN": "5",
    }
    settings = load(DataSettings, "users", environ)
    assert (settings.database_url, settings.pool_max, settings.pool_min) == ("postgresql://a", 7, 2)


def test_a_file_holds_a_secret(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql://secret\n")
    environ = {"USERS_DATABASE_URL_FILE": str(tmp_path / "url")}
    assert load(DataSettings, "users", environ).database_url == "postgresql://secret"


def test_a_value_goes_before_a_file_and_both_before_the_suites(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql://file")
    environ = {
        "USERS_DATABASE_URL_FILE": str(tmp_path / "url"),
        "QUARTET_DATABASE_URL": "postgresql://suite",
    }
    assert load(DataSettings, "users", environ).database_url == "postgresql://file"
    environ["USERS_DATABASE_URL"] = "postgresql://value"
    assert load(DataSettings, "users", environ).database_url == "postgresql://value"


def test_all_faults_are_told_at_once() -> None:
    environ = {
        "USERS_PORT": "eighty",
        "USERS_ENV": "moon",
        "USERS_POOL_WAIT": "",
        "USERS_NATS_URL_FILE": "/does/not/exist",
    }
    with pytest.raises(SettingsError) as raised:
        load(DataSettings, "users", environ)
    told = "\n".join(raised.value.faults)
    assert len(raised.value.faults) == 5
    for name in ("PORT", "ENV", "POOL_WAIT", "NATS_URL_FILE", "DATABASE_URL is missing"):
        assert f"USERS_{name}" in told


def test_a_list_is_separated_by_commas() -> None:
    environ = {"GATEWAY_ORIGINS": "https://a.example, https://b.example,,"}
    assert load(Listed, "gateway", environ).origins == ("https://a.example", "https://b.example")
    assert load(Listed, "gateway", {"GATEWAY_ORIGINS": ""}).origins == ()


def test_settings_do_not_change() -> None:
    with pytest.raises(AttributeError):
        load(ServiceSettings, "users", {}).port = 1  # type: ignore[misc]  # that is the test
    assert msgspec.structs.asdict(load(ServiceSettings, "users", {}))["port"] == 8000


PRODUCTION = {
    "QUARTET_ENV": "production",
    "QUARTET_DATABASE_URL": "postgresql://someone:s3cret@db/users",
}
KEYS = {"NOTIFICATIONS_UNSUBSCRIBE_KEY": "k" * 32, "NOTIFICATIONS_PUBLIC_URL": "https://a.example"}


@pytest.mark.parametrize(
    ("service", "told", "fault"),
    [
        ("gateway", {"QUARTET_LOG_LEVEL": "debug"}, "GATEWAY_LOG_LEVEL"),
        ("gateway", {"GATEWAY_CORS_ORIGINS": "*"}, "GATEWAY_CORS_ORIGINS"),
        ("gateway", {"GATEWAY_CORS_ORIGINS": "http://a.example"}, "GATEWAY_CORS_ORIGINS"),
        ("content", {"CONTENT_DATABASE_URL": "postgresql://a:a@db/a"}, "CONTENT_DATABASE_URL"),
        ("users", {"USERS_SIGNING_KEYS": '{"kid": "development-only"}'}, "USERS_SIGNING_KEYS"),
        (
            "notifications",
            KEYS | {"NOTIFICATIONS_PUBLIC_URL": "http://a.example"},
            "NOTIFICATIONS_PUBLIC_URL",
        ),
        (
            "notifications",
            KEYS | {"NOTIFICATIONS_UNSUBSCRIBE_KEY": "of links in mail that nobody gets"},
            "NOTIFICATIONS_UNSUBSCRIBE_KEY",
        ),
    ],
)
def test_production_does_not_start_with_what_development_may_have(
    service: str, told: dict[str, str], fault: str
) -> None:
    environment = os.environ | PRODUCTION | told  # noqa: TID251 - handed on, not read
    command = [sys.executable, "-m", f"services.{service}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)
    (line,) = done.stdout.splitlines()
    assert done.returncode == 78
    (said,) = json.loads(line)["faults"]
    assert said.startswith(f"{fault}: not in production: ")
    settings = import_module(f"services.{service}.settings").Settings
    load(settings, service, PRODUCTION | told | {"QUARTET_ENV": "development"})
